//! `message.tap`: messages as they come.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, publish, retained};
use crate::harness::{Config, Driver, FakeBroker, Link, Mosquitto, PATIENCE, Socket, eventually};

fn plant(port: u16) -> Config {
    Config::new()
        .line(port, "subscribe_qos = 2")
        .station("pump", "plant/pump", "")
        .tags("pump.data,pump,TxtI,IN_DATA\npump.out,pump,Co,OUT_VALUE")
}

fn start() -> (FakeBroker, Driver, Link) {
    let broker = FakeBroker::start();
    let driver = Driver::start(&plant(broker.port));
    let link = broker.accept_session(false);
    driver.up();
    (broker, driver, link)
}

#[track_caller]
fn tap(driver: &Driver, filter: Json) -> (Socket, u64) {
    let mut socket = driver.socket();
    let answer = socket.call("message.tap", filter);
    (socket, answer["subscription"].as_u64().unwrap())
}

#[track_caller]
fn received(socket: &mut Socket) -> Json {
    let notification = socket.notification_within(PATIENCE).expect("a message comes");
    assert_eq!(notification["method"], "message.received");
    notification["params"].clone()
}

#[test]
fn messages_are_shown_as_they_come() {
    let (_broker, driver, mut link) = start();
    let (mut socket, number) = tap(&driver, json!({}));
    link.send(&publish("plant/pump", "on", 1, 7));
    link.expect(&Packet::Puback(7));
    let message = received(&mut socket);
    assert_eq!(message["subscription"], number);
    assert_eq!([&message["line"], &message["station"]], ["plant", "pump"]);
    assert_eq!([&message["topic"], &message["payload"]], ["plant/pump", "on"]);
    assert_eq!([&message["qos"], &message["packet_id"]], [1, 7]);
    assert_eq!([&message["retain"], &message["dup"]], [false, false]);
    assert_eq!(message["time"], driver.read("pump.data")["received"]);
    assert_eq!(message["dropped"], 0);
    assert!(message.get("encoding").is_none() && message.get("properties").is_none());
    // Of no station, and no text.
    link.send(&retained("else/where", [0xff, 0x00, b'a'], 0, 0));
    let message = received(&mut socket);
    assert_eq!([&message["station"], &message["retain"]], [&Json::Null, &json!(true)]);
    assert_eq!([&message["payload"], &message["encoding"]], ["/wBh", "base64"]);
    assert_eq!(message["packet_id"], 0);
    // It ends.
    assert_eq!(socket.call("message.untap", json!({ "subscription": number })), json!({}));
    link.send(&publish("plant/pump", "off", 0, 0));
    driver.has("pump.data", "off", "ok");
    assert!(socket.notification_within(Duration::from_millis(100)).is_none());
    let error = socket.refused("message.untap", json!({ "subscription": number }));
    assert_eq!(error.code, -32602);
}

#[test]
fn filters_choose_messages() {
    let (_broker, driver, mut link) = start();
    let (mut of_topic, number) = tap(&driver, json!({ "topic": "plant/+" }));
    let (mut of_station, _) = tap(&driver, json!({ "station": "pump" }));
    let (mut of_both, _) = tap(&driver, json!({ "line": "plant", "topic": "a/#" }));
    for topic in ["a/b/c", "plant/tank", "plant/pump", "a"] {
        link.send(&publish(topic, "x", 0, 0));
    }
    let topics = |socket: &mut Socket, count: usize| -> Vec<Json> {
        let topics = (0..count).map(|_| received(socket)["topic"].clone()).collect();
        assert!(socket.notification_within(Duration::from_millis(50)).is_none());
        topics
    };
    assert_eq!(topics(&mut of_topic, 2), ["plant/tank", "plant/pump"]);
    assert_eq!(topics(&mut of_station, 1), ["plant/pump"]);
    assert_eq!(topics(&mut of_both, 2), ["a/b/c", "a"]);
    // `tag.unsubscribe` ends it as well; numbers are of one kind.
    of_topic.call("tag.unsubscribe", json!({ "subscription": number }));
    for (wrong, word) in [
        (json!({ "line": "plan" }), "no line `plan`"),
        (json!({ "station": "pomp" }), "no station `pomp`"),
        (json!({ "topic": "a/#/b" }), "no topic filter"),
        (json!({ "filter": "a" }), "filter"),
    ] {
        let error = of_topic.refused("message.tap", wrong);
        assert_eq!(error.code, -32602);
        assert!(error.message.contains(word), "{error:?}");
    }
}

