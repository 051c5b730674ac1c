//! Written values to payloads, and what a client may write to a tag. Contract, sections 3 and 7.

mod document;
mod lines;

use std::io::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::convert::{Conversion, Scaling, interval, is_integer, logical_word};
use super::decimal::Decimal;
use super::payload::content;
use super::time_mask::read_rfc3339;
use super::{Number, Station, Tag, TagAddress, TagType, Value};

pub use document::{check_document, compose_document};
pub use lines::{compose_lines, is_same_series};

/// Turns what a client sent into the tag's type, refusing what does not convert exactly or lies
/// outside `min` and `max`; the error is a sentence without the tag's name.
pub fn accept_write(tag: &Tag, station: &Station, written: &Json) -> Result<Value, String> {
    let value = match tag.tag_type {
        TagType::Ao => Value::Real(real(written)?),
        TagType::Co => Value::Integer(integer(written)?),
        TagType::Do => Value::Logical(logical(tag, written)?),
        TagType::TxtO => Value::Text(text(written)?),
        TagType::ToR => Value::Interval(seconds(written)?),
        TagType::ToA => moment(station, written)?,
        input => return Err(format!("a tag of type {input} is not written, it is read")),
    };
    if !Conversion::of(tag).is_within_limits(&value) {
        return Err(limits(tag, written));
    }
    // What cannot be composed is refused before anything is sent.
    raw(tag, &value)?;
    Ok(value)
}

/// As [`accept_write`]; `None` for a null, which a field of a JSON document may be written.
pub fn accept_nullable_write(
    tag: &Tag,
    station: &Station,
    written: &Json,
) -> Result<Option<Value>, String> {
    match (&tag.address, written) {
        (TagAddress::Json(_), Json::Null) if tag.tag_type.is_output() => Ok(None),
        _ => accept_write(tag, station, written).map(Some),
    }
}

/// A composed payload as it leaves under this Content Type: packed, if that says so.
pub fn finished(payload: Vec<u8>, content_type: Option<&str>) -> Result<Vec<u8>, String> {
    match content_type.map(content::media_type).as_deref() {
        Some("application/gzip") => packed(&payload),
        _ => Ok(payload),
    }
}

/// A payload packed as its Content Type `application/gzip` says.
pub fn packed(payload: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(payload).and_then(|()| encoder.finish()).map_err(|error| error.to_string())
}

/// The payload of OUT_VALUE: the value as text, `scale` and `offset` undone.
pub fn compose_text(tag: &Tag, station: &Station, value: &Value) -> Result<Vec<u8>, String> {
    let text = match raw(tag, value)? {
        Value::Real(real) | Value::Interval(real) => real_text(real),
        Value::Integer(integer) => integer.to_string(),
        Value::Logical(on) => {
            let written = if on { &tag.on_text } else { &tag.off_text };
            written.as_deref().map_or_else(|| on.to_string(), str::to_owned)
        }
        Value::FourState(state) => state.as_str().to_owned(),
        Value::Text(text) => return Ok(text.as_bytes().to_vec()),
        Value::Moment(time) => station.time_mask.format(time, &station.time_zone),
    };
    Ok(text.into_bytes())
}

/// A value with `scale` and `offset` undone: what the device is told.
pub(super) fn raw(tag: &Tag, value: &Value) -> Result<Value, String> {
    let Some(scaling) = Scaling::of(tag) else { return Ok(value.clone()) };
    match *value {
        Value::Real(real) => Ok(Value::Real(unscaled(scaling, real)?)),
        Value::Interval(real) => Ok(Value::Interval(unscaled(scaling, real)?)),
        Value::Integer(integer) => Ok(Value::Integer(unscaled_integer(scaling, integer)?)),
        _ => Ok(value.clone()),
    }
}

fn unscaled(scaling: Scaling, value: f64) -> Result<f64, String> {
    let raw = (value - scaling.offset.as_f64()) / scaling.scale.as_f64();
    if raw.is_finite() {
        Ok(raw)
    } else {
        Err(format!("{value} is out of range once scale and offset are undone"))
    }
}

/// The integer that becomes the value again when it is read with the same scale and offset.
fn unscaled_integer(scaling: Scaling, value: i128) -> Result<i128, String> {
    let inexact = || {
        let (scale, offset) = (scaling.scale.as_f64(), scaling.offset.as_f64());
        format!("{value} is no integer once scale {scale} and offset {offset} are undone")
    };
    let raw = match (scaling.scale, scaling.offset) {
        (Number::Integer(scale), Number::Integer(offset)) => {
            let difference = value.checked_sub(offset).ok_or_else(inexact)?;
            if difference.checked_rem(scale) != Some(0) {
                return Err(inexact());
            }
            difference.checked_div(scale).ok_or_else(inexact)?
        }
        (scale, offset) => {
            let raw = unscaled(scaling, value as f64)?.round();
            // `as` saturates, and the comparison then fails.
            let again = (raw * scale.as_f64() + offset.as_f64()).round() as i128;
            if again != value {
                return Err(inexact());
            }
            raw as i128
        }
    };
    if is_integer(raw) { Ok(raw) } else { Err(inexact()) }
}

