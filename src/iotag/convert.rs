//! What stands in a message to a value of a tag's type. Contract, section 7, "Conversions".

mod interval;

use std::borrow::Cow;
use std::sync::Arc;

use super::decimal::{Decimal, short_f64};
use super::payload::{Datum, json};
use super::time_mask::{TimeMask, Zone, read_rfc3339};
use super::{FourState, Number, Reason, Tag, TagType, Value};

pub(super) use interval::interval;

/// How the values of one tag are made, compiled from the tag.
#[derive(Clone, Debug)]
pub(super) struct Conversion {
    tag_type: TagType,
    /// A real tag without scaling and limits.
    is_plain_real: bool,
    scaling: Option<Scaling>,
    min: Option<Number>,
    max: Option<Number>,
    on_text: Option<Arc<str>>,
    off_text: Option<Arc<str>>,
}

/// value = raw * scale + offset, other than value = raw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scaling {
    pub(super) scale: Number,
    pub(super) offset: Number,
}

impl Scaling {
    /// `None` when the scale is 1 and the offset 0.
    pub(super) fn of(tag: &Tag) -> Option<Self> {
        let scaling = Self { scale: integral(tag.scale), offset: integral(tag.offset) };
        let identity = Self { scale: Number::Integer(1), offset: Number::Integer(0) };
        (scaling != identity).then_some(scaling)
    }

    fn real(self, raw: f64) -> f64 {
        raw * self.scale.as_f64() + self.offset.as_f64()
    }
}

/// `2.0` is as exact as `2`.
fn integral(number: Number) -> Number {
    match number {
        Number::Real(real) if real.fract() == 0.0 && real.abs() <= 9_007_199_254_740_992.0 => {
            Number::Integer(real as i128)
        }
        number => number,
    }
}

impl Conversion {
    pub(super) fn of(tag: &Tag) -> Self {
        let is_real = matches!(tag.tag_type, TagType::Ai | TagType::Ao);
        let scaling = Scaling::of(tag);
        let is_unlimited = tag.min.is_none() && tag.max.is_none();
        Self {
            tag_type: tag.tag_type,
            is_plain_real: is_real && scaling.is_none() && is_unlimited,
            scaling,
            min: tag.min,
            max: tag.max,
            on_text: tag.on_text.clone(),
            off_text: tag.off_text.clone(),
        }
    }

    /// Converts; the reason of the bad quality when there is no such value.
    pub(super) fn convert(
        &self,
        datum: &Datum<'_>,
        mask: &TimeMask,
        zone: &Zone,
    ) -> Result<Value, Reason> {
        match datum {
            Datum::Null => return Err(Reason::Null),
            Datum::Broken(_) => return Err(Reason::BadPayload),
            _ => {}
        }
        let value = match self.tag_type {
            TagType::Ai | TagType::Ao => Value::Real(self.real(datum)?),
            TagType::Ci | TagType::Co => Value::Integer(self.integer(datum)?),
            TagType::Di | TagType::Do => Value::Logical(self.logical(datum)?),
            TagType::Qi => Value::FourState(self.four_state(datum)?),
            TagType::TxtI | TagType::TxtO => Value::Text(text(datum).into()),
            TagType::TiR | TagType::ToR => Value::Interval(self.interval(datum)?),
            TagType::TiA | TagType::ToA => moment(datum, mask, zone)?,
        };
        if self.is_within_limits(&value) { Ok(value) } else { Err(Reason::OutOfRange) }
    }

    /// The value of a real tag from a JSON number of the most frequent kind: short, neither scaled nor
    /// limited. `None`: see [`Self::convert`], which says the same of it.
    #[inline]
    pub(super) fn short_real(&self, raw: &str) -> Option<f64> {
        if self.is_plain_real { short_f64(raw) } else { None }
    }

