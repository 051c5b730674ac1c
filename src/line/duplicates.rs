//! PURE: which messages of a redundant line are copies of what the other path has brought.
//!
//! A message is a copy if an equal one (topic and payload) came over the *other* path and has not
//! been paired yet. Each message pairs with at most one other, the oldest that is left, so equal
//! messages that follow each other are all kept. What is not paired is dropped once the other path
//! was heard `duplicate_window` later.
//!
//! While a path is away, all that the other brings is kept for its return; so is what it did not
//! bring before it was found dead. If it comes back with its session, it *catches up*: what was kept
//! may be paired until it has paired nothing of it for `duplicate_window`. If the other path goes
//! away meanwhile, that is not prolonged: a message must not pass for a copy of an old one for long
//! when nobody else brings it.
//!
//! Two kinds of repetition come over one path: a QoS 1 message that the server sends again because
//! it has not seen our PUBACK is known by its identifier; a retained message that a new subscription
//! brings once more is a copy if its topic had a live message or this same retained one since the
//! line came up.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use rustc_hash::FxHashMap;

use super::settlement::Receipt;
use crate::hub::bounds::{
    DUPLICATES_KEPT_AGE_MAX, DUPLICATES_KEPT_MAX, DUPLICATES_TOPICS_MAX, REDELIVERIES_KNOWN_MAX,
};
use crate::hub::status::PathId;
use crate::mqtt::Publication;
use crate::qos::Qos;

mod log;

pub(super) use log::Log;

/// How many windows the retained messages of a subscription may take. Longer than that the flag may be
/// on every message: some servers do that.
const REPLAY_WINDOWS_MAX: u32 = 6;

/// What a message is known again by: 128 bits of SHA-256. Equal prints of different messages would
/// lose one of them.
pub(super) type Print = [u8; 16];

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody has brought it; its number.
    First(u64),
    /// The message of this number has come before; 0: nobody can say which.
    Copy(u64),
}

/// What a log has to know, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A message is applied and not paired.
    Applied { number: u64, path: PathId, packet_id: u16, print: Print },
    /// Its copy came.
    Paired { number: u64, path: PathId, packet_id: u16 },
    /// Its copy is not awaited any more.
    Dropped { number: u64 },
}

/// The pairing of one line.
pub(super) struct Duplicates {
    window: Duration,
    /// Whether the retain flag tells what a new subscription brings.
    replays: bool,
    last_number: u64,
    sides: [Side; PathId::COUNT],
    topics: Topics,
    notes: Vec<Note>,
    /// Whether messages were dropped that a path which is away may still bring.
    overflowed: bool,
}

/// One path, and what came over it.
struct Side {
    presence: Presence,
    /// What came over this path and awaits its copy, by number.
    unpaired: BTreeMap<u64, Unpaired>,
    by_print: FxHashMap<Print, VecDeque<u64>>,
    /// QoS 1 messages of this path by packet identifier.
    taken: FxHashMap<u16, Taken>,
    taken_order: VecDeque<(u16, u64)>,
    taken_count: u64,
    /// Until when retained messages are what a new subscription brings, and at the latest.
    replay: Option<(Instant, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Away,
    /// It may bring what the other path has brought below this number, until then.
    CatchingUp {
        below: u64,
        until: Instant,
    },
    Level,
}

struct Unpaired {
    print: Print,
    at: Instant,
    packet_id: u16,
    /// Whether the log has it.
    noted: bool,
}

#[derive(Clone, Copy)]
struct Taken {
    epoch: u32,
    print: Print,
    number: u64,
    /// Its place in the order of taking.
    count: u64,
}

/// The last messages of topics since the line came up, for retained ones.
#[derive(Default)]
struct Topics {
    last: FxHashMap<Print, Seen>,
    order: VecDeque<Print>,
}

#[derive(Clone, Copy)]
struct Seen {
    print: Print,
    live: bool,
}

impl Duplicates {
    /// A line whose paths are both away.
    pub(super) fn new(window: Duration, replays: bool) -> Self {
        Self {
            window,
            replays,
            last_number: 0,
            sides: [Side::new(), Side::new()],
            topics: Topics::default(),
            notes: Vec::new(),
            overflowed: false,
        }
    }

