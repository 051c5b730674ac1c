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

mod backlog;
pub mod bounds;
pub mod explain;
pub mod feed;
mod names;
mod outputs;
pub mod queue;
pub mod reload;
mod setup;
pub mod stations;
pub mod status;
pub mod taps;
pub mod writer;
pub mod writes;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::iotag::table::TagTable;
use crate::iotag::{LineId, Reason, StationId, TagId, TagUpdate, TagValue, Timestamp};
use crate::store::{Change, Commit, Recovered, SessionRecord, Store, StoreError};

use backlog::Backlog;
use bounds::SEQ_SKIPPED_AT_START;
use feed::Feed;
use setup::{LineLink, Setup};
use status::{LineStatus, PathId, PathStatus, StationStatus};
pub use writes::{Confirm, LineCommand, Publish, WriteError, WriteOutcome, WriteResult};

/// What a line hands over at the end of a turn.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes of tags, in the order of the messages.
    pub updates: Vec<TagUpdate>,
    /// Session records that must be committed with them.
    pub sessions: Vec<SessionRecord>,
    /// Who hears of it then.
    pub told: Vec<queue::Told>,
    /// Nothing hangs on its being on disk: while the store takes nothing, the changes may leave the journal, but
    /// for the last one of each tag, and the session records with them.
    pub passing: bool,
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
    /// Changes that are missing in the journal because the disk took nothing for too long.
    pub lost: u64,
    /// Those of the present time without the disk.
    lost_since_failure: u64,
}

/// Shared by lines, socket and store; see the module.
pub struct Hub {
    /// The configuration in force, and what is kept for its lines, stations and tags. Replaced as a
    /// whole, with `state` locked: who holds that lock sees table and setup agree.
    setup: ArcSwap<Setup>,
    state: Mutex<State>,
    /// Wakes the store thread.
    work: Condvar,
    feed: Feed,
    store: Arc<Store>,
    store_status: Mutex<StoreStatus>,
    /// The store takes nothing at present.
    failing: AtomicBool,
    /// More waits for it than may.
    backlog_full: AtomicBool,
    /// What became of queued writes, and the numbers of all.
    queued: queue::Queue,
    /// Number of the setup.
    generation: watch::Sender<u64>,
    reloader: OnceLock<mpsc::Sender<reload::ConfigRequest>>,
    taps: taps::Taps,
    started: Timestamp,
}

struct State {
    table: TagTable,
    /// Number of each tag's last change.
    seqs: Vec<u64>,
    last_seq: u64,
    pending: Vec<Pending>,
    backlog: Backlog,
    stopping: bool,
}

/// Applied, numbered, and not yet on disk.
struct Pending {
    commit: Commit,
    bytes: usize,
    settle: Option<(Arc<LineLink>, BatchId)>,
    /// Batches of other lines of which nothing was left to write.
    carried: Vec<(Arc<LineLink>, BatchId)>,
    told: Vec<queue::Told>,
    passing: bool,
    /// A write that fails if this cannot be written.
    ticket: Option<queue::Ticket>,
}

/// What hangs on a commit.
#[derive(Default)]
struct Hanging {
    settle: Option<(Arc<LineLink>, BatchId)>,
    told: Vec<queue::Told>,
    ticket: Option<queue::Ticket>,
    passing: bool,
}

