//! A reader and writer of MQTT 3.1.1 that shares nothing with the one under test.

use crate::wire5::{self, Wishes};

/// A packet from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Connect { client_id: String, clean: bool, keep_alive: u16, wishes: Option<Wishes> },
    Publish { dup: bool, qos: u8, id: u16, topic: String, alias: Option<u16>, payload: Vec<u8> },
    Puback(u16),
    Pubrec(u16),
    Pubrel(u16, u8),
    Pubcomp(u16),
    Subscribe { id: u16, filters: Vec<(String, u8)> },
    Unsubscribe { id: u16, filters: Vec<String> },
    Pingreq,
    Disconnect(u8),
}

/// Takes one packet off the front; `Err` names the rule that it breaks.
pub(crate) fn take(stream: &mut Vec<u8>, is_5: bool) -> Result<Option<Packet>, String> {
    let mut length = 0usize;
    let mut at = 1;
    loop {
        let Some(&byte) = stream.get(at) else { return Ok(None) };
        length |= usize::from(byte & 127) << (7 * (at - 1));
        at += 1;
        if byte < 128 {
            break;
        }
        if at > 4 {
            return Err("remaining length of more than four bytes".into());
        }
    }
    if stream.len() < at + length {
        return Ok(None);
    }
    let first = stream[0];
    let body: Vec<u8> = stream.drain(..at + length).skip(at).collect();
    let mut reader = Reader { body: &body };
    check_flags(first)?;
    let packet = if is_5 { wire5::read(first, &mut reader)? } else { read(first, &mut reader)? };
    if !reader.body.is_empty() {
        return Err(format!("{} bytes too many in {packet:?}", reader.body.len()));
    }
    Ok(Some(packet))
}

fn check_flags(first: u8) -> Result<(), String> {
    let flags = first & 15;
    if first >> 4 != 3 {
        let wanted = if matches!(first >> 4, 6 | 8 | 10) { 2 } else { 0 };
        if flags != wanted {
            return Err(format!("flags {flags:04b} of packet type {}", first >> 4));
        }
    }
    Ok(())
}

fn read(first: u8, reader: &mut Reader<'_>) -> Result<Packet, String> {
    let flags = first & 15;
    Ok(match first >> 4 {
        1 => read_connect(reader)?,
        3 => {
            let (dup, qos) = (flags & 8 != 0, flags >> 1 & 3);
            if qos == 3 || qos == 0 && dup {
                return Err(format!("PUBLISH with flags {flags:04b}"));
            }
            let topic = reader.text()?;
            if topic.is_empty() || topic.contains(['+', '#']) {
                return Err(format!("PUBLISH to topic {topic:?}"));
            }
            let id = if qos == 0 { 0 } else { reader.id()? };
            let payload = std::mem::take(&mut reader.body).to_vec();
            Packet::Publish { dup, qos, id, topic, alias: None, payload }
        }
        4 => Packet::Puback(reader.id()?),
        5 => Packet::Pubrec(reader.id()?),
        6 => Packet::Pubrel(reader.id()?, 0),
        7 => Packet::Pubcomp(reader.id()?),
        8 => {
            let id = reader.id()?;
            let mut filters = vec![];
            while filters.is_empty() || !reader.body.is_empty() {
                filters.push((reader.text()?, reader.byte()?));
            }
            Packet::Subscribe { id, filters }
        }
        10 => {
            let id = reader.id()?;
            let mut filters = vec![];
            while filters.is_empty() || !reader.body.is_empty() {
                filters.push(reader.text()?);
            }
            Packet::Unsubscribe { id, filters }
        }
        12 => Packet::Pingreq,
        14 => Packet::Disconnect(0),
        other => return Err(format!("packet type {other} from a client")),
    })
}

fn read_connect(reader: &mut Reader<'_>) -> Result<Packet, String> {
    if reader.text()? != "MQTT" || reader.byte()? != 4 {
        return Err("CONNECT without protocol name and level".into());
    }
    let flags = reader.byte()?;
    if flags & 0b1111_1101 != 0 {
        return Err(format!("CONNECT with flags {flags:08b}"));
    }
    let keep_alive = reader.number()?;
    let client_id = reader.text()?;
    Ok(Packet::Connect { client_id, clean: flags & 2 != 0, keep_alive, wishes: None })
}

pub(crate) struct Reader<'a> {
    pub body: &'a [u8],
}

impl Reader<'_> {
    pub(crate) fn byte(&mut self) -> Result<u8, String> {
        let (&byte, rest) = self.body.split_first().ok_or("a packet that is too short")?;
        self.body = rest;
        Ok(byte)
    }

    pub(crate) fn number(&mut self) -> Result<u16, String> {
        Ok(u16::from(self.byte()?) << 8 | u16::from(self.byte()?))
    }

    pub(crate) fn id(&mut self) -> Result<u16, String> {
        match self.number()? {
            0 => Err("packet id 0".into()),
            id => Ok(id),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, String> {
        let length = usize::from(self.number()?);
        let (text, rest) = self.body.split_at_checked(length).ok_or("a text that is too long")?;
        self.body = rest;
        String::from_utf8(text.to_vec()).map_err(|error| error.to_string())
    }
}

/// A message from the broker.
pub(crate) fn publish(topic: &str, payload: &[u8], qos: u8, id: u16, dup: bool) -> Vec<u8> {
    let mut body = vec![0, topic.len() as u8];
    body.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    let mut packet = vec![0x30 | qos << 1 | u8::from(dup) << 3];
    let mut length = body.len();
    while length > 127 {
        packet.push(length as u8 & 127 | 128);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend(body);
    packet
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK, by its first byte.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    vec![first, 2, (id >> 8) as u8, id as u8]
}
