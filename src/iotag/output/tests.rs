use serde_json::json;

use super::*;
use crate::iotag::PayloadType;
use crate::iotag::testing::{station, tag};
use crate::iotag::time_mask::TimeMask;

/// The payload that a write leads to, or why it is refused.
fn write(tag: &Tag, written: &Json) -> Result<String, String> {
    let station = station(PayloadType::Text);
    let value = accept_write(tag, &station, written)?;
    Ok(String::from_utf8(compose_text(tag, &station, &value)?).unwrap())
}

fn of_type(tag_type: TagType) -> Tag {
    tag(tag_type, "OUT_VALUE")
}

#[track_caller]
fn check(tag: &Tag, written: Json, payload: &str) {
    assert_eq!(write(tag, &written), Ok(payload.to_owned()), "{} of {written}", tag.tag_type);
}

#[track_caller]
fn check_refused(tag: &Tag, written: Json, reason: &str) {
    let refused = write(tag, &written).unwrap_err();
    assert!(refused.contains(reason), "{} of {written}: {refused}", tag.tag_type);
}

#[test]
fn reals() {
    let mut ao = of_type(TagType::Ao);
    check(&ao, json!(21.5), "21.5");
    check(&ao, json!(21), "21");
    check(&ao, json!(-0.25), "-0.25");
    check(&ao, json!(" 21.50 "), "21.5");
    check(&ao, json!(1e300), "1e300");
    check(&ao, json!(1e-7), "1e-7");
    check(&ao, json!(123456789012345.6), "123456789012345.6");
    check_refused(&ao, json!("1e400"), "out of range");
    check_refused(&ao, json!("NaN"), "expected a number");
    check_refused(&ao, json!(true), "expected a number, not `true`");
    check_refused(&ao, json!(null), "expected a number");
    ao.scale = Number::Real(0.1);
    ao.offset = Number::Integer(10);
    ao.min = Some(Number::Integer(0));
    ao.max = Some(Number::Integer(100));
    check(&ao, json!(20), "100");
    check_refused(&ao, json!(100.5), "outside of the tag's range, 0 to 100");
}

#[test]
fn integers() {
    let mut co = of_type(TagType::Co);
    check(&co, json!(5), "5");
    check(&co, json!(5.0), "5");
    check(&co, json!("5.0"), "5");
    check(&co, json!(18446744073709551615_u64), "18446744073709551615");
    check(&co, json!("-9223372036854775808"), "-9223372036854775808");
    check_refused(&co, json!(1.5), "expected an integer, not `1.5`");
    check_refused(&co, json!("1.5"), "expected an integer");
    check_refused(&co, json!("18446744073709551616"), "64 bits");
    check_refused(&co, json!(1e30), "64 bits");
    check_refused(&co, json!("five"), "expected an integer");
    check_refused(&co, json!(true), "expected an integer");
    co.scale = Number::Integer(10);
    check(&co, json!(50), "5");
    check_refused(&co, json!(55), "no integer once scale");
    co.scale = Number::Real(0.1);
    co.offset = Number::Integer(1);
    check(&co, json!(6), "50");
    co.scale = Number::Real(2.5);
    co.offset = Number::Integer(0);
    check_refused(&co, json!(6), "no integer once scale");
    co.max = Some(Number::Integer(9_007_199_254_740_992));
    check_refused(&co, json!(9_007_199_254_740_993_i64), "range, up to");
}

#[test]
fn logicals_and_texts() {
    let mut on_off = of_type(TagType::Do);
    check(&on_off, json!(true), "true");
    check(&on_off, json!(0), "false");
    check(&on_off, json!("1"), "true");
    check(&on_off, json!(" Off "), "false");
    check_refused(&on_off, json!(2), "expected true or false, not `2`");
    check_refused(&on_off, json!("maybe"), "expected true or false");
    on_off.on_text = Some("OPEN".into());
    on_off.off_text = Some("SHUT".into());
    check(&on_off, json!("OPEN"), "OPEN");
    check(&on_off, json!(false), "SHUT");
    let text = of_type(TagType::TxtO);
    check(&text, json!(" as it is "), " as it is ");
    check(&text, json!(5), "5");
    check(&text, json!({"a": [1, null]}), r#"{"a":[1,null]}"#);
    check_refused(&text, json!(null), "expected a text");
}

#[test]
fn intervals_and_moments() {
    let tor = of_type(TagType::ToR);
    check(&tor, json!(90), "90");
    check(&tor, json!("01:00:00.5"), "3600.5");
    check(&tor, json!("PT2H"), "7200");
    check_refused(&tor, json!("soon"), "expected seconds");
    check_refused(&tor, json!(true), "expected seconds");
    let toa = of_type(TagType::ToA);
    check(&toa, json!("2024-01-31T13:00:00+01:00"), "2024-01-31 12:00:00.000");
    check(&toa, json!("2024-01-31 12:00:00.5"), "2024-01-31 12:00:00.500");
    check_refused(&toa, json!(1700000000), "expected a time");
    let unix =
        Station { time_mask: TimeMask::parse("UNIX").unwrap(), ..station(PayloadType::Text) };
    let value = accept_write(&toa, &unix, &json!(1700000000)).unwrap();
    assert_eq!(compose_text(&toa, &unix, &value).unwrap(), b"1700000000");
}

#[test]
fn inputs_are_not_written() {
    let input = tag(TagType::Ai, "JA=x");
    check_refused(&input, json!(1), "not written");
}

proptest::proptest! {
    #[test]
    fn reals_read_back(real: f64) {
        proptest::prop_assume!(real.is_finite());
        proptest::prop_assert_eq!(real_text(real).parse::<f64>().unwrap(), real);
    }

    #[test]
    fn integers_are_undone_exactly(
        raw: i64, scale in -1000_i128..1000, offset in -1_000_000_i128..1_000_000,
    ) {
        proptest::prop_assume!(scale != 0);
        let mut co = of_type(TagType::Co);
        co.scale = Number::Integer(scale);
        co.offset = Number::Integer(offset);
        let value = i128::from(raw) * scale + offset;
        proptest::prop_assert_eq!(super::raw(&co, &Value::Integer(value)), Ok(Value::Integer(raw.into())));
    }
}
