//! The JSON document that a station publishes, composed of its JA outputs. Contract, sections 3
//! and 7.

use std::sync::Arc;

use super::{json_leaf, raw};
use crate::iotag::json_address::{JsonAddress, Literal, Step};
use crate::iotag::{Station, Tag, TagAddress, Timestamp, Value};

/// Composes the document of the JA outputs that were ever written, `None` for a written null, in
/// the order of the configuration. `None`: there is no field, so there is nothing to publish.
///
/// The time field is added, with `time` by the station's mask, unless an output has its place or it
/// stands in every element of an array.
pub fn compose_document<'a>(
    station: &Station,
    outputs: impl Iterator<Item = (&'a Tag, Option<&'a Value>)>,
    time: Timestamp,
) -> Result<Option<Vec<u8>>, String> {
    let mut document = Place::Empty;
    for (tag, value) in outputs {
        let TagAddress::Json(address) = &tag.address else { continue };
        let leaf = match value {
            None => "null".to_owned(),
            Some(value) => json_leaf(tag, station, &raw(tag, value)?),
        };
        document.insert(address.steps(), leaf).map_err(|_| conflict(&tag.address_text))?;
    }
    if matches!(document, Place::Empty) {
        return Ok(None);
    }
    if let Some(address) = time_address(station) {
        let text = station.time_mask.format(time, &station.time_zone);
        let leaf = if station.time_mask.is_number() { text } else { json_text(&text) };
        // An output at its place says the time itself.
        let _ = document.insert(address.steps(), leaf);
    }
    let mut text = String::new();
    document.write(&mut text);
    Ok(Some(text.into_bytes()))
}

/// Whether all JA outputs of a station have room in one document; otherwise which one, by its
/// position, has not, and why.
pub fn check_document<'a>(outputs: impl Iterator<Item = &'a Tag>) -> Result<(), (usize, String)> {
    let mut document = Place::Empty;
    for (position, tag) in outputs.enumerate() {
        let TagAddress::Json(address) = &tag.address else { continue };
        document
            .insert(address.steps(), String::new())
            .map_err(|_| (position, conflict(&tag.address_text)))?;
    }
    Ok(())
}

fn conflict(address: &str) -> String {
    format!("`{address}` has no room in one document with the outputs before it")
}

fn time_address(station: &Station) -> Option<&JsonAddress> {
    let address = station.time_field.as_ref()?.json()?;
    address.steps().iter().all(|step| *step != Step::Every).then_some(address)
}

pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A part of a document.
#[derive(Default)]
enum Place {
    #[default]
    Empty,
    /// JSON text.
    Leaf(String),
    Object(Vec<(Arc<str>, Place)>),
    Array(Vec<Place>),
    /// An array whose elements are known by a field of theirs.
    Keyed(Vec<(Arc<str>, Literal, Place)>),
}

/// Something else stands there.
struct Taken;

impl Place {
    fn insert(&mut self, steps: &[Step], leaf: String) -> Result<(), Taken> {
        let Some((step, rest)) = steps.split_first() else {
            return match self {
                Self::Empty => {
                    *self = Self::Leaf(leaf);
                    Ok(())
                }
                _ => Err(Taken),
            };
        };
        self.child(step)?.insert(rest, leaf)
    }

    fn child(&mut self, step: &Step) -> Result<&mut Self, Taken> {
        if matches!(self, Self::Empty) {
            *self = match step {
                Step::Field(_) => Self::Object(Vec::new()),
                Step::Element(_) => Self::Array(Vec::new()),
                Step::Keyed { .. } => Self::Keyed(Vec::new()),
                Step::Every => return Err(Taken),
            };
        }
        match (self, step) {
            (Self::Object(fields), Step::Field(name)) => {
                let known = fields.iter().position(|(known, _)| known == name);
                let position = known.unwrap_or_else(|| {
                    fields.push((Arc::clone(name), Self::Empty));
                    fields.len() - 1
                });
                Ok(&mut fields[position].1)
            }
            (Self::Array(elements), Step::Element(index)) => {
                if elements.len() <= *index {
                    elements.resize_with(index + 1, Self::default);
                }
                Ok(&mut elements[*index])
            }
            (Self::Keyed(elements), Step::Keyed { field, literal }) => {
                let known = elements.iter().position(|(of, is, _)| of == field && is == literal);
                let position = known.unwrap_or_else(|| {
                    let key = (Arc::clone(field), Self::Leaf(key_leaf(literal)));
                    elements.push((Arc::clone(field), literal.clone(), Self::Object(vec![key])));
                    elements.len() - 1
                });
                Ok(&mut elements[position].2)
            }
            _ => Err(Taken),
        }
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Empty => text.push_str("null"),
            Self::Leaf(leaf) => text.push_str(leaf),
            Self::Object(fields) => {
                text.push('{');
                for (position, (name, place)) in fields.iter().enumerate() {
                    text.push_str(if position > 0 { "," } else { "" });
                    text.push_str(&json_text(name));
                    text.push(':');
                    place.write(text);
                }
                text.push('}');
            }
            Self::Array(elements) => Self::write_elements(elements.iter(), text),
            Self::Keyed(elements) => {
                Self::write_elements(elements.iter().map(|(_, _, place)| place), text);
            }
        }
    }

    fn write_elements<'a>(elements: impl Iterator<Item = &'a Self>, text: &mut String) {
        text.push('[');
        for (position, element) in elements.enumerate() {
            text.push_str(if position > 0 { "," } else { "" });
            element.write(text);
        }
        text.push(']');
    }
}

/// A key as the address means it: an unquoted literal that is a number, a boolean or null is one.
fn key_leaf(literal: &Literal) -> String {
    match serde_json::from_str::<serde_json::Value>(&literal.text) {
        Ok(value) if !literal.quoted && !value.is_object() && !value.is_array() => {
            literal.text.to_string()
        }
        _ => json_text(&literal.text),
    }
}
