//! Energydata.dk: the token is the user name; a queue of 1000 that discards; a publication without
//! the right to it ends the connection.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::authority::Authority;
use crate::broker::Broker;
use crate::gate::{Gate, Rules, Verdict};
use crate::harness::{Driver, eventually};
use crate::messages;
use crate::site::Site;
use crate::wire::{Connect, Publish};

const TOKEN: &str = "whisper-token-5d1f";

/// How the broker of Energydata.dk treats a client.
struct Energydata {
    pace: Duration,
}

impl Rules for Energydata {
    fn connect(&mut self, connect: &Connect) -> Verdict {
        let is_known = connect.user_name.as_deref() == Some(TOKEN) && connect.password.is_none();
        if is_known && connect.level == 4 { Verdict::Pass } else { Verdict::Refuse(5) }
    }

    fn publish(&mut self, publish: &Publish) -> Verdict {
        let is_own = publish.topic == "site1" || publish.topic.starts_with("site1/");
        let payload: Option<Json> = serde_json::from_str(&publish.payload).ok();
        let is_message = payload
            .is_some_and(|payload| payload["timestamp"].is_i64() && !payload["value"].is_null());
        match is_own {
            false => Verdict::Disconnect,
            true if is_message => Verdict::Pass,
            true => Verdict::Swallow,
        }
    }

    fn queue(&self) -> Option<(usize, Duration)> {
        Some((1000, self.pace))
    }
}

struct Platform {
    broker: Broker,
    gate: Gate,
    authority: Authority,
}

impl Platform {
    fn start(pace: Duration) -> Self {
        let (broker, authority) = (Broker::open(), Authority::new());
        let tls = authority.server(&[&TLS12, &TLS13]);
        let gate = Gate::start(broker.port, Some(tls), Energydata { pace });
        Self { broker, gate, authority }
    }

    fn site(&self) -> Site {
        Site::of("energydata-dk")
            .server("mqtts://mqttts.energydata.dk:8883", "mqtts", self.gate.port)
            .believes(&self.authority)
            .secret("ENERGYDATA_TOKEN", TOKEN)
    }
}

fn write(driver: &Driver, writes: &[(&str, Json)]) -> Vec<Json> {
    let writes: Vec<Json> =
        writes.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let answer = driver.call("tag.write", json!({ "writes": writes, "timeout_s": 25 }));
    answer["results"].as_array().unwrap().clone()
}

#[test]
fn single_and_multi_value_messages_both_ways() {
    let platform = Platform::start(Duration::ZERO);
    let driver = platform.site().start(&["energydata"]);
    for message in messages::energydata() {
        platform.broker.publish(&message.topic, &message.payload, 1);
    }
    let value = driver.has("stream.value", 14.47, "ok");
    assert_eq!(value["time"], "2018-03-23T09:39:33.469Z");
    driver.has("dataset.suffix1", 14.47, "ok");
    driver.has("dataset.suffix2", 34, "ok");
    // A text is a value too, as the document has it.
    let text = r#"{"value":"0.16300000250339508","timestamp":1521797973052}"#;
    platform.broker.publish("my-topic-prefix/my/topic/suffix", text, 1);
    driver.has("stream.value", 0.163_000_002_503_395_08, "ok");
    let sent = platform.broker.subscribe("site1/#", 1);
    assert_eq!(write(&driver, &[("site.power", json!(9.5))])[0]["outcome"], "completed");
    write(&driver, &[("site.heat", json!(1.25)), ("site.valve", json!(3))]);
    let sent = sent.wait_for(2);
    let [single, multi] = [&sent[0], &sent[1]].map(|message| {
        let payload: Json = serde_json::from_str(&message.payload).unwrap();
        assert!(payload["timestamp"].as_i64().unwrap() > 1_700_000_000_000, "{payload}");
        (message.topic.as_str(), payload["value"].clone())
    });
    assert_eq!(single, ("site1/power/active", json!(9.5)));
    assert_eq!(multi, ("site1", json!({ "heat/flow": 1.25, "heat/valve": 3 })));
}

#[test]
fn ten_thousand_messages_are_all_stored() {
    let platform = Platform::start(Duration::ZERO);
    let driver = platform.site().start(&["energydata"]);
    for thousand in 0..10 {
        let numbers = (0..1000).map(|number| ("site.power", json!(thousand * 1000 + number)));
        let results = write(&driver, &numbers.collect::<Vec<_>>());
        let completed = results.iter().filter(|result| result["outcome"] == "completed").count();
        assert_eq!(completed, 1000, "{:?}", results.last());
    }
    platform.gate.seen(|seen| {
        assert_eq!((seen.discarded, seen.disconnected), (0, 0));
        assert_eq!(seen.published.len(), 10_000);
        for (number, publish) in seen.published.iter().enumerate() {
            let payload: Json = serde_json::from_str(&publish.payload).unwrap();
            assert_eq!(payload["value"].as_f64(), Some(number as f64), "in order");
            assert_eq!((publish.qos, publish.dup), (1, false));
        }
    });
}

/// The stand-in does punish: a client that does not wait loses messages.
#[test]
fn the_queue_discards_what_does_not_wait() {
    let platform = Platform::start(Duration::from_millis(1));
    let mut child = Command::new("mosquitto_pub")
        .args(["-h", "localhost", "-p", &platform.gate.port.to_string(), "-u", TOKEN])
        .arg("--cafile")
        .arg(platform.authority.path("ca.pem"))
        .args(["-t", "site1/power/active", "-q", "0", "-l"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = "{\"timestamp\":1521797973469,\"value\":1}\n".repeat(5000);
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    platform.gate.eventually("messages are discarded", |seen| (seen.discarded > 0).then_some(()));
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn an_unauthorised_publication_is_told_and_makes_no_storm() {
    let platform = Platform::start(Duration::ZERO);
    let driver = platform
        .site()
        .file(
            "stations/foreign.toml",
            "[[station]]\nname = \"foreign\"\nline = \"energydata\"\naddress = \"exact:foreign/power\"\n\
             out_topic = \"foreign/power\"\n",
        )
        .file("tags/foreign.csv", "name,station,type,address\nforeign.power,foreign,Ao,JA=value\n")
        .start(&["energydata"]);
    let writes = json!([{ "name": "foreign.power", "value": 1 }]);
    let result = driver.call("tag.write", json!({ "writes": writes, "timeout_s": 1 }));
    assert_eq!(result["results"][0]["outcome"], "uncertain", "{result}");
    driver.logs(&["foreign/power", "may this client publish there?"]);
    // It is given up, and then the rest of the site works on.
    driver.logs(&["given up", "foreign/power"]);
    eventually("another write is completed", || {
        let result = write(&driver, &[("site.power", json!(7))]).remove(0);
        (result["outcome"] == "completed").then_some(())
    });
    platform.broker.publish("my-topic-prefix/my/topic/suffix", r#"{"timestamp":1,"value":5}"#, 1);
    driver.has("stream.value", 5, "ok");
    let (connects, disconnected) =
        platform.gate.seen(|seen| (seen.connects.len(), seen.disconnected));
    assert!((2..=30).contains(&disconnected), "{disconnected} disconnections");
    assert!(connects <= disconnected + 2, "{connects} connections, {disconnected} ended");
}
