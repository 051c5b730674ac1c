//! A query put to a document.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;

use rustc_hash::FxHashMap;

use super::pattern::{Pattern, compile};
use super::query::{Comparable, Logical, Matched, Operator, Query, Segment, Selector};
use crate::iotag::decimal;
use crate::iotag::payload::json::{Place, Tape};
use crate::iotag::payload::{Datum, SAMPLES_MAX, too_many};

/// Most values looked at for one query and one message: nested filters over a large document could
/// keep a line busy for hours.
const LOOKS_MAX: u64 = 1 << 26;
/// What compiling a pattern counts as.
const COMPILING: u64 = 10_000;
/// Most patterns of a document that are remembered.
const PATTERNS_MAX: usize = 256;

/// The values that segments select, in the order of the query; the error says why it is given up.
pub(super) fn select(segments: &[Segment], tape: &Tape<'_>) -> Result<Vec<Place>, String> {
    let selecting =
        Selecting { tape, looks: Cell::new(0), patterns: RefCell::new(FxHashMap::default()) };
    selecting.run(segments, tape.root())
}

struct Selecting<'t, 'a> {
    tape: &'t Tape<'a>,
    looks: Cell<u64>,
    /// Patterns that stand in the document; `None`: it is none.
    patterns: RefCell<FxHashMap<(String, bool), Option<Pattern>>>,
}

/// A value as comparisons see it.
enum Operand<'a> {
    Nothing,
    Null,
    Boolean(bool),
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    Compound(Place),
}

