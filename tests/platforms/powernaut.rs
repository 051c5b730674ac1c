//! Powernaut: MQTT 5.0 over TLS only, QoS 1 and 2, never retained, nothing older than a minute.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::{Value as Json, json};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::authority::Authority;
use crate::broker::Broker;
use crate::gate::{Gate, Rules, Verdict};
use crate::harness::{Driver, eventually};
use crate::messages;
use crate::site::Site;
use crate::wire::{Connect, Publish};

const RESOURCE: &str = "resource/2f1c0d5e-77aa-4f6e-9d2b-5b7f3a1c9e10";

type Pairs = Arc<Mutex<Vec<(&'static str, &'static str)>>>;

/// How the broker of Powernaut treats a client.
struct Powernaut {
    pairs: Pairs,
}

impl Rules for Powernaut {
    fn connect(&mut self, connect: &Connect) -> Verdict {
        if connect.level != 5 {
            return Verdict::Refuse(1);
        }
        let given = (connect.user_name.as_deref(), connect.password.as_deref());
        let pairs = self.pairs.lock().unwrap();
        let is_known = pairs.iter().any(|(key, secret)| (Some(*key), Some(*secret)) == given);
        match is_known {
            true if !connect.client_id.is_empty() => Verdict::Pass,
            _ => Verdict::Refuse(0x86),
        }
    }