    /// The value of a text tag from a JSON scalar of the most frequent kind: without escapes, and not
    /// null. `None`: see [`Self::convert`], which says the same of it.
    #[inline]
    pub(super) fn short_text<'a>(&self, raw: &'a str) -> Option<&'a str> {
        if self.tag_type != TagType::TxtI {
            return None;
        }
        match raw.as_bytes() {
            [b'"', text @ .., b'"'] if memchr::memchr(b'\\', text).is_none() => {
                raw.get(1..raw.len() - 1)
            }
            [b'-' | b'0'..=b'9' | b't' | b'f', ..] => Some(raw),
            _ => None,
        }
    }

    /// `min` and `max` apply to numbers and intervals.
    pub(super) fn is_within_limits(&self, value: &Value) -> bool {
        let below = |bound: Number| match *value {
            Value::Integer(integer) => integer_below(integer, bound),
            Value::Real(real) | Value::Interval(real) => real < bound.as_f64(),
            _ => false,
        };
        let above = |bound: Number| match *value {
            Value::Integer(integer) => integer_above(integer, bound),
            Value::Real(real) | Value::Interval(real) => real > bound.as_f64(),
            _ => false,
        };
        !self.min.is_some_and(below) && !self.max.is_some_and(above)
    }

    fn real(&self, datum: &Datum<'_>) -> Result<f64, Reason> {
        let raw = match datum {
            Datum::Boolean(on) => f64::from(u8::from(*on)),
            _ => finite(number(datum)?)?,
        };
        match self.scaling {
            None => Ok(raw),
            Some(scaling) => finite(scaling.real(raw)),
        }
    }

    fn integer(&self, datum: &Datum<'_>) -> Result<i128, Reason> {
        let raw = match datum {
            Datum::Boolean(on) => i128::from(*on),
            _ => {
                let whole = decimal(datum)?.whole(0).ok_or(Reason::OutOfRange)?;
                if !whole.exact {
                    return Err(Reason::TypeMismatch);
                }
                whole.integer
            }
        };
        let value = match self.scaling {
            None => Some(raw),
            Some(Scaling { scale: Number::Integer(scale), offset: Number::Integer(offset) }) => {
                raw.checked_mul(scale).and_then(|product| product.checked_add(offset))
            }
            // `as` saturates, far outside of the range.
            Some(scaling) => Some(scaling.real(raw as f64).round() as i128),
        };
        value.filter(|value| is_integer(*value)).ok_or(Reason::OutOfRange)
    }

    fn logical(&self, datum: &Datum<'_>) -> Result<bool, Reason> {
        if let Some(on) = self.on_off_text(datum) {
            return Ok(on);
        }
        match datum {
            Datum::Boolean(on) => Ok(*on),
            Datum::Text(text) => match logical_word(text) {
                Some(on) => Ok(on),
                None => zero_or_one(datum),
            },
            _ => zero_or_one(datum),
        }
    }

    fn four_state(&self, datum: &Datum<'_>) -> Result<FourState, Reason> {
        if let Some(on) = self.on_off_text(datum) {
            return Ok(if on { FourState::On } else { FourState::Off });
        }
        if let Datum::Boolean(on) = datum {
            return Ok(if *on { FourState::On } else { FourState::Off });
        }
        if let Datum::Text(text) = datum
            && let Some(state) = four_state_word(text)
        {
            return Ok(state);
        }
        let whole = decimal(datum)?.whole(0).filter(|whole| whole.exact);
        whole
            .and_then(|whole| usize::try_from(whole.integer).ok())
            .and_then(|number| FourState::ALL.get(number).copied())
            .ok_or(Reason::TypeMismatch)
    }

    /// `on_text` and `off_text` go before every other reading.
    fn on_off_text(&self, datum: &Datum<'_>) -> Option<bool> {
        if self.on_text.is_none() && self.off_text.is_none() {
            return None;
        }
        let text = text(datum);
        let equals = |wanted: &Option<Arc<str>>| {
            wanted.as_deref().is_some_and(|wanted| text == wanted || text.trim() == wanted)
        };
        if equals(&self.on_text) {
            Some(true)
        } else if equals(&self.off_text) {
            Some(false)
        } else {
            None
        }
    }

    /// Numbers are scaled; `hh:mi:ss` and ISO 8601 durations say their unit themselves.
    fn interval(&self, datum: &Datum<'_>) -> Result<f64, Reason> {
        match decimal(datum) {
            Ok(decimal) => {
                let raw = finite(decimal.to_f64())?;
                self.scaling.map_or(Ok(raw), |scaling| finite(scaling.real(raw)))
            }
            Err(mismatch) => match datum {
                Datum::Text(text) => finite(interval(text.trim()).ok_or(mismatch)?),
                _ => Err(mismatch),
            },
        }
    }
}

