//! Moments to texts.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::Offset;

use super::zone::Zone;
use super::{Part, Token};

/// The count of units of ten to the minus `digits` seconds since 1970, rounded down.
pub(super) fn unix(time: Timestamp, digits: u8) -> i128 {
    time.as_nanosecond().div_euclid(10_i128.pow(9 - u32::from(digits)))
}

pub(super) fn tokens(tokens: &[Token], time: Timestamp, zone: &Zone) -> String {
    let offset = offset_to_write(tokens, zone.offset_at(time));
    let local = offset.to_datetime(time);
    let mut text = String::new();
    for token in tokens {
        // Writing to a `String` cannot fail.
        let _ = match token {
            Token::Literal(literal) => text.write_str(literal),
            Token::Part(part) => write_part(&mut text, *part, local, time, zone),
        };
    }
    text
}

/// `ZZZ` has no room for minutes, so the time is written at the full hour's offset.
fn offset_to_write(tokens: &[Token], offset: Offset) -> Offset {
    let unit = if tokens.contains(&Token::Part(Part::OffsetHours)) {
        3600
    } else if tokens
        .iter()
        .any(|token| matches!(token, Token::Part(Part::OffsetCompact | Part::OffsetColon)))
    {
        60
    } else {
        return offset;
    };
    Offset::from_seconds(offset.seconds() / unit * unit).unwrap_or(offset)
}

fn write_part(
    text: &mut String,
    part: Part,
    local: DateTime,
    time: Timestamp,
    zone: &Zone,
) -> std::fmt::Result {
    let weekday = weekday_name(local.date().weekday());
    // `offset_to_write` made the local time, so its distance to UTC is the offset to show.
    let seconds = local.duration_since(Offset::UTC.to_datetime(time)).as_secs();
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    match part {
        Part::Year4 => write!(text, "{:04}", local.year()),
        Part::Year2 => write!(text, "{:02}", local.year().rem_euclid(100)),
        Part::Month => write!(text, "{:02}", local.month()),
        Part::Day => write!(text, "{:02}", local.day()),
        Part::Hour => write!(text, "{:02}", local.hour()),
        Part::TradingHour => write!(text, "{:02}", trading_hour(local, time, zone)),
        Part::Minute => write!(text, "{:02}", local.minute()),
        Part::Second => write!(text, "{:02}", local.second()),
        Part::Fraction => write!(text, "{:03}", local.subsec_nanosecond() / 1_000_000),
        Part::WeekdayName => text.write_str(weekday),
        Part::Weekday3 => text.write_str(&weekday[..3]),
        Part::Weekday2 => text.write_str(&weekday[..2]),
        Part::OffsetHours => write!(text, "{sign}{:02}", minutes / 60),
        Part::OffsetCompact => write!(text, "{sign}{:02}{:02}", minutes / 60, minutes % 60),
        Part::OffsetColon => write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60),
    }
}

fn trading_hour(local: DateTime, time: Timestamp, zone: &Zone) -> i64 {
    let midnight = DateTime::from_parts(local.date(), Time::midnight());
    match zone.start_of_day(midnight) {
        Ok(start) => time.duration_since(start).as_hours() + 1,
        Err(_) => i64::from(local.hour()) + 1,
    }
}

fn weekday_name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}
