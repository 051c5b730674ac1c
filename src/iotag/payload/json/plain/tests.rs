use proptest::prelude::*;

use super::super::{JsonPlan, JsonSlot, Taken};
use crate::iotag::json_address::JsonAddress;
use crate::iotag::mapping::MappingReport;
use crate::iotag::payload::{Absence, Found, Times};
use crate::iotag::time_mask::{TimeMask, Zone};

fn times() -> Times {
    Times { mask: TimeMask::parse("UNIX").unwrap(), zone: Zone::parse("UTC").unwrap() }
}

fn plan(time: Option<&str>, addresses: &[String]) -> (JsonPlan, Vec<u32>) {
    let time = time.map(|text| JsonAddress::parse(text).unwrap());
    let mut plan = JsonPlan::new(time.as_ref());
    let slots: Vec<JsonSlot> = addresses
        .iter()
        .map(|address| plan.insert(&JsonAddress::parse(address).unwrap()))
        .collect();
    plan.finish();
    let slots = slots.into_iter().map(|slot| plan.slot(slot)).collect();
    (plan, slots)
}

/// Both walks, on a document that the scanner takes; whether it does.
fn compare(plan: &JsonPlan, slots: &[u32], text: &str) -> Result<bool, TestCaseError> {
    let mut report = MappingReport::default();
    let Ok(Taken::Plain(plain)) = plan.take(text.as_bytes(), &times(), &mut report) else {
        return Ok(false);
    };
    let mut expected_report = MappingReport::default();
    let found: Result<Found<'_>, String> = plan.take_any(text, &times(), &mut expected_report);
    prop_assert!(found.is_ok(), "{} was taken: {:?}", text, found.err());
    let Ok(found) = found else { return Ok(false) };
    prop_assert_eq!(&report, &expected_report, "{}", text);
    for slot in slots {
        let samples: Vec<_> = found.of(*slot).collect();
        match (plain.datum(*slot), samples.as_slice()) {
            (Some(datum), [sample]) => {
                prop_assert_eq!(&datum, &sample.datum, "{}", text);
                prop_assert_eq!(plain.time, sample.time, "{}", text);
            }
            (None, []) => {
                prop_assert_eq!(found.absence(*slot), Absence::Missing(plain.time), "{}", text);
            }
            (datum, samples) => prop_assert!(false, "{:?} {:?} in {}", datum, samples, text),
        }
    }
    Ok(true)
}

fn address() -> impl Strategy<Value = String> {
    let step = prop::sample::select(vec!["a", "b", "cc", "[1]", "[2]"]);
    let first = prop::sample::select(vec!["a", "b", "cc"]);
    (first, prop::collection::vec(step, 0..3)).prop_map(|(first, steps)| {
        let mut text = first.to_owned();
        for step in steps {
            if !step.starts_with('[') {
                text.push('.');
            }
            text.push_str(step);
        }
        text
    })
}

