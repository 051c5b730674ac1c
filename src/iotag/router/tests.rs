use proptest::prelude::*;

use super::*;

fn router(addresses: &[&str]) -> Router {
    let addresses: Vec<StationAddress> =
        addresses.iter().map(|address| StationAddress::parse(address).unwrap()).collect();
    let numbered = addresses.iter().enumerate();
    Router::compile(numbered.map(|(number, address)| (StationId(number as u32), address)))
}

#[track_caller]
fn check(addresses: &[&str], cases: &[(&str, Option<usize>)]) {
    let mut router = router(addresses);
    for (topic, expected) in cases {
        let expected = expected.map(|number| StationId(number as u32));
        let contest = router.explain(topic);
        assert_eq!(contest.winner.map(|(station, _)| station), expected, "explain {topic:?}");
        // Twice: found, then remembered.
        for _ in 0..2 {
            assert_eq!(router.route(topic), expected, "{topic:?}");
        }
    }
}

#[test]
fn hash_takes_everything() {
    check(&["a", "#", ".*"], &[("a", Some(1)), ("$SYS/x", Some(1)), ("", Some(1))]);
}

#[test]
fn order_of_the_contract() {
    let addresses = [
        ".*",
        "status/batt.*",
        "status/battery",
        "filter:status/+",
        "filter:status/#",
        "filter:+/battery",
        "regex:status/.*",
        "exact:a.c",
        "s.*",
    ];
    check(
        &addresses,
        &[
            ("status/battery", Some(2)),
            ("status/batt", Some(3)),
            ("status/batt/x", Some(4)),
            ("status", Some(4)),
            ("x/battery", Some(5)),
            ("sun", Some(8)),
            ("a.c", Some(7)),
            ("abc", Some(0)),
            ("", Some(0)),
        ],
    );
}

#[test]
fn expressions_are_tried_in_descending_order() {
    check(
        &["status/batt.*", "status/.*", "status/battery[0-9]"],
        &[("status/battery1", Some(2)), ("status/battery", Some(0)), ("status/x", Some(1))],
    );
    // Byte order of the text, without `regex:`.
    check(&["regex:a.+", "a.*"], &[("ab", Some(0)), ("a", Some(1))]);
}

#[test]
fn an_expression_takes_the_whole_topic() {
    check(
        &["a|bc", "regex:x|xy", "regex:^q$"],
        &[
            ("a", Some(0)),
            ("bc", Some(0)),
            ("abc", None),
            ("ac", None),
            ("xy", Some(1)),
            ("q", Some(2)),
            ("q\n", None),
            ("a\n", None),
        ],
    );
    check(&["a.b", "(?x) c d # comment"], &[("a\nb", Some(0)), ("cd", Some(1)), ("xa\nb", None)]);
    check(&["(?i)plant/.*"], &[("PLANT/x", Some(0)), ("plant/", Some(0)), ("xplant/", None)]);
    check(&["plant/?x", "pl(a|o)nt"], &[("plantx", Some(0)), ("plont", Some(1))]);
}

#[test]
fn plus_in_a_plain_address_is_no_wildcard() {
    check(&["a/+/b"], &[("a/x/b", None), ("a//b", Some(0)), ("a/+/b", Some(0))]);
}

#[test]
fn filters_match_as_mqtt_says() {
    check(
        &["filter:a/+/c", "filter:a/b/#", "filter:#", "filter:+/+", "filter:$SYS/#"],
        &[
            ("a/b/c", Some(1)),
            ("a/x/c", Some(0)),
            ("a/b", Some(1)),
            ("a", Some(2)),
            ("/x", Some(3)),
            ("a//c", Some(0)),
            ("$SYS", Some(4)),
            ("$SYS/a", Some(4)),
            ("$other/a", None),
        ],
    );
}

#[test]
fn addresses_are_refused_with_a_hint() {
    for (text, at, help) in [
        ("", 0, ""),
        ("site/pump[1", 9, "exact:site/pump[1"),
        ("a(b", 1, "exact:a(b"),
        ("a)(b", 1, "exact:a)(b"),
        ("*", 0, "exact:*"),
        ("regex:a(b", 7, ""),
        ("exact:a/+", 8, "filter:a/+"),
        ("filter:a/#/b", 9, ""),
        ("filter:", 7, ""),
        ("filter:$share/g/a", 7, "$share"),
        ("site/#", 5, "filter:site/#"),
    ] {
        let error = StationAddress::parse(text).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        let hint = error.help.unwrap_or_default();
        assert_eq!(hint.is_empty(), help.is_empty(), "{text}: {hint}");
        assert!(hint.contains(help), "{text}: {hint}");
    }
    assert!(StationAddress::parse("[^#]*/#").is_ok());
    assert!(StationAddress::parse(r"\p{L}{1000}{1000}").is_err());
}

