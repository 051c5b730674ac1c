//! Bytes of the journal: varints, tag values, blocks of changes.
//!
//! PURE. A block is what one commit (or a part of a large one) leaves in the journal:
//!
//! ```text
//! count  newest receive time (s)  { tag number  shape  reason  times  value } × count
//! ```
//!
//! Numbers are LEB128 varints, signed ones in zigzag. `shape` holds kind (4 bits), quality (2 bits),
//! "source time = receive time" and "receive time = that of the change before". Sequence numbers
//! rise by one within a block and are not written: the block's key has the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::iotag::{FourState, Quality, Reason, TagValue, Timestamp, Value};

/// Why bytes are no record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Writes one block of changes.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    changes: Vec<u8>,
    count: u64,
    before: i128,
    newest_s: i64,
}

impl BlockWriter {
    /// Appends a change of a tag that the store knows by this number.
    pub(super) fn push(&mut self, number: u32, value: &TagValue) {
        put_unsigned(&mut self.changes, u128::from(number));
        put_value(&mut self.changes, value, self.before);
        self.before = value.received.as_nanosecond();
        let received_s = value.received.as_second();
        self.newest_s = if self.count == 0 { received_s } else { self.newest_s.max(received_s) };
        self.count += 1;
    }

    /// How many changes it has.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many bytes the changes take so far.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// The block, and an empty writer in its place.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut block = Vec::with_capacity(self.changes.len() + 16);
        put_unsigned(&mut block, u128::from(self.count));
        put_signed(&mut block, i128::from(self.newest_s));
        block.append(&mut self.changes);
        (self.count, self.before, self.newest_s) = (0, 0, 0);
        block
    }
}

/// Reads one block of changes, in order: tag number and value.
#[derive(Debug)]
pub(super) struct BlockReader<'a> {
    reader: Reader<'a>,
    count: u64,
    left: u64,
    before: i128,
    newest_s: i64,
}

impl<'a> BlockReader<'a> {
    /// Reads the head of a block.
    pub(super) fn new(block: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(block);
        let count = reader.u64()?;
        let newest_s = i64::try_from(reader.signed()?).map_err(|_| Malformed("time"))?;
        // A change takes at least four bytes: a count beyond that is no count.
        if count == 0 || count > block.len() as u64 {
            return Err(Malformed("number of changes"));
        }
        Ok(Self { reader, count, left: count, before: 0, newest_s })
    }

    /// How many changes the block has.
    pub(super) fn changes(&self) -> u64 {
        self.count
    }

    /// Its newest receive time, in whole seconds since 1970.
    pub(super) fn newest_s(&self) -> i64 {
        self.newest_s
    }

    fn change(&mut self) -> Result<(u32, TagValue), Malformed> {
        let number = u32::try_from(self.reader.unsigned()?).map_err(|_| Malformed("tag"))?;
        let value = self.reader.value(self.before)?;
        self.before = value.received.as_nanosecond();
        Ok((number, value))
    }
}

impl Iterator for BlockReader<'_> {
    type Item = Result<(u32, TagValue), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let change = self.change();
        let trailing = self.left == 0 && !self.reader.0.is_empty();
        if change.is_err() || trailing {
            self.left = 0;
        }
        Some(if trailing { Err(Malformed("bytes after the last change")) } else { change })
    }
}

/// A checkpointed value: number of its change, then the value.
pub(super) fn value_record(seq: u64, value: &TagValue) -> Vec<u8> {
    let mut record = Vec::with_capacity(32);
    put_unsigned(&mut record, u128::from(seq));
    put_value(&mut record, value, 0);
    record
}

/// Reads what [`value_record`] writes.
pub(super) fn read_value_record(record: &[u8]) -> Result<(u64, TagValue), Malformed> {
    let mut reader = Reader(record);
    let seq = reader.u64()?;
    let value = reader.value(0)?;
    if reader.0.is_empty() { Ok((seq, value)) } else { Err(Malformed("bytes after the value")) }
}

/// Checkpointed values of tags with neighbouring numbers, by the last bits of these.
pub(super) type ValuePage = BTreeMap<u8, (u64, TagValue)>;

/// The bytes of a page of values.
pub(super) fn value_page(values: &ValuePage) -> Vec<u8> {
    let mut page = Vec::with_capacity(32 * values.len());
    let mut before = 0;
    for (at, (seq, value)) in values {
        page.push(*at);
        put_unsigned(&mut page, u128::from(*seq));
        put_value(&mut page, value, before);
        before = value.received.as_nanosecond();
    }
    page
}

