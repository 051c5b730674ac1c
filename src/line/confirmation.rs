//! PURE: one message at a time for stations with an ACK_ID tag.
//!
//! A station shows one message; the others wait here until the control system has confirmed it by
//! writing its packet identifier. What waits is not acknowledged, so the server has it too.

use std::collections::VecDeque;
use std::time::Instant;

use super::settlement::Receipt;
use crate::iotag::Timestamp;
use crate::mqtt::{Delivery, Publication};
use crate::qos::Qos;

/// Messages that wait behind the one that is shown, for each station. Full: those of QoS 0 are
/// dropped and counted; those of QoS 1 and 2 stay with the server, which sends them again on the
/// next connection, and that is made as soon as the station has caught up. Without a session that
/// outlives the connection the server would not, so that they are dropped like those of QoS 0.
pub(super) const WAITING_MAX: usize = 1000;

/// Payload and topic bytes of those that wait, for each station; as above.
pub(super) const WAITING_BYTES_MAX: usize = 8 << 20;

/// A message as it came.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) receipt: Receipt,
    pub(super) publication: Publication,
    pub(super) received: Timestamp,
    pub(super) dup: bool,
    pub(super) arrived: Instant,
    /// Whether the acknowledgements of later messages pass this one's.
    pub(super) overtaken: bool,
}

/// What is to be done with a message that has come.
#[derive(Debug)]
pub(super) enum Taken {
    /// Show it.
    Show(Held),
    /// It waits.
    Waits,
    /// It is the one that is shown, sent again on another connection.
    Known,
    /// There is no room, and the server will send it again.
    Left(Receipt),
    /// There is no room, and the server will not.
    Dropped,
}

/// Why a confirmation is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No message is shown.
    Nothing,
    /// The message that is shown has this identifier.
    Expected(u16),
}

/// The messages of one station.
#[derive(Debug)]
pub(super) struct Confirmation {
    waiting_max: usize,
    shown: Option<Shown>,
    waiting: VecDeque<Held>,
    waiting_bytes: usize,
    /// Messages that had no room and are still with the server.
    left: bool,
}

/// The message that awaits its confirmation.
#[derive(Debug)]
struct Shown {
    receipt: Receipt,
    /// `None`: it was shown by an earlier process.
    publication: Option<Publication>,
    arrived: Instant,
    overtaken: bool,
}

impl Default for Confirmation {
    fn default() -> Self {
        Self {
            waiting_max: WAITING_MAX,
            shown: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            left: false,
        }
    }
}

impl Confirmation {
    /// A message that an earlier process has shown, and whose values were stored.
    pub(super) fn restore(&mut self, now: Instant, receipt: Receipt) {
        self.shown = Some(Shown { receipt, publication: None, arrived: now, overtaken: false });
    }

    /// A message has come. `redelivers`: the server sends again what was not acknowledged.
    pub(super) fn take(&mut self, held: Held, redelivers: bool) -> Taken {
        let Some(shown) = &mut self.shown else { return Taken::Show(held) };
        if shown.is_again(&held) {
            shown.receipt = held.receipt;
            (shown.arrived, shown.overtaken) = (held.arrived, false);
            return Taken::Known;
        }
        let bytes = weight(&held);
        let fits = self.waiting_bytes + bytes <= WAITING_BYTES_MAX || self.waiting.is_empty();
        let acknowledged = held.receipt.delivery.qos != Qos::AtMostOnce;
        // Once one was left with the server, those behind it are too: the order is kept.
        if self.waiting.len() < self.waiting_max && fits && !(self.left && acknowledged) {
            self.waiting_bytes += bytes;
            self.waiting.push_back(held);
            Taken::Waits
        } else if acknowledged && redelivers {
            self.left = true;
            Taken::Left(held.receipt)
        } else {
            Taken::Dropped
        }
    }

    /// A message is shown.
    pub(super) fn show(&mut self, held: &Held) {
        let Held { receipt, publication, arrived, overtaken, .. } = held;
        self.shown = Some(Shown {
            receipt: *receipt,
            publication: Some(publication.clone()),
            arrived: *arrived,
            overtaken: *overtaken,
        });
    }

