//! The broker's side of both versions of MQTT, by hand: no line of the program's code.

/// What a client sends.
#[derive(Debug)]
pub enum Inbound {
    Connect { version: u8, clean: bool },
    Publish(Publish),
    Puback(u16),
    Pubrec { id: u16, refused: bool },
    Pubrel(u16),
    Pubcomp(u16),
    Subscribe { id: u16, qos: Vec<u8> },
    Unsubscribe { id: u16, filters: usize },
    Pingreq,
    Disconnect,
}

/// A publication of a client.
#[derive(Debug)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub id: u16,
    /// Empty: the alias says it.
    pub topic: String,
    pub alias: Option<u16>,
    pub payload: String,
}

/// The first whole packet of a buffer, and how long it is.
pub fn split(buffer: &[u8]) -> Result<Option<(u8, usize, usize)>, String> {
    let mut length = 0;
    for place in 0..4 {
        let Some(&digit) = buffer.get(1 + place) else { return Ok(None) };
        length |= usize::from(digit & 0x7F) << (7 * place);
        if digit & 0x80 == 0 {
            let header = 2 + place;
            let whole = buffer.len() >= header + length;
            return Ok(whole.then_some((buffer[0], header, header + length)));
        }
    }
    Err("a remaining length of more than four bytes".into())
}

/// Reads a packet of a client that speaks this version (4 or 5; 0 before CONNECT).
pub fn decode(first: u8, body: &[u8], version: u8) -> Result<Inbound, String> {
    let mut fields = Fields { body };
    let five = version == 5;
    let packet = match (first >> 4, first & 15) {
        (1, 0) => {
            if fields.text()? != "MQTT" {
                return Err("another protocol".into());
            }
            let version = fields.byte()?;
            let flags = fields.byte()?;
            return Ok(Inbound::Connect { version, clean: flags & 2 != 0 });
        }
        (3, flags) => {
            let (dup, qos) = (flags & 8 != 0, flags >> 1 & 3);
            let topic = fields.text()?;
            let id = if qos > 0 { fields.number()? } else { 0 };
            if qos > 2 || (qos > 0 && id == 0) || (qos == 0 && dup) {
                return Err(format!("PUBLISH with flags {flags:#x} and identifier {id}"));
            }
            let alias = if five { fields.properties()? } else { None };
            let payload = String::from_utf8(fields.body.to_vec()).map_err(|e| e.to_string())?;
            return Ok(Inbound::Publish(Publish { dup, qos, id, topic, alias, payload }));
        }
        (4, 0) => Inbound::Puback(fields.number()?),
        (5, 0) => {
            let id = fields.number()?;
            Inbound::Pubrec { id, refused: fields.body.first().is_some_and(|code| *code >= 0x80) }
        }
        (6, 2) => Inbound::Pubrel(fields.number()?),
        (7, 0) => Inbound::Pubcomp(fields.number()?),
        (8, 2) => {
            let id = fields.number()?;
            if five {
                fields.properties()?;
            }
            let mut qos = Vec::new();
            while !fields.body.is_empty() {
                fields.text()?;
                qos.push(fields.byte()? & 3);
            }
            return Ok(Inbound::Subscribe { id, qos });
        }
        (10, 2) => {
            let id = fields.number()?;
            if five {
                fields.properties()?;
            }
            let mut filters = 0;
            while !fields.body.is_empty() {
                fields.text()?;
                filters += 1;
            }
            return Ok(Inbound::Unsubscribe { id, filters });
        }
        (12, 0) => Inbound::Pingreq,
        (14, 0) => Inbound::Disconnect,
        _ => return Err(format!("a client sends no packet that begins with {first:#04x}")),
    };
    if !five && !fields.body.is_empty() {
        return Err(format!("bytes behind {packet:?}"));
    }
    Ok(packet)
}

/// CONNACK; in 5.0 with so many topic aliases and messages in flight towards us.
pub fn connack(version: u8, session_present: bool, aliases: u16, window: u16) -> Vec<u8> {
    let mut body = vec![u8::from(session_present), 0];
    if version == 5 {
        let mut properties = vec![0x21];
        properties.extend(window.to_be_bytes());
        properties.push(0x22);
        properties.extend(aliases.to_be_bytes());
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend(properties);
    }
    frame(0x20, &body)
}

/// PUBLISH.
pub fn publish(version: u8, topic: &str, payload: &str, qos: u8, id: u16, dup: bool) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend(payload.as_bytes());
    frame(0x30 | u8::from(dup) << 3 | qos << 1, &body)
}

/// PUBACK (4), PUBREC (5), PUBREL (6) or PUBCOMP (7).
pub fn answer(kind: u8, id: u16) -> Vec<u8> {
    frame(kind << 4 | if kind == 6 { 2 } else { 0 }, &id.to_be_bytes())
}

/// SUBACK (9) or UNSUBACK (11).
pub fn granted(version: u8, kind: u8, id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    if version == 5 || kind == 9 {
        body.extend(codes);
    }
    frame(kind << 4, &body)
}

/// CONNECT of a 3.1.1 client that keeps its session.
pub fn connect(client_id: &str) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([4, 0, 0, 0]);
    body.extend(text(client_id));
    frame(0x10, &body)
}

/// SUBSCRIBE of a 3.1.1 client.
pub fn subscribe(id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(text(filter));
    body.push(qos);
    frame(0x82, &body)
}

/// Any packet.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let digit = u8::try_from(left % 128).unwrap();
        left /= 128;
        bytes.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

struct Fields<'a> {
    body: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) =
            self.body.split_at_checked(count).ok_or("a field beyond the end of its packet")?;
        self.body = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u16, String> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.number()?;
        let bytes = self.take(usize::from(length))?;
        String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
    }

    /// Skips the properties; the topic alias among them.
    fn properties(&mut self) -> Result<Option<u16>, String> {
        let mut length = 0;
        for place in 0.. {
            let digit = self.byte()?;
            length |= usize::from(digit & 0x7F) << (7 * place);
            if digit & 0x80 == 0 {
                break;
            }
        }
        let mut inside = Fields { body: self.take(length)? };
        let mut alias = None;
        while !inside.body.is_empty() {
            match inside.byte()? {
                0x01 => drop(inside.byte()?),
                0x02 | 0x11 => drop(inside.take(4)?),
                0x03 | 0x08 | 0x09 => {
                    let length = inside.number()?;
                    inside.take(usize::from(length))?;
                }
                0x23 => alias = Some(inside.number()?),
                0x26 => {
                    for _ in 0..2 {
                        let length = inside.number()?;
                        inside.take(usize::from(length))?;
                    }
                }
                other => return Err(format!("property {other:#04x}")),
            }
        }
        Ok(alias)
    }
}
