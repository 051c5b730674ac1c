//! A TOML file as written: every key and value with its place, read one typed key at a time.
//!
//! What has the wrong type or lies out of range is reported and reads as if it were absent; the
//! caller carries on with the default and finds the next mistake.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::keys::SectionKind;
use super::problems::Problems;
use super::quantity::{self, Refused};
use super::source::{FileId, Place, Sources};
use super::{suggest, unsupported};
use crate::qos::Qos;

/// A value and where it is written.
#[derive(Clone, Copy)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A table of a file.
pub(super) struct Section<'a> {
    pub(super) kind: SectionKind,
    /// Its header, its braces, or the key that holds it.
    pub(super) place: Place,
    table: &'a DeTable<'a>,
    /// Keys that are there under a misspelt name, which has been reported.
    misspelt: Vec<&'static str>,
}

/// Parses a TOML file as far as it goes; mistakes of syntax are reported.
pub(super) fn parse<'a>(file: FileId, text: &'a str, problems: &mut Problems) -> DeTable<'a> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let span = span.start.min(text.len())..span.end.min(text.len());
        problems.syntax(Place::new(file, span), said(error.message()));
    }
    table.into_inner()
}

impl<'a> Section<'a> {
    /// The top of a file.
    pub(super) fn top(
        kind: SectionKind,
        file: FileId,
        table: &'a DeTable<'a>,
        problems: &mut Problems,
    ) -> Self {
        Self::open(kind, Place::new(file, 0..0), table, problems)
    }

