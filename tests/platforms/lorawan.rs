//! LoRaWAN servers: The Things Stack and v2's shape, Loriot, Slovanet.

use serde_json::{Value as Json, json};

use crate::authority::Authority;
use crate::broker::Broker;
use crate::harness::Driver;
use crate::messages::{self, Message};
use crate::site::Site;

const KEY: &str = "NNSXS.WHISPER";

/// A broker with one user and TLS, further keys for its listener.
fn platform(user: (&str, &str, &str), more: &str) -> (Broker, u16, Authority) {
    let authority = Authority::new();
    let (port, listener) = Broker::listener(&format!("{}{more}", authority.of_listener()));
    (Broker::with_users(&listener, &[user]), port, authority)
}

fn publish_all(broker: &Broker, messages: Vec<Message>) {
    for message in messages {
        broker.publish(&message.topic, &message.payload, 1);
    }
}

#[track_caller]
fn write(driver: &Driver, writes: Json) {
    let answer = driver.call("tag.write", json!({ "writes": writes }));
    for result in answer["results"].as_array().unwrap() {
        assert_eq!(result["outcome"], "completed", "{answer}");
    }
}

fn the_things_stack() -> (Broker, Driver) {
    let rights = "topic read v3/app1@ttn/#\ntopic write v3/app1@ttn/devices/+/down/push";
    // The server knows QoS 0 only: it grants no more, and disconnects whoever publishes with more.
    let (broker, port, authority) = platform(("app1@ttn", KEY, rights), "max_qos 0\n");
    let driver = Site::of("the-things-stack")
        .server("mqtts://eu1.cloud.thethings.network:8883", "mqtts", port)
        .change("mqtts://eu.thethings.network:8883", &format!("mqtt://localhost:{}", broker.port))
        .change("user_name = \"app1\" ", "user_name = \"\" # ")
        .change("password = { env = \"TTN_ACCESS_KEY\" }", "")
        .believes(&authority)
        .secret("TTS_API_KEY", KEY)
        .start(&["tts", "ttn2"]);
    (broker, driver)
}

#[test]
fn the_things_stack_uplinks() {
    let (broker, driver) = the_things_stack();
    publish_all(&broker, messages::the_things_stack());
    driver.has("dev1.counter", 2, "ok");
    let temperature = driver.has("dev1.temperature", 27.2, "ok");
    assert_eq!(temperature["time"], "2026-01-29T13:02:35.1Z");
    driver.has("dev1.humidity", 48.5, "ok");
    driver.has("dev1.latitude", 42.3519, "ok");
    driver.has("dev1.first_byte", 1, "ok");
    driver.has("dev1.decoded", 27.2, "ok");
    driver.has("dev1.rssi", -35, "ok");
    driver.has("dev1.frequency", 868_500_000, "ok");
    driver.has("dev1.eui", "70B3D57ED0001234", "ok");
    let filters = driver.line("tts")["subscriptions"].to_string();
    assert!(filters.contains("\"qos\":0"), "{filters}");
    // A payload that is no Base64 makes bad what reads it, and nothing else.
    let broken = r#"{"received_at":"2026-01-29T13:03:35Z","end_device_ids":{"dev_eui":"X"},"uplink_message":{"f_cnt":3,"frm_payload":"?"}}"#;
    broker.publish("v3/app1@ttn/devices/dev1/up", broken, 0);
    driver.has("dev1.temperature", 27.2, "bad_payload");
    driver.has("dev1.first_byte", 1, "bad_payload");
    driver.has("dev1.counter", 3, "ok");
}

#[test]
fn the_things_stack_downlinks() {
    let (broker, driver) = the_things_stack();
    let pushed = broker.subscribe("v3/app1@ttn/devices/dev1/down/push", 0);
    write(&driver, json!([{ "name": "dev1.down.payload", "value": "vu8=" }]));
    let payload: Json = serde_json::from_str(&pushed.wait_for(1)[0].payload).unwrap();
    let downlink =
        json!({ "f_port": 15, "frm_payload": "vu8=", "priority": "NORMAL", "confirmed": false });
    assert_eq!(payload, json!({ "downlinks": [downlink] }));
}

#[test]
fn the_things_network_v2_both_ways() {
    let (broker, driver) = the_things_stack();
    publish_all(&broker, messages::the_things_network_v2());
    let temperature = driver.has("old1.temperature", 27.2, "ok");
    assert_eq!(temperature["time"], "2017-08-08T10:11:12.123456789Z");
    driver.has("old1.celsius", 27.2, "ok");
    driver.has("old1.serial", "0102030405060708", "ok");
    driver.has("old1.rssi", -80, "ok");
    let down = broker.subscribe("app1/devices/old1/down", 0);
    write(&driver, json!([{ "name": "old1.down.payload", "value": "AQI=" }]));
    let payload = &down.wait_for(1)[0].payload;
    assert_eq!(payload, r#"{"port":1,"payload_raw":"AQI=","confirmed":false}"#);
}

#[test]
fn loriot_both_ways() {
    let rights = "topic readwrite loriot/#";
    let (broker, port, authority) = platform(("loriot", KEY, rights), "");
    let driver = Site::of("loriot")
        .server("mqtts://broker.example:8883", "mqtts", port)
        .believes(&authority)
        .variable("LORIOT_MQTT_USER", "loriot")
        .secret("LORIOT_MQTT_PASSWORD", KEY)
        .start(&["loriot"]);
    publish_all(&broker, messages::loriot());
    driver.has("meter.gateway", "7076FF0055", "ok");
    let level = driver.has("meter.level", 2.84, "ok");
    assert_eq!(level["time"], "2021-04-25T10:48:03.413Z");
    driver.has("meter.alarm", true, "ok");
    driver.has("meter.counter", 0, "ok");
    assert_eq!(driver.read("meter.battery")["reason"], "out_of_range", "255 is unknown");
    // The other device's uplink, the last message, has touched none of them.
    driver.has("meter.rssi", -108, "ok");
    let down = broker.subscribe("loriot/app/down", 1);
    let writes = json!([
        { "name": "down.eui", "value": "0004A30B002528D3" },
        { "name": "down.data", "value": "01ff" },
    ]);
    write(&driver, writes);
    let expected =
        r#"{"cmd":"tx","EUI":"0004A30B002528D3","port":1,"confirmed":false,"data":"01ff"}"#;
    assert_eq!(down.wait_for(1)[0].payload, expected);
}

#[test]
fn slovanet_both_ways() {
    let (broker, port, authority) = platform(("slova", KEY, "topic readwrite app1/#"), "");
    let driver = Site::of("slovanet")
        .server("mqtts://loralink.slovanet.sk:8883", "mqtts", port)
        .believes(&authority)
        .variable("SLOVANET_USER", "slova")
        .secret("SLOVANET_PASSWORD", KEY)
        .start(&["slovanet"]);
    publish_all(&broker, messages::slovanet());
    let temperature = driver.has("sensor1.temperature", 21.25, "ok");
    assert_eq!(temperature["time"], "2026-03-04T05:06:07.5Z");
    driver.has("sensor1.pulses", 42, "ok");
    driver.has("sensor1.tamper", true, "ok");
    driver.has("sensor1.port", 2, "ok");
    let down = broker.subscribe("app1/+/down", 1);
    write(&driver, json!([{ "name": "sensor1.down.payload", "value": "0a" }]));
    assert_eq!(down.wait_for(1)[0].payload, r#"{"port":1,"payload":"0a"}"#);
}
