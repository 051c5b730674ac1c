//! Changes on their way to subscribers.
//!
//! The store's thread publishes what has reached the disk; every subscriber reads at its own pace
//! from its own place. The last changes are kept in memory; who falls behind that reads the
//! journal, so that a slow consumer costs nothing but its place. While the disk takes nothing,
//! what waits for it is shown all the same, marked: `docs/decisions/0015-disk-full.md`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::backlog::{Gap, add_gap};
use super::bounds::{FEED_BYTES_MAX, FEED_CHANGES_MAX};
use super::lock;
use crate::iotag::{TagValue, Value};
use crate::store::Change;

/// Changes that were committed together, in order.
pub type Block = Arc<[Change]>;

/// The recent durable changes, the number of the last one, and what is shown before it is durable.
#[derive(Debug)]
pub struct Feed {
    recent: Mutex<Recent>,
    durable: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Recent {
    blocks: VecDeque<(Block, usize)>,
    changes: usize,
    bytes: usize,
    /// Everything after this number is in `blocks`.
    complete_after: u64,
    /// While the disk takes nothing: changes behind `blocks`, without a gap.
    provisional: VecDeque<Block>,
    /// Number of the last change that was ever among them.
    shown: u64,
    /// What is missing, in order.
    gaps: Vec<Gap>,
}

/// What [`Feed::read_after`] found.
#[derive(Debug)]
pub enum FeedRead {
    /// Blocks that hold changes after the number asked for (the first may begin before it).
    Blocks(Vec<Block>),
    /// Nothing newer is on disk; these wait for it.
    Provisional(Vec<Block>),
    /// Changes up to this number are missing, and some of them are newer.
    Missing(u64),
    /// Nothing is newer.
    UpToDate,
    /// The memory does not reach back so far: read the journal.
    TooOld,
}

impl Feed {
    /// A feed that continues after `last_seq`.
    pub fn new(last_seq: u64, gaps: Vec<Gap>) -> Self {
        let recent = Recent { complete_after: last_seq, gaps, ..Recent::default() };
        Self { recent: Mutex::new(recent), durable: watch::Sender::new(last_seq) }
    }

    /// Number of the last change that is on disk.
    pub fn durable_seq(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Wakes whoever waits for newer changes.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    /// Blocks that have just reached the disk.
    pub(super) fn publish(&self, blocks: impl IntoIterator<Item = Block>) {
        let mut last = None;
        {
            let mut recent = lock(&self.recent);
            for block in blocks {
                let Some(newest) = block.last() else { continue };
                last = Some(newest.seq);
                let bytes = block.iter().map(|change| text_bytes(&change.value)).sum();
                recent.changes += block.len();
                recent.bytes += bytes;
                recent.blocks.push_back((block, bytes));
            }
            let durable = last.unwrap_or(0);
            let is_durable = |block: &mut Block| block.last().is_none_or(|it| it.seq <= durable);
            while recent.provisional.pop_front_if(is_durable).is_some() {}
            while recent.changes > FEED_CHANGES_MAX || recent.bytes > FEED_BYTES_MAX {
                let Some((block, bytes)) = recent.blocks.pop_front() else { break };
                recent.changes -= block.len();
                recent.bytes -= bytes;
                if let Some(newest) = block.last() {
                    recent.complete_after = newest.seq;
                }
            }
        }
        if let Some(last) = last {
            self.durable.send_replace(last);
        }
    }

    /// Number of the last change that was shown before it was on disk.
    pub(super) fn shown_seq(&self) -> u64 {
        lock(&self.recent).shown
    }

    /// Blocks that cannot reach the disk at present; those that are shown already are left out.
    pub(super) fn show(&self, blocks: impl IntoIterator<Item = Block>) {
        {
            let mut recent = lock(&self.recent);
            for block in blocks {
                let Some(newest) = block.last().map(|change| change.seq) else { continue };
                if newest > recent.shown {
                    recent.shown = newest;
                    recent.provisional.push_back(block);
                }
            }
        }
        self.durable.send_modify(|_| {});
    }

    /// Changes have left the journal, and are shown to nobody who has not seen them. `oldest`: where the
    /// journal begins.
    pub(super) fn lose(&self, gap: Gap, oldest: Option<u64>) {
        let durable = self.durable_seq();
        {
            let mut recent = lock(&self.recent);
            let gap = add_gap(&mut recent.gaps, gap, durable, oldest);
            let outside = |seq: u64| seq < gap.first || seq > gap.last;
            recent.provisional.retain(|block| block.last().is_some_and(|it| outside(it.seq)));
        }
        self.durable.send_modify(|_| {});
    }

    /// What is missing, in order.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        lock(&self.recent).gaps.clone()
    }

    /// The first changes missing for someone who has all up to `seen`.
    pub fn gap_after(&self, seen: u64) -> Option<Gap> {
        lock(&self.recent).gap_after(seen)
    }

    /// Nothing is missing behind this number.
    pub fn complete_from(&self) -> u64 {
        lock(&self.recent).gaps.last().map_or(0, |gap| gap.last)
    }