/// Reads what [`value_page`] writes.
pub(super) fn read_value_page(page: &[u8]) -> Result<ValuePage, Malformed> {
    let mut reader = Reader(page);
    let mut values = ValuePage::new();
    let mut before = 0;
    while !reader.0.is_empty() {
        let at = reader.byte()?;
        let seq = reader.u64()?;
        let value = reader.value(before)?;
        before = value.received.as_nanosecond();
        values.insert(at, (seq, value));
    }
    Ok(values)
}

/// Appends a name to a list of names.
pub(super) fn put_name(list: &mut Vec<u8>, name: &str) {
    put_unsigned(list, name.len() as u128);
    list.extend_from_slice(name.as_bytes());
}

/// Reads a list of names.
pub(super) fn read_names(list: &[u8]) -> Result<Vec<Arc<str>>, Malformed> {
    let mut reader = Reader(list);
    let mut names = Vec::new();
    while !reader.0.is_empty() {
        names.push(reader.text()?);
    }
    Ok(names)
}

const NONE: u8 = 0;
const REAL: u8 = 1;
const INTEGER: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
/// Four kinds, one for each state.
const FOUR_STATE: u8 = 5;
const TEXT: u8 = 9;
const INTERVAL: u8 = 10;
const MOMENT: u8 = 11;

const KIND_MASK: u8 = 0x0f;
const QUALITY_SHIFT: u8 = 4;
const QUALITY_MASK: u8 = 0x03;
const SAME_TIME: u8 = 0x40;
const SAME_RECEIVED: u8 = 0x80;

fn put_value(out: &mut Vec<u8>, value: &TagValue, before: i128) {
    let kind = match &value.value {
        None => NONE,
        Some(Value::Real(_)) => REAL,
        Some(Value::Integer(_)) => INTEGER,
        Some(Value::Logical(false)) => FALSE,
        Some(Value::Logical(true)) => TRUE,
        Some(Value::FourState(state)) => FOUR_STATE + position(&FourState::ALL, state),
        Some(Value::Text(_)) => TEXT,
        Some(Value::Interval(_)) => INTERVAL,
        Some(Value::Moment(_)) => MOMENT,
    };
    let (time, received) = (value.time.as_nanosecond(), value.received.as_nanosecond());
    let mut shape = kind | (position(&Quality::ALL, &value.quality) << QUALITY_SHIFT);
    if time == received {
        shape |= SAME_TIME;
    }
    if received == before {
        shape |= SAME_RECEIVED;
    }
    out.push(shape);
    out.push(position(&Reason::ALL, &value.reason));
    if received != before {
        put_signed(out, received - before);
    }
    if time != received {
        put_signed(out, time - received);
    }
    match &value.value {
        Some(Value::Real(real) | Value::Interval(real)) => {
            out.extend_from_slice(&real.to_le_bytes());
        }
        Some(Value::Integer(integer)) => put_signed(out, *integer),
        Some(Value::Text(text)) => {
            put_unsigned(out, text.len() as u128);
            out.extend_from_slice(text.as_bytes());
        }
        Some(Value::Moment(moment)) => put_signed(out, moment.as_nanosecond()),
        None | Some(Value::Logical(_) | Value::FourState(_)) => {}
    }
}

