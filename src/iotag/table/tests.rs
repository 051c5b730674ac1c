use proptest::prelude::*;

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
    const DOWN: Reason = Reason::LineDown;
    let mut table = table(&tag(Ai, "JA=x"));
    assert_eq!(show(table.invalidate(TagId(0), DOWN)), "none");
    assert_eq!(show(table.recover(TagId(0), true)), "none");
    table.apply(good(Value::Real(1.0), 1));
    assert_eq!(show(table.invalidate(TagId(0), DOWN)), "1.0 bad/line_down 1");
    assert_eq!(show(table.invalidate(TagId(0), DOWN)), "none");
    assert_eq!(show(table.recover(TagId(0), true)), "1.0 good/ok 1");
    table.invalidate(TagId(0), DOWN);
    assert_eq!(show(table.recover(TagId(0), false)), "1.0 uncertain/restored 1");
    table.invalidate(TagId(0), DOWN);
    assert_eq!(show(table.recover(TagId(0), true)), "1.0 uncertain/restored 1");
    assert_eq!(show(table.recover(TagId(0), true)), "none");
    assert_eq!(show(table.recover(TagId(7), true)), "none");
}

#[test]
fn a_fault_takes_values_and_shows_them_bad() {
    let mut table = table(&tag(Ai, "JA=x"));
    assert_eq!(show(table.invalidate(TagId(0), Reason::Stale)), "- bad/stale 0");
    assert_eq!(show(table.apply(good(Value::Real(1.0), 1))), "1.0 bad/stale 1");
    assert_eq!(show(table.invalidate(TagId(0), Reason::StationWill)), "1.0 bad/station_will 1");
    // Renewed under the fault, so it is as good as it came.
    assert_eq!(show(table.recover(TagId(0), false)), "1.0 good/ok 1");
    table.invalidate(TagId(0), Reason::Stale);
    table.recover_silently(TagId(0));
    assert_eq!(show(table.apply(good(Value::Real(2.0), 2))), "2.0 good/ok 2");
}

#[test]
fn a_simulated_value_never_passes_for_a_real_one() {
    let mut table = table(&tag(Ai, "JA=x"));
    let simulate =
        |table: &mut TagTable, real| show(table.simulate(TagId(0), Value::Real(real), at(9)));
    assert_eq!(simulate(&mut table, 50.0), "50.0 uncertain/simulated 9");
    assert_eq!(show(table.recover(TagId(0), true)), "- bad/never_received 0");
    table.apply(good(Value::Real(1.0), 1));
    table.invalidate(TagId(0), Reason::StationOff);
    assert_eq!(simulate(&mut table, 51.0), "51.0 uncertain/simulated 9");
    assert_eq!(simulate(&mut table, 52.0), "52.0 uncertain/simulated 9");
    assert_eq!(show(table.apply(good(Value::Real(2.0), 2))), "none");
    assert_eq!(show(table.invalidate(TagId(0), Reason::StationOff)), "2.0 bad/station_off 2");
    simulate(&mut table, 53.0);
    assert_eq!(show(table.recover(TagId(0), true)), "2.0 good/ok 2");
    simulate(&mut table, 54.0);
    assert_eq!(show(table.recover(TagId(0), false)), "2.0 uncertain/restored 2");
    simulate(&mut table, 55.0);
    let stored = table.read(TagId(0)).cloned();
    let table = TagTable::new([tag(Ai, "JA=x")].iter(), |_| stored.clone(), at(100));
    assert_eq!(show(table.read(TagId(0)).cloned()), "- bad/never_received 100");
}

#[test]
fn a_tag_without_a_value_is_never_restored() {
    let mut table = table(&tag(Ai, "JA=x"));
    table.apply(bad(Reason::PathMissing, 1));
    assert_eq!(show(table.invalidate(TagId(0), Reason::LineDown)), "- bad/line_down 1");
    assert_eq!(show(table.recover(TagId(0), false)), "- bad/path_missing 1");
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

#[derive(Clone, Copy, Debug)]
enum Step {
    Update(f64),
    Invalidate(Reason),
    Recover(bool),
    Simulate,
}

fn step() -> impl Strategy<Value = Step> {
    let reason = prop_oneof![
        Just(Reason::LineDown),
        Just(Reason::Stale),
        Just(Reason::StationOff),
        Just(Reason::StationWill)
    ];
    prop_oneof![
        (0..9_u8).prop_map(|value| Step::Update(value.into())),
        reason.prop_map(Step::Invalidate),
        any::<bool>().prop_map(Step::Recover),
        Just(Step::Simulate),
    ]
}

proptest! {
    /// The value is the last real one or a simulated one, the quality is the fault's or, without a
    /// fault, what became of it; and a change is told whenever anything is to be seen of it.
    #[test]
    fn faults_hide_values_and_give_them_back(steps in proptest::collection::vec(step(), 1..40)) {
        let mut table = table(&tag(Ai, "JA=x"));
        let (mut real, mut fault, mut simulated) = (None, None, false);
        // Whether the real value came, or was confirmed to be whole, since the fault began.
        let (mut own, mut renewed) = (Reason::NeverReceived, false);
        for (second, step) in (1..).zip(steps) {
            let before = table.read(TagId(0)).cloned();
            let change = match step {
                Step::Update(value) => {
                    (real, own, renewed) = (Some(value), Reason::Ok, true);
                    table.apply(good(Value::Real(value), second))
                }
                Step::Invalidate(reason) => {
                    if fault.is_none() && !simulated {
                        renewed = false;
                    }
                    (fault, simulated) = (Some(reason), false);
                    table.invalidate(TagId(0), reason)
                }
                Step::Recover(nothing_missed) => {
                    let was_hidden = fault.is_some() || simulated;
                    if was_hidden && real.is_some() && !renewed && !nothing_missed {
                        own = Reason::Restored;
                    }
                    (fault, simulated) = (None, false);
                    table.recover(TagId(0), nothing_missed)
                }
                Step::Simulate => {
                    if fault.is_none() && !simulated {
                        renewed = false;
                    }
                    simulated = true;
                    table.simulate(TagId(0), Value::Real(-1.0), at(second))
                }
            };
            let shown = table.read(TagId(0)).cloned().unwrap();
            let never = fault == Some(Reason::LineDown) && shown.reason == Reason::NeverReceived;
            let expected = match fault {
                _ if simulated => Reason::Simulated,
                Some(_) if never => Reason::NeverReceived,
                Some(fault) => fault,
                None => own,
            };
            prop_assert_eq!(shown.reason, expected, "{:?}", step);
            let value = if simulated { Some(-1.0) } else { real };
            prop_assert_eq!(&shown.value, &value.map(Value::Real));
            let is_good = shown.quality == Quality::Good;
            prop_assert_eq!(is_good, shown.reason == Reason::Ok);
            match change {
                Some(change) => prop_assert_eq!(change, shown),
                None => prop_assert_eq!(Some(shown), before),
            }
        }
    }
}