    /// What is newer than `seq`, at most about `limit` changes; of those that are not on disk, what
    /// is newer than `seen`. What is missing counts if it is newer than that.
    pub fn read_after(&self, seq: u64, seen: u64, limit: usize) -> FeedRead {
        let recent = lock(&self.recent);
        if seq < recent.complete_after {
            return FeedRead::TooOld;
        }
        let seen = seq.max(seen);
        let gap = recent.gap_after(seen);
        let until = gap.map_or(u64::MAX, |gap| gap.first);
        let taken = newer(&recent.blocks, |(block, _)| block, seq, until, limit);
        if !taken.is_empty() {
            return FeedRead::Blocks(taken);
        }
        let taken = newer(&recent.provisional, |block| block, seen, until, limit);
        match gap {
            _ if !taken.is_empty() => FeedRead::Provisional(taken),
            Some(gap) => FeedRead::Missing(gap.last),
            None => FeedRead::UpToDate,
        }
    }
}

impl Recent {
    fn gap_after(&self, seen: u64) -> Option<Gap> {
        self.gaps.iter().find(|gap| gap.last > seen).copied()
    }
}

/// Blocks with changes after a number and before another, until there are about `limit` changes.
fn newer<T>(
    blocks: &VecDeque<T>,
    block_of: impl Fn(&T) -> &Block,
    seq: u64,
    end: u64,
    limit: usize,
) -> Vec<Block> {
    let is_older = |item: &T| block_of(item).last().is_none_or(|newest| newest.seq <= seq);
    let start = blocks.partition_point(is_older);
    let mut changes = 0;
    let within = blocks.range(start..).map(block_of).take_while(|block| {
        let more = changes < limit && block.last().is_none_or(|last| last.seq < end);
        changes += block.len();
        more
    });
    within.map(Arc::clone).collect()
}

/// What a value weighs beyond its fixed size.
pub(super) fn text_bytes(value: &TagValue) -> usize {
    match &value.value {
        Some(Value::Text(text)) => text.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iotag::{Quality, Reason, TagId, Timestamp};

    fn change(seq: u64, value: Value) -> Change {
        let value = TagValue {
            value: Some(value),
            quality: Quality::Good,
            reason: Reason::Ok,
            time: Timestamp::UNIX_EPOCH,
            received: Timestamp::UNIX_EPOCH,
        };
        Change { seq, tag: TagId(0), value }
    }

    fn block(range: std::ops::RangeInclusive<u64>) -> Block {
        range.map(|seq| change(seq, Value::Integer(1))).collect()
    }

    #[test]
    fn a_reader_gets_what_is_newer_and_nothing_twice() {
        let feed = Feed::new(10, Vec::new());
        assert!(matches!(feed.read_after(10, 0, 100), FeedRead::UpToDate));
        feed.publish([block(11..=13), block(14..=14)]);
        assert_eq!(feed.durable_seq(), 14);
        let FeedRead::Blocks(blocks) = feed.read_after(12, 0, 100) else {
            panic!("expected blocks")
        };
        assert_eq!(blocks.iter().map(|block| block.len()).sum::<usize>(), 4);
        let FeedRead::Blocks(blocks) = feed.read_after(13, 0, 100) else {
            panic!("expected blocks")
        };
        assert_eq!(blocks[0][0].seq, 14);
        assert!(matches!(feed.read_after(14, 0, 100), FeedRead::UpToDate));
        assert!(matches!(feed.read_after(9, 0, 100), FeedRead::TooOld));
    }

    #[test]
    fn what_waits_for_the_disk_is_shown_once_and_in_order() {
        let feed = Feed::new(10, Vec::new());
        feed.show([block(11..=12), block(13..=13)]);
        feed.show([block(11..=12), block(13..=13), block(14..=16)]);
        assert_eq!(feed.durable_seq(), 10);
        let shown = |seq, shown| match feed.read_after(seq, shown, 100) {
            FeedRead::Provisional(blocks) => blocks.iter().map(|block| block[0].seq).collect(),
            FeedRead::UpToDate => Vec::new(),
            other => panic!("{other:?}"),
        };
        assert_eq!(shown(10, 0), [11, 13, 14]);
        assert_eq!(shown(10, 12), [13, 14]);
        assert!(shown(10, 16).is_empty());
        // There is room: what is on disk comes before what is not.
        feed.publish([block(11..=12), block(13..=13)]);
        assert!(matches!(feed.read_after(10, 16, 100), FeedRead::Blocks(_)));
        assert_eq!(shown(13, 0), [14]);
        feed.publish([block(14..=16)]);
        assert!(shown(16, 0).is_empty());
        assert_eq!(feed.shown_seq(), 16);
    }

    #[test]
    fn memory_is_bounded_by_count_and_by_bytes() {
        let feed = Feed::new(0, Vec::new());
        let half = FEED_CHANGES_MAX as u64 / 2;
        feed.publish([block(1..=half), block(half + 1..=2 * half), block(2 * half + 1..=3 * half)]);
        assert!(matches!(feed.read_after(0, 0, 1), FeedRead::TooOld));
        assert!(matches!(feed.read_after(half, 0, 1), FeedRead::Blocks(_)));

        let feed = Feed::new(0, Vec::new());
        let text: Arc<str> = "x".repeat(FEED_BYTES_MAX / 2 + 1).into();
        for seq in 1..=3 {
            feed.publish([[change(seq, Value::Text(Arc::clone(&text)))].into()]);
        }
        assert!(matches!(feed.read_after(1, 0, 1), FeedRead::TooOld));
        assert!(matches!(feed.read_after(2, 0, 1), FeedRead::Blocks(_)));
    }
}
