//! Commands on their way from the socket to subscribers of the broker.

use std::time::Duration;

use serde_json::json;

use crate::harness::packet::{Packet, Publish};
use crate::harness::{Config, Driver, FakeBroker, Mosquitto, Next, SECRET_PASSWORD};

/// A station that publishes on `cmd` at some QoS.
fn output(config: Config, name: &str, keys: &str, tag_type: &str) -> Config {
    config
        .station(name, &format!("status/{name}"), &format!("out_topic = \"cmd/{name}\"\n{keys}"))
        .tags(&format!("{name}.value,{name},{tag_type},OUT_VALUE"))
}

#[test]
fn a_written_value_is_published_at_the_configured_qos_and_retain() {
    let broker = Mosquitto::start();
    let mut config = Config::new().line(broker.port, "publish_qos = 2\npublish_retain = true");
    for (name, keys) in [
        ("q0", "publish_qos = 0\npublish_retain = false"),
        ("q1", "publish_qos = 1\npublish_retain = true"),
        ("q2", ""),
    ] {
        config = output(config, name, keys, "TxtO");
    }
    let driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("cmd/#", 2);
    for (count, name) in ["q0", "q1", "q2"].into_iter().enumerate() {
        let result = driver.write(&format!("{name}.value"), format!("to {name}"));
        assert_eq!(result["outcome"], "completed", "{result}");
        assert_eq!(result["error"], json!(null));
        let received = live.wait_for(count + 1);
        let last = received.last().unwrap();
        assert_eq!((last.topic.as_str(), last.qos), (format!("cmd/{name}").as_str(), count as u8));
        assert_eq!(last.payload, format!("to {name}"));
        let tag = driver.read(&format!("{name}.value"));
        assert_eq!((&tag["value"], &tag["reason"]), (&json!(format!("to {name}")), &json!("ok")));
    }
    // Who comes later gets what was to be retained, and only that.
    let later = broker.subscribe("cmd/#", 2);
    let received = later.wait_for(2);
    let topics: Vec<&str> = received.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, ["cmd/q1", "cmd/q2"]);
    assert!(received.iter().all(|message| message.retain));
}

#[test]
fn output_types_are_published_as_text_that_reads_back() {
    let broker = Mosquitto::start();
    let types = ["Ao", "Co", "Do", "TxtO", "ToR", "ToA"];
    let mut config = Config::new().line(broker.port, "publish_qos = 1");
    for tag_type in types {
        config = output(config, tag_type, "", tag_type);
    }
    let driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("cmd/#", 1);
    for (count, (tag_type, value, text)) in [
        ("Ao", json!(-1.5), "-1.5"),
        ("Co", json!(9_007_199_254_740_993_u64), "9007199254740993"),
        ("Do", json!(true), "true"),
        ("TxtO", json!("žluť"), "žluť"),
        ("ToR", json!(90.5), "90.5"),
        ("ToA", json!("2030-01-01T00:00:00Z"), "2030-01-01 00:00:00.000"),
        ("Co", json!("-7"), "-7"),
    ]
    .into_iter()
    .enumerate()
    {
        let result = driver.write(&format!("{tag_type}.value"), value);
        assert_eq!(result["outcome"], "completed", "{tag_type}: {result}");
        let received = live.wait_for(count + 1);
        let last = received.last().unwrap();
        assert_eq!(
            (last.topic.as_str(), last.payload.as_str()),
            (&*format!("cmd/{tag_type}"), text)
        );
    }
}

