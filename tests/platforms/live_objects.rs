//! Orange Live Objects: MQTT over WebSocket and TLS, `json+device` with an API key.

use serde_json::{Value as Json, json};

use crate::authority::Authority;
use crate::broker::Broker;
use crate::harness::Driver;
use crate::messages;
use crate::site::Site;

const DEVICE_KEY: &str = "whisper-device-key";
const APPLICATION_KEY: &str = "whisper-application-key";

fn start() -> (Broker, Driver) {
    let authority = Authority::new();
    let (port, listener) =
        Broker::listener(&format!("protocol websockets\n{}", authority.of_listener()));
    let users = [
        (
            "json+device",
            DEVICE_KEY,
            "topic write dev/data\ntopic write dev/cmd/res\ntopic read dev/cmd",
        ),
        ("application", APPLICATION_KEY, "topic read fifo/plant"),
    ];
    let broker = Broker::with_users(&listener, &users);
    let driver = Site::of("live-objects")
        .server("wss://liveobjects.orange-business.com:443", "wss", port)
        .believes(&authority)
        .secret("LIVEOBJECTS_DEVICE_KEY", DEVICE_KEY)
        .secret("LIVEOBJECTS_APPLICATION_KEY", APPLICATION_KEY)
        .start(&["device", "application"]);
    (broker, driver)
}

#[test]
fn data_commands_and_answers() {
    let (broker, driver) = start();
    let sent = broker.subscribe("dev/#", 1);
    let write = |writes: Json| driver.call("tag.write", json!({ "writes": writes }));
    write(json!([
        { "name": "data.temperature", "value": 21.5 },
        { "name": "data.hygrometry", "value": 40 },
    ]));
    let data: Json = serde_json::from_str(&sent.wait_for(1)[0].payload).unwrap();
    assert_eq!(data["s"], "urn:lo:nsid:plant:site1!measures");
    assert_eq!(data["v"], json!({ "temperature": 21.5, "hygrometry": 40.0 }));
    assert!(data["ts"].as_str().unwrap().ends_with('Z'), "{data}");
    broker.publish("dev/cmd", r#"{"req":"open","arg":{"valve":3},"cid":4711}"#, 1);
    driver.has("command.request", "open", "ok");
    driver.has("command.argument", r#"{"valve":3}"#, "ok");
    driver.has("command.cid", 4711, "ok");
    write(json!([
        { "name": "answer.cid", "value": 4711 },
        { "name": "answer.done", "value": "valve 3 is open" },
    ]));
    let answer = sent.wait_for(3)[2].clone();
    let expected = (r#"{"cid":4711,"res":{"done":"valve 3 is open"}}"#, "dev/cmd/res");
    assert_eq!((answer.payload.as_str(), answer.topic.as_str()), expected);
}

#[test]
fn uplinks_from_a_fifo() {
    let (broker, driver) = start();
    for message in messages::live_objects() {
        broker.publish(&message.topic, &message.payload, 1);
    }
    let temperature = driver.has("fifo.temperature", 21, "ok");
    assert_eq!(temperature["time"], "2018-04-07T15:52:31.15Z");
    driver.has("fifo.hygrometry", 40, "ok");
    driver.has("fifo.latitude", 45.759_723, "ok");
    // Another stream touches only what every stream has.
    broker.publish(
        "fifo/plant",
        r#"{"streamId":"other","timestamp":"2018-04-07T15:52:32Z","value":{}}"#,
        1,
    );
    driver.has("fifo.stream", "other", "ok");
    driver.has("fifo.temperature", 21, "ok");
}
