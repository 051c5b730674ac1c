//! JSON addresses: `rx.gwrx[1].time`. Contract, sections 3 and 7.
//!
//! ```text
//! address  = ( name | bracket ) *( "." name | bracket )
//! name     = 1*plain | quoted                     plain: anything but . [ ] "
//! quoted   = DQUOTE *( character | \" | \\ ) DQUOTE
//! bracket  = "[" "]"                              every element
//!          | "[" number "]"                       one element, from 1
//!          | "[" name "=" ( quoted | literal ) "]" elements whose field is equal
//! ```

use std::sync::Arc;

use super::SyntaxError;

/// Deepest address; the JSON reader refuses deeper documents too.
pub const STEPS_MAX: usize = 100;

/// A place in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonAddress {
    steps: Vec<Step>,
}

/// One step of a [`JsonAddress`], from a value to values inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The field of an object.
    Field(Arc<str>),
    /// The element of an array, counted from 0 here and from 1 in the text.
    Element(usize),
    /// Every element of an array, in order; of an object: the object itself.
    Every,
    /// The elements that have a field equal to a literal.
    Keyed {
        /// The field's name.
        field: Arc<str>,
        /// What it must be equal to.
        literal: Literal,
    },
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Literal {
    /// The text, unescaped.
    pub text: Arc<str>,
    /// Quoted: equals texts only; otherwise numbers, booleans and null that are written so, too.
    pub quoted: bool,
}

impl Step {
    /// Whether the step leads to any number of values.
    pub fn is_fan_out(&self) -> bool {
        matches!(self, Self::Every | Self::Keyed { .. })
    }
}

impl JsonAddress {
    /// Reads the part after `JA=`, or a `time_field_name`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut cursor = Cursor { text, at: 0 };
        let mut steps = Vec::new();
        if text.is_empty() {
            return Err(SyntaxError::new(0, "the JSON address is empty")
                .help("write the name of a field, as in `rx.gwrx[1].time`"));
        }
        while cursor.peek().is_some() {
            if steps.len() == STEPS_MAX {
                let message = format!("a JSON address has at most {STEPS_MAX} steps");
                return Err(SyntaxError::new(cursor.at, message));
            }
            steps.push(cursor.step(steps.is_empty())?);
        }
        Ok(Self { steps })
    }

    /// The address of these steps, if there may be so many.
    pub(super) fn of(steps: Vec<Step>) -> Option<Self> {
        (1..=STEPS_MAX).contains(&steps.len()).then_some(Self { steps })
    }

    /// The steps, from the root of the document.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn step(&mut self, first: bool) -> Result<Step, SyntaxError> {
        if self.take('[') {
            return self.bracket();
        }
        if !first && !self.take('.') {
            return Err(SyntaxError::new(self.at, "expected `.`, `[` or the end of the address"));
        }
        Ok(Step::Field(self.name(&['.', '[', ']', '"'])?.into()))
    }

    /// After `[`.
    fn bracket(&mut self) -> Result<Step, SyntaxError> {
        let start = self.at;
        if self.take(']') {
            return Ok(Step::Every);
        }
        let inside = &self.text[start..];
        let digits = inside.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && inside[digits..].starts_with(']') {
            self.at += digits + 1;
            return element(start, &inside[..digits]);
        }
        if inside.starts_with('-') {
            return Err(index_from_one(start));
        }
        let field = self.name(&['=', '[', ']', '"', '.'])?;
        if !self.take('=') {
            return Err(SyntaxError::new(self.at, "expected `=` after the name in brackets").help(
                "inside brackets stands an index from 1, nothing, or `name=literal` as in \
                 `values[id=\"Ch1.Dev1\"]`",
            ));
        }
        let quoted = self.peek() == Some('"');
        let literal = if quoted { self.quoted()? } else { self.until(&[']', '[', '"']) };
        if !quoted && literal.is_empty() {
            return Err(SyntaxError::new(self.at, "expected a literal after `=`"));
        }
        if !self.take(']') {
            return Err(SyntaxError::new(self.at, "expected `]`"));
        }
        let literal = Literal { text: literal.into(), quoted };
        Ok(Step::Keyed { field: field.into(), literal })
    }

    fn name(&mut self, ends: &[char]) -> Result<String, SyntaxError> {
        if self.peek() == Some('"') {
            return self.quoted();
        }
        let start = self.at;
        let name = self.until(ends);
        match self.peek() {
            Some('"') => Err(SyntaxError::new(self.at, "a quote inside a name")
                .help("quote the whole name and write `\\\"` for a quote")),
            Some(']') if !ends.contains(&'=') => {
                Err(SyntaxError::new(self.at, "`]` without `[`").help("quote the name"))
            }
            Some('.') if ends.contains(&'=') => {
                Err(SyntaxError::new(self.at, "a dot in a name in brackets")
                    .help("quote the name: the field belongs to the element itself"))
            }
            _ if name.is_empty() => Err(SyntaxError::new(start, "expected the name of a field")),
            _ => Ok(name),
        }
    }

    fn until(&mut self, ends: &[char]) -> String {
        let rest = &self.text[self.at..];
        let length = rest.find(ends).unwrap_or(rest.len());
        self.at += length;
        rest[..length].to_owned()
    }

    /// At a quote.
    fn quoted(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        let mut name = String::new();
        let mut characters = self.text[start..].char_indices().skip(1);
        while let Some((offset, character)) = characters.next() {
            match character {
                '"' => {
                    self.at = start + offset + 1;
                    return Ok(name);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => name.push(escaped),
                    _ => {
                        return Err(SyntaxError::new(start + offset, "unknown escape")
                            .help("inside quotes write `\\\"` and `\\\\`"));
                    }
                },
                _ => name.push(character),
            }
        }
        Err(SyntaxError::new(start, "the quote is not closed"))
    }
}

