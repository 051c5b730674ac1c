//! Keys of the one tree.
//!
//! | prefix | key | body |
//! |---|---|---|
//! | 1 | `schema` | version, number before the first change |
//! | 1 | `checkpoint` | number of the last change that the values include |
//! | 2 | tag number | names of this tag and of those that follow |
//! | 3 | tag number / 64 | last values of 64 tags at the checkpoint |
//! | 4 | tag number | last value at the checkpoint, if it is a large one |
//! | 5 | number of the first change | block of changes |
//! | 6 | line, key | session record |
//!
//! Numbers are big-endian, so that sled's order is theirs. A tag's value may be in its page and a
//! large one, too: the one with the higher number of its change counts.

use super::engine::Trouble;

/// Version of everything below.
pub(super) const SCHEMA: u32 = 1;

pub(super) const META: u8 = 1;
pub(super) const NAME: u8 = 2;
pub(super) const PAGE: u8 = 3;
pub(super) const LARGE: u8 = 4;
pub(super) const BLOCK: u8 = 5;
pub(super) const SESSION: u8 = 6;

pub(super) const SCHEMA_KEY: &[u8] = b"\x01schema";
pub(super) const CHECKPOINT_KEY: &[u8] = b"\x01checkpoint";

/// Body of the schema record.
pub(super) fn schema_body(base_seq: u64) -> Vec<u8> {
    [SCHEMA.to_be_bytes().as_slice(), &base_seq.to_be_bytes()].concat()
}

/// Number before the first change, if this is our schema.
pub(super) fn read_schema(body: &[u8]) -> Result<u64, Trouble> {
    let (version, rest) =
        body.split_first_chunk().ok_or_else(|| Trouble::damaged("schema record"))?;
    match u32::from_be_bytes(*version) {
        SCHEMA => read_u64(rest),
        newer if newer > SCHEMA => Err(Trouble::Newer(newer)),
        other => Err(Trouble::Damaged(format!("schema {other} is unknown"))),
    }
}

/// A body that is one number.
pub(super) fn read_u64(body: &[u8]) -> Result<u64, Trouble> {
    let bytes = body.try_into().map_err(|_| Trouble::damaged("length of a number"))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(super) fn name_key(number: u32) -> [u8; 5] {
    numbered(NAME, number)
}

/// Key of the page that a tag's value is in.
pub(super) fn page_key(number: u32) -> [u8; 5] {
    numbered(PAGE, number / PAGE_TAGS)
}

/// Place of a tag's value in its page.
pub(super) fn place(number: u32) -> u8 {
    (number % PAGE_TAGS) as u8
}

/// Number of the first tag of a page, by the page's key.
pub(super) fn read_page_key(key: &[u8]) -> Result<u32, Trouble> {
    read_number(key)?.checked_mul(PAGE_TAGS).ok_or_else(|| Trouble::damaged("key of a page"))
}

pub(super) fn large_key(number: u32) -> [u8; 5] {
    numbered(LARGE, number)
}

fn numbered(prefix: u8, number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [prefix, a, b, c, d]
}

/// Tag number of a key.
pub(super) fn read_number(key: &[u8]) -> Result<u32, Trouble> {
    let bytes = key.get(1..).and_then(|bytes| bytes.try_into().ok());
    Ok(u32::from_be_bytes(bytes.ok_or_else(|| Trouble::damaged("key of a tag"))?))
}

pub(super) fn block_key(first_seq: u64) -> [u8; 9] {
    let mut key = [BLOCK; 9];
    if let Some(bytes) = key.last_chunk_mut() {
        *bytes = first_seq.to_be_bytes();
    }
    key
}

/// Number of the first change of a block, by its key, with or without part number.
pub(super) fn read_block_key(key: &[u8]) -> Result<u64, Trouble> {
    let bytes = key.get(1..9).and_then(|bytes| bytes.try_into().ok());
    Ok(u64::from_be_bytes(bytes.ok_or_else(|| Trouble::damaged("key of a block"))?))
}

/// Prefix of everything of a line's session.
pub(super) fn session_prefix(line: &str) -> Vec<u8> {
    let mut key = vec![SESSION];
    put_escaped(&mut key, line.as_bytes());
    key
}

pub(super) fn session_key(line: &str, key: &[u8]) -> Vec<u8> {
    let mut whole = session_prefix(line);
    put_escaped(&mut whole, key);
    whole
}

/// Line and key of a session record.
pub(super) fn read_session_key(key: &[u8]) -> Result<(String, Vec<u8>), Trouble> {
    let damaged = || Trouble::damaged("key of a session record");
    let (line, rest) = read_escaped(key.get(1..).unwrap_or_default()).ok_or_else(damaged)?;
    let (key, rest) = read_escaped(rest).ok_or_else(damaged)?;
    let line = String::from_utf8(line).map_err(|_| damaged())?;
    if rest.is_empty() { Ok((line, key)) } else { Err(damaged()) }
}

/// Bytes that end in `00 00` and sort as before: a zero within becomes `00 FF`.
fn put_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn read_escaped(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    let mut rest = bytes;
    loop {
        rest = match rest {
            [0, 0, rest @ ..] => return Some((out, rest)),
            [0, 0xff, rest @ ..] => {
                out.push(0);
                rest
            }
            [0, ..] | [] => return None,
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

/// Tags whose values share a page: sled's price is by the entry.
const PAGE_TAGS: u32 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn session_keys_come_back_and_keep_their_order(
            a in ("[a-c\\x00]{0,3}", prop::collection::vec(0_u8..3, 0..5)),
            b in ("[a-c\\x00]{0,3}", prop::collection::vec(0_u8..3, 0..5)),
        ) {
            let (key_a, key_b) = (session_key(&a.0, &a.1), session_key(&b.0, &b.1));
            prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
            prop_assert_eq!(key_b.starts_with(&session_prefix(&a.0)), a.0 == b.0);
            prop_assert_eq!(read_session_key(&key_a).unwrap(), a);
        }

        #[test]
        fn any_key_is_read_without_panic(key in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = (read_session_key(&key), read_number(&key), read_block_key(&key));
            let _ = (read_schema(&key), read_u64(&key));
        }
    }

    #[test]
    fn block_keys_keep_their_order() {
        let seqs = [0, 1, 255, 256, u64::from(u32::MAX), u64::MAX];
        for pair in seqs.windows(2) {
            assert!(block_key(pair[0]) < block_key(pair[1]));
        }
        assert_eq!(read_block_key(&block_key(77)).unwrap(), 77);
    }
}
