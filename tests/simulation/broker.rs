//! A strict broker: it keeps exact books and asserts what it must never see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::knobs::{Knobs, Micros};
use crate::wire::{self, Packet};
use crate::wire5::{Dress, Wishes};

/// Topic of all messages of the broker; the filter that stands for it.
pub(crate) const FILTER: &str = "in/#";

pub(crate) struct Broker {
    pub session: Option<Session>,
    pub connection: Option<Connection>,
    /// How often each publish of the client was handed on, by number.
    pub handed_on: BTreeMap<u32, u32>,
    /// Publishes that may be handed on twice: the session that knew them was forgotten.
    pub excused: BTreeSet<u32>,
    /// Messages that must arrive: number and QoS.
    pub owed: BTreeMap<u32, u8>,
    /// Publishes of QoS 1 and 2 ever seen whole.
    seen: BTreeSet<u32>,
    /// Publishes of QoS 2 for which PUBREL came.
    released: BTreeSet<u32>,
    /// Publishes that were refused.
    pub refused: BTreeSet<u32>,
    had_session: bool,
    sessions: u32,
    random: fastrand::Rng,
}

#[derive(Default)]
pub(crate) struct Session {
    pub filters: BTreeSet<String>,
    queue: VecDeque<(u32, u8)>,
    flights: Vec<Flight>,
    last_id: u16,
    /// Publishes of the client that are not finished: by id number and QoS.
    open: BTreeMap<u16, (u32, u8)>,
    /// Ids that may be released again: their PUBCOMP may be lost.
    finished: BTreeSet<u16>,
    /// Ids unknown since an older session was forgotten.
    forgotten: bool,
    /// Number of this session.
    pub(crate) serial: u32,
    /// The client's disk knows of this session. A client that never learns of it takes it for the one
    /// before: MQTT 3.1.1 has nothing against that, so the model does not let it happen.
    pub(crate) confirmed: bool,
}

struct Flight {
    id: u16,
    number: u32,
    qos: u8,
    received: bool,
}

#[derive(Default)]
pub(crate) struct Connection {
    pub stream: Vec<u8>,
    pub up: bool,
    clean: bool,
    /// To be sent, each not before its time.
    pub outbox: Vec<(Micros, Vec<u8>)>,
    /// It is to be closed once the outbox is empty.
    pub closing: bool,
    /// Publishes seen here, for the order and the limit in flight.
    last_number: u32,
    open_here: usize,
    /// PUBRECs sent here that are not answered.
    pubrecs: VecDeque<u16>,
    /// Messages sent here that are not acknowledged: id and number.
    sent: [VecDeque<(u16, u32)>; 2],
    /// PUBRELs sent here that are not answered.
    pubrels: Vec<u16>,
    /// Something illegal was sent: the client must close.
    pub poisoned: bool,
    /// What is not answered, so that a new connection must repair it.
    pub withheld: bool,
    /// What makes packets those of MQTT 5.0.
    pub dress: Dress,
    /// What the client's topic aliases stand for.
    aliases: BTreeMap<u16, String>,
}

/// What the broker may ask about the other side.
pub(crate) struct Other<'a> {
    /// Numbers of messages whose value is on disk.
    pub applied: &'a BTreeMap<u32, u32>,
    /// Publishes whose last byte an earlier transport took, or that may have been sent before a crash.
    pub may_repeat: &'a BTreeSet<u32>,
}

