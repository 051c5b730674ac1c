//! JSON payloads (RFC 8259), walked once whatever the number of addresses.
//!
//! The addresses of a station are one tree ([`tree`]); [`walk`] leads a streaming parser along it
//! and notes the raw text of what stands at its leaves. Everything else is skipped, and nothing
//! becomes a document in memory; for JSONPath there is a list of all values ([`tape`]).

mod plain;
mod quick;
mod scan;
mod tape;
mod times;
mod tree;
mod walk;

use std::borrow::Cow;

use super::{Absence, Datum, Found, SourceTime, Times, place, utf8};
use crate::iotag::json_address::JsonAddress;
use crate::iotag::json_path::JsonPath;
use crate::iotag::mapping::MappingReport;
pub(in crate::iotag) use plain::Plain;
use plain::PlainPlan;
pub(in crate::iotag) use tape::{Place, Tape};
use times::PathTimes;
use tree::Tree;
use walk::Walk;

/// The JSON addresses of a station, compiled.
pub(in crate::iotag) struct JsonPlan {
    tree: Tree,
    /// Slots of JSONPath addresses come after those of the tree.
    paths: Vec<PlannedPath>,
    /// When there are addresses of the tree only, and it is plain.
    plain: Option<PlainPlan>,
}

/// A payload taken apart.
pub(in crate::iotag) enum Taken<'plan, 'a> {
    Plain(Plain<'plan, 'a>),
    Found(Found<'a>),
}

struct PlannedPath {
    path: JsonPath,
    /// Several values are one text.
    joined: bool,
}

/// An address of a plan: those of the tree are counted apart from JSONPath ones until all are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::iotag) enum JsonSlot {
    Address(u32),
    Path(u32),
}

impl JsonPlan {
    /// A plan with a time field, if the station has one.
    pub(in crate::iotag) fn new(time_field: Option<&JsonAddress>) -> Self {
        Self { tree: Tree::new(time_field), paths: Vec::new(), plain: None }
    }

    pub(in crate::iotag) fn insert(&mut self, address: &JsonAddress) -> JsonSlot {
        JsonSlot::Address(self.tree.insert(address))
    }

    /// `joined`: several values are one text instead of one sample each.
    pub(in crate::iotag) fn insert_path(&mut self, path: &JsonPath, joined: bool) -> JsonSlot {
        // One place is found without a list of all values.
        if let Some(address) = path.as_address() {
            return self.insert(&address);
        }
        self.paths.push(PlannedPath { path: path.clone(), joined });
        JsonSlot::Path(self.paths.len() as u32 - 1)
    }

    /// To be called once, after the last address.
    pub(in crate::iotag) fn finish(&mut self) {
        self.plain = if self.paths.is_empty() { PlainPlan::of(&self.tree) } else { None };
    }

    /// The slot that [`Self::take`] uses for an address of a finished plan.
    pub(in crate::iotag) fn slot(&self, slot: JsonSlot) -> u32 {
        match slot {
            JsonSlot::Address(slot) => slot,
            JsonSlot::Path(number) => self.tree.slot_count() as u32 + number,
        }
    }

    /// Takes a payload apart. The error says why it cannot be parsed, with line and column.
    pub(in crate::iotag) fn take<'plan, 'a>(
        &'plan self,
        payload: &'a [u8],
        times: &Times,
        report: &mut MappingReport,
    ) -> Result<Taken<'plan, 'a>, String> {
        let text = utf8(payload)?;
        if let Some(mut plain) = self.plain.as_ref().and_then(|plan| plan.walk(text)) {
            if let Some(slot) = self.tree.time_slot() {
                let read = plain.datum(slot).map(|datum| times.read(&datum, report));
                plain.time = read.unwrap_or(SourceTime::Missing);
            }
            return Ok(Taken::Plain(plain));
        }
        self.take_any(text, times, report).map(Taken::Found)
    }

