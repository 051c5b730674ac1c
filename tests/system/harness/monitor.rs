//! What a strict server knows of a client, over all connections of its session: every packet that
//! comes in is checked against it, and a breach ends the test.

use std::collections::{BTreeSet, VecDeque};

use super::packet::{Packet, Publish};

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Neither PUBACK nor PUBREC was sent.
    Open,
    /// PUBREC was sent.
    Received,
}

#[derive(Debug)]
struct Outgoing {
    publish: Publish,
    stage: Stage,
    /// It has come on the present connection.
    seen: bool,
}

/// The state of one client's session as its server has it.
#[derive(Debug, Default)]
pub struct Monitor {
    connect_seen: bool,
    accepted: bool,
    disconnected: bool,
    clean_session: bool,
    /// Publications of the client that are not finished, in the order of their first transmission.
    outgoing: Vec<Outgoing>,
    /// Identifiers of those that PUBREC was sent for, in the order of the PUBRECs.
    received: Vec<u16>,
    /// Identifiers of a session that the server has lost: they may be sent again or not.
    lost: BTreeSet<u16>,
    /// SUBSCRIBE and UNSUBSCRIBE without an answer.
    asking: BTreeSet<u16>,
    /// A new publication has come on this connection: what is repeated must have come before.
    fresh_seen: bool,
    /// Position in `outgoing` of the last repeated publication.
    repeated: usize,
    awaited_pubacks: VecDeque<u16>,
    awaited_pubrecs: VecDeque<u16>,
    awaited_pubrels: VecDeque<u16>,
    awaited_pubcomps: VecDeque<u16>,
    /// PUBRECs for publications that are not open: an answer is allowed.
    allowed_pubrels: BTreeSet<u16>,
}

impl Monitor {
    /// A new connection.
    pub fn connected(&mut self) {
        let outgoing = std::mem::take(&mut self.outgoing);
        let lost = std::mem::take(&mut self.lost);
        let received = std::mem::take(&mut self.received);
        *self = Self { outgoing, received, lost, ..Self::default() };
        for open in &mut self.outgoing {
            open.seen = false;
        }
        self.awaited_pubrels = self.received.iter().copied().collect();
    }

    /// The server sends a packet.
    pub fn sent(&mut self, packet: &Packet) {
        match packet {
            Packet::Connack { session_present, code: 0 } => {
                self.accepted = true;
                if !session_present {
                    let lost = self.outgoing.drain(..).map(|open| open.publish.id);
                    self.lost = if self.clean_session { BTreeSet::new() } else { lost.collect() };
                    self.received.clear();
                    self.awaited_pubrels.clear();
                }
            }
            Packet::Publish(publish) if publish.qos == 1 => {
                self.awaited_pubacks.push_back(publish.id);
            }
            Packet::Publish(publish) if publish.qos == 2 => {
                self.awaited_pubrecs.push_back(publish.id);
            }
            Packet::Pubrel(id) => self.awaited_pubcomps.push_back(*id),
            Packet::Puback(id) => self.outgoing.retain(|open| {
                open.publish.id != *id || open.publish.qos != 1 || open.stage != Stage::Open
            }),
            Packet::Pubrec(id) => {
                let open = self.outgoing.iter_mut().find(|open| open.publish.id == *id);
                match open.filter(|open| open.publish.qos == 2) {
                    Some(open) => {
                        if open.stage == Stage::Open {
                            self.received.push(*id);
                        }
                        open.stage = Stage::Received;
                        self.awaited_pubrels.push_back(*id);
                    }
                    None => {
                        self.allowed_pubrels.insert(*id);
                    }
                }
            }
            Packet::Pubcomp(id) => {
                self.outgoing
                    .retain(|open| open.publish.id != *id || open.stage != Stage::Received);
                self.received.retain(|received| received != id);
                self.lost.remove(id);
            }
            Packet::Suback { id, .. } | Packet::Unsuback(id) => {
                self.asking.remove(id);
            }
            _ => {}
        }
    }

