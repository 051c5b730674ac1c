//! Composed outputs: JSON documents and line protocol of a station's output tags.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::packet::Packet;
use crate::harness::{Config, Driver, FakeBroker, Mosquitto, Next, Received};

const COLUMNS: &str = "name,station,type,address,initial,on_text,off_text";

fn document(received: &Received) -> Json {
    serde_json::from_str(&received.payload).unwrap_or_else(|_| panic!("{received:?}"))
}

fn write_all(driver: &Driver, writes: Json) -> Vec<Json> {
    driver.call("tag.write", json!({ "writes": writes }))["results"].as_array().unwrap().clone()
}

fn outcomes(results: &[Json]) -> Vec<&str> {
    results.iter().map(|result| result["outcome"].as_str().unwrap()).collect()
}

#[test]
fn one_write_over_several_tags_is_one_document_of_all_that_was_ever_written() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .station(
            "pump",
            "status/pump",
            "payload_type = \"json\"\ntime_field_name = \"time\"\ntime_mask = \"UNIXMS\"\n\
             out_topic = \"cmd/{line}/{station}\"",
        )
        .tag_columns(COLUMNS)
        .tags(
            "p.value,pump,Co,JA=set.value,,,
             p.real,pump,Ao,JA=set.real,,,
             p.on,pump,Do,JA=on,,,
             p.mode,pump,Do,JA=mode,,auto,manual
             p.text,pump,TxtO,\"JA=list[2].\"\"a.b\"\"\",,,
             p.span,pump,ToR,JA=span,,,
             p.due,pump,ToA,JA=due,,,
             p.initial,pump,TxtO,JA=source,tagline,,
             p.never,pump,Ao,JA=never,,,",
        );
    let mut driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("cmd/#", 1);
    let before = jiff_now_ms();
    let results = write_all(
        &driver,
        json!([
            { "name": "p.value", "value": 9_007_199_254_740_993_u64 },
            { "name": "p.real", "value": 20 },
            { "name": "p.on", "value": "on" },
        ]),
    );
    assert_eq!(outcomes(&results), ["completed"; 3], "{results:?}");
    let first = live.wait_for(1)[0].clone();
    assert_eq!((first.topic.as_str(), first.qos), ("cmd/plant/pump", 1));
    let sent = document(&first);
    let time = sent["time"].as_i64().unwrap();
    assert!((before..=jiff_now_ms()).contains(&time), "{sent}");
    // An integer has no decimals, and what was not written is left out; `initial` is a value.
    assert!(first.payload.contains("\"value\":9007199254740993,"), "{}", first.payload);
    let expected = json!({
        "set": { "value": 9_007_199_254_740_993_u64, "real": 20.0 },
        "on": true, "source": "tagline", "time": time,
    });
    assert_eq!(sent, expected);
    let results = write_all(
        &driver,
        json!([
            { "name": "p.mode", "value": true },
            { "name": "p.text", "value": "žluť \"x\"" },
            { "name": "p.span", "value": "00:01:30" },
            { "name": "p.due", "value": "2030-01-01T00:00:00Z" },
            { "name": "p.value", "value": null },
        ]),
    );
    assert_eq!(outcomes(&results), ["completed"; 5], "{results:?}");
    let sent = document(&live.wait_for(2)[1]);
    assert_eq!(sent["set"], json!({ "value": null, "real": 20.0 }));
    assert_eq!(sent["mode"], "auto");
    assert_eq!(sent["list"], json!([null, { "a.b": "žluť \"x\"" }]));
    assert_eq!((&sent["span"], &sent["due"]), (&json!(90.0), &json!(1_893_456_000_000_i64)));
    assert_eq!(driver.read("p.value")["value"], Json::Null);
    assert_eq!(driver.read("p.value")["quality"], "good");
    // What was written stays in the document over a restart, null too.
    driver.durable();
    driver.kill();
    driver.restart();
    driver.up();
    assert_eq!(driver.write("p.on", false)["outcome"], "completed");
    let sent = document(&live.wait_for(3)[2]);
    assert_eq!(sent["set"], json!({ "value": null, "real": 20.0 }));
    assert_eq!((&sent["on"], &sent["mode"]), (&json!(false), &json!("auto")));
    assert_eq!(sent.get("never"), None);
}

fn jiff_now_ms() -> i64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn refusals_of_one_field_do_not_spoil_the_others() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .station("s", "status/s", "payload_type = \"json\"\nout_topic = \"cmd/s\"")
        .tag_columns("name,station,type,address,min,max")
        .tags("s.a,s,Ao,JA=a,0,100\ns.b,s,Co,JA=b,,\ns.raw,s,TxtO,OUT_VALUE,,");
    let driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("cmd/#", 1);
    let results = write_all(
        &driver,
        json!([
            { "name": "s.a", "value": 101 },
            { "name": "s.b", "value": 1.5 },
            { "name": "s.b", "value": "7" },
            { "name": "s.raw", "value": "text" },
            { "name": "s.raw", "value": null },
            { "name": "s.b", "value": 8 },
            { "name": "s.b", "value": 9 },
        ]),
    );
    let expected =
        ["failed", "failed", "completed", "completed", "failed", "completed", "completed"];
    assert_eq!(outcomes(&results), expected, "{results:?}");
    let payloads: Vec<String> = live.wait_for(4).into_iter().map(|one| one.payload).collect();
    assert_eq!(payloads, ["{\"b\":7}", "text", "{\"b\":8}", "{\"b\":9}"]);
    assert_eq!(driver.read("s.a")["reason"], "never_received");
}

