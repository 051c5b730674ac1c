//! What a strict server knows of a client over all connections of its session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::packet::{Ack, Connect, Kind, Packet, Publish, Version};
use super::property;
use super::syntax;

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Neither PUBACK nor PUBREC was sent.
    Open,
    /// PUBREC was sent.
    Received,
    /// PUBREC was sent on a connection that broke: it may have arrived.
    Unsure,
}

#[derive(Debug)]
struct Outgoing {
    publish: Publish,
    stage: Stage,
    /// Its PUBLISH has come on the present connection.
    seen: bool,
}

/// What CONNACK allows.
#[derive(Debug)]
struct Limits {
    receive_maximum: usize,
    packet_maximum: usize,
    alias_maximum: u16,
    qos_maximum: u8,
    retain: bool,
    wildcards: bool,
    shared: bool,
    subscription_ids: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            receive_maximum: 65_535,
            packet_maximum: usize::MAX,
            alias_maximum: 0,
            qos_maximum: 2,
            retain: true,
            wildcards: true,
            shared: true,
            subscription_ids: true,
        }
    }
}

/// The state of one client's session as its server has it.
#[derive(Debug)]
pub struct Judge {
    pub version: Version,
    /// Every rule that was broken.
    pub faults: Vec<String>,
    connect: Option<Connect>,
    /// The identifier of the first connection, which names the session.
    client_id: Option<String>,
    assigned_id: Option<String>,
    accepted: bool,
    /// Nothing may follow: DISCONNECT of the client, or a CONNACK that refuses.
    over: Option<&'static str>,
    limits: Limits,
    aliases: BTreeMap<u16, String>,
    /// Publications of the client that are not finished, in the order of their first transmission.
    outgoing: Vec<Outgoing>,
    /// Identifiers of those that PUBREC was sent for, in the order of the PUBRECs.
    received: Vec<u16>,
    /// Identifiers of a session that the server has lost: in 3.1.1 they may be sent again. And of
    /// exchanges whose end was sent on a connection that broke.
    lost: BTreeSet<u16>,
    /// A connection broke with bytes of the client unread: a first transmission may not have been seen.
    unread: bool,
    /// Identifiers whose end was sent on this connection.
    ended: Vec<u16>,
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
    /// Further PUBRECs for those that are.
    doubled: BTreeSet<u16>,
}

impl Judge {
    pub fn new(version: Version) -> Self {
        Self {
            version,
            faults: Vec::new(),
            connect: None,
            client_id: None,
            assigned_id: None,
            accepted: false,
            over: None,
            limits: Limits::default(),
            aliases: BTreeMap::new(),
            outgoing: Vec::new(),
            received: Vec::new(),
            lost: BTreeSet::new(),
            unread: false,
            ended: Vec::new(),
            asking: BTreeSet::new(),
            fresh_seen: false,
            repeated: 0,
            awaited_pubacks: VecDeque::new(),
            awaited_pubrecs: VecDeque::new(),
            awaited_pubrels: VecDeque::new(),
            awaited_pubcomps: VecDeque::new(),
            allowed_pubrels: BTreeSet::new(),
            doubled: BTreeSet::new(),
        }
    }

    /// A new connection.
    pub fn connected(&mut self) {
        let old = std::mem::replace(self, Self::new(self.version));
        self.faults = old.faults;
        self.client_id = old.client_id;
        self.assigned_id = old.assigned_id;
        self.outgoing = old.outgoing;
        self.received = old.received;
        self.lost = old.lost;
        self.unread = old.unread;
        for open in &mut self.outgoing {
            open.seen = false;
        }
        self.awaited_pubrels = self.received.iter().copied().collect();
    }

    /// The connection broke: what was sent last may have arrived or not.
    pub fn broken(&mut self) {
        self.unread = true;
        self.lost.extend(self.ended.drain(..));
        for open in &mut self.outgoing {
            if open.stage == Stage::Received {
                open.stage = Stage::Unsure;
            }
        }
        self.received.clear();
    }

