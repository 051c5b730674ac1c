//! Durations, sizes and file modes as people write them.

use std::time::Duration;

use toml::de::DeValue;

/// Longest duration: what adds to any clock reading without overflow, and more than anybody needs.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// Longest that is read at all: MQTT 5.0 says "for ever" by it.
const READ_MAX: Duration = Duration::from_secs(u32::MAX as u64);

/// What a duration is, for messages.
pub(super) const DURATION: &str = "a duration such as `\"250ms\"`, `\"4s\"`, `\"5m\"`, `\"1h\"` or `\"7d\"`, or a number of seconds";
/// What a size is, for messages.
pub(super) const SIZE: &str = "a size such as `\"16MiB\"`, or a number of bytes";
/// What a file mode is, for messages.
pub(super) const MODE: &str = "a file mode such as `\"0660\"`";

/// Why a value is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is something else.
    Form,
    Negative,
    TooLarge,
}

/// `"250ms"`, `"4s"`, `"5m"`, `"1h"`, `"7d"`, or a number of seconds.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, Refused> {
    const UNITS: &[(&str, f64)] =
        &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    let seconds = match value {
        DeValue::Integer(_) | DeValue::Float(_) => number(value)?,
        DeValue::String(text) => with_unit(text, UNITS).ok_or(Refused::Form)?,
        _ => return Err(Refused::Form),
    };
    if seconds < 0.0 {
        return Err(Refused::Negative);
    }
    if seconds > READ_MAX.as_secs_f64() {
        return Err(Refused::TooLarge);
    }
    // Whole nanoseconds: 0.1 s is 100 ms, whatever the nearest binary fraction is.
    Duration::try_from_secs_f64(seconds).map_err(|_| Refused::Form)
}

/// A duration on a command line: `250ms`, `4s`, `5m`, `1h`, `7d`, or a number of seconds.
///
/// # Errors
///
/// It is none, in words.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = |_| "expected a duration such as `250ms`, `4s`, `5m` or `1h`".to_owned();
    let seconds: Result<f64, _> = text.parse();
    match seconds {
        Ok(seconds) => Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| *duration <= DURATION_MAX)
            .ok_or(Refused::Form)
            .map_err(refused),
        Err(_) => duration(&DeValue::String(text.into()))
            .and_then(|read| if read > DURATION_MAX { Err(Refused::TooLarge) } else { Ok(read) })
            .map_err(refused),
    }
}

/// `"16MiB"` or a number of bytes.
pub(super) fn size(value: &DeValue<'_>) -> Result<u64, Refused> {
    const UNITS: &[(&str, f64)] = &[
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
    ];
    let bytes = match value {
        DeValue::Integer(_) => number(value)?,
        DeValue::String(text) => with_unit(text, UNITS).ok_or(Refused::Form)?,
        _ => return Err(Refused::Form),
    };
    if bytes < 0.0 {
        return Err(Refused::Negative);
    }
    // Beyond 2^53 a whole number is no longer exact, and no limit lies there.
    if bytes > 9e15 {
        return Err(Refused::TooLarge);
    }
    if bytes.fract() == 0.0 { Ok(bytes as u64) } else { Err(Refused::Form) }
}

/// `"0660"`: octal digits; a TOML integer counts when it is written `0o660`.
pub(super) fn mode(value: &DeValue<'_>) -> Result<u32, Refused> {
    let digits = match value {
        DeValue::String(text) => text.strip_prefix("0o").unwrap_or(text),
        DeValue::Integer(integer) if integer.radix() == 8 => integer.as_str(),
        _ => return Err(Refused::Form),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')) {
        return Err(Refused::Form);
    }
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(Refused::TooLarge),
    }
}

