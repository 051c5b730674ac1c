//! Zones: from local times to moments and back.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::BadTime;
use crate::iotag::{SyntaxError, Timestamp};

/// Zone of times that do not say theirs.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    time_zone: TimeZone,
}

/// Which of two equal local times is meant when clocks are put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeated {
    /// Not said: standard time, the later one.
    Unmarked,
    /// D2000's `A`: summer time, the earlier one.
    Summer,
    /// D2000's `B`: standard time, the later one.
    Standard,
}

impl Zone {
    /// Reads `UTC`, an offset such as `+01:00`, or an IANA name.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text == "UTC" || text == "Z" {
            return Ok(Self { time_zone: TimeZone::UTC });
        }
        if text.starts_with(['+', '-']) {
            let offset = offset(text).ok_or_else(|| {
                SyntaxError::new(0, format!("`{text}` is no offset from UTC"))
                    .help("write it as in `+01:00`")
            })?;
            return Ok(Self { time_zone: TimeZone::fixed(offset) });
        }
        match TimeZone::get(text) {
            Ok(time_zone) => Ok(Self { time_zone }),
            Err(_) => Err(unknown(text)),
        }
    }

    pub(super) fn resolve(
        &self,
        local: DateTime,
        repeated: Repeated,
    ) -> Result<Timestamp, BadTime> {
        let ambiguous = self.time_zone.to_ambiguous_timestamp(local);
        let resolved = match (ambiguous.offset(), repeated) {
            (AmbiguousOffset::Fold { .. }, Repeated::Summer) => ambiguous.earlier(),
            (AmbiguousOffset::Fold { .. }, _) => ambiguous.later(),
            (AmbiguousOffset::Unambiguous { .. }, Repeated::Unmarked) => ambiguous.unambiguous(),
            // A time that clocks skip, and a mark on an hour that occurs once.
            _ => return Err(BadTime),
        };
        resolved.map_err(|_| BadTime)
    }

    /// The moment at which a local day begins.
    pub(super) fn start_of_day(&self, local: DateTime) -> Result<Timestamp, BadTime> {
        let zoned = local.date().to_zoned(self.time_zone.clone()).map_err(|_| BadTime)?;
        Ok(zoned.start_of_day().map_err(|_| BadTime)?.timestamp())
    }

    pub(super) fn offset_at(&self, time: Timestamp) -> Offset {
        self.time_zone.to_offset(time)
    }
}

/// `+01`, `+0130` or `+01:30`.
fn offset(text: &str) -> Option<Offset> {
    let negative = text.starts_with('-');
    let digits = text.get(1..)?;
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => (digits.get(..2)?, digits.get(2..)?),
        5 if digits.get(2..3)? == ":" => (digits.get(..2)?, digits.get(3..)?),
        _ => return None,
    };
    if !hours.bytes().chain(minutes.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    seconds_to_offset(negative, hours.parse().ok()?, minutes.parse().ok()?)
}

/// `None` when there is no such offset.
pub(super) fn seconds_to_offset(negative: bool, hours: i32, minutes: i32) -> Option<Offset> {
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Offset::from_seconds(if negative { -seconds } else { seconds }).ok()
}

fn unknown(text: &str) -> SyntaxError {
    let lower = text.to_lowercase();
    let place = lower.rsplit('/').next().unwrap_or_default().chars().count();
    let near = jiff::tz::db()
        .available()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_string().to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance)
        // More than half of the place's name is another place, not a misspelling.
        .filter(|(distance, _)| *distance <= 3 && *distance * 2 < place);
    let error = SyntaxError::new(0, format!("unknown time zone `{text}`"));
    match near {
        Some((_, name)) => error.help(format!("did you mean `{name}`?")),
        None => error.help(
            "write `UTC`, an offset such as `+01:00`, or an IANA name such as `Europe/Vienna`",
        ),
    }
}