/// The line's side of it.
pub struct LinePort {
    /// Which line.
    pub line: LineId,
    /// Writes.
    pub commands: mpsc::Receiver<LineCommand>,
    /// The last batch that is on disk.
    pub settled: watch::Receiver<BatchId>,
    /// A write waits.
    pub queued: Arc<tokio::sync::Notify>,
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
        let modes = stations::stored_modes(&config, recovered);
        let (setup, ports) = Setup::new(config, &modes);
        let hub = Self {
            setup: ArcSwap::from_pointee(setup),
            state: Mutex::new(State {
                table,
                seqs,
                last_seq,
                pending: Vec::new(),
                backlog: Backlog::default(),
                stopping: false,
            }),
            work: Condvar::new(),
            feed: Feed::new(last_seq, backlog::stored_gaps(recovered)),
            store,
            store_status: Mutex::new(StoreStatus {
                quarantined: recovered.quarantined.clone(),
                ..StoreStatus::default()
            }),
            failing: AtomicBool::new(false),
            backlog_full: AtomicBool::new(false),
            queued: queue::Queue::default(),
            generation: watch::Sender::new(0),
            reloader: OnceLock::new(),
            taps: taps::Taps::default(),
            started,
        };
        hub.recover_writes(recovered);
        (Arc::new(hub), ports)
    }

    /// The configuration in force. Whoever asks twice may get two: a reload comes in between.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.setup().config)
    }

    /// What is in force. Ids from an earlier setup are good in a later one, not the other way round.
    fn setup(&self) -> Guard<Arc<Setup>> {
        self.setup.load()
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
        let link = Arc::clone(&self.setup().lines[line.0 as usize]);
        let mut last_batch = lock(&link.last_batch);
        last_batch.0 += 1;
        let id = *last_batch;
        self.apply(batch, Some((Arc::clone(&link), id)));
        id
    }

    /// Waits until everything that a line has submitted so far is on the disk.
    pub async fn settled(&self, line: LineId) {
        let link = Arc::clone(&self.setup().lines[line.0 as usize]);
        let last = *lock(&link.last_batch);
        // It ends with the process at the latest.
        let _ = link.settled.subscribe().wait_for(|settled| *settled >= last).await;
    }

    /// Applies updates that no line waits for.
    pub fn submit_unsettled(&self, updates: Vec<TagUpdate>) {
        self.apply(Batch { updates, passing: true, ..Batch::default() }, None);
    }

    fn apply(&self, batch: Batch, settle: Option<(Arc<LineLink>, BatchId)>) {
        let mut state = lock(&self.state);
        let mut commit =
            Commit { changes: Vec::with_capacity(batch.updates.len()), sessions: batch.sessions };
        for update in batch.updates {
            let tag = update.tag;
            if let Some(value) = state.table.apply(update) {
                state.number(tag, value, &mut commit);
            }
        }
        let Batch { told, passing, .. } = batch;
        let hanging = Hanging { settle, told, ticket: None, passing };
        self.queue_with(state, commit, hanging);
    }

    fn queue(
        &self,
        state: MutexGuard<'_, State>,
        commit: Commit,
        settle: Option<(Arc<LineLink>, BatchId)>,
    ) {
        self.queue_with(state, commit, Hanging { settle, ..Hanging::default() });
    }

    fn queue_ticket(&self, commit: Commit, ticket: queue::Ticket) {
        let hanging = Hanging { ticket: Some(ticket), ..Hanging::default() };
        self.queue_with(lock(&self.state), commit, hanging);
    }

    fn queue_with(&self, mut state: MutexGuard<'_, State>, commit: Commit, hanging: Hanging) {
        let Hanging { settle, told, ticket, passing } = hanging;
        let nothing = settle.is_none() && told.is_empty() && ticket.is_none();
        if commit.changes.is_empty() && commit.sessions.is_empty() && nothing {
            return;
        }
        let carried = Vec::new();
        let mut pending = Pending { commit, bytes: 0, settle, carried, told, passing, ticket };
        pending.measure();
        state.backlog.add(&pending);
        if state.backlog.is_full() {
            self.backlog_full.store(true, Ordering::Release);
        }
        state.pending.push(pending);
        drop(state);
        self.work.notify_one();
    }

    /// A tag by its exact name.
    pub fn tag_named(&self, name: &str) -> Option<TagId> {
        self.setup().names.exact(name)
    }

    /// A tag that has this name, or had it before a reload.
    pub fn tag_ever_named(&self, name: &str) -> Option<TagId> {
        self.setup().names.ever(name)
    }

    /// Tags that a reload has left behind, each with the tag that has its name.
    pub fn former_tags(&self) -> Vec<(TagId, TagId)> {
        self.setup().names.former().to_vec()
    }

    /// Tags whose names match a pattern (`*`, `?`), in name order, from after a name.
    pub fn tags_matching(&self, pattern: &str) -> Vec<TagId> {
        self.setup().names.matching(pattern, None).collect()
    }

    /// Tags whose names match a pattern, in name order, from after a name: the first `limit` for which
    /// `wanted` holds, and whether there are more.
    pub fn browse(
        &self,
        pattern: &str,
        after: Option<&str>,
        limit: usize,
        wanted: impl FnMut(&TagId) -> bool,
    ) -> (Vec<TagId>, bool) {
        let setup = self.setup();
        let mut matching = setup.names.matching(pattern, after).filter(wanted);
        let tags = matching.by_ref().take(limit).collect();
        (tags, matching.next().is_some())
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
        access(&mut lock(&self.setup().lines[line.0 as usize].status))
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
        access(&mut lock(&self.setup().stations[station.0 as usize].status))
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

impl Pending {
    fn measure(&mut self) {
        let Commit { changes, sessions } = &self.commit;
        let texts: usize = changes.iter().map(|change| feed::text_bytes(&change.value)).sum();
        let records = sessions
            .iter()
            .map(|record| record.key.len() + record.value.as_ref().map_or(0, Vec::len));
        self.bytes = texts + records.sum::<usize>();
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
