//! Durable changes on their way to subscribers.
//!
//! The store's thread publishes what has reached the disk; every subscriber reads at its own pace
//! from its own place. The last changes are kept in memory; who falls behind that reads the
//! journal, so that a slow consumer costs nothing but its place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::bounds::{FEED_BYTES_MAX, FEED_CHANGES_MAX};
use super::lock;
use crate::iotag::{TagValue, Value};
use crate::store::Change;

/// Changes that were committed together, in order.
pub type Block = Arc<[Change]>;

/// The recent durable changes, and the number of the last one.
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
}

/// What [`Feed::read_after`] found.
#[derive(Debug)]
pub enum FeedRead {
    /// Blocks that hold changes after the number asked for (the first may begin before it).
    Blocks(Vec<Block>),
    /// Nothing is newer.
    UpToDate,
    /// The memory does not reach back so far: read the journal.
    TooOld,
}

impl Feed {
    /// A feed that continues after `last_seq`.
    pub fn new(last_seq: u64) -> Self {
        let recent = Recent { complete_after: last_seq, ..Recent::default() };
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

    /// What is newer than `seq`, at most about `limit` changes.
    pub fn read_after(&self, seq: u64, limit: usize) -> FeedRead {
        let recent = lock(&self.recent);
        if seq < recent.complete_after {
            return FeedRead::TooOld;
        }
        let start = recent
            .blocks
            .partition_point(|(block, _)| block.last().is_none_or(|newest| newest.seq <= seq));
        let mut taken = Vec::new();
        let mut changes = 0;
        for (block, _) in recent.blocks.range(start..) {
            if changes >= limit {
                break;
            }
            changes += block.len();
            taken.push(Arc::clone(block));
        }
        if taken.is_empty() { FeedRead::UpToDate } else { FeedRead::Blocks(taken) }
    }
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
        let feed = Feed::new(10);
        assert!(matches!(feed.read_after(10, 100), FeedRead::UpToDate));
        feed.publish([block(11..=13), block(14..=14)]);
        assert_eq!(feed.durable_seq(), 14);
        let FeedRead::Blocks(blocks) = feed.read_after(12, 100) else { panic!("expected blocks") };
        assert_eq!(blocks.iter().map(|block| block.len()).sum::<usize>(), 4);
        let FeedRead::Blocks(blocks) = feed.read_after(13, 100) else { panic!("expected blocks") };
        assert_eq!(blocks[0][0].seq, 14);
        assert!(matches!(feed.read_after(14, 100), FeedRead::UpToDate));
        assert!(matches!(feed.read_after(9, 100), FeedRead::TooOld));
    }

    #[test]
    fn memory_is_bounded_by_count_and_by_bytes() {
        let feed = Feed::new(0);
        let half = FEED_CHANGES_MAX as u64 / 2;
        feed.publish([block(1..=half), block(half + 1..=2 * half), block(2 * half + 1..=3 * half)]);
        assert!(matches!(feed.read_after(0, 1), FeedRead::TooOld));
        assert!(matches!(feed.read_after(half, 1), FeedRead::Blocks(_)));

        let feed = Feed::new(0);
        let text: Arc<str> = "x".repeat(FEED_BYTES_MAX / 2 + 1).into();
        for seq in 1..=3 {
            feed.publish([[change(seq, Value::Text(Arc::clone(&text)))].into()]);
        }
        assert!(matches!(feed.read_after(1, 1), FeedRead::TooOld));
        assert!(matches!(feed.read_after(2, 1), FeedRead::Blocks(_)));
    }
}
