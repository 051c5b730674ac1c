//! MQTT 3.1.1 packets, by hand: this reads and writes bytes without a line of the program's code.

/// A packet of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connect(Connect),
    Connack { session_present: bool, code: u8 },
    Publish(Publish),
    Puback(u16),
    Pubrec(u16),
    Pubrel(u16),
    Pubcomp(u16),
    Subscribe { id: u16, filters: Vec<(String, u8)> },
    Suback { id: u16, codes: Vec<u8> },
    Unsubscribe { id: u16, filters: Vec<String> },
    Unsuback(u16),
    Pingreq,
    Pingresp,
    Disconnect,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    pub client_id: String,
    pub clean_session: bool,
    pub keep_alive: u16,
    pub will: Option<Will>,
    pub user_name: Option<String>,
    pub password: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub message: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    /// 0 at QoS 0.
    pub id: u16,
    pub payload: Vec<u8>,
}

/// A first transmission; `id` is 0 at QoS 0.
pub fn publish(topic: &str, payload: impl Into<Vec<u8>>, qos: u8, id: u16) -> Packet {
    let (topic, payload) = (topic.to_owned(), payload.into());
    Packet::Publish(Publish { dup: false, qos, retain: false, topic, id, payload })
}

/// The same with DUP.
pub fn again(topic: &str, payload: impl Into<Vec<u8>>, qos: u8, id: u16) -> Packet {
    let Packet::Publish(publish) = publish(topic, payload, qos, id) else { unreachable!() };
    Packet::Publish(Publish { dup: true, ..publish })
}

/// A retained message.
pub fn retained(topic: &str, payload: impl Into<Vec<u8>>, qos: u8, id: u16) -> Packet {
    let Packet::Publish(publish) = publish(topic, payload, qos, id) else { unreachable!() };
    Packet::Publish(Publish { retain: true, ..publish })
}

/// One packet with its fixed header.
pub fn encode(packet: &Packet) -> Vec<u8> {
    let (first, body) = match packet {
        Packet::Connect(_) => panic!("a broker sends no CONNECT"),
        Packet::Connack { session_present, code } => {
            (0x20, vec![u8::from(*session_present), *code])
        }
        Packet::Publish(publish) => {
            let flags = u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
            let mut body = text(&publish.topic);
            if publish.qos > 0 {
                body.extend(publish.id.to_be_bytes());
            }
            body.extend(&publish.payload);
            (0x30 | flags, body)
        }
        Packet::Puback(id) => (0x40, id.to_be_bytes().to_vec()),
        Packet::Pubrec(id) => (0x50, id.to_be_bytes().to_vec()),
        Packet::Pubrel(id) => (0x62, id.to_be_bytes().to_vec()),
        Packet::Pubcomp(id) => (0x70, id.to_be_bytes().to_vec()),
        Packet::Subscribe { id, filters } => {
            let mut body = id.to_be_bytes().to_vec();
            for (filter, qos) in filters {
                body.extend(text(filter));
                body.push(*qos);
            }
            (0x82, body)
        }
        Packet::Suback { id, codes } => (0x90, [&id.to_be_bytes()[..], codes].concat()),
        Packet::Unsubscribe { id, filters } => {
            let mut body = id.to_be_bytes().to_vec();
            body.extend(filters.iter().flat_map(|filter| text(filter)));
            (0xA2, body)
        }
        Packet::Unsuback(id) => (0xB0, id.to_be_bytes().to_vec()),
        Packet::Pingreq => (0xC0, Vec::new()),
        Packet::Pingresp => (0xD0, Vec::new()),
        Packet::Disconnect => (0xE0, Vec::new()),
    };
    frame(first, &body)
}

/// Any first byte, the body's length, the body.
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

/// A text with its length before it.
pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
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

