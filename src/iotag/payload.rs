//! Payloads: from bytes to the data that stand at the addresses of a station's tags.
//!
//! Every format has a plan, compiled from the addresses; an address is a slot of its plan. Taking a
//! payload apart by a plan gives [`Found`]: the samples of every slot, in order.

pub(super) mod bytes;
pub(super) mod content;
pub(super) mod csv;
pub(super) mod envelope;
pub(super) mod influx;
pub(super) mod json;
pub(super) mod lpp;
pub(super) mod xml;

use std::borrow::Cow;

use super::Timestamp;
use super::decimal;
use super::json_address::Literal;
use super::mapping::MappingReport;
use super::time_mask::{TimeMask, Zone};

/// What stands at a place in a message, before it is converted to the type of a tag.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum<'a> {
    /// JSON `null`, an empty CSV cell.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number as it is written.
    Number(Cow<'a, str>),
    /// A text.
    Text(Cow<'a, str>),
    /// A JSON object or array, as it is written.
    Compound(Cow<'a, str>),
    /// A JSON text whose escapes are no characters.
    Broken(&'a str),
}

/// A value at an address.
#[derive(Clone, Debug)]
pub(super) struct Sample<'a> {
    pub(super) datum: Datum<'a>,
    pub(super) time: SourceTime,
}

/// What a payload says of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SourceTime {
    /// Nothing, and nothing was to be expected.
    #[default]
    Unstated,
    /// The time field is absent or `null`.
    Missing,
    Known(Timestamp),
    /// It is no time under the mask.
    Unreadable,
}

/// What a slot without samples means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The message has nothing to say of it.
    NotCarried,
    /// Its path is missing, as of a time.
    Missing(SourceTime),
}

/// What a payload has at the slots of a plan.
pub(super) struct Found<'a> {
    samples: Vec<(Sample<'a>, u32)>,
    ends: Vec<Option<(u32, u32)>>,
    absences: Vec<Absence>,
}

const NO_SAMPLE: u32 = u32::MAX;

/// Most values taken from one message: a packet of 16 MiB could ask for gigabytes.
pub(super) const SAMPLES_MAX: usize = 1 << 20;

/// What is said of a payload that asks for more.
pub(super) fn too_many() -> String {
    format!("more than {SAMPLES_MAX} values")
}

impl<'a> Found<'a> {
    /// Nothing yet.
    pub(super) fn new(slots: usize, absence: Absence) -> Self {
        Self { samples: Vec::new(), ends: vec![None; slots], absences: vec![absence; slots] }
    }

    /// Makes room for samples.
    pub(super) fn reserve(&mut self, samples: usize) {
        self.samples.reserve(samples);
    }

    /// Appends a sample; an error when there are too many.
    pub(super) fn push(
        &mut self,
        slot: u32,
        datum: Datum<'a>,
        time: SourceTime,
    ) -> Result<(), String> {
        let position = self.samples.len();
        if position == SAMPLES_MAX {
            return Err(too_many());
        }
        let position = position as u32;
        self.samples.push((Sample { datum, time }, NO_SAMPLE));
        match &mut self.ends[slot as usize] {
            Some((_, last)) => {
                self.samples[*last as usize].1 = position;
                *last = position;
            }
            none => *none = Some((position, position)),
        }
        Ok(())
    }

    /// Says what it means that a slot has no samples.
    pub(super) fn set_absence(&mut self, slot: u32, absence: Absence) {
        self.absences[slot as usize] = absence;
    }

    /// What it means if a slot has no samples.
    pub(super) fn absence(&self, slot: u32) -> Absence {
        self.absences[slot as usize]
    }

    /// The samples of a slot, in the order of the payload.
    pub(super) fn of(&self, slot: u32) -> impl Iterator<Item = &Sample<'a>> {
        let mut position = self.ends[slot as usize].map_or(NO_SAMPLE, |(first, _)| first);
        std::iter::from_fn(move || {
            let (sample, next) = self.samples.get(position as usize)?;
            position = *next;
            Some(sample)
        })
    }
}

impl Datum<'_> {
    /// Whether a condition's literal is equal to it.
    pub(super) fn equals(&self, literal: &Literal) -> bool {
        let text = &*literal.text;
        match self {
            Self::Text(own) => own == text,
            _ if literal.quoted => false,
            Self::Null => text == "null",
            Self::Boolean(own) => text == if *own { "true" } else { "false" },
            Self::Number(own) => {
                own == text
                    || decimal::canonical(own)
                        .is_some_and(|own| decimal::canonical(text) == Some(own))
            }
            Self::Compound(_) | Self::Broken(_) => false,
        }
    }
}

/// How the times of a station are read.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) mask: TimeMask,
    pub(super) zone: Zone,
}

impl Times {
    /// Reads what stands in the time field.
    pub(super) fn read(&self, datum: &Datum<'_>, report: &mut MappingReport) -> SourceTime {
        let read = match datum {
            Datum::Null => return SourceTime::Missing,
            Datum::Number(text) | Datum::Text(text) => self.mask.read(text, &self.zone).ok(),
            _ => None,
        };
        match read {
            Some(time) => SourceTime::Known(time),
            None => {
                report.time_unreadable.get_or_insert_with(|| excerpt(datum).into_owned());
                SourceTime::Unreadable
            }
        }
    }
}

/// What stood there, for people: the beginning, when it is long.
pub(super) fn excerpt<'a>(datum: &'a Datum<'_>) -> Cow<'a, str> {
    const CHARACTERS_MAX: usize = 100;
    let text = match datum {
        Datum::Null => "null",
        Datum::Boolean(true) => "true",
        Datum::Boolean(false) => "false",
        Datum::Number(text) | Datum::Text(text) | Datum::Compound(text) => text,
        Datum::Broken(raw) => raw,
    };
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Line and column, both from 1, the column in bytes, of an offset.
fn place(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    (memchr::memchr_iter(b'\n', before).count() + 1, before.len() - line_start + 1)
}

/// The text of a payload: UTF-8, without a leading byte order mark.
fn utf8(payload: &[u8]) -> Result<&str, String> {
    match std::str::from_utf8(payload) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let (line, column) = place(payload, error.valid_up_to());
            Err(format!("not UTF-8 at line {line} column {column}"))
        }
    }
}