fn element(at: usize, digits: &str) -> Result<Step, SyntaxError> {
    match digits.parse::<u32>() {
        Ok(0) => Err(index_from_one(at)),
        Ok(index) => Ok(Step::Element(index as usize - 1)),
        Err(_) => Err(SyntaxError::new(at, "the index is too large")),
    }
}

fn index_from_one(at: usize) -> SyntaxError {
    SyntaxError::new(at, "indexes count from 1").help("the first element is `[1]`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> Step {
        Step::Field(name.into())
    }

    fn keyed(name: &str, text: &str, quoted: bool) -> Step {
        Step::Keyed { field: name.into(), literal: Literal { text: text.into(), quoted } }
    }

    #[test]
    fn addresses_of_the_contract_are_read() {
        for (text, steps) in [
            ("v", vec![field("v")]),
            ("rx.gwrx[1].time", vec![field("rx"), field("gwrx"), Step::Element(0), field("time")]),
            ("[1].v", vec![Step::Element(0), field("v")]),
            ("[2][10]", vec![Step::Element(1), Step::Element(9)]),
            ("m[2][1]", vec![field("m"), Step::Element(1), Step::Element(0)]),
            (r#"value."dotted.key""#, vec![field("value"), field("dotted.key")]),
            ("value.my/topic/x", vec![field("value"), field("my/topic/x")]),
            (
                r#"values[id="Ch1.Dev1"].v"#,
                vec![field("values"), keyed("id", "Ch1.Dev1", true), field("v")],
            ),
            ("values[id=5]", vec![field("values"), keyed("id", "5", false)]),
            ("[id=a.b]", vec![keyed("id", "a.b", false)]),
            (r#"a["k.e"="]\"\\"]"#, vec![field("a"), keyed("k.e", "]\"\\", true)]),
            ("values[].t", vec![field("values"), Step::Every, field("t")]),
            ("[]", vec![Step::Every]),
            (r#""""#, vec![field("")]),
            (r#""a\"b\\c".d"#, vec![field("a\"b\\c"), field("d")]),
            ("a=b c", vec![field("a=b c")]),
            ("ключ.€", vec![field("ключ"), field("€")]),
        ] {
            assert_eq!(JsonAddress::parse(text).unwrap().steps(), steps, "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (text, at) in [
            ("", 0),
            ("a[0]", 2),
            ("a[00]", 2),
            ("a[-1]", 2),
            ("a[99999999999]", 2),
            ("a..b", 2),
            ("a.", 2),
            (".a", 0),
            ("a.[1]", 2),
            ("a[1]b", 4),
            ("a]", 1),
            ("a[", 2),
            ("a[1", 3),
            ("a[x]", 3),
            ("a[x=]", 4),
            ("a[x=1", 5),
            ("a[x=\"1\"", 7),
            ("a[x.y=1]", 3),
            ("a\"b\"", 1),
            ("\"ab", 0),
            ("\"a\\n\"", 2),
            ("\"a\"b", 3),
        ] {
            let error = JsonAddress::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
        assert!(JsonAddress::parse(&"[1]".repeat(STEPS_MAX)).is_ok());
        assert!(JsonAddress::parse(&"[1]".repeat(STEPS_MAX + 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_inside_itself(text in r#"[a\[\]."\\=€0-9]{0,12}"#) {
            if let Err(error) = JsonAddress::parse(&text) {
                proptest::prop_assert!(error.at <= text.len());
                proptest::prop_assert!(text.is_char_boundary(error.at));
            }
        }
    }
}
