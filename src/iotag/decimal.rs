//! Numbers as they are written, so that no digit is lost on the way through a float.

use std::cmp::Ordering;

/// A decimal number in text: `[+-] digits [. digits] [e [+-] digits]`, a digit on either side of
/// the point enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal<'a> {
    text: &'a str,
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

/// The integer part of a [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Rounded towards zero.
    pub(crate) integer: i128,
    /// What was cut off is zero.
    pub(crate) exact: bool,
}

/// Most digits that surely fit an `i128`.
const DIGITS_MAX: u64 = 38;
/// Exponents beyond are the same to every use; far from overflow in sums with text lengths.
const EXPONENT_MAX: i64 = 1 << 40;

impl<'a> Decimal<'a> {
    /// Reads a number; `None` when the text is anything else (`NaN`, `0x10`, an empty text).
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = split_digits(unsigned);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest.strip_prefix(['e', 'E']) {
            Some(written) => read_exponent(written)?,
            None if rest.is_empty() => 0,
            None => return None,
        };
        Some(Self { text, negative, whole, fraction, exponent })
    }

    /// The nearest float; infinite when the number is beyond its range.
    pub(crate) fn to_f64(self) -> f64 {
        self.text.parse().unwrap_or(f64::NAN)
    }

    /// The integer part of the number times ten to a power; `None` when it is beyond `i128`.
    pub(crate) fn whole(self, power: u8) -> Option<Whole> {
        let digits = || self.whole.bytes().chain(self.fraction.bytes());
        let leading = digits().take_while(|digit| *digit == b'0').count();
        let significant = (self.whole.len() + self.fraction.len() - leading) as u64;
        if significant == 0 {
            return Some(Whole { integer: 0, exact: true });
        }
        let shift = self.exponent + i64::from(power) - self.fraction.len() as i64;
        let kept = match shift.cmp(&0) {
            Ordering::Less => significant.saturating_sub(shift.unsigned_abs()),
            _ => significant,
        };
        let zeros = shift.max(0) as u64;
        if kept + zeros > DIGITS_MAX {
            return None;
        }
        let mut digits = digits().skip(leading);
        let mut magnitude: i128 = 0;
        for digit in digits.by_ref().take(kept as usize) {
            magnitude = magnitude * 10 + i128::from(digit - b'0');
        }
        for _ in 0..zeros {
            magnitude *= 10;
        }
        let exact = digits.all(|digit| digit == b'0');
        let integer = if self.negative { -magnitude } else { magnitude };
        Some(Whole { integer, exact })
    }
}

/// One text for all ways to write a number, an integer's own; `None` when it is none.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let decimal = Decimal::parse(text)?;
    match decimal.whole(0) {
        Some(whole) if whole.exact => Some(whole.integer.to_string()),
        _ => Some(decimal.to_f64().to_string()),
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut magnitude: i64 = 0;
    for digit in digits.bytes() {
        magnitude = (magnitude * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
    }
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, power: u8) -> Option<(i128, bool)> {
        let whole = Decimal::parse(text).unwrap().whole(power)?;
        Some((whole.integer, whole.exact))
    }

    #[test]
    fn integers_are_exact() {
        for (text, power, expected) in [
            ("5", 0, Some((5, true))),
            ("5.0", 0, Some((5, true))),
            ("1e3", 0, Some((1000, true))),
            ("5.7", 0, Some((5, false))),
            ("-5.7", 0, Some((-5, false))),
            ("0.5e1", 0, Some((5, true))),
            ("50e-1", 0, Some((5, true))),
            ("50e-2", 0, Some((0, false))),
            ("9007199254740993.0", 0, Some((9_007_199_254_740_993, true))),
            ("18446744073709551615", 0, Some((18_446_744_073_709_551_615, true))),
            ("0e999999999999999999999", 0, Some((0, true))),
            ("1e999999999999999999999", 0, None),
            ("1e-999999999999999999999", 0, Some((0, false))),
            ("1521797973.25", 9, Some((1_521_797_973_250_000_000, true))),
            ("1.0000000001", 9, Some((1_000_000_000, false))),
            ("00012", 0, Some((12, true))),
            (".5", 1, Some((5, true))),
            ("5.", 0, Some((5, true))),
        ] {
            assert_eq!(whole(text, power), expected, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in ["", "-", ".", "e5", "1e", "1e+", "NaN", "inf", "0x10", "1_000", "1,5", " 1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