#[test]
fn out_topic_is_a_tag_that_may_change_in_the_same_write() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .station("free", "status/free", "")
        .tags("free.topic,free,TxtO,OUT_TOPIC\nfree.value,free,Ao,OUT_VALUE");
    let driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("#", 1);
    let result = driver.write("free.value", 1);
    assert_eq!(result["outcome"], "failed", "no topic is known yet: {result}");
    let writes = json!([
        { "name": "free.value", "value": 2 },
        { "name": "free.topic", "value": "elsewhere/a" },
    ]);
    let results = driver.call("tag.write", json!({ "writes": writes }))["results"].clone();
    assert_eq!(results[0]["outcome"], "completed", "{results}");
    assert_eq!(results[1]["outcome"], "completed", "{results}");
    let first = live.wait_for(1)[0].clone();
    assert_eq!((first.topic.as_str(), first.payload.as_str()), ("elsewhere/a", "2"));
    // A topic with wildcards is failed, and the connection stays.
    for topic in ["a/+/b", "#", ""] {
        driver.write("free.topic", topic);
        let result = driver.write("free.value", 3);
        assert_eq!(result["outcome"], "failed", "{topic}: {result}");
    }
    driver.write("free.topic", "elsewhere/b");
    assert_eq!(driver.write("free.value", 4)["outcome"], "completed");
    assert_eq!(live.wait_for(2)[1].topic, "elsewhere/b");
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn what_must_not_be_written_is_refused_and_not_published() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .station("s", "status/s", "out_topic = \"cmd/s\"")
        .station("i", "status/i", "out_topic = \"cmd/i\"")
        .tag_columns("name,station,type,address,min,max")
        .tags("s.real,s,Ao,OUT_VALUE,0,100\ni.count,i,Co,OUT_VALUE,,\ni.data,i,TxtI,IN_DATA,,");
    let driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("cmd/#", 1);
    for (name, value, code) in [
        ("s.real", json!(101), -32003),
        ("s.real", json!(-0.5), -32003),
        ("s.real", json!("warm"), -32003),
        ("s.real", json!(null), -32003),
        ("s.real", json!([1]), -32003),
        ("i.count", json!(1.5), -32003),
        ("i.count", json!("1.5"), -32003),
        ("i.data", json!("x"), -32002),
        ("nobody", json!(1), -32001),
    ] {
        let result = driver.write(name, value.clone());
        assert_eq!(result["outcome"], "failed", "{name} = {value}: {result}");
        assert_eq!(result["error"]["code"], code, "{name} = {value}: {result}");
        assert_eq!(result["name"], name);
    }
    // One bad write among good ones does not spoil them, and the order is kept.
    let writes = json!([
        { "name": "s.real", "value": 50 },
        { "name": "nobody", "value": 1 },
        { "name": "i.count", "value": 7 },
    ]);
    let results = driver.call("tag.write", json!({ "writes": writes }))["results"].clone();
    let outcomes: Vec<&str> =
        results.as_array().unwrap().iter().map(|r| r["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["completed", "failed", "completed"]);
    let received = live.wait_for(2);
    assert_eq!(received.len(), 2, "{received:?}");
}

#[test]
fn a_write_while_the_line_is_down_fails_at_once_and_is_never_sent() {
    let mut broker = Mosquitto::start();
    let config = output(Config::new().line(broker.port, "publish_qos = 1"), "valve", "", "Co");
    let driver = Driver::start(&config);
    driver.up();
    broker.stop();
    driver.line_is("plant", "connecting");
    let result = driver.write("valve.value", 1);
    assert_eq!(result["outcome"], "failed", "{result}");
    assert_eq!(result["error"]["code"], -32004, "{result}");
    broker.start_again();
    let live = broker.subscribe("cmd/#", 1);
    driver.up();
    assert_eq!(driver.write("valve.value", 2)["outcome"], "completed");
    let received = live.wait_for(1);
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0].payload, "2", "the write that failed must not come late");
}

#[test]
fn the_outcome_waits_for_puback() {
    let broker = FakeBroker::start();
    let config = output(Config::new().line(broker.port, "publish_qos = 1"), "valve", "", "Co");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let write = json!({ "writes": [{ "name": "valve.value", "value": 5 }] });
    let request = socket.request("tag.write", write);
    let publish = link.expect_publish();
    assert_eq!(publish, Publish { payload: b"5".to_vec(), qos: 1, ..publish.clone() });
    assert!(socket.answer_within(request, Duration::from_millis(200)).is_none(), "before PUBACK");
    link.send(&Packet::Puback(publish.id));
    let results = socket.answer(request).unwrap();
    assert_eq!(results["results"][0]["outcome"], "completed");
}