    /// The server sends a packet.
    pub fn sent(&mut self, packet: &Packet) {
        match packet {
            Packet::Connack { present, code: 0, properties } => {
                self.accepted = true;
                let limits = &mut self.limits;
                if let Some(maximum) = property::two(properties, property::RECEIVE_MAXIMUM) {
                    limits.receive_maximum = usize::from(maximum);
                }
                if let Some(maximum) = property::four(properties, property::PACKET_MAXIMUM) {
                    limits.packet_maximum = maximum as usize;
                }
                let alias = property::two(properties, property::ALIAS_MAXIMUM);
                limits.alias_maximum = alias.unwrap_or(0);
                let byte = |id| property::byte(properties, id);
                limits.qos_maximum = byte(property::MAXIMUM_QOS).unwrap_or(2);
                limits.retain = byte(property::RETAIN_AVAILABLE) != Some(0);
                limits.wildcards = byte(property::WILDCARD_AVAILABLE) != Some(0);
                limits.shared = byte(property::SHARED_AVAILABLE) != Some(0);
                limits.subscription_ids = byte(property::SUBSCRIPTION_ID_AVAILABLE) != Some(0);
                if let Some(id) = property::text(properties, property::ASSIGNED_CLIENT_ID) {
                    self.assigned_id = Some(id.to_owned());
                }
                if !present {
                    let lost = self.outgoing.drain(..).map(|open| open.publish.id);
                    let resends = self.version == Version::V311
                        && self.connect.as_ref().is_some_and(Connect::is_persistent);
                    if resends {
                        self.lost.extend(lost);
                    } else {
                        drop(lost);
                        self.lost.clear();
                        self.unread = false;
                    }
                    self.received.clear();
                    self.awaited_pubrels.clear();
                }
            }
            Packet::Connack { .. } => self.over = Some("CONNACK has refused it"),
            Packet::Publish(publish) if publish.qos == 1 => {
                self.awaited_pubacks.push_back(publish.id);
            }
            Packet::Publish(publish) if publish.qos == 2 => {
                self.awaited_pubrecs.push_back(publish.id);
            }
            Packet::Ack(ack) => self.sent_ack(ack),
            Packet::Suback { id, .. } | Packet::Unsuback { id, .. } => {
                self.asking.remove(id);
            }
            _ => {}
        }
    }

    fn sent_ack(&mut self, ack: &Ack) {
        let id = ack.id;
        if ack.kind != Kind::Pubrel && (ack.kind != Kind::Pubrec || ack.reason >= 0x80) {
            self.ended.push(id);
        }
        match ack.kind {
            Kind::Pubrel => self.awaited_pubcomps.push_back(id),
            Kind::Puback => self.outgoing.retain(|open| {
                open.publish.id != id || open.publish.qos != 1 || open.stage != Stage::Open
            }),
            Kind::Pubrec if ack.reason >= 0x80 => self.outgoing.retain(|open| {
                open.publish.id != id || open.publish.qos != 2 || open.stage != Stage::Open
            }),
            Kind::Pubrec => {
                let open = self.outgoing.iter_mut().find(|open| open.publish.id == id);
                match open.filter(|open| open.publish.qos == 2) {
                    Some(open) => {
                        if open.stage == Stage::Received {
                            // One PUBREL may answer both.
                            self.doubled.insert(id);
                            return;
                        }
                        open.stage = Stage::Received;
                        self.received.push(id);
                        self.awaited_pubrels.push_back(id);
                    }
                    None => {
                        self.allowed_pubrels.insert(id);
                    }
                }
            }
            Kind::Pubcomp => {
                self.outgoing.retain(|open| open.publish.id != id || open.stage == Stage::Open);
                self.received.retain(|received| *received != id);
                self.lost.remove(&id);
            }
        }
    }

    /// A packet of the client, of so many bytes.
    pub fn received(&mut self, packet: &Packet, bytes: usize) {
        if let Err(why) = self.check(packet, bytes) {
            self.faults.push(format!("{why}: {}", brief(packet)));
        }
    }