    /// Takes any document apart, by any plan.
    fn take_any<'a>(
        &self,
        text: &'a str,
        times: &Times,
        report: &mut MappingReport,
    ) -> Result<Found<'a>, String> {
        let walk = match self.tree.quick_walk(text) {
            Some(walk) => walk,
            None => self.tree.walk(text)?,
        };
        let tree_slots = self.tree.slot_count();
        let mut found = Found::new(tree_slots + self.paths.len(), Absence::NotCarried);
        found.reserve(walk.samples.len());
        let read = self.read_times(&walk, times, report);
        for sample in walk.samples.iter().filter(|sample| sample.alive) {
            let time = self.time_of(sample.slot, sample.scope, &read);
            found.push(sample.slot, datum(sample.raw), time)?;
        }
        let message_time = read.message.unwrap_or_default();
        for slot in 0..tree_slots as u32 {
            if walk.is_missing(&self.tree, slot) {
                let timed = self.tree.is_timed(slot);
                let time = if timed { message_time } else { SourceTime::Unstated };
                found.set_absence(slot, Absence::Missing(time));
            }
        }
        if !self.paths.is_empty() {
            self.take_paths(text, &walk, message_time, times, &mut found, report)?;
        }
        Ok(found)
    }

    fn take_paths<'a>(
        &self,
        text: &'a str,
        walk: &Walk<'_>,
        message_time: SourceTime,
        times: &Times,
        found: &mut Found<'a>,
        report: &mut MappingReport,
    ) -> Result<(), String> {
        let tape = match Tape::of(text) {
            Ok(tape) => tape,
            Err(error) => {
                // Other addresses need no list of values.
                report.bad_payload.get_or_insert(error);
                for slot in (self.tree.slot_count() as u32..).take(self.paths.len()) {
                    found.push(slot, Datum::Broken(text), message_time)?;
                }
                return Ok(());
            }
        };
        let path_times = PathTimes::of(&self.tree, walk, &tape, message_time, times, report);
        for (slot, planned) in (self.tree.slot_count() as u32..).zip(&self.paths) {
            let selected = match planned.path.select(&tape) {
                Ok(selected) => selected,
                Err(error) => {
                    report.bad_payload.get_or_insert(error);
                    found.push(slot, Datum::Broken(text), message_time)?;
                    continue;
                }
            };
            match *selected {
                [] if planned.path.is_singular() => {
                    found.set_absence(slot, Absence::Missing(message_time));
                }
                [_, _, ..] if planned.joined => {
                    let raws: Vec<&str> = selected.iter().map(|place| tape.raw(*place)).collect();
                    let text = format!("[{}]", raws.join(","));
                    let time = path_times.common(&tape, &selected);
                    found.push(slot, Datum::Compound(Cow::Owned(text)), time)?;
                }
                _ => {
                    for place in selected {
                        found.push(slot, tape.datum(place), path_times.of_place(&tape, place))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn read_times(&self, walk: &Walk<'_>, times: &Times, report: &mut MappingReport) -> Read {
        let mut read = Read { message: None, scoped: Vec::new() };
        let Some(slot) = self.tree.time_slot() else { return read };
        let mut samples = walk.samples.iter().filter(|sample| sample.slot == slot && sample.alive);
        if self.tree.time_is_scoped() {
            for sample in samples {
                read.scoped.push((sample.scope, times.read(&datum(sample.raw), report)));
            }
            read.scoped.sort_by_key(|(scope, _)| *scope);
        } else {
            let first = samples.next();
            read.message = Some(
                first.map_or(SourceTime::Missing, |sample| times.read(&datum(sample.raw), report)),
            );
        }
        read
    }

    fn time_of(&self, slot: u32, scope: u32, read: &Read) -> SourceTime {
        if !self.tree.is_timed(slot) {
            return SourceTime::Unstated;
        }
        if let Some(time) = read.message {
            return time;
        }
        match read.scoped.binary_search_by_key(&scope, |(scope, _)| *scope) {
            Ok(found) => read.scoped[found].1,
            Err(_) => SourceTime::Missing,
        }
    }
}

/// What the time field of a document says.
struct Read {
    /// One time for all; `None`: there is no such time field.
    message: Option<SourceTime>,
    /// Times of the elements of an array, by scope, ascending.
    scoped: Vec<(u32, SourceTime)>,
}

/// What a raw JSON value is.
pub(in crate::iotag) fn datum(raw: &str) -> Datum<'_> {
    match raw.as_bytes().first() {
        Some(b'"') => match unescaped(raw) {
            Some(text) => Datum::Text(text),
            None => Datum::Broken(raw),
        },
        Some(b'{' | b'[') => Datum::Compound(Cow::Borrowed(raw)),
        Some(b't') => Datum::Boolean(true),
        Some(b'f') => Datum::Boolean(false),
        Some(b'n') | None => Datum::Null,
        Some(_) => Datum::Number(Cow::Borrowed(raw)),
    }
}

/// `None` when an escape is no character: half of a surrogate pair.
fn unescaped(raw: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        // The parser has seen the closing quote.
        return raw.get(1..raw.len() - 1).map(Cow::Borrowed);
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// A JSON value without blanks between its tokens; texts and numbers stay as they are written.
pub(in crate::iotag) fn compact(raw: &str) -> String {
    let mut compact = String::with_capacity(raw.len());
    let mut start = 0;
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in raw.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' | b'\n' | b'\r' if !quoted => {
                compact.push_str(&raw[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    compact.push_str(&raw[start..]);
    compact
}

#[cfg(test)]
mod tests;
