//! The writes that wait for this line: when they leave the hub's queue, and how they come back to it.
//!
//! ```text
//!   QoS 1, 2 of a kept session:  taken ─▶ machine ─▶ InFlight: session's record and ours in one commit
//!   all others, stored:          taken ─▶ record "taken" ─▶ on disk ─▶ machine
//!   all others, not stored:      taken ─▶ machine
//! ```
//!
//! What no session remembers must not leave before the disk knows: after a crash nobody could tell that it
//! had left, and it would be sent twice.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::LineTask;
use crate::clock;
use crate::hub::bounds::{QUEUED_PER_TURN, QUEUED_TAKEN_MAX};
use crate::hub::queue::Adoption;
use crate::hub::status::PathId;
use crate::hub::writes::WriteError;
use crate::hub::{LinePort, Publish, WriteOutcome};
use crate::mqtt::{PublishOutcome, PublishToken};
use crate::qos::Qos;

/// How long one path of two may hold up the other because it has no room.
const PATH_PATIENCE: Duration = Duration::from_secs(1);

/// What the line has of the queue.
#[derive(Default)]
pub(super) struct Queued {
    /// Nothing is taken any more.
    stopping: bool,
    /// Taken, recorded as such, and to be sent.
    marked: VecDeque<Publish>,
    /// Taken, and their records are not on disk yet.
    marking: usize,
    /// Publications that an earlier process began.
    adopted: BTreeSet<PublishToken>,
    /// Since when a path without room has held up one with room.
    held_up: Option<Instant>,
}

impl Queued {
    /// When to call [`LineTask::serve_queue`] at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.held_up.map(|since| since + PATH_PATIENCE)
    }
}

impl LineTask {
    /// Publications that an earlier process left to the session: their ends come from there.
    pub(super) fn adopt(&mut self) {
        for Adoption { publish, packet_ids, deadline } in self.hub.take_adoptions(self.id) {
            let due = (deadline, publish.expires);
            let token = self.publishing.next_token();
            let mut on = Vec::new();
            for (path, packet_id) in packet_ids {
                if let Some(path) = self.path(PathId(path))
                    && path.client.adopt(packet_id, token, due)
                {
                    on.push(path.id());
                }
            }
            if !on.is_empty() {
                self.queued.adopted.insert(token);
                self.publishing.begin(publish, &on);
                continue;
            }
            let why = "the session that it was given to is gone: it may have left";
            let error = WriteError::new(WriteError::PUBLICATION, why);
            let Self { hub, settlement, .. } = self;
            hub.publication_ended(&publish, WriteOutcome::Uncertain(error), |batch| {
                settlement.absorb(batch);
            });
        }
    }

    /// A connection is over.
    pub(super) fn queue_down(&mut self) {
        if !self.is_up() {
            self.hub.queue_closed(self.id);
        }
    }

    /// The process stops: what was taken and has not left goes back.
    pub(super) fn queue_stops(&mut self) {
        self.queued.stopping = true;
    }

    /// The last of the line: nothing will be sent any more.
    pub(super) fn queue_ends(&mut self) {
        self.queue_stops();
        let marking = self.settlement.take_marked();
        self.queued.marked.extend(marking);
        self.put_marked_back();
        self.hub.queue_closed(self.id);
    }

    /// Records of taken writes are on disk.
    pub(super) fn queue_marked(&mut self, marked: Vec<Publish>) {
        self.queued.marking -= marked.len();
        self.queued.marked.extend(marked);
    }

    /// Gives writes to the connection, as far as it takes them, behind all that came before.
    pub(super) fn serve_queue(&mut self, port: &LinePort) {
        self.hub.queue_on_time(self.id, clock::now());
        if self.queued.stopping || !self.paths.iter().any(|path| path.granted().is_some()) {
            return self.put_marked_back();
        }
        // A command that was put before a write goes before it.
        if !port.commands.is_empty() {
            return;
        }
        for _ in 0..QUEUED_PER_TURN {
            if let Some(publish) = self.queued.marked.pop_front() {
                let on = self.with_room(publish.qos);
                if on.is_empty() {
                    self.queued.marked.push_front(publish);
                    return;
                }
                self.give(on, publish);
                continue;
            }
            if self.queued.marking > 0 || !self.take_next() {
                return;
            }
        }
        // There may be more: the next turn comes at once.
        port.queued.notify_one();
    }

