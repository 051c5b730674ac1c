//! Stations: their state and mode, and what these do to their tags.
//!
//! A line decides what becomes of its stations; here the tags follow, and operators see it.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::status::{StationMode, StationState};
use super::writes::{LineCommand, WriteError};
use super::{Batch, Hub, lock};
use crate::config::Config;
use crate::iotag::{Reason, StationId, TagAddress, TagId, TagValue, Timestamp, Value, simulation};
use crate::store::{Commit, Recovered, SessionRecord};

/// Where the modes of stations are stored, beside the sessions of lines. No line has this name: it
/// begins with a control character.
pub(super) const MODES: &str = "\u{1}station modes";

/// What becomes of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StationChange {
    /// Which station.
    pub station: StationId,
    /// State that it has from now on.
    pub state: StationState,
    /// Why it is in this state; `ok` when nothing is wrong.
    pub reason: Reason,
    /// What happens to its tags; `None`: nothing.
    pub effect: Option<StationEffect>,
}

/// What happens to the tags of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationEffect {
    /// Inputs are bad for this reason.
    Invalidate(Reason),
    /// All tags show simulated values, from the next [`Hub::simulate`] on.
    Simulate,
    /// Tags take the quality of their own, or are uncertain/restored until a message renews them.
    Recover {
        /// No message can have been missed.
        nothing_missed: bool,
    },
}

/// How far a simulation has come.
#[derive(Clone, Copy, Debug)]
pub struct SimulationStep {
    /// Makes the random values.
    pub seed: u64,
    /// Number of the step.
    pub step: u64,
    /// Seconds since the beginning.
    pub elapsed_s: f64,
    /// Wall time.
    pub now: Timestamp,
}

impl Hub {
    /// Applies changes of stations, in order. `touched` are tags that updates of the same message
    /// will renew at once: they recover without a change of their own.
    pub fn change_stations(&self, changes: &[StationChange], touched: &FxHashSet<TagId>) {
        let setup = self.setup();
        for change in changes {
            let mut status = lock(&setup.station(change.station).status);
            (status.state, status.reason) = (change.state, change.reason);
        }
        if changes.iter().all(|change| change.effect.is_none()) {
            return;
        }
        let mut state = lock(&self.state);
        // A reload that came in between has given the stations other tags.
        let setup = self.setup();
        let mut commit = Commit::default();
        for change in changes {
            let Some(effect) = change.effect else { continue };
            for &tag in &*setup.station_tags[change.station.0 as usize] {
                let table = &mut state.table;
                let is_output = setup.config.tags[tag.0 as usize].tag_type.is_output();
                let changed: Option<TagValue> = match effect {
                    StationEffect::Simulate => None,
                    // Outputs are what was written; only a simulated value has to go.
                    _ if is_output => table.recover(tag, true),
                    StationEffect::Invalidate(reason) => table.invalidate(tag, reason),
                    StationEffect::Recover { .. } if touched.contains(&tag) => {
                        table.recover_silently(tag);
                        None
                    }
                    StationEffect::Recover { nothing_missed } => table.recover(tag, nothing_missed),
                };
                if let Some(value) = changed {
                    state.number(tag, value, &mut commit);
                }
            }
        }
        self.queue(state, commit, None);
    }

    /// Gives the tags of simulated stations their next values. ACK_ID and OUT_TOPIC, which are not
    /// process values, stay as they are.
    pub fn simulate(&self, stations: impl Iterator<Item = StationId>, step: SimulationStep) {
        let SimulationStep { seed, step, elapsed_s, now } = step;
        let mut state = lock(&self.state);
        let setup = self.setup();
        let mut commit = Commit::default();
        for tag in stations.flat_map(|station| &*setup.station_tags[station.0 as usize]).copied() {
            let config = &setup.config.tags[tag.0 as usize];
            if matches!(config.address, TagAddress::AckId | TagAddress::OutTopic) {
                continue;
            }
            let value = simulation::value(tag, config.tag_type, seed, step, elapsed_s, now);
            if let Some(value) = state.table.simulate(tag, value, now) {
                state.number(tag, value, &mut commit);
            }
        }
        self.queue(state, commit, None);
    }

    /// An output of a simulated station was written: it has this value until the next step.
    pub(super) fn simulate_write(&self, tag: TagId, value: Value, now: Timestamp) {
        let mut state = lock(&self.state);
        let mut commit = Commit::default();
        if let Some(value) = state.table.simulate(tag, value, now) {
            state.number(tag, value, &mut commit);
        }
        self.queue(state, commit, None);
    }

    /// Whether a station is on, off or simulated.
    pub fn station_mode(&self, station: StationId) -> StationMode {
        lock(&self.setup().station(station).status).mode
    }

    /// The line has switched a station; the mode is stored, so that a restart does not switch it back.
    pub fn set_station_mode(&self, station: StationId, mode: StationMode) {
        let setup = self.setup();
        lock(&setup.station(station).status).mode = mode;
        let record = SessionRecord {
            line: MODES.into(),
            key: setup.config.stations[station.0 as usize].name.as_bytes().to_vec(),
            value: (mode != StationMode::On).then(|| mode.as_str().as_bytes().to_vec()),
        };
        self.apply(Batch { sessions: vec![record], ..Batch::default() }, None);
        self.hold_queue(station, mode);
    }

    /// Asks the line to switch a station; the receiver hears when it is done.
    pub fn start_station_set(
        &self,
        station: StationId,
        mode: StationMode,
    ) -> Result<oneshot::Receiver<()>, WriteError> {
        let (reply, receiver) = oneshot::channel();
        let setup = self.setup();
        let line = setup.config.stations[station.0 as usize].line;
        let command = LineCommand::Mode { station, mode, reply };
        match setup.lines[line.0 as usize].commands.try_send(command) {
            Ok(()) => Ok(receiver),
            Err(TrySendError::Full(_)) => {
                Err(WriteError::new(WriteError::BUSY, "too many requests wait for this line"))
            }
            Err(TrySendError::Closed(_)) => {
                Err(WriteError::new(WriteError::LINE_DOWN, "the process is stopping"))
            }
        }
    }
}

/// Modes by the names of their stations, from stored records.
pub(super) fn modes(records: &[(Vec<u8>, Vec<u8>)]) -> BTreeMap<&str, StationMode> {
    fn text(bytes: &[u8]) -> Option<&str> {
        std::str::from_utf8(bytes).ok()
    }
    let modes = records.iter();
    modes.filter_map(|(name, word)| Some((text(name)?, StationMode::parse(text(word)?)?))).collect()
}

/// The modes that the store has, by position.
pub(super) fn stored_modes(config: &Config, recovered: &Recovered) -> Vec<StationMode> {
    let of_stations = recovered.sessions.iter().filter(|(line, ..)| &**line == MODES);
    let records: Vec<_> = of_stations.map(|(_, key, value)| (key.clone(), value.clone())).collect();
    let modes = modes(&records);
    let mode = |name: &str| modes.get(name).copied().unwrap_or_default();
    config.stations.iter().map(|station| mode(&station.name)).collect()
}