#[test]
fn a_client_that_does_not_read_loses_messages_and_holds_up_nobody() {
    let (_broker, driver, mut link) = start();
    let large = "x".repeat(100_000);
    let pass = |link: &mut Link| {
        for id in 1..=1000 {
            link.send(&publish("plant/pump", large.as_str(), 1, id));
            link.expect(&Packet::Puback(id));
        }
    };
    // What 100 MB of messages take without it.
    pass(&mut link);
    driver.durable();
    let before = driver.resident_bytes();
    let (mut stopped, _) = tap(&driver, json!({}));
    pass(&mut link);
    let grown = driver.resident_bytes().saturating_sub(before);
    assert!(grown < 50 << 20, "{grown}");
    link.send(&publish("plant/pump", "last", 0, 0));
    driver.has("pump.data", "last", "ok");
    // What it reads now says how much is missing.
    let (mut count, mut dropped) = (0, 0);
    while let Some(notification) = stopped.notification_within(Duration::from_millis(500)) {
        count += 1;
        dropped += notification["params"]["dropped"].as_u64().unwrap();
    }
    assert!(count < 200, "{count}");
    // Those behind the last one that fitted are told with the next message.
    link.send(&publish("plant/pump", "one more", 0, 0));
    let last = received(&mut stopped);
    assert_eq!(last["payload"], "one more");
    dropped += last["dropped"].as_u64().unwrap();
    assert_eq!(count + dropped + 1, 1002);
}

#[test]
fn a_client_that_leaves_taps_no_more() {
    let (_broker, driver, mut link) = start();
    for _ in 0..50 {
        let (socket, _) = tap(&driver, json!({}));
        link.send(&publish("plant/pump", "x", 0, 0));
        drop(socket);
    }
    // As many again: nothing of those before is in the way.
    let mut socket = driver.socket();
    for _ in 0..256 {
        socket.call("message.tap", json!({ "topic": "never" }));
    }
    let error = socket.refused("message.tap", json!({}));
    assert_eq!(error.code, -32005);
}

#[test]
fn properties_of_mqtt_5_are_shown() {
    let broker = Mosquitto::start();
    let config =
        Config::new().line(broker.port, "mqtt_version = \"5.0\"").station("pump", "plant/pump", "");
    let driver = Driver::start(&config);
    driver.up();
    let (mut socket, _) = tap(&driver, json!({}));
    let port = broker.port.to_string();
    let arguments = [
        "-V",
        "5",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-t",
        "plant/pump",
        "-m",
        "{}",
        "-q",
        "1",
        "-D",
        "publish",
        "content-type",
        "application/json",
        "-D",
        "publish",
        "response-topic",
        "answer",
        "-D",
        "publish",
        "user-property",
        "site",
        "1",
    ];
    let status = std::process::Command::new("mosquitto_pub").args(arguments).status().unwrap();
    assert!(status.success());
    let properties = received(&mut socket)["properties"].clone();
    assert_eq!(properties["content_type"], "application/json");
    assert_eq!(properties["response_topic"], "answer");
    assert_eq!(properties["user_properties"], json!([["site", "1"]]));
}

#[test]
fn the_command_prints_messages() {
    let (_broker, driver, mut link) = start();
    let arguments = ["tap", "--count", "2", "--topic", "plant/#"];
    let child = driver.spawn_command(arguments);
    let as_json = driver.spawn_command(["--json", "tap", "--count", "1", "--station", "pump"]);
    // It says nothing before the first message: send until both have what they want.
    let mut children = vec![child, as_json];
    eventually("both end", || {
        link.send(&publish("plant/pump", r#"{"a":1}"#, 0, 0));
        link.send(&publish("plant/raw", [0u8, 255], 0, 0));
        std::thread::sleep(Duration::from_millis(10));
        children.iter_mut().all(|child| child.try_wait().unwrap().is_some()).then_some(())
    });
    let outputs: Vec<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    assert!(
        outputs[0].contains("plant/pump  (7 bytes)\n    {\n      \"a\": 1\n    }\n"),
        "{}",
        outputs[0]
    );
    assert!(outputs[0].contains("000000  00 ff "), "{}", outputs[0]);
    let message: Json = serde_json::from_str(&outputs[1]).unwrap();
    assert_eq!(message["payload"], r#"{"a":1}"#);
    let missing = driver.run(["tap", "--line", "no"]);
    assert_eq!(missing.status.code(), Some(1));
}