    fn check(&mut self, packet: &Packet, bytes: usize) -> Result<(), String> {
        if let Some(why) = self.over {
            return Err(format!("a packet although {why}"));
        }
        if let Packet::Connect(connect) = packet {
            return self.check_connect(connect);
        }
        if self.connect.is_none() {
            return Err("the first packet is no CONNECT (MQTT-3.1.0-1)".into());
        }
        if bytes > self.limits.packet_maximum {
            return Err(format!("{bytes} bytes are too many for the server (MQTT-3.2.2-15)"));
        }
        if let Packet::Disconnect { reason, .. } = packet {
            self.over = Some("DISCONNECT is the last packet (MQTT-3.14.4-2)");
            let before = !self.accepted && *reason < 0x80;
            return if before {
                Err("an ordinary DISCONNECT before CONNACK".into())
            } else {
                Ok(())
            };
        }
        if !self.accepted && !matches!(packet, Packet::Auth { .. }) {
            return Err("a packet before CONNACK".into());
        }
        match packet {
            Packet::Publish(publish) => self.check_publish(publish),
            Packet::Ack(ack) => self.check_ack(ack),
            Packet::Subscribe { id, properties, filters } => {
                self.ask(*id)?;
                let has_id = properties.iter().any(|(id, _)| *id == property::SUBSCRIPTION_ID);
                if has_id && !self.limits.subscription_ids {
                    return Err("a subscription identifier that the server has not".into());
                }
                for (filter, _) in filters {
                    if syntax::filter(filter)? && !self.limits.wildcards {
                        return Err("a wildcard that the server does not take".into());
                    }
                    if filter.starts_with("$share/") && !self.limits.shared {
                        return Err("a shared subscription that the server does not take".into());
                    }
                }
                Ok(())
            }
            Packet::Unsubscribe { id, .. } => self.ask(*id),
            _ => Ok(()),
        }
    }

    fn check_connect(&mut self, connect: &Connect) -> Result<(), String> {
        if self.connect.is_some() {
            return Err("a second CONNECT (MQTT-3.1.0-2)".into());
        }
        let known = self.client_id.get_or_insert_with(|| connect.client_id.clone());
        let is_known = *known == connect.client_id
            || self.assigned_id.as_deref() == Some(connect.client_id.as_str());
        let is_other = !is_known;
        let is_right = connect.version == self.version;
        self.connect = Some(connect.clone());
        if is_other {
            return Err("the client identifier has changed (MQTT-3.1.3-2)".into());
        }
        if is_right { Ok(()) } else { Err(format!("it speaks {:?}", connect.version)) }
    }

    fn ask(&mut self, id: u16) -> Result<(), String> {
        let published = self.outgoing.iter().any(|open| open.publish.id == id);
        if published || !self.asking.insert(id) {
            return Err(format!("identifier {id} is in use (MQTT-2.2.1-3)"));
        }
        Ok(())
    }

    fn check_ack(&mut self, ack: &Ack) -> Result<(), String> {
        let (id, unknown) = (ack.id, ack.reason == 0x92);
        match ack.kind {
            Kind::Puback => next(&mut self.awaited_pubacks, id, "PUBACK"),
            Kind::Pubrec => next(&mut self.awaited_pubrecs, id, "PUBREC"),
            Kind::Pubcomp => next(&mut self.awaited_pubcomps, id, "PUBCOMP"),
            Kind::Pubrel => {
                let is_awaited = self.awaited_pubrels.front() == Some(&id);
                let unsure = |open: &Outgoing| open.publish.id == id && open.stage == Stage::Unsure;
                if self.outgoing.iter().any(unsure) && !unknown {
                    return Ok(());
                }
                if !is_awaited && self.lost.contains(&id) {
                    return Ok(());
                }
                if !is_awaited && self.doubled.contains(&id) {
                    return Ok(());
                }
                if !is_awaited && self.allowed_pubrels.remove(&id) {
                    let is_right = self.version == Version::V311 || unknown;
                    return is_right.then_some(()).ok_or("PUBREL of nothing without 0x92".into());
                }
                if unknown {
                    return Err("PUBREL with 0x92 for an exchange that is under way".into());
                }
                next(&mut self.awaited_pubrels, id, "PUBREL")
            }
        }
    }

