//! `tagline discover` on every stand-in, then `tagline run` with what it wrote, unchanged.

use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value as Json, json};

use crate::authority::Authority;
use crate::broker::Broker;
use crate::harness::{Driver, eventually};
use crate::messages::{self, Message};
use crate::site::Site;

fn publish(broker: &Broker, messages: &[Message]) {
    for message in messages {
        match message.content_type {
            None => broker.publish(&message.topic, &message.payload, 1),
            Some(is) => broker.publish_typed(&message.topic, &message.payload, is),
        }
    }
}

/// Discovers from an empty folder while the platform publishes; the summary.
fn discover(site: &Site, broker: &Broker, messages: &[Message], more: &[&str]) -> Json {
    let server = format!("mqtt://127.0.0.1:{}", broker.port);
    let out = site.driver.folder().display().to_string();
    let clients = || broker.log().matches("Sending SUBACK").count();
    let before = clients();
    let mut arguments =
        vec!["--json", "discover", "--server", &server, "--for", "5m", "--qos", "1", "--out", &out];
    arguments.extend(more);
    let child = Command::new(env!("CARGO_BIN_EXE_tagline"))
        .args(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("discover has subscribed", || (clients() > before).then_some(()));
    publish(broker, messages);
    summary(&heard(child, broker, messages.len()))
}

/// Ends discovering once it has acknowledged so many messages: nobody waits for five minutes.
fn heard(child: Child, broker: &Broker, messages: usize) -> Output {
    eventually("discover has heard all", || {
        let heard = broker.log().matches("Received PUBACK from tagline").count();
        (heard >= messages).then_some(())
    });
    let kill = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

fn summary(output: &Output) -> Json {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {error}"))
}

/// Runs what was written and lets the platform publish again: every tag is good.
fn run_unchanged(site: Site, broker: &Broker, messages: &[Message]) -> Driver {
    let text = std::fs::read_to_string(site.driver.folder().join("tagline.toml")).unwrap();
    assert!(text.contains("name = \"found\""), "{text}");
    let driver = site.start(&["found"]);
    publish(broker, messages);
    eventually("every tag is good", || {
        let values = driver.call("tag.read", json!({ "names": ["*"] }))["values"].clone();
        let values = values.as_array().unwrap();
        assert!(!values.is_empty());
        values.iter().all(|value| value["quality"] == "good").then_some(())
    });
    driver
}

/// All of it for one platform; the driver and what was discovered.
fn from_nothing(messages: &[Message]) -> Found {
    let broker = Broker::open();
    let site = Site::empty();
    let summary = discover(&site, &broker, messages, &["--mqtt-version", "5.0"]);
    let stations =
        std::fs::read_to_string(site.driver.folder().join("stations/found.toml")).unwrap();
    let driver = run_unchanged(site, &broker, messages);
    Found { driver, summary, stations, _broker: broker }
}

/// A platform that was discovered, and the driver that runs what was written. It goes first.
struct Found {
    driver: Driver,
    summary: Json,
    /// The station file.
    stations: String,
    _broker: Broker,
}

fn tag_at(summary: &Json, address: &str) -> String {
    let stations = summary["stations"].as_array().unwrap();
    let mut tags = stations.iter().flat_map(|station| station["tags"].as_array().unwrap());
    let tag = tags.find(|tag| tag["address"] == address);
    tag.unwrap_or_else(|| panic!("no tag at {address}: {summary:#}"))["name"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[track_caller]
fn has(found: &Found, address: &str, value: impl Into<Json>) -> Json {
    found.driver.has(&tag_at(&found.summary, address), value, "ok")
}

#[test]
fn d2000_topics() {
    let found = from_nothing(&messages::d2000());
    let voltage = has(&found, "JA=rx.voltage", 53.2);
    assert_eq!(voltage["time"], "2026-03-04T05:06:07.089Z");
    has(&found, "JA=charging", true);
    has(&found, "IN_DATA", "start pump 1");
    has(&found, "CA=1", 21.5);
}

#[test]
fn energydata_datasets() {
    let found = from_nothing(&messages::energydata());
    has(&found, "JA=value", 14.47);
    let suffix = has(&found, "JA=value.my/topic/suffix2", 34);
    assert_eq!(suffix["time"], "2018-03-23T09:39:33.5Z");
    assert!(found.stations.contains("time_mask = \"UNIXMS\""), "{}", found.stations);
}

#[test]
fn aedifion_series_and_documents() {
    let found = from_nothing(&messages::aedifion());
    let room = has(&found, "LP=RoomTemperature", 22.3);
    assert_eq!(room["time"], "2016-06-13T17:43:51.1004002Z");
    has(&found, "LP=Flow,period=test", 7.5);
    has(&found, "JA=objtype", "trendLog");
    has(&found, "JA=priority", 13);
}

#[test]
fn powernaut_set_points() {
    let found = from_nothing(&messages::powernaut());
    has(&found, "JA=value", 12_000);
    has(&found, "JA=timing.start", "2024-07-01T14:00:00Z");
}

#[test]
fn akenza_forms() {
    let found = from_nothing(&messages::akenza());
    has(&found, "JA=setpoint", 21.5);
    has(&found, "XA=/data/mode", "eco");
    has(&found, "CA=mode", "night");
    has(&found, "RA=0:u8", 7);
}

#[test]
fn the_things_stack_payloads() {
    let found = from_nothing(&messages::the_things_stack());
    let temperature = has(&found, "LPP=temperature_1", 27.2);
    assert_eq!(temperature["time"], "2026-01-29T13:02:35.1Z");
    has(&found, "LPP=gps_3.latitude", 42.3519);
    has(&found, "JA=uplink_message.decoded_payload.temperature_1", 27.2);
    assert!(
        found.stations.contains("envelope_payload = \"uplink_message.frm_payload\""),
        "{}",
        found.stations
    );
    let units = found.summary["stations"][0]["tags"].to_string();
    assert!(units.contains("°C"), "{units}");
}

#[test]
fn the_things_network_v2_payloads() {
    let found = from_nothing(&messages::the_things_network_v2());
    has(&found, "LPP=temperature_1", 27.2);
    has(&found, "JA=hardware_serial", "0102030405060708");
}

#[test]
fn loriot_devices() {
    let found = from_nothing(&messages::loriot());
    let tags = found.summary["stations"][0]["tags"].as_array().unwrap().clone();
    let rssi: Vec<&Json> = tags.iter().filter(|tag| tag["address"] == "JA=rssi").collect();
    assert_eq!(rssi.len(), 2, "one of each device: {tags:#?}");
    assert!(found.stations.contains("envelope_encoding = \"hex\""), "{}", found.stations);
    has(&found, "JA=gws[1].gweui", "7076FF0055");
}

#[test]
fn slovanet_payloads() {
    let found = from_nothing(&messages::slovanet());
    let port = has(&found, "JA=port", 2);
    assert_eq!(port["time"], "2026-03-04T05:06:07.5Z");
    has(&found, "RA=0:u8", 8);
}

#[test]
fn pixii_arrays() {
    let found = from_nothing(&messages::pixii());
    let voltage = has(&found, "JA=[1].batt_cell_v_avg", 3.312);
    assert_eq!(voltage["time"], "2026-03-04T05:06:07.5Z");
}

#[test]
fn live_objects_streams() {
    let found = from_nothing(&messages::live_objects());
    has(&found, "JA=value.temperature", 21);
    has(&found, "JA=location.lat", 45.759_723);
}

/// The whole of a small plant: what nobody has told it of is found, and what was there stays.
#[test]
fn on_a_line_with_identities() {
    let authority = Authority::new();
    let (port, listener) = Broker::listener(&authority.of_listener());
    let broker = Broker::with_users(&listener, &[("site1", "whisper-site-1", "topic readwrite #")]);
    let site = Site::empty()
        .file(
            "tagline.toml",
            format!(
                "[[line]]\nname = \"plant\"\nservers = [\"mqtts://localhost:{port}\"]\n\
                 client_id = \"kept\"\ntopic_filter = [\"plant/#\"]\nuser_name = \"site1\"\n\
                 password = {{ env = \"SITE_PASSWORD\" }}\n"
            ),
        )
        .file(
            "stations/own.toml",
            "[[station]]\nname = \"own\"\nline = \"plant\"\naddress = \"plant/own\"\npayload_type = \"json\"\n",
        )
        .file("tags/own.csv", "name,station,type,address\nown.a,own,Ai,JA=a\n")
        .believes(&authority)
        .secret("SITE_PASSWORD", "whisper-site-1");
    let out = site.driver.folder().to_str().unwrap().to_owned();
    let arguments =
        ["discover", "--line", "plant", "--for", "5m", "--qos", "1", "--out", out.as_str()];
    let child = site.driver.spawn_command(arguments);
    broker.logs(&["Sending SUBACK"]);
    broker.publish("plant/own", r#"{"a":1}"#, 1);
    broker.publish("plant/t1", r#"{"t":{"value":21.5,"unit":"°C"}}"#, 1);
    let output = heard(child, &broker, 2);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 station, 2 tags"), "{text}");
    let tags = std::fs::read_to_string(site.driver.folder().join("tags/plant.csv")).unwrap();
    assert!(tags.contains("t1.t,t1,Ai,JA=t.value,°C,for instance 21.5"), "{tags}");
    let driver = site.start(&["plant"]);
    broker.publish("plant/own", r#"{"a":2}"#, 1);
    broker.publish("plant/t1", r#"{"t":{"value":22,"unit":"°C"}}"#, 1);
    driver.has("own.a", 2, "ok");
    driver.has("t1.t", 22, "ok");
}

#[test]
fn what_cannot_be_discovered_is_said() {
    let broker = Broker::open();
    let site = Site::empty();
    let out = site.driver.folder().to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tagline")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let server = format!("mqtt://127.0.0.1:{}", broker.port);
    let (code, text) = run(&["discover", "--server", &server, "--for", "1s", "--out", &out]);
    assert_eq!(code, Some(1));
    assert!(text.contains("no message was heard"), "{text}");
    let (code, text) = run(&["discover", "--server", "mqtt://127.0.0.1:1", "--out", &out]);
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot connect"), "{text}");
    let (code, text) = run(&["discover", "--server", "http://x", "--out", &out]);
    assert_eq!(code, Some(2), "{text}");
    assert_eq!(
        std::fs::read_dir(&out).unwrap().filter(|it| it.as_ref().unwrap().path().is_file()).count(),
        0
    );
}
