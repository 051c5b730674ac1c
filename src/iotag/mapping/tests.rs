use super::*;
use crate::iotag::TagType::{self, Ai, Ci, Di, TxtI};
use crate::iotag::testing::{station, tag, timed};
use crate::iotag::{Station, Tag};

const RECEIVED: &str = "2026-01-01T00:00:00Z";

/// What a message does to tags given as type and address: `number value quality/reason time`, the
/// time left out when it is the receive time.
fn map(
    station: &Station,
    tags: &[(TagType, &str)],
    payload: &[u8],
) -> (Vec<String>, MappingReport) {
    let tags: Vec<Tag> = tags.iter().map(|(tag_type, address)| tag(*tag_type, address)).collect();
    let numbered = tags.iter().enumerate();
    let plan =
        StationPlan::compile(station, numbered.map(|(number, tag)| (TagId(number as u32), tag)));
    let received = RECEIVED.parse().unwrap();
    let message =
        InMessage { topic: "site/pump/data", payload, content_type: None, packet_id: 7, received };
    let mut updates = Vec::new();
    let report = plan.map(&message, &mut updates);
    let show = |update: &TagUpdate| {
        assert_eq!(update.received, received);
        let value = update.value.as_ref().map_or("-".into(), |value| value.to_json().to_string());
        let mut text = format!("{} {value} {}/{}", update.tag.0, update.quality, update.reason);
        if update.time != received {
            text.push_str(&format!(" {}", update.time));
        }
        text.replace("good/ok", "ok")
    };
    (updates.iter().map(show).collect(), report)
}

#[track_caller]
fn check(station: &Station, tags: &[(TagType, &str)], payload: &str, expected: &[&str]) {
    let (updates, report) = map(station, tags, payload.as_bytes());
    assert_eq!(updates, expected, "{payload}");
    assert_eq!(report, MappingReport::default(), "{payload}");
}

fn json() -> Station {
    station(PayloadType::Json)
}

#[test]
fn tags_of_the_arrival_come_first_and_in_order() {
    let tags = [
        (Ai, "JA=v"),
        (TxtI, "TL=2"),
        (Ci, "IN_ID"),
        (TxtI, "TL=4"),
        (TxtI, "IN_DATA"),
        (TxtI, "IN_TOPIC"),
    ];
    check(
        &json(),
        &tags,
        r#"{"v":1}"#,
        &[
            r#"5 "site/pump/data" ok"#,
            r#"4 "{\"v\":1}" ok"#,
            "2 7 ok",
            "0 1.0 ok",
            r#"1 "pump" ok"#,
            "3 - bad/path_missing",
        ],
    );
    let (updates, report) = map(&json(), &tags[..1], b"\xef\xbb\xbf{\"v\":1}");
    assert_eq!((updates, report), (vec!["0 1.0 ok".to_owned()], MappingReport::default()));
    let (updates, _) = map(&station(PayloadType::Text), &[(TxtI, "IN_DATA")], b"a\xffb");
    assert_eq!(updates, ["0 \"a\u{fffd}b\" ok"]);
}

