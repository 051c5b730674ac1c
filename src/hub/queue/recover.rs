//! The writes that an earlier process left behind, at the start.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::line::{Entry, Waits};
use super::record::{Place, Reader, Record};
use super::{Adoption, EXPIRED, QUEUE, answer_deadline, publish_of, status, status_key, stored};
use crate::clock;
use crate::hub::outputs::{Kept, UnderWay, Waiter};
use crate::hub::status::StationMode;
use crate::hub::writes::{WriteError, WriteOutcome};
use crate::hub::{Hub, lock};
use crate::iotag::{LineId, StationId, Timestamp};
use crate::store::Recovered;

/// Where numbers go on when a store had to be put aside: in milliseconds since 1970, above all that it can
/// have given.
fn first_of_fresh_store(now: Timestamp) -> u64 {
    u64::try_from(now.as_millisecond()).unwrap_or(0)
}

impl Hub {
    /// Takes up the writes of earlier processes: before any line works.
    pub(in crate::hub) fn recover_writes(&self, recovered: &Recovered) {
        let (now, wall) = (clock::now(), clock::wall());
        let own = recovered.sessions.iter().filter(|(line, ..)| &**line == QUEUE);
        let (mut last_write, mut last_number) = (0, 0);
        if recovered.quarantined.is_some() {
            last_write = first_of_fresh_store(wall);
        }
        let mut publications = Vec::new();
        for (_, key, value) in own {
            let mut rest = Reader(&key[1.min(key.len())..]);
            match (key.first(), rest.u64()) {
                (Some(b'n'), None) => {
                    last_write = last_write.max(Reader(value).u64().unwrap_or(0));
                }
                (Some(b's'), Some(first)) => {
                    let Some((names, at, outcome)) = status::from_bytes(value) else { continue };
                    last_write = last_write.max(first + names.len() as u64);
                    let forgotten = lock(&self.queued.statuses).end(first, &names, at, outcome);
                    let delete = |first| stored(status_key(first), None);
                    self.keep(forgotten.into_iter().map(delete).collect());
                }
                (Some(b'q'), Some(number)) => {
                    last_number = last_number.max(number);
                    match Record::from_bytes(value) {
                        Some(record) => publications.push((number, record)),
                        None => tracing::error!(number, "a queued write cannot be read"),
                    }
                }
                _ => {}
            }
        }
        let numbers = publications.iter().flat_map(|(_, record)| &record.writes);
        for writes in numbers {
            last_write = last_write.max(writes.first + writes.names.len() as u64);
            lock(&self.queued.statuses).begin(writes.first, writes.names.clone());
        }
        self.queued.last_write.store(last_write, Ordering::Relaxed);
        self.queued.last_number.store(last_number, Ordering::Relaxed);
        let ends: Vec<(StationId, u64, WriteOutcome)> = publications
            .into_iter()
            .filter_map(|(number, record)| self.recover_write(number, record, (now, wall)))
            .collect();
        for (station, number, outcome) in ends {
            self.end_publication(station, number, &outcome, |batch| self.apply(batch, None));
        }
        // Ends of long ago, of a process that did not run since.
        let forgotten = lock(&self.queued.statuses).forget(wall);
        self.keep(forgotten.into_iter().map(|first| stored(status_key(first), None)).collect());
        for (index, station) in (0u32..).zip(&self.config().stations) {
            let id = StationId(index);
            let mode = self.station_mode(id);
            if mode != StationMode::On {
                self.hold_queue(id, mode);
            }
            let count = self.queued_writes(id);
            if count > 0 {
                tracing::info!(station = %station.name, count, "queued writes of before go on");
            }
        }
    }

