//! Properties of MQTT 5.0.

use super::packet::Fields;

/// The value of a property, by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Variable(u32),
    Text(String),
    Data(Vec<u8>),
    Pair(String, String),
}

/// In the order of the packet.
pub type Properties = Vec<(u8, Value)>;

pub const PAYLOAD_FORMAT: u8 = 0x01;
pub const MESSAGE_EXPIRY: u8 = 0x02;
pub const CONTENT_TYPE: u8 = 0x03;
pub const RESPONSE_TOPIC: u8 = 0x08;
pub const CORRELATION_DATA: u8 = 0x09;
pub const SUBSCRIPTION_ID: u8 = 0x0B;
pub const SESSION_EXPIRY: u8 = 0x11;
pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub const SERVER_KEEP_ALIVE: u8 = 0x13;
pub const AUTH_METHOD: u8 = 0x15;
pub const AUTH_DATA: u8 = 0x16;
pub const PROBLEM_INFORMATION: u8 = 0x17;
pub const WILL_DELAY: u8 = 0x18;
pub const RESPONSE_INFORMATION: u8 = 0x19;
pub const SERVER_REFERENCE: u8 = 0x1C;
pub const REASON_STRING: u8 = 0x1F;
pub const RECEIVE_MAXIMUM: u8 = 0x21;
pub const ALIAS_MAXIMUM: u8 = 0x22;
pub const TOPIC_ALIAS: u8 = 0x23;
pub const MAXIMUM_QOS: u8 = 0x24;
pub const RETAIN_AVAILABLE: u8 = 0x25;
pub const USER_PROPERTY: u8 = 0x26;
pub const PACKET_MAXIMUM: u8 = 0x27;
pub const WILDCARD_AVAILABLE: u8 = 0x28;
pub const SUBSCRIPTION_ID_AVAILABLE: u8 = 0x29;
pub const SHARED_AVAILABLE: u8 = 0x2A;

/// What a client may put into each of its packets, by the type of the packet; 0 is the will.
fn allowed(packet: u8) -> &'static [u8] {
    match packet {
        0 => &[
            WILL_DELAY,
            PAYLOAD_FORMAT,
            MESSAGE_EXPIRY,
            CONTENT_TYPE,
            RESPONSE_TOPIC,
            CORRELATION_DATA,
            USER_PROPERTY,
        ],
        1 => &[
            SESSION_EXPIRY,
            RECEIVE_MAXIMUM,
            PACKET_MAXIMUM,
            ALIAS_MAXIMUM,
            RESPONSE_INFORMATION,
            PROBLEM_INFORMATION,
            USER_PROPERTY,
            AUTH_METHOD,
            AUTH_DATA,
        ],
        // A subscription identifier is the server's alone (MQTT-3.3.4-6).
        3 => &[
            PAYLOAD_FORMAT,
            MESSAGE_EXPIRY,
            TOPIC_ALIAS,
            RESPONSE_TOPIC,
            CORRELATION_DATA,
            USER_PROPERTY,
            CONTENT_TYPE,
        ],
        4..=7 => &[REASON_STRING, USER_PROPERTY],
        8 => &[SUBSCRIPTION_ID, USER_PROPERTY],
        10 => &[USER_PROPERTY],
        14 => &[SESSION_EXPIRY, REASON_STRING, USER_PROPERTY],
        15 => &[AUTH_METHOD, AUTH_DATA, REASON_STRING, USER_PROPERTY],
        _ => &[],
    }
}

