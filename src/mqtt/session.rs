//! What survives a connection: in flight both ways, received QoS 2 ids, subscribed filters.
//!
//! A stored session is a set of records; each change of it is one record put or deleted. The store
//! does not look into them. Keys and values (numbers big-endian):
//!
//! | key | value | what |
//! |---|---|---|
//! | `m` | format 1, epoch of the session's start (4), client id | whose session it is |
//! | `o` id (2) | order (8), stage 1 or 2, flags, topic length (2), topic, properties, payload | a publish in flight |
//! | `o` id (2) | order (8), stage 3 or 4 | a publish that is released, or given up |
//! | `r` epoch (4) id (2) | 1, fingerprint (8) | a QoS 2 message that is applied and not released |
//! | `r` epoch (4) id (2) | 2, fingerprint (8), note | the same, and its owner has not confirmed it |
//! | `r` epoch (4) id (2) | 3, fingerprint (8) | a QoS 2 exchange that is over (`repeats.rs`) |
//! | `s` filter | granted QoS, or 255: asked | a filter that the server may have |
//!
//! Flags: 1 retain, 2 properties, which then have their length (4) in front.
//!
//! A received record is written by the driver, together with the values of its message, perhaps long
//! after its connection and even its session are gone. So it carries the epoch of its connection:
//! older than the session's start means that the server has forgotten it, and so do we.
//!
//! One gap is the protocol's own: if a server loses its session and the CONNACK that says so is lost
//! too (or the process ends before that is on disk), the next CONNACK speaks of the server's new session as present. Ids that were received and not
//! released then stand until their PUBREL comes, and a new QoS 2 message with such an id passes for a
//! repetition. DUP could tell the two apart, but MQTT-4.3.3-2 forbids to rely on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::client::{Delivery, PublishToken};
use super::codec;
use super::packet::Publication;
use super::planted::{Bug, planted};
use super::repeats::Repeats;
use crate::qos::Qos;

/// Number of a session change, in the order of their making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeSeq(pub u64);

/// Session state, MQTT 3.1.1 section 3.1.2.4.
#[derive(Debug, Default)]
pub struct Session {
    /// Whose session it is; `None`: no server has confirmed it.
    pub(super) client_id: Option<String>,
    /// Epoch of the connection on which the server's session began.
    pub(super) start_epoch: u32,
    /// Last epoch given to a connection.
    pub(super) last_epoch: u32,
    /// Publishes in flight by packet id.
    pub(super) outgoing: BTreeMap<u16, Outgoing>,
    /// Inbound QoS 2 exchanges by packet id.
    pub(super) received: BTreeMap<u16, Received>,
    /// Inbound QoS 2 exchanges that are over.
    pub(super) repeats: Repeats,
    /// Filters that the server may have; `None`: asked, and no answer seen.
    pub(super) filters: BTreeMap<String, Option<Qos>>,
    /// Keys of restored records that mean nothing any more.
    pub(super) stale: Vec<Vec<u8>>,
    /// Restored messages that are applied and not to be acknowledged yet, for their owner.
    unconfirmed: Vec<Unconfirmed>,
    last_order: u64,
    pub(super) last_id: u16,
}

/// A publish in flight.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Rises with every first transmission, so that resends keep the original order (MQTT-4.6.0-1).
    pub(super) order: u64,
    /// How far it has come.
    pub(super) stage: Stage,
    /// The packet of this stage may leave when this change is durable.
    pub(super) record: ChangeSeq,
    /// Whether the PUBLISH has left as a whole, as far as is known: it may be at the server.
    pub(super) left: bool,
    /// It left for a session that the server has lost; on its present one it has not left.
    pub(super) is_resubmitted: bool,
    /// Its owner does not want it any more: it is sent only as far as the standard demands.
    pub(super) is_unwanted: bool,
    /// What became of the packet of this stage on the current connection.
    pub(super) sending: Sending,
    /// Who wants to know the outcome.
    pub(super) waiter: Option<Waiter>,
    /// Connections in a row that the server closed when it was the first without an answer.
    pub(super) fatal: u8,
    /// A first transmission must not leave after this. Not stored: a clock of this process.
    pub(super) expires: Option<Instant>,
}

/// How far a publish has come. After PUBREC the message is gone, so it cannot be sent again.
#[derive(Debug)]
pub(super) enum Stage {
    /// Awaits PUBACK (QoS 1) or PUBREC (QoS 2).
    Publish(Publication),
    /// Awaits PUBCOMP.
    Release,
    /// A QoS 2 message that the server may have and that cannot be sent again. Its id stays in use,
    /// or the next message with it would pass for its repetition.
    GivenUp,
}