    /// Puts back what a log has of an earlier process, in order; `age` of each.
    pub(super) fn restore(&mut self, now: Instant, notes: impl Iterator<Item = (Duration, Note)>) {
        let mut prints: FxHashMap<u64, (PathId, Print)> = FxHashMap::default();
        for (age, note) in notes {
            match note {
                Note::Applied { number, path, packet_id, print } => {
                    self.last_number = self.last_number.max(number);
                    prints.insert(number, (path, print));
                    let at = now.checked_sub(age).unwrap_or(now);
                    let unpaired = Unpaired { print, at, packet_id, noted: true };
                    let side = &mut self.sides[index(path)];
                    side.insert(number, unpaired);
                    side.remember(packet_id, Taken { epoch: 0, print, number, count: 0 });
                }
                Note::Paired { number, path, packet_id } => {
                    let Some(&(first, print)) = prints.get(&number) else { continue };
                    self.sides[index(first)].remove(number);
                    let taken = Taken { epoch: 0, print, number, count: 0 };
                    self.sides[index(path)].remember(packet_id, taken);
                }
                Note::Dropped { number } => {
                    for side in &mut self.sides {
                        side.remove(number);
                    }
                }
            }
        }
    }

    /// A path is up.
    pub(super) fn came_up(&mut self, now: Instant, path: PathId, session_present: bool) {
        let below = self.last_number + 1;
        let until = now + self.window;
        self.subscribed(now, path);
        let side = &mut self.sides[index(path)];
        side.presence = if session_present {
            Presence::CatchingUp { below, until }
        } else {
            // Its server has nothing for us that came before, and uses its identifiers anew.
            side.taken.clear();
            side.taken_order.clear();
            Presence::Level
        };
        self.expire(now, path);
    }

    /// New subscriptions of a path were answered: what is retained follows.
    pub(super) fn subscribed(&mut self, now: Instant, path: PathId) {
        if self.replays {
            self.sides[index(path)].replay =
                Some((now + self.window, now + self.window * REPLAY_WINDOWS_MAX));
        }
    }

    /// A path is gone.
    pub(super) fn went_away(&mut self, path: PathId) {
        self.sides[index(path)].presence = Presence::Away;
        if self.sides.iter().all(|side| side.presence == Presence::Away) {
            // What is retained may be news then.
            self.topics = Topics::default();
        }
    }

    /// Bytes have come over a path.
    pub(super) fn heard(&mut self, now: Instant, path: PathId) {
        let side = &mut self.sides[index(path)];
        if let Presence::CatchingUp { until, .. } = side.presence
            && until <= now
        {
            side.presence = Presence::Level;
        }
        self.expire(now, path);
    }

    /// A message has come over a path.
    pub(super) fn take(
        &mut self,
        now: Instant,
        receipt: Receipt,
        publication: &Publication,
        dup: bool,
    ) -> Verdict {
        let Receipt { path, delivery } = receipt;
        let topic = digest(&[publication.topic.as_bytes()]);
        let print = digest(&[&topic, &publication.payload]);
        let packet_id = if delivery.qos == Qos::AtLeastOnce { delivery.packet_id } else { 0 };
        let side = &mut self.sides[index(path)];
        if dup
            && let Some(taken) = side.taken.get_mut(&packet_id)
            && taken.epoch < delivery.epoch
            && taken.print == print
        {
            taken.epoch = delivery.epoch;
            return Verdict::Copy(taken.number);
        }
        let replay = side.replay.as_mut().filter(|(until, _)| publication.retain && now < *until);
        let replayed = replay.is_some();
        if let Some((until, at_the_latest)) = replay {
            *until = (now + self.window).min(*at_the_latest);
            if self.topics.has(topic, print) {
                return Verdict::Copy(0);
            }
        }
        let other = index(other(path));
        let pair = if replayed { None } else { self.sides[other].oldest(print) };
        let verdict = match pair {
            Some(number) => {
                self.pair(now, number, path, packet_id);
                Verdict::Copy(number)
            }
            None => {
                self.last_number += 1;
                let number = self.last_number;
                self.topics.keep(topic, Seen { print, live: !replayed });
                if !replayed {
                    let unpaired = Unpaired { print, at: now, packet_id, noted: false };
                    self.sides[index(path)].insert(number, unpaired);
                    self.bound(now, path);
                }
                Verdict::First(number)
            }
        };
        let (Verdict::First(number) | Verdict::Copy(number)) = verdict;
        let taken = Taken { epoch: delivery.epoch, print, number, count: 0 };
        self.sides[index(path)].remember(packet_id, taken);
        verdict
    }

    /// The values of a message are in the batch.
    pub(super) fn applied(&mut self, number: u64) {
        for (path, side) in PathId::all().into_iter().zip(&mut self.sides) {
            if let Some(unpaired) = side.unpaired.get_mut(&number)
                && !unpaired.noted
            {
                unpaired.noted = true;
                let Unpaired { packet_id, print, .. } = *unpaired;
                self.notes.push(Note::Applied { number, path, packet_id, print });
            }
        }
    }

    /// A message was not taken after all: the server will send it again.
    pub(super) fn forget(&mut self, number: u64) {
        for side in &mut self.sides {
            side.remove(number);
            side.taken.retain(|_, taken| taken.number != number);
        }
    }