/// Place in a short list that is only ever appended to.
fn position<T: PartialEq>(all: &[T], wanted: &T) -> u8 {
    all.iter().position(|one| one == wanted).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn put_unsigned(out: &mut Vec<u8>, number: u128) {
    let Ok(mut small) = u64::try_from(number) else {
        out.push((number & 0x7f) as u8 | 0x80);
        return put_unsigned(out, number >> 7);
    };
    while small >= 0x80 {
        out.push((small & 0x7f) as u8 | 0x80);
        small >>= 7;
    }
    out.push(small as u8);
}

fn put_signed(out: &mut Vec<u8>, number: i128) {
    put_unsigned(out, ((number << 1) ^ (number >> 127)) as u128);
}

#[derive(Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("end"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed("end"))?;
        self.0 = rest;
        Ok(first)
    }

    fn unsigned(&mut self) -> Result<u128, Malformed> {
        let (mut small, mut shift) = (0_u64, 0_u32);
        while shift < 63 {
            let byte = self.byte()?;
            small |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(u128::from(small));
            }
            shift += 7;
        }
        let mut number = u128::from(small);
        loop {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift > 126 || (shift == 126 && bits > 3) {
                return Err(Malformed("number"));
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    fn signed(&mut self) -> Result<i128, Malformed> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i128 ^ -((number & 1) as i128))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        u64::try_from(self.unsigned()?).map_err(|_| Malformed("number"))
    }

    fn real(&mut self) -> Result<f64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed("end"))?;
        Ok(f64::from_le_bytes(bytes))
    }

    fn time(&mut self, base: i128) -> Result<Timestamp, Malformed> {
        let nanosecond = base.checked_add(self.signed()?).ok_or(Malformed("time"))?;
        Timestamp::from_nanosecond(nanosecond).map_err(|_| Malformed("time"))
    }

    fn value(&mut self, before: i128) -> Result<TagValue, Malformed> {
        let shape = self.byte()?;
        let quality = usize::from((shape >> QUALITY_SHIFT) & QUALITY_MASK);
        let quality = *Quality::ALL.get(quality).ok_or(Malformed("quality"))?;
        let reason = *Reason::ALL.get(usize::from(self.byte()?)).ok_or(Malformed("reason"))?;
        let received = if shape & SAME_RECEIVED == 0 {
            self.time(before)?
        } else {
            Timestamp::from_nanosecond(before).map_err(|_| Malformed("time"))?
        };
        let time =
            if shape & SAME_TIME == 0 { self.time(received.as_nanosecond())? } else { received };
        let value = match shape & KIND_MASK {
            NONE => None,
            REAL => Some(Value::Real(self.real()?)),
            INTEGER => Some(Value::Integer(self.signed()?)),
            FALSE => Some(Value::Logical(false)),
            TRUE => Some(Value::Logical(true)),
            TEXT => Some(Value::Text(self.text()?)),
            INTERVAL => Some(Value::Interval(self.real()?)),
            MOMENT => Some(Value::Moment(self.time(0)?)),
            kind => {
                let state = kind.checked_sub(FOUR_STATE).map(usize::from);
                let state = state.and_then(|at| FourState::ALL.get(at));
                Some(Value::FourState(*state.ok_or(Malformed("kind of value"))?))
            }
        };
        Ok(TagValue { value, quality, reason, time, received })
    }

    fn text(&mut self) -> Result<Arc<str>, Malformed> {
        let len = usize::try_from(self.unsigned()?).map_err(|_| Malformed("length of text"))?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| Malformed("text"))?;
        Ok(Arc::from(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::tag_value;
    use super::*;

    proptest! {
        #[test]
        fn a_block_comes_back(changes in prop::collection::vec((any::<u32>(), tag_value()), 1..40)) {
            let mut writer = BlockWriter::default();
            for (number, value) in &changes {
                writer.push(*number, value);
            }
            let block = writer.take();
            let reader = BlockReader::new(&block).unwrap();
            prop_assert_eq!(reader.changes(), changes.len() as u64);
            let newest = changes.iter().map(|(_, value)| value.received.as_second()).max();
            prop_assert_eq!(Some(reader.newest_s()), newest);
            let back: Vec<_> = reader.map(Result::unwrap).collect();
            prop_assert_eq!(back, changes);
            prop_assert_eq!(writer.count(), 0);
        }

        #[test]
        fn a_value_record_comes_back(seq: u64, value in tag_value()) {
            let record = value_record(seq, &value);
            prop_assert_eq!(read_value_record(&record), Ok((seq, value)));
        }

        #[test]
        fn a_page_of_values_comes_back(
            page in prop::collection::btree_map(any::<u8>(), (any::<u64>(), tag_value()), 0..70),
        ) {
            prop_assert_eq!(read_value_page(&value_page(&page)), Ok(page));
        }

        #[test]
        fn names_come_back(names in prop::collection::vec(".{0,200}", 0..20)) {
            let mut list = Vec::new();
            names.iter().for_each(|name| put_name(&mut list, name));
            let back: Vec<String> =
                read_names(&list).unwrap().iter().map(ToString::to_string).collect();
            prop_assert_eq!(back, names);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_value_record(&bytes), read_value_page(&bytes), read_names(&bytes));
            if let Ok(reader) = BlockReader::new(&bytes) {
                let _ = reader.collect::<Result<Vec<_>, _>>();
            }
        }

        #[test]
        fn numbers_come_back(unsigned: u128, signed: i128) {
            let mut out = Vec::new();
            put_unsigned(&mut out, unsigned);
            put_signed(&mut out, signed);
            let mut reader = Reader(&out);
            prop_assert_eq!(reader.unsigned(), Ok(unsigned));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert!(reader.0.is_empty());
        }
    }

    #[test]
    fn a_plain_change_is_small() {
        let received = Timestamp::from_nanosecond(1_760_000_000_123_456_789).unwrap();
        let value = TagValue {
            value: Some(Value::Real(21.5)),
            quality: Quality::Good,
            reason: Reason::Ok,
            time: received,
            received,
        };
        let mut writer = BlockWriter::default();
        for number in 0..1000 {
            writer.push(number % 100, &value);
        }
        assert!(writer.len() < 11_100, "{}", writer.len());
    }
}
