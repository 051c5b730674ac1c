//! A redundant line: what its two paths are to each other.
//!
//! `duplicates` tells copies from messages, `publishing` joins the outcomes of one publication; here
//! is what the line does with either, and with a path that comes or goes while the other stays.

use std::time::Instant;

use super::LineTask;
use super::duplicates::{Duplicates, Log, Verdict};
use super::path::Path;
use super::renewal::Renew;
use super::settlement::Receipt;
use crate::clock;
use crate::config::Line;
use crate::hub::status::PathId;
use crate::mqtt::{Command, Publication};

/// The pairing of a redundant line, continued from its log.
pub(super) fn restore(line: &Line, records: Vec<(Vec<u8>, Vec<u8>)>) -> Option<(Duplicates, Log)> {
    let second = line.redundant.as_ref()?;
    let mut duplicates = Duplicates::new(second.duplicate_window, !line.mqtt5.retain_as_published);
    let (log, notes) = Log::restore(&line.name, records, clock::wall());
    duplicates.restore(clock::now(), notes.into_iter());
    Some((duplicates, log))
}

impl LineTask {
    /// The number of a message that nobody has brought yet; `None`: it is a copy, and taken care of.
    pub(super) fn first(
        &mut self,
        now: Instant,
        receipt: Receipt,
        publication: &Publication,
        dup: bool,
    ) -> Option<u64> {
        let Some(duplicates) = &mut self.duplicates else { return Some(0) };
        self.hub.path_status(self.id, receipt.path, |status| status.messages_received += 1);
        let verdict = duplicates.take(now, receipt, publication, dup);
        if duplicates.take_overflow() {
            tracing::warn!(
                line = %self.config.name,
                "too many messages came while the other path was away: when it comes back, what it \
                 was sent of the oldest of them is taken for new"
            );
        }
        self.log_duplicates();
        match verdict {
            Verdict::First(number) => Some(number),
            Verdict::Copy(number) => {
                self.hub.line_status(self.id, |status| status.duplicates += 1);
                if !self.attach_copy(now, number, receipt, &publication.topic) {
                    self.settlement.received(receipt, 0);
                }
                None
            }
        }
    }

    /// A message is done with: its acknowledgement hangs on the batch.
    pub(super) fn settle(&mut self, number: u64, receipt: Receipt, payload_bytes: usize) {
        self.applied(number);
        self.settlement.received(receipt, payload_bytes);
    }

    /// The values of a message are in the batch: its copy is known from now on, over a restart too.
    pub(super) fn applied(&mut self, number: u64) {
        if let Some(duplicates) = &mut self.duplicates {
            duplicates.applied(number);
            self.log_duplicates();
        }
    }

    /// A message was not taken after all.
    pub(super) fn forget(&mut self, number: u64) {
        if let Some(duplicates) = &mut self.duplicates {
            duplicates.forget(number);
        }
    }

    fn log_duplicates(&mut self) {
        if let Some(duplicates) = &mut self.duplicates {
            for note in duplicates.take_notes() {
                self.settlement.note(note);
            }
        }
    }

    /// Bytes have come over a path.
    pub(super) fn heard(&mut self, now: Instant, path: PathId) {
        if let Some(duplicates) = &mut self.duplicates {
            duplicates.heard(now, path);
            self.log_duplicates();
        }
    }

    /// A path is up.
    pub(super) fn path_up(&mut self, id: PathId, session_present: bool, returning: bool) {
        let now = clock::now();
        if let Some(duplicates) = &mut self.duplicates {
            duplicates.came_up(now, id, session_present);
            self.log_duplicates();
        }
        let others = (0u8..).map(PathId).zip(&self.paths).filter(|(other, _)| *other != id);
        let (mut stayed, mut spared) = (false, returning);
        for (_, other) in others {
            stayed |= other.is_up();
            spared |= other.serves();
        }
        if stayed {
            // What the other path has brought all along, nobody has missed.
            return self.confirmations_up(id, session_present);
        }
        if spared && !session_present {
            // Messages may have been missed: the values are as doubtful as after any interruption.
            self.stations_down();
        }
        self.stations_up(id, session_present);
    }

    /// A path is gone: without another one the stations are without a line.
    pub(super) fn path_lost(&mut self) {
        if !self.paths.iter().any(Path::serves) {
            self.stations_down();
        } else if self.paths.len() > 1 {
            self.stations_subscribed();
        }
    }

    /// A path is gone. What it was to publish and has not sent is not sent late, as long as the other
    /// path has it, too.
    pub(super) fn path_away(&mut self, now: Instant, id: PathId) {
        if let Some(duplicates) = &mut self.duplicates {
            duplicates.went_away(id);
        }
        if !self.is_up() {
            return;
        }
        let tokens = self.publishing.awaited_on(id);
        if let Some(path) = self.path(id) {
            for token in tokens {
                path.command(now, Command::Withdraw(token));
            }
        }
    }

    /// A station has caught up with its messages: those that had no room are sent again when their
    /// path is made again.
    pub(super) fn ask_for_redelivery(&mut self, station: &str, left_on: &[PathId]) {
        for (_, path) in
            (0u8..).map(PathId).zip(&mut self.paths).filter(|(id, _)| left_on.contains(id))
        {
            if matches!(path.renew, Renew::No) && path.is_up() {
                let why =
                    format!("the server has messages for which station `{station}` had no room");
                path.renew = Renew::wanted(why, clock::now());
            }
        }
    }
}