/// What became of a packet on the current connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Nothing.
    Idle,
    /// It waits for its record.
    Gated,
    /// It was given to the transport; its last byte is at this offset.
    Given(u64),
}

/// Somebody who waits for the outcome of a publish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) token: PublishToken,
    /// Key in the client's table of deadlines; `None`: it waits as long as it takes.
    pub(super) due: Option<(Instant, u64)>,
}

/// An inbound QoS 2 message from its PUBLISH to its PUBREL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Connection on which it was handed over.
    pub(super) epoch: u32,
    /// Whether it is safe.
    pub(super) settled: bool,
    /// PUBREL came before it was safe: it is released as soon as it is.
    pub(super) released: bool,
    /// What its message is known again by.
    pub(super) fingerprint: u64,
}

/// A publish that a restored session has in flight; its token is gone with the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its packet id.
    pub packet_id: u16,
    /// The message; `None`: the server has it (PUBREC came), its release is outstanding.
    pub publication: Option<Publication>,
}

/// An inbound QoS 2 message that a restored session has applied and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Connection on which it came.
    pub(super) epoch: u32,
    /// Its packet id.
    pub packet_id: u16,
    pub(super) fingerprint: u64,
    /// What its owner noted with it.
    pub note: Vec<u8>,
}

impl Unconfirmed {
    /// For the acknowledgement.
    pub fn delivery(&self) -> Delivery {
        let Self { epoch, packet_id, fingerprint, .. } = *self;
        Delivery { epoch, packet_id, qos: Qos::ExactlyOnce, stored: true, fingerprint }
    }
}

/// One record of the stored session put or deleted. Opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionChange {
    /// Key within the line's session.
    pub key: Vec<u8>,
    /// New value; `None` deletes the key. An empty key with `None` deletes the whole session.
    pub value: Option<Vec<u8>>,
}

impl SessionChange {
    pub(super) fn delete_all() -> Self {
        Self { key: vec![], value: None }
    }

    pub(super) fn delete(key: Vec<u8>) -> Self {
        Self { key, value: None }
    }

    pub(super) fn put(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { key, value: Some(value) }
    }
}

impl Outgoing {
    /// Whether the server's present session may know the PUBLISH.
    pub(super) fn is_known(&self) -> bool {
        self.left && !self.is_resubmitted
    }
}

impl Waiter {
    /// Whether its deadline has come.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|(due, _)| due <= now)
    }
}

impl Session {
    /// Rebuilds a session from its stored records; the error names the record that makes no sense.
    pub fn restore(records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        let mut session = Self::default();
        let mut received: Vec<RestoredReceived> = vec![];
        // In the order of their keys, that is of their connections.
        for (key, value) in records {
            restore_record(&mut session, &mut received, &key, &value)
                .ok_or_else(|| format!("the session record {} makes no sense", hex(&key)))?;
        }
        session.last_epoch = session.last_epoch.max(session.start_epoch);
        received.sort_unstable();
        for RestoredReceived { epoch, id, fingerprint, note } in received {
            session.last_epoch = session.last_epoch.max(epoch);
            let entry = Received { epoch, settled: note.is_none(), released: false, fingerprint };
            if epoch < session.start_epoch {
                session.stale.push(received_key(epoch, id));
            } else if let Some(older) = session.received.insert(id, entry) {
                session.stale.push(received_key(older.epoch, id));
                session.unconfirmed.retain(|older| older.packet_id != id);
            }
            if let Some(note) = note.filter(|_| epoch >= session.start_epoch) {
                session.unconfirmed.push(Unconfirmed { epoch, packet_id: id, fingerprint, note });
            }
        }
        Ok(session)
    }

    /// An empty session whose epochs follow those of another.
    pub(super) fn after(last_epoch: u32) -> Self {
        Self { last_epoch, ..Self::default() }
    }

    /// Takes the messages that are applied and not to be acknowledged yet; each is acknowledged by
    /// its owner, or never.
    pub fn take_unconfirmed(&mut self) -> Vec<Unconfirmed> {
        std::mem::take(&mut self.unconfirmed)
    }

    /// Publishes in flight, in their original order.
    pub fn unfinished(&self) -> Vec<Unfinished> {
        self.in_order()
            .into_iter()
            .filter_map(|packet_id| {
                let publication = match &self.outgoing[&packet_id].stage {
                    Stage::Publish(publication) => Some(publication.clone()),
                    Stage::Release => None,
                    Stage::GivenUp => return None,
                };
                Some(Unfinished { packet_id, publication })
            })
            .collect()
    }

    /// Whether there is anything that a store would have to delete.
    pub(super) fn is_empty(&self) -> bool {
        self.client_id.is_none()
            && self.outgoing.is_empty()
            && self.received.is_empty()
            && self.repeats.is_empty()
            && self.filters.is_empty()
            && self.stale.is_empty()
    }

