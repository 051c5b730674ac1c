//! QoS 2 exchanges that are over, in case the server begins one of them again.
//!
//! mosquitto 2.0.11, restarted between its PUBREL and our PUBCOMP, sends the PUBLISH again (DUP 1,
//! same id) on a session that it calls present. By the standard PUBCOMP has made the id free and this
//! is another message; yet it is the same, and would be applied twice. So the last exchanges are
//! remembered, over restarts too, by id and a fingerprint of topic and payload: a PUBLISH with DUP on
//! a *later* connection that equals the exchange which used its id last is answered and not handed
//! over.
//!
//! The price: a new message is lost if it has the id, the topic and the payload of a remembered one and
//! its first transmission did not arrive. It would have said what the last one said.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::packet::Publication;
use super::session::{SessionChange, received_key};

/// Exchanges remembered: more than any broker has in flight at QoS 2.
const REMEMBERED_MAX: usize = 1024;

/// The exchanges that ended last.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    by_id: BTreeMap<u16, Ended>,
    /// In the order of their end; an id may stand here twice.
    order: VecDeque<(u16, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    /// Connection on which its message was handed over.
    epoch: u32,
    fingerprint: u64,
}

/// What a message is known again by.
pub(super) fn fingerprint(publication: &Publication) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(publication.topic.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(&publication.payload);
    hasher.finish()
}

impl Repeats {
    /// An exchange is over. The first change takes the place of its record of being received.
    pub(super) fn remember(&mut self, id: u16, epoch: u32, fingerprint: u64) -> Vec<SessionChange> {
        let mut changes = vec![self.add(id, epoch, fingerprint)];
        while self.order.len() > REMEMBERED_MAX {
            let Some((id, epoch)) = self.order.pop_front() else { break };
            if self.by_id.get(&id).is_some_and(|ended| ended.epoch == epoch)
                && !self.order.contains(&(id, epoch))
            {
                self.by_id.remove(&id);
                changes.push(SessionChange::delete(received_key(epoch, id)));
            }
        }
        changes
    }

    fn add(&mut self, id: u16, epoch: u32, fingerprint: u64) -> SessionChange {
        self.by_id.insert(id, Ended { epoch, fingerprint });
        self.order.push_back((id, epoch));
        let mut value = vec![RECORD];
        value.extend_from_slice(&fingerprint.to_be_bytes());
        SessionChange::put(received_key(epoch, id), value)
    }

    /// Puts back what [`Self::remember`] recorded, oldest first; false: it is no such record.
    pub(super) fn restore(&mut self, id: u16, epoch: u32, value: &[u8]) -> bool {
        let Some((&RECORD, fingerprint)) = value.split_first() else { return false };
        let Ok(fingerprint) = fingerprint.try_into().map(u64::from_be_bytes) else { return false };
        self.add(id, epoch, fingerprint);
        true
    }

    /// Whether a PUBLISH with DUP on this connection is an exchange that was over before it.
    pub(super) fn knows(&self, id: u16, epoch: u32, fingerprint: u64) -> bool {
        self.by_id
            .get(&id)
            .is_some_and(|ended| ended.epoch < epoch && ended.fingerprint == fingerprint)
    }

    /// The id is used for another message: what it was used for before is of no interest.
    pub(super) fn forget(&mut self, id: u16) -> Option<SessionChange> {
        let ended = self.by_id.remove(&id)?;
        self.order.retain(|known| *known != (id, ended.epoch));
        Some(SessionChange::delete(received_key(ended.epoch, id)))
    }

    /// The server has no session any more.
    pub(super) fn clear(&mut self) -> Vec<SessionChange> {
        self.order.clear();
        let all = std::mem::take(&mut self.by_id);
        all.into_iter()
            .map(|(id, ended)| SessionChange::delete(received_key(ended.epoch, id)))
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// First byte of the record's value.
const RECORD: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_known_on_later_connections_only() {
        let mut repeats = Repeats::default();
        let changes = repeats.remember(42, 3, 7);
        assert_eq!(changes.len(), 1);
        assert!(!repeats.knows(42, 3, 7), "the same connection: the id is free");
        assert!(repeats.knows(42, 4, 7));
        assert!(!repeats.knows(42, 4, 8));
        assert!(!repeats.knows(41, 4, 7));
        let forgotten = repeats.forget(42).unwrap();
        assert_eq!((forgotten.key, forgotten.value), (received_key(3, 42), None));
        assert!(!repeats.knows(42, 4, 7));
    }

    #[test]
    fn it_comes_back_from_its_record() {
        let change = Repeats::default().remember(42, 3, 7).remove(0);
        let mut repeats = Repeats::default();
        assert!(repeats.restore(42, 3, &change.value.unwrap()));
        assert!(repeats.knows(42, 4, 7));
        assert!(!repeats.restore(42, 3, &[1]));
        assert!(!repeats.restore(42, 3, &[RECORD, 1]));
    }

    #[test]
    fn the_memory_is_bounded_and_says_what_to_delete() {
        let mut repeats = Repeats::default();
        let mut records = std::collections::BTreeSet::new();
        for turn in 0..3 {
            for id in 1..=2000 {
                for change in repeats.remember(id, turn, u64::from(id)) {
                    match change.value {
                        Some(_) => records.insert(change.key),
                        None => records.remove(&change.key),
                    };
                }
            }
        }
        assert_eq!(repeats.by_id.len(), REMEMBERED_MAX);
        assert_eq!(records.len(), REMEMBERED_MAX);
        assert_eq!(repeats.clear().len(), REMEMBERED_MAX);
        assert!(repeats.is_empty());
    }
}
