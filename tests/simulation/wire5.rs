//! A reader of MQTT 5.0 from clients, and a dress for the packets that the broker writes in 3.1.1: both
//! share nothing with the codec under test.

use std::collections::BTreeMap;

use crate::wire::{Packet, Reader};

/// What the client has said in CONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub expiry: u32,
    pub receive_maximum: u16,
    pub packet_size: u32,
    pub aliases: u16,
}

/// Reads a packet whose flags are right.
pub(crate) fn read(first: u8, reader: &mut Reader<'_>) -> Result<Packet, String> {
    let flags = first & 15;
    Ok(match first >> 4 {
        1 => read_connect(reader)?,
        3 => {
            let (dup, qos) = (flags & 8 != 0, flags >> 1 & 3);
            if qos == 3 || qos == 0 && dup {
                return Err(format!("PUBLISH with flags {flags:04b}"));
            }
            let topic = reader.text()?;
            let id = if qos == 0 { 0 } else { reader.id()? };
            let mut alias = None;
            let mut properties = properties(reader)?;
            while !properties.body.is_empty() {
                match properties.byte()? {
                    0x23 if alias.is_none() => alias = Some(properties.id()?),
                    other => return Err(format!("PUBLISH with the property 0x{other:02x}")),
                }
            }
            if topic.contains(['+', '#']) || topic.is_empty() && alias.is_none() {
                return Err(format!("PUBLISH to topic {topic:?}"));
            }
            let payload = std::mem::take(&mut reader.body).to_vec();
            Packet::Publish { dup, qos, id, topic, alias, payload }
        }
        4 => Packet::Puback(only_success(reader)?),
        5 => Packet::Pubrec(only_success(reader)?),
        6 => {
            let (id, reason) = released(reader)?;
            Packet::Pubrel(id, reason)
        }
        7 => Packet::Pubcomp(released(reader)?.0),
        8 => {
            let id = reader.id()?;
            if !properties(reader)?.body.is_empty() {
                return Err("SUBSCRIBE with properties".into());
            }
            let mut filters = vec![];
            while filters.is_empty() || !reader.body.is_empty() {
                let (filter, options) = (reader.text()?, reader.byte()?);
                if options > 2 {
                    return Err(format!("SUBSCRIBE with options {options:08b}"));
                }
                filters.push((filter, options));
            }
            Packet::Subscribe { id, filters }
        }
        10 => {
            let id = reader.id()?;
            if !properties(reader)?.body.is_empty() {
                return Err("UNSUBSCRIBE with properties".into());
            }
            let mut filters = vec![];
            while filters.is_empty() || !reader.body.is_empty() {
                filters.push(reader.text()?);
            }
            Packet::Unsubscribe { id, filters }
        }
        12 => Packet::Pingreq,
        14 => {
            let reason = if reader.body.is_empty() { 0 } else { reader.byte()? };
            if !reader.body.is_empty() {
                let mut properties = properties(reader)?;
                while !properties.body.is_empty() {
                    match properties.byte()? {
                        0x1f => drop(properties.text()?),
                        other => return Err(format!("DISCONNECT with the property 0x{other:02x}")),
                    }
                }
            }
            Packet::Disconnect(reason)
        }
        other => return Err(format!("packet type {other} from a client")),
    })
}

fn properties<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, String> {
    let mut length = 0;
    for shift in 0..4 {
        let byte = reader.byte()?;
        length |= usize::from(byte & 127) << (7 * shift);
        if byte < 128 {
            if byte == 0 && shift > 0 {
                return Err("a length with more bytes than it needs".into());
            }
            let (own, rest) =
                reader.body.split_at_checked(length).ok_or("properties that are too long")?;
            reader.body = rest;
            return Ok(Reader { body: own });
        }
    }
    Err("a length of more than four bytes".into())
}

fn only_success(reader: &mut Reader<'_>) -> Result<u16, String> {
    let id = reader.id()?;
    if !reader.body.is_empty() && reader.byte()? != 0 {
        return Err(format!("a refusal of message {id}"));
    }
    Ok(id)
}

fn released(reader: &mut Reader<'_>) -> Result<(u16, u8), String> {
    let id = reader.id()?;
    let reason = if reader.body.is_empty() { 0 } else { reader.byte()? };
    if !matches!(reason, 0 | 0x92) {
        return Err(format!("PUBREL or PUBCOMP with the reason 0x{reason:02x}"));
    }
    Ok((id, reason))
}

