//! A message and what it does to tags, for people: `tag.explain` and `tagline check --topic`.
//!
//! Nothing here is kept from the mapping of the message: it is mapped once more, on request.

mod locate;

use std::ops::Range;

use serde_json::{Value as Json, json};

use super::json_address::{Literal, Step};
use super::mapping::{InMessage, MappingReport, StationPlan, TimeOrigin, Trace};
use super::output::real_text;
use super::payload::content;
use super::router::{Contest, Rule};
use super::when::{Condition, When};
use super::{Number, PayloadType, Reason, Station, StationId, Tag, TagAddress, TagId, TagUpdate};

/// Longest piece of a payload that is shown, in characters.
const PAYLOAD_CHARACTERS_MAX: usize = 4096;
/// Longest text taken for a tag that is shown, in characters.
const TAKEN_CHARACTERS_MAX: usize = 500;

/// What a message does to the tags of its station.
pub struct Explanation {
    /// Its updates, in order.
    pub updates: Vec<ExplainedUpdate>,
    /// What went wrong in it.
    pub report: MappingReport,
}

/// An update and where it comes from.
pub struct ExplainedUpdate {
    /// What becomes of the tag.
    pub update: TagUpdate,
    /// The bytes that were taken: `text`, and `offset` and `length` in the payload (unpacked) where
    /// they stand in one piece; null: nothing was.
    pub bytes: Json,
    /// Where the source time comes from: `origin` and `text`.
    pub time_source: Json,
    /// Why the quality is what it is, in words.
    pub quality_reason: String,
}

/// Maps a message once more and says why the tags become what they become.
pub fn explain<'a>(
    plan: &StationPlan,
    station: &Station,
    tag_of: impl Fn(TagId) -> &'a Tag,
    message: &InMessage<'_>,
) -> Explanation {
    let (mut updates, mut traces) = (Vec::new(), Vec::new());
    let report = plan.explain(message, &mut updates, &mut traces);
    let unpacked = content::unpacked(message.payload, message.content_type);
    let payload = unpacked.as_deref().unwrap_or(message.payload);
    let explained = updates.into_iter().zip(traces).map(|(update, trace)| {
        let tag = tag_of(update.tag);
        ExplainedUpdate {
            bytes: bytes(tag, payload, &trace),
            time_source: time_source(station, &trace, &report),
            quality_reason: quality_reason(update.reason, tag, &trace, &report),
            update,
        }
    });
    Explanation { updates: explained.collect(), report: report.clone() }
}

fn bytes(tag: &Tag, payload: &[u8], trace: &Trace) -> Json {
    let Some(taken) = &trace.taken else { return Json::Null };
    let place: Option<Range<usize>> = trace.place.clone().or_else(|| match &tag.address {
        TagAddress::Json(address) => locate::place(payload, address.steps()),
        _ => None,
    });
    let text = match place.as_ref().and_then(|place| payload.get(place.clone())) {
        Some(piece) => excerpt(&String::from_utf8_lossy(piece), TAKEN_CHARACTERS_MAX),
        None => taken.clone(),
    };
    json!({
        "text": text,
        "offset": place.as_ref().map(|place| place.start),
        "length": place.as_ref().map(Range::len),
    })
}

fn time_source(station: &Station, trace: &Trace, report: &MappingReport) -> Json {
    let field = station.time_field.as_ref().map_or("", |field| field.column());
    let (origin, text) = match trace.time {
        TimeOrigin::Received if station.payload_type == PayloadType::Influx => {
            ("received", "the time of arrival: the line has no timestamp".to_owned())
        }
        TimeOrigin::Received if field.is_empty() => {
            ("received", "the time of arrival: the station has no `time_field_name`".to_owned())
        }
        TimeOrigin::Received => {
            ("received", "the time of arrival: the value has no time of its own".to_owned())
        }
        TimeOrigin::Payload if station.payload_type == PayloadType::Influx => {
            ("payload", "the timestamp of the line".to_owned())
        }
        TimeOrigin::Payload => ("payload", format!("the field `{field}` of the payload")),
        TimeOrigin::Missing => {
            ("missing", format!("the time of arrival: `{field}` is missing or null"))
        }
        TimeOrigin::Unreadable => {
            let text = report.time_unreadable.as_deref().unwrap_or_default();
            ("unreadable", format!("the time of arrival: `{text}` is no time under the time mask"))
        }
    };
    json!({ "origin": origin, "text": text })
}

fn quality_reason(reason: Reason, tag: &Tag, trace: &Trace, report: &MappingReport) -> String {
    let taken = trace.taken.as_deref().unwrap_or_default();
    let address = &tag.address_text;
    match reason {
        Reason::Ok => "the message brought it".to_owned(),
        Reason::PathMissing => format!("the message has nothing at `{address}`"),
        Reason::Null => format!("the message has null at `{address}`"),
        Reason::TypeMismatch => format!("`{taken}` does not convert to type {}", tag.tag_type),
        Reason::OutOfRange => match limits(tag) {
            Some(limits) => format!("`{taken}` is outside of {limits}, or beyond 64 bits"),
            None => format!("`{taken}` is beyond 64 bits"),
        },
        Reason::BadPayload => {
            let why = report.bad_payload.as_deref().unwrap_or_default();
            format!("the payload cannot be parsed: {why}")
        }
        Reason::BadTime => {
            let text = report.time_unreadable.as_deref().unwrap_or_default();
            format!("`{text}` is no time under the time mask")
        }
        other => reason_text(other).to_owned(),
    }
}