impl Broker {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            session: None,
            connection: None,
            handed_on: BTreeMap::new(),
            excused: BTreeSet::new(),
            owed: BTreeMap::new(),
            seen: BTreeSet::new(),
            released: BTreeSet::new(),
            refused: BTreeSet::new(),
            had_session: false,
            sessions: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.random.u32(0..1000) < thousandths
    }

    pub(crate) fn accept(&mut self) {
        self.close();
        self.connection = Some(Connection::default());
    }

    pub(crate) fn close(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if connection.up && connection.clean {
            self.forget();
        }
    }

    /// Everything that the session held is gone.
    fn forget(&mut self) {
        let Some(session) = self.session.take() else { return };
        for (number, _) in &session.queue {
            self.owed.remove(number);
        }
        for flight in &session.flights {
            self.owed.remove(&flight.number);
        }
        for (number, _) in session.open.values() {
            self.excused.insert(*number);
        }
    }

    /// The client has learned that the session was lost: by MQTT 5.0 all that it sends is new.
    pub(crate) fn on_known_lost(&mut self) {
        self.seen.clear();
        self.released.clear();
        self.refused.clear();
    }

    /// A message for the client, if it has subscribed.
    pub(crate) fn message(&mut self, number: u32, qos: u8, knobs: &Knobs, now: Micros) {
        let Some(session) = &mut self.session else { return };
        if !session.filters.contains(FILTER) {
            return;
        }
        let up = self.connection.as_ref().is_some_and(|connection| connection.up);
        if qos == 0 {
            if up {
                self.send(now, wire::publish("in/a", payload(number).as_bytes(), 0, 0, false));
            }
            return;
        }
        session.queue.push_back((number, qos));
        self.owed.insert(number, qos);
        self.fill(knobs, now);
    }

    /// Sends from the queue as far as the window allows.
    fn fill(&mut self, knobs: &Knobs, now: Micros) {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.up) else {
            return;
        };
        let Some(session) = &mut self.session else { return };
        while session.flights.len() < knobs.broker_window {
            let Some((number, qos)) = session.queue.pop_front() else { break };
            loop {
                session.last_id = session.last_id % (knobs.broker_window as u16 + 3) + 1;
                if session.flights.iter().all(|flight| flight.id != session.last_id) {
                    break;
                }
            }
            let id = session.last_id;
            session.flights.push(Flight { id, number, qos, received: false });
            connection.sent[usize::from(qos) - 1].push_back((id, number));
            let packet = wire::publish("in/a", payload(number).as_bytes(), qos, id, false);
            connection.outbox.push((now, packet.clone()));
            if self.random.u32(0..1000) < knobs.repeat {
                let again = wire::publish("in/a", payload(number).as_bytes(), qos, id, true);
                connection.sent[usize::from(qos) - 1].push_back((id, number));
                connection.outbox.push((now, again));
            }
        }
    }

    fn send(&mut self, at: Micros, packet: Vec<u8>) {
        if let Some(connection) = &mut self.connection {
            connection.outbox.push((at, packet));
        }
    }

    /// An acknowledgement: perhaps late, twice, or never.
    fn answer(&mut self, now: Micros, packet: Vec<u8>, knobs: &Knobs) {
        let late = if knobs.ack_delay > 0 { self.random.u64(0..=knobs.ack_delay) } else { 0 };
        if self.chance(knobs.double) {
            self.send(now + late + 1, packet.clone());
        }
        self.send(now + late, packet);
    }

    fn withholds(&mut self, knobs: &Knobs) -> bool {
        let withholds = self.chance(knobs.withhold);
        if withholds && let Some(connection) = &mut self.connection {
            connection.withheld = true;
        }
        withholds
    }

    /// Bytes from the client.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        knobs: &Knobs,
        now: Micros,
        other: &Other<'_>,
    ) -> Result<(), String> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        connection.stream.extend_from_slice(bytes);
        while let Some(connection) = &mut self.connection {
            if connection.closing {
                return Ok(());
            }
            let before = connection.stream.len();
            let Some(packet) = wire::take(&mut connection.stream, knobs.is_5)? else {
                return Ok(());
            };
            let size = before - connection.stream.len();
            let is_greeting = matches!(packet, Packet::Connect { .. });
            if knobs.is_5 && knobs.packet_size > 0 && size > knobs.packet_size && !is_greeting {
                return Err(format!("a packet of {size} bytes: {packet:?}"));
            }
            self.handle(packet, knobs, now, other)?;
        }
        Ok(())
    }

    fn handle(
        &mut self,
        packet: Packet,
        knobs: &Knobs,
        now: Micros,
        other: &Other<'_>,
    ) -> Result<(), String> {
        if let Packet::Connect { client_id, clean, keep_alive, wishes } = packet {
            check_wishes(wishes.as_ref(), knobs)?;
            if client_id != "sim" || clean != knobs.clean || keep_alive != knobs.keep_alive {
                return Err(format!("CONNECT of {client_id} {clean} {keep_alive}"));
            }
            return self.greet(clean, knobs, now);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if !connection.up {
            return if matches!(packet, Packet::Disconnect(_)) {
                self.close();
                Ok(())
            } else {
                Err(format!("{packet:?} before CONNACK"))
            };
        }
        if self.chance(knobs.illegal) {
            self.misbehave(now);
        }
        if self.chance(knobs.stray) {
            let first = [0x40, 0x50, 0x70, 0xb0][self.random.usize(0..4)];
            self.send(now, wire::ack(first, 60_000));
        }
        match packet {
            Packet::Connect { .. } => Ok(()),
            Packet::Publish { dup, qos, id, topic, alias, payload } => {
                let number = number(&payload)?;
                self.check_topic(number, dup, topic, alias, knobs)?;
                self.on_publish(number, dup, qos, id, knobs, now, other)
            }
            Packet::Pubrel(id, reason) => self.on_pubrel(id, reason, knobs, now),
            Packet::Puback(id) => self.on_ack(1, id, knobs, now, other),
            Packet::Pubrec(id) => self.on_ack(2, id, knobs, now, other),
            Packet::Pubcomp(id) => self.on_pubcomp(id, knobs, now),
            Packet::Subscribe { id, filters } => self.on_subscribe(id, &filters, knobs, now),
            Packet::Unsubscribe { id, filters } => {
                let Some(session) = &mut self.session else { return Ok(()) };
                for filter in &filters {
                    session.filters.remove(filter);
                }
                let mut answer = wire::ack(0xb0, id);
                if knobs.is_5 {
                    answer[1] += filters.len() as u8;
                    answer.resize(4 + filters.len(), 0);
                }
                self.answer(now, answer, knobs);
                Ok(())
            }
            Packet::Pingreq => {
                if !self.chance(knobs.no_pingresp) {
                    self.send(now, vec![0xd0, 0]);
                }
                Ok(())
            }
            Packet::Disconnect(reason) => {
                if reason != 0 && reason < 0x80 {
                    return Err(format!("DISCONNECT with the reason 0x{reason:02x}"));
                }
                let rest = self.connection.as_ref().map_or(0, |connection| connection.stream.len());
                self.close();
                if rest > 0 { Err("bytes after DISCONNECT".into()) } else { Ok(()) }
            }
        }
    }

    fn greet(&mut self, clean: bool, knobs: &Knobs, now: Micros) -> Result<(), String> {
        let connection = self.connection.as_mut().ok_or("no connection")?;
        if connection.up {
            return Err("a second CONNECT".into());
        }
        if self.chance(knobs.silent_connack) {
            return Ok(());
        }
        if self.chance(knobs.refuse) {
            let code = self.random.u8(1..8);
            self.send(now, vec![0x20, 2, 0, code]);
            if let Some(connection) = &mut self.connection {
                connection.closing = true;
            }
            return Ok(());
        }
        let unconfirmed = self.session.as_ref().is_some_and(|session| !session.confirmed);
        if clean || unconfirmed || self.chance(knobs.forget) {
            self.forget();
        }
        let present = self.session.is_some();
        let forgotten = !present && self.had_session;
        self.had_session = true;
        self.sessions += u32::from(!present);
        let serial = self.sessions;
        let session =
            self.session.get_or_insert_with(|| Session { forgotten, serial, ..Session::default() });
        let Some(connection) = &mut self.connection else { return Ok(()) };
        connection.up = true;
        connection.clean = clean;
        connection.dress.aliases = knobs.client_aliases;
        connection.dress.connack = connack_properties(knobs);
        connection.outbox.push((now, vec![0x20, 2, u8::from(present), 0]));
        for flight in &mut session.flights {
            if flight.received && self.random.u32(0..1000) < knobs.begins_again {
                flight.received = false;
            }
            let packet = if flight.received {
                connection.pubrels.push(flight.id);
                wire::ack(0x62, flight.id)
            } else {
                let payload = payload(flight.number);
                let place = usize::from(flight.qos) - 1;
                connection.sent[place].push_back((flight.id, flight.number));
                wire::publish("in/a", payload.as_bytes(), flight.qos, flight.id, true)
            };
            connection.outbox.push((now, packet));
        }
        self.fill(knobs, now);
        Ok(())
    }

    fn misbehave(&mut self, now: Micros) {
        let packets: [&[u8]; 8] = [
            &[0x20, 2, 0, 0],
            &[0x40, 0],
            &[0x36, 5, 0, 1, b'a', 0, 1],
            &[0x30, 3, 0, 1, b'+'],
            &[0x30, 4, 0, 9, b'a', b'b'],
            &[0xe0, 0],
            &[0xff],
            &[0x62, 2, 0, 0],
        ];
        let packet = packets[self.random.usize(0..packets.len())].to_vec();
        self.send(now, packet);
        if let Some(connection) = &mut self.connection {
            connection.poisoned = true;
        }
    }

    /// A topic, or an alias within the limit that this connection has seen with its topic.
    fn check_topic(
        &mut self,
        number: u32,
        dup: bool,
        name: String,
        alias: Option<u16>,
        knobs: &Knobs,
    ) -> Result<(), String> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let name = match alias {
            None => name,
            Some(alias) if dup => return Err(format!("publish {number} again by alias {alias}")),
            Some(alias) if alias > knobs.topic_aliases => {
                return Err(format!("alias {alias}, allowed {}", knobs.topic_aliases));
            }
            Some(alias) if name.is_empty() => {
                let known = connection.aliases.get(&alias);
                known.ok_or(format!("the unknown alias {alias}"))?.clone()
            }
            Some(alias) => {
                connection.aliases.insert(alias, name.clone());
                name
            }
        };
        if name == topic(number) { Ok(()) } else { Err(format!("publish {number} to {name}")) }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a PUBLISH and the world around it"
    )]
    fn on_publish(
        &mut self,
        number: u32,
        dup: bool,
        qos: u8,
        id: u16,
        knobs: &Knobs,
        now: Micros,
        other: &Other<'_>,
    ) -> Result<(), String> {
        if qos == 0 {
            *self.handed_on.entry(number).or_default() += 1;
            return Ok(());
        }
        let withholds = self.withholds(knobs);
        // The refusal itself may have been lost.
        let refuses = self.refused.contains(&number) || !dup && self.chance(knobs.refuse_publish);
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else {
            return Ok(());
        };
        if !dup && self.seen.contains(&number) {
            return Err(format!("publish {number} comes again without DUP"));
        }
        if dup && !other.may_repeat.contains(&number) {
            return Err(format!("publish {number} comes for the first time with DUP"));
        }
        if number <= connection.last_number {
            return Err(format!("publish {number} comes after {}", connection.last_number));
        }
        if self.released.contains(&number) {
            return Err(format!("publish {number} comes again after its PUBREL"));
        }
        if let Some((known, _)) = session.open.get(&id)
            && *known != number
        {
            return Err(format!("publish {number} has the id {id} that {known} has in flight"));
        }
        connection.last_number = number;
        connection.open_here += 1;
        let limit = knobs.in_flight_max();
        if connection.open_here > limit {
            return Err(format!("{} publishes in flight, allowed {limit}", connection.open_here));
        }
        self.seen.insert(number);
        session.finished.remove(&id);
        let known = session.open.insert(id, (number, qos)).is_some();
        if refuses && !known {
            session.open.remove(&id);
            connection.open_here -= 1;
            self.refused.insert(number);
            let first = if qos == 1 { 0x40 } else { 0x50 };
            self.send(now, vec![first, 3, (id >> 8) as u8, id as u8, 0x97]);
            return Ok(());
        }
        if qos == 1 || !known && !knobs.hand_on_at_pubrel {
            *self.handed_on.entry(number).or_default() += 1;
        }
        if withholds {
            return Ok(());
        }
        if qos == 1 {
            session.open.remove(&id);
            connection.open_here -= 1;
            self.answer(now, wire::ack(0x40, id), knobs);
        } else {
            self.answer_publish_qos2(id, knobs, now);
        }
        Ok(())
    }

    /// PUBREC, whose order rules that of the PUBRELs.
    fn answer_publish_qos2(&mut self, id: u16, knobs: &Knobs, now: Micros) {
        self.answer(now, wire::ack(0x50, id), knobs);
    }

    /// The world tells when a packet leaves, in the order in which it does.
    pub(crate) fn on_leaving(&mut self, packet: &[u8]) {
        if let (Some(connection), [0x50, 2, high, low]) = (&mut self.connection, packet) {
            let id = u16::from_be_bytes([*high, *low]);
            let open = self.session.as_ref().is_some_and(|session| session.open.contains_key(&id));
            if open && !connection.pubrecs.contains(&id) {
                connection.pubrecs.push_back(id);
            }
        }
    }

    fn on_pubrel(&mut self, id: u16, reason: u8, knobs: &Knobs, now: Micros) -> Result<(), String> {
        let withholds = self.withholds(knobs);
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else {
            return Ok(());
        };
        match connection.pubrecs.iter().position(|known| *known == id) {
            Some(0) => drop(connection.pubrecs.pop_front()),
            Some(_) => {
                let first = connection.pubrecs[0];
                return Err(format!("PUBREL {id} before that of {first}, whose PUBREC came first"));
            }
            None => {}
        }
        match session.open.get(&id) {
            Some((number, 2)) => {
                self.released.insert(*number);
                if withholds {
                    return Ok(());
                }
                if knobs.hand_on_at_pubrel {
                    *self.handed_on.entry(*number).or_default() += 1;
                }
                session.open.remove(&id);
                session.finished.insert(id);
                connection.open_here = connection.open_here.saturating_sub(1);
            }
            Some((number, _)) => return Err(format!("PUBREL for the QoS 1 publish {number}")),
            None if session.finished.contains(&id) => {}
            None if session.forgotten && !knobs.is_5 => {}
            // The answer to a PUBREC that came too late.
            None if reason == 0x92 => return Ok(()),
            None => return Err(format!("PUBREL for the unknown id {id}")),
        }
        self.answer(now, wire::ack(0x70, id), knobs);
        Ok(())
    }

    /// PUBACK or PUBREC.
    fn on_ack(
        &mut self,
        qos: u8,
        id: u16,
        knobs: &Knobs,
        now: Micros,
        other: &Other<'_>,
    ) -> Result<(), String> {
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else {
            return Ok(());
        };
        let name = ["PUBACK", "PUBREC"][usize::from(qos) - 1];
        let queue = &mut connection.sent[usize::from(qos) - 1];
        let Some(&(expected, number)) = queue.front() else {
            return Err(format!("{name} {id} answers nothing"));
        };
        if expected != id {
            return Err(format!("{name} {id} where {expected} is due"));
        }
        queue.pop_front();
        if !other.applied.contains_key(&number) {
            return Err(format!("{name} {id} for message {number}, which is not on disk"));
        }
        let place = session.flights.iter().position(|flight| flight.number == number);
        if let Some(place) = place {
            if qos == 1 {
                session.flights.remove(place);
            } else if !session.flights[place].received {
                session.flights[place].received = true;
                connection.pubrels.push(id);
                connection.outbox.push((now, wire::ack(0x62, id)));
                if self.random.u32(0..1000) < knobs.double {
                    connection.pubrels.push(id);
                    connection.outbox.push((now, wire::ack(0x62, id)));
                }
            }
        }
        self.fill(knobs, now);
        Ok(())
    }

    fn on_pubcomp(&mut self, id: u16, knobs: &Knobs, now: Micros) -> Result<(), String> {
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else {
            return Ok(());
        };
        let Some(place) = connection.pubrels.iter().position(|known| *known == id) else {
            return Err(format!("PUBCOMP {id} answers nothing"));
        };
        connection.pubrels.remove(place);
        // The id is free when every PUBREL for it is answered; else a late PUBCOMP would free its
        // next use.
        if !connection.pubrels.contains(&id) {
            session.flights.retain(|flight| flight.id != id || !flight.received);
        }
        self.fill(knobs, now);
        Ok(())
    }

    fn on_subscribe(
        &mut self,
        id: u16,
        filters: &[(String, u8)],
        knobs: &Knobs,
        now: Micros,
    ) -> Result<(), String> {
        let codes: Vec<u8> = filters
            .iter()
            .map(|(_, qos)| if self.chance(knobs.refuse_filter) { 0x80 } else { *qos })
            .collect();
        let withholds = self.withholds(knobs);
        let Some(session) = &mut self.session else { return Ok(()) };
        if session.open.contains_key(&id) {
            return Err(format!("SUBSCRIBE has the id {id} of a publish in flight"));
        }
        for ((filter, _), code) in filters.iter().zip(&codes) {
            if *code == 0x80 {
                session.filters.remove(filter);
                if let Some(connection) = &mut self.connection {
                    connection.withheld = true;
                }
            } else {
                session.filters.insert(filter.clone());
            }
        }
        if !withholds {
            let mut packet = vec![0x90, codes.len() as u8 + 2, (id >> 8) as u8, id as u8];
            packet.extend(codes);
            self.answer(now, packet, knobs);
        }
        Ok(())
    }

    /// Whether the client has no publish in flight.
    pub(crate) fn has_nothing_open(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.open.is_empty())
    }

    /// Whether nothing is outstanding in either direction.
    pub(crate) fn is_settled(&self) -> bool {
        self.session.as_ref().is_none_or(|session| {
            session.queue.is_empty() && session.flights.is_empty() && session.open.is_empty()
        })
    }
}

