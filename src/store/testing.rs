//! Values for the store's tests.

use proptest::prelude::*;

use crate::iotag::{FourState, Quality, Reason, TagValue, Timestamp, Value};

/// Any value that a tag may have.
pub(super) fn tag_value() -> impl Strategy<Value = TagValue> {
    let value = prop_oneof![
        any::<f64>().prop_filter("finite", |real| real.is_finite()).prop_map(Value::Real),
        any::<i64>().prop_map(|integer| Value::Integer(integer.into())),
        any::<u64>().prop_map(|integer| Value::Integer(integer.into())),
        any::<bool>().prop_map(Value::Logical),
        prop::sample::select(FourState::ALL.as_slice()).prop_map(Value::FourState),
        ".{0,40}".prop_map(|text| Value::Text(text.into())),
        (-1e9..1e9).prop_map(Value::Interval),
        timestamp().prop_map(Value::Moment),
    ];
    (
        prop::option::weighted(0.9, value),
        prop::sample::select(Quality::ALL.as_slice()),
        prop::sample::select(Reason::ALL.as_slice()),
        timestamp(),
        prop::option::of(timestamp()),
    )
        .prop_map(|(value, quality, reason, received, time)| TagValue {
            value,
            quality,
            reason,
            time: time.unwrap_or(received),
            received,
        })
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    let (least, most) = (Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
    prop_oneof![
        3 => 1_700_000_000_000_000_000..1_800_000_000_000_000_000_i128,
        1 => least..=most,
    ]
    .prop_map(|nanosecond| Timestamp::from_nanosecond(nanosecond).unwrap())
}
