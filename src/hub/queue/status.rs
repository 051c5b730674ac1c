//! What became of queued writes: for a day, over restarts, and a bounded number of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::SignedDuration;

use super::record::{Reader, put_count, put_text};
use crate::hub::bounds::WRITE_STATUSES_MAX;
use crate::hub::writes::{Finished, Finishes, WriteError, WriteOutcome};
use crate::iotag::Timestamp;

/// How long the end of a write is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// Queued writes of one request and publication; numbered in their order from the key.
#[derive(Debug)]
struct Status {
    names: Vec<Arc<str>>,
    /// `None`: it has not ended.
    end: Option<(Timestamp, WriteOutcome)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// By the first number.
    writes: BTreeMap<u64, Status>,
    /// Ended ones, the oldest end first.
    ended: VecDeque<(Timestamp, u64)>,
}

/// What is known of a queued write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteStatus {
    /// Name of its tag.
    pub name: Arc<str>,
    /// How it ended; `None`: it has not.
    pub end: Option<WriteOutcome>,
}

/// The end of queued writes, to be told once it is on disk.
#[derive(Debug)]
pub struct Told {
    pub(super) finished: Finished,
    pub(super) at: Timestamp,
    /// Who wrote, if that is a client of this process.
    pub(super) finishes: Option<Finishes>,
}

impl Statuses {
    /// Writes are queued.
    pub(super) fn begin(&mut self, first: u64, names: Vec<Arc<str>>) {
        self.writes.entry(first).or_insert(Status { names, end: None });
    }

    /// Writes have ended. The answer is which others are forgotten.
    pub(super) fn end(
        &mut self,
        first: u64,
        names: &[Arc<str>],
        at: Timestamp,
        outcome: WriteOutcome,
    ) -> Vec<u64> {
        let status = Status { names: names.to_vec(), end: Some((at, outcome)) };
        self.writes.insert(first, status);
        self.ended.push_back((at, first));
        self.forget(at)
    }

    /// Forgets what ended long ago, and the oldest beyond the bound.
    pub(super) fn forget(&mut self, now: Timestamp) -> Vec<u64> {
        let mut forgotten = Vec::new();
        while let Some(&(at, first)) = self.ended.front()
            && (is_old(at, now) || self.ended.len() > WRITE_STATUSES_MAX)
        {
            self.ended.pop_front();
            self.writes.remove(&first);
            forgotten.push(first);
        }
        forgotten
    }

    pub(super) fn get(&self, write: u64, now: Timestamp) -> Option<WriteStatus> {
        let (first, status) = self.writes.range(..=write).next_back()?;
        let name = status.names.get(usize::try_from(write - first).ok()?)?;
        if status.end.as_ref().is_some_and(|(at, _)| is_old(*at, now)) {
            return None;
        }
        let end = status.end.as_ref().map(|(_, outcome)| outcome.clone());
        Some(WriteStatus { name: Arc::clone(name), end })
    }
}

fn is_old(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) > REMEMBERED
}

/// What the store keeps of an end: time (16), 0 completed, 1 failed or 2 uncertain, error code (4), error,
/// names.
pub(super) fn to_bytes(names: &[Arc<str>], at: Timestamp, outcome: &WriteOutcome) -> Vec<u8> {
    let (kind, error) = match outcome {
        WriteOutcome::Completed | WriteOutcome::Queued(_) => (0, None),
        WriteOutcome::Failed(error) => (1, Some(error)),
        WriteOutcome::Uncertain(error) => (2, Some(error)),
    };
    let mut out = at.as_nanosecond().to_be_bytes().to_vec();
    out.push(kind);
    out.extend_from_slice(&error.map_or(0, |error| error.code).to_be_bytes());
    put_text(&mut out, error.map_or("", |error| &error.message));
    put_count(&mut out, names.len());
    names.iter().for_each(|name| put_text(&mut out, name));
    out
}

/// Reads what [`to_bytes`] writes.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<(Vec<Arc<str>>, Timestamp, WriteOutcome)> {
    let mut reader = Reader(bytes);
    let at = Timestamp::from_nanosecond(i128::from_be_bytes(reader.array()?)).ok()?;
    let kind = reader.u8()?;
    let error = WriteError::new(i32::from_be_bytes(reader.array()?), reader.text()?);
    let outcome = match kind {
        0 => WriteOutcome::Completed,
        1 => WriteOutcome::Failed(error),
        2 => WriteOutcome::Uncertain(error),
        _ => return None,
    };
    let names = reader.list(|reader| reader.text().map(Arc::from))?;
    reader.0.is_empty().then_some((names, at, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn names(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|index| format!("tag{index}").into()).collect()
    }

    #[test]
    fn a_write_is_known_from_its_queueing_until_a_day_after_its_end() {
        let mut statuses = Statuses::default();
        statuses.begin(5, names(2));
        let pending = WriteStatus { name: "tag1".into(), end: None };
        assert_eq!(statuses.get(6, at(0)), Some(pending));
        assert_eq!(statuses.get(4, at(0)), None);
        assert_eq!(statuses.get(7, at(0)), None, "between the writes of two requests");
        assert!(statuses.end(5, &names(2), at(100), WriteOutcome::Completed).is_empty());
        let ended = WriteStatus { name: "tag0".into(), end: Some(WriteOutcome::Completed) };
        assert_eq!(statuses.get(5, at(86_500)), Some(ended));
        assert_eq!(statuses.get(5, at(86_501)), None);
        assert_eq!(statuses.end(9, &names(1), at(86_501), WriteOutcome::Completed), [5]);
    }

    #[test]
    fn the_oldest_ends_go_first_beyond_the_bound() {
        let mut statuses = Statuses::default();
        statuses.begin(1, names(1));
        for first in 2..WRITE_STATUSES_MAX as u64 + 2 {
            assert!(statuses.end(first, &names(1), at(1), WriteOutcome::Completed).is_empty());
        }
        let one_more = WRITE_STATUSES_MAX as u64 + 2;
        assert_eq!(statuses.end(one_more, &names(1), at(1), WriteOutcome::Completed), [2]);
        assert!(statuses.get(1, at(1)).is_some(), "what has not ended is never forgotten");
    }

    #[test]
    fn ends_come_back_from_their_bytes() {
        let error = WriteError::new(-32006, "lost");
        for outcome in [
            WriteOutcome::Completed,
            WriteOutcome::Failed(error.clone()),
            WriteOutcome::Uncertain(error),
        ] {
            let bytes = to_bytes(&names(3), at(7), &outcome);
            assert_eq!(from_bytes(&bytes), Some((names(3), at(7), outcome)));
            for cut in 0..bytes.len() {
                assert_eq!(from_bytes(&bytes[..cut]), None);
            }
        }
    }
}
