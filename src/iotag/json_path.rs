//! JSONPath (RFC 9535) as a tag address: `$.values[?@.id == 'x'].v`. Contract, section 3.

mod pattern;
mod query;
mod select;

use jsonpath_rust::parser::parse_json_path;

use super::SyntaxError;
use super::json_address::{JsonAddress, Step};
use super::payload::json::{Place, Tape};
use query::{Segment, Selector};

/// A JSONPath query, compiled once.
#[derive(Clone, Debug)]
pub struct JsonPath {
    text: String,
    segments: Vec<Segment>,
}

impl PartialEq for JsonPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl JsonPath {
    /// Reads the part after `JP=`.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if !text.starts_with('$') {
            return Err(SyntaxError::new(0, "a JSONPath begins with `$`")
                .help(format!("the dotted form without `$` is `JA={text}`")));
        }
        if let Some(at) = stray_blank(text) {
            return Err(SyntaxError::new(at, "this is no JSONPath: a blank where none may stand")
                .help("names with blanks are quoted, as in `$['a b']`"));
        }
        match parse_json_path(text) {
            Ok(parsed) => match query::segments(&parsed.segments) {
                Ok(segments) => Ok(Self { text: text.to_owned(), segments }),
                Err(what) => Err(SyntaxError::new(0, format!("this is no JSONPath: {what}"))),
            },
            Err(error) => {
                let error = error.to_string();
                let what = error.lines().last().unwrap_or_default().trim();
                let what = what.trim_start_matches("= ").trim_end_matches('.');
                let at = place(&error, text);
                let error = SyntaxError::new(at, format!("this is no JSONPath: {what}"));
                // The parser takes integers that every float can hold.
                let digits = text[at..].trim_start_matches('-').bytes();
                if digits.take_while(u8::is_ascii_digit).count() > 15 {
                    return Err(error.help("numbers in a query go to 9007199254740991"));
                }
                Err(error)
            }
        }
    }

    /// The query as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it leads to one value at most, by names and indexes only (RFC 9535, section 2.3.5).
    pub fn is_singular(&self) -> bool {
        query::is_singular(&self.segments)
    }

    /// The values that it selects of a document, in the order of the query, each as it is written
    /// there. The error says why the document cannot be queried.
    pub fn select_texts<'a>(&self, document: &'a str) -> Result<Vec<&'a str>, String> {
        serde_json::from_str::<serde::de::IgnoredAny>(document)
            .map_err(|error| error.to_string())?;
        let tape = Tape::of(document)?;
        Ok(self.select(&tape)?.into_iter().map(|place| tape.raw(place)).collect())
    }

    /// The same place as an address, which is read without a document in memory: a query of names
    /// and of indexes from the start.
    pub(super) fn as_address(&self) -> Option<JsonAddress> {
        let step = |segment: &Segment| match &*segment.selectors {
            _ if segment.is_descendant => None,
            [Selector::Name(name)] => Some(Step::Field((**name).into())),
            [Selector::Index(index)] => {
                u32::try_from(*index).ok().map(|index| Step::Element(index as usize))
            }
            _ => None,
        };
        JsonAddress::of(self.segments.iter().map(step).collect::<Option<_>>()?)
    }

    /// The values that it selects, in the order of the query; the error says why it is given up.
    pub(super) fn select(&self, tape: &Tape<'_>) -> Result<Vec<Place>, String> {
        select::select(&self.segments, tape)
    }
}

/// Where a blank parts two characters of names or numbers, or ends the text: the parser takes it for a
/// part of a name.
fn stray_blank(text: &str) -> Option<usize> {
    let is_blank = |character: char| matches!(character, ' ' | '\t' | '\n' | '\r');
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let (mut quote, mut is_escaped) = (None, false);
    // The last character that is no blank, and the first blank after it.
    let (mut last, mut blank) = ('$', None);
    for (at, character) in text.char_indices() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if character == '\\' => is_escaped = true,
            Some(mark) if character == mark => quote = None,
            Some(_) => {}
            None if is_blank(character) => {
                blank.get_or_insert(at);
                continue;
            }
            None if blank.is_some() && is_name(last) && is_name(character) => return blank,
            None if matches!(character, '\'' | '"') => quote = Some(character),
            None => {}
        }
        (last, blank) = (character, None);
    }
    blank
}

/// The parser says where in words: ` --> 1:7`, line and column from 1, in characters.
fn place(error: &str, text: &str) -> usize {
    let column = error
        .split_once("--> 1:")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse::<usize>().ok())
        .unwrap_or(1);
    text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(offset, _)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_and_select() {
        let document = r#"{"values": [{"id": "x", "v": 1}, {"id": "y", "v": 2}]}"#;
        for (text, singular, selected) in [
            ("$", true, 1),
            ("$.values[0].v", true, 1),
            ("$['values'][-1]['v']", true, 1),
            ("$.values[*].v", false, 2),
            ("$.values[?@.id == 'y'].v", false, 1),
            ("$..v", false, 2),
            ("$.nothing", true, 0),
        ] {
            let path = JsonPath::parse(text).unwrap();
            assert_eq!(path.is_singular(), singular, "{text}");
            assert_eq!(path.select_texts(document).unwrap().len(), selected, "{text}");
            assert_eq!(path.as_str(), text);
        }
    }

    #[test]
    fn one_place_is_an_address() {
        for (text, address) in [
            ("$.values[0].v", Some("values[1].v")),
            (r#"$['a.b']["c\"d"]"#, Some(r#""a.b"."c\"d""#)),
            ("$[1][2]", Some("[2][3]")),
            ("$", None),
            ("$.a[-1]", None),
            ("$.a[4294967296]", None),
            ("$.a[*]", None),
            ("$..a", None),
            ("$['a','b']", None),
        ] {
            let address = address.map(|address| JsonAddress::parse(address).unwrap());
            assert_eq!(JsonPath::parse(text).unwrap().as_address(), address, "{text}");
        }
    }

    #[test]
    fn mistakes_are_found() {
        for text in ["", "a.b", "$.", "$.a[", "$[?@.a ==]", "$[99999999999999999999]"] {
            let error = JsonPath::parse(text).unwrap_err();
            assert!(error.at <= text.len(), "{text}: {error}");
        }
        for text in [
            "$[?count(@..*)]",
            "$[?length(@.a)]",
            "$[?value(@.a)]",
            "$[?length(@.*)<3]",
            "$..[?@[?length(@['a','b'])<3]]",
        ] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
        assert!(JsonPath::parse("$[?length(@.a)<3 && match(@.b, 'x.*')]").is_ok());
        assert_eq!(JsonPath::parse("$.a[x]").unwrap_err().at, 4);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"\$[a.\[\]*?@='()!<&|0-9€ ]{0,16}") {
            if let Err(error) = JsonPath::parse(&text) {
                proptest::prop_assert!(error.at <= text.len());
            }
        }
    }
}