    /// The control system confirms the message with this identifier.
    pub(super) fn confirm(&mut self, packet_id: i128) -> Result<Receipt, Refused> {
        let Some(shown) = &self.shown else { return Err(Refused::Nothing) };
        let expected = shown.receipt.delivery.packet_id;
        if packet_id != i128::from(expected) {
            return Err(Refused::Expected(expected));
        }
        let receipt = shown.receipt;
        self.shown = None;
        Ok(receipt)
    }

    /// The message to be shown next, if none is.
    pub(super) fn next(&mut self) -> Option<Held> {
        if self.shown.is_some() {
            return None;
        }
        let held = self.waiting.pop_front()?;
        self.waiting_bytes -= weight(&held);
        Some(held)
    }

    /// A connection is up on which the server sends again what was not acknowledged on the one
    /// before: of QoS 1, all; of QoS 2 the machine hands over again only what was left.
    pub(super) fn session_resumed(&mut self) {
        self.waiting.retain(|held| held.receipt.delivery.qos != Qos::AtLeastOnce);
        self.waiting_bytes = self.waiting.iter().map(weight).sum();
        self.left = false;
        // Their acknowledgements are owed anew.
        self.waiting.iter_mut().for_each(|held| held.overtaken = false);
        self.shown.iter_mut().for_each(|shown| shown.overtaken = false);
    }

    /// The server has forgotten what it had for us.
    pub(super) fn session_lost(&mut self) {
        self.left = false;
    }

    /// Gives up everything, in order: the station is switched off.
    pub(super) fn release(&mut self) -> impl Iterator<Item = Receipt> + use<> {
        self.waiting_bytes = 0;
        let shown = self.shown.take().map(|shown| shown.receipt);
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|held| held.receipt);
        shown.into_iter().chain(waiting)
    }

    /// How many messages are not confirmed.
    pub(super) fn unconfirmed(&self) -> usize {
        self.waiting.len() + usize::from(self.shown.is_some())
    }

    /// Takes note that later acknowledgements pass those of messages that arrived before, and names
    /// them.
    pub(super) fn overtake(&mut self, before: Instant) -> Vec<Receipt> {
        let shown = self.shown.iter_mut().map(|shown| {
            let Shown { receipt, arrived, overtaken, .. } = shown;
            (*receipt, *arrived, overtaken)
        });
        let waiting = self.waiting.iter_mut().map(|held| {
            let Held { receipt, arrived, overtaken, .. } = held;
            (*receipt, *arrived, overtaken)
        });
        shown
            .chain(waiting)
            .filter(|(receipt, arrived, overtaken)| {
                receipt.delivery.qos != Qos::AtMostOnce && !**overtaken && *arrived <= before
            })
            .map(|(receipt, _, overtaken)| {
                *overtaken = true;
                receipt
            })
            .collect()
    }

    /// Whether all that was taken is confirmed, and the server has more that had no room.
    pub(super) fn wants_redelivery(&self) -> bool {
        self.left && self.shown.is_none() && self.waiting.is_empty()
    }
}

impl Shown {
    /// Whether this message is the one that is shown. Only of QoS 1 the machine hands over a message
    /// twice.
    fn is_again(&self, held: &Held) -> bool {
        let Receipt { path, delivery: Delivery { epoch, packet_id, qos, .. } } = self.receipt;
        qos == Qos::AtLeastOnce
            && held.receipt.path == path
            && held.receipt.delivery.qos == qos
            && held.receipt.delivery.packet_id == packet_id
            && held.receipt.delivery.epoch != epoch
            && self.publication.as_ref().is_some_and(|publication| {
                publication.topic == held.publication.topic
                    && publication.payload == held.publication.payload
            })
    }
}

fn weight(held: &Held) -> usize {
    held.publication.topic.len() + held.publication.payload.len()
}

#[cfg(test)]
mod tests;
