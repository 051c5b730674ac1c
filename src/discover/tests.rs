use super::*;

fn heard(messages: &[(&str, &str)]) -> Topics {
    let mut topics = Topics::default();
    for (topic, payload) in messages {
        topics.add(topic, payload.as_bytes(), None);
    }
    topics
}

fn planned(topics: &Topics) -> Plan {
    let mut plan = Plan::of(topics, |_| None, BTreeSet::new());
    let scratch = tempfile::tempdir().unwrap();
    verify(&mut plan, topics, "2026-01-01T00:00:00Z".parse().unwrap(), scratch.path()).unwrap();
    plan
}

fn names(plan: &Plan) -> Vec<String> {
    let tags = |station: &PlannedStation| {
        let tag = |tag: &PlannedTag| format!("{} {}", tag.name, tag.tag_type);
        station.tags.iter().map(tag).collect::<Vec<_>>()
    };
    plan.stations.iter().flat_map(tags).collect()
}

#[test]
fn names_are_readable_and_unique() {
    let plan = planned(&heard(&[
        ("site/pump1/data", r#"{"speed":{"value":1.5},"tank":{"level":2},"aux":{"level":3}}"#),
        ("site/pump2/data", r#"{"speed":{"value":1}}"#),
        ("site/pump2/state", "on"),
    ]));
    assert_eq!(
        names(&plan),
        [
            "pump1_data.aux.level Ai".to_owned(),
            "pump1_data.speed Ai".to_owned(),
            "pump1_data.tank.level Ai".to_owned(),
            "pump2_data.speed Ai".to_owned(),
            "pump2_state.value Di".to_owned(),
        ]
    );
    let plan = planned(&heard(&[("v3/app1@ttn/devices/dev1/up", r#"{"f_cnt":1}"#)]));
    assert_eq!(names(&plan), ["dev1.f_cnt Ci"]);
    let plan = planned(&heard(&[("/down/device/id/0004A3", "21.5")]));
    assert_eq!(names(&plan), ["0004A3.value Ai"]);
}

#[test]
fn what_does_not_come_out_good_is_no_tag() {
    let plan = planned(&heard(&[
        ("t", r#"{"a":1,"n":null,"mixed":1}"#),
        ("t", r#"{"a":2,"n":null,"mixed":"x"}"#),
    ]));
    assert_eq!(names(&plan), ["t.a Ai", "t.mixed TxtI"]);
    assert!(plan.left_out.iter().any(|(what, _)| what == "t JA=n"), "{:?}", plan.left_out);
}

#[test]
fn topics_that_are_taken_and_bounds() {
    let topics = heard(&[("a", "1"), ("b", "2")]);
    let taken = |topic: &str| (topic == "a").then(|| "pump".to_owned());
    let plan = Plan::of(&topics, taken, BTreeSet::from(["b".to_owned()]));
    assert_eq!(plan.stations.len(), 1);
    assert_eq!(plan.stations[0].name, "b_2");
    let mut many = Topics::default();
    for number in 0..TOPICS_MAX + 7 {
        many.add(&number.to_string(), b"1", None);
    }
    assert_eq!((many.len(), many.beyond), (TOPICS_MAX, 7));
    for number in 0..10_000 {
        many.add("1", number.to_string().as_bytes(), None);
    }
    assert_eq!(many.samples("1").unwrap().heard.len(), SAMPLES_MAX);
    assert_eq!(many.samples("1").unwrap().count, 10_001);
}

#[test]
fn odd_topics_and_payloads_give_a_configuration() {
    let plan = planned(&heard(&[
        ("a.b/(c)", r#"{"a\"b\\c":1,"d e":2,"":3}"#),
        ("ü/x y", "a,b\n1,2\n"),
        ("q\"uo\\te", "<a><b>1</b></a>"),
        ("empty", ""),
        ("t", "a\tb\u{7}"),
    ]));
    assert_eq!(plan.stations.len(), 5, "{plan:#?}");
    assert!(plan.tags() >= 7, "{:?}", names(&plan));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]

    /// Whatever is heard, what is written is a configuration.
    #[test]
    fn anything_heard_gives_a_configuration(
        messages in proptest::collection::vec(("[a-z/. ü\"]{1,8}", "\\PC{0,40}"), 1..6),
        numbers in proptest::collection::vec((proptest::num::f64::ANY, "[a-z\\[\\]\". ]{0,5}"), 0..4),
    ) {
        let mut topics = Topics::default();
        for (topic, payload) in &messages {
            topics.add(topic, payload.as_bytes(), None);
        }
        let document: serde_json::Map<String, serde_json::Value> =
            numbers.iter().map(|(number, name)| (name.clone(), (*number).into())).collect();
        topics.add("json", serde_json::Value::from(document).to_string().as_bytes(), None);
        let mut plan = Plan::of(&topics, |_| None, BTreeSet::new());
        let scratch = tempfile::tempdir().unwrap();
        let received = "2026-01-01T00:00:00Z".parse().unwrap();
        proptest::prop_assert_eq!(verify(&mut plan, &topics, received, scratch.path()), Ok(()));
    }
}
