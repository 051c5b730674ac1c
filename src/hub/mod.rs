//! The hub: current values, settlement of batches, subscribers, writes.
//!
//! ```text
//!   line ──Batch──▶ Hub::submit ──▶ table of current values ──▶ tag.read, at once
//!                       │ numbered changes
//!                       ▼
//!                 store thread: one atomic, durable commit of all that has come meanwhile
//!                       │
//!                       ├──▶ settled: the line acknowledges to the broker
//!                       └──▶ feed: subscribers
//!
//!   socket ──▶ Hub::start_writes ──LineCommand──▶ line ──outcome──▶ socket
//! ```
//!
//! The hub knows batches of updates, not messages: MQTT ends in `line.rs`.

pub mod bounds;
pub mod explain;
pub mod feed;
mod names;
mod outputs;
pub mod stations;
pub mod status;
pub mod writer;
pub mod writes;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::iotag::table::TagTable;
use crate::iotag::{LineId, Reason, StationId, TagAddress, TagId, TagUpdate, TagValue, Timestamp};
use crate::store::{Change, Commit, Recovered, SessionRecord, Store, StoreError};

use bounds::{LINE_COMMANDS_MAX, SEQ_SKIPPED_AT_START};
use feed::Feed;
use names::NameIndex;
use status::{LineStatus, PathId, PathStatus, StationStatus};
pub use writes::{Confirm, LineCommand, Publish, WriteError, WriteOutcome, WriteResult};

/// What a line hands over at the end of a turn.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes of tags, in the order of the messages.
    pub updates: Vec<TagUpdate>,
    /// Session records that must be committed with them.
    pub sessions: Vec<SessionRecord>,
}

/// Number of a batch within its line; settled in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// A tag's value as it is now.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which tag.
    pub tag: TagId,
    /// Number of its last change; 0 if it never had one.
    pub seq: u64,
    /// Value, quality, times.
    pub value: TagValue,
}

/// How the store is doing.
#[derive(Clone, Debug, Default)]
pub struct StoreStatus {
    /// Why nothing can be written at present.
    pub error: Option<String>,
    /// Where an unreadable store was moved to at the start, and why.
    pub quarantined: Option<(std::path::PathBuf, String)>,
    /// Commits so far.
    pub commits: u64,
}

/// Shared by lines, socket and store; see the module.
pub struct Hub {
    config: Arc<Config>,
    names: NameIndex,
    state: Mutex<State>,
    /// Wakes the store thread.
    work: Condvar,
    feed: Feed,
    lines: Vec<LineLink>,
    stations: Vec<Mutex<StationStatus>>,
    /// The tags of each station.
    station_tags: Vec<Vec<TagId>>,
    store: Arc<Store>,
    store_status: Mutex<StoreStatus>,
    /// What each station publishes; locked before `state`, never after it.
    outputs: Vec<Mutex<outputs::StationOutputs>>,
    /// The OUT_TOPIC tag of each station.
    out_topics: Vec<Option<TagId>>,
    started: Timestamp,
}

struct State {
    table: TagTable,
    /// Number of each tag's last change.
    seqs: Vec<u64>,
    last_seq: u64,
    pending: Vec<Pending>,
    stopping: bool,
}

/// Applied, numbered, and not yet on disk.
struct Pending {
    commit: Commit,
    bytes: usize,
    settle: Option<(LineId, BatchId)>,
}

/// The hub's side of a line.
struct LineLink {
    commands: mpsc::Sender<LineCommand>,
    settled: watch::Sender<BatchId>,
    last_batch: Mutex<BatchId>,
    status: Mutex<LineStatus>,
}

/// The line's side of it.
pub struct LinePort {
    /// Which line.
    pub line: LineId,
    /// Writes.
    pub commands: mpsc::Receiver<LineCommand>,
    /// The last batch that is on disk.
    pub settled: watch::Receiver<BatchId>,
}