fn read_connect(reader: &mut Reader<'_>) -> Result<Packet, String> {
    if reader.text()? != "MQTT" || reader.byte()? != 5 {
        return Err("CONNECT without protocol name and version".into());
    }
    let flags = reader.byte()?;
    if flags & 0b1111_1101 != 0 {
        return Err(format!("CONNECT with flags {flags:08b}"));
    }
    let keep_alive = reader.number()?;
    let mut wishes = Wishes::default();
    let mut properties = properties(reader)?;
    while !properties.body.is_empty() {
        let four = |properties: &mut Reader<'_>| -> Result<u32, String> {
            Ok(u32::from(properties.number()?) << 16 | u32::from(properties.number()?))
        };
        match properties.byte()? {
            0x11 => wishes.expiry = four(&mut properties)?,
            0x21 => wishes.receive_maximum = properties.id()?,
            0x22 => wishes.aliases = properties.number()?,
            0x27 => wishes.packet_size = four(&mut properties)?,
            other => return Err(format!("CONNECT with the property 0x{other:02x}")),
        }
    }
    let client_id = reader.text()?;
    Ok(Packet::Connect { client_id, clean: flags & 2 != 0, keep_alive, wishes: Some(wishes) })
}

/// Dresses what one connection's broker sends.
#[derive(Default)]
pub(crate) struct Dress {
    /// Properties of CONNACK.
    pub connack: Vec<u8>,
    /// Highest alias that the client takes.
    pub aliases: u16,
    topics: BTreeMap<u16, Vec<u8>>,
}

impl Dress {
    /// The packet as MQTT 5.0 has it. What is no packet of 3.1.1 stays as it is.
    pub(crate) fn dress(&mut self, packet: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
        let Some((first, body)) = split(packet) else { return packet.to_vec() };
        match (first >> 4, body) {
            (2, [flags, 0]) => join(first, &[&[*flags, 0], &with_length(&self.connack)]),
            (2, [_, _]) => {
                let code = [0x87, 0x88, 0x89, 0x97, 0x9c][random.usize(0..5)];
                join(first, &[&[0, code, 0]])
            }
            (3, _) => self.dress_publish(first, body, random).unwrap_or_else(|| packet.to_vec()),
            (4..=7, [high, low]) if [*high, *low] != [0, 0] => {
                let reason = if first >> 4 < 6 && random.bool() { 0x10 } else { 0 };
                match random.u8(0..3) {
                    0 => packet.to_vec(),
                    1 => join(first, &[body, &[reason]]),
                    _ => join(first, &[body, &[reason], &with_length(TRIFLE)]),
                }
            }
            (9, [high, low, codes @ ..]) => join(first, &[&[*high, *low, 0], codes]),
            (11, [high, low, codes @ ..]) => {
                let codes = if codes.is_empty() { &[0] } else { codes };
                join(first, &[&[*high, *low], &with_length(TRIFLE), codes])
            }
            _ => packet.to_vec(),
        }
    }

    fn dress_publish(
        &mut self,
        first: u8,
        body: &[u8],
        random: &mut fastrand::Rng,
    ) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
        let (mut topic, rest) = body.get(2..)?.split_at_checked(length)?;
        let (id, payload) = rest.split_at_checked(if first & 6 == 0 { 0 } else { 2 })?;
        let mut properties = if random.bool() { TRIFLE.to_vec() } else { vec![] };
        if self.aliases > 0 && random.bool() {
            let alias = random.u16(1..=self.aliases);
            if self.topics.get(&alias).is_some_and(|known| known == topic) {
                topic = &[];
            } else {
                self.topics.insert(alias, topic.to_vec());
            }
            properties.push(0x23);
            properties.extend(alias.to_be_bytes());
        }
        let length = (topic.len() as u16).to_be_bytes();
        Some(join(first, &[&length, topic, id, &with_length(&properties), payload]))
    }
}

/// A user property.
const TRIFLE: &[u8] = &[0x26, 0, 1, b'a', 0, 2, b'b', b'c'];

fn with_length(properties: &[u8]) -> Vec<u8> {
    [&[properties.len() as u8], properties].concat()
}

/// First byte and body of exactly one packet.
fn split(packet: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, rest) = packet.split_first()?;
    let header = rest.iter().position(|byte| *byte < 128)? + 1;
    let length =
        rest[..header].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 127));
    let body = &rest[header..];
    (body.len() == length).then_some((first, body))
}

fn join(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    let mut length = body.len();
    while length > 127 {
        packet.push(length as u8 & 127 | 128);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(body);
    packet
}
