//! What waits for the disk, and what leaves the journal when that gets too much.
//!
//! While the store takes nothing, changes that no acknowledgement hangs on (QoS 0) cannot all be kept. Of
//! the older half of what waits, each tag's last change stays, so that its value is right after a restart;
//! the others are gone from the journal. That is a gap: it is stored with the first commit behind it, and
//! whoever has not seen what is missing is told. `docs/decisions/0015-disk-full.md` argues it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashSet;

use super::bounds::{BACKLOG_BYTES_MAX, BACKLOG_CHANGES_MAX, BACKLOG_READING_FACTOR, GAPS_MAX};
use super::setup::LineLink;
use super::{BatchId, Hub, Pending, State, lock};
use crate::store::{Recovered, SessionRecord};

/// What the gaps are stored under. No line has this name: it begins with a control character.
const GAPS: &str = "\u{1}journal gaps";

/// Changes that are missing in the journal: some of those numbered from `first` to `last`, these two
/// among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Number of the first one.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
}

/// How much waits.
#[derive(Debug)]
pub(super) struct Backlog {
    changes: usize,
    bytes: usize,
    /// Changes and bytes at which it is thinned.
    limit: (usize, usize),
    /// The store does not know all gaps.
    gaps_changed: bool,
}

impl Default for Backlog {
    fn default() -> Self {
        let limit = (BACKLOG_CHANGES_MAX, BACKLOG_BYTES_MAX);
        Self { changes: 0, bytes: 0, limit, gaps_changed: false }
    }
}

impl Backlog {
    pub(super) fn add(&mut self, pending: &Pending) {
        self.changes += pending.commit.changes.len();
        self.bytes += pending.bytes;
    }

    pub(super) fn remove(&mut self, pending: &Pending) {
        self.changes -= pending.commit.changes.len();
        self.bytes -= pending.bytes;
    }

    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    fn is_over(&self) -> bool {
        self.changes >= self.limit.0 || self.bytes >= self.limit.1
    }

    /// Whether the lines must not add to it.
    pub(super) fn is_full(&self) -> bool {
        let (changes, bytes) = self.limit;
        self.changes >= changes * BACKLOG_READING_FACTOR
            || self.bytes >= bytes * BACKLOG_READING_FACTOR
    }
}

impl State {
    /// Changes up to the number `shown` may leave. The gap that there is then, and how many they are.
    fn thin(&mut self, shown: u64) -> Option<(Gap, u64)> {
        let newest = self.newest_half();
        let pending = std::mem::take(&mut self.pending);
        let mut kept: Vec<Pending> = Vec::with_capacity(pending.len());
        let mut carried: Vec<(Arc<LineLink>, BatchId)> = Vec::new();
        let mut gone: FxHashSet<Vec<u8>> = FxHashSet::default();
        let (mut gap, mut lost): (Option<Gap>, u64) = (None, 0);
        for (index, mut pending) in pending.into_iter().enumerate() {
            let seen = pending.commit.changes.last().is_none_or(|change| change.seq <= shown);
            if index < newest && pending.passing && seen {
                pending.commit.changes.retain(|change| {
                    let stays = self.seqs[change.tag.0 as usize] == change.seq;
                    if !stays {
                        lost += 1;
                        let first = gap.map_or(change.seq, |gap| gap.first);
                        gap = Some(Gap { first, last: change.seq });
                    }
                    stays
                });
                pending.commit.changes.shrink_to_fit();
                pending.commit.sessions.retain(|record| {
                    let stays = record.value.is_none() && !gone.remove(&record.key);
                    if record.value.is_some() {
                        gone.insert(record.key.clone());
                    }
                    stays
                });
                pending.measure();
            }
            for (line, batch) in carried.drain(..) {
                pending.settles(line, batch);
            }
            if index < newest && pending.is_empty() {
                // It settles with the next one.
                carried = pending.settle.into_iter().chain(pending.carried).collect();
            } else {
                kept.push(pending);
            }
        }
        self.pending = kept;
        self.backlog.changes = self.pending.iter().map(|it| it.commit.changes.len()).sum();
        self.backlog.bytes = self.pending.iter().map(|it| it.bytes).sum();
        let Backlog { changes, bytes, limit, .. } = &mut self.backlog;
        *limit = (BACKLOG_CHANGES_MAX.max(*changes / 2 * 3), BACKLOG_BYTES_MAX.max(*bytes / 2 * 3));
        gap.map(|gap| (gap, lost))
    }

    /// Where the newer half of what waits begins; the last one belongs to it.
    fn newest_half(&self) -> usize {
        let (mut changes, mut bytes) = (0, 0);
        let newest = self.pending.iter().rev().take_while(|pending| {
            let first = changes == 0 && bytes == 0;
            changes += pending.commit.changes.len();
            bytes += pending.bytes;
            first || (changes <= BACKLOG_CHANGES_MAX / 2 && bytes <= BACKLOG_BYTES_MAX / 2)
        });
        self.pending.len() - newest.count()
    }
}

