//! Records: what the store keeps under one key prefix, checked and cut to a size that sled likes.
//!
//! A record is a body and its CRC-32, cut into parts of [`PART_BYTES_MAX`]; a part's key is the
//! record's key and the part's number, two bytes. sled keeps a leaf of up to twenty-odd entries as
//! one message of its log, and moves a message larger than a quarter of a segment into a file of its
//! own below `blobs/`, which it never syncs. Parts are so small that no leaf gets there.

use std::ops::Range;

use sled::IVec;

use super::engine::Trouble;

/// Most bytes of one sled entry's value.
pub(super) const PART_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of a record's key: an index page of sled holds up to 256 keys.
pub(super) const KEY_BYTES_MAX: usize = 1024;

const CRC_BYTES: usize = 4;

/// What sled is to apply at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: sled::Batch,
    len: usize,
}

impl Batch {
    fn insert(&mut self, key: Vec<u8>, value: &[u8]) {
        self.entries.insert(key, value);
        self.len += 1;
    }

    /// Removes an entry of the tree.
    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.entries.remove(key);
        self.len += 1;
    }

    /// How many entries it touches.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// For sled.
    pub(super) fn into_inner(self) -> sled::Batch {
        self.entries
    }
}

/// One whole record.
#[derive(Debug)]
pub(super) struct Record {
    /// Its key, without the part number.
    pub(super) key: Vec<u8>,
    /// What was put, its checksum verified and cut off.
    pub(super) body: Vec<u8>,
    /// How many parts it is cut into.
    pub(super) parts: u16,
}

/// Stages a record; the answer is the number of parts. Parts that an older, longer record of this
/// key had are the caller's to [`remove`].
pub(super) fn put(batch: &mut Batch, key: &[u8], mut body: Vec<u8>) -> Result<u16, Trouble> {
    let crc = checksum(key, &body);
    body.extend_from_slice(&crc.to_be_bytes());
    let count = u16::try_from(body.len().div_ceil(PART_BYTES_MAX))
        .map_err(|_| Trouble::Refused(format!("a record of {} bytes is too large", body.len())))?;
    for (part, bytes) in (0..count).zip(body.chunks(PART_BYTES_MAX)) {
        batch.insert(part_key(key, part), bytes);
    }
    Ok(count)
}

/// Stages the removal of some parts of a record.
pub(super) fn remove(batch: &mut Batch, key: &[u8], parts: Range<u16>) {
    for part in parts {
        batch.remove(part_key(key, part));
    }
}

/// The key of a part.
pub(super) fn part_key(key: &[u8], part: u16) -> Vec<u8> {
    let mut whole = Vec::with_capacity(key.len() + 2);
    whole.extend_from_slice(key);
    whole.extend_from_slice(&part.to_be_bytes());
    whole
}

/// Puts records together again from sled's entries in key order.
pub(super) struct Records<I: Iterator> {
    entries: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = sled::Result<(IVec, IVec)>>> Records<I> {
    pub(super) fn new(entries: impl IntoIterator<IntoIter = I>) -> Self {
        Self { entries: entries.into_iter().peekable() }
    }
}

impl<I: Iterator<Item = sled::Result<(IVec, IVec)>>> Iterator for Records<I> {
    type Item = Result<Record, Trouble>;

    fn next(&mut self) -> Option<Self::Item> {
        let (whole, first) = match self.entries.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error.into())),
        };
        let Some((key, [0, 0])) = whole.split_last_chunk::<2>() else {
            return Some(Err(Trouble::damaged("a record without its first part")));
        };
        let mut body = first.to_vec();
        let mut parts = 1_u16;
        while let Some(Ok((next, bytes))) = self.entries.peek() {
            if next.strip_prefix(key) != Some(&parts.to_be_bytes()[..]) {
                break;
            }
            body.extend_from_slice(bytes);
            parts = parts.saturating_add(1);
            self.entries.next();
        }
        let Some(len) = body.len().checked_sub(CRC_BYTES) else {
            return Some(Err(Trouble::damaged("a record without checksum")));
        };
        let crc = body.split_off(len);
        if crc != checksum(key, &body).to_be_bytes() {
            return Some(Err(Trouble::damaged("the checksum of a record is wrong")));
        }
        Some(Ok(Record { key: key.to_vec(), body, parts }))
    }
}

/// The key counts too: a record under another key is as wrong as a flipped bit.
fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn stored(bodies: &[(&[u8], usize)]) -> BTreeMap<IVec, IVec> {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::open(folder.path()).unwrap();
        let mut batch = Batch::default();
        for (key, len) in bodies {
            put(&mut batch, key, vec![7; *len]).unwrap();
        }
        db.apply_batch(batch.into_inner()).unwrap();
        db.iter().map(Result::unwrap).collect()
    }

    fn read(entries: &BTreeMap<IVec, IVec>) -> Result<Vec<Record>, Trouble> {
        let entries = entries.iter().map(|(key, value)| Ok((key.clone(), value.clone())));
        Records::new(entries).collect()
    }

    #[test]
    fn records_come_back_whole_and_in_order() {
        let lens = [0, 1, PART_BYTES_MAX - 5, PART_BYTES_MAX - 4, PART_BYTES_MAX, 100_000];
        let keys: Vec<Vec<u8>> = (0..lens.len() as u8).map(|at| vec![1, at]).collect();
        let bodies: Vec<(&[u8], usize)> =
            keys.iter().zip(lens).map(|(key, len)| (key.as_slice(), len)).collect();
        let records = read(&stored(&bodies)).unwrap();
        assert_eq!(records.len(), lens.len());
        for (record, (key, len)) in records.iter().zip(&bodies) {
            assert_eq!((record.key.as_slice(), record.body.len()), (*key, *len));
        }
    }

    #[test]
    fn a_missing_part_is_damage() {
        let entries = stored(&[(b"a", 60_000), (b"b", 10)]);
        for gone in entries.keys().filter(|key| key.starts_with(b"a")) {
            let mut entries = entries.clone();
            entries.remove(gone);
            assert!(matches!(read(&entries), Err(Trouble::Damaged(_))), "{gone:?}");
        }
    }

    #[test]
    fn a_flipped_bit_and_a_wrong_key_are_damage() {
        let entries = stored(&[(b"a", 100)]);
        let (key, value) = entries.first_key_value().unwrap();
        let mut flipped = value.to_vec();
        flipped[50] ^= 4;
        let flipped = BTreeMap::from([(key.clone(), IVec::from(flipped))]);
        assert!(matches!(read(&flipped), Err(Trouble::Damaged(_))));
        let moved = BTreeMap::from([(IVec::from(b"b\0\0"), value.clone())]);
        assert!(matches!(read(&moved), Err(Trouble::Damaged(_))));
    }
}
