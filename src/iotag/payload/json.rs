//! JSON payloads (RFC 8259), walked once whatever the number of addresses.
//!
//! The addresses of a station are one tree ([`JsonPlan`], made in [`tree`]); [`walk`] leads a
//! streaming parser along it and notes the raw text of what stands at its leaves. Everything else
//! is skipped, and nothing becomes a document in memory.

mod tree;
mod walk;

use std::borrow::Cow;

use super::Datum;

pub(in crate::iotag) use tree::JsonPlan;
pub(in crate::iotag) use walk::{Sample, Walk};

/// The JSON text of a payload: UTF-8, without a leading byte order mark.
pub(in crate::iotag) fn text(payload: &[u8]) -> Result<&str, String> {
    match std::str::from_utf8(payload) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let (line, column) = place(payload, error.valid_up_to());
            Err(format!("not UTF-8 at line {line} column {column}"))
        }
    }
}

/// What a raw JSON value is; an error when it is a text whose escapes are no characters.
pub(in crate::iotag) fn datum(raw: &str) -> Result<Datum<'_>, serde_json::Error> {
    Ok(match raw.as_bytes().first() {
        Some(b'"') => Datum::Text(unescaped(raw)?),
        Some(b'{' | b'[') => Datum::Compound(raw),
        Some(b't') => Datum::Boolean(true),
        Some(b'f') => Datum::Boolean(false),
        Some(b'n') | None => Datum::Null,
        Some(_) => Datum::Number(Cow::Borrowed(raw)),
    })
}

fn unescaped(raw: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        // The parser has seen the closing quote.
        return Ok(Cow::Borrowed(raw.get(1..raw.len() - 1).unwrap_or_default()));
    }
    serde_json::from_str::<String>(raw).map(Cow::Owned)
}

/// A JSON value without blanks between its tokens; texts and numbers stay as they are written.
pub(in crate::iotag) fn compact(raw: &str) -> String {
    let mut compact = String::with_capacity(raw.len());
    let mut start = 0;
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in raw.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' | b'\n' | b'\r' if !quoted => {
                compact.push_str(&raw[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    compact.push_str(&raw[start..]);
    compact
}

/// Line and column, both from 1, the column in bytes, of an offset.
fn place(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    (memchr::memchr_iter(b'\n', before).count() + 1, before.len() - line_start + 1)
}

#[cfg(test)]
mod tests;
