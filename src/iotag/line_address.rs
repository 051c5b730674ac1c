//! Addresses in Influx line protocol: `weather,location=us-midwest temperature`. Contract,
//! sections 3 and 7.
//!
//! ```text
//! address = name *( "," name "=" name ) [ " " name ]     the last name is the field: `value`
//! name    = quoted | plain                  plain: anything but , = blank and a leading quote
//! ```
//!
//! Names with commas, `=` or blanks are quoted, or have a backslash before each, as in the protocol.

use std::sync::Arc;

use super::SyntaxError;

/// A field of the series that have certain tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LineAddress {
    /// Name of the measurement.
    pub measurement: Arc<str>,
    /// Tags that a series must have, by key; it may have others.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
    /// Key of the field.
    pub field: Arc<str>,
}

impl LineAddress {
    /// Reads the part after `LP=`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor { text, at: 0 };
        let measurement = cursor.name("the name of a measurement")?;
        let mut tags: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        while cursor.take(',') {
            let at = cursor.at;
            let key = cursor.name("the key of a tag")?;
            if !cursor.take('=') {
                return Err(SyntaxError::new(cursor.at, "expected `=` after the key of a tag"));
            }
            let value = cursor.name("the value of a tag")?;
            if tags.iter().any(|(known, _)| **known == *key) {
                return Err(SyntaxError::new(at, format!("the tag `{key}` stands twice")));
            }
            tags.push((key.into(), value.into()));
        }
        tags.sort_unstable();
        let field =
            if cursor.take(' ') { cursor.name("the key of a field")? } else { "value".to_owned() };
        if cursor.at < text.len() {
            let error = SyntaxError::new(cursor.at, "expected the end of the address");
            return Err(error.help("quote names with blanks, commas or `=`"));
        }
        Ok(Self { measurement: measurement.into(), tags, field: field.into() })
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, wanted: char) -> bool {
        let found = self.text[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn name(&mut self, what: &str) -> Result<String, SyntaxError> {
        let rest = &self.text[self.at..];
        if rest.starts_with('"') {
            let (name, length) =
                quoted(rest).map_err(|error| SyntaxError { at: self.at + error.at, ..error })?;
            if name.is_empty() {
                return Err(SyntaxError::new(self.at, format!("expected {what}")));
            }
            self.at += length;
            return Ok(name);
        }
        let mut name = String::new();
        let mut characters = rest.char_indices().peekable();
        let mut length = rest.len();
        while let Some((at, character)) = characters.next() {
            match character {
                ',' | '=' | ' ' => {
                    length = at;
                    break;
                }
                '\\' => match characters.next_if(|(_, next)| matches!(next, ',' | '=' | ' ')) {
                    Some((_, escaped)) => name.push(escaped),
                    None => name.push(character),
                },
                _ => name.push(character),
            }
        }
        if name.is_empty() {
            return Err(SyntaxError::new(self.at, format!("expected {what}")));
        }
        self.at += length;
        Ok(name)
    }
}

/// A quoted name at the start of a text, and the length of what was read.
pub(super) fn quoted(text: &str) -> Result<(String, usize), SyntaxError> {
    let mut name = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((name, at + 1)),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => name.push(escaped),
                _ => {
                    return Err(SyntaxError::new(at, "unknown escape")
                        .help("inside quotes write `\\\"` and `\\\\`"));
                }
            },
            _ => name.push(character),
        }
    }
    Err(SyntaxError::new(0, "the quote is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(measurement: &str, tags: &[(&str, &str)], field: &str) -> LineAddress {
        let tags = tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        LineAddress { measurement: measurement.into(), tags, field: field.into() }
    }

    #[test]
    fn addresses_are_read() {
        for (text, expected) in [
            ("RoomTemperature", address("RoomTemperature", &[], "value")),
            ("w,b=2,a=1 t", address("w", &[("a", "1"), ("b", "2")], "t")),
            (r#""a b,\"c\"" "f f""#, address("a b,\"c\"", &[], "f f")),
            (r#"m,"k k"="v=v""#, address("m", &[("k k", "v=v")], "value")),
            (r"a\b", address(r"a\b", &[], "value")),
            (r"a\ b\,c,k\=k=v f\ f", address("a b,c", &[("k=k", "v")], "f f")),
        ] {
            assert_eq!(LineAddress::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (text, at) in [
            ("", 0),
            (",a=1", 0),
            ("m,", 2),
            ("m,a", 3),
            ("m,a=", 4),
            ("m,a=1,a=2", 6),
            ("m f g", 3),
            ("m ", 2),
            ("m=1", 1),
            ("\"m", 0),
            ("m \"\\n\"", 3),
        ] {
            let error = LineAddress::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
    }
}