#[test]
fn equal_addresses_clash() {
    let clash = |left: &str, right: &str| {
        let parse = |text| StationAddress::parse(text).unwrap();
        assert_eq!(
            parse(left).clashes_with(&parse(right)),
            parse(right).clashes_with(&parse(left))
        );
        parse(left).clashes_with(&parse(right))
    };
    assert!(clash("a", "exact:a"));
    assert!(clash("a.b", "regex:a.b"));
    assert!(!clash("exact:a.b", "regex:a.b"));
    assert!(!clash("filter:a", "a"));
    assert!(!clash("regex:.*", ".*"));
    assert!(clash("#", "#"));
    assert!(!clash("a", "b"));
}

#[test]
fn a_hundred_thousand_stations_are_cheap_to_compile() {
    let addresses: Vec<StationAddress> = (0..100_000)
        .map(|number| StationAddress::parse(&format!("site/{number}/data")).unwrap())
        .collect();
    let numbered = addresses.iter().enumerate();
    let mut router =
        Router::compile(numbered.map(|(number, address)| (StationId(number as u32), address)));
    assert!(router.expressions.is_empty());
    assert_eq!(router.route("site/99999/data"), Some(StationId(99_999)));
    assert_eq!(router.route("site/100000/data"), None);
}

/// The contract's section 2 word by word, for comparison.
fn reference(addresses: &[&str], topic: &str) -> Option<usize> {
    let position = |wanted: &str| addresses.iter().position(|address| *address == wanted);
    if let Some(all) = position("#") {
        return Some(all);
    }
    let literal = |address: &&str| !address.contains(':') && **address != *".*";
    let equal = |address: &&str| {
        (literal(address) && **address == *topic) || **address == *format!("exact:{topic}")
    };
    if let Some(equal) = addresses.iter().position(equal) {
        return Some(equal);
    }
    let mut filters: Vec<(Vec<(u8, &str)>, usize)> = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        if let Some(filter) = address.strip_prefix("filter:")
            && topic::matches(filter, topic)
        {
            let levels = filter.split('/').map(|level| match level {
                "+" => (1, level),
                "#" => (2, level),
                _ => (0, level),
            });
            filters.push((levels.collect(), number));
        }
    }
    filters.sort();
    if let Some((_, number)) = filters.first() {
        return Some(*number);
    }
    let mut expressions: Vec<(&str, usize)> = addresses
        .iter()
        .enumerate()
        .filter_map(|(number, address)| match address.strip_prefix("regex:") {
            Some(source) => Some((source, number)),
            None => literal(address).then_some((*address, number)),
        })
        .collect();
    expressions.sort_by(|left, right| right.cmp(left));
    expressions
        .into_iter()
        .find(|(source, _)| Regex::new(&format!("^(?s:{source})$")).unwrap().is_match(topic))
        .map(|(_, number)| number)
        .or_else(|| position(".*"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn it_routes_as_the_reference_does(
        addresses in prop::collection::btree_set(prop_oneof![
            8 => "[ab]{1,2}(/[ab]{1,2}){0,2}",
            4 => r"[ab](\.\*|/\.|/\[ab\]|a\?|/\(a\|b/a\)|\|b){1,2}",
            4 => "regex:[ab]?(\\.|/|a\\*|\\.\\*|b\\?){1,3}",
            4 => "exact:[ab.]{1,2}(/[ab]){0,2}",
            6 => r"filter:(a|b|\+)(/(a|b|\+)){0,3}(/#)?",
            1 => Just("filter:#".to_owned()),
            1 => Just(".*".to_owned()),
        ], 0..12),
        topics in prop::collection::vec("\\$?[ab]{0,2}(/[ab]{0,2}){0,3}", 1..8),
    ) {
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let parsed: Vec<StationAddress> =
            addresses.iter().map(|address| StationAddress::parse(address).unwrap()).collect();
        for (number, address) in parsed.iter().enumerate() {
            let clash = parsed[..number].iter().any(|other| other.clashes_with(address));
            prop_assume!(!clash);
        }
        let mut router = router(&addresses);
        for topic in &topics {
            let expected = reference(&addresses, topic).map(|number| StationId(number as u32));
            prop_assert_eq!(router.route(topic), expected, "{} {:?}", topic, addresses);
            prop_assert_eq!(router.route(topic), expected);
            let winner = router.explain(topic).winner.map(|(station, _)| station);
            prop_assert_eq!(winner, expected);
        }
    }

    #[test]
    fn any_address_is_read_or_refused(text in "(exact:|filter:|regex:)?[a/+#.*()\\[\\]€?\\\\{}1]{0,12}") {
        if let Err(error) = StationAddress::parse(&text) {
            prop_assert!(error.at <= text.len());
        }
    }
}
