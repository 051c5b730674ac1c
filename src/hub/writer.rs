//! The store's thread: group commit without a timer. What arrived while the last commit was being
//! flushed is the next one. While the disk takes nothing, it passes on what waits to the subscribers
//! that are there.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::bounds::{COMMIT_BYTES_MAX, COMMIT_CHANGES_MAX};
use super::feed::Block;
use super::{Hub, Pending, lock};
use crate::clock;
use crate::store::Commit;

/// Pause after a commit that failed, for instance because the disk is full.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

impl Hub {
    /// Writes batches to the store until [`Hub::stop_writing`], then what is left. Blocks.
    pub fn write_batches(&self) {
        while let Some(group) = self.next_group() {
            let mut settles = Vec::with_capacity(group.len());
            let commits: Vec<Commit> = group
                .into_iter()
                .map(|pending| {
                    settles.extend(pending.settle);
                    pending.commit
                })
                .collect();
            if !self.commit(&commits) {
                return;
            }
            let blocks = commits
                .into_iter()
                .filter(|commit| !commit.changes.is_empty())
                .map(|commit| Block::from(commit.changes));
            self.feed.publish(blocks);
            for (line, batch) in settles {
                line.settled.send_if_modified(|settled| {
                    let newer = *settled < batch;
                    *settled = (*settled).max(batch);
                    newer
                });
            }
        }
    }

    /// Lets [`Hub::write_batches`] end once everything submitted so far is written.
    pub fn stop_writing(&self) {
        lock(&self.state).stopping = true;
        self.work.notify_all();
    }

    /// The next batches, in order, within the bounds of one commit; `None`: the end.
    fn next_group(&self) -> Option<Vec<Pending>> {
        let mut state = lock(&self.state);
        while state.pending.is_empty() {
            if state.stopping {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut changes, mut bytes) = (0, 0);
        let within = state.pending.iter().take_while(|pending| {
            let first = changes == 0 && bytes == 0;
            changes += pending.commit.changes.len();
            bytes += pending.bytes;
            first || (changes <= COMMIT_CHANGES_MAX && bytes <= COMMIT_BYTES_MAX)
        });
        let count = within.count();
        if count == state.pending.len() {
            return Some(std::mem::take(&mut state.pending));
        }
        Some(state.pending.drain(..count).collect())
    }

    /// Commits, again and again until it succeeds; false: the process stops and it never did.
    fn commit(&self, commits: &[Commit]) -> bool {
        loop {
            match self.store.commit(commits) {
                Ok(()) => {
                    let mut status = lock(&self.store_status);
                    status.commits += 1;
                    if status.error.take().is_some() {
                        tracing::info!("the store can be written again");
                    }
                    return true;
                }
                Err(error) => {
                    let error = error.to_string();
                    let mut status = lock(&self.store_status);
                    if status.error.as_ref() != Some(&error) {
                        tracing::error!(
                            %error,
                            "cannot write to the store; nothing is acknowledged to the brokers until it can"
                        );
                        status.error = Some(error);
                    }
                }
            }
            let shown = self.feed.shown_seq();
            let is_new = |commit: &&Commit| commit.changes.last().is_some_and(|it| it.seq > shown);
            self.feed.show(commits.iter().filter(is_new).filter_map(block));
            if !self.show_until_retry() {
                tracing::error!("stopped with values that could not be written to the store");
                return false;
            }
        }
    }

    /// Passes on to subscribers what comes while the disk takes nothing, until it is time for another
    /// attempt; false: the process stops.
    fn show_until_retry(&self) -> bool {
        let until = clock::now() + RETRY_PAUSE;
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return false;
            }
            let shown = self.feed.shown_seq();
            let is_new = |pending: &&Pending| {
                pending.commit.changes.last().is_none_or(|change| change.seq > shown)
            };
            let new = state.pending.iter().rev().take_while(is_new);
            let mut blocks: Vec<Block> = new.filter_map(|it| block(&it.commit)).collect();
            if !blocks.is_empty() {
                blocks.reverse();
                self.feed.show(blocks);
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The changes of a commit, if it has any.
fn block(commit: &Commit) -> Option<Block> {
    (!commit.changes.is_empty()).then(|| commit.changes.as_slice().into())
}

/// Starts the thread.
pub fn spawn(hub: &Arc<Hub>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let hub = Arc::clone(hub);
    std::thread::Builder::new().name("store".into()).spawn(move || hub.write_batches())
}
