//! Writes that wait for their line, and what becomes of those that a process leaves behind.
//!
//! ```text
//!   Hub::publish ──▶ LineQueue ──(taken by the line)──▶ MQTT session ──▶ Hub::publication_ended
//!                        │ ▲                                │                   │
//!        record `q` in the │ │ again at the next start       record becomes "in session"   │
//!        store, then the   ▼ │                            in the commit that has     ▼
//!        client hears `queued`                            the session's own record   record `s`
//! ```
//!
//! The store has, beside the sessions of lines:
//!
//! | key | value | what |
//! |---|---|---|
//! | `n` | number (8) | the last number given to a queued write |
//! | `q` number of the publication (8) | see `record` | a write that has not ended |
//! | `s` number of the write (8) | see `status` | the end of queued writes |
//!
//! Each of these changes in the one commit that makes it true, so that a crash at any moment leaves a write
//! at exactly one place; `docs/decisions/0016-queued-writes.md` goes through the moments.

mod line;
mod moved;
mod record;
mod recover;
mod status;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::line::{Entry, LineQueue, Waits};
pub(super) use self::record::Message;
pub use self::record::PacketIds;
use self::record::{Place, Record, Writes};
use self::recover::left_of;
use self::status::Statuses;
pub use self::status::{Told, WriteStatus};
use super::outputs::{Kept, StationOutputs, UnderWay, Waiter};
use super::status::StationMode;
use super::writes::{Finished, Publish, WriteError, WriteOutcome};
use super::{Batch, Hub, lock};
use crate::clock;
use crate::iotag::{LineId, StationId};
use crate::qos::Qos;
use crate::store::{Commit, SessionRecord, StoreError};

/// Where these records are stored, beside the sessions of lines. No line has this name: it begins with a
/// control character.
const QUEUE: &str = "\u{1}queued writes";

/// How long the answer to a queued write is awaited at least once it has been sent, also when it expires
/// meanwhile.
const ANSWER_TIME_MIN: Duration = Duration::from_secs(10);

/// As good as for ever.
const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 86_400);

/// What the hub knows of writes that wait, apart from those themselves.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Last number given to a publication.
    last_number: AtomicU64,
    /// Last number given to a queued write.
    last_write: AtomicU64,
    statuses: Mutex<Statuses>,
    adoptions: Mutex<Vec<(LineId, Adoption)>>,
}

/// The writes of a line that wait.
#[derive(Debug, Default)]
pub(super) struct QueueCell {
    queue: Mutex<LineQueue>,
    /// Wakes the line when something waits for it.
    pub(super) wake: Arc<Notify>,
}

/// A write that a client hears of once its record is on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    station: StationId,
    number: u64,
}

/// A publication that an earlier process left to the session of its line.
#[derive(Debug)]
pub struct Adoption {
    /// What it was, as far as that is still known.
    pub publish: Publish,
    /// Under these packet ids.
    pub packet_ids: PacketIds,
    /// When its outcome is wanted at the latest; `None`: whenever it comes.
    pub deadline: Option<Instant>,
}

impl Queue {
    /// A number for a publication, above all that its station has under way.
    pub(super) fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Numbers for queued writes; the first of them.
    fn next_writes(&self, count: usize) -> u64 {
        self.last_write.fetch_add(count.max(1) as u64, Ordering::Relaxed) + 1
    }
}

/// For the line.
impl Hub {
    /// The line is connected.
    pub fn queue_opened(&self, line: LineId) {
        lock(&self.line_queue(line).queue).open();
    }

    /// The line is not connected any more: all that waits is stored.
    pub fn queue_closed(&self, line: LineId) {
        let to_store = lock(&self.line_queue(line).queue).close();
        for (station, number) in to_store {
            self.store_write(station, number);
        }
    }

    /// When to call [`Self::queue_on_time`] at the latest.
    pub fn queue_deadline(&self, line: LineId) -> Option<Instant> {
        lock(&self.line_queue(line).queue).deadline()
    }