#[test]
fn null_zero_and_missing_are_told_apart() {
    let tags = [(Ci, "JA=v"), (Ci, "JA=o.v"), (Ci, "JA=a[2]"), (TxtI, "JA=o")];
    check(
        &json(),
        &tags,
        r#"{"v":0,"o":null,"a":[1]}"#,
        &["0 0 ok", "1 - bad/path_missing", "2 - bad/path_missing", "3 - bad/null"],
    );
    check(
        &json(),
        &tags,
        r#"{"v":null,"o":{"v":"x"},"a":[1,2]}"#,
        &["0 - bad/null", "1 - bad/type_mismatch", "2 2 ok", "3 \"{\\\"v\\\":\\\"x\\\"}\" ok"],
    );
    let keep = Station { on_missing: OnMissing::Keep, ..json() };
    check(&keep, &tags, r#"{"v":null}"#, &["0 - bad/null"]);
    check(&keep, &tags[..1], "{}", &[]);
}

#[test]
fn a_malformed_payload_is_bad_and_says_where() {
    let tags = [(Ai, "JA=v"), (TxtI, "IN_DATA"), (TxtI, "TL=1")];
    let station = timed(PayloadType::Json, "t", "UNIX");
    for (payload, place) in [
        ("{\"v\":1,\n \"w\":}", "line 2 column 6"),
        ("", "line 1 column 0"),
        ("{\"v\":1} x", "line 1 column 9"),
        ("{\"v\":01}", "line 1 column 7"),
        ("{\"w\":\"\u{1}\"}", "line 1 column 6"),
        ("NaN", "line 1 column 1"),
    ] {
        let (updates, report) = map(&station, &tags, payload.as_bytes());
        assert_eq!(updates.len(), 3);
        assert_eq!(updates[1..], ["0 - bad/bad_payload".to_owned(), "2 \"site\" ok".to_owned()]);
        let error = report.bad_payload.unwrap();
        assert!(error.contains(place), "{payload}: {error}");
        assert!(!report.time_missing);
    }
    let (_, report) = map(&station, &tags, b"{\"v\":1,\n\"w\":\"\xff\"}");
    assert_eq!(report.bad_payload.unwrap(), "not UTF-8 at line 2 column 6");
}

#[test]
fn hostile_nesting_and_texts_end_in_a_reason() {
    let deep = "[".repeat(1_000_000);
    let (updates, report) = map(&json(), &[(Ai, "JA=v"), (TxtI, "JA=[1][1]")], deep.as_bytes());
    assert_eq!(updates, ["0 - bad/bad_payload", "1 - bad/bad_payload"]);
    assert!(report.bad_payload.is_some());
    let closed = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let (updates, _) = map(&json(), &[(Ai, "JA=v"), (Ai, "JA=[1][1][1]")], closed.as_bytes());
    assert_eq!(updates, ["0 - bad/path_missing", "1 - bad/type_mismatch"]);
    let (updates, report) =
        map(&json(), &[(TxtI, "JA=s"), (Ai, "JA=v")], br#"{"s":"\ud800","v":1}"#);
    assert_eq!(updates, ["0 - bad/bad_payload", "1 1.0 ok"]);
    assert!(report.bad_payload.is_some());
    let long = format!("{{\"s\":\"{}\"}}", "x".repeat(16 << 20));
    let (updates, _) = map(&json(), &[(TxtI, "JA=s")], long.as_bytes());
    assert_eq!(updates[0].len(), (16 << 20) + "0 \"\" ok".len());
    let many = format!("[{}1]", "1,".repeat(2_000_000));
    let (updates, report) = map(&json(), &[(Ai, "JA=[]")], many.as_bytes());
    assert_eq!(updates, ["0 - bad/bad_payload"]);
    assert!(report.bad_payload.unwrap().contains("more than 1048576 values"));
}

#[test]
fn keyed_elements_and_every_element() {
    let payload = r#"{"values":[{"id":"a","v":1},{"v":2,"id":"b"},{"id":5,"v":3},{"id":"5","v":4},
        {"id":"a","v":6},{"id":"a"},{"id":"n","v":null},7,null]}"#;
    let tags = [
        (Ai, r#"JA=values[id="a"].v"#),
        (Ai, "JA=values[id=b].v"),
        (Ai, "JA=values[id=5].v"),
        (Ai, r#"JA=values[id="5"].v"#),
        (Ai, "JA=values[id=5.0].v"),
        (Ai, "JA=values[id=zz].v"),
        (Ai, "JA=values[id=n].v"),
        (Ai, "JA=values[].v"),
        (Ai, "JA=values[2].v"),
        (TxtI, "JA=values[id=b]"),
        (TxtI, "JA=values[9]"),
    ];
    check(
        &json(),
        &tags,
        payload,
        &[
            "0 1.0 ok",
            "0 6.0 ok",
            "1 2.0 ok",
            "2 3.0 ok",
            "2 4.0 ok",
            "3 4.0 ok",
            "4 3.0 ok",
            "6 - bad/null",
            "7 1.0 ok",
            "7 2.0 ok",
            "7 3.0 ok",
            "7 4.0 ok",
            "7 6.0 ok",
            "7 - bad/null",
            "8 2.0 ok",
            r#"9 "{\"v\":2,\"id\":\"b\"}" ok"#,
            "10 - bad/null",
        ],
    );
    let (missing, alone) = (["0 - bad/path_missing"], []);
    let every = [(Ai, "JA=values[].v")];
    check(&json(), &every, r#"{"values":[]}"#, &alone);
    check(&json(), &every, r#"{"values":[{}]}"#, &alone);
    check(&json(), &every, r#"{"values":{"v":1}}"#, &["0 1.0 ok"]);
    check(&json(), &every, r#"{"values":null}"#, &missing);
    check(&json(), &every, r#"{"values":5}"#, &missing);
    check(&json(), &every, "{}", &missing);
    let keyed = [(Ai, "JA=values[id=a].v")];
    check(&json(), &keyed, r#"{"values":[]}"#, &alone);
    check(&json(), &keyed, "{}", &alone);
    check(&json(), &keyed, r#"{"values":null}"#, &missing);
    check(&json(), &keyed, r#"{"values":{"v":1,"id":"a"}}"#, &["0 1.0 ok"]);
    check(&json(), &[(TxtI, "JA=values[]")], r#"{"values":{"v": 1}}"#, &[r#"0 "{\"v\":1}" ok"#]);
}

#[test]
fn the_last_of_equal_fields_counts() {
    let tags = [(Ai, "JA=a.b"), (Ai, "JA=l[].v"), (Ai, "JA=k[id=x].v"), (Ai, "JA=a.c")];
    check(
        &json(),
        &tags,
        r#"{"a":{"b":1,"c":1},"l":[{"v":1},{"v":2}],"k":null,"a":{"b":2,"b":3},"l":[{"v":5,"v":4}],
            "k":[{"id":"y","v":1,"id":"x","v":2}]}"#,
        &["0 3.0 ok", "1 4.0 ok", "2 2.0 ok", "3 - bad/path_missing"],
    );
}

#[test]
fn a_time_field_is_the_time_of_the_payload() {
    let station = timed(PayloadType::Json, "t", "UNIXMS");
    let tags = [(Ai, "JA=v"), (Ai, "JA=w"), (TxtI, "TL=1")];
    check(
        &station,
        &tags,
        r#"{"v":1,"t":1521797973469}"#,
        &[
            "0 1.0 ok 2018-03-23T09:39:33.469Z",
            "1 - bad/path_missing 2018-03-23T09:39:33.469Z",
            "2 \"site\" ok",
        ],
    );
    for payload in [r#"{"v":1}"#, r#"{"v":1,"t":null}"#] {
        let (updates, report) = map(&station, &tags[..1], payload.as_bytes());
        assert_eq!(updates, ["0 1.0 ok"]);
        assert_eq!(report, MappingReport { time_missing: true, ..MappingReport::default() });
        let ignoring = Station { ignore_missing_time: true, ..station.clone() };
        check(&ignoring, &tags[..1], payload, &["0 1.0 ok"]);
    }
    for (time, shown) in [("\"soon\"", "soon"), ("true", "true"), ("[1]", "[1]")] {
        let payload = format!(r#"{{"v":1,"t":{time}}}"#);
        let (updates, report) = map(&station, &tags[..2], payload.as_bytes());
        assert_eq!(updates, ["0 1.0 uncertain/bad_time", "1 - bad/path_missing"]);
        assert_eq!(report.time_unreadable.as_deref(), Some(shown));
        assert!(!report.time_missing);
    }
}

#[test]
fn samples_older_than_max_age_are_discarded_and_counted() {
    let station = Station {
        max_age: Some(jiff::SignedDuration::from_secs(60)),
        ..timed(PayloadType::Json, "[].t", "RFC3339")
    };
    let payload = br#"[{"v":1,"t":"2025-12-31T23:58:59Z"},{"v":2,"t":"2025-12-31T23:59:00Z"},
        {"v":3,"t":"2026-01-01T01:00:00Z"},{"v":4}]"#;
    let (updates, report) = map(&station, &[(Ci, "JA=[].v"), (TxtI, "TL=1")], payload);
    assert_eq!(
        updates,
        ["0 2 ok 2025-12-31T23:59:00Z", "0 3 ok 2026-01-01T01:00:00Z", "0 4 ok", "1 \"site\" ok"]
    );
    assert_eq!(report.discarded, 1);
}

#[test]
fn a_tag_may_read_the_time_field_too() {
    let station = timed(PayloadType::Json, "t", "UNIX");
    check(
        &station,
        &[(Ci, "JA=t"), (TagType::TiA, "JA=t")],
        r#"{"t":0}"#,
        &["0 0 ok 1970-01-01T00:00:00Z", r#"1 "1970-01-01T00:00:00Z" ok 1970-01-01T00:00:00Z"#],
    );
}

#[test]
fn every_sample_has_its_own_time() {
    let station = timed(PayloadType::Json, "values[].t", "UNIX");
    let tags = [
        (Ai, "JA=values[].v"),
        (Ai, r#"JA=values[id="b"].v"#),
        (Ai, "JA=values[1].v"),
        (Ai, "JA=other"),
        (Ai, "JA=values[].deep[].x"),
    ];
    let payload = r#"{"values":[{"id":"a","v":1,"t":1,"deep":[{"x":1},{"x":2}]},
        {"v":2,"t":2,"id":"b"},{"id":"b","v":3,"t":"x"}],"other":9}"#;
    let (updates, report) = map(&station, &tags, payload.as_bytes());
    assert_eq!(
        updates,
        [
            "0 1.0 ok 1970-01-01T00:00:01Z",
            "0 2.0 ok 1970-01-01T00:00:02Z",
            "0 3.0 uncertain/bad_time",
            "1 2.0 ok 1970-01-01T00:00:02Z",
            "1 3.0 uncertain/bad_time",
            "2 1.0 ok 1970-01-01T00:00:01Z",
            "3 9.0 ok",
            "4 1.0 ok 1970-01-01T00:00:01Z",
            "4 2.0 ok 1970-01-01T00:00:01Z",
        ]
    );
    assert_eq!(report.time_unreadable.as_deref(), Some("x"));
    let (updates, report) = map(&station, &tags[..1], br#"{"values":{"v":1}}"#);
    assert_eq!(updates, ["0 1.0 ok"]);
    assert!(report.time_missing);
    let root = timed(PayloadType::Json, "[].time", "UNIX");
    check(
        &root,
        &[(Ci, "JA=[].value")],
        r#"[{"value":-3000,"time":1744858460},{"value":-3050,"time":1744858464}]"#,
        &["0 -3000 ok 2025-04-17T02:54:20Z", "0 -3050 ok 2025-04-17T02:54:24Z"],
    );
    let nested = timed(PayloadType::Json, "a[].b[].t", "UNIX");
    check(
        &nested,
        &[(Ci, "JA=a[].b[].v"), (Ci, "JA=a[id=2].b[1].v"), (Ci, "JA=a[].id")],
        r#"{"a":[{"id":1,"b":[{"v":1,"t":1},{"v":2,"t":2}]},{"id":2,"b":[{"t":3,"v":3}]}]}"#,
        &[
            "0 1 ok 1970-01-01T00:00:01Z",
            "0 2 ok 1970-01-01T00:00:02Z",
            "0 3 ok 1970-01-01T00:00:03Z",
            "1 3 ok 1970-01-01T00:00:03Z",
            "2 1 ok",
            "2 2 ok",
        ],
    );
}

#[test]
fn payloads_of_the_seed_documents() {
    let energydata = timed(PayloadType::Json, "timestamp", "UNIXMS");
    check(
        &energydata,
        &[(Ai, "JA=value")],
        r#"{"value": "0.16300000250339508", "timestamp": 1521797973052}"#,
        &["0 0.16300000250339508 ok 2018-03-23T09:39:33.052Z"],
    );
    check(
        &energydata,
        &[(Ai, "JA=value.my/topic/suffix1"), (Ci, r#"JA=value."my/topic/suffix2""#)],
        r#"{"timestamp":1521797973469,"value":{"my/topic/suffix1":14.47,"my/topic/suffix2":34}}"#,
        &["0 14.47 ok 2018-03-23T09:39:33.469Z", "1 34 ok 2018-03-23T09:39:33.469Z"],
    );
    check(
        &timed(PayloadType::Json, "time", "UNIX"),
        &[(Ci, "JA=value"), (Ci, "JA=soc")],
        r#"{"value": -2500, "soc": 8150, "time": 1744858463}"#,
        &["0 -2500 ok 2025-04-17T02:54:23Z", "1 8150 ok 2025-04-17T02:54:23Z"],
    );
    check(
        &json(),
        &[(Ci, "JA=value"), (TagType::TiA, "JA=timing.start")],
        r#"{"timing":{"start":"2024-07-01T14:00:00Z","end":"2024-07-01T14:15:00Z"},"value":null}"#,
        &["0 - bad/null", "1 \"2024-07-01T14:00:00Z\" ok"],
    );
    check(
        &timed(PayloadType::Json, "rx.gwrx[1].time", "yyyy-mm-dd hh:mi:ss"),
        &[(TxtI, "JA=rx.moteeui"), (Ci, "JA=rx.userdata.seqno"), (Ai, "JA=rx.gwrx[1].lsnr")],
        r#"{"rx":{"moteeui":"be7a01","userdata":{"seqno":67},
            "gwrx":[{"time":"2017-07-05 16:06:52","lsnr":9.5}]}}"#,
        &[
            "0 \"be7a01\" ok 2017-07-05T16:06:52Z",
            "1 67 ok 2017-07-05T16:06:52Z",
            "2 9.5 ok 2017-07-05T16:06:52Z",
        ],
    );
    check(
        &json(),
        &[(Ai, "JA=[1].batt_cell_v_avg"), (Di, "JA=[2].online")],
        r#"[{"batt_cell_v_avg":3.31},{"online":true}]"#,
        &["0 3.31 ok", "1 true ok"],
    );
    check(
        &json(),
        &[(TxtI, "JA=type"), (Ai, "JA=value"), (Ci, "JA=priority"), (TxtI, "JA=swop_version")],
        r#"{"type":"NEWSPT","swop_version":0.1,"datapoint":"b","value":20.3,"priority":13}"#,
        &["0 \"NEWSPT\" ok", "1 20.3 ok", "2 13 ok", "3 \"0.1\" ok"],
    );
}

/// As [`map`], of a message with a Content Type.
fn map_content(
    station: &Station,
    tags: &[(TagType, &str)],
    content_type: Option<&str>,
    payload: &[u8],
) -> Vec<String> {
    let tags: Vec<Tag> = tags.iter().map(|(tag_type, address)| tag(*tag_type, address)).collect();
    let numbered = tags.iter().enumerate();
    let plan =
        StationPlan::compile(station, numbered.map(|(number, tag)| (TagId(number as u32), tag)));
    let received = RECEIVED.parse().unwrap();
    let message = InMessage { topic: "t", payload, content_type, packet_id: 0, received };
    let mut updates = Vec::new();
    plan.map(&message, &mut updates);
    let show = |update: &TagUpdate| {
        let value = update.value.as_ref().map_or("-".into(), |value| value.to_json().to_string());
        format!("{} {value} {}", update.tag.0, update.reason)
    };
    updates.iter().map(show).collect()
}

#[test]
fn every_payload_type_is_mapped() {
    check(
        &station(PayloadType::Influx),
        &[
            (Ai, "LP=RoomTemperature"),
            (Ai, "LP=ExtTemperature"),
            (TxtI, "LP=Other"),
            (Ci, "LP=RoomTemperature n"),
        ],
        "RoomTemperature value=20.3 1465839830100400200\nExtTemperature value=14.7 1465839830100400200\n\
         RoomTemperature value=22.3 1465839831000000000",
        &[
            "0 20.3 ok 2016-06-13T17:43:50.1004002Z",
            "0 22.3 ok 2016-06-13T17:43:51Z",
            "1 14.7 ok 2016-06-13T17:43:50.1004002Z",
            "3 - bad/path_missing 2016-06-13T17:43:51Z",
        ],
    );
    check(
        &timed(PayloadType::Csv, "t", "UNIX"),
        &[(Ai, "CA=v"), (Di, "CA=on"), (Ci, "CA=x")],
        "t,v,on\n1,2.5,yes\n2,,no\n",
        &[
            "0 2.5 ok 1970-01-01T00:00:01Z",
            "0 - bad/null 1970-01-01T00:00:02Z",
            "1 true ok 1970-01-01T00:00:01Z",
            "1 false ok 1970-01-01T00:00:02Z",
            "2 - bad/path_missing",
        ],
    );
    check(
        &timed(PayloadType::Xml, "/d/@t", "RFC3339"),
        &[(Ai, "XA=/d/v[2]"), (Ci, "XA=/d/w"), (TxtI, "XA=/d/v/@unit")],
        r#"<d t="2024-01-01T00:00:00Z"><v unit="V"> 1 </v><v>2.5</v></d>"#,
        &[
            "0 2.5 ok 2024-01-01T00:00:00Z",
            "1 - bad/path_missing 2024-01-01T00:00:00Z",
            "2 \"V\" ok 2024-01-01T00:00:00Z",
        ],
    );
    check(
        &station(PayloadType::Bytes),
        &[(Ci, "RA=0:u16be"), (Di, "RA=0:bit:0"), (TxtI, "RA=1:text:3"), (Ci, "RA=9:u8")],
        "1a\0\0",
        &["0 12641 ok", "1 true ok", "2 \"a\" ok", "3 - bad/path_missing"],
    );
    for (payload_type, tag, payload) in [
        (PayloadType::Influx, "LP=m", "nonsense"),
        (PayloadType::Csv, "CA=a", ""),
        (PayloadType::Xml, "XA=/a", "<a>"),
    ] {
        let (updates, report) = map(&station(payload_type), &[(Ai, tag)], payload.as_bytes());
        assert_eq!(updates, ["0 - bad/bad_payload"], "{payload_type:?}");
        assert!(report.bad_payload.is_some());
    }
}

#[test]
fn json_paths_are_samples_or_one_text() {
    let station = timed(PayloadType::Json, "t", "UNIX");
    let payload = r#"{"t":1,"values":[{"id":"x","v":1},{"id":"y","v":"2"}]}"#;
    check(
        &station,
        &[
            (Ai, "JP=$.values[*].v"),
            (TxtI, "JP=$.values[*].v"),
            (TxtI, "JP=$.values[0].id"),
            (Ci, "JP=$.values[?@.id == 'y'].v"),
            (Ci, "JP=$.values[?@.id == 'z'].v"),
            (Ci, "JP=$.nothing"),
            (TxtI, "JP=$.values[0]"),
            (Ai, "JA=values[1].v"),
        ],
        payload,
        &[
            "0 1.0 ok 1970-01-01T00:00:01Z",
            "0 2.0 ok 1970-01-01T00:00:01Z",
            r#"1 "[1,\"2\"]" ok 1970-01-01T00:00:01Z"#,
            r#"2 "x" ok 1970-01-01T00:00:01Z"#,
            "3 2 ok 1970-01-01T00:00:01Z",
            "5 - bad/path_missing 1970-01-01T00:00:01Z",
            r#"6 "{\"id\":\"x\",\"v\":1}" ok 1970-01-01T00:00:01Z"#,
            "7 1.0 ok 1970-01-01T00:00:01Z",
        ],
    );
    check(&json(), &[(Ai, "JP=$")], "14.47", &["0 14.47 ok"]);
}

#[test]
fn auto_follows_the_content_type() {
    let auto = station(PayloadType::Auto);
    let tags = [
        (Ai, "JA=v"),
        (Ai, "CA=v"),
        (Ai, "XA=/v"),
        (Ci, "RA=0:u8"),
        (TxtI, "IN_DATA"),
        (Ai, "LP=m"),
    ];
    let map = |content_type, payload: &[u8]| map_content(&auto, &tags, content_type, payload);
    assert_eq!(map(None, b"{\"v\":1}"), [r#"4 "{\"v\":1}" ok"#, "0 1.0 ok"]);
    assert_eq!(map(Some("Text/CSV; x=y"), b"v\n2"), [r#"4 "v\n2" ok"#, "1 2.0 ok"]);
    assert_eq!(map(Some("application/xml"), b"<v>3</v>"), [r#"4 "<v>3</v>" ok"#, "2 3.0 ok"]);
    assert_eq!(map(Some("application/octet-stream"), b"A"), [r#"4 "A" ok"#, "3 65 ok"]);
    assert_eq!(map(Some("text/plain"), b"x"), [r#"4 "x" ok"#]);
    assert_eq!(map(Some("image/png"), b"x"), [r#"4 "x" ok"#]);
    assert_eq!(map(Some("application/json"), b"x"), [r#"4 "x" ok"#, "0 - bad_payload"]);
    let packed = crate::iotag::output::packed(b"{\"v\":1}").unwrap();
    assert_eq!(map(Some("application/gzip"), &packed), [r#"4 "{\"v\":1}" ok"#, "0 1.0 ok"]);
    assert_eq!(map(Some("application/gzip"), b"x"), ["4 - bad_payload", "0 - bad_payload"]);
    let text = station(PayloadType::Text);
    let tags = [(TxtI, "IN_DATA")];
    assert_eq!(
        map_content(&text, &tags, Some("application/gzip"), &packed),
        [r#"0 "{\"v\":1}" ok"#]
    );
}

#[test]
fn conditions_decide_which_messages_touch_a_tag() {
    use crate::iotag::when::When;
    let conditional = |tag_type, address, when: &str| Tag {
        when: Some(When::parse(when).unwrap()),
        ..tag(tag_type, address)
    };
    let tags = [
        conditional(Ai, "JA=value", "type=NEWSPT & datapoint=abc"),
        conditional(TxtI, "IN_TOPIC", "type=ACKSPT"),
        conditional(TxtI, "JA=type", "swop_version=0.1"),
        conditional(TxtI, "JA=datapoint", r#"swop_version="0.1""#),
        conditional(Ai, "JA=value", "points[id=7].on=true"),
    ];
    let map = |station: &Station, payload: &str| {
        let numbered = tags.iter().enumerate();
        let plan = StationPlan::compile(
            station,
            numbered.map(|(number, tag)| (TagId(number as u32), tag)),
        );
        let received = RECEIVED.parse().unwrap();
        let message = InMessage {
            topic: "t",
            payload: payload.as_bytes(),
            content_type: None,
            packet_id: 0,
            received,
        };
        let mut updates = Vec::new();
        plan.map(&message, &mut updates);
        updates.iter().map(|update| update.tag.0).collect::<Vec<_>>()
    };
    let station = json();
    let newspt = r#"{"type":"NEWSPT","swop_version":0.10,"datapoint":"abc","value":20.3}"#;
    assert_eq!(map(&station, newspt), [0, 2]);
    assert_eq!(map(&station, &newspt.replace("0.10", "\"0.1\"")), [0, 2, 3]);
    assert_eq!(map(&station, &newspt.replace("abc", "abd")), [2]);
    assert_eq!(map(&station, r#"{"type":"ACKSPT"}"#), [1]);
    assert_eq!(map(&station, r#"{"points":[{"id":6},{"id":7,"on":true}]}"#), [4]);
    assert_eq!(map(&station, "{"), [] as [u32; 0]);
    // For every kind of address, whatever the payload's type.
    assert_eq!(map(&super::tests::station(PayloadType::Text), r#"{"type":"ACKSPT"}"#), [1]);
    assert_eq!(map(&super::tests::station(PayloadType::Text), "no JSON"), [] as [u32; 0]);
}

#[test]
fn updates_are_explained() {
    let station = timed(PayloadType::Json, "t", "UNIX");
    let tags = [tag(Ai, "JA=v"), tag(Ai, "JA=w"), tag(TxtI, "TL=1")];
    let numbered = tags.iter().enumerate();
    let plan =
        StationPlan::compile(&station, numbered.map(|(number, tag)| (TagId(number as u32), tag)));
    let received = RECEIVED.parse().unwrap();
    let payload = br#"{"v":"five","t":"soon"}"#;
    let message = InMessage { topic: "a/b", payload, content_type: None, packet_id: 0, received };
    let (mut updates, mut traces) = (Vec::new(), Vec::new());
    plan.explain(&message, &mut updates, &mut traces);
    let trace = |tag, taken: Option<&str>, time| Trace {
        tag: TagId(tag),
        taken: taken.map(Into::into),
        place: (tag == 0).then_some(6..10),
        time,
    };
    assert_eq!(
        traces,
        [
            trace(0, Some("five"), TimeOrigin::Unreadable),
            trace(1, None, TimeOrigin::Unreadable),
            trace(2, Some("a"), TimeOrigin::Received),
        ]
    );
    assert_eq!(updates.len(), traces.len());
}
