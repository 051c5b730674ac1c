//! What a gate looks at in the packets of either version, read by hand.

use tokio::io::{AsyncRead, AsyncReadExt};

/// A packet as it came: its first byte, and all its bytes.
pub struct Raw {
    pub first: u8,
    pub bytes: Vec<u8>,
    /// Where its body begins.
    pub body: usize,
}

impl Raw {
    /// The type, 1 (CONNECT) to 15.
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }
}

/// The next packet; `None`: the peer has closed.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Raw> {
    let first = stream.read_u8().await.ok()?;
    let mut bytes = vec![first];
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        bytes.push(byte);
        length |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            break;
        }
    }
    let body = bytes.len();
    bytes.resize(body + length, 0);
    stream.read_exact(&mut bytes[body..]).await.ok()?;
    Some(Raw { first, bytes, body })
}

#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// 4: MQTT 3.1.1; 5: 5.0.
    pub level: u8,
    /// Clean session, or clean start.
    pub clean: bool,
    pub client_id: String,
    pub user_name: Option<String>,
    pub password: Option<String>,
    pub session_expiry: Option<u32>,
}

#[derive(Clone, Debug, Default)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    pub content_type: Option<String>,
    pub payload: String,
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn text(&mut self) -> String {
        let length = self.number();
        String::from_utf8(self.take(length).to_vec()).unwrap()
    }

    fn variable(&mut self) -> usize {
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                return length;
            }
        }
    }

    fn properties(&mut self, level: u8) -> Properties {
        let mut properties = Properties::default();
        if level < 5 {
            return properties;
        }
        let length = self.variable();
        let mut own = Fields(self.take(length));
        while !own.0.is_empty() {
            match own.byte() {
                0x03 => properties.content_type = Some(own.text()),
                0x11 => {
                    let bytes = own.take(4);
                    properties.session_expiry =
                        Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
                }
                0x23 => properties.alias = own.number(),
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => drop(own.byte()),
                0x13 | 0x21 | 0x22 => drop(own.number()),
                0x02 | 0x18 | 0x27 => drop(own.take(4)),
                0x0B => drop(own.variable()),
                0x26 => drop((own.text(), own.text())),
                _ => drop(own.text()),
            }
        }
        properties
    }
}

#[derive(Default)]
struct Properties {
    content_type: Option<String>,
    session_expiry: Option<u32>,
    alias: usize,
}

pub fn connect(raw: &Raw) -> Connect {
    let mut fields = Fields(&raw.bytes[raw.body..]);
    assert_eq!(fields.text(), "MQTT");
    let level = fields.byte();
    let flags = fields.byte();
    fields.number();
    let session_expiry = fields.properties(level).session_expiry;
    let client_id = fields.text();
    if flags & 4 != 0 {
        fields.properties(level);
        fields.text();
        fields.text();
    }
    let user_name = (flags & 128 != 0).then(|| fields.text());
    let password = (flags & 64 != 0).then(|| fields.text());
    Connect { level, clean: flags & 2 != 0, client_id, user_name, password, session_expiry }
}

/// `aliases`: topics by number, as this client has said them.
pub fn publish(raw: &Raw, level: u8, aliases: &mut Vec<String>) -> Publish {
    let mut fields = Fields(&raw.bytes[raw.body..]);
    let (dup, qos, retain) = (raw.first & 8 != 0, raw.first >> 1 & 3, raw.first & 1 != 0);
    let mut topic = fields.text();
    if qos > 0 {
        fields.number();
    }
    let properties = fields.properties(level);
    if properties.alias > 0 {
        if aliases.len() <= properties.alias {
            aliases.resize(properties.alias + 1, String::new());
        }
        if topic.is_empty() {
            topic.clone_from(&aliases[properties.alias]);
        } else {
            aliases[properties.alias].clone_from(&topic);
        }
    }
    let payload = String::from_utf8_lossy(fields.0).into_owned();
    Publish { dup, qos, retain, topic, content_type: properties.content_type, payload }
}
