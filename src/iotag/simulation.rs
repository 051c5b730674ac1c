//! Values of simulated stations, as D2000 makes them: numbers follow a sinusoid from 0 to 100,
//! logical values are random.

use super::{TagType, Timestamp, Value};

/// Seconds of one wave.
pub const PERIOD_S: f64 = 60.0;

/// The value of a tag at a time; `random` is any number, different every time. `None`: tags of this
/// type are not simulated.
pub fn simulated(tag_type: TagType, time: Timestamp, random: u64) -> Option<Value> {
    match tag_type {
        TagType::Ai | TagType::Ao => Some(Value::Real(wave(time))),
        TagType::Ci | TagType::Co => Some(Value::Integer(wave(time).round() as i128)),
        TagType::Di | TagType::Do => Some(Value::Logical(random & 1 == 1)),
        _ => None,
    }
}

fn wave(time: Timestamp) -> f64 {
    let seconds = (time.as_millisecond() as f64 / 1000.0).rem_euclid(PERIOD_S);
    50.0 + 50.0 * (seconds / PERIOD_S * std::f64::consts::TAU).sin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_go_from_0_to_100() {
        let at = |second| simulated(TagType::Ci, Timestamp::from_second(second).unwrap(), 0);
        assert_eq!(at(0), Some(Value::Integer(50)));
        assert_eq!(at(15), Some(Value::Integer(100)));
        assert_eq!(at(45), Some(Value::Integer(0)));
        assert_eq!(at(-15), Some(Value::Integer(0)));
        assert_eq!(simulated(TagType::Di, Timestamp::UNIX_EPOCH, 3), Some(Value::Logical(true)));
        assert_eq!(simulated(TagType::TxtI, Timestamp::UNIX_EPOCH, 3), None);
    }
}
