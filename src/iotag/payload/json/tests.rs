use std::fmt::Write as _;

use proptest::prelude::*;

use super::walk::Sample;
use super::*;
use crate::iotag::json_address::{JsonAddress, Literal, Step};

/// A document in memory, names as often as they are written.
#[derive(Clone, Debug)]
enum Document {
    Scalar(&'static str),
    Array(Vec<Document>),
    Object(Vec<(&'static str, Document)>),
}

impl Document {
    fn write(&self, blanks: bool, text: &mut String) {
        let gap = if blanks { " \n" } else { "" };
        match self {
            Self::Scalar(scalar) => text.push_str(scalar),
            Self::Array(elements) => {
                text.push('[');
                for (position, element) in elements.iter().enumerate() {
                    text.push_str(if position > 0 { "," } else { "" });
                    text.push_str(gap);
                    element.write(blanks, text);
                }
                text.push_str(gap);
                text.push(']');
            }
            Self::Object(fields) => {
                text.push('{');
                for (position, (name, value)) in fields.iter().enumerate() {
                    text.push_str(if position > 0 { "," } else { "" });
                    let _ = write!(text, "{gap}\"{name}\"{gap}:{gap}");
                    value.write(blanks, text);
                }
                text.push_str(gap);
                text.push('}');
            }
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => {
                fields.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    fn equals(&self, literal: &Literal) -> bool {
        let Self::Scalar(scalar) = self else { return false };
        if let Some(text) = scalar.strip_prefix('"') {
            return text.trim_end_matches('"') == &*literal.text;
        }
        let number = |text: &str| text.parse::<f64>().ok();
        !literal.quoted
            && (*scalar == &*literal.text
                || number(scalar).is_some_and(|value| number(&literal.text) == Some(value)))
    }
}

/// The contract's section 7 on a document in memory: the values at an address, compact, each with
/// the indexes of the array steps on its way; `None`: the path is missing.
fn reference(document: &Document, steps: &[Step]) -> Option<Vec<(Vec<usize>, String)>> {
    let mut found = Vec::new();
    let missing = follow(document, steps, &mut Vec::new(), &mut found);
    if missing && found.is_empty() { None } else { Some(found) }
}

/// Whether the path is missing here.
fn follow(
    value: &Document,
    steps: &[Step],
    indexes: &mut Vec<usize>,
    found: &mut Vec<(Vec<usize>, String)>,
) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        let mut text = String::new();
        value.write(false, &mut text);
        found.push((indexes.clone(), text));
        return false;
    };
    // An absent value is missing unless a keyed element is what comes first after it.
    let absent = || {
        let fan_out = steps.iter().find(|step| step.is_fan_out());
        !matches!(fan_out, Some(Step::Keyed { .. }))
    };
    let into = |index: usize, element, rest, indexes: &mut Vec<usize>, found: &mut _| {
        indexes.push(index);
        let missing = follow(element, rest, indexes, found);
        indexes.pop();
        missing
    };
    match (step, value) {
        (Step::Field(name), Document::Object(_)) => match value.field(name) {
            Some(inner) => follow(inner, rest, indexes, found),
            None => absent(),
        },
        (Step::Element(index), Document::Array(elements)) => match elements.get(*index) {
            Some(element) => into(*index, element, rest, indexes, found),
            None => absent(),
        },
        (Step::Every, Document::Array(elements)) => {
            for (index, element) in elements.iter().enumerate() {
                into(index, element, rest, indexes, found);
            }
            false
        }
        (Step::Every, Document::Object(_)) => {
            into(0, value, rest, indexes, found);
            false
        }
        (Step::Keyed { field, literal }, _) => {
            let elements = match value {
                Document::Array(elements) => elements.as_slice(),
                Document::Object(_) => std::slice::from_ref(value),
                Document::Scalar(_) => return true,
            };
            for (index, element) in elements.iter().enumerate() {
                if element.field(field).is_some_and(|key| key.equals(literal)) {
                    into(index, element, rest, indexes, found);
                }
            }
            false
        }
        _ => true,
    }
}

fn document() -> impl Strategy<Value = Document> {
    let scalar = prop::sample::select(vec![
        "null",
        "true",
        "0",
        "5",
        "5.0",
        "-1e3",
        "\"a\"",
        "\"5\"",
        "\"x y\"",
        "12345678901234567890",
    ]);
    scalar.prop_map(Document::Scalar).prop_recursive(5, 60, 4, |inner| {
        let name = prop::sample::select(vec!["a", "b", "id"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Document::Array),
            prop::collection::vec((name, inner), 0..5).prop_map(Document::Object),
        ]
    })
}

fn address() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "id"]);
    let bracket = prop::sample::select(vec![
        "[]",
        "[1]",
        "[2]",
        "[id=5]",
        "[id=\"5\"]",
        "[id=a]",
        "[a=true]",
        "[b=\"a\"]",
    ]);
    prop::collection::vec(prop_oneof![name, bracket], 1..6).prop_map(|steps| {
        let mut text = String::new();
        for step in steps {
            if !step.starts_with('[') && !text.is_empty() {
                text.push('.');
            }
            text.push_str(step);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_walk_finds_what_the_reference_finds(
        document in document(),
        addresses in prop::collection::vec(address(), 1..6),
        time in prop::option::of(address()),
        blanks in any::<bool>(),
    ) {
        let mut text = String::new();
        document.write(blanks, &mut text);
        let addresses: Vec<JsonAddress> =
            addresses.iter().map(|text| JsonAddress::parse(text).unwrap()).collect();
        let time = time.map(|text| JsonAddress::parse(&text).unwrap());
        let mut plan = Tree::new(time.as_ref());
        let slots: Vec<u32> = addresses.iter().map(|address| plan.insert(address)).collect();
        let walk = plan.walk(&text).unwrap();
        for (address, slot) in addresses.iter().zip(slots) {
            let expected = reference(&document, address.steps());
            let found: Vec<&Sample<'_>> =
                walk.samples.iter().filter(|sample| sample.slot == slot && sample.alive).collect();
            let values: Vec<String> = found.iter().map(|sample| compact(sample.raw)).collect();
            if values.is_empty() {
                let missing = expected.is_none();
                prop_assert_eq!(walk.is_missing(&plan, slot), missing, "{:?} {}", address, text);
                prop_assert_eq!(expected.unwrap_or_default(), vec![]);
                continue;
            }
            let expected = expected.unwrap_or_default();
            let wanted: Vec<&String> = expected.iter().map(|(_, value)| value).collect();
            prop_assert_eq!(values.iter().collect::<Vec<_>>(), wanted, "{:?} in {}", address, text);
            check_scopes(&document, time.as_ref(), address, &plan, slot, &walk, &expected)?;
        }
        check_quick(&plan, &text, &walk)?;
    }

    #[test]
    fn any_payload_is_walked_or_refused(
        payload in prop::collection::vec(
            prop::sample::select(b"{}[]\",:\\ud800 \n0123456789.eE+-tfnrualsid\xff\xef\xbb\xbf".to_vec()),
            0..60,
        ),
    ) {
        let mut plan = Tree::new(Some(&JsonAddress::parse("a[].t").unwrap()));
        for address in ["a", "a[1]", "a[id=1].b", "[]", "d.a[].a[a=d]", "[1][1]"] {
            plan.insert(&JsonAddress::parse(address).unwrap());
        }
        let Ok(text) = utf8(&payload) else { return Ok(()) };
        let valid = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        match plan.walk(text) {
            Ok(walk) => {
                prop_assert!(valid);
                check_quick(&plan, text, &walk)?;
                for sample in walk.samples {
                    let _ = datum(sample.raw);
                    compact(sample.raw);
                }
            }
            Err(error) => {
                prop_assert!(plan.quick_walk(text).is_none() && !valid, "{}", error);
            }
        }
    }
}

/// The quick walk finds the same, or nothing at all.
fn check_quick(plan: &Tree, text: &str, walk: &Walk<'_>) -> Result<(), TestCaseError> {
    let Some(quick) = plan.quick_walk(text) else { return Ok(()) };
    for slot in 0..plan.slot_count() as u32 {
        let of = |walk: &Walk<'_>| -> Vec<(u32, usize, String)> {
            let own = walk.samples.iter().filter(|sample| sample.slot == slot && sample.alive);
            own.map(|it| (it.scope, it.raw.as_ptr().addr(), it.raw.to_owned())).collect()
        };
        prop_assert_eq!(of(&quick), of(walk), "slot {} in {}", slot, text);
        prop_assert_eq!(quick.is_missing(plan, slot), walk.is_missing(plan, slot), "{}", text);
    }
    Ok(())
}

/// Of most documents of the property above the quick walk finds all.
#[test]
fn the_quick_walk_gives_up_seldom() {
    let mut plan = Tree::new(Some(&JsonAddress::parse("v[].t").unwrap()));
    for address in ["v[id=5].x", "v[].y[id=a][2]", "\"q\\\"\"[]", "v", "v[1].x"] {
        plan.insert(&JsonAddress::parse(address).unwrap());
    }
    for (text, is_quick) in [
        (r#"{"v":[{"id":5,"x":1,"t":7},{"y":[{"id":"a"},[1,2]]}],"q\"":[1,{}]}"#, true),
        (r#"{"v":{"id":"5","x":{"b":[]}}}"#, true),
        (r#"{"\u0076":[[],null,"x",{"t":1e999}]}"#, true),
        ("[]", true),
        (r#"{"v":[{"x":1,"x":2}]}"#, false),
        (r#"{"v":"\ud800"}"#, true),
        (r#"{"v":[{"x":"\ud800"}]}"#, true),
        (r#"{"v":[{"y":"\ud800"}]}"#, true),
        (r#"{"v":[{"y":1e999}]}"#, true),
        (r#"{"\ud800":1}"#, true),
        (r#"{"\ud8zz":1}"#, false),
        (r#"{"v":[1,]}"#, false),
    ] {
        assert_eq!(plan.quick_walk(text).is_some(), is_quick, "{text}");
    }
}

/// Samples have the time whose array indexes are theirs, as far as those of the time go.
fn check_scopes(
    document: &Document,
    time: Option<&JsonAddress>,
    address: &JsonAddress,
    plan: &Tree,
    slot: u32,
    walk: &Walk<'_>,
    expected: &[(Vec<usize>, String)],
) -> Result<(), TestCaseError> {
    let Some(time) = time else { return Ok(()) };
    let steps = time.steps();
    let Some(last) = steps.iter().rposition(|step| *step == Step::Every) else { return Ok(()) };
    let is_array = |step: &Step| !matches!(step, Step::Field(_));
    let along = steps[..=last].iter().zip(address.steps()).all(|(time, step)| match time {
        Step::Every => is_array(step),
        _ => time == step,
    });
    let timed = along && address.steps().len() > last;
    prop_assert_eq!(plan.is_timed(slot), timed);
    if !timed {
        return Ok(());
    }
    let depth = steps[..=last].iter().filter(|step| is_array(step)).count();
    let times = reference(document, steps).unwrap_or_default();
    let time_slot = plan.time_slot().unwrap();
    let samples = walk.samples.iter().filter(|sample| sample.slot == slot && sample.alive);
    for (sample, (indexes, _)) in samples.zip(expected) {
        let wanted = times.iter().find(|(of_time, _)| of_time[..depth] == indexes[..depth]);
        let found = walk
            .samples
            .iter()
            .find(|time| time.slot == time_slot && time.alive && time.scope == sample.scope);
        prop_assert_eq!(found.map(|time| compact(time.raw)), wanted.map(|(_, text)| text.clone()));
    }
    Ok(())
}

#[test]
fn many_fields_and_keys_are_found() {
    let mut plan = Tree::new(None);
    let mut text = String::from("{\"k\":[");
    for number in 0..100 {
        plan.insert(&JsonAddress::parse(&format!("f{number}")).unwrap());
        plan.insert(&JsonAddress::parse(&format!("k[id=x{number}].v")).unwrap());
        let _ = write!(text, "{{\"v\":{number},\"id\":\"x{number}\"}},");
    }
    text.push_str("0]");
    for number in (0..100).rev() {
        let _ = write!(text, ",\"f{number}\":{number}");
    }
    text.push('}');
    let walk = plan.walk(&text).unwrap();
    assert_eq!(walk.samples.len(), 200);
    for sample in walk.samples {
        assert_eq!(sample.raw, (sample.slot / 2).to_string());
    }
}

#[test]
fn escaped_names_are_found() {
    let mut plan = Tree::new(None);
    plan.insert(&JsonAddress::parse(r#""a\"b".é"#).unwrap());
    let walk = plan.walk(r#"{"a\"b":{"\u00e9":1}}"#).unwrap();
    assert_eq!(walk.samples.iter().map(|sample| sample.raw).collect::<Vec<_>>(), ["1"]);
}