fn check_wishes(wishes: Option<&Wishes>, knobs: &Knobs) -> Result<(), String> {
    let expected = knobs.is_5.then_some(Wishes {
        expiry: if knobs.clean { 0 } else { 3600 },
        receive_maximum: knobs.broker_window as u16,
        packet_size: 1000,
        aliases: knobs.client_aliases,
    });
    if wishes == expected.as_ref() { Ok(()) } else { Err(format!("CONNECT with {wishes:?}")) }
}

fn connack_properties(knobs: &Knobs) -> Vec<u8> {
    let mut properties = vec![];
    let mut two = |identifier: u8, value: u16| {
        if value > 0 {
            properties.push(identifier);
            properties.extend(value.to_be_bytes());
        }
    };
    two(0x21, knobs.receive_maximum);
    two(0x22, knobs.topic_aliases);
    two(0x13, knobs.server_keep_alive);
    if knobs.packet_size > 0 {
        properties.push(0x27);
        properties.extend((knobs.packet_size as u32).to_be_bytes());
    }
    properties
}

/// The topic of a publish of the client.
pub(crate) fn topic(number: u32) -> String {
    format!("out/{}", number % 3)
}

/// The payload that carries a number, of various sizes.
pub(crate) fn payload(number: u32) -> String {
    format!("{number}{}", " ".repeat(number as usize * 7 % 40))
}

/// The number that a payload carries.
pub(crate) fn number(payload: &[u8]) -> Result<u32, String> {
    let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
    text.trim().parse().map_err(|_| format!("the payload {text:?} was never published"))
}
