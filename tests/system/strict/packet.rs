//! Packets of MQTT 3.1.1 and 5.0, by hand: this reads and writes bytes without a line of the
//! program's code. What a client sends is read strictly; what a server sends is written.

use super::property::{self, Properties, Value};
use super::syntax;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V311,
    V50,
}

impl Version {
    /// As `mqtt_version` says it.
    pub fn key(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V50 => "5.0",
        }
    }

    pub fn is_5(self) -> bool {
        self == Self::V50
    }
}

/// A packet of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connect(Box<Connect>),
    Connack {
        present: bool,
        code: u8,
        properties: Properties,
    },
    Publish(Publish),
    Ack(Ack),
    Subscribe {
        id: u16,
        properties: Properties,
        filters: Vec<(String, u8)>,
    },
    Suback {
        id: u16,
        codes: Vec<u8>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    /// Without codes in 3.1.1.
    Unsuback {
        id: u16,
        codes: Vec<u8>,
    },
    Pingreq,
    Pingresp,
    Disconnect {
        reason: u8,
        properties: Properties,
    },
    Auth {
        reason: u8,
        properties: Properties,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    pub version: Version,
    /// Clean Session or Clean Start.
    pub clean: bool,
    pub keep_alive: u16,
    pub properties: Properties,
    pub client_id: String,
    pub will: Option<Will>,
    pub user_name: Option<String>,
    pub password: Option<Vec<u8>>,
}

impl Connect {
    /// Whether the server keeps the session over the end of the connection.
    pub fn is_persistent(&self) -> bool {
        match self.version {
            Version::V311 => !self.clean,
            Version::V50 => property::four(&self.properties, property::SESSION_EXPIRY)
                .is_some_and(|seconds| seconds > 0),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub message: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    /// 0 at QoS 0.
    pub id: u16,
    pub properties: Properties,
    pub payload: Vec<u8>,
}

impl Publish {
    pub fn text(&self) -> String {
        String::from_utf8(self.payload.clone()).unwrap()
    }

    /// The same as a repetition.
    pub fn again(&self) -> Packet {
        Packet::Publish(Self { dup: true, ..self.clone() })
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP: the type of the packet is the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub kind: Kind,
    pub id: u16,
    pub reason: u8,
    pub properties: Properties,
}

/// An acknowledgement that says yes.
pub fn ack(kind: Kind, id: u16) -> Packet {
    refusal(kind, id, 0)
}

/// An acknowledgement with a reason, which only 5.0 can say.
pub fn refusal(kind: Kind, id: u16, reason: u8) -> Packet {
    Packet::Ack(Ack { kind, id, reason, properties: vec![] })
}

/// A first transmission; `id` is 0 at QoS 0.
pub fn publish(topic: &str, payload: impl Into<Vec<u8>>, qos: u8, id: u16) -> Packet {
    Packet::Publish(message(topic, payload, qos, id))
}

/// The same, not yet a packet.
pub fn message(topic: &str, payload: impl Into<Vec<u8>>, qos: u8, id: u16) -> Publish {
    let (topic, payload) = (topic.to_owned(), payload.into());
    Publish { qos, topic, id, payload, ..Publish::default() }
}

pub fn disconnect(reason: u8) -> Packet {
    Packet::Disconnect { reason, properties: vec![] }
}

/// One packet of a server with its fixed header.
pub fn encode(version: Version, packet: &Packet) -> Vec<u8> {
    let is_5 = version.is_5();
    let with_properties = |mut body: Vec<u8>, properties: &Properties| {
        if is_5 {
            body.extend(property::write(properties));
        }
        body
    };
    let (first, body) = match packet {
        Packet::Connack { present, code, properties } => {
            (0x20, with_properties(vec![u8::from(*present), *code], properties))
        }
        Packet::Publish(publish) => {
            let flags = u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
            let mut body = text(&publish.topic);
            if publish.qos > 0 {
                body.extend(publish.id.to_be_bytes());
            }
            let mut body = with_properties(body, &publish.properties);
            body.extend(&publish.payload);
            (0x30 | flags, body)
        }
        Packet::Ack(ack) => {
            let mut body = ack.id.to_be_bytes().to_vec();
            if is_5 && (ack.reason > 0 || !ack.properties.is_empty()) {
                body.push(ack.reason);
                if !ack.properties.is_empty() {
                    body.extend(property::write(&ack.properties));
                }
            }
            let kind = ack.kind as u8;
            (kind << 4 | if kind == 6 { 2 } else { 0 }, body)
        }
        Packet::Suback { id, codes } | Packet::Unsuback { id, codes } => {
            let body = with_properties(id.to_be_bytes().to_vec(), &vec![]);
            let is_suback = matches!(packet, Packet::Suback { .. });
            let codes: &[u8] = if is_5 || is_suback { codes } else { &[] };
            (if is_suback { 0x90 } else { 0xB0 }, [&body[..], codes].concat())
        }
        Packet::Pingresp => (0xD0, vec![]),
        Packet::Disconnect { reason, properties } => match (reason, properties.is_empty()) {
            (0, true) => (0xE0, vec![]),
            (reason, true) => (0xE0, vec![*reason]),
            _ => (0xE0, with_properties(vec![*reason], properties)),
        },
        Packet::Auth { reason, properties } => (0xF0, with_properties(vec![*reason], properties)),
        Packet::Connect(_)
        | Packet::Subscribe { .. }
        | Packet::Unsubscribe { .. }
        | Packet::Pingreq => panic!("a server does not send {packet:?}"),
    };
    frame(first, &body)
}

/// Any first byte, the body's length, the body.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let length = property::variable(u32::try_from(body.len()).unwrap());
    [&[first][..], &length, body].concat()
}

/// A text with its length before it.
pub fn text(text: &str) -> Vec<u8> {
    sized(text.as_bytes())
}

/// Bytes with their length before them.
pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// The length of the first packet, if the buffer says it: header and body.
pub fn length_of(buffer: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0;
    for place in 0..4 {
        let Some(&digit) = buffer.get(1 + place) else { return Ok(None) };
        length |= usize::from(digit & 0x7F) << (7 * place);
        if digit & 0x80 == 0 {
            if place > 0 && digit == 0 {
                return Err("the remaining length is longer than it must be".into());
            }
            return Ok(Some((2 + place, length)));
        }
    }
    Err("the remaining length has more than four bytes".into())
}

/// Reads what a client may send, strictly. The version is that of the connection's CONNECT.
pub fn decode(version: Version, first: u8, body: &[u8]) -> Result<Packet, String> {
    let mut fields = Fields { body };
    let (kind, flags) = (first >> 4, first & 0x0F);
    let expected_flags = match kind {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != expected_flags {
        return Err(format!("flags of {first:#04x} are {flags:#06b}"));
    }
    let packet = match kind {
        1 => Packet::Connect(Box::new(connect(&mut fields)?)),
        3 => Packet::Publish(read_publish(version, flags, &mut fields)?),
        4 => Packet::Ack(read_ack(version, Kind::Puback, &mut fields)?),
        5 => Packet::Ack(read_ack(version, Kind::Pubrec, &mut fields)?),
        6 => Packet::Ack(read_ack(version, Kind::Pubrel, &mut fields)?),
        7 => Packet::Ack(read_ack(version, Kind::Pubcomp, &mut fields)?),
        8 => {
            let id = fields.id()?;
            let properties = fields.properties(version, 8)?;
            let mut filters = Vec::new();
            while !fields.body.is_empty() {
                let filter = fields.text("filter")?;
                syntax::filter(&filter)?;
                let options = fields.byte()?;
                let reserved = if version.is_5() { 0xC0 } else { 0xFC };
                if options & reserved != 0 || options & 3 == 3 || options & 0x30 == 0x30 {
                    return Err(format!("subscription options {options:#04x}"));
                }
                if options & 4 != 0 && filter.starts_with("$share/") {
                    return Err("No Local on a shared subscription (MQTT-3.8.3-4)".into());
                }
                filters.push((filter, options));
            }
            if filters.is_empty() {
                return Err("SUBSCRIBE without a filter".into());
            }
            Packet::Subscribe { id, properties, filters }
        }
        10 => {
            let id = fields.id()?;
            fields.properties(version, 10)?;
            let mut filters = Vec::new();
            while !fields.body.is_empty() {
                let filter = fields.text("filter")?;
                syntax::filter(&filter)?;
                filters.push(filter);
            }
            if filters.is_empty() {
                return Err("UNSUBSCRIBE without a filter".into());
            }
            Packet::Unsubscribe { id, filters }
        }
        12 => Packet::Pingreq,
        14 => {
            let (reason, properties) = read_reason(version, 14, &mut fields)?;
            let known = [
                0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
            ];
            check_reason(reason, &known)?;
            Packet::Disconnect { reason, properties }
        }
        15 if version.is_5() => {
            let (reason, properties) = read_reason(version, 15, &mut fields)?;
            check_reason(reason, &[0x18, 0x19])?;
            if property::text(&properties, property::AUTH_METHOD).is_none() {
                return Err("AUTH without a method".into());
            }
            Packet::Auth { reason, properties }
        }
        kind => return Err(format!("a client sends no packet of type {kind}")),
    };
    if !fields.body.is_empty() {
        return Err(format!("{} bytes too many in {packet:?}", fields.body.len()));
    }
    Ok(packet)
}

fn check_reason(reason: u8, known: &[u8]) -> Result<(), String> {
    if known.contains(&reason) {
        return Ok(());
    }
    Err(format!("reason code {reason:#04x} in a packet that has no such code"))
}

fn read_publish(version: Version, flags: u8, fields: &mut Fields<'_>) -> Result<Publish, String> {
    let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
    if qos == 3 {
        return Err("QoS 3 (MQTT-3.3.1-4)".into());
    }
    if qos == 0 && dup {
        return Err("DUP at QoS 0 (MQTT-3.3.1-2)".into());
    }
    let topic = fields.text("topic")?;
    let id = if qos > 0 { fields.id()? } else { 0 };
    let properties = fields.properties(version, 3)?;
    // An alias may stand for the topic; the judge knows which.
    if !topic.is_empty() || property::two(&properties, property::TOPIC_ALIAS).is_none() {
        syntax::topic(&topic)?;
    }
    let payload = std::mem::take(&mut fields.body).to_vec();
    if property::byte(&properties, property::PAYLOAD_FORMAT) == Some(1) {
        std::str::from_utf8(&payload).map_err(|_| "a payload that is not the text it claims")?;
    }
    Ok(Publish { dup, qos, retain, topic, id, properties, payload })
}

fn read_ack(version: Version, kind: Kind, fields: &mut Fields<'_>) -> Result<Ack, String> {
    let id = fields.id()?;
    let (reason, properties) = match version {
        Version::V311 => (0, vec![]),
        Version::V50 => read_reason(version, kind as u8, fields)?,
    };
    match kind {
        Kind::Puback | Kind::Pubrec => {
            check_reason(reason, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])?;
        }
        Kind::Pubrel | Kind::Pubcomp => check_reason(reason, &[0x00, 0x92])?,
    }
    Ok(Ack { kind, id, reason, properties })
}

/// Reason and properties, either of which may be left out at the end of a packet of 5.0.
fn read_reason(
    version: Version,
    kind: u8,
    fields: &mut Fields<'_>,
) -> Result<(u8, Properties), String> {
    if !version.is_5() || fields.body.is_empty() {
        return Ok((0, vec![]));
    }
    let reason = fields.byte()?;
    if fields.body.is_empty() {
        return Ok((reason, vec![]));
    }
    Ok((reason, property::read(fields, kind)?))
}

fn connect(fields: &mut Fields<'_>) -> Result<Connect, String> {
    let name = fields.text("protocol name")?;
    let level = fields.byte()?;
    let version = match (name.as_str(), level) {
        ("MQTT", 4) => Version::V311,
        ("MQTT", 5) => Version::V50,
        _ => return Err(format!("protocol `{name}` level {level}")),
    };
    let flags = fields.byte()?;
    if flags & 1 != 0 {
        return Err("the reserved CONNECT flag is set".into());
    }
    let keep_alive = fields.number()?;
    let properties = fields.properties(version, 1)?;
    let client_id = fields.text("client identifier")?;
    let clean = flags & 2 != 0;
    if client_id.is_empty() && !clean && version == Version::V311 {
        return Err("an empty client identifier without clean session (MQTT-3.1.3-7)".into());
    }
    let (will_flag, will_qos, will_retain) = (flags & 4 != 0, flags >> 3 & 3, flags & 32 != 0);
    let will = if will_flag {
        if will_qos == 3 {
            return Err("will QoS 3".into());
        }
        let properties = fields.properties(version, 0)?;
        let topic = fields.text("will topic")?;
        syntax::topic(&topic)?;
        let message = fields.bytes()?.to_vec();
        Some(Will { topic, message, qos: will_qos, retain: will_retain, properties })
    } else {
        if will_qos != 0 || will_retain {
            return Err("will QoS or retain without a will".into());
        }
        None
    };
    let user_name = if flags & 128 != 0 { Some(fields.text("user name")?) } else { None };
    let password = if flags & 64 != 0 { Some(fields.bytes()?.to_vec()) } else { None };
    if password.is_some() && user_name.is_none() && version == Version::V311 {
        return Err("a password without a user name (MQTT-3.1.2-22)".into());
    }
    Ok(Connect { version, clean, keep_alive, properties, client_id, will, user_name, password })
}

/// What is left of a packet.
pub struct Fields<'a> {
    pub body: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        if self.body.len() < count {
            return Err("a field goes past the end of its packet".into());
        }
        let (taken, rest) = self.body.split_at(count);
        self.body = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub fn number(&mut self) -> Result<u16, String> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub fn long(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A variable byte integer, which must be as short as can be (MQTT-1.5.5-1).
    pub fn variable(&mut self) -> Result<u32, String> {
        let mut number = 0;
        for place in 0..4 {
            let digit = self.byte()?;
            number |= u32::from(digit & 0x7F) << (7 * place);
            if digit & 0x80 == 0 {
                if place > 0 && digit == 0 {
                    return Err("a variable byte integer is longer than it must be".into());
                }
                return Ok(number);
            }
        }
        Err("a variable byte integer has more than four bytes".into())
    }

    fn id(&mut self) -> Result<u16, String> {
        match self.number()? {
            0 => Err("packet identifier 0".into()),
            id => Ok(id),
        }
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.number()?;
        self.take(usize::from(length))
    }

    pub fn text(&mut self, what: &str) -> Result<String, String> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| format!("{what}: no UTF-8"))?;
        if text.contains('\0') {
            return Err(format!("{what}: U+0000"));
        }
        Ok(text.to_owned())
    }

    fn properties(&mut self, version: Version, kind: u8) -> Result<Properties, String> {
        match version {
            Version::V311 => Ok(vec![]),
            Version::V50 => property::read(self, kind),
        }
    }
}

#[test]
fn wrong_packets_are_found_out() {
    let wrong = |version, bytes: &[u8]| {
        let (header, length) = length_of(bytes).unwrap().unwrap();
        assert_eq!(header + length, bytes.len(), "{bytes:02x?}");
        assert!(decode(version, bytes[0], &bytes[header..]).is_err(), "{bytes:02x?}");
    };
    for version in [Version::V311, Version::V50] {
        wrong(version, &[0x40, 2, 0, 0]);
        wrong(version, &[0x41, 2, 0, 1]);
        wrong(version, &[0x60, 2, 0, 1]);
        wrong(version, &[0x38, 4, 0, 1, b'a', 0]);
        wrong(version, &[0x36, 6, 0, 1, b'a', 0, 1, 0]);
        wrong(version, &[0x30, 4, 0, 1, b'+', 0]);
        wrong(version, &[0x30, 4, 0, 1, 0xFF, 0]);
        wrong(version, &[0xC0, 1, 0]);
        wrong(version, &[0xD0, 0]);
        wrong(version, &[0x20, 2, 0, 0]);
    }
    wrong(Version::V311, &[0x40, 3, 0, 1, 0]);
    wrong(Version::V311, &[0xE0, 1, 0]);
    wrong(Version::V311, &[0x82, 6, 0, 1, 0, 1, b'a', 4]);
    wrong(Version::V50, &[0x40, 3, 0, 1, 0x92]);
    wrong(Version::V50, &[0xE0, 1, 0x8B]);
    wrong(Version::V50, &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30]);
    wrong(Version::V50, &[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 0]);
    wrong(Version::V50, &[0x30, 6, 0, 1, b'a', 2, 0x0B, 1]);
    wrong(Version::V50, &[0x30, 8, 0, 1, b'a', 4, 0x01, 0, 0x01, 0]);
    wrong(Version::V50, &[0x30, 6, 0, 1, b'a', 0x82, 0x00, 0]);
    wrong(Version::V50, &[0x30, 3, 0, 0, 0]);
    assert!(length_of(&[0x30, 0x80, 0x00]).is_err());
}

/// Bytes of a property, for packets that are not to be right.
pub fn raw(id: u8, value: Value) -> Vec<u8> {
    property::write(&vec![(id, value)])[1..].to_vec()
}