    /// The paths that a queued write goes out on now: all whose filters are answered, once they have
    /// room for it. One that has none for a while does not hold up the other.
    fn with_room(&mut self, qos: Qos) -> Vec<PathId> {
        let ready = self.paths.iter().filter(|path| path.granted().is_some());
        let (room, full): (Vec<_>, Vec<_>) = ready.partition(|path| path.client.has_room(qos));
        let on: Vec<PathId> = room.into_iter().map(|path| path.id()).collect();
        if on.is_empty() || full.is_empty() {
            self.queued.held_up = None;
            return on;
        }
        let now = clock::now();
        let since = *self.queued.held_up.get_or_insert(now);
        if now - since < PATH_PATIENCE { Vec::new() } else { on }
    }

    /// Takes the next writes out of the queue; false: there is none, or no room for it.
    fn take_next(&mut self) -> bool {
        let Some(qos) = self.hub.next_queued(self.id) else {
            self.queued.held_up = None;
            return false;
        };
        let on = self.with_room(qos);
        if on.is_empty() {
            return false;
        }
        let Some(publish) = self.hub.take_queued(self.id) else { return false };
        if self.is_remembered(publish.qos) {
            self.give(on, publish);
            return true;
        }
        let Some(record) = self.hub.queued_write_taken(&publish) else {
            self.give(on, publish);
            return true;
        };
        self.settlement.mark(record, publish);
        self.queued.marking = 1;
        while self.queued.marking < QUEUED_TAKEN_MAX
            && self.hub.next_queued(self.id).is_some_and(|qos| !self.is_remembered(qos))
        {
            let Some(publish) = self.hub.take_queued(self.id) else { break };
            match self.hub.queued_write_taken(&publish) {
                Some(record) => self.settlement.mark(record, publish),
                // It was never stored, and goes behind those before it.
                None => self.settlement.mark_after(publish),
            }
            self.queued.marking += 1;
        }
        self.settlement.submit(&self.hub);
        true
    }

    /// Whether the session has a record of such a publication before it leaves.
    fn is_remembered(&self, qos: Qos) -> bool {
        self.attendance.keeps_session() && qos != Qos::AtMostOnce
    }

    fn give(&mut self, on: Vec<PathId>, publish: Publish) {
        self.hub.queued_write_given(&publish);
        self.publish_on(on, publish);
    }

    /// What was taken and is not to be sent on this connection waits again.
    fn put_marked_back(&mut self) {
        if self.queued.marked.is_empty() {
            return;
        }
        self.settlement.submit(&self.hub);
        for publish in std::mem::take(&mut self.queued.marked) {
            self.hub.put_back(&publish);
        }
    }

    /// The connection did not take a publication of a station that queues.
    pub(super) fn came_back(&mut self, publish: &Publish) {
        self.settlement.submit(&self.hub);
        self.hub.put_back(publish);
    }

    /// A publish has become part of the session of a path.
    pub(super) fn on_in_flight(&mut self, path: PathId, token: PublishToken, packet_id: u16) {
        let Some(publish) = self.publishing.get(token) else { return };
        let record = self.hub.publication_in_session(publish, self.id, (path.0, packet_id));
        self.settlement.keep(record);
    }

    /// A publish has ended on a path, and not on the other.
    pub(super) fn off_path(&mut self, path: PathId, token: PublishToken) {
        let Some(publish) = self.publishing.get(token) else { return };
        self.settlement.keep(self.hub.publication_off_path(publish, path.0));
    }

    /// Says how a publication has ended that an earlier process began.
    pub(super) fn say_end_of_adopted(
        &mut self,
        token: PublishToken,
        publish: &Publish,
        outcome: &PublishOutcome,
    ) {
        if self.queued.adopted.remove(&token) {
            let station = &self.hub.config().stations[publish.station.0 as usize].name;
            tracing::info!(
                line = %self.config.name, %station, ?outcome,
                "a write that an earlier process had begun has ended"
            );
        }
    }
}

#[cfg(test)]
mod tests;