    /// Ends what has expired, and stores what its client has waited for long enough.
    pub fn queue_on_time(&self, line: LineId, now: Instant) {
        if self.queue_deadline(line).is_none_or(|deadline| deadline > now) {
            return;
        }
        let due = lock(&self.line_queue(line).queue).take_due(now);
        for (station, number) in due.to_store {
            self.store_write(station, number);
        }
        for (station, number) in due.expired {
            let name = &self.config().stations[station.0 as usize].name;
            tracing::warn!(station = %name, "a write expired before its line could take it");
            self.end_unsent(station, number, EXPIRED);
        }
    }

    /// QoS of the write that goes out next.
    pub fn next_queued(&self, line: LineId) -> Option<Qos> {
        lock(&self.line_queue(line).queue).first().map(|entry| entry.message.qos)
    }

    /// Takes the write that goes out next.
    pub fn take_queued(&self, line: LineId) -> Option<Publish> {
        let (station, number, entry) = lock(&self.line_queue(line).queue).take()?;
        let deadline = match entry.waits {
            Waits::Direct => entry.deadline,
            Waits::Storing | Waits::Stored => answer_deadline(clock::now(), entry.expires),
        };
        Some(publish_of(station, number, &entry.message, (deadline, entry.expires)))
    }

    /// A write is to be sent by means that no session knows of. With a record it must not leave before
    /// that is on disk: whoever finds the record does not send the write.
    pub fn queued_write_taken(&self, publish: &Publish) -> Option<SessionRecord> {
        let setup = self.setup();
        let mut outputs = lock(&setup.station(publish.station).outputs);
        let one = outputs.get_mut(publish.number)?;
        if one.kept != Kept::Queue {
            return None;
        }
        one.kept = Kept::Taken;
        Some(self.record(publish.station, one))
    }

    /// A write was given to the connection: what comes later goes behind it by itself.
    pub fn queued_write_given(&self, publish: &Publish) {
        let line = self.config().stations[publish.station.0 as usize].line;
        lock(&self.line_queue(line).queue).given(publish.station, publish.number);
    }

    /// A publication is part of the session of a path of its line. The record belongs into the commit that has the
    /// session's own; `None`: there is nothing to remember.
    pub fn publication_in_session(
        &self,
        publish: &Publish,
        line: LineId,
        (path, packet_id): (u8, u16),
    ) -> Option<SessionRecord> {
        let setup = self.setup();
        let mut outputs = lock(&setup.station(publish.station).outputs);
        let one = outputs.get_mut(publish.number)?;
        if one.values.is_empty() && one.waiters.is_empty() {
            return None;
        }
        match &mut one.kept {
            Kept::Session { packet_ids, .. } => packet_ids.push((path, packet_id)),
            kept => *kept = Kept::Session { line, packet_ids: vec![(path, packet_id)] },
        }
        Some(self.record(publish.station, one))
    }

    /// A path has ended a publication that others still have: its packet id may be used again.
    pub fn publication_off_path(&self, publish: &Publish, path: u8) -> Option<SessionRecord> {
        let setup = self.setup();
        let mut outputs = lock(&setup.station(publish.station).outputs);
        let one = outputs.get_mut(publish.number)?;
        let Kept::Session { packet_ids, .. } = &mut one.kept else { return None };
        packet_ids.retain(|(of, _)| *of != path);
        Some(self.record(publish.station, one))
    }

    /// The connection did not take a write: it waits again, at its place. Everything that the line has
    /// recorded of it must have been submitted.
    pub fn put_back(&self, publish: &Publish) {
        let setup = self.setup();
        let mut outputs = lock(&setup.station(publish.station).outputs);
        let Some(one) = outputs.get_mut(publish.number) else { return };
        let Some(message) = one.message.clone() else { return };
        let is_told = one.waiters.iter().all(|waiter| waiter.reply.is_none());
        let waits = if is_told { Waits::Stored } else { Waits::Storing };
        let (deadline, expires) = (publish.deadline, publish.expires);
        let entry = Entry { waits, message, deadline, expires };
        let line = self.config().stations[publish.station.0 as usize].line;
        lock(&self.line_queue(line).queue).push(publish.station, publish.number, entry);
        if is_told {
            one.kept = Kept::Queue;
            let record = self.record(publish.station, one);
            self.keep(vec![record]);
        } else {
            self.store_now(publish.station, one);
        }
        drop(outputs);
        self.rehome(publish.station);
    }