    /// Ids in flight in the order in which their packets are to be sent again.
    pub(super) fn in_order(&self) -> Vec<u16> {
        let mut ids: Vec<u16> = self.outgoing.keys().copied().collect();
        if !planted(Bug::ResendInIdOrder) {
            ids.sort_unstable_by_key(|id| self.outgoing[id].order);
        }
        ids
    }

    /// The next place in the original order.
    pub(super) fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    /// An id that is not in use (MQTT-2.3.1-2); `None`: all are.
    pub(super) fn free_id(&mut self, is_used_elsewhere: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in 0..u16::MAX {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if planted(Bug::IdsWrapEarly) {
                self.last_id = self.last_id % 5 + 1;
                return Some(self.last_id);
            }
            if !self.outgoing.contains_key(&self.last_id) && !is_used_elsewhere(self.last_id) {
                return Some(self.last_id);
            }
        }
        None
    }

    /// The server has no session any more. Every field's fate is written down here: what is in
    /// flight stays for its owner to decide on, what came from the server is forgotten. Filters that
    /// will be asked for again keep their records.
    pub(super) fn on_lost(
        &mut self,
        epoch: u32,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<SessionChange> {
        let Self {
            client_id: _,
            start_epoch,
            last_epoch: _,
            outgoing: _,
            received,
            repeats,
            filters,
            stale: _,
            unconfirmed: _,
            last_order: _,
            last_id: _,
        } = self;
        *start_epoch = epoch;
        let mut changes = repeats.clear();
        if !planted(Bug::KeepReceivedOfLostSession) {
            for (id, entry) in std::mem::take(received) {
                if entry.settled {
                    changes.push(SessionChange::delete(received_key(entry.epoch, id)));
                }
            }
        }
        filters.retain(|filter, granted| {
            *granted = None;
            let keep = is_wanted(filter);
            if !keep {
                changes.push(SessionChange::delete(filter_key(filter)));
            }
            keep
        });
        changes
    }

    /// The record that names the owner of the session.
    pub(super) fn meta_change(&self) -> SessionChange {
        let mut value = vec![FORMAT];
        value.extend_from_slice(&self.start_epoch.to_be_bytes());
        value.extend_from_slice(self.client_id.as_deref().unwrap_or_default().as_bytes());
        SessionChange::put(b"m".to_vec(), value)
    }
}

/// The record of a publish in flight.
pub(super) fn outgoing_change(id: u16, outgoing: &Outgoing) -> SessionChange {
    let mut value = outgoing.order.to_be_bytes().to_vec();
    match &outgoing.stage {
        Stage::Release => value.push(STAGE_RELEASE),
        Stage::GivenUp => value.push(STAGE_GIVEN_UP),
        Stage::Publish(publication) => {
            let topic = publication.topic.as_bytes();
            value.reserve(4 + topic.len() + publication.payload.len());
            value.push(publication.qos.level());
            let flag = |set: bool, flag: u8| if set { flag } else { 0 };
            let properties = publication.properties.as_deref().map(codec::properties_to_bytes);
            value.push(flag(publication.retain, RETAIN) | flag(properties.is_some(), PROPERTIES));
            let topic_bytes = u16::try_from(topic.len()).unwrap_or(u16::MAX);
            value.extend_from_slice(&topic_bytes.to_be_bytes());
            value.extend_from_slice(topic);
            if let Some(properties) = properties {
                let length = u32::try_from(properties.len()).unwrap_or(u32::MAX);
                value.extend_from_slice(&length.to_be_bytes());
                value.extend_from_slice(&properties);
            }
            value.extend_from_slice(&publication.payload);
        }
    }
    SessionChange::put(outgoing_key(id), value)
}

/// The record that a received QoS 2 message is applied and not to be acknowledged yet; the note is
/// its owner's.
pub(super) fn received_unconfirmed_change(delivery: &Delivery, note: &[u8]) -> SessionChange {
    received_record(delivery, RECEIVED_UNCONFIRMED, note)
}

/// The record that a received QoS 2 message is applied.
pub(super) fn received_change(delivery: &Delivery) -> SessionChange {
    received_record(delivery, RECEIVED, &[])
}

fn received_record(delivery: &Delivery, kind: u8, note: &[u8]) -> SessionChange {
    let mut value = vec![kind];
    value.extend_from_slice(&delivery.fingerprint.to_be_bytes());
    value.extend_from_slice(note);
    SessionChange::put(received_key(delivery.epoch, delivery.packet_id), value)
}

/// The record of a filter.
pub(super) fn filter_change(filter: &str, granted: Option<Qos>) -> SessionChange {
    SessionChange::put(filter_key(filter), vec![granted.map_or(ASKED, Qos::level)])
}

pub(super) fn outgoing_key(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![b'o', high, low]
}

pub(super) fn received_key(epoch: u32, id: u16) -> Vec<u8> {
    let mut key = vec![b'r'];
    key.extend_from_slice(&epoch.to_be_bytes());
    key.extend_from_slice(&id.to_be_bytes());
    key
}

pub(super) fn filter_key(filter: &str) -> Vec<u8> {
    let mut key = vec![b's'];
    key.extend_from_slice(filter.as_bytes());
    key
}

/// A record of a received message; in the order of its connections.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RestoredReceived {
    epoch: u32,
    id: u16,
    fingerprint: u64,
    note: Option<Vec<u8>>,
}

