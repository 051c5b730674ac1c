//! RFC 3339, section 5.6.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::BadTime;
use super::zone::seconds_to_offset;

/// Reads `date-time`; see [`super::read_rfc3339`].
pub(super) fn read(text: &str) -> Result<Timestamp, BadTime> {
    let bytes = text.as_bytes();
    if bytes.len() < "2000-01-01T00:00:00Z".len() || !has_punctuation(bytes) {
        return Err(BadTime);
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0_i32, |number, byte| match byte {
            b'0'..=b'9' => Ok(number * 10 + i32::from(byte - b'0')),
            _ => Err(BadTime),
        })
    };
    let date = Date::new(number(0, 4)? as i16, number(5, 7)? as i8, number(8, 10)? as i8)
        .map_err(|_| BadTime)?;
    let second = number(17, 19)?;
    let (nanosecond, after) = fraction(bytes, 19)?;
    // POSIX: a leap second is the first second of what follows it.
    let leap = second == 60;
    let second = if leap { 59 } else { second };
    let time = Time::new(number(11, 13)? as i8, number(14, 16)? as i8, second as i8, nanosecond)
        .map_err(|_| BadTime)?;
    let offset = offset(&bytes[after..])?;
    let time = offset.to_timestamp(DateTime::from_parts(date, time)).map_err(|_| BadTime)?;
    if leap {
        time.checked_add(SignedDuration::from_secs(1)).map_err(|_| BadTime)
    } else {
        Ok(time)
    }
}

/// The punctuation of `2000-01-01T00:00:00`.
fn has_punctuation(bytes: &[u8]) -> bool {
    bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':'
        && bytes[16] == b':'
}

/// Nanoseconds, and where the text goes on.
fn fraction(bytes: &[u8], at: usize) -> Result<(i32, usize), BadTime> {
    if bytes[at] != b'.' {
        return Ok((0, at));
    }
    let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit());
    let mut nanosecond = 0;
    let mut unit = 100_000_000;
    let mut count = 0;
    for digit in digits {
        nanosecond += i32::from(digit - b'0') * unit;
        unit /= 10;
        count += 1;
    }
    if count == 0 { Err(BadTime) } else { Ok((nanosecond, at + 1 + count)) }
}

fn offset(bytes: &[u8]) -> Result<Offset, BadTime> {
    match bytes {
        [b'Z' | b'z'] => Ok(Offset::UTC),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) =>
        {
            let pair = |tens: &u8, ones: &u8| i32::from(tens - b'0') * 10 + i32::from(ones - b'0');
            seconds_to_offset(*sign == b'-', pair(h1, h2), pair(m1, m2)).ok_or(BadTime)
        }
        _ => Err(BadTime),
    }
}