    /// The line ends, and its session goes on with this publication when it begins anew, in this process or
    /// the next. False: no session has it.
    pub fn leave_behind(&self, publish: &Publish) -> bool {
        let setup = self.setup();
        let mut outputs = lock(&setup.station(publish.station).outputs);
        let Some(one) = outputs.get_mut(publish.number) else { return true };
        let Kept::Session { line, packet_ids } = &one.kept else { return false };
        let adoption = Adoption {
            publish: Publish { queues: false, ..publish.clone() },
            packet_ids: packet_ids.clone(),
            deadline: publish.expires.map(|_| answer_deadline(clock::now(), publish.expires)),
        };
        lock(&self.queued.adoptions).push((*line, adoption));
        for waiter in &mut one.waiters {
            if let Some(reply) = waiter.reply.take() {
                let why = "the process stopped; the session will finish it";
                let error = WriteError::new(WriteError::PUBLICATION, why);
                let _ = reply.send(WriteOutcome::Uncertain(error));
            }
        }
        true
    }

    /// The publications of earlier processes that the session of a line has to finish. Once.
    pub fn take_adoptions(&self, line: LineId) -> Vec<Adoption> {
        let mut adoptions = lock(&self.queued.adoptions);
        let (own, others) = adoptions.drain(..).partition(|(of, _)| *of == line);
        *adoptions = others;
        own.into_iter().map(|(_, adoption): (LineId, Adoption)| adoption).collect()
    }
}

/// For the rest of the hub.
impl Hub {
    fn line_queue(&self, line: LineId) -> Arc<QueueCell> {
        Arc::clone(&self.setup().lines[line.0 as usize].queue)
    }

    /// A written payload of a station that queues. `outputs` are the station's.
    pub(super) fn enqueue(
        &self,
        outputs: &mut StationOutputs,
        station_id: StationId,
        message: Message,
        deadline: Instant,
        under_way: impl FnOnce(u64, Arc<Message>) -> UnderWay,
    ) -> Result<(), WriteError> {
        let now = clock::now();
        let config = self.config();
        // Whoever asks again asks its successor.
        if config.is_retired_station(station_id) {
            let why = "its station was changed by a reload meanwhile: try again";
            return Err(WriteError::new(WriteError::BUSY, why));
        }
        let line = config.stations[station_id.0 as usize].line;
        let message = Arc::new(message);
        let expires = message.expiry.and_then(|expiry| now.checked_add(expiry));
        let cell = self.line_queue(line);
        let mut queue = lock(&cell.queue);
        if let Some(why) = queue.refuses(station_id, message.bytes()) {
            return Err(WriteError::new(WriteError::BUSY, why));
        }
        let stores = queue.stores(station_id) || deadline <= now;
        if stores && let Some(why) = self.store_status().error {
            return Err(self.cannot_keep(line, &why));
        }
        let number = self.queued.next_number();
        let waits = if stores { Waits::Storing } else { Waits::Direct };
        let entry = Entry { waits, message: Arc::clone(&message), deadline, expires };
        queue.push(station_id, number, entry);
        drop(queue);
        let mut one = under_way(number, message);
        if stores {
            self.store_now(station_id, &mut one);
        }
        outputs.under_way.push_back(one);
        self.line_queue(line).wake.notify_one();
        Ok(())
    }

    /// Whether writes of a station are still to go out before what comes.
    pub(super) fn is_queueing(&self, station: StationId) -> bool {
        let line = self.config().stations[station.0 as usize].line;
        lock(&self.line_queue(line).queue).is_waiting(station)
    }

    /// Queued writes of a station that have not ended.
    pub fn queued_writes(&self, station: StationId) -> usize {
        let setup = self.setup();
        let outputs = lock(&setup.station(station).outputs);
        let waiters = outputs.under_way.iter().flat_map(|one| &one.waiters);
        waiters.filter(|waiter| waiter.first > 0).map(|waiter| waiter.names.len()).sum()
    }

    /// What is known of a queued write; `None`: no write had this number, or it ended long ago.
    pub fn write_status(&self, write: u64) -> Option<WriteStatus> {
        lock(&self.queued.statuses).get(write, clock::wall())
    }

