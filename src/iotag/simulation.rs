//! Values of simulated stations: D2000's sinusoid and random states.

use std::f64::consts::TAU;

use super::{FourState, TagId, TagType, Timestamp, Value};

/// One turn of the sinusoid, in seconds.
pub const PERIOD_S: f64 = 60.0;

/// The simulated value of a tag, `elapsed_s` seconds into the simulation.
///
/// Numbers and intervals follow a sinusoid from 0 to 100, each tag at its own place in it; logical
/// and four-state tags are random, anew in every `step`; texts count the steps; moments are `now`.
/// The same arguments give the same value.
pub fn value(
    tag: TagId,
    tag_type: TagType,
    seed: u64,
    step: u64,
    elapsed_s: f64,
    now: Timestamp,
) -> Value {
    // The golden ratio spreads the tags evenly over the turn.
    let phase = f64::from(tag.0) * 0.618_033_988_749_895;
    let wave = || 50.0 + 50.0 * (TAU * (elapsed_s / PERIOD_S + phase)).sin();
    let random = || mixed(seed ^ mixed(step ^ mixed(u64::from(tag.0))));
    match tag_type {
        TagType::Ai | TagType::Ao => Value::Real(wave()),
        TagType::Ci | TagType::Co => Value::Integer(wave().round() as i128),
        TagType::Di | TagType::Do => Value::Logical(random() & 1 == 1),
        TagType::Qi => Value::FourState(FourState::ALL[(random() & 3) as usize]),
        TagType::TxtI | TagType::TxtO => Value::Text(format!("simulated {step}").into()),
        TagType::TiR | TagType::ToR => Value::Interval(wave()),
        TagType::TiA | TagType::ToA => Value::Moment(now),
    }
}

/// A finaliser that spreads every bit over all others.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(tag_type: TagType, seed: u64) -> Vec<Value> {
        let at =
            |step: u64| value(TagId(3), tag_type, seed, step, step as f64, Timestamp::UNIX_EPOCH);
        (0..60).map(at).collect()
    }

    #[test]
    fn numbers_swing_from_0_to_100() {
        let reals = series(TagType::Ai, 1);
        let real = |value: &Value| match value {
            Value::Real(real) => *real,
            other => panic!("{other:?}"),
        };
        let highest = reals.iter().map(real).fold(f64::MIN, f64::max);
        let lowest = reals.iter().map(real).fold(f64::MAX, f64::min);
        assert!((99.0..=100.0).contains(&highest) && (0.0..=1.0).contains(&lowest));
        assert!(series(TagType::Co, 1).iter().all(|value| match value {
            Value::Integer(integer) => (0..=100).contains(integer),
            _ => false,
        }));
    }

    #[test]
    fn states_are_random_and_a_seed_repeats_them() {
        let states = series(TagType::Di, 7);
        let on = states.iter().filter(|value| **value == Value::Logical(true)).count();
        assert!((15..=45).contains(&on), "{on} of 60 are on");
        assert_eq!(states, series(TagType::Di, 7));
        assert_ne!(states, series(TagType::Di, 8));
        let four = series(TagType::Qi, 7);
        assert!(FourState::ALL.iter().all(|state| four.contains(&Value::FourState(*state))));
    }

    #[test]
    fn every_type_has_a_value_of_its_own_kind() {
        for tag_type in TagType::ALL {
            let value = value(TagId(0), tag_type, 0, 0, 0.0, Timestamp::UNIX_EPOCH);
            assert!(value.is_of(tag_type), "{tag_type}: {value:?}");
        }
    }
}
