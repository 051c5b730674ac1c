//! Where values come from: `tag.explain`, `tagline explain`, `tagline check --topic`.

use serde_json::{Value as Json, json};

use crate::harness::packet::{self, Packet};
use crate::harness::{Config, Driver, FakeBroker, Mosquitto, Socket};

fn pump(config: Config) -> Config {
    config
        .station(
            "pump",
            "filter:site/+/data",
            "payload_type = \"json\"\ntime_field_name = \"t\"\ntime_mask = \"UNIX\"\nout_topic = \"cmd\"",
        )
        .station("rest", ".*", "")
        .tag_columns("name,station,type,address,scale,min,max,initial,when")
        .tags(
            r#"p.speed,pump,Ai,JA=speed,0.5,0,100,,
               p.word,pump,Ai,JA=word,,,,,
               p.kind,pump,TxtI,JA=id,,,,,type=B
               p.list,pump,Ai,JA=list[].v,,,,,
               p.level,pump,TxtI,TL=2,,,,,
               p.set,pump,Ao,OUT_VALUE,,,,7,
               r.data,rest,TxtI,IN_DATA,,,,,"#,
        )
}

#[test]
fn a_value_is_explained_by_its_message() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&pump(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    driver.up();
    let explain = |name: &str| driver.call("tag.explain", json!({ "name": name }));
    let never = explain("p.speed");
    assert_eq!((&never["reason"], &never["message"]), (&json!("never_received"), &Json::Null));
    assert!(never["note"].as_str().unwrap().contains("no message"), "{never}");

    let kind = r#"{"type":"B","id":"the kind","t":1700000000}"#;
    link.send(&packet::publish("site/a/data", kind, 1, 3));
    link.expect(&Packet::Puback(3));
    let payload = r#"{"t":1700000001.0,"speed":50,"word":"fast","list":[{"v":1},{"w":2},{"v":3}]}"#;
    link.send(&packet::again("site/b/data", payload, 1, 4));
    link.expect(&Packet::Puback(4));
    let speed = explain("p.speed");
    assert_eq!((&speed["value"], &speed["quality"]), (&json!(25.0), &json!("good")));
    let message = &speed["message"];
    assert_eq!(message["topic"], "site/b/data");
    assert_eq!(message["payload"], payload);
    assert_eq!(message["payload_bytes"], payload.len());
    assert_eq!(message["time"], speed["received"]);
    let how = ["qos", "retain", "dup", "packet_id"].map(|key| message[key].clone());
    assert_eq!(how, [json!(1), json!(false), json!(true), json!(4)]);
    let offset = payload.find("50").unwrap();
    assert_eq!(speed["bytes"], json!({ "text": "50", "offset": offset, "length": 2 }));
    assert_eq!(speed["rule"]["station"], "pump");
    assert_eq!(speed["rule"]["address"], "JA=speed");
    assert_eq!(speed["rule"]["routing"]["rule"], "filter");
    assert_eq!(speed["rule"]["candidates"].as_array().unwrap().len(), 2);
    assert_eq!(speed["conversion"]["scale"], 0.5);
    let word = explain("p.word");
    assert_eq!(word["reason"], "type_mismatch");
    assert_eq!(word["quality_reason"], "`fast` does not convert to type Ai");
    let list = explain("p.list");
    assert_eq!((&list["value"], &list["samples"]), (&json!(3.0), &json!(2)));
    assert_eq!(explain("p.level")["bytes"]["text"], "b");
    // A later message that does not touch the tag does not hide where it comes from.
    let kind = explain("p.kind");
    assert_eq!(kind["message"]["packet_id"], 3, "{kind}");
    assert_eq!(kind["rule"]["when"], "type=B");
    // Outputs and strangers.
    assert!(explain("p.set")["note"].as_str().unwrap().contains("initial"));
    let error = driver.socket().try_call("tag.explain", json!({ "name": "nobody" })).unwrap_err();
    assert_eq!(error.code, -32001);
    drop(link);
    driver.has("p.speed", 25.0, "line_down");
    let down = explain("p.speed");
    assert_eq!(down["message"]["packet_id"], 4);
    assert!(down["quality_reason"].as_str().unwrap().contains("not connected"), "{down}");

    let output = driver.run(["explain", "p.word"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for word in ["site/b/data", "QoS 1, packet 4, dup", "`fast`", "JA=word", "fast"] {
        assert!(said.contains(word), "no `{word}` in\n{said}");
    }
    let output = driver.run(["--json", "explain", "p.word"]);
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["name"], "p.word");
    assert_eq!(driver.run(["explain", "nobody"]).status.code(), Some(1));
}

#[test]
fn what_is_no_longer_kept_is_said_and_the_rest_is_bounded() {
    let broker = Mosquitto::start();
    let mut driver = Driver::start(&pump(Config::new().line(broker.port, "")));
    driver.up();
    let explain = |driver: &Driver, name: &str| driver.call("tag.explain", json!({ "name": name }));
    let long = "ž".repeat(700_000);
    broker.publish("other", &long, 1);
    driver.has("r.data", long.as_str(), "ok");
    let answer = explain(&driver, "r.data");
    assert_eq!(answer["message"], Json::Null, "larger than what is kept");
    assert!(answer["note"].as_str().unwrap().contains("no longer kept"));
    let long = "ž".repeat(100_000);
    broker.publish("other", &long, 1);
    driver.has("r.data", long.as_str(), "ok");
    let answer = explain(&driver, "r.data");
    assert_eq!(answer["message"]["payload_bytes"], 200_000);
    assert_eq!(answer["message"]["payload_shortened"], true);
    assert!(answer["message"].to_string().len() < 20_000);
    assert!(answer["bytes"].to_string().len() < 4_000);
    driver.durable();
    driver.terminate();
    driver.restart();
    let answer = explain(&driver, "r.data");
    assert!(answer["note"].as_str().unwrap().contains("no longer kept"), "{}", answer["note"]);
    let _: Socket = driver.socket();
}

#[test]
fn a_message_is_tried_without_a_broker() {
    let driver = Driver::prepare(&pump(Config::new().line(1, "topic_filter = [\"site/#\"]")));
    let file = driver.folder().join("message.json");
    std::fs::write(&file, r#"{"t":"soon","speed":500,"word":null,"list":[]}"#).unwrap();
    let path = file.to_str().unwrap();
    let topic = "site/a/data";
    let output = driver.run(["--json", "check", "--topic", topic, "--payload", path]);
    assert!(output.status.success(), "{output:?}");
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    let line = &said["lines"][0];
    assert_eq!((&line["line"], &line["winner"]["station"]), (&json!("plant"), &json!("pump")));
    assert_eq!(line["candidates"][1]["station"], "rest");
    assert_eq!(line["subscribed"], true);
    let tag = |name: &str| {
        let tags = line["tags"].as_array().unwrap();
        tags.iter().find(|tag| tag["name"] == name).unwrap_or_else(|| panic!("{line}")).clone()
    };
    assert_eq!(tag("p.speed")["reason"], "out_of_range");
    assert_eq!(tag("p.word")["reason"], "null");
    assert_eq!(tag("p.level")["value"], "a");
    assert_eq!(line["untouched"], json!(["p.kind", "p.list"]));
    assert_eq!(line["report"]["time_unreadable"], "soon");

    let output = driver.run(["check", "--topic", topic, "--payload", path]);
    let said = String::from_utf8(output.stdout).unwrap();
    for word in ["station pump takes it", "behind it: station rest", "out_of_range", "untouched"] {
        assert!(said.contains(word), "no `{word}` in\n{said}");
    }
    let said = driver.run(["check", "--topic", "elsewhere"]);
    assert!(String::from_utf8(said.stdout).unwrap().contains("no topic filter"));
    let code = |arguments: &[&str]| driver.run(arguments).status.code();
    assert_eq!(code(&["check", "--topic", "a/+"]), Some(2));
    assert_eq!(code(&["check", "--topic", "a", "--line", "nobody"]), Some(2));
    assert_eq!(code(&["check", "--payload", path]), Some(2));
    assert_eq!(code(&["check", "--topic", "a", "--qos", "3"]), Some(2));
    assert_eq!(code(&["check", "--topic", "a", "--payload", "no-such-file"]), Some(1));
    let nobody = Driver::prepare(
        &Config::new().line(1, "").station("s", "a", "").tags("s.x,s,TxtI,IN_DATA"),
    );
    assert_eq!(nobody.run(["check", "--topic", "b"]).status.code(), Some(1));
}
