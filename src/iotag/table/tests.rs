use super::*;
use crate::iotag::TagType::{Ai, Ao, Ci};
use crate::iotag::testing::tag;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn good(value: Value, second: i64) -> TagUpdate {
    TagUpdate {
        tag: TagId(0),
        value: Some(value),
        quality: Quality::Good,
        reason: Reason::Ok,
        time: at(second),
        received: at(second),
    }
}

fn bad(reason: Reason, second: i64) -> TagUpdate {
    let value = None;
    TagUpdate { value, quality: Quality::Bad, reason, ..good(Value::Real(0.0), second) }
}

fn table(tag: &Tag) -> TagTable {
    TagTable::new(std::iter::once(tag), |_| None, at(0))
}

fn show(change: Option<TagValue>) -> String {
    let Some(change) = change else { return "none".into() };
    let value = change.value.map_or("-".into(), |value| value.to_json().to_string());
    format!("{value} {}/{} {}", change.quality, change.reason, change.time.as_second())
}

#[test]
fn every_update_is_a_change_and_bad_ones_keep_the_value() {
    let mut table = table(&tag(Ai, "JA=x"));
    assert_eq!(show(table.read(TagId(0)).cloned()), "- bad/never_received 0");
    assert_eq!(show(table.apply(good(Value::Real(1.0), 1))), "1.0 good/ok 1");
    assert_eq!(show(table.apply(good(Value::Real(1.0), 1))), "1.0 good/ok 1");
    assert_eq!(show(table.apply(bad(Reason::Null, 2))), "1.0 bad/null 2");
    assert_eq!(show(table.apply(good(Value::Real(1.0), 0))), "1.0 good/ok 0");
    assert_eq!(show(table.apply(TagUpdate { tag: TagId(9), ..bad(Reason::Null, 2) })), "none");
}

#[test]
fn a_deadband_suppresses_small_steps_of_good_values_only() {
    let mut ai = tag(Ai, "JA=x");
    ai.deadband = Some(0.5);
    let mut table = table(&ai);
    assert_eq!(show(table.apply(good(Value::Real(0.0), 1))), "0.0 good/ok 1");
    assert_eq!(show(table.apply(good(Value::Real(0.5), 2))), "none");
    // Against the last change: creeping away is not missed.
    assert_eq!(show(table.apply(good(Value::Real(0.75), 3))), "0.75 good/ok 3");
    assert_eq!(show(table.apply(bad(Reason::Null, 4))), "0.75 bad/null 4");
    assert_eq!(show(table.apply(bad(Reason::Null, 5))), "0.75 bad/null 5");
    assert_eq!(show(table.apply(good(Value::Real(0.75), 6))), "0.75 good/ok 6");
    let uncertain = TagUpdate {
        quality: Quality::Uncertain,
        reason: Reason::BadTime,
        ..good(Value::Real(0.75), 7)
    };
    assert_eq!(show(table.apply(uncertain)), "0.75 uncertain/bad_time 7");

    let mut ci = tag(Ci, "JA=x");
    ci.deadband = Some(0.0);
    let mut table = self::table(&ci);
    assert_eq!(
        show(table.apply(good(Value::Integer(i64::MIN.into()), 1))),
        "-9223372036854775808 good/ok 1"
    );
    assert_eq!(show(table.apply(good(Value::Integer(i64::MIN.into()), 2))), "none");
    assert_eq!(
        show(table.apply(good(Value::Integer(u64::MAX.into()), 3))),
        "18446744073709551615 good/ok 3"
    );
}

#[test]
fn a_line_that_comes_back_gives_its_quality_back() {
    let mut table = table(&tag(Ai, "JA=x"));
    assert_eq!(show(table.line_down(TagId(0))), "none");
    assert_eq!(show(table.line_up(TagId(0), true)), "none");
    table.apply(good(Value::Real(1.0), 1));
    assert_eq!(show(table.line_down(TagId(0))), "1.0 bad/line_down 1");
    assert_eq!(show(table.line_down(TagId(0))), "none");
    assert_eq!(show(table.line_up(TagId(0), true)), "1.0 good/ok 1");
    table.line_down(TagId(0));
    assert_eq!(show(table.line_up(TagId(0), false)), "1.0 uncertain/restored 1");
    table.line_down(TagId(0));
    assert_eq!(show(table.line_up(TagId(0), true)), "1.0 uncertain/restored 1");
    table.line_down(TagId(0));
    assert_eq!(show(table.apply(good(Value::Real(2.0), 2))), "2.0 good/ok 2");
    assert_eq!(show(table.line_up(TagId(0), true)), "none");
    assert_eq!(show(table.line_up(TagId(7), true)), "none");
}

#[test]
fn a_tag_without_a_value_is_never_restored() {
    let mut table = table(&tag(Ai, "JA=x"));
    table.apply(bad(Reason::PathMissing, 1));
    assert_eq!(show(table.line_down(TagId(0))), "- bad/line_down 1");
    assert_eq!(show(table.line_up(TagId(0), false)), "- bad/path_missing 1");
}

#[test]
fn the_start_restores_what_is_stored() {
    let mut output = tag(Ao, "OUT_VALUE");
    output.initial = Some(Value::Real(7.0));
    let tags = [tag(Ai, "JA=a"), tag(Ai, "JA=b"), output.clone(), output, tag(Ci, "JA=c")];
    let stored = |value| TagValue {
        value: Some(value),
        quality: Quality::Good,
        reason: Reason::Ok,
        time: at(5),
        received: at(6),
    };
    let table = TagTable::new(
        tags.iter(),
        |tag| match tag.0 {
            0 | 3 | 4 => Some(stored(Value::Real(1.0))),
            _ => None,
        },
        at(100),
    );
    let shown: Vec<String> =
        (0..5).map(|number| show(table.read(TagId(number)).cloned())).collect();
    assert_eq!(
        shown,
        [
            "1.0 uncertain/restored 5",
            "- bad/never_received 100",
            "7.0 good/ok 100",
            "1.0 uncertain/restored 5",
            // Its type has been changed meanwhile.
            "- bad/never_received 100",
        ]
    );
    assert_eq!(table.len(), 5);
    assert!(!table.is_empty());
}

#[test]
fn a_written_null_is_told_from_never_written() {
    let output = tag(Ao, "JA=x");
    let mut table = table(&output);
    assert_eq!(table.written(TagId(0)), None);
    table.apply(good(Value::Real(1.0), 1));
    assert_eq!(table.written(TagId(0)), Some(Some(&Value::Real(1.0))));
    let null = TagUpdate { value: None, ..good(Value::Real(0.0), 2) };
    assert_eq!(show(table.apply(null)), "- good/ok 2");
    assert_eq!(table.written(TagId(0)), Some(None));
    let stored = table.read(TagId(0)).cloned();
    let restored = TagTable::new(std::iter::once(&output), |_| stored.clone(), at(9));
    assert_eq!(restored.written(TagId(0)), Some(None));
    assert_eq!(show(restored.read(TagId(0)).cloned()), "- uncertain/restored 2");
}
