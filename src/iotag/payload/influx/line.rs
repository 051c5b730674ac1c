//! One line of the line protocol.
//!
//! ```text
//! line = measurement *( "," key "=" value ) 1*" " field *( "," field ) [ 1*" " timestamp ]
//! ```
//!
//! A measurement may be quoted as a whole, which is not of the protocol but of aedifion's brokers:
//! `"room\ \"1\""` is the name `room "1"`.

use std::borrow::Cow;

use crate::iotag::decimal::Decimal;
use crate::iotag::payload::Datum;

/// A line, unescaped.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) measurement: Cow<'a, str>,
    pub(super) tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) fields: Vec<(Cow<'a, str>, Datum<'a>)>,
    /// Nanoseconds since 1970.
    pub(super) timestamp: Option<i64>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at column {column}")]
pub(super) struct LineError {
    what: &'static str,
    /// In bytes, from 1.
    column: usize,
}

/// The lines of a payload with their numbers, from 1. A line end inside the quotes of a field
/// belongs to the field.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn of(payload: &'a [u8]) -> Self {
        Self { rest: payload, number: 1 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let number = self.number;
        let end = line_end(self.rest);
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        self.number += 1 + memchr::memchr_iter(b'\n', line).count();
        Some((number, line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

fn line_end(text: &[u8]) -> usize {
    let first = memchr::memchr(b'\n', text).unwrap_or(text.len());
    // Only a quote can hold a line end.
    if memchr::memchr(b'"', &text[..first]).is_none() {
        return first;
    }
    let mut at = key_length(&text[..first]);
    let mut quoted = false;
    while at < text.len() {
        match text[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'\n' if !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    // A quote that is never closed spoils its line, not all that follow.
    if quoted { first } else { text.len() }
}

/// Length of measurement and tags: up to the first blank that is not escaped.
fn key_length(line: &[u8]) -> usize {
    let mut at = if line.first() == Some(&b'"') { quoted_length(line).unwrap_or(0) } else { 0 };
    while at < line.len() {
        match line[at] {
            b'\\' => at += 1,
            b' ' => return at,
            _ => {}
        }
        at += 1;
    }
    line.len()
}

/// Length of a quoted measurement; `None` when no quote closes it before `,` or a blank.
fn quoted_length(line: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < line.len() {
        match line[at] {
            b'\\' => at += 1,
            b'"' if matches!(line.get(at + 1), Some(b',' | b' ')) => return Some(at + 1),
            b'"' => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

impl<'a> Line<'a> {
    /// Reads a line; `None` when it is empty or a comment.
    pub(super) fn parse(line: &'a [u8]) -> Result<Option<Self>, LineError> {
        let text = std::str::from_utf8(line)
            .map_err(|error| LineError { what: "not UTF-8", column: error.valid_up_to() + 1 })?;
        let mut cursor = Cursor { text, at: 0 };
        cursor.skip_blanks();
        if cursor.rest().is_empty() || cursor.rest().starts_with('#') {
            return Ok(None);
        }
        let measurement = cursor.measurement()?;
        let mut tags = Vec::new();
        while cursor.take(b',') {
            let key = cursor.name("expected the key of a tag")?;
            cursor.expect(b'=', "expected `=` after the key of a tag")?;
            tags.push((key, cursor.name("expected the value of a tag")?));
        }
        if cursor.skip_blanks() == 0 {
            return Err(cursor.error("expected a blank and a field"));
        }
        let mut fields = Vec::new();
        loop {
            let key = cursor.name("expected the key of a field")?;
            cursor.expect(b'=', "expected `=` after the key of a field")?;
            fields.push((key, cursor.value()?));
            if !cursor.take(b',') {
                break;
            }
        }
        let timestamp = cursor.timestamp()?;
        Ok(Some(Self { measurement, tags, fields, timestamp }))
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, what: &'static str) -> LineError {
        LineError { what, column: self.at + 1 }
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.text.as_bytes().get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), LineError> {
        if self.take(wanted) { Ok(()) } else { Err(self.error(what)) }
    }

    fn skip_blanks(&mut self) -> usize {
        let blanks = self.rest().bytes().take_while(|byte| *byte == b' ').count();
        self.at += blanks;
        blanks
    }

    fn measurement(&mut self) -> Result<Cow<'a, str>, LineError> {
        let rest = self.rest();
        if rest.starts_with('"')
            && let Some(length) = quoted_length(rest.as_bytes())
        {
            self.at += length;
            return Ok(unescaped(&rest[1..length - 1], b"\", =\\"));
        }
        let name = self.until(b", ");
        if name.is_empty() {
            return Err(self.error("expected the name of a measurement"));
        }
        Ok(unescaped(name, b", "))
    }

    fn name(&mut self, what: &'static str) -> Result<Cow<'a, str>, LineError> {
        let name = self.until(b",= ");
        if name.is_empty() { Err(self.error(what)) } else { Ok(unescaped(name, b",= ")) }
    }

    /// Up to one of these characters that is not escaped.
    fn until(&mut self, ends: &[u8]) -> &'a str {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let mut at = 0;
        while at < bytes.len() && !ends.contains(&bytes[at]) {
            at += if bytes[at] == b'\\' && at + 1 < bytes.len() && bytes[at + 1].is_ascii() {
                2
            } else {
                1
            };
        }
        self.at += at;
        &rest[..at]
    }

    fn value(&mut self) -> Result<Datum<'a>, LineError> {
        if self.take(b'"') {
            return self.quoted();
        }
        let rest = self.rest();
        let length = rest.find([',', ' ']).unwrap_or(rest.len());
        let text = &rest[..length];
        let datum = match text {
            "t" | "T" | "true" | "True" | "TRUE" => Datum::Boolean(true),
            "f" | "F" | "false" | "False" | "FALSE" => Datum::Boolean(false),
            _ => Datum::Number(Cow::Borrowed(
                number(text).ok_or_else(|| self.error("this is no value of a field"))?,
            )),
        };
        self.at += length;
        Ok(datum)
    }

    /// After the opening quote.
    fn quoted(&mut self) -> Result<Datum<'a>, LineError> {
        let rest = self.rest();
        let mut escaped = false;
        for (at, byte) in rest.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at += at + 1;
                    return Ok(Datum::Text(unescaped(&rest[..at], b"\"\\")));
                }
                _ => {}
            }
        }
        Err(self.error("the quote of a text is not closed"))
    }

    fn timestamp(&mut self) -> Result<Option<i64>, LineError> {
        if self.skip_blanks() == 0 && !self.rest().is_empty() {
            return Err(self.error("expected a comma, a blank or the end of the line"));
        }
        match self.rest().trim_end_matches(' ') {
            "" => Ok(None),
            digits => match digits.parse() {
                Ok(timestamp) => Ok(Some(timestamp)),
                Err(_) => Err(self.error("this is no timestamp in nanoseconds")),
            },
        }
    }
}

/// The digits of a float, or of an integer without its `i` or `u`.
fn number(text: &str) -> Option<&str> {
    if let Some(digits) = text.strip_suffix(['i', 'u']) {
        let unsigned = digits.strip_prefix('-').unwrap_or(digits);
        let integer = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
        return integer.then_some(digits);
    }
    Decimal::parse(text).map(|_| text)
}

/// Takes the backslash from before these characters; before others it stands for itself.
fn unescaped<'a>(text: &'a str, escapable: &[u8]) -> Cow<'a, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut unescaped = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = characters.next_if(|next| {
            character == '\\' && next.is_ascii() && escapable.contains(&(*next as u8))
        });
        unescaped.push(escaped.unwrap_or(character));
    }
    Cow::Owned(unescaped)
}