    /// A station was switched: its writes wait while it is not on.
    pub(super) fn hold_queue(&self, station: StationId, mode: StationMode) {
        let line = self.config().stations[station.0 as usize].line;
        lock(&self.line_queue(line).queue).hold(station, mode != StationMode::On);
        self.line_queue(line).wake.notify_one();
    }

    /// A write is to be stored, unless it has ended meanwhile.
    fn store_write(&self, station: StationId, number: u64) {
        let setup = self.setup();
        let mut outputs = lock(&setup.station(station).outputs);
        if let Some(one) = outputs.get_mut(number) {
            self.store_now(station, one);
        }
    }

    /// Gives a write its numbers and has it stored; its client hears of it then.
    fn store_now(&self, station: StationId, one: &mut UnderWay) {
        one.kept = Kept::Queue;
        for waiter in one.waiters.iter_mut().filter(|waiter| waiter.first == 0) {
            waiter.first = self.queued.next_writes(waiter.names.len());
        }
        let last = self.queued.last_write.load(Ordering::Relaxed);
        let sessions = vec![stored(b"n".to_vec(), Some(last.to_be_bytes().to_vec()))];
        let mut commit = Commit { changes: Vec::new(), sessions };
        commit.sessions.push(self.record(station, one));
        let ticket = Ticket { station, number: one.number };
        self.queue_ticket(commit, ticket);
    }

    /// The record of a write is on disk: now its client may hear that it is queued.
    pub(super) fn write_stored(&self, ticket: Ticket) {
        let Ticket { station, number } = ticket;
        let setup = self.setup();
        let mut outputs = lock(&setup.station(station).outputs);
        let Some(one) = outputs.get_mut(number) else { return };
        for waiter in one.waiters.iter_mut().filter(|waiter| waiter.first > 0) {
            lock(&self.queued.statuses).begin(waiter.first, waiter.names.clone());
            if let Some(reply) = waiter.reply.take() {
                let _ = reply.send(WriteOutcome::Queued(waiter.first));
            }
        }
        drop(outputs);
        let line = self.config().stations[station.0 as usize].line;
        lock(&self.line_queue(line).queue).stored(station, number);
        self.line_queue(line).wake.notify_one();
    }

    /// The record of a write cannot be written: what its commit becomes, so that it is not there when the
    /// store heals.
    pub(super) fn forget_ticket(commit: &mut Commit) {
        for record in commit.sessions.iter_mut().filter(|record| record.key.first() == Some(&b'q'))
        {
            record.value = None;
        }
    }

    /// That write has failed.
    pub(super) fn write_not_stored(&self, ticket: Ticket, error: &StoreError) {
        let Ticket { station, number } = ticket;
        let line = self.config().stations[station.0 as usize].line;
        lock(&self.line_queue(line).queue).remove(station, number);
        let outcome = WriteOutcome::Failed(self.cannot_keep(line, &error.to_string()));
        self.end_publication(station, number, &outcome, |batch| self.apply(batch, None));
    }

    fn cannot_keep(&self, line: LineId, why: &str) -> WriteError {
        let name = &self.config().lines[line.0 as usize].name;
        let why = format!("line `{name}` cannot take it now, and it cannot be queued: {why}");
        WriteError::new(WriteError::LINE_DOWN, why)
    }

    /// Queued writes have ended, and that is on disk.
    pub(super) fn tell(&self, told: Vec<Told>) {
        for Told { finished, at, finishes } in told {
            let Finished { first, names, outcome } = &finished;
            let forgotten = lock(&self.queued.statuses).end(*first, names, at, outcome.clone());
            if !forgotten.is_empty() {
                let delete = |first| stored(status_key(first), None);
                self.keep(forgotten.into_iter().map(delete).collect());
            }
            if let Some(finishes) = finishes {
                // Whoever wrote may be gone.
                let _ = finishes.send(finished);
            }
        }
    }

    /// A write ends in the queue.
    fn end_unsent(&self, station: StationId, number: u64, why: &str) {
        let outcome = WriteOutcome::Failed(WriteError::new(WriteError::PUBLICATION, why));
        self.end_publication(station, number, &outcome, |batch| self.apply(batch, None));
    }