/// A duration in its largest whole unit, as it may be written.
pub(super) fn shown(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    match seconds {
        _ if nanos != 0 => format!("{}ms", duration.as_secs_f64() * 1e3),
        1.. if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        1.. if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        1.. if seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// A TOML integer, exact.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i128> {
    let DeValue::Integer(integer) = value else { return None };
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A TOML number, finite.
fn number(value: &DeValue<'_>) -> Result<f64, Refused> {
    let number = match value {
        DeValue::Float(float) => float.as_str().parse().map_err(|_| Refused::Form)?,
        // An integer beyond 128 bits is certainly too large.
        _ => integer(value).ok_or(Refused::TooLarge)? as f64,
    };
    if f64::is_finite(number) { Ok(number) } else { Err(Refused::Form) }
}

/// A decimal number followed by one of the units.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let digits = text.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-')).count();
    let (number, unit) = text.split_at(digits);
    if !number.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return None;
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    let number: f64 = number.parse().ok()?;
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(text: &str, read: impl Fn(&DeValue<'_>) -> T) -> T {
        read(DeValue::parse(text).unwrap().get_ref())
    }

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, expected) in [
            ("\"250ms\"", Ok(Duration::from_millis(250))),
            ("\"4s\"", Ok(Duration::from_secs(4))),
            ("\"5m\"", Ok(Duration::from_secs(300))),
            ("\"1h\"", Ok(Duration::from_secs(3600))),
            ("\"7d\"", Ok(Duration::from_secs(604_800))),
            ("\"0s\"", Ok(Duration::ZERO)),
            ("\"1.5s\"", Ok(Duration::from_millis(1500))),
            ("\"10 s\"", Ok(Duration::from_secs(10))),
            ("30", Ok(Duration::from_secs(30))),
            ("0.1", Ok(Duration::from_millis(100))),
            ("0.25", Ok(Duration::from_millis(250))),
            ("4294967295", Ok(Duration::from_secs(4_294_967_295))),
            ("4294967296", Err(Refused::TooLarge)),
            ("-1", Err(Refused::Negative)),
            ("\"-1s\"", Err(Refused::Negative)),
            ("1e300", Err(Refused::TooLarge)),
            ("170141183460469231731687303715884105728", Err(Refused::TooLarge)),
            ("nan", Err(Refused::Form)),
            ("inf", Err(Refused::Form)),
            ("true", Err(Refused::Form)),
            ("\"\"", Err(Refused::Form)),
            ("\"s\"", Err(Refused::Form)),
            ("\"4\"", Err(Refused::Form)),
            ("\"4 seconds\"", Err(Refused::Form)),
            ("\"1h30m\"", Err(Refused::Form)),
            ("\"1.2.3s\"", Err(Refused::Form)),
        ] {
            assert_eq!(with(text, duration), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_whole_bytes() {
        for (text, expected) in [
            ("\"16MiB\"", Ok(16 << 20)),
            ("\"1.5KiB\"", Ok(1536)),
            ("\"2kB\"", Ok(2000)),
            ("\"7B\"", Ok(7)),
            ("4096", Ok(4096)),
            ("-1", Err(Refused::Negative)),
            ("\"0.3B\"", Err(Refused::Form)),
            ("\"16 mib\"", Err(Refused::Form)),
            ("1.0", Err(Refused::Form)),
            ("\"99999999999GiB\"", Err(Refused::TooLarge)),
        ] {
            assert_eq!(with(text, size), expected, "{text}");
        }
    }

    #[test]
    fn modes_are_octal() {
        for (text, expected) in [
            ("\"0660\"", Ok(0o660)),
            ("\"600\"", Ok(0o600)),
            ("0o640", Ok(0o640)),
            ("660", Err(Refused::Form)),
            ("\"0680\"", Err(Refused::Form)),
            ("\"\"", Err(Refused::Form)),
            ("\"01777\"", Err(Refused::TooLarge)),
            ("\"77777777777777777777\"", Err(Refused::TooLarge)),
        ] {
            assert_eq!(with(text, mode), expected, "{text}");
        }
    }
}