impl<'t, 'a: 't> Selecting<'t, 'a> {
    fn look(&self, count: u64) -> Result<(), String> {
        let looks = self.looks.get() + count;
        self.looks.set(looks);
        if looks > LOOKS_MAX {
            return Err(format!("the query looks at more than {LOOKS_MAX} values"));
        }
        Ok(())
    }

    fn run(&self, segments: &[Segment], from: Place) -> Result<Vec<Place>, String> {
        let mut places = vec![from];
        for segment in segments {
            let mut selected = Vec::new();
            for place in places {
                if segment.is_descendant {
                    for inner in self.tape.descendants(place) {
                        self.apply(&segment.selectors, inner, &mut selected)?;
                    }
                } else {
                    self.apply(&segment.selectors, place, &mut selected)?;
                }
            }
            places = selected;
        }
        Ok(places)
    }

    fn apply(
        &self,
        selectors: &[Selector],
        place: Place,
        selected: &mut Vec<Place>,
    ) -> Result<(), String> {
        for selector in selectors {
            self.look(1)?;
            match selector {
                Selector::Name(name) => {
                    if self.tape.is_object(place) {
                        self.look(self.tape.children(place).count() as u64)?;
                        selected.extend(self.tape.member(place, name));
                    }
                }
                Selector::Wildcard => selected.extend(self.tape.children(place)),
                Selector::Index(_) | Selector::Slice { .. } if !self.tape.is_array(place) => {}
                Selector::Index(index) => selected.extend(self.element(place, *index)?),
                Selector::Slice { start, end, step } => {
                    self.slice(place, *start, *end, *step, selected)?;
                }
                Selector::Filter(filter) => {
                    for child in self.tape.children(place) {
                        if self.holds(filter, child)? {
                            selected.push(child);
                        }
                    }
                }
            }
            if selected.len() > SAMPLES_MAX {
                return Err(too_many());
            }
        }
        Ok(())
    }

    fn element(&self, place: Place, index: i64) -> Result<Option<Place>, String> {
        let length = self.tape.children(place).count();
        self.look(length as u64)?;
        let index = if index < 0 { index.saturating_add(length as i64) } else { index };
        Ok(usize::try_from(index).ok().and_then(|index| self.tape.children(place).nth(index)))
    }

    /// RFC 9535, section 2.3.4.2.
    fn slice(
        &self,
        place: Place,
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
        selected: &mut Vec<Place>,
    ) -> Result<(), String> {
        let elements: Vec<Place> = self.tape.children(place).collect();
        self.look(elements.len() as u64)?;
        let length = elements.len() as i64;
        let normal = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
        let mut take = |index: i64| {
            selected.extend(usize::try_from(index).ok().and_then(|index| elements.get(index)));
        };
        match step.cmp(&0) {
            Ordering::Equal => {}
            Ordering::Greater => {
                let upper = end.map_or(length, normal).clamp(0, length);
                let mut index = start.map_or(0, normal).clamp(0, length);
                while index < upper {
                    take(index);
                    index = index.saturating_add(step);
                }
            }
            Ordering::Less => {
                let lower = end.map_or(-1, normal).clamp(-1, length - 1);
                let mut index = start.map_or(length - 1, normal).clamp(-1, length - 1);
                while index > lower {
                    take(index);
                    index = index.saturating_add(step);
                }
            }
        }
        Ok(())
    }

    fn holds(&self, filter: &Logical, current: Place) -> Result<bool, String> {
        self.look(1)?;
        match filter {
            Logical::Or(parts) => {
                for part in parts {
                    if self.holds(part, current)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Logical::And(parts) => {
                for part in parts {
                    if !self.holds(part, current)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Logical::Not(inner) => Ok(!self.holds(inner, current)?),
            Logical::Exists(query) => Ok(!self.inner(query, current)?.is_empty()),
            Logical::Compare(operator, left, right) => {
                let (left, right) = (self.operand(left, current)?, self.operand(right, current)?);
                self.compare(*operator, &left, &right)
            }
            Logical::Matches { whole, text, pattern } => {
                let Operand::Text(text) = self.operand(text, current)? else { return Ok(false) };
                self.look(text.len() as u64 / 64)?;
                match pattern {
                    Matched::Known(pattern) => Ok(pattern.is_match(&text)),
                    Matched::Found(pattern) => match self.operand(pattern, current)? {
                        Operand::Text(pattern) => self.matches(&pattern, *whole, &text),
                        _ => Ok(false),
                    },
                }
            }
        }
    }

    /// With a pattern of the document; what is none matches nothing.
    fn matches(&self, pattern: &str, whole: bool, text: &str) -> Result<bool, String> {
        let mut patterns = self.patterns.borrow_mut();
        let key = (pattern.to_owned(), whole);
        if !patterns.contains_key(&key) {
            self.look(COMPILING + pattern.len() as u64)?;
            if patterns.len() == PATTERNS_MAX {
                patterns.clear();
            }
            patterns.insert(key.clone(), compile(pattern, whole).ok());
        }
        Ok(patterns.get(&key).and_then(Option::as_ref).is_some_and(|known| known.is_match(text)))
    }

    fn inner(&self, query: &Query, current: Place) -> Result<Vec<Place>, String> {
        let from = if query.is_absolute { self.tape.root() } else { current };
        self.run(&query.segments, from)
    }

    fn operand<'q>(&self, comparable: &'q Comparable, current: Place) -> Result<Operand<'q>, String>
    where
        'a: 'q,
    {
        let number = |count: usize| Operand::Number(Cow::Owned(count.to_string()));
        Ok(match comparable {
            Comparable::Null => Operand::Null,
            Comparable::Boolean(on) => Operand::Boolean(*on),
            Comparable::Number(text) => Operand::Number(Cow::Borrowed(text)),
            Comparable::Text(text) => Operand::Text(Cow::Borrowed(text)),
            Comparable::Query(query) | Comparable::Value(query) => {
                match *self.inner(query, current)? {
                    [place] => self.operand_at(place),
                    _ => Operand::Nothing,
                }
            }
            Comparable::Count(query) => number(self.inner(query, current)?.len()),
            Comparable::Length(inner) => match self.operand(inner, current)? {
                Operand::Text(text) => number(text.chars().count()),
                Operand::Compound(place) => {
                    let length = self.tape.children(place).count();
                    self.look(length as u64)?;
                    number(length)
                }
                _ => Operand::Nothing,
            },
        })
    }

    fn operand_at(&self, place: Place) -> Operand<'a> {
        match self.tape.datum(place) {
            Datum::Null => Operand::Null,
            Datum::Boolean(on) => Operand::Boolean(on),
            Datum::Number(text) => Operand::Number(text),
            Datum::Text(text) => Operand::Text(text),
            Datum::Compound(_) => Operand::Compound(place),
            // It is no text, and nothing else either.
            Datum::Broken(_) => Operand::Nothing,
        }
    }

    fn compare(
        &self,
        operator: Operator,
        left: &Operand<'_>,
        right: &Operand<'_>,
    ) -> Result<bool, String> {
        Ok(match operator {
            Operator::Equal => self.equal(left, right)?,
            Operator::NotEqual => !self.equal(left, right)?,
            Operator::Less => less(left, right),
            Operator::LessOrEqual => less(left, right) || self.equal(left, right)?,
            Operator::Greater => less(right, left),
            Operator::GreaterOrEqual => less(right, left) || self.equal(left, right)?,
        })
    }

    fn equal(&self, left: &Operand<'_>, right: &Operand<'_>) -> Result<bool, String> {
        self.look(1)?;
        Ok(match (left, right) {
            (Operand::Nothing, Operand::Nothing) | (Operand::Null, Operand::Null) => true,
            (Operand::Boolean(left), Operand::Boolean(right)) => left == right,
            (Operand::Number(left), Operand::Number(right)) => {
                decimal::compare(left, right) == Some(Ordering::Equal)
            }
            (Operand::Text(left), Operand::Text(right)) => left == right,
            (Operand::Compound(left), Operand::Compound(right)) => {
                self.equal_compounds(*left, *right)?
            }
            _ => false,
        })
    }

    /// Arrays and objects. Documents have few levels, so this goes no deeper.
    fn equal_compounds(&self, left: Place, right: Place) -> Result<bool, String> {
        let tape = self.tape;
        if tape.is_array(left) != tape.is_array(right)
            || tape.children(left).count() != tape.children(right).count()
        {
            return Ok(false);
        }
        if tape.is_array(left) {
            for (left, right) in tape.children(left).zip(tape.children(right)) {
                if !self.equal(&self.operand_at(left), &self.operand_at(right))? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        for own in tape.children(left) {
            self.look(tape.children(right).count() as u64)?;
            let other = tape.name(own).and_then(|name| tape.member(right, &name));
            let Some(other) = other else { return Ok(false) };
            if !self.equal(&self.operand_at(own), &self.operand_at(other))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Numbers and texts have an order, nothing else has.
fn less(left: &Operand<'_>, right: &Operand<'_>) -> bool {
    match (left, right) {
        (Operand::Number(left), Operand::Number(right)) => {
            decimal::compare(left, right) == Some(Ordering::Less)
        }
        // The order of the bytes of UTF-8 is that of the characters.
        (Operand::Text(left), Operand::Text(right)) => left < right,
        _ => false,
    }
}