impl Hub {
    /// A hub over what the store held, and one port for each line of the configuration.
    pub fn new(
        config: Arc<Config>,
        store: Arc<Store>,
        recovered: &Recovered,
        started: Timestamp,
    ) -> (Arc<Self>, Vec<LinePort>) {
        let stored = |tag: TagId| recovered.values.get(tag.0 as usize).cloned().flatten();
        let table = TagTable::new(config.tags.iter(), stored, started);
        let restored =
            |tag: TagId| table.read(tag).is_some_and(|value| value.reason == Reason::Restored);
        let seqs = recovered
            .seqs
            .iter()
            .enumerate()
            .map(|(index, &seq)| if restored(tag_id(index)) { seq } else { 0 })
            .collect();
        let last_seq = match recovered.last_seq {
            0 => 0,
            last_seq => last_seq.saturating_add(SEQ_SKIPPED_AT_START),
        };
        let mut lines = Vec::new();
        let mut ports = Vec::new();
        for index in 0..config.lines.len() {
            let line = LineId(u32::try_from(index).unwrap_or(u32::MAX));
            let (commands, commands_rx) = mpsc::channel(LINE_COMMANDS_MAX);
            let settled = watch::Sender::new(BatchId::default());
            ports.push(LinePort { line, commands: commands_rx, settled: settled.subscribe() });
            lines.push(LineLink {
                commands,
                settled,
                last_batch: Mutex::default(),
                status: Mutex::new(LineStatus::of(
                    1 + usize::from(config.lines[index].redundant.is_some()),
                )),
            });
        }
        let mut out_topics = vec![None; config.stations.len()];
        for (index, tag) in config.tags.iter().enumerate() {
            if tag.address == TagAddress::OutTopic {
                out_topics[tag.station.0 as usize] = Some(tag_id(index));
            }
        }
        let hub = Self {
            outputs: config.stations.iter().map(|_| Mutex::default()).collect(),
            out_topics,
            names: NameIndex::new(&config.tags),
            state: Mutex::new(State {
                table,
                seqs,
                last_seq,
                pending: Vec::new(),
                stopping: false,
            }),
            work: Condvar::new(),
            feed: Feed::new(last_seq),
            lines,
            stations: stations::stored_modes(&config, recovered)
                .into_iter()
                .map(|mode| Mutex::new(StationStatus::new(mode)))
                .collect(),
            station_tags: stations::tags_of_stations(&config),
            store,
            store_status: Mutex::new(StoreStatus {
                quarantined: recovered.quarantined.clone(),
                ..StoreStatus::default()
            }),
            started,
            config,
        };
        (Arc::new(hub), ports)
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// When the process started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// Durable changes, for subscribers.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Applies a batch at once and queues it for the store; settled in order, per line.
    pub fn submit(&self, line: LineId, batch: Batch) -> BatchId {
        let link = &self.lines[line.0 as usize];
        let mut last_batch = lock(&link.last_batch);
        last_batch.0 += 1;
        let id = *last_batch;
        self.apply(batch, Some((line, id)));
        id
    }

    /// Applies updates that no line waits for.
    pub fn submit_unsettled(&self, updates: Vec<TagUpdate>) {
        self.apply(Batch { updates, sessions: Vec::new() }, None);
    }

    fn apply(&self, batch: Batch, settle: Option<(LineId, BatchId)>) {
        let mut state = lock(&self.state);
        let mut commit =
            Commit { changes: Vec::with_capacity(batch.updates.len()), sessions: batch.sessions };
        for update in batch.updates {
            let tag = update.tag;
            if let Some(value) = state.table.apply(update) {
                state.number(tag, value, &mut commit);
            }
        }
        self.queue(state, commit, settle);
    }

    fn queue(
        &self,
        mut state: MutexGuard<'_, State>,
        commit: Commit,
        settle: Option<(LineId, BatchId)>,
    ) {
        if commit.changes.is_empty() && commit.sessions.is_empty() && settle.is_none() {
            return;
        }
        let texts: usize =
            commit.changes.iter().map(|change| feed::text_bytes(&change.value)).sum();
        let records: usize = commit
            .sessions
            .iter()
            .map(|record| record.key.len() + record.value.as_ref().map_or(0, Vec::len))
            .sum();
        state.pending.push(Pending { commit, bytes: texts + records, settle });
        drop(state);
        self.work.notify_one();
    }

    /// A tag by its exact name.
    pub fn tag_named(&self, name: &str) -> Option<TagId> {
        self.names.exact(name)
    }

    /// Tags whose names match a pattern (`*`, `?`), in name order, from after a name.
    pub fn tags_matching<'a>(
        &'a self,
        pattern: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = TagId> + 'a {
        self.names.matching(pattern, after)
    }

    /// Current values.
    pub fn read(&self, tags: &[TagId]) -> Vec<Reading> {
        let state = lock(&self.state);
        tags.iter().filter_map(|&tag| state.reading(tag)).collect()
    }

    /// Current values, and the number of the last change that they contain.
    pub fn snapshot(&self, tags: &[TagId]) -> (Vec<Reading>, u64) {
        let state = lock(&self.state);
        (tags.iter().filter_map(|&tag| state.reading(tag)).collect(), state.last_seq)
    }

    /// How many tags are good, uncertain and bad.
    pub fn count_by_quality(&self) -> [usize; 3] {
        let state = lock(&self.state);
        let mut counts = [0; 3];
        for value in state.table.values() {
            counts[value.quality as usize] += 1;
        }
        counts
    }

    /// Reads or changes what is shown of a line.
    pub fn line_status<T>(&self, line: LineId, access: impl FnOnce(&mut LineStatus) -> T) -> T {
        access(&mut lock(&self.lines[line.0 as usize].status))
    }

    /// Reads or changes what is shown of one connection of a line.
    pub fn path_status<T>(
        &self,
        line: LineId,
        path: PathId,
        access: impl FnOnce(&mut PathStatus) -> T,
    ) -> T {
        self.line_status(line, |status| status.change_path(path, access))
    }

    /// Reads or changes what is shown of a station.
    pub fn station_status<T>(
        &self,
        station: StationId,
        access: impl FnOnce(&mut StationStatus) -> T,
    ) -> T {
        access(&mut lock(&self.stations[station.0 as usize]))
    }

    /// How the store is doing.
    pub fn store_status(&self) -> StoreStatus {
        lock(&self.store_status).clone()
    }

    /// Changes after a number from the journal on disk. Blocks: not for async tasks.
    pub fn journal_after(
        &self,
        seq: u64,
        limit: usize,
    ) -> Result<Vec<crate::store::JournalEntry>, StoreError> {
        self.store.journal_after(seq, limit)
    }

    /// Number of the oldest change that the journal still has. Blocks: not for async tasks.
    pub fn journal_oldest(&self) -> Result<Option<u64>, StoreError> {
        self.store.journal_oldest()
    }

    /// Number of the last change of all, on disk or not.
    pub fn last_seq(&self) -> u64 {
        lock(&self.state).last_seq
    }
}

impl State {
    fn number(&mut self, tag: TagId, value: TagValue, commit: &mut Commit) {
        self.last_seq += 1;
        self.seqs[tag.0 as usize] = self.last_seq;
        commit.changes.push(Change { seq: self.last_seq, tag, value });
    }

    fn reading(&self, tag: TagId) -> Option<Reading> {
        let value = self.table.read(tag)?.clone();
        Some(Reading { tag, seq: self.seqs[tag.0 as usize], value })
    }
}

fn tag_id(index: usize) -> TagId {
    TagId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// Locks; a panic elsewhere while it was held does not stop the others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