    fn keep(&self, sessions: Vec<SessionRecord>) {
        self.apply(Batch { sessions, ..Batch::default() }, None);
    }

    /// What the store is to have of a publication.
    fn record(&self, station: StationId, one: &UnderWay) -> SessionRecord {
        let config = self.config();
        let station = &config.stations[station.0 as usize];
        let (place, line) = match &one.kept {
            Kept::No => return stored(publication_key(one.number), None),
            Kept::Queue => (Place::Queue, station.line),
            Kept::Taken => (Place::Taken, station.line),
            Kept::Session { line, packet_ids } => (Place::Session(packet_ids.clone()), *line),
        };
        let mut message = match &one.message {
            Some(message) => Message::clone(message),
            None => Message {
                topic: String::new(),
                payload: bytes::Bytes::new(),
                qos: station.publish_qos,
                retain: false,
                content_type: None,
                written: clock::wall(),
                expiry: None,
            },
        };
        if place != Place::Queue {
            message.topic.clear();
            message.payload.clear();
        }
        let writes = one.waiters.iter().map(|waiter| Writes {
            first: waiter.first,
            names: waiter.names.clone(),
            failed: waiter.failed.clone(),
        });
        let name = |tag: crate::iotag::TagId| config.tags[tag.0 as usize].name.to_string();
        let record = Record {
            place,
            line: config.lines[line.0 as usize].name.to_string(),
            station: station.name.to_string(),
            message,
            values: one.values.iter().map(|(tag, value)| (name(*tag), value.clone())).collect(),
            // Nobody waits any more for those without a number.
            writes: writes.filter(|writes| writes.first > 0).collect(),
        };
        stored(publication_key(one.number), Some(record.to_bytes()))
    }

    /// What the end of a publication leaves in the store, and who hears of it then or at once.
    pub(super) fn settle_end(
        &self,
        station: StationId,
        (number, is_kept): (u64, bool),
        told: Vec<(Waiter, WriteOutcome)>,
        batch: &mut Batch,
    ) -> Vec<(Waiter, WriteOutcome)> {
        let line = self.config().stations[station.0 as usize].line;
        lock(&self.line_queue(line).queue).given(station, number);
        if is_kept {
            batch.sessions.push(stored(publication_key(number), None));
        }
        let (queued, direct): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|(waiter, _)| waiter.reply.is_none() && waiter.first > 0);
        let at = clock::wall();
        for (waiter, outcome) in queued {
            let Waiter { first, names, finishes, .. } = waiter;
            let value = status::to_bytes(&names, at, &outcome);
            batch.sessions.push(stored(status_key(first), Some(value)));
            let finished = Finished { first, names, outcome };
            batch.told.push(Told { finished, at, finishes });
        }
        direct
    }

    /// What the store is to have of a publication that others wait for as well.
    pub(super) fn heir_record(&self, station: StationId, heir: &UnderWay) -> Option<SessionRecord> {
        (heir.kept != Kept::No).then(|| self.record(station, heir))
    }
}

fn publish_of(
    station: StationId,
    number: u64,
    message: &Message,
    (deadline, expires): (Instant, Option<Instant>),
) -> Publish {
    Publish {
        station,
        number,
        cyclic: false,
        topic: message.topic.clone(),
        payload: message.payload.clone(),
        qos: message.qos,
        retain: message.retain,
        content_type: message.content_type.clone(),
        deadline,
        expires,
        queues: true,
    }
}

/// When the outcome of a queued write is wanted that goes out now.
fn answer_deadline(now: Instant, expires: Option<Instant>) -> Instant {
    match expires {
        Some(expires) => expires.max(now + ANSWER_TIME_MIN),
        None => now + FOR_EVER,
    }
}

fn publication_key(number: u64) -> Vec<u8> {
    numbered(b'q', number)
}

fn status_key(first: u64) -> Vec<u8> {
    numbered(b's', first)
}

fn numbered(kind: u8, number: u64) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes()].concat()
}

fn stored(key: Vec<u8>, value: Option<Vec<u8>>) -> SessionRecord {
    SessionRecord { line: QUEUE.into(), key, value }
}

const EXPIRED: &str = "it expired before its line could take it (`write_expiry`)";
