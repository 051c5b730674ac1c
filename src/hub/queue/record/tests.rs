use proptest::prelude::*;

use super::*;

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |real| real.is_finite()).prop_map(Value::Real),
        any::<i64>().prop_map(|integer| Value::Integer(integer.into())),
        any::<u64>().prop_map(|integer| Value::Integer(integer.into())),
        any::<bool>().prop_map(Value::Logical),
        prop::sample::select(FourState::ALL.as_slice()).prop_map(Value::FourState),
        ".{0,20}".prop_map(|text| Value::Text(text.into())),
        (-1e9..1e9).prop_map(Value::Interval),
        (0i64..4_000_000_000).prop_map(|s| Value::Moment(Timestamp::from_second(s).unwrap())),
    ]
}

fn writes() -> impl Strategy<Value = Writes> {
    let failed = prop::option::of((prop::sample::select(vec![-32006, -32004]), ".{0,9}"));
    (any::<u64>(), prop::collection::vec("[a-z.]{1,9}", 0..4), failed).prop_map(
        |(first, names, failed)| Writes {
            first,
            names: names.into_iter().map(Arc::from).collect(),
            failed: failed.map(|(code, message)| WriteError::new(code, message)),
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    (
        ".{0,20}",
        prop::collection::vec(any::<u8>(), 0..40),
        (0u8..3, any::<bool>()),
        prop::option::of("[a-z/]{1,9}"),
        0i64..4_000_000_000,
        prop::option::of(1u64..1 << 40),
    )
        .prop_map(|(topic, payload, (qos, retain), content_type, written, expiry)| Message {
            topic,
            payload: payload.into(),
            qos: Qos::from_level(qos).unwrap(),
            retain,
            content_type: content_type.map(Arc::from),
            written: Timestamp::from_second(written).unwrap(),
            expiry: expiry.map(Duration::from_millis),
        })
}

fn record() -> impl Strategy<Value = Record> {
    let place = prop_oneof![
        Just(Place::Queue),
        Just(Place::Taken),
        prop::collection::vec(any::<(u8, u16)>(), 1..3).prop_map(Place::Session),
    ];
    (
        place,
        ".{0,9}",
        ".{0,9}",
        message(),
        prop::collection::vec((".{0,9}", prop::option::of(value())), 0..4),
        prop::collection::vec(writes(), 0..4),
    )
        .prop_map(|(place, line, station, message, values, writes)| Record {
            place,
            line,
            station,
            message,
            values,
            writes,
        })
}

proptest! {
    #[test]
    fn records_come_back_from_their_bytes(record in record()) {
        let bytes = record.to_bytes();
        prop_assert_eq!(Record::from_bytes(&bytes), Some(record));
        for cut in 0..bytes.len() {
            prop_assert_eq!(Record::from_bytes(&bytes[..cut]), None);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        is_record in any::<bool>(),
    ) {
        if is_record && bytes.len() > 1 {
            (bytes[0], bytes[1]) = (FORMAT, bytes[1] % 3);
        }
        let _ = Record::from_bytes(&bytes);
    }
}
