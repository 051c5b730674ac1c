//! The configuration in force, and what the hub keeps for each of its lines, stations and tags.
//!
//! A setup never changes: a reload makes another one that shares what goes on, and puts it in the
//! place of the first. Ids only grow, so what was made under one setup finds its place in every later
//! one; what is retired stays until the process ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::bounds::LINE_COMMANDS_MAX;
use super::names::NameIndex;
use super::outputs::StationOutputs;
use super::queue::QueueCell;
use super::status::{LineStatus, StationMode, StationStatus};
use super::{BatchId, LineCommand, LinePort, lock};
use crate::config::Config;
use crate::config::diff::Diff;
use crate::iotag::{LineId, StationId, TagAddress, TagId};

/// See the module.
pub(super) struct Setup {
    pub(super) config: Arc<Config>,
    /// Rises with every reload.
    pub(super) generation: u64,
    /// Number of the last change before this setup was in force.
    pub(super) since_seq: u64,
    pub(super) names: Arc<NameIndex>,
    pub(super) lines: Vec<Arc<LineLink>>,
    pub(super) stations: Vec<Arc<StationCell>>,
    /// The tags of each station.
    pub(super) station_tags: Vec<Arc<[TagId]>>,
    /// The OUT_TOPIC tag of each station.
    pub(super) out_topics: Vec<Option<TagId>>,
}

/// The hub's side of a line.
pub(super) struct LineLink {
    pub(super) commands: mpsc::Sender<LineCommand>,
    pub(super) settled: watch::Sender<BatchId>,
    pub(super) last_batch: Mutex<BatchId>,
    pub(super) status: Mutex<LineStatus>,
    /// Writes that wait; a line that begins anew goes on with them.
    pub(super) queue: Arc<QueueCell>,
}

/// What is kept for a station.
pub(super) struct StationCell {
    pub(super) status: Mutex<StationStatus>,
    /// What it publishes; locked before the hub's state, never after it.
    pub(super) outputs: Arc<Mutex<StationOutputs>>,
}

impl LineLink {
    fn open(line: LineId, config: &Config, queue: Arc<QueueCell>) -> (Arc<Self>, LinePort) {
        let (commands, commands_rx) = mpsc::channel(LINE_COMMANDS_MAX);
        let settled = watch::Sender::new(BatchId::default());
        let (settled_rx, queued) = (settled.subscribe(), Arc::clone(&queue.wake));
        let port = LinePort { line, commands: commands_rx, settled: settled_rx, queued };
        let paths = 1 + usize::from(config.lines[line.0 as usize].redundant.is_some());
        let (last_batch, status) = (Mutex::default(), Mutex::new(LineStatus::of(paths)));
        (Arc::new(Self { commands, settled, last_batch, status, queue }), port)
    }
}

impl StationCell {
    fn new(mode: StationMode) -> Arc<Self> {
        let status = Mutex::new(StationStatus::new(mode));
        Arc::new(Self { status, outputs: Arc::default() })
    }

    /// One that begins; what the session of its line still has of an earlier time under its id ends here.
    fn begun(mode: StationMode, earlier: Option<&Arc<Self>>) -> Arc<Self> {
        let outputs = earlier.map(|earlier| Arc::clone(&earlier.outputs)).unwrap_or_default();
        let status = Mutex::new(StationStatus::new(mode));
        Arc::new(Self { status, outputs })
    }
}

impl Setup {
    /// The first setup, and one port for each line. `modes` are those of the stations.
    pub(super) fn new(config: Arc<Config>, modes: &[StationMode]) -> (Self, Vec<LinePort>) {
        let ids = (0u32..).map(LineId).take(config.lines.len());
        let (lines, ports) = ids.map(|id| LineLink::open(id, &config, Arc::default())).unzip();
        let names = Arc::new(NameIndex::new(&config));
        let stations = modes.iter().map(|&mode| StationCell::new(mode)).collect();
        let (station_tags, out_topics) = tags_of_stations(&config);
        let (generation, since_seq) = (0, 0);
        let setup = Self {
            config,
            generation,
            since_seq,
            names,
            lines,
            stations,
            station_tags,
            out_topics,
        };
        (setup, ports)
    }

    /// The setup behind this one, and the ports of the lines that begin. What belongs to what goes on
    /// is shared; a station that another one replaces hands its mode on.
    /// Of others, `modes` knows those that were stored.
    pub(super) fn next(
        &self,
        config: Arc<Config>,
        diff: &Diff,
        modes: &BTreeMap<&str, StationMode>,
    ) -> (Self, Vec<LinePort>) {
        let mut lines = self.lines.clone();
        let mut ports = Vec::new();
        for id in diff.lines.begun().chain(diff.restarted.iter().copied()) {
            let before = self.lines.get(id.0 as usize).map(|link| Arc::clone(&link.queue));
            let (link, port) = LineLink::open(id, &config, before.unwrap_or_default());
            place(&mut lines, id.0, link);
            ports.push(port);
        }
        let mut stations = self.stations.clone();
        for &id in &diff.stations.added {
            let mode = modes.get(&*config.stations[id.0 as usize].name).copied();
            let begun = StationCell::begun(mode.unwrap_or_default(), stations.get(id.0 as usize));
            place(&mut stations, id.0, begun);
        }
        for &(before, id) in &diff.stations.replaced {
            let mode = lock(&self.stations[before.0 as usize].status).mode;
            let begun = StationCell::begun(mode, stations.get(id.0 as usize));
            place(&mut stations, id.0, begun);
        }
        let same_names = diff.tags.begun().chain(diff.tags.ended()).next().is_none();
        let names = match same_names {
            true => Arc::clone(&self.names),
            false => Arc::new(NameIndex::new(&config)),
        };
        let (station_tags, out_topics) = tags_of_stations(&config);
        let generation = self.generation + 1;
        let since_seq = self.since_seq;
        let next = Self {
            config,
            generation,
            since_seq,
            names,
            lines,
            stations,
            station_tags,
            out_topics,
        };
        (next, ports)
    }

    /// What is kept for a station.
    pub(super) fn station(&self, station: StationId) -> &StationCell {
        &self.stations[station.0 as usize]
    }
}

/// Ids begin in their order, each at the end or where it was before.
fn place<T>(things: &mut Vec<T>, id: u32, thing: T) {
    match things.get_mut(id as usize) {
        Some(place) => *place = thing,
        None => things.push(thing),
    }
}

/// The tags of each station, and its OUT_TOPIC tag.
fn tags_of_stations(config: &Config) -> (Vec<Arc<[TagId]>>, Vec<Option<TagId>>) {
    let mut tags = vec![Vec::new(); config.stations.len()];
    let mut out_topics = vec![None; config.stations.len()];
    for (id, tag) in config.live_tags() {
        let station = tag.station.0 as usize;
        tags[station].push(id);
        if tag.address == TagAddress::OutTopic {
            out_topics[station] = Some(id);
        }
    }
    (tags.into_iter().map(Arc::from).collect(), out_topics)
}
