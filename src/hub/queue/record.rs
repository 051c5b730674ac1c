//! PURE: what the store keeps of a write that has not ended.
//!
//! ```text
//! 1  place (0 queue, 1 taken, 2 session)  line  count (4) { path  packet id (2) } × count
//! station  written (16)  expiry in ms (8)
//! QoS  retain  content type  topic  payload
//! count (4) { tag  value } × count
//! count (4) { first number (8)  error code (4)  error  count (4) { name } × count } × count
//! ```
//!
//! Numbers are big-endian; a text has its length (4) in front. No expiry is 0, no error has code 0.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::hub::writes::WriteError;
use crate::iotag::{FourState, Timestamp, Value};
use crate::qos::Qos;

/// What is to be published, as it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::hub) struct Message {
    pub(in crate::hub) topic: String,
    pub(in crate::hub) payload: Bytes,
    pub(in crate::hub) qos: Qos,
    pub(in crate::hub) retain: bool,
    pub(in crate::hub) content_type: Option<Arc<str>>,
    /// When it was written.
    pub(in crate::hub) written: Timestamp,
    /// How long it is good for; `None`: for ever.
    pub(in crate::hub) expiry: Option<Duration>,
}

impl Message {
    /// What it takes of the bounds.
    pub(in crate::hub) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// Packet ids of a publication, by the path of its line: 0, and 1 where there is a second one.
pub type PacketIds = Vec<(u8, u16)>;

/// How far a stored write has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It waits.
    Queue,
    /// It was taken out to be sent, and no session knows of it: it may have left.
    Taken,
    /// The session of its line has it, that of each of these paths under this packet id.
    Session(PacketIds),
}