fn document() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0",
        "01",
        "1.",
        "1e5",
        "-1.5E-3",
        "1e999",
        "\"\"",
        "\"a\"",
        "\"\\u00e9 \\n\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"\u{1}\"",
        "\"long enough for a word, é\"",
        "1744858463",
        "nul",
        "-",
        "\"1744858463.25\"",
        "12345678901234567890123",
    ]);
    let name = prop::sample::select(vec![
        "a",
        "b",
        "cc",
        "d",
        "a b",
        "c\\u0063",
        "\\ud800",
        "e\\\"",
        "name that is long",
    ]);
    let gap = prop::sample::select(vec!["", "", "", " ", "\n\t", "\r"]);
    // A common mistake: a comma too many.
    let comma = prop::sample::select(vec!["", "", "", "", "", "", "", "", ","]);
    scalar.prop_map(str::to_owned).prop_recursive(4, 24, 4, move |inner| {
        let around = (gap.clone(), inner, gap.clone());
        let array = (prop::collection::vec(around.clone(), 0..4), comma.clone()).prop_map(
            |(elements, comma)| {
                let elements: Vec<String> =
                    elements.iter().map(|(a, value, b)| format!("{a}{value}{b}")).collect();
                format!("[{}{comma}]", elements.join(","))
            },
        );
        let field = (gap.clone(), name.clone(), around);
        let object =
            (prop::collection::vec(field, 0..5), comma.clone()).prop_map(|(fields, comma)| {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(gap, name, (a, value, b))| format!("{gap}\"{name}\"{gap}:{a}{value}{b}"))
                    .collect();
                format!("{{{}{comma}}}", fields.join(","))
            });
        prop_oneof![1 => array, 2 => object]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn what_is_scanned_is_what_the_general_walk_finds(
        documents in prop::collection::vec(document(), 1..4),
        addresses in prop::collection::vec(address(), 1..6),
        time in prop::option::of(address()),
    ) {
        let (plan, slots) = plan(time.as_deref(), &addresses);
        // One plan for several: it learns the order of the names.
        for document in &documents {
            compare(&plan, &slots, document)?;
        }
    }

    #[test]
    fn mutations_are_scanned_only_if_they_are_valid(
        at in 0_usize..200,
        byte in prop::sample::select(b"{}[]\",:\\u0123456789.eE+-tfnral \n\x01\x7f".to_vec()),
        inserted in any::<bool>(),
    ) {
        let text = r#"{"t":1744858463,"a":{"b":[1,{"x":"y\u00e9"},-2.5e3],"cc":"text"},"b":null,"d":[[],{}]}"#;
        let addresses = ["a.b[2].x", "a.b[3]", "a.cc", "b", "a", "d[1]", "cc"].map(str::to_owned);
        let (plan, slots) = plan(Some("t"), &addresses);
        let mut mutated = text.as_bytes().to_vec();
        let at = at % mutated.len();
        if inserted { mutated.insert(at, byte) } else { mutated[at] = byte };
        compare(&plan, &slots, std::str::from_utf8(&mutated).unwrap())?;
        prop_assert!(compare(&plan, &slots, text)?, "the valid one is scanned");
    }
}

#[test]
fn ordinary_documents_are_scanned_and_doubtful_ones_are_not() {
    let addresses = ["a.b", "a", "v[2].x", "s", "q"].map(str::to_owned);
    let (plan, slots) = plan(Some("t"), &addresses);
    for (text, is_scanned) in [
        (r#"{"t":1,"a":{"b":2},"v":[{},{"x":1}],"s":"é\n"}"#, true),
        (r#" { "s" : "" , "v" : [ 0 , { "x" : [ ] } , 3 ] , "t" : null } "#, true),
        (r#"{"a":null,"v":true,"s":"\ud800"}"#, true),
        (r#"{"a":[1,{"b":"c"}]}"#, true),
        (r#"{"a":"\ud800","v":1e999}"#, true),
        (r#"{"a":{"b":1,"b":2}}"#, false),
        (r#"{"a":{"b":1},"a":{}}"#, false),
        (r#"{"\u0061":1}"#, true),
        (r#"{"\u0061":1,"a":2}"#, false),
        (r#"{"\ud800":1}"#, true),
        (r#"{"v":1e999}"#, true),
        (r#"{"q":01}"#, false),
        (r#"{"q":1,}"#, false),
        (r#"{"q":1}x"#, false),
        (r#"{"q":1"#, false),
        ("", false),
    ] {
        assert_eq!(compare(&plan, &slots, text).unwrap(), is_scanned, "{text}");
    }
    let deep = format!("{{\"z\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    assert!(!compare(&plan, &slots, &deep).unwrap());
}

#[test]
fn names_are_found_in_any_order_again_and_again() {
    let addresses: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
    let (plan, slots) = plan(None, &addresses);
    for step in [1, 7, 3, 7, 19, 1] {
        let fields: Vec<String> = (0..20)
            .map(|position| position * step % 20)
            .map(|number| format!("\"f{number}\":{number},\"unknown{number}\":{{}}"))
            .collect();
        let text = format!("{{{}}}", fields.join(","));
        assert!(compare(&plan, &slots, &text).unwrap());
        let mut report = MappingReport::default();
        let Ok(Taken::Plain(plain)) = plan.take(text.as_bytes(), &times(), &mut report) else {
            unreachable!("it was scanned a line above");
        };
        for (number, slot) in slots.iter().enumerate() {
            let datum = plain.datum(*slot).unwrap();
            assert_eq!(datum, super::super::datum(&number.to_string()));
        }
    }
}