#[test]
fn the_outcome_waits_for_pubcomp() {
    let broker = FakeBroker::start();
    let config = output(Config::new().line(broker.port, "publish_qos = 2"), "valve", "", "Co");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let write = json!({ "writes": [{ "name": "valve.value", "value": 5 }] });
    let request = socket.request("tag.write", write);
    let publish = link.expect_publish();
    assert_eq!(publish.qos, 2);
    link.send(&Packet::Pubrec(publish.id));
    link.expect(&Packet::Pubrel(publish.id));
    assert!(socket.answer_within(request, Duration::from_millis(200)).is_none(), "before PUBCOMP");
    link.send(&Packet::Pubcomp(publish.id));
    let results = socket.answer(request).unwrap();
    assert_eq!(results["results"][0]["outcome"], "completed");
    assert_eq!(driver.read("valve.value")["value"], 5);
}

#[test]
fn a_write_without_an_answer_is_uncertain_in_time() {
    let broker = FakeBroker::start();
    let config = output(Config::new().line(broker.port, "publish_qos = 1"), "valve", "", "Co");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let write = json!({ "writes": [{ "name": "valve.value", "value": 5 }], "timeout_s": 0.3 });
    let request = socket.request("tag.write", write);
    let publish = link.expect_publish();
    let results = socket.answer(request).unwrap();
    let result = &results["results"][0];
    assert_eq!(result["outcome"], "uncertain", "{result}");
    let elapsed = result["elapsed_ms"].as_u64().unwrap();
    assert!((250..2_000).contains(&elapsed), "{result}");
    assert_eq!(driver.read("valve.value")["quality"], "uncertain");
    // The late answer harms nothing, and the next write has its own outcome.
    link.send(&Packet::Puback(publish.id));
    let write = json!({ "writes": [{ "name": "valve.value", "value": 6 }] });
    let request = socket.request("tag.write", write);
    let publish = link.expect_publish();
    link.send(&Packet::Puback(publish.id));
    assert_eq!(socket.answer(request).unwrap()["results"][0]["outcome"], "completed");
}

#[test]
fn writes_in_a_burst_keep_their_order_and_all_complete() {
    let broker = Mosquitto::start();
    let config = output(Config::new().line(broker.port, "publish_qos = 2"), "valve", "", "Co");
    let driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("cmd/#", 2);
    let mut socket = driver.socket();
    let requests: Vec<u64> = (0..50)
        .map(|value| {
            let write = json!({ "writes": [{ "name": "valve.value", "value": value }] });
            socket.request("tag.write", write)
        })
        .collect();
    for request in requests {
        let result = socket.answer(request).unwrap();
        assert_eq!(result["results"][0]["outcome"], "completed", "{result}");
    }
    let received = live.wait_for(50);
    let payloads: Vec<String> = received.into_iter().map(|message| message.payload).collect();
    let expected: Vec<String> = (0..50).map(|value| value.to_string()).collect();
    assert_eq!(payloads, expected);
}

#[test]
fn publish_in_flight_one_is_strictly_one_after_the_other() {
    let broker = FakeBroker::start();
    let keys = "publish_qos = 1\npublish_in_flight = 1";
    let config = output(Config::new().line(broker.port, keys), "valve", "", "Co");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let requests: Vec<u64> = (1..=3)
        .map(|value| {
            let write = json!({ "writes": [{ "name": "valve.value", "value": value }] });
            socket.request("tag.write", write)
        })
        .collect();
    for (value, request) in (1..=3).zip(requests) {
        let publish = link.expect_publish();
        assert_eq!(publish.payload, value.to_string().into_bytes());
        link.expect_silence(Duration::from_millis(100));
        link.send(&Packet::Puback(publish.id));
        assert_eq!(socket.answer(request).unwrap()["results"][0]["outcome"], "completed");
    }
}

#[test]
fn a_broker_that_forbids_the_topic_does_not_stop_the_line() {
    let acl = "topic readwrite plant/#\ntopic read cmd/#";
    let broker = Mosquitto::start_for("operator", SECRET_PASSWORD, acl);
    let keys = "publish_qos = 1\nuser_name = \"operator\"";
    let config = output(Config::new().line(broker.port, keys), "valve", "", "Co")
        .station("s", "plant/s", "")
        .tags("s.data,s,TxtI,IN_DATA");
    let driver = Driver::start(&config);
    driver.up();
    // mosquitto acknowledges what it throws away: 3.1.1 has no way to say no.
    let result = driver.write("valve.value", 1);
    assert_eq!(result["outcome"], "completed", "{result}");
    broker.publish("plant/s", "alive", 1);
    driver.has("s.data", "alive", "ok");
}