/// Reads what a client may send, strictly.
pub fn decode(first: u8, body: &[u8]) -> Result<Packet, String> {
    let mut fields = Fields { body };
    let flags = first & 0x0F;
    let expected_flags = match first >> 4 {
        3 => flags,
        6 | 8 | 10 => 2,
        _ => 0,
    };
    if flags != expected_flags {
        return Err(format!("flags of {first:#04x} are {flags:#06b}"));
    }
    let packet = match first >> 4 {
        1 => Packet::Connect(connect(&mut fields)?),
        3 => {
            let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
            if qos == 3 {
                return Err("QoS 3".into());
            }
            if qos == 0 && dup {
                return Err("DUP at QoS 0".into());
            }
            let topic = fields.text("topic")?;
            if topic.is_empty() || topic.contains(['+', '#']) {
                return Err(format!("topic name `{topic}`"));
            }
            let id = if qos > 0 { fields.id()? } else { 0 };
            let payload = std::mem::take(&mut fields.body).to_vec();
            Packet::Publish(Publish { dup, qos, retain, topic, id, payload })
        }
        4 => Packet::Puback(fields.id()?),
        5 => Packet::Pubrec(fields.id()?),
        6 => Packet::Pubrel(fields.id()?),
        7 => Packet::Pubcomp(fields.id()?),
        8 => {
            let id = fields.id()?;
            let mut filters = Vec::new();
            while !fields.body.is_empty() {
                let filter = fields.text("filter")?;
                let qos = fields.byte()?;
                if qos > 2 {
                    return Err(format!("requested QoS {qos:#04x}"));
                }
                filters.push((filter, qos));
            }
            if filters.is_empty() {
                return Err("SUBSCRIBE without a filter".into());
            }
            Packet::Subscribe { id, filters }
        }
        10 => {
            let id = fields.id()?;
            let mut filters = Vec::new();
            while !fields.body.is_empty() {
                filters.push(fields.text("filter")?);
            }
            if filters.is_empty() {
                return Err("UNSUBSCRIBE without a filter".into());
            }
            Packet::Unsubscribe { id, filters }
        }
        12 => Packet::Pingreq,
        14 => Packet::Disconnect,
        kind => return Err(format!("a client sends no packet of type {kind}")),
    };
    if !fields.body.is_empty() {
        return Err(format!("{} bytes too many in {packet:?}", fields.body.len()));
    }
    Ok(packet)
}

fn connect(fields: &mut Fields<'_>) -> Result<Connect, String> {
    let name = fields.text("protocol name")?;
    let level = fields.byte()?;
    if name != "MQTT" || level != 4 {
        return Err(format!("protocol `{name}` level {level}"));
    }
    let flags = fields.byte()?;
    if flags & 1 != 0 {
        return Err("the reserved CONNECT flag is set".into());
    }
    let keep_alive = fields.number()?;
    let client_id = fields.text("client identifier")?;
    let clean_session = flags & 2 != 0;
    if client_id.is_empty() && !clean_session {
        return Err("an empty client identifier without clean session".into());
    }
    let (will_flag, will_qos, will_retain) = (flags & 4 != 0, flags >> 3 & 3, flags & 32 != 0);
    let will = if will_flag {
        if will_qos == 3 {
            return Err("will QoS 3".into());
        }
        let topic = fields.text("will topic")?;
        Some(Will { topic, message: fields.bytes()?.to_vec(), qos: will_qos, retain: will_retain })
    } else {
        if will_qos != 0 || will_retain {
            return Err("will QoS or retain without a will".into());
        }
        None
    };
    let user_name = if flags & 128 != 0 { Some(fields.text("user name")?) } else { None };
    let password = if flags & 64 != 0 { Some(fields.bytes()?.to_vec()) } else { None };
    if password.is_some() && user_name.is_none() {
        return Err("a password without a user name".into());
    }
    Ok(Connect { client_id, clean_session, keep_alive, will, user_name, password })
}

struct Fields<'a> {
    body: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        if self.body.len() < count {
            return Err("a field goes past the end of its packet".into());
        }
        let (taken, rest) = self.body.split_at(count);
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

    fn id(&mut self) -> Result<u16, String> {
        match self.number()? {
            0 => Err("packet identifier 0".into()),
            id => Ok(id),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.number()?;
        self.take(usize::from(length))
    }

    fn text(&mut self, what: &str) -> Result<String, String> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| format!("{what}: no UTF-8"))?;
        if text.contains('\0') {
            return Err(format!("{what}: U+0000"));
        }
        Ok(text.to_owned())
    }
}