/// A raw value in a JSON document, with its type kept.
fn json_leaf(tag: &Tag, station: &Station, raw: &Value) -> String {
    match raw {
        Value::Logical(on) => {
            let written = if *on { &tag.on_text } else { &tag.off_text };
            written.as_deref().map_or_else(|| on.to_string(), document::json_text)
        }
        Value::Moment(time) => {
            let text = station.time_mask.format(*time, &station.time_zone);
            if station.time_mask.is_number() { text } else { document::json_text(&text) }
        }
        other => other.to_json().to_string(),
    }
}

/// The shortest decimal that reads back as the same number; without a fraction when it has none.
pub(super) fn real_text(real: f64) -> String {
    if real == 0.0 || (1e-5..1e16).contains(&real.abs()) {
        real.to_string()
    } else {
        format!("{real:e}")
    }
}

fn real(written: &Json) -> Result<f64, String> {
    let real = match written {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => Decimal::parse(text.trim()).map(Decimal::to_f64),
        _ => None,
    };
    match real {
        Some(real) if real.is_finite() => Ok(real),
        Some(_) => Err(format!("{} is out of range", shown(written))),
        None => Err(expected("a number", written)),
    }
}

fn integer(written: &Json) -> Result<i128, String> {
    let whole = match written {
        Json::Number(number) => Decimal::parse(&number.to_string()).map(|decimal| decimal.whole(0)),
        Json::String(text) => Decimal::parse(text.trim()).map(|decimal| decimal.whole(0)),
        _ => None,
    };
    match whole {
        None => Err(expected("an integer", written)),
        Some(Some(whole)) if !whole.exact => Err(expected("an integer", written)),
        Some(Some(whole)) if is_integer(whole.integer) => Ok(whole.integer),
        Some(_) => Err(format!("{} does not fit 64 bits", shown(written))),
    }
}

fn logical(tag: &Tag, written: &Json) -> Result<bool, String> {
    let is = |wanted: &Option<Arc<str>>, text: &str| wanted.as_deref() == Some(text);
    let on = match written {
        Json::Bool(on) => Some(*on),
        Json::String(text) if is(&tag.on_text, text) => Some(true),
        Json::String(text) if is(&tag.off_text, text) => Some(false),
        Json::String(text) => match text.trim() {
            "0" => Some(false),
            "1" => Some(true),
            word => logical_word(word),
        },
        Json::Number(_) => match integer(written) {
            Ok(0) => Some(false),
            Ok(1) => Some(true),
            _ => None,
        },
        _ => None,
    };
    on.ok_or_else(|| expected("true or false", written))
}

/// Anything but null has a text; objects and arrays are their compact JSON.
fn text(written: &Json) -> Result<Arc<str>, String> {
    match written {
        Json::Null => Err(expected("a text", written)),
        Json::String(text) => Ok(text.as_str().into()),
        other => Ok(other.to_string().into()),
    }
}

fn seconds(written: &Json) -> Result<f64, String> {
    if let Json::String(text) = written
        && let Some(seconds) = interval(text.trim())
    {
        return Ok(seconds);
    }
    match written {
        Json::Number(_) | Json::String(_) => real(written).map_err(|_| ()),
        _ => Err(()),
    }
    .map_err(|()| expected("seconds, `hh:mi:ss` or an ISO 8601 duration", written))
}

fn moment(station: &Station, written: &Json) -> Result<Value, String> {
    let by_mask = |text: &str| station.time_mask.read(text, &station.time_zone).ok();
    let time = match written {
        Json::String(text) => read_rfc3339(text).ok().or_else(|| by_mask(text)),
        Json::Number(number) if station.time_mask.is_number() => by_mask(&number.to_string()),
        _ => None,
    };
    time.map(Value::Moment).ok_or_else(|| expected("a time as in `2024-01-31T12:00:00Z`", written))
}

fn expected(what: &str, written: &Json) -> String {
    format!("expected {what}, not {}", shown(written))
}

fn limits(tag: &Tag, written: &Json) -> String {
    let show = |bound: Number| match bound {
        Number::Integer(integer) => integer.to_string(),
        Number::Real(real) => real_text(real),
    };
    let range = match (tag.min, tag.max) {
        (Some(min), Some(max)) => format!("{} to {}", show(min), show(max)),
        (Some(min), None) => format!("{} and above", show(min)),
        (None, Some(max)) => format!("up to {}", show(max)),
        (None, None) => String::new(),
    };
    format!("{} is outside of the tag's range, {range}", shown(written))
}

fn shown(written: &Json) -> String {
    const CHARACTERS_MAX: usize = 60;
    let text = written.to_string();
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests;
