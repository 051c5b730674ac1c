//! Texts to moments.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::zone::{Repeated, Zone, seconds_to_offset};
use super::{BadTime, Part, Token};
use crate::iotag::decimal::Decimal;

/// A count of units since 1970; parts of a nanosecond are cut off.
pub(super) fn unix(text: &str, digits: u8) -> Result<Timestamp, BadTime> {
    let decimal = Decimal::parse(text).ok_or(BadTime)?;
    let whole = decimal.whole(9 - digits).ok_or(BadTime)?;
    let below = i128::from(!whole.exact && (whole.integer < 0 || text.starts_with('-')));
    from_nanosecond(whole.integer - below)
}

/// In a word's arithmetic where it is enough, to the year 2262: it is many times faster.
fn from_nanosecond(nanoseconds: i128) -> Result<Timestamp, BadTime> {
    const SECOND: i64 = 1_000_000_000;
    let time = match i64::try_from(nanoseconds) {
        Ok(word) => Timestamp::new(word / SECOND, (word % SECOND) as i32),
        Err(_) => Timestamp::from_nanosecond(nanoseconds),
    };
    time.map_err(|_| BadTime)
}

/// What has been read of a text so far.
pub(super) struct Reading<'a> {
    rest: &'a str,
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    trading_hour: Option<i8>,
    repeated: Repeated,
    minute: i8,
    second: i8,
    nanosecond: i32,
    offset: Option<Offset>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            year: 0,
            month: 0,
            day: 0,
            hour: 0,
            trading_hour: None,
            repeated: Repeated::Unmarked,
            minute: 0,
            second: 0,
            nanosecond: 0,
            offset: None,
        }
    }

    pub(super) fn run(mut self, tokens: &[Token]) -> Result<Self, BadTime> {
        for (position, token) in tokens.iter().enumerate() {
            if ends_before_fraction(self.rest, &tokens[position..]) {
                break;
            }
            match token {
                Token::Literal(literal) => {
                    self.rest = match literal_with_optional_point(&tokens[position..]) {
                        // `Z.mss` against a text that ends after `Z`.
                        Some(head) if self.rest == head => return Ok(Self { rest: "", ..self }),
                        _ => self.rest.strip_prefix(&**literal).ok_or(BadTime)?,
                    };
                }
                Token::Part(part) => {
                    let more_digits = matches!(tokens.get(position + 1), Some(Token::Part(_)));
                    self.part(*part, more_digits)?;
                }
            }
        }
        if self.rest.is_empty() { Ok(self) } else { Err(BadTime) }
    }

    fn part(&mut self, part: Part, part_follows: bool) -> Result<(), BadTime> {
        match part {
            Part::Year4 => self.year = self.digits(4)? as i16,
            Part::Year2 => {
                let year = self.digits(2)? as i16;
                self.year = if year < 70 { 2000 + year } else { 1900 + year };
            }
            Part::Month => self.month = self.digits(2)? as i8,
            Part::Day => self.day = self.digits(2)? as i8,
            Part::Hour => self.hour()?,
            Part::TradingHour => self.trading_hour = Some(self.digits(2)? as i8),
            Part::Minute => self.minute = self.digits(2)? as i8,
            Part::Second => self.second = self.digits(2)? as i8,
            Part::Fraction => self.fraction(if part_follows { 3 } else { 9 })?,
            Part::WeekdayName => self.letters(None)?,
            Part::Weekday3 => self.letters(Some(3))?,
            Part::Weekday2 => self.letters(Some(2))?,
            Part::OffsetHours | Part::OffsetCompact | Part::OffsetColon => self.offset(part)?,
        }
        Ok(())
    }

    fn digits(&mut self, count: usize) -> Result<i32, BadTime> {
        let digits = self.rest.get(..count).ok_or(BadTime)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadTime);
        }
        self.rest = &self.rest[count..];
        digits.parse().map_err(|_| BadTime)
    }

    /// Two digits, or D2000's `A2` and `B2`.
    fn hour(&mut self) -> Result<(), BadTime> {
        self.repeated = match self.rest.as_bytes().first() {
            Some(b'A') => Repeated::Summer,
            Some(b'B') => Repeated::Standard,
            _ => Repeated::Unmarked,
        };
        if self.repeated == Repeated::Unmarked {
            self.hour = self.digits(2)? as i8;
        } else {
            self.rest = &self.rest[1..];
            self.hour = self.digits(1)? as i8;
        }
        Ok(())
    }

    /// At most `most` digits after a decimal point.
    fn fraction(&mut self, most: usize) -> Result<(), BadTime> {
        let count = self.rest.bytes().take(most + 1).take_while(u8::is_ascii_digit).count();
        let count = if most < 9 { count.min(most) } else { count };
        if count == 0 || count > most {
            return Err(BadTime);
        }
        self.nanosecond = self.digits(count)? * 10_i32.pow(9 - count as u32);
        Ok(())
    }

    /// A weekday's name in any language: the date decides.
    fn letters(&mut self, count: Option<usize>) -> Result<(), BadTime> {
        let length: usize = self
            .rest
            .chars()
            .take_while(|character| character.is_alphabetic())
            .take(count.unwrap_or(usize::MAX))
            .map(char::len_utf8)
            .sum();
        let found = self.rest[..length].chars().count();
        if found == 0 || count.is_some_and(|count| found < count) {
            return Err(BadTime);
        }
        self.rest = &self.rest[length..];
        Ok(())
    }

    fn offset(&mut self, part: Part) -> Result<(), BadTime> {
        if let Some(rest) = self.rest.strip_prefix(['Z', 'z']) {
            self.rest = rest;
            self.offset = Some(Offset::UTC);
            return Ok(());
        }
        let negative = self.rest.starts_with('-');
        self.rest = self.rest.strip_prefix(['+', '-']).ok_or(BadTime)?;
        let hours = self.digits(2)?;
        if part == Part::OffsetColon {
            self.rest = self.rest.strip_prefix(':').ok_or(BadTime)?;
        }
        let minutes = if part == Part::OffsetHours { 0 } else { self.digits(2)? };
        self.offset = Some(seconds_to_offset(negative, hours, minutes).ok_or(BadTime)?);
        Ok(())
    }

    pub(super) fn resolve(self, zone: &Zone) -> Result<Timestamp, BadTime> {
        let date = Date::new(self.year, self.month, self.day).map_err(|_| BadTime)?;
        let time =
            Time::new(self.hour, self.minute, self.second, self.nanosecond).map_err(|_| BadTime)?;
        let local = DateTime::from_parts(date, time);
        if let Some(trading_hour) = self.trading_hour {
            return self.resolve_trading_hour(local, trading_hour, zone);
        }
        match self.offset {
            Some(_) if self.repeated != Repeated::Unmarked => Err(BadTime),
            Some(offset) => offset.to_timestamp(local).map_err(|_| BadTime),
            None => zone.resolve(local, self.repeated),
        }
    }

    /// Trading hours count the hours of a local day as they pass: 1 to 23, 24 or 25.
    fn resolve_trading_hour(
        &self,
        local: DateTime,
        trading_hour: i8,
        zone: &Zone,
    ) -> Result<Timestamp, BadTime> {
        if !(1..=25).contains(&trading_hour) {
            return Err(BadTime);
        }
        let midnight = DateTime::from_parts(local.date(), Time::midnight());
        let start = match self.offset {
            Some(offset) => offset.to_timestamp(midnight).map_err(|_| BadTime)?,
            None => zone.start_of_day(midnight)?,
        };
        let passed = SignedDuration::from_hours(i64::from(trading_hour) - 1)
            + SignedDuration::from_mins(i64::from(self.minute))
            + SignedDuration::new(i64::from(self.second), self.nanosecond);
        let time = start.checked_add(passed).map_err(|_| BadTime)?;
        let offset = self.offset.unwrap_or_else(|| zone.offset_at(time));
        if offset.to_datetime(time).date() == local.date() { Ok(time) } else { Err(BadTime) }
    }
}

/// A final `.mss` may be absent.
fn ends_before_fraction(rest: &str, tokens: &[Token]) -> bool {
    rest.is_empty()
        && matches!(tokens, [Token::Literal(literal), Token::Part(Part::Fraction)]
            if matches!(&**literal, "." | ","))
}

/// The literal before a final `.mss` without its point, when it is more than the point.
fn literal_with_optional_point(tokens: &[Token]) -> Option<&str> {
    match tokens {
        [Token::Literal(literal), Token::Part(Part::Fraction)] => literal.strip_suffix('.'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn words_of_nanoseconds_are_the_same_times(word in proptest::num::i64::ANY) {
            for nanoseconds in [i128::from(word), i128::from(word) * 16] {
                let expected = Timestamp::from_nanosecond(nanoseconds).ok();
                proptest::prop_assert_eq!(from_nanosecond(nanoseconds).ok(), expected);
            }
        }
    }
}