/// The properties of a packet of this type, all rules of section 2.2.2.2 held.
pub fn read(fields: &mut Fields<'_>, packet: u8) -> Result<Properties, String> {
    let length = fields.variable()? as usize;
    let mut fields = Fields { body: fields.take(length)? };
    let mut all = Properties::new();
    while !fields.body.is_empty() {
        let id = u8::try_from(fields.variable()?).map_err(|_| "an unknown property")?;
        if !allowed(packet).contains(&id) {
            return Err(format!("property {id:#04x} in a packet of type {packet}"));
        }
        if id != USER_PROPERTY && all.iter().any(|(other, _)| *other == id) {
            return Err(format!("property {id:#04x} twice"));
        }
        let value = match id {
            PAYLOAD_FORMAT | PROBLEM_INFORMATION | RESPONSE_INFORMATION => {
                let byte = fields.byte()?;
                if byte > 1 {
                    return Err(format!("property {id:#04x} is {byte}"));
                }
                Value::Byte(byte)
            }
            SERVER_KEEP_ALIVE | RECEIVE_MAXIMUM | ALIAS_MAXIMUM | TOPIC_ALIAS => {
                let number = fields.number()?;
                if number == 0 && id != ALIAS_MAXIMUM {
                    return Err(format!("property {id:#04x} is 0"));
                }
                Value::Two(number)
            }
            MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | PACKET_MAXIMUM => {
                let number = fields.long()?;
                if number == 0 && id == PACKET_MAXIMUM {
                    return Err("a maximum packet size of 0".into());
                }
                Value::Four(number)
            }
            SUBSCRIPTION_ID => match fields.variable()? {
                0 => return Err("subscription identifier 0".into()),
                number => Value::Variable(number),
            },
            CORRELATION_DATA | AUTH_DATA => Value::Data(fields.bytes()?.to_vec()),
            USER_PROPERTY => Value::Pair(fields.text("user property")?, fields.text("its value")?),
            RESPONSE_TOPIC => {
                let topic = fields.text("response topic")?;
                super::syntax::topic(&topic)?;
                Value::Text(topic)
            }
            _ => Value::Text(fields.text("property")?),
        };
        all.push((id, value));
    }
    let has = |id| all.iter().any(|(other, _)| *other == id);
    if has(AUTH_DATA) && !has(AUTH_METHOD) {
        return Err("authentication data without a method".into());
    }
    Ok(all)
}

/// With their length before them.
pub fn write(properties: &Properties) -> Vec<u8> {
    let mut body = Vec::new();
    for (id, value) in properties {
        body.push(*id);
        body.extend(bytes(value));
    }
    let mut all = variable(u32::try_from(body.len()).unwrap());
    all.extend(body);
    all
}

fn bytes(value: &Value) -> Vec<u8> {
    let sized =
        |data: &[u8]| [&u16::try_from(data.len()).unwrap().to_be_bytes()[..], data].concat();
    match value {
        Value::Byte(byte) => vec![*byte],
        Value::Two(number) => number.to_be_bytes().to_vec(),
        Value::Four(number) => number.to_be_bytes().to_vec(),
        Value::Variable(number) => variable(*number),
        Value::Text(text) => sized(text.as_bytes()),
        Value::Data(data) => sized(data),
        Value::Pair(name, value) => [sized(name.as_bytes()), sized(value.as_bytes())].concat(),
    }
}

/// A variable byte integer, as short as can be.
pub fn variable(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let digit = u8::try_from(number % 128).unwrap();
        number /= 128;
        if number == 0 {
            bytes.push(digit);
            return bytes;
        }
        bytes.push(digit | 0x80);
    }
}

/// The value of a property of two bytes.
pub fn two(properties: &Properties, id: u8) -> Option<u16> {
    properties.iter().find_map(|(other, value)| match value {
        Value::Two(number) if *other == id => Some(*number),
        _ => None,
    })
}

/// The value of a property of four bytes.
pub fn four(properties: &Properties, id: u8) -> Option<u32> {
    properties.iter().find_map(|(other, value)| match value {
        Value::Four(number) if *other == id => Some(*number),
        _ => None,
    })
}

/// The value of a property of one byte.
pub fn byte(properties: &Properties, id: u8) -> Option<u8> {
    properties.iter().find_map(|(other, value)| match value {
        Value::Byte(number) if *other == id => Some(*number),
        _ => None,
    })
}

/// The value of a property of text.
pub fn text(properties: &Properties, id: u8) -> Option<&str> {
    properties.iter().find_map(|(other, value)| match value {
        Value::Text(text) if *other == id => Some(text.as_str()),
        _ => None,
    })
}
