//! Influx line protocol.

mod line;

use rustc_hash::FxHashMap;

use super::{Absence, Datum, Found, SourceTime};
use crate::iotag::Timestamp;
use crate::iotag::line_address::LineAddress;
use crate::iotag::mapping::MappingReport;
use line::{Line, Lines};

/// A field of a series, for a survey.
pub(in crate::iotag) struct SeriesField {
    measurement: String,
    tags: Vec<(String, String)>,
    field: String,
    /// `integer`, `number`, `boolean` or `text`.
    pub(in crate::iotag) kind: &'static str,
    pub(in crate::iotag) value: String,
}

impl SeriesField {
    /// The tag address that reads it.
    pub(in crate::iotag) fn address(&self) -> String {
        let quoted = |name: &str| {
            if name.contains([' ', ',', '=', '"', '\\']) {
                format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
            } else {
                name.to_owned()
            }
        };
        let mut address = format!("LP={}", quoted(&self.measurement));
        for (key, value) in &self.tags {
            address.push_str(&format!(",{}={}", quoted(key), quoted(value)));
        }
        if self.field != "value" {
            address.push_str(&format!(" {}", quoted(&self.field)));
        }
        address
    }

    /// Names for a tag, the last one first in importance.
    pub(in crate::iotag) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        if self.field != "value" {
            names.push(self.field.clone());
        }
        names.extend(self.tags.iter().map(|(_, value)| value.clone()));
        names.push(self.measurement.clone());
        names
    }
}

/// All fields of all lines; an error when a line is none.
pub(in crate::iotag) fn series(payload: &[u8]) -> Result<Vec<SeriesField>, String> {
    let mut found = Vec::new();
    for (_, line) in Lines::of(payload) {
        let Some(line) = Line::parse(line).map_err(|error| error.to_string())? else { continue };
        let tags: Vec<(String, String)> =
            line.tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        for (field, datum) in &line.fields {
            let (kind, value) = match datum {
                Datum::Boolean(on) => ("boolean", on.to_string()),
                Datum::Number(text) if text.contains(['.', 'e', 'E']) => {
                    ("number", text.to_string())
                }
                Datum::Number(text) => ("integer", text.to_string()),
                Datum::Text(text) => ("text", text.to_string()),
                _ => continue,
            };
            found.push(SeriesField {
                measurement: line.measurement.to_string(),
                tags: tags.clone(),
                field: field.to_string(),
                kind,
                value,
            });
        }
    }
    Ok(found)
}

/// The line protocol addresses of a station.
#[derive(Default)]
pub(in crate::iotag) struct InfluxPlan {
    measurements: FxHashMap<Box<str>, Measurement>,
    slots: u32,
}

/// The series of a measurement that addresses name.
#[derive(Default)]
struct Measurement {
    series: Vec<Series>,
    /// Series without tags.
    untagged: Vec<usize>,
    /// Series by their first tag, key and value.
    by_tag: FxHashMap<Box<str>, FxHashMap<Box<str>, Vec<usize>>>,
}

struct Series {
    tags: Vec<(Box<str>, Box<str>)>,
    fields: Vec<(Box<str>, u32)>,
}

impl InfluxPlan {
    pub(in crate::iotag) fn insert(&mut self, address: &LineAddress) -> u32 {
        let slot = self.slots;
        self.slots += 1;
        let measurement = self.measurements.entry((*address.measurement).into()).or_default();
        let tags =
            || address.tags.iter().map(|(key, value)| ((**key).into(), (**value).into())).collect();
        let known = measurement.series.iter().position(|series| {
            let own = series.tags.iter().map(|(key, value)| (&**key, &**value));
            own.eq(address.tags.iter().map(|(key, value)| (&**key, &**value)))
        });
        let position = known.unwrap_or_else(|| {
            let position = measurement.series.len();
            measurement.series.push(Series { tags: tags(), fields: Vec::new() });
            match address.tags.first() {
                None => measurement.untagged.push(position),
                Some((key, value)) => {
                    let by_value = measurement.by_tag.entry((**key).into()).or_default();
                    by_value.entry((**value).into()).or_default().push(position);
                }
            }
            position
        });
        measurement.series[position].fields.push(((*address.field).into(), slot));
        slot
    }

    /// Takes a payload apart. Good lines count beside bad ones, which are in the report; an error
    /// when there are bad lines only.
    pub(in crate::iotag) fn take<'a>(
        &self,
        payload: &'a [u8],
        report: &mut MappingReport,
    ) -> Result<Found<'a>, String> {
        let mut found = Found::new(self.slots as usize, Absence::NotCarried);
        let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
        let mut good = false;
        for (number, text) in Lines::of(payload) {
            match Line::parse(text) {
                Ok(None) => {}
                Ok(Some(line)) => match time_of(&line) {
                    Some(time) => {
                        good = true;
                        self.take_line(line, time, &mut found)?;
                    }
                    None => report.note_bad_line(number, "the timestamp is out of range"),
                },
                Err(error) => report.note_bad_line(number, &error.to_string()),
            }
        }
        match &report.bad_line {
            Some(first) if !good => Err(first.clone()),
            _ => Ok(found),
        }
    }

    fn take_line<'a>(
        &self,
        line: Line<'a>,
        time: SourceTime,
        found: &mut Found<'a>,
    ) -> Result<(), String> {
        let Some(measurement) = self.measurements.get(&*line.measurement) else { return Ok(()) };
        let mut matching = measurement.untagged.clone();
        for (key, value) in &line.tags {
            let by_value = measurement.by_tag.get(&**key);
            matching.extend(by_value.and_then(|values| values.get(&**value)).into_iter().flatten());
        }
        for position in matching {
            let series = &measurement.series[position];
            let has = |(key, value): &(Box<str>, Box<str>)| {
                line.tags.iter().any(|(own, of)| **own == **key && **of == **value)
            };
            if !series.tags.iter().all(has) {
                continue;
            }
            for (key, slot) in &series.fields {
                // The last of equal keys counts.
                match line.fields.iter().rev().find(|(own, _)| **own == **key) {
                    Some((_, datum)) => found.push(*slot, Datum::clone(datum), time)?,
                    None => found.set_absence(*slot, Absence::Missing(time)),
                }
            }
        }
        Ok(())
    }
}

/// `None` when there is no such time.
fn time_of(line: &Line<'_>) -> Option<SourceTime> {
    match line.timestamp {
        None => Some(SourceTime::Unstated),
        Some(timestamp) => {
            Timestamp::from_nanosecond(i128::from(timestamp)).ok().map(SourceTime::Known)
        }
    }
}

#[cfg(test)]
mod tests;