/// Whether an integer is one that a tag can have.
pub(super) fn is_integer(integer: i128) -> bool {
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&integer)
}

/// true/false/on/off/yes/no in any case.
pub(super) fn logical_word(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(["true", "on", "yes"]) {
        Some(true)
    } else if is(["false", "off", "no"]) {
        Some(false)
    } else {
        None
    }
}

fn four_state_word(text: &str) -> Option<FourState> {
    let text = text.trim();
    FourState::ALL.into_iter().find(|state| text.eq_ignore_ascii_case(state.as_str()))
}

fn zero_or_one(datum: &Datum<'_>) -> Result<bool, Reason> {
    match decimal(datum)?.whole(0) {
        Some(whole) if whole.exact && whole.integer == 0 => Ok(false),
        Some(whole) if whole.exact && whole.integer == 1 => Ok(true),
        _ => Err(Reason::TypeMismatch),
    }
}

/// The number that a datum is or, trimmed, says.
fn decimal<'a>(datum: &'a Datum<'_>) -> Result<Decimal<'a>, Reason> {
    match datum {
        Datum::Number(text) | Datum::Text(text) => {
            Decimal::parse(text.trim()).ok_or(Reason::TypeMismatch)
        }
        _ => Err(Reason::TypeMismatch),
    }
}

/// As [`decimal`], as a float. One look is enough where the first character tells a number from the
/// words that Rust reads as one: `inf` and `NaN`.
fn number(datum: &Datum<'_>) -> Result<f64, Reason> {
    let (Datum::Number(text) | Datum::Text(text)) = datum else {
        return Err(Reason::TypeMismatch);
    };
    if let Some(real) = short_f64(text) {
        return Ok(real);
    }
    let text = text.trim();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(Reason::TypeMismatch);
    }
    text.parse().map_err(|_| Reason::TypeMismatch)
}

fn finite(real: f64) -> Result<f64, Reason> {
    if real.is_finite() { Ok(real) } else { Err(Reason::OutOfRange) }
}

fn text<'a>(datum: &'a Datum<'_>) -> Cow<'a, str> {
    match datum {
        Datum::Null | Datum::Broken(_) => Cow::Borrowed(""),
        Datum::Boolean(true) => Cow::Borrowed("true"),
        Datum::Boolean(false) => Cow::Borrowed("false"),
        Datum::Number(text) | Datum::Text(text) => Cow::Borrowed(text),
        Datum::Compound(raw) => Cow::Owned(json::compact(raw)),
    }
}

fn moment(datum: &Datum<'_>, mask: &TimeMask, zone: &Zone) -> Result<Value, Reason> {
    let read = match datum {
        Datum::Number(text) => mask.read(text, zone),
        Datum::Text(text) => mask.read(text, zone).or_else(|_| read_rfc3339(text)),
        _ => return Err(Reason::TypeMismatch),
    };
    read.map(Value::Moment).map_err(|_| Reason::TypeMismatch)
}

/// Exact, also where a float has no room for the integer.
fn integer_below(integer: i128, bound: Number) -> bool {
    match bound {
        Number::Integer(bound) => integer < bound,
        Number::Real(bound) => integer < bound.ceil() as i128,
    }
}

fn integer_above(integer: i128, bound: Number) -> bool {
    match bound {
        Number::Integer(bound) => integer > bound,
        Number::Real(bound) => integer > bound.floor() as i128,
    }
}

#[cfg(test)]
mod tests;