    /// The next note for the log.
    pub(super) fn take_notes(&mut self) -> std::vec::Drain<'_, Note> {
        self.notes.drain(..)
    }

    /// Whether messages were dropped that a path may still bring; said once.
    pub(super) fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    fn pair(&mut self, now: Instant, number: u64, path: PathId, packet_id: u16) {
        let other = index(other(path));
        let other_is_up = self.sides[other].presence != Presence::Away;
        let removed = self.sides[other].remove(number);
        if removed.is_some_and(|unpaired| unpaired.noted) {
            self.notes.push(Note::Paired { number, path, packet_id });
        }
        if let Presence::CatchingUp { below, until } = &mut self.sides[index(path)].presence
            && number < *below
            && other_is_up
        {
            *until = now + self.window;
        }
    }

    /// Drops what this path will not bring any more.
    fn expire(&mut self, now: Instant, path: PathId) {
        let kept_below = match self.sides[index(path)].presence {
            Presence::Away => return,
            Presence::CatchingUp { below, .. } => below,
            Presence::Level => 0,
        };
        let side = &mut self.sides[index(other(path))];
        let window = self.window;
        let due = side.unpaired.range(kept_below..);
        let due: Vec<u64> = due
            .take_while(|(_, unpaired)| unpaired.at + window <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            side.drop_unpaired(number, &mut self.notes);
        }
    }

    /// Keeps what awaits its copies within its bounds: the oldest goes.
    fn bound(&mut self, now: Instant, path: PathId) {
        let side = &mut self.sides[index(path)];
        while let Some((&number, oldest)) = side.unpaired.first_key_value()
            && (side.unpaired.len() > DUPLICATES_KEPT_MAX
                || oldest.at + DUPLICATES_KEPT_AGE_MAX <= now)
        {
            side.drop_unpaired(number, &mut self.notes);
            self.overflowed = true;
        }
    }
}

impl Side {
    fn new() -> Self {
        Self {
            presence: Presence::Away,
            unpaired: BTreeMap::new(),
            by_print: FxHashMap::default(),
            taken: FxHashMap::default(),
            taken_order: VecDeque::new(),
            taken_count: 0,
            replay: None,
        }
    }

    fn insert(&mut self, number: u64, unpaired: Unpaired) {
        self.by_print.entry(unpaired.print).or_default().push_back(number);
        self.unpaired.insert(number, unpaired);
    }

    fn oldest(&self, print: Print) -> Option<u64> {
        self.by_print.get(&print)?.front().copied()
    }

    fn remove(&mut self, number: u64) -> Option<Unpaired> {
        let unpaired = self.unpaired.remove(&number)?;
        if let Some(numbers) = self.by_print.get_mut(&unpaired.print) {
            if let Ok(position) = numbers.binary_search(&number) {
                numbers.remove(position);
            }
            if numbers.is_empty() {
                self.by_print.remove(&unpaired.print);
            }
        }
        Some(unpaired)
    }

    fn drop_unpaired(&mut self, number: u64, notes: &mut Vec<Note>) {
        if self.remove(number).is_some_and(|unpaired| unpaired.noted) {
            notes.push(Note::Dropped { number });
        }
    }

    /// The last message of an identifier; 0 is none.
    fn remember(&mut self, packet_id: u16, taken: Taken) {
        if packet_id == 0 {
            return;
        }
        self.taken_count += 1;
        let count = self.taken_count;
        self.taken.insert(packet_id, Taken { count, ..taken });
        self.taken_order.push_back((packet_id, count));
        while self.taken_order.len() > REDELIVERIES_KNOWN_MAX {
            let Some((id, count)) = self.taken_order.pop_front() else { break };
            if self.taken.get(&id).is_some_and(|taken| taken.count == count) {
                self.taken.remove(&id);
            }
        }
    }
}

impl Topics {
    /// Whether a retained message says nothing that its topic has not said.
    fn has(&self, topic: Print, print: Print) -> bool {
        self.last.get(&topic).is_some_and(|seen| seen.live || seen.print == print)
    }

    fn keep(&mut self, topic: Print, seen: Seen) {
        if self.last.insert(topic, seen).is_none() {
            self.order.push_back(topic);
            if self.order.len() > DUPLICATES_TOPICS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.last.remove(&oldest);
            }
        }
    }
}

fn index(path: PathId) -> usize {
    usize::from(path.0) % PathId::COUNT
}

fn other(path: PathId) -> PathId {
    if path == PathId::FIRST { PathId::SECOND } else { PathId::FIRST }
}

/// The parts one after the other; all but the last have a fixed length.
fn digest(parts: &[&[u8]]) -> Print {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut print = Print::default();
    let length = print.len();
    print.copy_from_slice(&context.finish().as_ref()[..length]);
    print
}

#[cfg(test)]
mod tests;
