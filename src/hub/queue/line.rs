//! PURE: the writes of one line that wait to go out.
//!
//! Every write to a station that queues passes through here, also while the line is up; so its order is
//! that of the numbers, whatever happens to a connection: what a connection did not take comes back to
//! its place.
//!
//! ```text
//!   Direct ──(deadline, line down)──▶ Storing ──(on disk)──▶ Stored
//!     └──────────────── taken by the line ◀───────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::record::Message;
use crate::hub::bounds::{QUEUED_BYTES_LINE_MAX, QUEUED_BYTES_MAX, QUEUED_WRITES_MAX};
use crate::iotag::StationId;

/// How safe a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Waits {
    /// In memory: its client waits for the outcome.
    Direct,
    /// On its way to the disk: it holds up those behind it.
    Storing,
    /// On disk.
    Stored,
}

/// A write that waits.
#[derive(Clone, Debug)]
pub(in crate::hub) struct Entry {
    pub(in crate::hub) waits: Waits,
    /// What is to be published.
    pub(in crate::hub) message: Arc<Message>,
    /// When its client wants to know its outcome.
    pub(in crate::hub) deadline: Instant,
    /// When it is not to be sent any more; `None`: never.
    pub(in crate::hub) expires: Option<Instant>,
}

/// What time has done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::hub) struct Due {
    /// They are `Storing` from now on.
    pub(in crate::hub) to_store: Vec<(StationId, u64)>,
    /// They are gone.
    pub(in crate::hub) expired: Vec<(StationId, u64)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::hub) struct LineQueue {
    open: bool,
    stations: BTreeMap<StationId, StationQueue>,
    /// First entry of each station that may go out.
    ready: BTreeMap<u64, StationId>,
    due: BTreeSet<(Instant, u64, StationId)>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct StationQueue {
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
    /// Nothing goes out: the station is not on.
    held: bool,
    /// Its place in `ready`.
    ready: Option<u64>,
    /// Taken by the line, and not given to the connection yet.
    out: BTreeSet<u64>,
}

impl Entry {
    fn due(&self) -> Option<Instant> {
        match self.waits {
            Waits::Direct => Some(self.expires.map_or(self.deadline, |at| at.min(self.deadline))),
            Waits::Storing => None,
            Waits::Stored => self.expires,
        }
    }
}

impl LineQueue {
    /// The line is connected: what comes may go out without being stored.
    pub(in crate::hub) fn open(&mut self) {
        self.open = true;
    }

    /// The line is not connected any more: all that waits has to be stored.
    pub(in crate::hub) fn close(&mut self) -> Vec<(StationId, u64)> {
        self.open = false;
        let mut to_store = Vec::new();
        for (&station, queue) in &mut self.stations {
            for (&number, entry) in &mut queue.entries {
                if entry.waits == Waits::Direct {
                    if let Some(due) = entry.due() {
                        self.due.remove(&(due, number, station));
                    }
                    entry.waits = Waits::Storing;
                    to_store.push((station, number));
                }
            }
        }
        let stations: BTreeSet<StationId> = to_store.iter().map(|(station, _)| *station).collect();
        stations.into_iter().for_each(|station| self.list(station));
        to_store
    }

    /// Whether a write that comes has to be stored before anything else.
    pub(in crate::hub) fn stores(&self, station: StationId) -> bool {
        let stored = |entry: &Entry| entry.waits != Waits::Direct;
        let queue = self.stations.get(&station);
        !self.open || queue.is_some_and(|queue| queue.entries.values().any(stored))
    }

    /// Whether anything is to go out before what comes.
    pub(in crate::hub) fn is_waiting(&self, station: StationId) -> bool {
        let queue = self.stations.get(&station);
        queue.is_some_and(|queue| !queue.entries.is_empty() || !queue.out.is_empty())
    }

    /// Why there is no room for another write of this size, if there is none.
    pub(in crate::hub) fn refuses(&self, station: StationId, bytes: usize) -> Option<&'static str> {
        let queue = self.stations.get(&station);
        let (count, used) = queue.map_or((0, 0), |queue| (queue.entries.len(), queue.bytes));
        if count >= QUEUED_WRITES_MAX {
            return Some("too many writes of its station are queued");
        }
        let full = used.saturating_add(bytes) > QUEUED_BYTES_MAX;
        (full || self.bytes.saturating_add(bytes) > QUEUED_BYTES_LINE_MAX)
            .then_some("the queued writes of its station, or of its line, are too large together")
    }

    /// A write comes, or comes back to its place.
    pub(in crate::hub) fn push(&mut self, station: StationId, number: u64, entry: Entry) {
        if let Some(due) = entry.due() {
            self.due.insert((due, number, station));
        }
        self.bytes += entry.message.bytes();
        let queue = self.stations.entry(station).or_default();
        queue.bytes += entry.message.bytes();
        queue.out.remove(&number);
        queue.entries.insert(number, entry);
        self.list(station);
    }

    /// The write that goes out next.
    pub(in crate::hub) fn first(&self) -> Option<&Entry> {
        let (number, station) = self.ready.first_key_value()?;
        self.stations.get(station)?.entries.get(number)
    }

    /// Takes that write; [`Self::given`] when it has been given to the connection.
    pub(in crate::hub) fn take(&mut self) -> Option<(StationId, u64, Entry)> {
        let (&number, &station) = self.ready.first_key_value()?;
        let entry = self.remove(station, number)?;
        self.stations.entry(station).or_default().out.insert(number);
        Some((station, number, entry))
    }

    /// A write that was taken has been given to the connection, or has ended.
    pub(in crate::hub) fn given(&mut self, station: StationId, number: u64) {
        if let Some(queue) = self.stations.get_mut(&station) {
            queue.out.remove(&number);
        }
        self.tidy(station);
    }

    /// A write is on disk.
    pub(in crate::hub) fn stored(&mut self, station: StationId, number: u64) {
        let queue = self.stations.get_mut(&station);
        let Some(entry) = queue.and_then(|queue| queue.entries.get_mut(&number)) else { return };
        entry.waits = Waits::Stored;
        if let Some(due) = entry.due() {
            self.due.insert((due, number, station));
        }
        self.list(station);
    }

    /// A write waits no more.
    pub(in crate::hub) fn remove(&mut self, station: StationId, number: u64) -> Option<Entry> {
        let queue = self.stations.get_mut(&station)?;
        let entry = queue.entries.remove(&number)?;
        queue.bytes -= entry.message.bytes();
        self.bytes -= entry.message.bytes();
        if let Some(due) = entry.due() {
            self.due.remove(&(due, number, station));
        }
        self.list(station);
        self.tidy(station);
        Some(entry)
    }

    /// No write of a station waits any more.
    pub(in crate::hub) fn remove_all(&mut self, station: StationId) -> Vec<u64> {
        let queue = self.stations.get(&station);
        let numbers: Vec<u64> =
            queue.into_iter().flat_map(|queue| queue.entries.keys().copied()).collect();
        numbers.iter().for_each(|number| drop(self.remove(station, *number)));
        numbers
    }

    /// Holds the writes of a station back, or lets them go.
    pub(in crate::hub) fn hold(&mut self, station: StationId, held: bool) {
        if held || self.stations.contains_key(&station) {
            self.stations.entry(station).or_default().held = held;
            self.list(station);
            self.tidy(station);
        }
    }

    /// When to call [`Self::take_due`] at the latest.
    pub(in crate::hub) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Takes out what has expired. What its client waits for too long is to be stored.
    pub(in crate::hub) fn take_due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        while let Some(&(at, number, station)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let queue = self.stations.get_mut(&station);
            let Some(entry) = queue.and_then(|queue| queue.entries.get_mut(&number)) else {
                continue;
            };
            if entry.expires.is_some_and(|expires| expires <= now) {
                self.remove(station, number);
                due.expired.push((station, number));
            } else {
                entry.waits = Waits::Storing;
                due.to_store.push((station, number));
                self.list(station);
            }
        }
        due
    }

    /// Gives the first entry of a station its place among those that may go out.
    fn list(&mut self, station: StationId) {
        let Some(queue) = self.stations.get_mut(&station) else { return };
        let first = queue.entries.first_key_value().filter(|_| !queue.held);
        let first =
            first.filter(|(_, entry)| entry.waits != Waits::Storing).map(|(number, _)| *number);
        if let Some(before) = queue.ready.take() {
            self.ready.remove(&before);
        }
        queue.ready = first;
        if let Some(first) = first {
            self.ready.insert(first, station);
        }
    }

    fn tidy(&mut self, station: StationId) {
        let empty =
            |queue: &StationQueue| queue.entries.is_empty() && queue.out.is_empty() && !queue.held;
        if self.stations.get(&station).is_some_and(empty) {
            self.stations.remove(&station);
        }
    }
}

#[cfg(test)]
mod tests;
