//! What a line has handed to the hub and what hangs on its being on disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::duplicates::{Log, Note};
use crate::clock;
use crate::hub::bounds::{UNSETTLED_BYTES_MAX, UNSETTLED_CHANGES_MAX};
use crate::hub::status::PathId;
use crate::hub::{Batch, BatchId, Hub, Publish};
use crate::iotag::{LineId, TagUpdate};
use crate::mqtt::{ChangeSeq, Delivery, SessionChange};
use crate::qos::Qos;
use crate::store::SessionRecord;

/// One arrival of a message: which path owes its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) path: PathId,
    pub(super) delivery: Delivery,
}

/// The batch being filled, and those that are on their way to the disk.
pub(super) struct Settlement {
    line: LineId,
    /// What the session of each path is stored under.
    names: [Arc<str>; PathId::COUNT],
    batch: Batch,
    open: Hanging,
    unsettled: VecDeque<(BatchId, Hanging)>,
    waiting: Weight,
    /// Of those that are waiting, what something hangs on.
    owed: Weight,
    /// The pairing of a redundant line, on disk.
    log: Option<Log>,
}

/// Changes, and bytes of payloads and records.
#[derive(Clone, Copy, Default)]
struct Weight {
    changes: usize,
    bytes: usize,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.changes += other.changes;
        self.bytes += other.bytes;
    }

    fn remove(&mut self, other: Self) {
        self.changes -= other.changes;
        self.bytes -= other.bytes;
    }

    fn is_within_bounds(self) -> bool {
        self.changes < UNSETTLED_CHANGES_MAX && self.bytes < UNSETTLED_BYTES_MAX
    }
}

/// What may be done once a batch is on disk.
#[derive(Default)]
pub(super) struct Hanging {
    /// Messages to acknowledge, in order of arrival.
    pub(super) receipts: Vec<Receipt>,
    /// Session changes of a path up to this one are durable.
    pub(super) durable: BTreeMap<PathId, ChangeSeq>,
    /// Queued writes that may leave, in order.
    pub(super) marked: Vec<Publish>,
    messages: usize,
    weight: Weight,
    /// Nothing of all that, and no record: only values.
    passing: bool,
}

impl Settlement {
    pub(super) fn new(line: LineId, name: &str, log: Option<Log>) -> Self {
        Self {
            line,
            names: PathId::all().map(|path| path.session_name(name)),
            batch: Batch::default(),
            open: Hanging::default(),
            unsettled: VecDeque::new(),
            waiting: Weight::default(),
            owed: Weight::default(),
            log,
        }
    }

    /// The next batch deletes all that is stored under a name.
    pub(super) fn delete(&mut self, name: Arc<str>) {
        self.batch.sessions.push(SessionRecord { line: name, key: Vec::new(), value: None });
    }

    /// The pairing has changed.
    pub(super) fn note(&mut self, note: Note) {
        if let Some(log) = &mut self.log {
            log.note(note);
        }
    }

    /// Where the present message's changes go.
    pub(super) fn updates(&mut self) -> &mut Vec<TagUpdate> {
        &mut self.batch.updates
    }

    /// A message has been mapped: its acknowledgement hangs on the batch, and so does the record
    /// that makes a QoS 2 message apply once.
    pub(super) fn received(&mut self, receipt: Receipt, payload_bytes: usize) {
        self.open.messages += 1;
        self.open.weight.bytes += payload_bytes;
        if receipt.delivery.qos != Qos::AtMostOnce {
            self.open.receipts.push(receipt);
        }
        if let Some(change) = receipt.delivery.session_change() {
            self.record(receipt.path, change);
        }
    }

    /// A message has been mapped and awaits its confirmation: until then there is nothing to
    /// acknowledge, but a QoS 2 message is applied.
    pub(super) fn shown(&mut self, receipt: Receipt, station: &str) {
        if let Some(change) = receipt.delivery.session_change_unconfirmed(station.as_bytes()) {
            self.record(receipt.path, change);
        }
    }

    /// A machine changed its session.
    pub(super) fn session(&mut self, path: PathId, seq: ChangeSeq, change: SessionChange) {
        self.open.durable.insert(path, seq);
        self.record(path, change);
    }