#[test]
fn a_write_that_never_left_in_its_time_has_failed_and_stays_away() {
    let broker = FakeBroker::start();
    let keys = "publish_qos = 1\npublish_in_flight = 1";
    let config = output(Config::new().line(broker.port, keys), "valve", "", "Co");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let mut write = |value: i64, timeout_s: f64| {
        let writes = json!([{ "name": "valve.value", "value": value }]);
        socket.request("tag.write", json!({ "writes": writes, "timeout_s": timeout_s }))
    };
    let (first, second, third) = (write(1, 10.0), write(2, 0.3), write(3, 10.0));
    let publish = link.expect_publish();
    assert_eq!(publish.payload, b"1");
    let result = socket.answer(second).unwrap()["results"][0].clone();
    assert_eq!(result["outcome"], "failed", "{result}");
    link.send(&Packet::Puback(publish.id));
    let publish = link.expect_publish();
    assert_eq!(publish.payload, b"3", "the second was given up");
    link.send(&Packet::Puback(publish.id));
    assert_eq!(socket.answer(first).unwrap()["results"][0]["outcome"], "completed");
    assert_eq!(socket.answer(third).unwrap()["results"][0]["outcome"], "completed");
    link.expect_silence(Duration::from_millis(150));
}

#[test]
fn too_many_writes_at_once_are_refused_as_a_whole() {
    let broker = FakeBroker::start();
    let config = output(Config::new().line(broker.port, "publish_qos = 1"), "valve", "", "Co");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let requests: Vec<u64> = (0..100)
        .map(|value| {
            let write = json!({ "writes": [{ "name": "valve.value", "value": value }] });
            socket.request("tag.write", write)
        })
        .collect();
    // Reads are answered meanwhile.
    socket.call("process.status", json!({}));
    let (mut busy, mut open) = (0, Vec::new());
    for request in requests {
        match socket.answer_within(request, Duration::from_millis(1)) {
            Some(answer) => {
                assert_eq!(answer.unwrap_err().code, -32005);
                busy += 1;
            }
            None => open.push(request),
        }
    }
    assert!(busy > 0 && !open.is_empty(), "{busy} refused, {} open", open.len());
    for _ in 0..open.len() {
        let publish = link.expect_publish();
        link.send(&Packet::Puback(publish.id));
    }
    for request in open {
        assert_eq!(socket.answer(request).unwrap()["results"][0]["outcome"], "completed");
    }
    link.expect_silence(Duration::from_millis(100));
}

#[test]
fn what_is_said_of_writes_over_a_lost_connection_is_true() {
    for qos in [0, 1, 2] {
        let broker = FakeBroker::start();
        let keys = format!("publish_qos = {qos}\npublish_in_flight = 2");
        let config = output(Config::new().line(broker.port, &keys), "valve", "", "Co");
        let driver = Driver::start(&config);
        let mut link = broker.accept_session(false);
        driver.up();
        let mut socket = driver.socket();
        let requests: Vec<u64> = (0..6)
            .map(|value| {
                let writes = json!([{ "name": "valve.value", "value": value }]);
                socket.request("tag.write", json!({ "writes": writes, "timeout_s": 1.5 }))
            })
            .collect();
        // All that leaves is seen, and nothing is answered.
        let mut arrived = Vec::new();
        while let Next::Packet(packet) = link.next_within(Duration::from_millis(200)) {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            arrived.push(publish.payload);
        }
        assert_eq!(arrived.len(), if qos == 0 { 6 } else { 2 });
        drop(link);
        // Whatever comes afterwards is taken, each message once.
        let mut link = broker.accept();
        link.expect_connect();
        link.send(&Packet::Connack { session_present: true, code: 0 });
        let mut outcomes = Vec::new();
        for request in requests {
            loop {
                if let Some(answer) = socket.answer_within(request, Duration::from_millis(5)) {
                    let result = answer.unwrap()["results"][0].clone();
                    outcomes.push(result["outcome"].as_str().unwrap().to_owned());
                    break;
                }
                take_one(&mut link, &mut arrived);
            }
        }
        while take_one(&mut link, &mut arrived) {}
        for (value, outcome) in outcomes.iter().enumerate() {
            let payload = value.to_string().into_bytes();
            let count = arrived.iter().filter(|arrived| **arrived == payload).count();
            match outcome.as_str() {
                // At QoS 0 completed means sent to the socket: it may be lost behind it.
                "completed" => assert!(qos == 0 || count > 0, "{value} at QoS {qos} never came"),
                "failed" => assert_eq!(count, 0, "{value} at QoS {qos} failed and came"),
                "uncertain" => {}
                other => panic!("{other}"),
            }
        }
        assert_ne!(outcomes[0], "failed", "the first had left");
    }
}

