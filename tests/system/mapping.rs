//! What a payload does to tags: the contract's section 7, through a real broker.

use serde_json::{Value as Json, json};

use crate::harness::{Config, Driver, Mosquitto};

const COLUMNS: &str = "name,station,type,address,scale,offset,min,max,deadband,on_text,off_text";

/// What a tag must be: its value, its reason, and its time if that is not the receive time.
struct Expected(&'static str, Json, &'static str, Option<&'static str>);

fn is(name: &'static str, value: impl Into<Json>) -> Expected {
    Expected(name, value.into(), "ok", None)
}

/// Not good: the last value and why.
fn bad(name: &'static str, value: impl Into<Json>, reason: &'static str) -> Expected {
    Expected(name, value.into(), reason, None)
}

/// Good, at a time that the message gave.
fn at(name: &'static str, value: impl Into<Json>, time: &'static str) -> Expected {
    Expected(name, value.into(), "ok", Some(time))
}

/// Publishes the payloads one after the other to a JSON station with these keys and tags (rows
/// without the station's name), and looks at the tags after each.
#[track_caller]
fn check(keys: &str, rows: &[&str], cases: &[(&str, Vec<Expected>)]) -> Driver {
    let broker = Mosquitto::start();
    let mut tags = "whole,s,TxtI,IN_DATA,,,,,,,\n".to_owned();
    for row in rows {
        let (name, rest) = row.split_once(',').unwrap();
        let missing = 10 - commas_outside_quotes(row) - 1;
        tags.push_str(&format!("{name},s,{rest}{}\n", ",".repeat(missing)));
    }
    let config = Config::new()
        .line(broker.port, "")
        .station("s", "plant/s", &format!("payload_type = \"json\"\n{keys}"))
        .tag_columns(COLUMNS)
        .tags(&tags);
    let driver = Driver::start(&config);
    driver.up();
    for (number, (payload, expected)) in cases.iter().enumerate() {
        // White space behind it makes every payload a new text.
        let payload = format!("{payload}{}", " ".repeat(number));
        broker.publish("plant/s", &payload, 1);
        // A leading byte order mark is shown as it came.
        driver.has("whole", payload.as_str(), "ok");
        for Expected(name, value, reason, time) in expected {
            let tag = driver.read(name);
            let same = match (value.as_f64(), tag["value"].as_f64()) {
                (Some(left), Some(right)) if value.is_f64() || tag["value"].is_f64() => {
                    left == right
                }
                _ => *value == tag["value"],
            };
            assert!(same && tag["reason"] == *reason, "{payload}: {value} {reason}, but {tag}");
            let quality = match *reason {
                "ok" => "good",
                "bad_time" | "restored" => "uncertain",
                _ => "bad",
            };
            assert_eq!(tag["quality"], quality, "{payload}: {tag}");
            match time {
                Some(time) => assert_eq!(tag["time"], *time, "{payload}: {tag}"),
                None => assert_eq!(tag["time"], tag["received"], "{payload}: {tag}"),
            }
        }
    }
    driver
}

fn commas_outside_quotes(row: &str) -> usize {
    let mut quoted = false;
    let count = |character: char| {
        quoted ^= character == '"';
        character == ',' && !quoted
    };
    row.chars().map(count).filter(|comma| *comma).count()
}

#[test]
fn ai_takes_numbers_numeric_text_and_booleans() {
    check(
        "",
        &["v,Ai,JA=v"],
        &[
            (r#"{"v":5}"#, vec![is("v", 5)]),
            (r#"{"v":-2.5e-3}"#, vec![is("v", -0.0025)]),
            (r#"{"v":" 5.5 "}"#, vec![is("v", 5.5)]),
            (r#"{"v":true}"#, vec![is("v", 1)]),
            (r#"{"v":false}"#, vec![is("v", 0)]),
            (r#"{"v":0}"#, vec![is("v", 0)]),
            (r#"{"v":7}"#, vec![is("v", 7)]),
            (r#"{"v":null}"#, vec![bad("v", 7, "null")]),
            (r#"{"w":1}"#, vec![bad("v", 7, "path_missing")]),
            (r#"{"v":"abc"}"#, vec![bad("v", 7, "type_mismatch")]),
            (r#"{"v":""}"#, vec![bad("v", 7, "type_mismatch")]),
            (r#"{"v":"NaN"}"#, vec![bad("v", 7, "type_mismatch")]),
            (r#"{"v":"inf"}"#, vec![bad("v", 7, "type_mismatch")]),
            (r#"{"v":{}}"#, vec![bad("v", 7, "type_mismatch")]),
            (r#"{"v":[1]}"#, vec![bad("v", 7, "type_mismatch")]),
            (r#"{"v":8}"#, vec![is("v", 8)]),
        ],
    );
}

#[test]
fn ci_stays_exact_to_64_bits_and_takes_no_fractions() {
    check(
        "",
        &["v,Ci,JA=v"],
        &[
            (r#"{"v":9223372036854775807}"#, vec![is("v", i64::MAX)]),
            (r#"{"v":-9223372036854775808}"#, vec![is("v", i64::MIN)]),
            (r#"{"v":9007199254740993}"#, vec![is("v", 9_007_199_254_740_993_i64)]),
            (r#"{"v":"9007199254740993"}"#, vec![is("v", 9_007_199_254_740_993_i64)]),
            (r#"{"v":5.0}"#, vec![is("v", 5)]),
            (r#"{"v":1e3}"#, vec![is("v", 1000)]),
            (r#"{"v":5.7}"#, vec![bad("v", 1000, "type_mismatch")]),
            (r#"{"v":"5.7"}"#, vec![bad("v", 1000, "type_mismatch")]),
            (r#"{"v":36893488147419103232}"#, vec![bad("v", 1000, "out_of_range")]),
            (r#"{"v":-36893488147419103232}"#, vec![bad("v", 1000, "out_of_range")]),
            (r#"{"v":" -7 "}"#, vec![is("v", -7)]),
        ],
    );
}

#[test]
fn di_takes_booleans_zero_one_and_words() {
    let words = [
        ("true", true),
        ("false", false),
        ("1", true),
        ("0", false),
        ("\"true\"", true),
        ("\"FALSE\"", false),
        ("\"On\"", true),
        ("\"oFF\"", false),
        ("\"YES\"", true),
        ("\"no\"", false),
        ("\"1\"", true),
        ("\"0\"", false),
        ("\" on \"", true),
    ];
    let payloads: Vec<String> = words.iter().map(|(word, _)| format!("{{\"v\":{word}}}")).collect();
    let mut cases: Vec<(&str, Vec<Expected>)> = payloads
        .iter()
        .zip(words)
        .map(|(payload, (_, on))| (&**payload, vec![is("v", on)]))
        .collect();
    for payload in [r#"{"v":2}"#, r#"{"v":"maybe"}"#, r#"{"v":-1}"#, r#"{"v":0.5}"#, r#"{"v":[]}"#]
    {
        cases.push((payload, vec![bad("v", true, "type_mismatch")]));
    }
    cases.push((r#"{"v":null}"#, vec![bad("v", true, "null")]));
    check("", &["v,Di,JA=v"], &cases);
    check(
        "",
        &["v,Di,JA=v,,,,,,běží,stojí"],
        &[
            (r#"{"v":"běží"}"#, vec![is("v", true)]),
            (r#"{"v":"stojí"}"#, vec![is("v", false)]),
            (r#"{"v":true}"#, vec![is("v", true)]),
        ],
    );
}

#[test]
fn qi_has_four_states() {
    let words = [
        ("\"off\"", "off"),
        ("\"on\"", "on"),
        ("\"trans\"", "trans"),
        ("\"err\"", "err"),
        ("0", "off"),
        ("1", "on"),
        ("2", "trans"),
        ("3", "err"),
        ("true", "on"),
        ("false", "off"),
    ];
    let payloads: Vec<String> = words.iter().map(|(word, _)| format!("{{\"v\":{word}}}")).collect();
    let mut cases: Vec<(&str, Vec<Expected>)> = payloads
        .iter()
        .zip(words)
        .map(|(payload, (_, is_now))| (&**payload, vec![is("v", is_now)]))
        .collect();
    cases.push((r#"{"v":4}"#, vec![bad("v", "off", "type_mismatch")]));
    cases.push((r#"{"v":"open"}"#, vec![bad("v", "off", "type_mismatch")]));
    check("", &["v,Qi,JA=v"], &cases);
}

#[test]
fn intervals_and_moments_are_read_in_their_forms() {
    check(
        "time_mask = \"dd.mm.yyyy hh:mi:ss\"\ntime_zone = \"Europe/Prague\"",
        &["r,TiR,JA=r", "a,TiA,JA=a"],
        &[
            (
                r#"{"r":90,"a":"24.12.2024 18:30:00"}"#,
                vec![is("r", 90), is("a", "2024-12-24T17:30:00Z")],
            ),
            (
                r#"{"r":"00:01:30","a":"2024-12-24T18:30:00.5+01:00"}"#,
                vec![is("r", 90), is("a", "2024-12-24T17:30:00.5Z")],
            ),
            (
                r#"{"r":"01:02:03.250","a":"2024-12-24t18:30:00z"}"#,
                vec![is("r", 3723.25), is("a", "2024-12-24T18:30:00Z")],
            ),
            (
                r#"{"r":"PT1H30M","a":"01.07.2024 12:00:00"}"#,
                vec![is("r", 5400), is("a", "2024-07-01T10:00:00Z")],
            ),
            (
                r#"{"r":"P1DT1S","a":"yesterday"}"#,
                vec![is("r", 86_401), bad("a", "2024-07-01T10:00:00Z", "type_mismatch")],
            ),
            (
                r#"{"r":"soon","a":null}"#,
                vec![bad("r", 86_401, "type_mismatch"), bad("a", "2024-07-01T10:00:00Z", "null")],
            ),
            (r#"{"r":-0.5,"a":"01.07.2024 12:00:00"}"#, vec![is("r", -0.5)]),
        ],
    );
}

#[test]
fn txti_of_anything_else_is_compact_json() {
    check(
        "",
        &["v,TxtI,JA=v"],
        &[
            (r#"{"v":"plain \u00e9 \" \\ \n text"}"#, vec![is("v", "plain é \" \\ \n text")]),
            (
                r#"{"v": { "a" : [ 1 , 2 ], "b" : "x y" } }"#,
                vec![is("v", r#"{"a":[1,2],"b":"x y"}"#)],
            ),
            (r#"{"v":[ true , null ]}"#, vec![is("v", "[true,null]")]),
            (r#"{"v":5}"#, vec![is("v", "5")]),
            (r#"{"v":true}"#, vec![is("v", "true")]),
            (r#"{"v":""}"#, vec![is("v", "")]),
            (r#"{"v":" kept "}"#, vec![is("v", " kept ")]),
            (r#"{"v":null}"#, vec![bad("v", " kept ", "null")]),
            (r#"{"v":"😀 \ud83d\ude00"}"#, vec![is("v", "😀 😀")]),
        ],
    );
}

#[test]
fn scale_offset_and_limits_apply_in_this_order() {
    check(
        "",
        &[
            "a,Ai,JA=a,0.1,5",
            "c,Ci,JA=c,2,1",
            "big,Ci,JA=big,1,1",
            "limited,Ai,JA=l,1,0,0,100",
            "scaled,Ai,JA=s,10,0,0,100",
        ],
        &[
            (
                r#"{"a":10,"c":10,"big":9007199254740992,"l":10,"s":10}"#,
                vec![
                    is("a", 6),
                    is("c", 21),
                    is("big", 9_007_199_254_740_993_i64),
                    is("limited", 10),
                    is("scaled", 100),
                ],
            ),
            (
                r#"{"l":11,"s":11,"big":18446744073709551615}"#,
                vec![
                    is("limited", 11),
                    bad("scaled", 100, "out_of_range"),
                    bad("big", 9_007_199_254_740_993_i64, "out_of_range"),
                ],
            ),
            (r#"{"l":101,"big":0}"#, vec![bad("limited", 11, "out_of_range"), is("big", 1)]),
            (r#"{"l":-0.5}"#, vec![bad("limited", 11, "out_of_range")]),
            (r#"{"l":0,"s":0}"#, vec![is("limited", 0), is("scaled", 0)]),
            (r#"{"l":100}"#, vec![is("limited", 100)]),
        ],
    );
}

#[test]
fn a_deadband_suppresses_small_changes_and_nothing_else() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "")
        .station("s", "plant/s", "payload_type = \"json\"")
        .tag_columns("name,station,type,address,deadband")
        .tags("v,s,Ai,JA=v,1\nend,s,TxtI,JA=end,");
    let driver = Driver::start(&config);
    driver.up();
    let mut changes = driver.subscribe(&["v", "end"], Json::Null);
    let values = ["10", "10.5", "10.9", "12", "11.5", "null", "11.5", "11.6", "5"];
    let lines: String = values.iter().map(|value| format!("{{\"v\":{value}}}\n")).collect();
    broker.publish_lines("plant/s", &lines, 1);
    broker.publish("plant/s", r#"{"v":5,"end":"end"}"#, 1);
    changes.until("the end", |all| all.iter().any(|change| change["value"] == "end"));
    let seen: Vec<(f64, String)> = changes
        .all
        .iter()
        .filter(|change| change["name"] == "v")
        .map(|c| (c["value"].as_f64().unwrap(), c["reason"].as_str().unwrap().to_owned()))
        .collect();
    let expected: Vec<(f64, String)> =
        [(10.0, "ok"), (12.0, "ok"), (12.0, "null"), (11.5, "ok"), (5.0, "ok")]
            .map(|(value, reason)| (value, reason.to_owned()))
            .to_vec();
    assert_eq!(seen, expected);
}

#[test]
fn paths_lead_through_objects_arrays_and_quotes() {
    check(
        "",
        &[
            "time,TxtI,JA=rx.gwrx[1].time",
            "second,Ai,JA=rx.gwrx[2].rssi",
            r#"dotted,Ai,"JA=value.""dotted.key""""#,
            r#"escaped,Ai,"JA=""a\""b\\c""""#,
            "slash,Ai,JA=value.my/topic/x",
            "matrix,Ai,JA=m[2][1]",
            r#"keyed,Ai,"JA=values[id=""Ch1.Dev1""].v""#,
            "number,Ai,JA=values[id=5].v",
        ],
        &[
            (
                r#"{"rx":{"gwrx":[{"time":"t1","rssi":-1},{"time":"t2","rssi":-2}]},
                    "value":{"dotted.key":1,"my/topic/x":2},"a\"b\\c":3,"m":[[1,2],[3,4]],
                    "values":[{"id":"Ch1.Dev0","v":9},{"id":"Ch1.Dev1","v":10},{"id":5,"v":11}]}"#,
                vec![
                    is("time", "t1"),
                    is("second", -2),
                    is("dotted", 1),
                    is("escaped", 3),
                    is("slash", 2),
                    is("matrix", 3),
                    is("keyed", 10),
                    is("number", 11),
                ],
            ),
            (
                // A keyed element that does not come leaves its tag alone; all else is missing.
                r#"{"values":[{"v":99,"id":"5"}],"rx":{"gwrx":[{"time":"t3"}]},"m":[[1]]}"#,
                vec![
                    is("time", "t3"),
                    bad("second", -2, "path_missing"),
                    bad("dotted", 1, "path_missing"),
                    bad("matrix", 3, "path_missing"),
                    is("keyed", 10),
                    is("number", 99),
                ],
            ),
            (
                // Through null and through a scalar.
                r#"{"values":[],"rx":null,"value":5,"m":[null,[7]]}"#,
                vec![
                    bad("time", "t3", "path_missing"),
                    bad("dotted", 1, "path_missing"),
                    is("matrix", 7),
                    is("keyed", 10),
                    is("number", 99),
                ],
            ),
            (
                // The later of two equal keys counts; white space is free; a BOM is skipped.
                "\u{feff} {\"m\":1,\"m\" : [[0],[8]] }",
                vec![is("matrix", 8)],
            ),
        ],
    );
}

#[test]
fn a_document_may_be_an_array_or_a_single_value() {
    check(
        "",
        &["first,Ai,JA=[1].v", "third,Ai,JA=[3]"],
        &[
            (r#"[{"v":1},{"v":2},3]"#, vec![is("first", 1), is("third", 3)]),
            (r#"[{"v":null}]"#, vec![bad("first", 1, "null"), bad("third", 3, "path_missing")]),
            ("7", vec![bad("first", 1, "path_missing"), bad("third", 3, "path_missing")]),
            ("null", vec![bad("first", 1, "path_missing")]),
            (r#""text""#, vec![bad("first", 1, "path_missing")]),
        ],
    );
}

#[test]
fn every_element_is_a_sample_of_its_own() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "")
        .station(
            "s",
            "plant/s",
            "payload_type = \"json\"\ntime_field_name = \"values[].t\"\ntime_mask = \"UNIX\"",
        )
        .tags(
            r#"v,s,Ai,JA=values[].v
               one,s,Ai,"JA=values[id=""a""].v"
               end,s,TxtI,JA=end"#,
        );
    let driver = Driver::start(&config);
    driver.up();
    let mut changes = driver.subscribe(&["*"], Json::Null);
    broker.publish(
        "plant/s",
        r#"{"values":[{"id":"a","t":100,"v":1},{"id":"b","t":200},{"id":"c","t":300,"v":3},
            {"id":"a","t":400,"v":4}]}"#,
        1,
    );
    broker.publish("plant/s", r#"{"values":[]}"#, 1);
    broker.publish("plant/s", r#"{"values":{"id":"a","t":500,"v":5}}"#, 1);
    broker.publish("plant/s", r#"{"values":[],"end":"end"}"#, 1);
    changes.until("the end", |all| all.iter().any(|change| change["value"] == "end"));
    let of = |name: &str| -> Vec<(f64, String)> {
        let own = changes.all.iter().filter(|change| change["name"] == name);
        own.filter(|change| change["reason"] == "ok")
            .map(|c| (c["value"].as_f64().unwrap(), c["time"].as_str().unwrap().to_owned()))
            .collect()
    };
    let sample = |value: f64, second: u64| {
        (value, format!("1970-01-01T00:{:02}:{:02}Z", second / 60, second % 60))
    };
    assert_eq!(of("v"), [sample(1.0, 100), sample(3.0, 300), sample(4.0, 400), sample(5.0, 500)]);
    assert_eq!(of("one")[..2], [sample(1.0, 100), sample(4.0, 400)]);
}

#[test]
fn on_missing_keep_leaves_a_tag_alone() {
    check(
        "on_missing = \"keep\"",
        &["v,Ai,JA=a.v", "w,Ai,JA=w"],
        &[
            (r#"{"a":{"v":1},"w":2}"#, vec![is("v", 1), is("w", 2)]),
            (r#"{"w":3}"#, vec![is("v", 1), is("w", 3)]),
            (r#"{"a":{}}"#, vec![is("v", 1), is("w", 3)]),
            // A null is something that came.
            (r#"{"a":{"v":null}}"#, vec![bad("v", 1, "null"), is("w", 3)]),
            ("{", vec![bad("v", 1, "bad_payload"), bad("w", 3, "bad_payload")]),
        ],
    );
}

#[test]
fn times_are_read_by_the_mask() {
    for (mask, field, time) in [
        ("UNIX", "1700000000", "2023-11-14T22:13:20Z"),
        ("UNIX", "1700000000.25", "2023-11-14T22:13:20.25Z"),
        ("UNIX", "\"1700000000\"", "2023-11-14T22:13:20Z"),
        ("UNIXMS", "1700000000123", "2023-11-14T22:13:20.123Z"),
        ("RFC3339", "\"2024-01-02T03:04:05.123456789Z\"", "2024-01-02T03:04:05.123456789Z"),
        ("RFC3339", "\"2024-01-02t03:04:05z\"", "2024-01-02T03:04:05Z"),
        ("RFC3339", "\"2024-01-02T03:04:05-05:30\"", "2024-01-02T08:34:05Z"),
        ("RFC3339", "\"2016-12-31T23:59:60Z\"", "2017-01-01T00:00:00Z"),
        ("yyyy-mm-dd hh:mi:ss.mss", "\"2024-01-02 03:04:05.5\"", "2024-01-02T03:04:05.5Z"),
        ("yyyy-mm-dd hh:mi:ss.mss", "\"2024-01-02 03:04:05\"", "2024-01-02T03:04:05Z"),
        (
            "yyyy-mm-dd hh:mi:ss.mss",
            "\"2024-01-02 03:04:05.123456789\"",
            "2024-01-02T03:04:05.123456789Z",
        ),
        ("dd/mm/yy", "\"02/01/24\"", "2024-01-02T00:00:00Z"),
        ("yyyymmddThhmiss", "\"20240102T030405\"", "2024-01-02T03:04:05Z"),
        ("yyyy-mm-dd hh:mi:ssZZZZZZ", "\"2024-01-02 03:04:05+01:00\"", "2024-01-02T02:04:05Z"),
    ] {
        let payload = format!("{{\"v\":1,\"t\":{field}}}");
        let keys = format!("time_field_name = \"t\"\ntime_mask = \"{mask}\"");
        // Only one message each: one driver per mask would cost more than it shows.
        check(&keys, &["v,Ai,JA=v"], &[(payload.as_str(), vec![at("v", 1, time)])]);
    }
}

#[test]
fn missing_and_unreadable_times_are_counted_and_the_value_is_taken() {
    let driver = check(
        "time_field_name = \"t\"\ntime_mask = \"yyyy-mm-dd hh:mi:ss\"",
        &["v,Ai,JA=v"],
        &[
            (r#"{"v":1,"t":"2024-01-02 03:04:05"}"#, vec![at("v", 1, "2024-01-02T03:04:05Z")]),
            (r#"{"v":2}"#, vec![is("v", 2)]),
            (r#"{"v":3,"t":null}"#, vec![is("v", 3)]),
            (r#"{"v":4,"t":"yesterday"}"#, vec![bad("v", 4, "bad_time")]),
            (r#"{"v":5,"t":"2024-02-30 00:00:00"}"#, vec![bad("v", 5, "bad_time")]),
            (r#"{"v":6,"t":{}}"#, vec![bad("v", 6, "bad_time")]),
            (r#"{"v":7,"t":"2023-01-02 03:04:05"}"#, vec![at("v", 7, "2023-01-02T03:04:05Z")]),
        ],
    );
    let counters = driver.station("s")["counters"].clone();
    assert_eq!(counters["times_missing"], 2, "{counters}");
    assert_eq!(counters["times_unreadable"], 3, "{counters}");
    driver.logs(&["WARN", "no time"]);
    driver.logs(&["WARN", "yesterday"]);
}

#[test]
fn a_missing_time_may_be_ignored() {
    let driver = check(
        "time_field_name = \"t\"\ntime_mask = \"RFC3339\"\nignore_missing_time = true",
        &["v,Ai,JA=v"],
        &[(r#"{"v":2}"#, vec![is("v", 2)])],
    );
    assert_eq!(driver.station("s")["counters"]["times_missing"], 0);
    assert_eq!(driver.count_logged("no time"), 0);
}

#[test]
fn the_hour_that_does_not_exist_is_bad_and_the_one_that_comes_twice_is_standard_time() {
    check(
        "time_field_name = \"t\"\ntime_mask = \"yyyy-mm-dd hh:mi:ss\"\n\
         time_zone = \"Europe/Bratislava\"",
        &["v,Ai,JA=v"],
        &[
            (r#"{"v":1,"t":"2024-03-31 01:59:59"}"#, vec![at("v", 1, "2024-03-31T00:59:59Z")]),
            (r#"{"v":2,"t":"2024-03-31 02:30:00"}"#, vec![bad("v", 2, "bad_time")]),
            (r#"{"v":3,"t":"2024-03-31 03:00:00"}"#, vec![at("v", 3, "2024-03-31T01:00:00Z")]),
            (r#"{"v":4,"t":"2024-10-27 02:30:00"}"#, vec![at("v", 4, "2024-10-27T01:30:00Z")]),
            (r#"{"v":5,"t":"2024-10-27 01:59:59"}"#, vec![at("v", 5, "2024-10-26T23:59:59Z")]),
        ],
    );
}

#[test]
fn an_older_source_time_still_replaces_the_value() {
    check(
        "time_field_name = \"t\"\ntime_mask = \"UNIX\"",
        &["v,Ai,JA=v"],
        &[
            (r#"{"v":1,"t":2000}"#, vec![at("v", 1, "1970-01-01T00:33:20Z")]),
            (r#"{"v":2,"t":1000}"#, vec![at("v", 2, "1970-01-01T00:16:40Z")]),
        ],
    );
}

#[test]
fn topic_levels_count_from_one_and_a_leading_slash_is_an_empty_level() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "")
        .station("s", "#", "")
        .tags("l1,s,TxtI,TL=1\nl2,s,TxtI,TL=2\nl3,s,TxtI,TL=3\ntopic,s,TxtI,IN_TOPIC");
    let driver = Driver::start(&config);
    driver.up();
    broker.publish("a/b/c", "x", 1);
    driver.has("topic", "a/b/c", "ok");
    for (name, level) in [("l1", "a"), ("l2", "b"), ("l3", "c")] {
        assert_eq!(driver.read(name)["value"], level);
    }
    broker.publish("/d", "x", 1);
    driver.has("topic", "/d", "ok");
    assert_eq!(driver.read("l1")["value"], "");
    assert_eq!(driver.read("l2")["value"], "d");
    let missing = driver.read("l3");
    assert_eq!((&missing["value"], &missing["reason"]), (&json!("c"), &json!("path_missing")));
}

#[test]
fn the_ends_of_time_are_a_time_or_a_reason_and_survive_a_restart() {
    let broker = Mosquitto::start();
    let config = |mask: &str| {
        Config::new()
            .line(broker.port, "clean_session = true")
            .station(
                "s",
                "plant/s",
                &format!(
                    "payload_type = \"json\"\ntime_field_name = \"t\"\ntime_mask = \"{mask}\""
                ),
            )
            .tags("v,s,Ai,JA=v\na,s,TiA,JA=a\nwhole,s,TxtI,IN_DATA")
    };
    for (mask, field) in [
        ("RFC3339", "\"9999-12-31T23:59:59.999999999Z\""),
        ("RFC3339", "\"0000-01-01T00:00:00Z\""),
        ("RFC3339", "\"0001-01-01T00:00:00+23:59\""),
        ("RFC3339", "\"9999-12-31T23:59:59-23:59\""),
        ("UNIX", "1e18"),
        ("UNIX", "-1e18"),
        ("UNIX", "9223372036854775807"),
        ("UNIX", "-62135596800"),
        ("UNIX", "253402300799.999999999"),
        ("UNIXMS", "1e300"),
    ] {
        let mut driver = Driver::start(&config(mask));
        driver.up();
        let payload = format!("{{\"v\":1,\"t\":{field},\"a\":{field}}}");
        broker.publish("plant/s", &payload, 1);
        driver.has("whole", payload.as_str(), "ok");
        let before = driver.read("v");
        assert_eq!(before["value"], 1.0, "{field}: {before}");
        let good = ["ok", "bad_time"].contains(&before["reason"].as_str().unwrap());
        assert!(good, "{field}: {before}");
        driver.durable();
        driver.kill();
        driver.restart();
        let after = driver.read("v");
        assert_eq!(after["time"], before["time"], "{field}");
        assert_eq!(after["value"], before["value"], "{field}");
    }
}

#[test]
fn a_message_of_a_hundred_thousand_samples_is_journaled_whole() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "subscribe_qos = 2")
        .station("s", "plant/s", "payload_type = \"json\"")
        .tags("v,s,Ci,JA=[]");
    let mut driver = Driver::start(&config);
    driver.up();
    let samples: Vec<String> = (1..=100_000).map(|number| number.to_string()).collect();
    broker.publish("plant/s", format!("[{}]", samples.join(",")), 2);
    driver.has("v", 100_000, "ok");
    driver.durable();
    driver.kill();
    driver.restart();
    let mut changes = driver.subscribe(&["v"], "oldest");
    changes.until("all samples", |all| all.len() >= 100_000);
    let values: Vec<u64> =
        changes.all[..100_000].iter().map(|c| c["value"].as_u64().unwrap()).collect();
    assert!(values.iter().copied().eq(1..=100_000), "a sample is missing or out of order");
}

#[test]
fn names_of_every_kind_come_through() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "")
        .station("stanice ž", "plant/ž/+x", "payload_type = \"json\"")
        .tags(
            r#""žluť ""quoted"", comma",stanice ž,Ai,"JA=""klíč ž""."" ""[1]"
               emoji 😀.x,stanice ž,TxtI,JA=y"#,
        );
    let driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/ž/+x".replace('+', "p").as_str(), "not ours", 1);
    let name = "žluť \"quoted\", comma";
    assert_eq!(driver.read(name)["reason"], "never_received");
    let output = driver.run(["--json", "read", name, "emoji*"]);
    let read: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["values"][0]["name"], name);
    assert_eq!(read["values"][1]["name"], "emoji 😀.x");
}