/// Writes of one request, and the first of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writes {
    /// 0: they have none, nobody was told that they are queued.
    pub(super) first: u64,
    pub(super) names: Vec<Arc<str>>,
    /// Why the publication failed that they waited for first.
    pub(super) failed: Option<WriteError>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) place: Place,
    /// Name of the line.
    pub(super) line: String,
    /// Name of the station.
    pub(super) station: String,
    /// Only in the queue; else topic and payload are empty.
    pub(super) message: Message,
    /// Names of tags, and what was written to them.
    pub(super) values: Vec<(String, Option<Value>)>,
    pub(super) writes: Vec<Writes>,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let message = &self.message;
        let mut out = Vec::with_capacity(128 + message.bytes());
        let (place, packet_ids) = match &self.place {
            Place::Queue => (0, &[][..]),
            Place::Taken => (1, &[][..]),
            Place::Session(packet_ids) => (2, &packet_ids[..]),
        };
        out.extend_from_slice(&[FORMAT, place]);
        put_text(&mut out, &self.line);
        put_count(&mut out, packet_ids.len());
        for (path, packet_id) in packet_ids {
            out.push(*path);
            out.extend_from_slice(&packet_id.to_be_bytes());
        }
        put_text(&mut out, &self.station);
        out.extend_from_slice(&message.written.as_nanosecond().to_be_bytes());
        let expiry_ms = message.expiry.map_or(0, |expiry| expiry.as_millis());
        out.extend_from_slice(&u64::try_from(expiry_ms).unwrap_or(u64::MAX).to_be_bytes());
        out.extend_from_slice(&[message.qos.level(), u8::from(message.retain)]);
        put_text(&mut out, message.content_type.as_deref().unwrap_or_default());
        put_text(&mut out, &message.topic);
        put_bytes(&mut out, &message.payload);
        put_count(&mut out, self.values.len());
        for (name, value) in &self.values {
            put_text(&mut out, name);
            put_value(&mut out, value.as_ref());
        }
        put_count(&mut out, self.writes.len());
        for Writes { first, names, failed } in &self.writes {
            out.extend_from_slice(&first.to_be_bytes());
            let code = failed.as_ref().map_or(0, |error| error.code);
            out.extend_from_slice(&code.to_be_bytes());
            put_text(&mut out, failed.as_ref().map_or("", |error| &error.message));
            put_count(&mut out, names.len());
            names.iter().for_each(|name| put_text(&mut out, name));
        }
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != FORMAT {
            return None;
        }
        let place = reader.u8()?;
        let line = reader.text()?.to_owned();
        let packet_ids =
            reader.list(|reader| Some((reader.u8()?, u16::from_be_bytes(reader.array()?))))?;
        let place = match place {
            0 => Place::Queue,
            1 => Place::Taken,
            2 => Place::Session(packet_ids),
            _ => return None,
        };
        let station = reader.text()?.to_owned();
        let written = Timestamp::from_nanosecond(i128::from_be_bytes(reader.array()?)).ok()?;
        let expiry_ms = reader.u64()?;
        let qos = Qos::from_level(reader.u8()?)?;
        let retain = reader.u8()? != 0;
        let content_type = Some(reader.text()?).filter(|text| !text.is_empty()).map(Arc::from);
        let topic = reader.text()?.to_owned();
        let payload = Bytes::copy_from_slice(reader.bytes()?);
        let values = reader.list(|reader| Some((reader.text()?.to_owned(), reader.value()?)))?;
        let writes = reader.list(|reader| {
            let first = reader.u64()?;
            let code = i32::from_be_bytes(reader.array()?);
            let message = reader.text()?;
            let failed = (code != 0).then(|| WriteError::new(code, message));
            let names = reader.list(|reader| reader.text().map(Arc::from))?;
            Some(Writes { first, names, failed })
        })?;
        let expiry = (expiry_ms > 0).then(|| Duration::from_millis(expiry_ms));
        let message = Message { topic, payload, qos, retain, content_type, written, expiry };
        reader.0.is_empty().then_some(Self { place, line, station, message, values, writes })
    }
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: Option<&Value>) {
    match value {
        None => out.push(0),
        Some(Value::Real(real)) => {
            out.push(1);
            out.extend_from_slice(&real.to_bits().to_be_bytes());
        }
        Some(Value::Integer(integer)) => {
            out.push(2);
            out.extend_from_slice(&integer.to_be_bytes());
        }
        Some(Value::Logical(logical)) => out.extend_from_slice(&[3, u8::from(*logical)]),
        Some(Value::FourState(state)) => {
            out.push(4);
            put_text(out, state.as_str());
        }
        Some(Value::Text(text)) => {
            out.push(5);
            put_text(out, text);
        }
        Some(Value::Interval(seconds)) => {
            out.push(6);
            out.extend_from_slice(&seconds.to_bits().to_be_bytes());
        }
        Some(Value::Moment(moment)) => {
            out.push(7);
            out.extend_from_slice(&moment.as_nanosecond().to_be_bytes());
        }
    }
}

/// Reads what is left.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).ok()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = u32::from_be_bytes(self.array()?);
        (0..count).map(|_| item(self)).collect()
    }

    fn value(&mut self) -> Option<Option<Value>> {
        let finite = |bits| Some(f64::from_bits(bits)).filter(|real| real.is_finite());
        Some(Some(match self.u8()? {
            0 => return Some(None),
            1 => Value::Real(finite(self.u64()?)?),
            2 => Value::Integer(i128::from_be_bytes(self.array()?)),
            3 => Value::Logical(self.u8()? != 0),
            4 => {
                let word = self.text()?;
                let state = FourState::ALL.into_iter().find(|state| state.as_str() == word);
                Value::FourState(state?)
            }
            5 => Value::Text(self.text()?.into()),
            6 => Value::Interval(finite(self.u64()?)?),
            7 => {
                let nanosecond = i128::from_be_bytes(self.array()?);
                Value::Moment(Timestamp::from_nanosecond(nanosecond).ok()?)
            }
            _ => return None,
        }))
    }
}

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests;
