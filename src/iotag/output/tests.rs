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

fn document(station: &Station, outputs: &[(Tag, Option<Value>)]) -> Result<Option<String>, String> {
    let time = "2024-01-31T12:00:00Z".parse().unwrap();
    let outputs = outputs.iter().map(|(tag, value)| (tag, value.as_ref()));
    let composed = compose_document(station, outputs, time)?;
    Ok(composed.map(|bytes| String::from_utf8(bytes).unwrap()))
}

#[test]
fn documents_keep_types_and_nulls() {
    let station = crate::iotag::testing::timed(PayloadType::Json, "time", "UNIX");
    let mut valve = tag(TagType::Do, "JA=valve");
    valve.on_text = Some("open".into());
    valve.off_text = Some("shut".into());
    let mut scaled = tag(TagType::Co, "JA=a.scaled");
    scaled.scale = Number::Integer(10);
    let outputs = vec![
        (tag(TagType::TxtO, "JA=type"), Some(Value::Text("NEW\"SPT\"".into()))),
        (tag(TagType::Ao, "JA=a.value"), Some(Value::Real(20.3))),
        (tag(TagType::Co, r#"JA=a."p.q""#), Some(Value::Integer(u64::MAX.into()))),
        (scaled, Some(Value::Integer(50))),
        (valve, Some(Value::Logical(true))),
        (tag(TagType::Do, "JA=on"), Some(Value::Logical(false))),
        (tag(TagType::ToR, "JA=l[3]"), Some(Value::Interval(1.5))),
        (tag(TagType::ToA, "JA=at"), Some(Value::Moment("2024-01-01T00:00:00Z".parse().unwrap()))),
        (tag(TagType::Ao, "JA=none"), None),
        (tag(TagType::Ao, "JA=k[id=5].v"), Some(Value::Real(1.0))),
        (tag(TagType::Ao, r#"JA=k[id="5"].v"#), Some(Value::Real(2.0))),
        (tag(TagType::Ao, "JA=k[id=5].w"), Some(Value::Real(3.0))),
    ];
    assert_eq!(
        document(&station, &outputs).unwrap().unwrap(),
        concat!(
            r#"{"type":"NEW\"SPT\"","a":{"value":20.3,"p.q":18446744073709551615,"scaled":5},"#,
            r#""valve":"open","on":false,"l":[null,null,1.5],"at":1704067200,"none":null,"#,
            r#""k":[{"id":5,"v":1.0,"w":3.0},{"id":"5","v":2.0}],"time":1706702400}"#
        )
    );
    assert_eq!(document(&station, &[]), Ok(None));
    assert_eq!(document(&station, &[(of_type(TagType::Ao), Some(Value::Real(1.0)))]), Ok(None));
    let root = [(tag(TagType::Co, "JA=[2].a"), Some(Value::Integer(1)))];
    assert_eq!(document(&station, &root).unwrap().unwrap(), r#"[null,{"a":1}]"#);
    let masked = crate::iotag::testing::timed(PayloadType::Json, "t.at", "yyyy-mm-dd");
    let one = [(tag(TagType::Co, "JA=v"), Some(Value::Integer(1)))];
    assert_eq!(document(&masked, &one).unwrap().unwrap(), r#"{"v":1,"t":{"at":"2024-01-31"}}"#);
    let own = [(tag(TagType::Co, "JA=t.at"), Some(Value::Integer(1)))];
    assert_eq!(document(&masked, &own).unwrap().unwrap(), r#"{"t":{"at":1}}"#);
}

#[test]
fn outputs_without_room_in_one_document_are_found() {
    let check = |addresses: &[&str]| {
        let tags: Vec<Tag> = addresses.iter().map(|address| tag(TagType::Ao, address)).collect();
        check_document(tags.iter()).map_err(|(position, _)| position)
    };
    assert_eq!(check(&["JA=a.b", "JA=a.c", "JA=d[1]", "JA=d[2].e", "OUT_VALUE"]), Ok(()));
    assert_eq!(check(&["JA=a", "JA=b", "JA=a.c"]), Err(2));
    assert_eq!(check(&["JA=a.c", "JA=a"]), Err(1));
    assert_eq!(check(&["JA=a", "JA=a"]), Err(1));
    assert_eq!(check(&["JA=a[1]", "JA=a.b"]), Err(1));
    assert_eq!(check(&["JA=a[1]", "JA=a[id=1].b"]), Err(1));
    assert_eq!(check(&["JA=a[id=1].b", "JA=a[id=1].id"]), Err(1));
    assert_eq!(check(&["JA=a[id=1]"]), Err(0));
}

#[test]
fn lines_group_fields_by_series() {
    let station = station(PayloadType::Influx);
    let outputs = [
        (tag(TagType::Ao, "LP=Room"), Some(Value::Real(20.0))),
        (tag(TagType::Co, r#"LP="a b,c","k k"="v=v" n"#), Some(Value::Integer(-5))),
        (tag(TagType::Co, "LP=Room n"), Some(Value::Integer(u64::MAX.into()))),
        (tag(TagType::TxtO, "LP=Room \"t x\""), Some(Value::Text("a \"b\" \\".into()))),
        (tag(TagType::Do, "LP=Room on"), Some(Value::Logical(true))),
        (tag(TagType::Ao, "LP=Room null"), None),
        (
            tag(TagType::ToA, "LP=Room at"),
            Some(Value::Moment("2024-01-01T00:00:00Z".parse().unwrap())),
        ),
    ];
    let time = "2016-06-13T17:43:50.1004002Z".parse().unwrap();
    let composed =
        compose_lines(&station, outputs.iter().map(|(tag, value)| (tag, value.as_ref())), time);
    assert_eq!(
        String::from_utf8(composed.unwrap().unwrap()).unwrap(),
        "Room value=20,n=18446744073709551615u,t\\ x=\"a \\\"b\\\" \\\\\",on=true,\
         at=\"2024-01-01 00:00:00.000\" 1465839830100400200\n\
         a\\ b\\,c,k\\ k=v\\=v n=-5i 1465839830100400200"
    );
    assert_eq!(compose_lines(&station, std::iter::empty(), time), Ok(None));
    let comment = tag(TagType::Ao, "LP=#m");
    let value = Value::Real(1.0);
    assert!(compose_lines(&station, std::iter::once((&comment, Some(&value))), time).is_err());
}

#[test]
fn null_is_for_documents_only() {
    let station = station(PayloadType::Json);
    let field = tag(TagType::Ao, "JA=x");
    assert_eq!(accept_nullable_write(&field, &station, &json!(null)), Ok(None));
    assert_eq!(accept_nullable_write(&field, &station, &json!(1)), Ok(Some(Value::Real(1.0))));
    assert!(accept_nullable_write(&of_type(TagType::Ao), &station, &json!(null)).is_err());
}

mod reading_back {
    use proptest::prelude::*;

    use super::*;
    use crate::iotag::mapping::{InMessage, StationPlan};
    use crate::iotag::testing::timed;
    use crate::iotag::{Quality, TagId, Timestamp};

    fn value(input: TagType) -> BoxedStrategy<Value> {
        match input {
            TagType::Ai => {
                any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::Real).boxed()
            }
            TagType::Ci => any::<i64>().prop_map(|x| Value::Integer(x.into())).boxed(),
            TagType::Di => any::<bool>().prop_map(Value::Logical).boxed(),
            TagType::TxtI => "\\PC{0,12}".prop_map(|x| Value::Text(x.as_str().into())).boxed(),
            _ => (-1_000_000_000..3_000_000_000_i64)
                .prop_map(|x| Value::Moment(Timestamp::from_second(x).unwrap()))
                .boxed(),
        }
    }

    fn output_of(input: TagType) -> TagType {
        match input {
            TagType::Ai => TagType::Ao,
            TagType::Ci => TagType::Co,
            TagType::Di => TagType::Do,
            TagType::TxtI => TagType::TxtO,
            _ => TagType::ToA,
        }
    }

    fn written() -> impl Strategy<Value = Vec<(TagType, Value)>> {
        let inputs = [TagType::Ai, TagType::Ci, TagType::Di, TagType::TxtI, TagType::TiA];
        let one = prop::sample::select(inputs.to_vec())
            .prop_flat_map(|input| value(input).prop_map(move |value| (input, value)));
        prop::collection::vec(one, 1..6)
    }

    /// Reads a payload with inputs at the addresses of the outputs.
    fn read(station: &Station, inputs: &[Tag], payload: &[u8]) -> Vec<(Option<Value>, Timestamp)> {
        let numbered = inputs.iter().enumerate();
        let plan = StationPlan::compile(
            station,
            numbered.map(|(number, tag)| (TagId(number as u32), tag)),
        );
        let message = InMessage {
            topic: "t",
            payload,
            content_type: None,
            packet_id: 0,
            received: Timestamp::UNIX_EPOCH,
        };
        let mut updates = Vec::new();
        let report = plan.map(&message, &mut updates);
        assert_eq!(report, crate::iotag::mapping::MappingReport::default());
        assert!(updates.iter().all(|update| update.quality == Quality::Good));
        updates.into_iter().map(|update| (update.value, update.time)).collect()
    }

    proptest! {
        #[test]
        fn a_composed_payload_reads_as_it_was_written(written in written(), second in 1_i64..3_000_000_000) {
            let time = Timestamp::from_second(second).unwrap();
            let json = timed(PayloadType::Json, "time", "yyyy-mm-dd hh:mi:ss");
            let influx = crate::iotag::testing::station(PayloadType::Influx);
            let addresses = ["a.b", "a.c", "l[1]", "l[3].x", "k[id=x y].v", "k[id=2].\"v.w\""];
            for (station, prefix) in [(json, "JA="), (influx, "LP=")] {
                let address = |number: usize| match prefix {
                    "JA=" => format!("JA={}", addresses[number]),
                    _ => format!("LP=\"m {}\",t=\"= {}\" \"f,{number}\"", number % 2, number % 2),
                };
                let outputs: Vec<(Tag, Value)> = written
                    .iter()
                    .enumerate()
                    .map(|(number, (input, value))| (tag(output_of(*input), &address(number)), value.clone()))
                    .collect();
                let inputs: Vec<Tag> = written
                    .iter()
                    .enumerate()
                    .map(|(number, (input, _))| tag(*input, &address(number)))
                    .collect();
                let values = outputs.iter().map(|(tag, value)| (tag, Some(value)));
                let payload = match prefix {
                    "JA=" => compose_document(&station, values, time),
                    _ => compose_lines(&station, values, time),
                };
                let payload = payload.unwrap().unwrap();
                let read = read(&station, &inputs, &payload);
                let expected: Vec<(Option<Value>, Timestamp)> =
                    written.iter().map(|(_, value)| (Some(value.clone()), time)).collect();
                prop_assert_eq!(read, expected, "{}", String::from_utf8_lossy(&payload));
            }
        }
    }
}