    /// A packet of the client; the error says which rule it breaks.
    pub fn received(&mut self, packet: &Packet) -> Result<(), String> {
        if self.disconnected {
            return Err("a packet after DISCONNECT (MQTT-3.14.4-2)".into());
        }
        if let Packet::Connect(connect) = packet {
            if self.connect_seen {
                return Err("a second CONNECT (MQTT-3.1.0-2)".into());
            }
            self.connect_seen = true;
            self.clean_session = connect.clean_session;
            return Ok(());
        }
        if !self.connect_seen {
            return Err("the first packet is no CONNECT (MQTT-3.1.0-1)".into());
        }
        if !self.accepted && *packet != Packet::Disconnect {
            return Err("a packet before CONNACK".into());
        }
        match packet {
            Packet::Publish(publish) if publish.qos > 0 => self.published(publish),
            Packet::Puback(id) => next(&mut self.awaited_pubacks, *id, "PUBACK"),
            Packet::Pubrec(id) => next(&mut self.awaited_pubrecs, *id, "PUBREC"),
            Packet::Pubcomp(id) => next(&mut self.awaited_pubcomps, *id, "PUBCOMP"),
            Packet::Pubrel(id) => {
                if self.awaited_pubrels.front() != Some(id)
                    && (self.allowed_pubrels.remove(id) || self.lost.contains(id))
                {
                    return Ok(());
                }
                next(&mut self.awaited_pubrels, *id, "PUBREL")
            }
            Packet::Subscribe { id, .. } | Packet::Unsubscribe { id, .. } => {
                if !self.is_free(*id) {
                    return Err(format!("identifier {id} is in use (MQTT-2.3.1-2)"));
                }
                self.asking.insert(*id);
                Ok(())
            }
            Packet::Disconnect => {
                self.disconnected = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn is_free(&self, id: u16) -> bool {
        let published = self.outgoing.iter().any(|open| open.publish.id == id);
        !published && !self.asking.contains(&id)
    }

    fn published(&mut self, publish: &Publish) -> Result<(), String> {
        let id = publish.id;
        let Some(place) = self.outgoing.iter().position(|open| open.publish.id == id) else {
            if publish.dup && !self.lost.contains(&id) {
                return Err(format!("DUP on the first transmission of {id} (MQTT-3.3.1-3)"));
            }
            if self.asking.contains(&id) {
                return Err(format!("identifier {id} is in use (MQTT-2.3.1-2)"));
            }
            self.lost.remove(&id);
            self.fresh_seen = true;
            let publish = Publish { dup: false, ..publish.clone() };
            self.outgoing.push(Outgoing { publish, stage: Stage::Open, seen: true });
            return Ok(());
        };
        let open = &mut self.outgoing[place];
        if !publish.dup {
            return Err(format!("{id} is in use, or repeated without DUP (MQTT-3.3.1-1)"));
        }
        if open.seen {
            return Err(format!("{id} is repeated on a connection that carried it"));
        }
        if open.stage == Stage::Received {
            return Err(format!("PUBLISH {id} after its PUBREC (MQTT-4.3.3-1)"));
        }
        let mut first = publish.clone();
        first.dup = false;
        if first != open.publish {
            return Err(format!("{id} is repeated with another content"));
        }
        if self.fresh_seen || place < self.repeated {
            return Err(format!("{id} is repeated out of order (MQTT-4.6.0-1)"));
        }
        open.seen = true;
        self.repeated = place;
        Ok(())
    }
}

fn next(awaited: &mut VecDeque<u16>, id: u16, what: &str) -> Result<(), String> {
    if awaited.front() == Some(&id) {
        awaited.pop_front();
        return Ok(());
    }
    Err(format!("{what} {id} while {awaited:?} are awaited in this order"))
}

#[test]
fn a_wrong_client_is_found_out() {
    use super::packet::{Connect, again, publish};

    let mut monitor = Monitor::default();
    assert!(monitor.received(&Packet::Pingreq).is_err(), "the first packet is CONNECT");
    monitor.connected();
    monitor.received(&Packet::Connect(Connect::default())).unwrap();
    assert!(monitor.received(&Packet::Connect(Connect::default())).is_err());
    assert!(monitor.received(&Packet::Pingreq).is_err(), "before CONNACK");
    monitor.sent(&Packet::Connack { session_present: false, code: 0 });
    assert!(monitor.received(&again("a", "1", 1, 1)).is_err(), "DUP on a first transmission");
    monitor.received(&publish("a", "1", 1, 1)).unwrap();
    assert!(monitor.received(&publish("a", "2", 1, 1)).is_err(), "identifier in use");
    assert!(monitor.received(&again("a", "1", 1, 1)).is_err(), "repeated on one connection");
    monitor.received(&publish("a", "2", 2, 2)).unwrap();
    assert!(monitor.received(&Packet::Pubrel(2)).is_err(), "before PUBREC");
    assert!(monitor.received(&Packet::Puback(9)).is_err(), "nothing was sent");
    monitor.sent(&publish("b", "1", 1, 5));
    monitor.sent(&publish("b", "2", 1, 6));
    assert!(monitor.received(&Packet::Puback(6)).is_err(), "out of order");
    monitor.received(&Packet::Puback(5)).unwrap();

    monitor.connected();
    monitor.received(&Packet::Connect(Connect::default())).unwrap();
    monitor.sent(&Packet::Connack { session_present: true, code: 0 });
    assert!(monitor.received(&again("a", "x", 1, 1)).is_err(), "another content");
    monitor.received(&again("a", "2", 2, 2)).unwrap();
    assert!(monitor.received(&again("a", "1", 1, 1)).is_err(), "out of order");
    monitor.sent(&Packet::Pubrec(2));
    assert!(monitor.received(&again("a", "2", 2, 2)).is_err(), "PUBLISH after PUBREC");
    monitor.received(&Packet::Pubrel(2)).unwrap();
    monitor.received(&Packet::Disconnect).unwrap();
    assert!(monitor.received(&Packet::Pingreq).is_err(), "after DISCONNECT");
}