    /// A queued write may leave when this record is on disk.
    pub(super) fn mark(&mut self, record: SessionRecord, publish: Publish) {
        self.keep(Some(record));
        self.mark_after(publish);
    }

    /// A write that has no record may leave behind those that have.
    pub(super) fn mark_after(&mut self, publish: Publish) {
        self.open.marked.push(publish);
    }

    /// Records that belong to what the machine has just changed.
    pub(super) fn keep(&mut self, records: impl IntoIterator<Item = SessionRecord>) {
        for record in records {
            self.open.weight.bytes += record.value.as_ref().map_or(0, Vec::len);
            self.batch.sessions.push(record);
        }
    }

    /// Takes in what the end of a publication does.
    pub(super) fn absorb(&mut self, batch: Batch) {
        let Batch { mut updates, sessions, mut told, .. } = batch;
        self.batch.updates.append(&mut updates);
        self.batch.told.append(&mut told);
        self.keep(sessions);
    }

    /// The queued writes whose records are not known to be on disk, at the end.
    pub(super) fn take_marked(&mut self) -> Vec<Publish> {
        let unsettled = self.unsettled.iter_mut().map(|(_, hanging)| &mut hanging.marked);
        unsettled.chain([&mut self.open.marked]).flat_map(std::mem::take).collect()
    }

    fn record(&mut self, path: PathId, change: SessionChange) {
        let SessionChange { key, value } = change;
        self.open.weight.bytes += value.as_ref().map_or(0, Vec::len);
        let line = Arc::clone(&self.names[usize::from(path.0)]);
        self.batch.sessions.push(SessionRecord { line, key, value });
    }

    /// Hands the batch to the hub, if there is anything in it.
    pub(super) fn submit(&mut self, hub: &Hub) {
        let nothing = self.batch.updates.is_empty()
            && self.batch.sessions.is_empty()
            && self.open.receipts.is_empty()
            && self.open.marked.is_empty()
            && !self.log.as_ref().is_some_and(Log::is_due);
        if nothing {
            self.open = Hanging::default();
            return;
        }
        let mut hanging = std::mem::take(&mut self.open);
        hanging.weight.changes = self.batch.updates.len();
        hanging.passing =
            hanging.is_nothing() && self.batch.sessions.is_empty() && self.batch.told.is_empty();
        self.batch.passing = hanging.passing;
        if let Some(log) = &mut self.log {
            self.batch.sessions.extend(log.take_records(clock::wall()));
        }
        self.waiting.add(hanging.weight);
        if !hanging.passing {
            self.owed.add(hanging.weight);
        }
        let id = hub.submit(self.line, std::mem::take(&mut self.batch));
        // While nothing is settled, what nothing hangs on takes one place.
        if hanging.passing
            && hub.is_store_failing()
            && let Some((last, before)) = self.unsettled.back_mut().filter(|(_, it)| it.passing)
        {
            *last = id;
            before.weight.add(hanging.weight);
            before.messages += hanging.messages;
            return;
        }
        self.unsettled.push_back((id, hanging));
    }

    /// The next batch that is on disk, up to and including `settled`.
    pub(super) fn next_settled(&mut self, settled: BatchId) -> Option<Hanging> {
        let (id, _) = self.unsettled.front()?;
        if *id > settled {
            return None;
        }
        let (_, hanging) = self.unsettled.pop_front()?;
        self.waiting.remove(hanging.weight);
        if !hanging.passing {
            self.owed.remove(hanging.weight);
        }
        Some(hanging)
    }

    /// Whether more may be read before the store has caught up. While it takes nothing, what nothing hangs on
    /// may leave the hub without it.
    pub(super) fn has_room(&self, hub: &Hub) -> bool {
        if hub.is_store_failing() {
            self.owed.is_within_bounds() && !hub.is_backlog_full()
        } else {
            self.waiting.is_within_bounds()
        }
    }

    /// Whether everything is on disk.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }
}

impl Hanging {
    fn is_nothing(&self) -> bool {
        self.receipts.is_empty() && self.durable.is_empty() && self.marked.is_empty()
    }
}