impl Pending {
    /// Nothing is to be written or told.
    fn is_empty(&self) -> bool {
        let nothing = self.commit.changes.is_empty() && self.commit.sessions.is_empty();
        nothing && self.told.is_empty() && self.ticket.is_none()
    }

    /// A batch is on disk with this one at the latest.
    fn settles(&mut self, line: Arc<LineLink>, batch: BatchId) {
        let of_line = |other: &Arc<LineLink>| Arc::ptr_eq(other, &line);
        if self.settle.as_ref().is_some_and(|(other, _)| of_line(other)) {
            return;
        }
        match self.carried.iter_mut().find(|(other, _)| of_line(other)) {
            Some((_, last)) => *last = (*last).max(batch),
            None => self.carried.push((line, batch)),
        }
    }
}

impl Hub {
    /// Whether the store takes nothing at present.
    pub fn is_store_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Whether so much waits for a store that takes nothing that the lines must not add to it.
    pub fn is_backlog_full(&self) -> bool {
        self.backlog_full.load(Ordering::Acquire)
    }

    /// Changes that wait for the disk, beside those that are being written.
    pub fn waiting_changes(&self) -> usize {
        lock(&self.state).backlog.changes()
    }

    /// The store takes nothing, or it does again. The lines look what they may read.
    pub(super) fn set_failing(&self, failing: bool) {
        if self.failing.swap(failing, Ordering::AcqRel) != failing {
            self.wake_lines();
        }
    }

    fn wake_lines(&self) {
        self.setup().lines.iter().for_each(|line| line.settled.send_modify(|_| {}));
    }

    /// While the store takes nothing: bounds what waits for it.
    pub(super) fn thin_backlog(&self, state: &mut State) {
        if !state.backlog.is_over() {
            return;
        }
        if let Some((gap, lost)) = state.thin(self.feed.shown_seq()) {
            state.backlog.gaps_changed = true;
            self.feed.lose(gap, self.store.journal_oldest().ok().flatten());
            let mut status = lock(&self.store_status);
            if status.lost_since_failure == 0 {
                tracing::warn!(
                    "the disk takes nothing for too long: older changes from messages of QoS 0 are dropped \
                     from the journal; consumers that come back are told"
                );
            }
            status.lost_since_failure += lost;
            status.lost += lost;
        }
        let full = state.backlog.is_full();
        if self.backlog_full.swap(full, Ordering::AcqRel) && !full {
            self.wake_lines();
        }
    }

    /// The first group behind a gap stores it.
    pub(super) fn store_gaps(&self, state: &mut State, group: &mut [Pending]) {
        if let Some(first) = group.first_mut()
            && std::mem::take(&mut state.backlog.gaps_changed)
        {
            first.commit.sessions.push(record(&self.feed.gaps()));
        }
        if state.pending.is_empty() {
            state.backlog.limit = Backlog::default().limit;
        }
        self.backlog_full.store(state.backlog.is_full(), Ordering::Release);
    }
}

/// Adds a gap to those that are known, in order, and forgets those that the journal does not reach back to. As
/// long as nothing behind it is on disk (`durable` is the last number that is), a gap grows: the answer is all
/// of it.
pub(super) fn add_gap(gaps: &mut Vec<Gap>, gap: Gap, durable: u64, oldest: Option<u64>) -> Gap {
    gaps.retain(|gap| oldest.is_none_or(|oldest| gap.last >= oldest));
    let mut gap = gap;
    while let Some(before) = gaps.pop_if(|before| before.last >= gap.first.min(durable)) {
        gap = Gap { first: before.first.min(gap.first), last: before.last.max(gap.last) };
    }
    gaps.push(gap);
    if gaps.len() > GAPS_MAX {
        let oldest = gaps.remove(0);
        gaps[0].first = oldest.first;
    }
    gap
}

fn record(gaps: &[Gap]) -> SessionRecord {
    let numbers = gaps.iter().flat_map(|gap| [gap.first, gap.last]);
    let value = numbers.flat_map(u64::to_be_bytes).collect();
    SessionRecord { line: GAPS.into(), key: vec![0], value: Some(value) }
}

/// The gaps that the store knows.
pub(super) fn stored_gaps(recovered: &Recovered) -> Vec<Gap> {
    let mut records = recovered.sessions.iter().filter(|(line, ..)| &**line == GAPS);
    let Some((.., value)) = records.next() else { return Vec::new() };
    let (numbers, _) = value.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
    let (pairs, _) = numbers.as_chunks::<2>();
    pairs.iter().map(|&[first, last]| Gap { first, last }).collect()
}

#[cfg(test)]
mod tests;
