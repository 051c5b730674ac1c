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
/// Most digits that surely fit a `u64`.
const WORD_DIGITS_MAX: usize = 19;
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
        self.short_whole(power).or_else(|| self.any_whole(power))
    }

    /// Of a number that fits a word, as most do, and of which nothing is cut off.
    fn short_whole(self, power: u8) -> Option<Whole> {
        let shift = self.exponent + i64::from(power) - self.fraction.len() as i64;
        let room = WORD_DIGITS_MAX.checked_sub(self.whole.len() + self.fraction.len())?;
        let zeros = u32::try_from(shift).ok().filter(|zeros| *zeros as usize <= room)?;
        let mut magnitude: u64 = 0;
        for part in [self.whole, self.fraction] {
            for digit in part.bytes() {
                magnitude = magnitude * 10 + u64::from(digit - b'0');
            }
        }
        let magnitude = i128::from(magnitude * 10_u64.pow(zeros));
        Some(Whole { integer: if self.negative { -magnitude } else { magnitude }, exact: true })
    }

    fn any_whole(self, power: u8) -> Option<Whole> {
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

/// The nearest float to a number of at most fifteen digits without exponent, as most are; `None` when
/// the text is anything else.
pub(crate) fn short_f64(text: &str) -> Option<f64> {
    /// Exact, as is every whole number of so many digits: the quotient is the nearest float.
    const POWERS: [f64; SHORT_DIGITS_MAX + 1] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', unsigned @ ..] => (true, unsigned),
        unsigned => (false, unsigned),
    };
    if unsigned.len() > SHORT_DIGITS_MAX + 1 {
        return None;
    }
    // Too few digits to overflow, and the length was checked.
    let mut magnitude: i64 = 0;
    let mut point = None;
    for (at, byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                magnitude = magnitude.wrapping_mul(10).wrapping_add(i64::from(byte & 15));
            }
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let digits = unsigned.len() - usize::from(point.is_some());
    let fraction = point.map_or(0, |point| digits - point);
    if digits == 0 || digits > SHORT_DIGITS_MAX {
        return None;
    }
    let real = magnitude as f64 / POWERS[fraction];
    Some(if negative { -real } else { real })
}

const SHORT_DIGITS_MAX: usize = 15;

/// One text for all ways to write a number, an integer's own; `None` when it is none.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let decimal = Decimal::parse(text)?;
    match decimal.whole(0) {
        Some(whole) if whole.exact => Some(whole.integer.to_string()),
        _ => Some(decimal.to_f64().to_string()),
    }
}

/// The order of two numbers: exact between integers, else that of the nearest floats. `None`: one of
/// them is no number.
pub(crate) fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (Decimal::parse(one)?, Decimal::parse(other)?);
    match (one.whole(0), other.whole(0)) {
        (Some(one), Some(other)) if one.exact && other.exact => {
            Some(one.integer.cmp(&other.integer))
        }
        _ => one.to_f64().partial_cmp(&other.to_f64()),
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
    fn numbers_have_an_order() {
        for (one, other, order) in [
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("1e3", "1000.0", Ordering::Equal),
            ("-0", "0", Ordering::Equal),
            ("0.1", "0.2", Ordering::Less),
            ("1e400", "5", Ordering::Greater),
            ("18446744073709551615", "18446744073709551614.5", Ordering::Equal),
        ] {
            assert_eq!(compare(one, other), Some(order), "{one} {other}");
            assert_eq!(compare(other, one), Some(order.reverse()), "{other} {one}");
        }
        assert_eq!(compare("x", "1"), None);
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in ["", "-", ".", "e5", "1e", "1e+", "NaN", "inf", "0x10", "1_000", "1,5", " 1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(5000))]
        #[test]
        fn short_floats_are_the_nearest(text in r"-?[0-9]{0,9}[.]?[0-9]{0,9}|[-+.0-9e ]{0,6}") {
            if let Some(real) = short_f64(&text) {
                let nearest: f64 = text.parse().unwrap();
                proptest::prop_assert_eq!(real.to_bits(), nearest.to_bits());
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(5000))]
        #[test]
        fn short_integers_are_those_of_the_long_way(
            text in r"[-+]?[0-9]{0,12}[.]?[0-9]{0,10}(e[-+]?[0-9]{1,2})?",
            power in 0_u8..10,
        ) {
            if let Some(decimal) = Decimal::parse(&text)
                && let Some(whole) = decimal.short_whole(power)
            {
                proptest::prop_assert_eq!(Some(whole), decimal.any_whole(power));
            }
        }
    }

    #[test]
    fn most_numbers_are_short() {
        for text in
            ["0", "-0", "21.5", "-273.15", "123456789012345", ".5", "5.", "0.00000000000001"]
        {
            let nearest: f64 = text.parse().unwrap();
            assert_eq!(short_f64(text).map(f64::to_bits), Some(nearest.to_bits()), "{text}");
        }
        for text in
            ["", "-", ".", "-.", "1e3", "+1", " 1", "1234567890123456", "1.2.3", "inf", "--1"]
        {
            assert_eq!(short_f64(text), None, "{text}");
        }
    }

    #[test]
    fn words_and_longer_numbers_are_the_same() {
        for (text, power) in [
            ("9999999999999999999", 0),
            ("99999999999999999999", 0),
            ("9.9e18", 0),
            ("1e18", 1),
            ("1e19", 0),
            ("-18446744073709551616", 0),
            ("1744858463", 9),
            ("99999999999", 9),
        ] {
            let written: f64 = text.parse().unwrap();
            let expected = written * 10_f64.powi(power.into());
            let (integer, exact) = whole(text, power).unwrap();
            assert!(exact);
            assert!(
                (integer as f64 - expected).abs() <= expected.abs() * 1e-15,
                "{text}: {integer}"
            );
        }
        assert_eq!(whole("9999999999999999999", 0), Some((9_999_999_999_999_999_999, true)));
        assert_eq!(whole("99999999999999999999", 0), Some((99_999_999_999_999_999_999, true)));
    }
}
