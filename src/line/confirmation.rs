//! PURE: one message at a time for stations with an ACK_ID tag.
//!
//! A station shows one message; the others wait here until the control system has confirmed it by
//! writing its packet identifier. What waits is not acknowledged, so the server has it too.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::settlement::Receipt;
use crate::hub::status::PathId;
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
    /// Its number on a redundant line; else 0.
    pub(super) number: u64,
    /// Its arrival, and those of its copies.
    pub(super) arrivals: Arrivals,
    pub(super) publication: Publication,
    pub(super) received: Timestamp,
    pub(super) dup: bool,
}

impl Held {
    /// Whether it has waited here for longer than the server said that it is of use (MQTT 5.0,
    /// section 3.3.2.3.3: what arrives is what is left of its interval).
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        let properties = self.publication.properties.as_ref();
        let expiry = properties.and_then(|properties| properties.message_expiry_s);
        let waited = now.duration_since(self.received).as_secs();
        expiry.is_some_and(|expiry_s| waited >= expiry_s.into())
    }
}

/// The arrivals of one message, all to be acknowledged when it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrivals {
    first: Owed,
    copies: Vec<Owed>,
}

/// An acknowledgement that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owed {
    receipt: Receipt,
    since: Instant,
    /// Whether the acknowledgements of later messages pass this one.
    overtaken: bool,
}

impl Arrivals {
    /// A message that has arrived once.
    pub(super) fn new(receipt: Receipt, since: Instant) -> Self {
        Self { first: Owed { receipt, since, overtaken: false }, copies: Vec::new() }
    }

    /// Where the message itself came from.
    pub(super) fn first(&self) -> Receipt {
        self.first.receipt
    }

    /// It came once more; what came over the same path before counts no longer.
    fn add(&mut self, receipt: Receipt, since: Instant) {
        let owed = Owed { receipt, since, overtaken: false };
        if let Some(known) = self.all_mut().find(|owed| owed.receipt.path == receipt.path) {
            *known = owed;
            return;
        }
        self.copies.push(owed);
    }

    /// Those of its copies.
    pub(super) fn copies(&self) -> impl Iterator<Item = Receipt> + '_ {
        self.copies.iter().map(|owed| owed.receipt)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Owed> {
        std::iter::once(&mut self.first).chain(&mut self.copies)
    }

    /// All that are to be acknowledged.
    pub(super) fn receipts(&self) -> impl Iterator<Item = Receipt> + use<> {
        let all: Vec<Receipt> =
            std::iter::once(&self.first).chain(&self.copies).map(|owed| owed.receipt).collect();
        all.into_iter()
    }
}

/// A message that is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Released {
    pub(super) number: u64,
    pub(super) arrivals: Arrivals,
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
    /// Paths whose servers still have messages that had no room.
    left: BTreeSet<PathId>,
}

/// The message that awaits its confirmation.
#[derive(Debug)]
struct Shown {
    number: u64,
    arrivals: Arrivals,
    /// `None`: it was shown by an earlier process.
    publication: Option<Publication>,
}

impl Default for Confirmation {
    fn default() -> Self {
        Self {
            waiting_max: WAITING_MAX,
            shown: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            left: BTreeSet::new(),
        }
    }
}

impl Confirmation {
    /// A message that an earlier process has shown, and whose values were stored.
    pub(super) fn restore(&mut self, now: Instant, receipt: Receipt) {
        // Both paths of a redundant line may have brought it.
        if let Some(shown) = &mut self.shown {
            return shown.arrivals.add(receipt, now);
        }
        let arrivals = Arrivals::new(receipt, now);
        self.shown = Some(Shown { number: 0, arrivals, publication: None });
    }

    /// A message has come. `redelivers`: the server sends again what was not acknowledged.
    pub(super) fn take(&mut self, held: Held, redelivers: bool) -> Taken {
        let Some(shown) = &mut self.shown else { return Taken::Show(held) };
        if shown.is_again(&held) {
            shown.arrivals.first = held.arrivals.first;
            return Taken::Known;
        }
        let bytes = weight(&held);
        let fits = self.waiting_bytes + bytes <= WAITING_BYTES_MAX || self.waiting.is_empty();
        let receipt = held.arrivals.first();
        let acknowledged = receipt.delivery.qos != Qos::AtMostOnce;
        // Once one was left with the server, those behind it are too: the order is kept.
        if self.waiting.len() < self.waiting_max && fits && (self.left.is_empty() || !acknowledged)
        {
            self.waiting_bytes += bytes;
            self.waiting.push_back(held);
            Taken::Waits
        } else if acknowledged && redelivers {
            self.left.insert(receipt.path);
            Taken::Left(receipt)
        } else {
            Taken::Dropped
        }
    }