    fn check_publish(&mut self, publish: &Publish) -> Result<(), String> {
        let mut publish = publish.clone();
        if let Some(alias) = property::two(&publish.properties, property::TOPIC_ALIAS) {
            if alias > self.limits.alias_maximum {
                return Err(format!("topic alias {alias} (MQTT-3.2.2-17)"));
            }
            if publish.topic.is_empty() {
                let topic = self.aliases.get(&alias);
                publish.topic = topic.ok_or("an alias of nothing (MQTT-3.3.2-7)")?.clone();
            } else {
                self.aliases.insert(alias, publish.topic.clone());
            }
        }
        if publish.qos > self.limits.qos_maximum {
            return Err(format!("QoS {} (MQTT-3.2.2-11)", publish.qos));
        }
        if publish.retain && !self.limits.retain {
            return Err("RETAIN (MQTT-3.2.2-14)".into());
        }
        if publish.qos == 0 {
            return Ok(());
        }
        self.check_exchange(publish)?;
        let open = self.outgoing.iter().filter(|open| open.seen).count();
        if open > self.limits.receive_maximum {
            return Err(format!("{open} messages are in flight (MQTT-3.3.4-7)"));
        }
        Ok(())
    }

    fn check_exchange(&mut self, mut publish: Publish) -> Result<(), String> {
        let (id, is_repeat) = (publish.id, publish.dup);
        publish.dup = false;
        // An alias holds for a connection, and what is left of an expiry becomes less.
        publish
            .properties
            .retain(|(id, _)| *id != property::TOPIC_ALIAS && *id != property::MESSAGE_EXPIRY);
        let Some(place) = self.outgoing.iter().position(|open| open.publish.id == id) else {
            if is_repeat && !self.unread && !self.lost.contains(&id) {
                return Err(format!("DUP on the first transmission of {id} (MQTT-3.3.1-3)"));
            }
            if self.asking.contains(&id) {
                return Err(format!("identifier {id} is in use (MQTT-2.2.1-3)"));
            }
            self.lost.remove(&id);
            self.fresh_seen |= !is_repeat;
            self.outgoing.push(Outgoing { publish, stage: Stage::Open, seen: true });
            return Ok(());
        };
        let open = &mut self.outgoing[place];
        if !is_repeat {
            return Err(format!("{id} is in use, or repeated without DUP (MQTT-3.3.1-1)"));
        }
        if open.seen {
            return Err(format!("{id} is repeated on a connection that carried it"));
        }
        if open.stage == Stage::Received {
            return Err(format!("PUBLISH {id} after its PUBREC (MQTT-4.3.3-1)"));
        }
        if publish != open.publish {
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

/// A packet, its payload cut.
pub fn brief(packet: &Packet) -> String {
    let text = format!("{packet:?}");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::{ack, disconnect, message, publish, refusal};
    use super::super::property::Value;
    use super::*;

    fn connected(judge: &mut Judge, present: bool, properties: property::Properties) {
        judge.connected();
        let expiry = (property::SESSION_EXPIRY, Value::Four(60));
        let connect = Connect {
            version: judge.version,
            clean: false,
            keep_alive: 0,
            properties: if judge.version.is_5() { vec![expiry] } else { vec![] },
            client_id: "c".into(),
            will: None,
            user_name: None,
            password: None,
        };
        judge.received(&Packet::Connect(Box::new(connect)), 20);
        judge.sent(&Packet::Connack { present, code: 0, properties });
    }

    fn good(judge: &mut Judge, packet: &Packet) {
        judge.received(packet, 10);
        assert_eq!(judge.faults, [""; 0]);
    }

    fn bad(judge: &mut Judge, packet: &Packet) {
        judge.received(packet, 10);
        assert_eq!(judge.faults.len(), 1, "{packet:?} {:?}", judge.faults);
        judge.faults.clear();
    }

    fn again(topic: &str, text: &str, qos: u8, id: u16) -> Packet {
        message(topic, text, qos, id).again()
    }

    #[test]
    fn a_wrong_client_is_found_out_in_both_versions() {
        for version in [Version::V311, Version::V50] {
            let judge = &mut Judge::new(version);
            bad(judge, &Packet::Pingreq);
            connected(judge, false, vec![]);
            bad(judge, &again("a", "1", 1, 1));
            good(judge, &publish("a", "1", 1, 1));
            bad(judge, &publish("a", "2", 1, 1));
            bad(judge, &again("a", "1", 1, 1));
            good(judge, &publish("a", "2", 2, 2));
            bad(judge, &ack(Kind::Pubrel, 2));
            bad(judge, &ack(Kind::Puback, 9));
            judge.sent(&publish("b", "1", 1, 5));
            judge.sent(&publish("b", "2", 1, 6));
            bad(judge, &ack(Kind::Puback, 6));
            good(judge, &ack(Kind::Puback, 5));
            connected(judge, true, vec![]);
            bad(judge, &again("a", "x", 1, 1));
            good(judge, &again("a", "2", 2, 2));
            bad(judge, &again("a", "1", 1, 1));
            judge.sent(&ack(Kind::Pubrec, 2));
            bad(judge, &again("a", "2", 2, 2));
            good(judge, &ack(Kind::Pubrel, 2));
            // The server loses the session: 3.1.1 repeats, 5.0 does not.
            connected(judge, false, vec![]);
            match version {
                Version::V311 => good(judge, &again("a", "1", 1, 1)),
                Version::V50 => bad(judge, &again("a", "1", 1, 1)),
            }
            good(judge, &disconnect(0));
            bad(judge, &Packet::Pingreq);
        }
    }

    #[test]
    fn limits_of_5_are_held() {
        let judge = &mut Judge::new(Version::V50);
        let limits = vec![
            (property::RECEIVE_MAXIMUM, Value::Two(2)),
            (property::PACKET_MAXIMUM, Value::Four(50)),
            (property::ALIAS_MAXIMUM, Value::Two(1)),
            (property::RETAIN_AVAILABLE, Value::Byte(0)),
            (property::WILDCARD_AVAILABLE, Value::Byte(0)),
        ];
        connected(judge, false, limits.clone());
        let aliased = |topic: &str, alias| {
            let properties = vec![(property::TOPIC_ALIAS, Value::Two(alias))];
            Packet::Publish(Publish { properties, ..message(topic, "1", 0, 0) })
        };
        bad(judge, &aliased("", 1));
        bad(judge, &aliased("a", 2));
        good(judge, &aliased("a", 1));
        good(judge, &aliased("", 1));
        bad(judge, &Packet::Publish(Publish { retain: true, ..message("a", "1", 0, 0) }));
        let filters = vec![("a/#".to_owned(), 1)];
        bad(judge, &Packet::Subscribe { id: 9, properties: vec![], filters });
        good(judge, &publish("a", "1", 1, 1));
        good(judge, &publish("a", "1", 2, 2));
        bad(judge, &publish("a", "1", 1, 3));
        judge.sent(&refusal(Kind::Pubrec, 2, 0x97));
        judge.sent(&ack(Kind::Puback, 3));
        good(judge, &publish("a", "1", 1, 4));
        judge.received(&publish("a", "1", 0, 0), 51);
        assert_eq!(judge.faults.len(), 1);
        judge.faults.clear();
        connected(judge, true, limits);
        bad(judge, &aliased("", 1));
        good(judge, &again("a", "1", 1, 1));
        good(judge, &again("a", "1", 1, 4));
        judge.sent(&ack(Kind::Pubrec, 77));
        bad(judge, &ack(Kind::Pubrel, 77));
    }
}
