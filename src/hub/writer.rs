//! The store's thread: group commit without a timer. What arrived while the last commit was being
//! flushed is the next one. While the disk takes nothing, it passes on what waits to the subscribers
//! that are there.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::bounds::{COMMIT_BYTES_MAX, COMMIT_CHANGES_MAX};
use super::feed::Block;
use super::queue::Ticket;
use super::{Hub, Pending, lock};
use crate::clock;
use crate::store::{Commit, StoreError};

/// Pause after a commit that failed, for instance because the disk is full.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

impl Hub {
    /// Writes batches to the store until [`Hub::stop_writing`], then what is left. Blocks.
    pub fn write_batches(&self) {
        while let Some(group) = self.next_group() {
            if !self.write_group(group) {
                return;
            }
        }
    }

    /// Commits some batches, and tells who waits for that; false: it never succeeded.
    pub(super) fn write_group(&self, group: Vec<Pending>) -> bool {
        let mut settles = Vec::with_capacity(group.len());
        let (mut told, mut tickets) = (Vec::new(), Vec::new());
        let mut commits: Vec<Commit> = Vec::with_capacity(group.len());
        for pending in group {
            settles.extend(pending.settle);
            settles.extend(pending.carried);
            told.extend(pending.told);
            tickets.extend(pending.ticket.map(|ticket| (commits.len(), ticket)));
            commits.push(pending.commit);
        }
        if !self.commit(&mut commits, &mut tickets) {
            return false;
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
        tickets.into_iter().for_each(|(_, ticket)| self.write_stored(ticket));
        self.tell(told);
        true
    }

    /// Lets [`Hub::write_batches`] end once everything submitted so far is written.
    pub fn stop_writing(&self) {
        lock(&self.state).stopping = true;
        self.work.notify_all();
    }

    /// For tests without the thread: commits so many of the batches that wait.
    #[cfg(test)]
    pub(crate) fn commit_pending(&self, most: usize) {
        let mut group = std::mem::take(&mut lock(&self.state).pending);
        let rest = group.split_off(most.min(group.len()));
        lock(&self.state).pending.splice(..0, rest);
        group.iter().for_each(|pending| lock(&self.state).backlog.remove(pending));
        if !group.is_empty() {
            assert!(self.write_group(group));
        }
    }

    /// The next batches, in order, within the bounds of one commit; `None`: the end.
    pub(super) fn next_group(&self) -> Option<Vec<Pending>> {
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
        let mut group: Vec<Pending> = if count == state.pending.len() {
            std::mem::take(&mut state.pending)
        } else {
            state.pending.drain(..count).collect()
        };
        group.iter().for_each(|pending| state.backlog.remove(pending));
        self.store_gaps(&mut state, &mut group);
        Some(group)
    }

    /// Commits, again and again until it succeeds; false: the process stops and it never did.
    fn commit(&self, commits: &mut [Commit], tickets: &mut Vec<(usize, Ticket)>) -> bool {
        loop {
            match self.store.commit(commits) {
                Ok(()) => {
                    let mut status = lock(&self.store_status);
                    status.commits += 1;
                    if status.error.take().is_some() {
                        let lost = std::mem::take(&mut status.lost_since_failure);
                        tracing::info!("the store can be written again");
                        if lost > 0 {
                            tracing::warn!("{lost} changes are missing in the journal");
                        }
                    }
                    drop(status);
                    self.set_failing(false);
                    return true;
                }
                Err(failure) => {
                    let error = failure.to_string();
                    let mut status = lock(&self.store_status);
                    if status.error.as_ref() != Some(&error) {
                        tracing::error!(
                            %error,
                            "cannot write to the store; nothing is acknowledged to the brokers until it can"
                        );
                        status.error = Some(error);
                    }
                    drop(status);
                    self.set_failing(true);
                    self.fail_tickets(commits, tickets, &failure);
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

    /// What clients would only hear of once it is on disk has failed, here and behind. When the store can be
    /// written again, it has no trace of it.
    fn fail_tickets(
        &self,
        commits: &mut [Commit],
        tickets: &mut Vec<(usize, Ticket)>,
        error: &StoreError,
    ) {
        let mut failed = Vec::new();
        for (index, ticket) in tickets.drain(..) {
            Self::forget_ticket(&mut commits[index]);
            failed.push(ticket);
        }
        for pending in &mut lock(&self.state).pending {
            if let Some(ticket) = pending.ticket.take() {
                Self::forget_ticket(&mut pending.commit);
                failed.push(ticket);
            }
        }
        failed.into_iter().for_each(|ticket| self.write_not_stored(ticket, error));
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
            self.thin_backlog(&mut state);
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