    /// Takes up one publication; the answer is its end, if it has come to that.
    fn recover_write(
        &self,
        number: u64,
        record: Record,
        (now, wall): (Instant, Timestamp),
    ) -> Option<(StationId, u64, WriteOutcome)> {
        let config = self.config();
        let Record { place, line, station, message, values, writes } = record;
        let named = config.stations.iter().position(|known| *known.name == *station);
        let Some(station_id) = named.and_then(|index| u32::try_from(index).ok()).map(StationId)
        else {
            self.end_without_station(number, place, &station, writes);
            return None;
        };
        let line = config.lines.iter().position(|known| *known.name == *line);
        let line = line.and_then(|index| u32::try_from(index).ok()).map(LineId);
        let expires = message.expiry.map(|expiry| now + left_of(expiry, message.written, wall));
        let message = Arc::new(message);
        let values = values.into_iter().filter_map(|(name, value)| {
            let tag = self.tag_named(&name)?;
            let tag_type = config.tags[tag.0 as usize].tag_type;
            let fits = value.as_ref().is_none_or(|value| value.is_of(tag_type));
            (fits && tag_type.is_output()).then_some((tag, value))
        });
        let waiters = writes.into_iter().map(|writes| Waiter {
            reply: None,
            finishes: None,
            first: writes.first,
            names: writes.names,
            failed: writes.failed,
        });
        let mut one = UnderWay {
            number,
            cyclic: false,
            values: values.collect(),
            carries: Vec::new(),
            waiters: waiters.collect(),
            carried: None,
            message: (place == Place::Queue).then(|| Arc::clone(&message)),
            kept: match (place, line) {
                (Place::Queue, _) => Kept::Queue,
                (Place::Taken, _) | (Place::Session(_), None) => Kept::Taken,
                (Place::Session(packet_ids), Some(line)) => Kept::Session { line, packet_ids },
            },
        };
        let setup = self.setup();
        let mut outputs = lock(&setup.station(station_id).outputs);
        one.carries = self.carried_then(station_id, &one.values, &outputs);
        let kept = one.kept.clone();
        outputs.under_way.push_back(one);
        drop(outputs);
        match kept {
            Kept::Queue => {
                if expires.is_some_and(|expires| expires <= now) {
                    tracing::warn!(station, "a queued write expired while the process was away");
                    let error = WriteError::new(WriteError::PUBLICATION, EXPIRED);
                    return Some((station_id, number, WriteOutcome::Failed(error)));
                }
                let entry = Entry { waits: Waits::Stored, message, deadline: now, expires };
                let line = config.stations[station_id.0 as usize].line;
                lock(&self.line_queue(line).queue).push(station_id, number, entry);
                None
            }
            Kept::Session { line, packet_ids } => {
                let deadline = expires.map(|_| answer_deadline(now, expires));
                let due = (deadline.unwrap_or(now), expires);
                let mut publish = publish_of(station_id, number, &message, due);
                publish.queues = false;
                let adoption = Adoption { publish, packet_ids, deadline };
                lock(&self.queued.adoptions).push((line, adoption));
                None
            }
            Kept::Taken | Kept::No => {
                tracing::warn!(
                    station,
                    "a write was being sent when the process ended: nobody knows whether it left"
                );
                Some((station_id, number, WriteOutcome::Uncertain(lost())))
            }
        }
    }

    /// Its station is gone from the configuration.
    fn end_without_station(
        &self,
        number: u64,
        place: Place,
        station: &str,
        writes: Vec<super::Writes>,
    ) {
        let outcome = match place {
            Place::Queue => {
                let why = format!("station `{station}` is not configured any more");
                tracing::warn!(station, "a queued write is dropped: its station is gone");
                WriteOutcome::Failed(WriteError::new(WriteError::PUBLICATION, why))
            }
            Place::Taken | Place::Session(_) => WriteOutcome::Uncertain(lost()),
        };
        let at = clock::wall();
        let mut records = vec![stored(super::publication_key(number), None)];
        for super::Writes { first, names, .. } in writes {
            let value = status::to_bytes(&names, at, &outcome);
            records.push(stored(status_key(first), Some(value)));
            lock(&self.queued.statuses).end(first, &names, at, outcome.clone());
        }
        self.keep(records);
    }
}

/// What is left of an expiry. A clock that was set back does not lengthen it.
pub(super) fn left_of(expiry: Duration, written: Timestamp, wall: Timestamp) -> Duration {
    let passed = Duration::try_from(wall.duration_since(written)).unwrap_or_default();
    expiry.saturating_sub(passed)
}

fn lost() -> WriteError {
    let why = "the process ended while it was being sent: it may have left";
    WriteError::new(WriteError::PUBLICATION, why)
}