#[test]
fn line_protocol_sends_the_series_written_and_cyclically_all() {
    let broker = Mosquitto::start();
    let station = |name: &str, keys: &str| {
        format!(
            "[[station]]\nname = \"{name}\"\nline = \"plant\"\naddress = \"status/{name}\"\n\
             payload_type = \"influx\"\nout_topic = \"META/{{station}}\"\n{keys}\n"
        )
    };
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .stations(
            &(station("a", "")
                + &station("c", "publish_every = \"50ms\"\npublish_on_write = false")),
        )
        .station("loop", "exact:META/c", "")
        .tags(
            r#"a.temp,a,Ao,"LP=room,floor=1 temp"
               a.count,a,Co,"LP=room,floor=1 count"
               a.other,a,TxtO,LP=other
               c.temp,c,Ao,"LP=room,floor=1 temp"
               c.other,c,TxtO,LP=other
               loop.data,loop,TxtI,IN_DATA"#,
        );
    let driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("META/a", 1);
    let cyclic = broker.subscribe("META/c", 1);
    let body = |payload: &str| payload.rsplit_once(' ').unwrap().0.to_owned();
    assert_eq!(driver.write("a.other", "x y")["outcome"], "completed");
    assert_eq!(driver.write("a.count", 3)["outcome"], "completed");
    assert_eq!(driver.write("a.temp", 21.5)["outcome"], "completed");
    let sent = live.wait_for(3);
    assert_eq!(body(&sent[0].payload), "other value=\"x y\"");
    assert_eq!(body(&sent[1].payload), "room,floor=1 count=3i");
    assert_eq!(body(&sent[2].payload), "room,floor=1 temp=21.5,count=3i");
    let nanoseconds: i128 = sent[2].payload.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((nanoseconds / 1_000_000 - i128::from(jiff_now_ms())).abs() < 60_000);
    // Nothing was written there: nothing is published.
    assert!(cyclic.received().is_empty());
    let writes = json!([
        { "name": "c.temp", "value": 1 },
        { "name": "c.other", "value": "z" },
    ]);
    assert_eq!(outcomes(&write_all(&driver, writes)), ["completed"; 2]);
    assert_eq!(driver.read("c.temp")["value"], 1.0, "set at once");
    let sent = cyclic.wait_for(3);
    assert_eq!(body(&sent[2].payload), "room,floor=1 temp=1");
    let whole = driver.read("loop.data")["value"].as_str().unwrap().to_owned();
    let lines: Vec<String> = whole.lines().map(body).collect();
    assert_eq!(lines, ["room,floor=1 temp=1", "other value=\"z\""]);
    let counters = driver.station("c")["counters"].clone();
    assert!(counters["cycles_completed"].as_u64().unwrap() >= 2, "{counters}");
    assert_eq!(counters["cycles_not_completed"], 0, "{counters}");
}

#[test]
fn cyclic_publication_keeps_its_pace_and_only_while_the_line_is_up() {
    let broker = FakeBroker::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 0")
        .station(
            "s",
            "status/s",
            "payload_type = \"json\"\nout_topic = \"cmd/s\"\npublish_every = \"100ms\"",
        )
        .tag_columns(COLUMNS)
        .tags("s.a,s,Co,JA=a,,,\ns.b,s,Co,JA=b,5,,");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    // `initial` alone publishes nothing.
    link.expect_silence(Duration::from_millis(400));
    let writing =
        driver.socket().request("tag.write", json!({ "writes": [{ "name": "s.a", "value": 1 }] }));
    assert!(writing > 0);
    let written = link.expect_publish();
    assert_eq!(written.payload, b"{\"a\":1,\"b\":5}");
    link.expect_publish();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(link.expect_publish().payload, b"{\"a\":1,\"b\":5}");
    }
    let took = begun.elapsed();
    let expected = Duration::from_millis(2000);
    assert!(took > expected - Duration::from_millis(150), "{took:?}");
    assert!(took < expected + Duration::from_millis(400), "{took:?}");
    drop(link);
    driver.line_is("plant", "connecting");
    let completed =
        |driver: &Driver| driver.station("s")["counters"]["cycles_completed"].as_u64().unwrap();
    let while_down = completed(&driver);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(completed(&driver), while_down);
    assert_eq!(driver.station("s")["counters"]["cycles_not_completed"], 0);
    let mut link = broker.accept_session(false);
    link.expect_publish();
}

