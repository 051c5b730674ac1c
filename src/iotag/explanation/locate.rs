//! Where the bytes of a JSON address stand: for people, so that it may read the document again.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::iotag::json_address::{Literal, Step};
use crate::iotag::payload::Datum;

/// The place of the last sample of an address.
pub(super) fn place(payload: &[u8], steps: &[Step]) -> Option<Range<usize>> {
    let text = std::str::from_utf8(payload).ok()?;
    let found = find(text.strip_prefix('\u{feff}').unwrap_or(text), steps)?;
    let start = found.as_ptr().addr().checked_sub(payload.as_ptr().addr())?;
    Some(start..start + found.len())
}

fn find<'a>(text: &'a str, steps: &[Step]) -> Option<&'a str> {
    let text = text.trim();
    let Some((step, rest)) = steps.split_first() else { return Some(text) };
    match step {
        Step::Field(name) => {
            let Fields(fields) = serde_json::from_str(text).ok()?;
            let (_, value) = fields.into_iter().rfind(|(known, _)| *known == **name)?;
            find(value.get(), rest)
        }
        Step::Element(index) => find(elements(text)?.get(*index)?.get(), rest),
        Step::Every if text.starts_with('{') => find(text, rest),
        Step::Every => elements(text)?.iter().rev().find_map(|element| find(element.get(), rest)),
        Step::Keyed { field, literal } => elements(text)?
            .iter()
            .rev()
            .filter(|element| has(element.get(), field, literal))
            .find_map(|element| find(element.get(), rest)),
    }
}

fn elements(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// Whether an object has a field that is equal to a literal.
fn has(text: &str, field: &str, literal: &Literal) -> bool {
    let Some(raw) = find(text, &[Step::Field(field.into())]) else { return false };
    let datum = match raw {
        "null" => Datum::Null,
        "true" => Datum::Boolean(true),
        "false" => Datum::Boolean(false),
        _ if raw.starts_with('"') => match serde_json::from_str::<String>(raw) {
            Ok(text) => Datum::Text(Cow::Owned(text)),
            Err(_) => return false,
        },
        _ if raw.starts_with(['{', '[']) => Datum::Compound(Cow::Borrowed(raw)),
        _ => Datum::Number(Cow::Borrowed(raw)),
    };
    datum.equals(literal)
}

/// The fields of an object as they are written.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Read)
    }
}