    /// A table; its unknown keys are reported.
    fn open(
        kind: SectionKind,
        place: Place,
        table: &'a DeTable<'a>,
        problems: &mut Problems,
    ) -> Self {
        let mut section = Self { kind, place, table, misspelt: Vec::new() };
        for (key, value) in table {
            if !kind.keys().contains(&key.get_ref().as_ref()) {
                let likely = section.check_other_key(key, value, problems);
                section.misspelt.extend(likely);
            }
        }
        section
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether a key is not there, not even under a misspelt name.
    pub(super) fn lacks(&self, key: &str) -> bool {
        !self.table.contains_key(key) && !self.misspelt.contains(&key)
    }

    /// Whether a list of tables is as complete as the user meant it to be.
    pub(super) fn is_whole(&self, key: &str) -> bool {
        let is_tables = |list: &DeArray<'_>| list.iter().all(|one| one.get_ref().is_table());
        match self.get(key) {
            Some(item) => item.value.as_array().is_some_and(is_tables),
            None => self.lacks(key),
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Written<&'a DeValue<'a>>> {
        let value = self.table.get(key)?;
        Some(Written { value: value.get_ref(), place: self.place_of(value) })
    }

    /// Where a key stands, for what is wrong with its presence.
    pub(super) fn key_place(&self, key: &str) -> Place {
        match self.table.get_key_value(key) {
            Some((key, _)) => self.place_of(key),
            None => self.place,
        }
    }

    /// A text.
    pub(super) fn text(&self, key: &str, problems: &mut Problems) -> Option<Written<&'a str>> {
        let item = self.get(key)?;
        let text = as_text(item.value);
        if text.is_none() {
            self.wrong_type(key, item, "a string", problems);
        }
        Some(Written { value: text?, place: item.place })
    }

    /// A text that must be there.
    pub(super) fn required_text(
        &self,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Written<&'a str>> {
        if self.lacks(key) {
            problems.missing(self.place, format!("{} needs the key `{key}`", self.kind.label()));
        }
        self.text(key, problems)
    }

    /// `true` or `false`.
    pub(super) fn logical(&self, key: &str, problems: &mut Problems) -> Option<bool> {
        let item = self.get(key)?;
        if let DeValue::Boolean(logical) = item.value {
            return Some(*logical);
        }
        self.wrong_type(key, item, "`true` or `false`", problems);
        None
    }

    /// A whole number within a range.
    pub(super) fn integer(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        problems: &mut Problems,
    ) -> Option<u64> {
        let item = self.get(key)?;
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(_) = item.value else {
            self.wrong_type(key, item, &expected, problems);
            return None;
        };
        let integer = quantity::integer(item.value).and_then(|number| u64::try_from(number).ok());
        let allowed = integer.filter(|integer| range.contains(integer));
        if allowed.is_none() {
            problems.wrong(item.place, format!("`{key}` must be {expected}"));
        }
        allowed
    }

    /// 0, 1 or 2.
    pub(super) fn qos(&self, key: &str, problems: &mut Problems) -> Option<Qos> {
        let level = self.integer(key, 0..=2, problems)?;
        Qos::from_level(level as u8)
    }

    /// A duration of at most so much.
    pub(super) fn duration(
        &self,
        key: &str,
        most: Duration,
        problems: &mut Problems,
    ) -> Option<Duration> {
        let item = self.get(key)?;
        let too_long = format!("`{key}` must be from 0 to {}", quantity::shown(most));
        match quantity::duration(item.value) {
            Ok(duration) if duration <= most => return Some(duration),
            Ok(_) | Err(Refused::TooLarge | Refused::Negative) => {
                problems.wrong(item.place, too_long);
            }
            Err(Refused::Form) => self.wrong_type(key, item, quantity::DURATION, problems),
        }
        None
    }

    /// A number of bytes within a range.
    pub(super) fn size(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
        problems: &mut Problems,
    ) -> Option<u64> {
        let item = self.get(key)?;
        match quantity::size(item.value) {
            Ok(size) if range.contains(&size) => return Some(size),
            Ok(_) | Err(Refused::TooLarge | Refused::Negative) => {
                let message =
                    format!("`{key}` must be from {} to {} bytes", range.start(), range.end());
                problems.wrong(item.place, message);
            }
            Err(Refused::Form) => self.wrong_type(key, item, quantity::SIZE, problems),
        }
        None
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let item = self.text(key, problems)?;
        if let Some((_, choice)) = words.iter().find(|(word, _)| *word == item.value) {
            return Some(*choice);
        }
        let choices = suggest::list(words.iter().map(|(word, _)| *word));
        let likely = suggest::nearest(item.value, words.iter().map(|(word, _)| *word));
        let problem = problems.wrong(
            item.place,
            format!("unknown `{key}` `{}`, expected one of {choices}", item.value),
        );
        if let Some(likely) = likely {
            problem.help(format!("did you mean `{likely}`?"));
        }
        None
    }

    /// A table under a key.
    pub(super) fn table(
        &self,
        key: &str,
        kind: SectionKind,
        problems: &mut Problems,
    ) -> Option<Section<'a>> {
        let item = self.get(key)?;
        match item.value {
            DeValue::Table(table) => Some(Self::open(kind, item.place, table, problems)),
            DeValue::Array(list) if self.kind == SectionKind::Top && !list.is_empty() => {
                let message = format!("there is only one {}", kind.label());
                problems.wrong(item.place, message).help(format!("write `[{key}]`"));
                None
            }
            _ => {
                self.wrong_type(key, item, "a table", problems);
                None
            }
        }
    }

    /// The tables of a list of tables.
    pub(super) fn tables(
        &self,
        key: &str,
        kind: SectionKind,
        problems: &mut Problems,
    ) -> Vec<Section<'a>> {
        let Some(item) = self.get(key) else { return Vec::new() };
        let DeValue::Array(list) = item.value else {
            let message =
                format!("expected a list of tables for `{key}`, found {}", kind_of(item.value));
            problems.wrong(item.place, message).help(format!("write `[[{key}]]`"));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(list.len());
        for element in list {
            let place = self.place_of(element);
            match element.get_ref() {
                DeValue::Table(table) => sections.push(Self::open(kind, place, table, problems)),
                other => {
                    let message = format!("expected a table, found {}", kind_of(other));
                    problems.wrong(place, message).help(format!("write `[[{key}]]`"));
                }
            }
        }
        sections
    }

    /// A text or a list of texts.
    pub(super) fn texts(
        &self,
        key: &str,
        problems: &mut Problems,
    ) -> Option<Vec<Written<&'a str>>> {
        let item = self.get(key)?;
        match item.value {
            DeValue::Array(list) => {
                let mut texts = Vec::with_capacity(list.len());
                for element in list {
                    let place = self.place_of(element);
                    match as_text(element.get_ref()) {
                        Some(value) => texts.push(Written { value, place }),
                        None => {
                            let found = kind_of(element.get_ref());
                            let message = format!("expected a string in `{key}`, found {found}");
                            problems.wrong(place, message);
                        }
                    }
                }
                Some(texts)
            }
            value => {
                let Some(value) = as_text(value) else {
                    self.wrong_type(key, item, "a string or a list of strings", problems);
                    return None;
                };
                Some(vec![Written { value, place: item.place }])
            }
        }
    }

