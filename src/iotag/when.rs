//! Conditions: `type=NEWSPT & datapoint="a b"`, which messages touch a tag. Contract, sections 1
//! and 7.
//!
//! ```text
//! when      = condition *( "&" condition )
//! condition = JSON address "=" ( quoted | literal )
//! ```
//!
//! An unquoted literal is equal to the text, the number, the boolean or the null that is written
//! so; a quoted one to texts only.

use super::SyntaxError;
use super::json_address::{JsonAddress, Literal};
use super::line_address::quoted;

/// Conditions that must all hold; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct When {
    conditions: Vec<Condition>,
}

/// A place in the message, and what must stand there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Where; of several values one must be equal.
    pub address: JsonAddress,
    /// What.
    pub literal: Literal,
}

impl When {
    /// Reads conditions.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut conditions = Vec::new();
        let mut at = 0;
        loop {
            at += blanks(&text[at..]);
            let equals =
                at + address_length(&text[at..]).map_err(|offset| no_equals(at + offset))?;
            let address = text[at..equals].trim_end();
            let address = JsonAddress::parse(address)
                .map_err(|error| SyntaxError { at: at + error.at, ..error })?;
            at = equals + 1 + blanks(&text[equals + 1..]);
            let (literal, length) =
                literal(&text[at..]).map_err(|error| SyntaxError { at: at + error.at, ..error })?;
            conditions.push(Condition { address, literal });
            at += length;
            at += blanks(&text[at..]);
            match text[at..].chars().next() {
                None => return Ok(Self { conditions }),
                Some('&') => at += 1,
                Some(_) => return Err(SyntaxError::new(at, "expected `&` or the end")),
            }
        }
    }

    /// The conditions.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

fn no_equals(at: usize) -> SyntaxError {
    SyntaxError::new(at, "expected `=` and a literal")
        .help("a condition is written as in `type=NEWSPT & datapoint=\"a b\"`")
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// Length of the address: up to the `=` that is in neither quotes nor brackets; the error is where
/// it should have been.
fn address_length(text: &str) -> Result<usize, usize> {
    let (mut quoted, mut escaped, mut brackets) = (false, false, 0_usize);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' => brackets += 1,
            ']' => brackets = brackets.saturating_sub(1),
            '=' if brackets == 0 => return Ok(at),
            '&' if brackets == 0 => return Err(at),
            _ => {}
        }
    }
    Err(text.len())
}

fn literal(text: &str) -> Result<(Literal, usize), SyntaxError> {
    if text.starts_with('"') {
        let (literal, length) = quoted(text)?;
        return Ok((Literal { text: literal.into(), quoted: true }, length));
    }
    let length = text.find('&').unwrap_or(text.len());
    let literal = text[..length].trim_end();
    if literal.is_empty() {
        return Err(SyntaxError::new(0, "expected a literal after `=`")
            .help("the empty text is written `\"\"`"));
    }
    if let Some(at) = literal.find('"') {
        return Err(
            SyntaxError::new(at, "a quote inside a literal").help("quote the whole literal")
        );
    }
    Ok((Literal { text: literal.into(), quoted: false }, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(address: &str, text: &str, quoted: bool) -> Condition {
        let literal = Literal { text: text.into(), quoted };
        Condition { address: JsonAddress::parse(address).unwrap(), literal }
    }

    #[test]
    fn conditions_are_read() {
        for (text, expected) in [
            (
                "type=NEWSPT & datapoint=abc",
                vec![condition("type", "NEWSPT", false), condition("datapoint", "abc", false)],
            ),
            ("a=1&b=2", vec![condition("a", "1", false), condition("b", "2", false)]),
            (" a.b = x y ", vec![condition("a.b", "x y", false)]),
            (
                r#"a="x & \"y\"" & b=1"#,
                vec![condition("a", "x & \"y\"", true), condition("b", "1", false)],
            ),
            (r#""a=b&c"=1"#, vec![condition(r#""a=b&c""#, "1", false)]),
            ("v[id=5].q=true", vec![condition("v[id=5].q", "true", false)]),
            ("a=b=c", vec![condition("a", "b=c", false)]),
        ] {
            assert_eq!(When::parse(text).unwrap().conditions(), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (text, at) in [
            ("", 0),
            ("a", 1),
            ("a & b=1", 2),
            ("a=", 2),
            ("a=1 &", 5),
            ("a= & b=1", 3),
            ("a=\"1", 2),
            ("a=\"1\" b", 6),
            ("a=x\"y\"", 3),
            ("a[0]=1", 2),
            ("b=1 & a[0]=1", 8),
        ] {
            let error = When::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[a.\[\]=&"\\ €1]{0,14}"#) {
            if let Err(error) = When::parse(&text) {
                proptest::prop_assert!(error.at <= text.len());
                proptest::prop_assert!(text.is_char_boundary(error.at));
            }
        }
    }
}