#[test]
fn one_publish_in_flight_means_one() {
    let broker = FakeBroker::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1\npublish_in_flight = 1")
        .station("s", "status/s", "payload_type = \"json\"\nout_topic = \"cmd/s\"")
        .tags("s.a,s,Co,JA=a\ns.b,s,Co,JA=b");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    const WRITES: usize = 10_000;
    const AT_A_TIME: usize = 500;
    let mut socket = driver.socket();
    let mut seen = 0;
    for batch in 0..WRITES / AT_A_TIME {
        // A tag that is written again is published again, so this is one publication each.
        let writes: Vec<Json> = (0..AT_A_TIME)
            .map(|number| json!({ "name": "s.a", "value": batch * AT_A_TIME + number }))
            .collect();
        let request = socket.request("tag.write", json!({ "writes": writes, "timeout_s": 60 }));
        for _ in 0..AT_A_TIME {
            let publish = link.expect_publish();
            assert_eq!(publish.payload, format!("{{\"a\":{seen}}}").into_bytes());
            // With two in flight there would always be another one before the acknowledgement.
            if seen % 10 == 7 {
                let wait = if seen % 1000 == 17 { 50 } else { 0 };
                let next = link.next_within(Duration::from_millis(wait));
                assert!(matches!(next, Next::Nothing), "{next:?}");
            }
            link.send(&Packet::Puback(publish.id));
            seen += 1;
        }
        let results = socket.answer(request).unwrap()["results"].clone();
        assert!(results.as_array().unwrap().iter().all(|one| one["outcome"] == "completed"));
    }
    assert_eq!(seen, WRITES);
    assert_eq!(driver.line("plant")["counters"]["writes_completed"], WRITES);
}

#[test]
fn a_set_point_message_and_its_acknowledgement() {
    // SWOP: NEWSPT is composed here, read by another station, and answered with ACKSPT.
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .station(
            "issuer",
            "exact:ACKS/lbg/project",
            "payload_type = \"json\"\nout_topic = \"CONTROLS/lbg/project\"",
        )
        .station(
            "receiver",
            "exact:CONTROLS/lbg/project",
            "payload_type = \"json\"\nout_topic = \"ACKS/lbg/project\"",
        )
        .tag_columns("name,station,type,address,initial,when")
        .tags(
            "i.type,issuer,TxtO,JA=type,NEWSPT,
             i.version,issuer,TxtO,JA=swop_version,0.1,
             i.datapoint,issuer,TxtO,JA=datapoint,,
             i.value,issuer,Ao,JA=value,,
             i.priority,issuer,Co,JA=priority,13,
             i.acknowledge,issuer,Do,JA=acknowledge,true,
             i.reference,issuer,TxtO,JA=reference,,
             i.acked,issuer,TxtI,JA=reference,,type=ACKSPT
             i.state,issuer,TxtI,JA=state,,type=ACKSPT
             r.room,receiver,Ai,JA=value,,type=NEWSPT & datapoint=room
             r.hall,receiver,Ai,JA=value,,type=NEWSPT & datapoint=hall
             r.version,receiver,TxtI,JA=swop_version,,type=NEWSPT
             r.reference,receiver,TxtI,JA=reference,,type=NEWSPT
             r.type,receiver,TxtO,JA=type,ACKSPT,
             r.ack,receiver,TxtO,JA=reference,,
             r.state,receiver,TxtO,JA=state,,",
        );
    let driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("#", 1);
    let set = |datapoint: &str, value: Json, reference: &str| {
        json!([
            { "name": "i.datapoint", "value": datapoint },
            { "name": "i.value", "value": value },
            { "name": "i.reference", "value": reference },
        ])
    };
    let results = write_all(&driver, set("room", json!(20.3), "one"));
    assert_eq!(outcomes(&results), ["completed"; 3], "{results:?}");
    assert_eq!(
        document(&live.wait_for(1)[0]),
        json!({
            "type": "NEWSPT", "swop_version": "0.1", "datapoint": "room", "value": 20.3,
            "priority": 13, "acknowledge": true, "reference": "one",
        })
    );
    driver.has("r.room", 20.3, "ok");
    driver.has("r.reference", "one", "ok");
    assert_eq!(driver.read("r.hall")["reason"], "never_received");
    let answer = json!([
        { "name": "r.ack", "value": "one" },
        { "name": "r.state", "value": "written" },
    ]);
    assert_eq!(outcomes(&write_all(&driver, answer)), ["completed"; 2]);
    driver.has("i.acked", "one", "ok");
    driver.has("i.state", "written", "ok");
    // The set point is taken back: null is neither 0 nor left out; a number as version is accepted.
    write_all(&driver, set("hall", json!(0), "two"));
    driver.has("r.hall", 0.0, "ok");
    write_all(&driver, set("room", Json::Null, "three"));
    driver.has("r.room", 20.3, "null");
    assert_eq!(driver.read("r.hall")["value"], 0.0);
    let newspt = r#"{"type":"NEWSPT","swop_version":0.1,"datapoint":"hall","value":5}"#;
    broker.publish("CONTROLS/lbg/project", newspt, 1);
    driver.has("r.hall", 5.0, "ok");
    assert_eq!(driver.read("r.version")["value"], "0.1");
}