    /// Reports a value of the wrong type; the value itself is not quoted, it may be a secret.
    pub(super) fn wrong_type(
        &self,
        key: &str,
        item: Written<&DeValue<'_>>,
        expected: &str,
        problems: &mut Problems,
    ) {
        let found = kind_of(item.value);
        problems.wrong(item.place, format!("expected {expected} for `{key}`, found {found}"));
    }

    /// A key that is not among those that work; yields the one that was probably meant.
    fn check_other_key(
        &self,
        key: &Spanned<std::borrow::Cow<'a, str>>,
        value: &Spanned<DeValue<'a>>,
        problems: &mut Problems,
    ) -> Option<&'static str> {
        let place = self.place_of(key);
        let name = key.get_ref().as_ref();
        if let Some(row) = unsupported::find(self.kind, name) {
            if !row.neutral.accepts(value.get_ref()) {
                let message = format!("`{name}` is not supported yet");
                problems.wrong(place, message).help(row.neutral.advice());
            }
            return None;
        }
        let problem =
            problems.wrong(place, format!("unknown key `{name}` in {}", self.kind.label()));
        let later = unsupported::ROWS.iter().filter(|row| row.section == self.kind);
        let known = self.kind.keys().iter().copied().chain(later.map(|row| row.key));
        let owner = |kind: &&SectionKind| {
            kind.keys().contains(&name) || unsupported::find(**kind, name).is_some()
        };
        let likely = suggest::nearest(name, known);
        if let Some(likely) = likely {
            problem.help(format!("did you mean `{likely}`?"));
        } else if let Some(owner) = SectionKind::ALL.iter().find(owner) {
            problem.help(format!("it is a key of {}", owner.label()));
        } else {
            let keys = suggest::list(self.kind.keys().iter().copied());
            problem.help(format!("the keys are {keys}"));
        }
        likely
    }

    /// Where something inside a value of this table is written.
    pub(super) fn inner_place<T>(&self, spanned: &Spanned<T>) -> Place {
        self.place_of(spanned)
    }

    fn place_of<T>(&self, spanned: &Spanned<T>) -> Place {
        Place::new(self.place.file, spanned.span())
    }
}

impl Written<&str> {
    /// Where the text itself begins, if it stands in the file letter by letter.
    pub(super) fn content(&self, sources: &Sources) -> Option<u32> {
        verbatim(self.value, self.place, sources)
    }
}

/// Where a text begins inside its place, if it stands there letter by letter.
pub(super) fn verbatim(text: &str, place: Place, sources: &Sources) -> Option<u32> {
    let at = sources.slice(place).find(text)?;
    // Inside quotes an empty text begins behind the first one.
    let at = if text.is_empty() { at + place.span().len() / 2 } else { at };
    Some(place.start + at as u32)
}

/// What a value is, for messages.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn as_text<'a>(value: &'a DeValue<'a>) -> Option<&'a str> {
    match value {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

/// What the parser says, in words that help.
fn said(message: &str) -> &str {
    match message {
        // A bare word that begins like `inf` or `nan`.
        "invalid float, expected `inf`" | "invalid float, expected `nan`" => {
            "string values must be quoted"
        }
        other => other,
    }
}