/// Takes one packet of the client as a server would; false: none came.
fn take_one(link: &mut crate::harness::Link, arrived: &mut Vec<Vec<u8>>) -> bool {
    match link.next_within(Duration::from_millis(50)) {
        Next::Packet(Packet::Subscribe { id, .. }) => {
            link.send(&Packet::Suback { id, codes: vec![1] });
        }
        Next::Packet(Packet::Publish(publish)) => {
            if !arrived.contains(&publish.payload) {
                arrived.push(publish.payload);
            }
            match publish.qos {
                0 => {}
                1 => link.send(&Packet::Puback(publish.id)),
                _ => link.send(&Packet::Pubrec(publish.id)),
            }
        }
        Next::Packet(Packet::Pubrel(id)) => link.send(&Packet::Pubcomp(id)),
        Next::Packet(other) => panic!("{other:?}"),
        Next::End | Next::Nothing => return false,
    }
    true
}

#[test]
fn a_write_under_way_gets_its_outcome_while_the_process_stops() {
    let broker = FakeBroker::start();
    let config = output(Config::new().line(broker.port, "publish_qos = 1"), "valve", "", "Co");
    let mut driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let write = json!({ "writes": [{ "name": "valve.value", "value": 5 }] });
    let request = socket.request("tag.write", write);
    let publish = link.expect_publish();
    driver.signal("TERM");
    driver.logs(&["stopping"]);
    assert!(socket.answer_within(request, Duration::from_millis(200)).is_none());
    link.send(&Packet::Puback(publish.id));
    let results = socket.answer(request).unwrap();
    assert_eq!(results["results"][0]["outcome"], "completed");
    assert_eq!(link.expect_end(), [Packet::Disconnect]);
    assert_eq!(driver.wait().code(), Some(0));
}

#[test]
fn a_write_that_the_server_does_not_answer_is_uncertain_when_the_process_stops() {
    for queues in ["", "write_when_offline = \"queue\""] {
        let broker = FakeBroker::start();
        let config = Config::new().line(broker.port, "publish_qos = 1");
        let mut driver = Driver::start(&output(config, "valve", queues, "Co"));
        let mut link = broker.accept_session(false);
        driver.up();
        let mut socket = driver.socket();
        let write = json!({ "writes": [{ "name": "valve.value", "value": 5 }], "timeout_s": 600 });
        let request = socket.request("tag.write", write);
        link.expect_publish();
        driver.signal("TERM");
        let results = socket.answer(request).unwrap();
        assert_eq!(results["results"][0]["outcome"], "uncertain", "{results}");
        let why = results["results"][0]["error"]["message"].as_str().unwrap();
        assert!(why.contains("the process stopped"), "{why}");
        assert_eq!(driver.wait().code(), Some(0));
    }
}

#[test]
fn one_request_may_write_ten_thousand_values() {
    const WRITES: usize = 10_000;
    let broker = FakeBroker::start();
    let config = output(Config::new().line(broker.port, "publish_qos = 1"), "many", "", "Co");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let writes: Vec<_> =
        (0..WRITES).map(|value| json!({ "name": "many.value", "value": value })).collect();
    let mut socket = driver.socket();
    let request = socket.request("tag.write", json!({ "writes": writes, "timeout_s": 120 }));
    for value in 0..WRITES {
        let publish = link.expect_publish();
        assert_eq!(publish.payload, value.to_string().into_bytes());
        link.send(&Packet::Puback(publish.id));
    }
    let answer = socket.answer(request).unwrap();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), WRITES);
    assert!(results.iter().all(|result| result["outcome"] == "completed"));
}