    fn publish(&mut self, publish: &Publish) -> Verdict {
        let parts: Vec<&str> = publish.topic.split('/').collect();
        match parts[..] {
            ["resource" | "site", _, "data"] if publish.qos > 0 => {}
            _ => return Verdict::Disconnect,
        }
        let payload: Json = serde_json::from_str(&publish.payload).unwrap_or(Json::Null);
        let elements = match &payload {
            Json::Array(elements) => elements.clone(),
            one => vec![one.clone()],
        };
        let is_fine = |element: &Json| {
            let whole = |name: &str| element[name].is_i64() || element[name].is_u64();
            let optional = |name: &str| element.get(name).is_none() || whole(name);
            let age = element["time"].as_i64().map_or(0, |time| now() - time);
            whole("value") && optional("soc") && optional("time") && age <= 60
        };
        if publish.retain || !elements.iter().all(is_fine) {
            return Verdict::Swallow;
        }
        Verdict::Pass
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

struct Platform {
    broker: Broker,
    gate: Gate,
    authority: Authority,
    pairs: Pairs,
}

impl Platform {
    fn start() -> Self {
        let (broker, authority) = (Broker::open(), Authority::new());
        let tls = authority.server(&[&TLS12, &TLS13]);
        let pairs = Arc::new(Mutex::new(vec![("site-key-1", "whisper-secret-1")]));
        let rules = Powernaut { pairs: Arc::clone(&pairs) };
        let gate = Gate::start(broker.port, Some(tls), rules);
        Self { broker, gate, authority, pairs }
    }

    fn site(&self) -> Site {
        let mut site = Site::of("powernaut")
            .server("mqtts://mqtt.powernaut.io:8883", "mqtts", self.gate.port)
            .believes(&self.authority)
            .file("secrets/site-key", "site-key-1\n")
            .file("secrets/site-secret", "whisper-secret-1\n");
        site.driver.secrets.extend(["whisper-secret-1", "whisper-secret-2"].map(str::to_owned));
        site
    }

    /// Payloads on the battery's topic.
    fn sent(&self) -> Vec<Json> {
        let topic = format!("{RESOURCE}/data");
        self.gate.seen(|seen| {
            let own = seen.published.iter().filter(|publish| publish.topic == topic);
            own.map(|publish| serde_json::from_str(&publish.payload).unwrap()).collect()
        })
    }
}

fn measure(driver: &Driver, value: i64, soc: i64, time: i64) {
    let writes = json!([
        { "name": "battery.value", "value": value },
        { "name": "battery.soc", "value": soc },
        { "name": "battery.time", "value": time },
    ]);
    let answer = driver.call("tag.write", json!({ "writes": writes }));
    for result in answer["results"].as_array().unwrap() {
        assert_eq!(result["outcome"], "completed", "{answer}");
    }
}

fn cycles_not_completed(driver: &Driver) -> u64 {
    driver.station("battery")["counters"]["cycles_not_completed"].as_u64().unwrap()
}

#[test]
fn every_four_seconds_value_soc_and_time() {
    let platform = Platform::start();
    let driver = platform.site().start(&["powernaut"]);
    let time = now();
    measure(&driver, -2500, 8150, time);
    assert_eq!(driver.write("site.value", 1200)["outcome"], "completed");
    // Fractions are no watts.
    assert_eq!(driver.write("battery.value", 1500.5)["outcome"], "failed");
    eventually("three publications", || (platform.sent().len() >= 3).then_some(()));
    assert_eq!(platform.sent()[0], json!({ "value": -2500, "soc": 8150, "time": time }));
    platform.gate.seen(|seen| {
        assert_eq!((seen.discarded, seen.disconnected), (0, 0));
        for publish in &seen.published {
            assert_eq!((publish.qos, publish.retain), (1, false), "{publish:?}");
        }
        let site = seen.published.iter().find(|publish| publish.topic.starts_with("site/"));
        let payload: Json = serde_json::from_str(&site.unwrap().payload).unwrap();
        assert_eq!(payload["value"], 1200);
        assert!((now() - payload["time"].as_i64().unwrap()).abs() < 30, "{payload}");
        let connect = &seen.connects[0].1;
        assert_eq!((connect.level, connect.clean), (5, false));
        assert_eq!(connect.session_expiry, Some(86_400));
    });
    assert_eq!(cycles_not_completed(&driver), 0);
}

#[test]
fn several_measurements_as_an_array_at_qos_2() {
    let platform = Platform::start();
    let driver = platform.site().start(&["powernaut"]);
    let earlier = now() - 4;
    let moment = |time: i64| json!(jiff::Timestamp::from_second(time).unwrap().to_string());
    let writes = json!([
        { "name": "heat_pump.value1", "value": -3000 },
        { "name": "heat_pump.time1", "value": moment(earlier) },
        { "name": "heat_pump.value2", "value": -3050 },
        { "name": "heat_pump.time2", "value": moment(earlier + 4) },
    ]);
    let answer = driver.call("tag.write", json!({ "writes": writes }));
    assert_eq!(answer["results"][0]["outcome"], "completed", "{answer}");
    let publish = platform.gate.seen(|seen| seen.published.last().cloned()).unwrap();
    assert_eq!(publish.qos, 2);
    let payload: Json = serde_json::from_str(&publish.payload).unwrap();
    let expected = json!([
        { "value": -3000, "time": earlier },
        { "value": -3050, "time": earlier + 4 },
    ]);
    assert_eq!(payload, expected);
}

#[test]
fn stale_data_is_never_sent() {
    let platform = Platform::start();
    let mut site = platform.site();
    let stations = site.driver.folder().join("stations/powernaut.toml");
    let text = std::fs::read_to_string(&stations).unwrap();
    let text = text.replace("publish_every = \"4s\"", "publish_every = \"200ms\"");
    assert!(text.contains("max_age = \"1m\""));
    site =
        site.file("stations/powernaut.toml", text.replace("max_age = \"1m\"", "max_age = \"2s\""));
    let mut driver = site.start(&["powernaut"]);
    measure(&driver, 100, 200, now());
    eventually("it is sent", || (platform.sent().len() >= 3).then_some(()));
    // Nobody renews it: it ends, and that is told.
    eventually("cycles are left out", || (cycles_not_completed(&driver) >= 3).then_some(()));
    let error = driver.station("battery")["last_error"].to_string();
    assert!(error.contains("max_age"), "{error}");
    let count = platform.sent().len();
    assert!(count <= 12, "{count} in two seconds and a bit");
    // Nor after a restart.
    driver.terminate();
    driver.restart();
    driver.line_is("powernaut", "up");
    eventually("cycles are left out again", || (cycles_not_completed(&driver) >= 2).then_some(()));
    assert_eq!(platform.sent().len(), count);
    // A new value is sent again.
    measure(&driver, 300, 200, now());
    eventually("it is sent again", || (platform.sent().len() > count).then_some(()));
    assert_eq!(platform.sent().last().unwrap()["value"], 300);
}

#[test]
fn set_points_and_their_cancellation() {
    let platform = Platform::start();
    let driver = platform.site().start(&["powernaut"]);
    for message in messages::powernaut() {
        platform.broker.publish(&message.topic, &message.payload, 1);
    }
    driver.has("activation.setpoint", 12_000, "ok");
    driver.has("activation.start", "2024-07-01T14:00:00Z", "ok");
    let topic = format!("{RESOURCE}/commands/setpoint");
    let timing = r#""timing":{"start":"2024-07-01T14:15:00Z","end":"2024-07-01T14:30:00Z"}"#;
    platform.broker.publish(&topic, format!("{{{timing},\"value\":0}}"), 1);
    assert_eq!(driver.has("activation.setpoint", 0, "ok")["quality"], "good");
    platform.broker.publish(&topic, format!("{{{timing},\"value\":null}}"), 1);
    assert_eq!(driver.has("activation.setpoint", 0, "null")["quality"], "bad");
    driver.has("activation.end", "2024-07-01T14:30:00Z", "ok");
}

#[test]
fn credentials_are_rotated_without_loss() {
    let platform = Platform::start();
    let driver = platform.site().start(&["powernaut"]);
    let mut changes = driver.subscribe(&["activation.setpoint"], Json::Null);
    let topic = format!("{RESOURCE}/commands/setpoint");
    let send = |value: i64| platform.broker.publish(&topic, format!("{{\"value\":{value}}}"), 1);
    send(1);
    driver.has("activation.setpoint", 1, "ok");
    // Both pairs are valid while the files are written; nothing is disconnected.
    platform.pairs.lock().unwrap().push(("site-key-2", "whisper-secret-2"));
    std::fs::write(driver.folder().join("secrets/site-key"), "site-key-2\n").unwrap();
    std::fs::write(driver.folder().join("secrets/site-secret"), "whisper-secret-2\n").unwrap();
    send(2);
    driver.has("activation.setpoint", 2, "ok");
    assert_eq!(platform.gate.seen(|seen| seen.connects.len()), 1);
    // The rotation is completed: the old pair is refused, and its connection ends.
    platform.pairs.lock().unwrap().remove(0);
    platform.gate.cut();
    for value in 3..20 {
        send(value);
    }
    // At QoS 1 a message may come twice when its acknowledgement was cut off.
    let values = |changes: &[Json]| -> BTreeSet<i64> {
        let good = changes.iter().filter(|change| change["quality"] == "good");
        good.filter_map(|change| change["value"].as_i64()).collect()
    };
    changes.until("all set points", |all| values(all).last() == Some(&19));
    assert!(values(&changes.all).into_iter().eq(1..20));
    platform.gate.seen(|seen| {
        assert_eq!(seen.connects.last().unwrap().1.user_name.as_deref(), Some("site-key-2"));
    });
    assert_eq!(driver.line("powernaut")["session_present"], true);
}
