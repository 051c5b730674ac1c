//! Time intervals as text: `hh:mi:ss[.mss]` and ISO 8601 durations.

use crate::iotag::decimal::Decimal;

/// Seconds; `None` when the text is neither form.
pub(in crate::iotag) fn interval(text: &str) -> Option<f64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let seconds = match unsigned.as_bytes().first()? {
        b'P' | b'p' => duration(&unsigned[1..])?,
        _ => clock(unsigned)?,
    };
    Some(if negative { -seconds } else { seconds })
}

/// `hh:mi:ss[.mss]` with any number of hours.
fn clock(text: &str) -> Option<f64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !is_digits(hours) || hours.len() > 9 {
        return None;
    }
    let (whole, fraction) = match seconds.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (seconds, None),
    };
    let in_sixty = |part: &str| {
        let number: u8 = part.parse().ok()?;
        (part.len() == 2 && is_digits(part) && number < 60).then_some(f64::from(number))
    };
    if fraction.is_some_and(|digits| !is_digits(digits) || digits.len() > 9) {
        return None;
    }
    let hours: u32 = hours.parse().ok()?;
    let whole_seconds = f64::from(hours) * 3600.0 + in_sixty(minutes)? * 60.0 + in_sixty(whole)?;
    match fraction {
        // One rounding, not two: the decimal is read as a whole.
        Some(digits) => format!("{whole_seconds:.0}.{digits}").parse().ok(),
        None => Some(whole_seconds),
    }
}

/// After `P`. Years and months are no fixed number of seconds, so only zero of them is taken.
fn duration(text: &str) -> Option<f64> {
    const DATE: [(char, f64); 4] = [('Y', 0.0), ('M', 0.0), ('W', 604_800.0), ('D', 86_400.0)];
    const TIME: [(char, f64); 3] = [('H', 3600.0), ('M', 60.0), ('S', 1.0)];
    let (date, time) = match text.split_once(['T', 't']) {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let (date, fraction) = units(date, &DATE)?;
    if fraction && !time.is_empty() {
        return None;
    }
    let (time, _) = units(time, &TIME)?;
    Some(date + time)
}

/// Numbers with units in their order; only the last may have a fraction, which is said.
fn units(mut text: &str, mut units: &[(char, f64)]) -> Option<(f64, bool)> {
    let mut seconds = 0.0;
    let mut fraction = false;
    while !text.is_empty() {
        let length = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ','))?;
        let number = text[..length].replace(',', ".");
        if fraction || !number.starts_with(|c: char| c.is_ascii_digit()) || number.ends_with('.') {
            return None;
        }
        fraction = number.contains('.');
        let number = Decimal::parse(&number)?.to_f64();
        let unit = text[length..].chars().next()?.to_ascii_uppercase();
        let position = units.iter().position(|(known, _)| *known == unit)?;
        if matches!(units[position].1, 0.0) && number != 0.0 {
            return None;
        }
        seconds += number * units[position].1;
        units = &units[position + 1..];
        text = &text[length + 1..];
    }
    Some((seconds, fraction))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read() {
        for (text, seconds) in [
            ("00:00:01", Some(1.0)),
            ("01:02:03.5", Some(3723.5)),
            ("100:00:00.001", Some(360_000.001)),
            ("-00:00:30", Some(-30.0)),
            ("00:60:00", None),
            ("00:00", None),
            ("00:00:1", None),
            ("00:00:01.", None),
            ("1:2:3:4", None),
            ("PT1.5S", Some(1.5)),
            ("PT1,5S", Some(1.5)),
            ("PT15M", Some(900.0)),
            ("P1DT2H", Some(93_600.0)),
            ("P2W", Some(1_209_600.0)),
            ("-PT1H", Some(-3600.0)),
            ("pt1h", Some(3600.0)),
            ("P0Y1D", Some(86_400.0)),
            ("P1Y", None),
            ("P1M", None),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("PT1S1M", None),
            ("PT1.5H1M", None),
            ("PT1", None),
            ("PT.5S", None),
            ("P1D€", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(interval(text), seconds, "{text}");
        }
    }
}