/// What a reason means that no message has brought about.
pub fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Ok => "nothing is wrong",
        Reason::Restored => "it was read back from the store, or the server lost the session",
        Reason::NeverReceived => "nothing has come since the tag exists",
        Reason::LineDown => "the line of its station is not connected",
        Reason::StationOff => "its station is switched off",
        Reason::StationWill => "the will message of its station came",
        Reason::CommError => {
            "nobody knows whether its publication arrived, or the server refused the topic filters"
        }
        Reason::Stale => "no message came for longer than the `stale_after` of its station",
        Reason::Simulated => "its station is simulated: the value is made up",
        Reason::PathMissing => "the message had nothing at its address",
        Reason::Null => "the message had null at its address",
        Reason::TypeMismatch => "what the message had does not convert to its type",
        Reason::OutOfRange => "what the message had is out of range",
        Reason::BadPayload => "the payload could not be parsed",
        Reason::BadTime => "the time of the payload could not be read",
    }
}

/// How the raw value becomes the tag's value: fields that are not null apply.
pub fn conversion(tag: &Tag) -> Json {
    let number = |number: Number| match number {
        Number::Integer(integer) => integer.to_string(),
        Number::Real(real) => real_text(real),
    };
    let mut text = format!("to type {}", tag.tag_type);
    let is = |number: Number, integer| number.as_f64() == f64::from(integer);
    let scaled = !is(tag.scale, 1) || !is(tag.offset, 0);
    if scaled {
        let (scale, offset) = (number(tag.scale), number(tag.offset));
        text.push_str(&format!(", times {scale} plus {offset}"));
        if tag.tag_type.is_output() {
            text.push_str(" (undone when it is written)");
        }
    }
    if let Some(limits) = limits(tag) {
        text.push_str(&format!(", {limits} allowed"));
    }
    if let Some(deadband) = tag.deadband {
        text.push_str(&format!(", changes up to {} suppressed", real_text(deadband)));
    }
    json!({
        "type": tag.tag_type.as_str(),
        "scale": scaled.then(|| tag.scale.as_f64()),
        "offset": scaled.then(|| tag.offset.as_f64()),
        "min": tag.min.map(Number::as_f64),
        "max": tag.max.map(Number::as_f64),
        "deadband": tag.deadband,
        "on_text": tag.on_text.as_deref(),
        "off_text": tag.off_text.as_deref(),
        "text": text,
    })
}

fn limits(tag: &Tag) -> Option<String> {
    let show = |bound: Number| match bound {
        Number::Integer(integer) => integer.to_string(),
        Number::Real(real) => real_text(real),
    };
    match (tag.min, tag.max) {
        (Some(min), Some(max)) => Some(format!("{} to {}", show(min), show(max))),
        (Some(min), None) => Some(format!("{} and above", show(min))),
        (None, Some(max)) => Some(format!("up to {}", show(max))),
        (None, None) => None,
    }
}

/// Conditions as a tag file has them.
pub fn conditions(when: &When) -> String {
    let shown = |condition: &Condition| {
        let mut text = String::new();
        for step in condition.address.steps() {
            match step {
                Step::Field(name) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(&plain_or_quoted(name));
                }
                Step::Element(index) => text.push_str(&format!("[{}]", index + 1)),
                Step::Every => text.push_str("[]"),
                Step::Keyed { field, literal: is } => {
                    text.push_str(&format!("[{}={}]", plain_or_quoted(field), written(is)));
                }
            }
        }
        text.push('=');
        text.push_str(&written(&condition.literal));
        text
    };
    when.conditions().iter().map(shown).collect::<Vec<_>>().join(" & ")
}

fn written(literal: &Literal) -> String {
    if literal.quoted { quoted(&literal.text) } else { literal.text.to_string() }
}

fn plain_or_quoted(name: &str) -> String {
    let special = |character: char| ".[]\"=& \\".contains(character);
    if name.is_empty() || name.contains(special) { quoted(name) } else { name.to_owned() }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// How stations contested for a topic: `winner`, and `candidates` in the order of the contest.
pub fn contest<'a>(contest: &Contest, station_of: impl Fn(StationId) -> &'a Station) -> Json {
    let shown = |(id, rule): &(StationId, Rule)| {
        let station = station_of(*id);
        json!({
            "station": &*station.name,
            "address": &*station.address_text,
            "rule": rule.as_str(),
            "why": rule.why(),
        })
    };
    json!({
        "winner": contest.winner.as_ref().map(shown),
        "candidates": contest.candidates.iter().map(shown).collect::<Vec<_>>(),
    })
}

/// The payload as text, unpacked and shortened, and whether it was shortened.
pub fn payload_text(payload: &[u8], content_type: Option<&str>) -> (String, bool) {
    let unpacked = content::unpacked(payload, content_type);
    let payload = unpacked.as_deref().unwrap_or(payload);
    // A character has four bytes at most.
    let piece = &payload[..payload.len().min(4 * PAYLOAD_CHARACTERS_MAX)];
    let text = String::from_utf8_lossy(piece);
    let shown = excerpt(&text, PAYLOAD_CHARACTERS_MAX);
    let shortened = piece.len() < payload.len() || shown.len() != text.len();
    (shown, shortened)
}

fn excerpt(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