fn restore_record(
    session: &mut Session,
    received: &mut Vec<RestoredReceived>,
    key: &[u8],
    value: &[u8],
) -> Option<()> {
    match key {
        [b'm'] => {
            let (format, rest) = value.split_first()?;
            let (start_epoch, client_id) = rest.split_first_chunk()?;
            if *format != FORMAT {
                return None;
            }
            session.start_epoch = u32::from_be_bytes(*start_epoch);
            session.client_id = Some(str::from_utf8(client_id).ok()?.to_owned());
        }
        [b'o', high, low] => {
            let id = u16::from_be_bytes([*high, *low]);
            let outgoing = restore_outgoing(value)?;
            session.last_order = session.last_order.max(outgoing.order);
            if id == 0 || session.outgoing.insert(id, outgoing).is_some() {
                return None;
            }
        }
        [b'r', epoch @ .., high, low] => {
            let epoch = u32::from_be_bytes(epoch.try_into().ok()?);
            let id = u16::from_be_bytes([*high, *low]);
            if session.repeats.restore(id, epoch, value) {
                session.last_epoch = session.last_epoch.max(epoch);
                return Some(());
            }
            let (&kind, rest) = value.split_first()?;
            let (fingerprint, note) = rest.split_first_chunk()?;
            let fingerprint = u64::from_be_bytes(*fingerprint);
            let note = match kind {
                RECEIVED if note.is_empty() => None,
                RECEIVED_UNCONFIRMED => Some(note.to_vec()),
                _ => return None,
            };
            received.push(RestoredReceived { epoch, id, fingerprint, note });
        }
        [b's', filter @ ..] => {
            let filter = str::from_utf8(filter).ok()?.to_owned();
            let granted = match value {
                [ASKED] => None,
                [level] => Some(Qos::from_level(*level)?),
                _ => return None,
            };
            session.filters.insert(filter, granted);
        }
        _ => return None,
    }
    Some(())
}

fn restore_outgoing(value: &[u8]) -> Option<Outgoing> {
    let (order, rest) = value.split_first_chunk()?;
    let (&stage, rest) = rest.split_first()?;
    let stage = match stage {
        STAGE_RELEASE if rest.is_empty() => Stage::Release,
        STAGE_GIVEN_UP if rest.is_empty() => Stage::GivenUp,
        1 | 2 => {
            let (&flags, rest) = rest.split_first()?;
            let (topic_bytes, rest) = rest.split_first_chunk()?;
            let topic_bytes = usize::from(u16::from_be_bytes(*topic_bytes));
            let (topic, rest) = rest.split_at_checked(topic_bytes)?;
            let (properties, payload) = match flags & PROPERTIES {
                0 => (None, rest),
                _ => {
                    let (length, rest) = rest.split_first_chunk()?;
                    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                    let (properties, payload) = rest.split_at_checked(length)?;
                    (Some(Box::new(codec::properties_from_bytes(properties)?)), payload)
                }
            };
            Stage::Publish(Publication {
                topic: Arc::from(str::from_utf8(topic).ok()?),
                payload: Bytes::copy_from_slice(payload),
                qos: Qos::from_level(stage)?,
                retain: flags & RETAIN != 0,
                properties,
            })
        }
        _ => return None,
    };
    Some(Outgoing {
        order: u64::from_be_bytes(*order),
        stage,
        record: ChangeSeq(0),
        // Nobody knows whether it had left when the process ended; so it may have.
        left: true,
        is_resubmitted: false,
        is_unwanted: false,
        sending: Sending::Idle,
        waiter: None,
        fatal: 0,
        expires: None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const FORMAT: u8 = 1;
const STAGE_RELEASE: u8 = 3;
const STAGE_GIVEN_UP: u8 = 4;
const RETAIN: u8 = 1;
const PROPERTIES: u8 = 2;
const RECEIVED: u8 = 1;
const RECEIVED_UNCONFIRMED: u8 = 2;
const ASKED: u8 = 255;

#[cfg(test)]
mod tests;
