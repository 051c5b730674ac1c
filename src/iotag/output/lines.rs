//! Lines of the line protocol, composed of a station's LP outputs. Contract, sections 3 and 7.

use std::fmt::Write as _;

use super::{raw, real_text};
use crate::iotag::line_address::LineAddress;
use crate::iotag::{Station, Tag, TagAddress, Timestamp, Value};

/// Composes lines of LP outputs: a line for every series, in the order of the first output of each,
/// with the series' fields in the order of the outputs. `None`: there is no field.
///
/// A written null is left out: the protocol has none.
pub fn compose_lines<'a>(
    station: &Station,
    outputs: impl Iterator<Item = (&'a Tag, Option<&'a Value>)>,
    time: Timestamp,
) -> Result<Option<Vec<u8>>, String> {
    let timestamp = i64::try_from(time.as_nanosecond())
        .map_err(|_| format!("{time} has no place in line protocol"))?;
    let mut series: Vec<(&LineAddress, String)> = Vec::new();
    for (tag, value) in outputs {
        let (TagAddress::Line(address), Some(value)) = (&tag.address, value) else { continue };
        let field = field(tag, station, address, value)?;
        match series.iter_mut().find(|(known, _)| is_same_series(known, address)) {
            Some((_, line)) => {
                line.push(',');
                line.push_str(&field);
            }
            None => series.push((address, format!("{} {field}", key(address)?))),
        }
    }
    if series.is_empty() {
        return Ok(None);
    }
    let lines: Vec<String> =
        series.into_iter().map(|(_, line)| format!("{line} {timestamp}")).collect();
    Ok(Some(lines.join("\n").into_bytes()))
}

/// Whether two addresses name the same series: a write publishes the whole line of its series.
pub fn is_same_series(one: &LineAddress, other: &LineAddress) -> bool {
    one.measurement == other.measurement && one.tags == other.tags
}

fn key(address: &LineAddress) -> Result<String, String> {
    if address.measurement.starts_with('#') {
        return Err("a measurement that begins with `#` would be a comment".to_owned());
    }
    let mut key = escaped(&address.measurement, &[',', ' '])?;
    for (name, value) in &address.tags {
        let (name, value) = (escaped(name, &[',', '=', ' '])?, escaped(value, &[',', '=', ' '])?);
        // Writing to a `String` cannot fail.
        let _ = write!(key, ",{name}={value}");
    }
    Ok(key)
}

fn escaped(name: &str, special: &[char]) -> Result<String, String> {
    if name.contains(['\n', '\r']) || name.ends_with('\\') {
        return Err(format!("the name `{name}` cannot be written in line protocol"));
    }
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        if special.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    Ok(escaped)
}

fn field(
    tag: &Tag,
    station: &Station,
    address: &LineAddress,
    value: &Value,
) -> Result<String, String> {
    let text = match raw(tag, value)? {
        Value::Real(real) | Value::Interval(real) => real_text(real),
        Value::Integer(integer) if integer > i128::from(i64::MAX) => format!("{integer}u"),
        Value::Integer(integer) => format!("{integer}i"),
        Value::Logical(on) => {
            let written = if on { &tag.on_text } else { &tag.off_text };
            written.as_deref().map_or_else(|| on.to_string(), quoted)
        }
        Value::FourState(state) => quoted(state.as_str()),
        Value::Text(text) => quoted(&text),
        Value::Moment(time) => {
            let text = station.time_mask.format(time, &station.time_zone);
            if station.time_mask.is_number() { format!("{text}i") } else { quoted(&text) }
        }
    };
    Ok(format!("{}={text}", escaped(&address.field, &[',', '=', ' '])?))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