    /// A message is shown.
    pub(super) fn show(&mut self, held: &Held) {
        let Held { number, arrivals, publication, .. } = held;
        self.shown = Some(Shown {
            number: *number,
            arrivals: arrivals.clone(),
            publication: Some(publication.clone()),
        });
    }

    /// A copy has come of the message with this number. False: it is not here any more.
    pub(super) fn attach(&mut self, now: Instant, number: u64, receipt: Receipt) -> bool {
        let shown = self.shown.iter_mut().map(|shown| (shown.number, &mut shown.arrivals));
        let waiting = self.waiting.iter_mut().map(|held| (held.number, &mut held.arrivals));
        let known = shown.chain(waiting).find(|(other, _)| *other == number && number != 0);
        match known {
            Some((_, arrivals)) => {
                arrivals.add(receipt, now);
                true
            }
            None => false,
        }
    }

    /// The control system confirms the message with this identifier.
    pub(super) fn confirm(&mut self, packet_id: i128) -> Result<Released, Refused> {
        let Some(shown) = &self.shown else { return Err(Refused::Nothing) };
        let expected = shown.arrivals.first().delivery.packet_id;
        if packet_id != i128::from(expected) {
            return Err(Refused::Expected(expected));
        }
        let released = Released { number: shown.number, arrivals: shown.arrivals.clone() };
        self.shown = None;
        Ok(released)
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
    ///
    /// On a redundant line what waits stays: what comes again is known for a copy of it.
    pub(super) fn session_resumed(&mut self, path: PathId, redundant: bool) {
        if !redundant {
            self.waiting.retain(|held| held.arrivals.first().delivery.qos != Qos::AtLeastOnce);
            self.waiting_bytes = self.waiting.iter().map(weight).sum();
        }
        self.left.remove(&path);
        // Their acknowledgements are owed anew.
        for owed in self.owed().filter(|owed| owed.receipt.path == path) {
            owed.overtaken = false;
        }
    }

    /// The server has forgotten what it had for us.
    pub(super) fn session_lost(&mut self, path: PathId) {
        self.left.remove(&path);
    }

    fn owed(&mut self) -> impl Iterator<Item = &mut Owed> {
        let shown = self.shown.iter_mut().map(|shown| &mut shown.arrivals);
        let waiting = self.waiting.iter_mut().map(|held| &mut held.arrivals);
        shown.chain(waiting).flat_map(Arrivals::all_mut)
    }

    /// Gives up everything, in order: the station is switched off.
    pub(super) fn release(&mut self) -> impl Iterator<Item = Released> + use<> {
        self.waiting_bytes = 0;
        let shown = self.shown.take();
        let shown = shown.map(|Shown { number, arrivals, .. }| Released { number, arrivals });
        let waiting = std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|Held { number, arrivals, .. }| Released { number, arrivals });
        shown.into_iter().chain(waiting)
    }

    /// Gives up everything: there is nothing to confirm by any more. The message that is shown is
    /// done with; the others are as if they came only just.
    pub(super) fn dissolve(self) -> (Option<Released>, VecDeque<Held>) {
        let shown = self.shown.map(|shown| {
            let Shown { number, arrivals, .. } = shown;
            Released { number, arrivals }
        });
        (shown, self.waiting)
    }

    /// How many messages are not confirmed.
    pub(super) fn unconfirmed(&self) -> usize {
        self.waiting.len() + usize::from(self.shown.is_some())
    }

    /// Takes note that later acknowledgements pass those of messages that arrived before, and names
    /// them.
    pub(super) fn overtake(&mut self, before: Instant) -> Vec<Receipt> {
        let late = |owed: &&mut Owed| {
            owed.receipt.delivery.qos != Qos::AtMostOnce && !owed.overtaken && owed.since <= before
        };
        self.owed()
            .filter(late)
            .map(|owed| {
                owed.overtaken = true;
                owed.receipt
            })
            .collect()
    }

    /// Paths whose servers have messages that had no room.
    pub(super) fn left_on(&self) -> Vec<PathId> {
        self.left.iter().copied().collect()
    }

    /// Whether all that was taken is confirmed, and a server has more that had no room.
    pub(super) fn wants_redelivery(&self) -> bool {
        !self.left.is_empty() && self.shown.is_none() && self.waiting.is_empty()
    }
}

impl Shown {
    /// Whether this message is the one that is shown. Only of QoS 1 the machine hands over a message
    /// twice.
    fn is_again(&self, held: &Held) -> bool {
        let Receipt { path, delivery: Delivery { epoch, packet_id, qos, .. } } =
            self.arrivals.first();
        let other = held.arrivals.first();
        qos == Qos::AtLeastOnce
            && other.path == path
            && other.delivery.qos == qos
            && other.delivery.packet_id == packet_id
            && other.delivery.epoch != epoch
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
