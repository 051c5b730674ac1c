//! akenza: a token per device that is signed anew, or a connector's secret; topics with a leading
//! slash; Content Types of MQTT 5.0.

use std::path::Path;
use std::time::SystemTime;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value as Json, json};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::authority::Authority;
use crate::broker::Broker;
use crate::gate::{Gate, Rules, Verdict};
use crate::messages;
use crate::site::Site;
use crate::wire::{Connect, Publish};

const DEVICE: &str = "0004A30B001C0530";
const SECRET: &str = "whisper-connector-77";

/// How the broker of akenza treats a client.
struct Akenza;

impl Rules for Akenza {
    fn connect(&mut self, connect: &Connect) -> Verdict {
        let password = connect.password.as_deref().unwrap_or_default();
        let is_device = connect.client_id == DEVICE && is_valid(password);
        let is_connector =
            connect.user_name.as_deref() == Some("connector-1") && password == SECRET;
        match is_device || is_connector {
            true => Verdict::Pass,
            false if connect.level == 5 => Verdict::Refuse(0x87),
            false => Verdict::Refuse(5),
        }
    }

    fn publish(&mut self, publish: &Publish) -> Verdict {
        let own = [format!("/up/device/id/{DEVICE}"), format!("/up/{SECRET}/id/meter7")];
        let is_own = own.iter().any(|topic| {
            publish.topic == *topic || publish.topic.starts_with(&format!("{topic}/"))
        });
        let is_form = match publish.content_type.as_deref() {
            None | Some("application/json") => {
                serde_json::from_str::<Json>(&publish.payload).is_ok()
            }
            Some("text/plain" | "application/octet-stream" | "application/xml" | "text/csv") => {
                true
            }
            Some(_) => false,
        };
        match is_own {
            false => Verdict::Disconnect,
            true if is_form => Verdict::Pass,
            true => Verdict::Swallow,
        }
    }
}

/// ES256, signed by the device's key, not ended.
fn is_valid(token: &str) -> bool {
    let Some((message, signature)) = token.rsplit_once('.') else { return false };
    let Some((header, claims)) = message.split_once('.') else { return false };
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap_or_default();
    let header: Json = serde_json::from_slice(&decode(header)).unwrap_or_default();
    let claims: Json = serde_json::from_slice(&decode(claims)).unwrap_or_default();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/p256-public.pem");
    let pem = std::fs::read_to_string(path).unwrap();
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64.decode(text.as_bytes()).unwrap();
    // The point is the end of the structure: 04, x, y.
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &der[der.len() - 65..]);
    header["alg"] == "ES256"
        && claims["exp"].as_u64().is_some_and(|end| end > now)
        && claims["iat"].as_u64().is_some_and(|start| start <= now + 1)
        && key.verify(message.as_bytes(), &decode(signature)).is_ok()
}

struct Platform {
    broker: Broker,
    gate: Gate,
    /// WebSocket over TLS, the broker's own.
    web: u16,
    authority: Authority,
}

impl Platform {
    fn start() -> Self {
        let authority = Authority::new();
        let keys = format!("protocol websockets\n{}", authority.of_listener());
        let (web, listener) = Broker::listener(&keys);
        let broker = Broker::start(&listener);
        let gate = Gate::start(broker.port, Some(authority.server(&[&TLS12, &TLS13])), Akenza);
        Self { broker, gate, web, authority }
    }

    fn site(&self) -> Site {
        let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/p256-pkcs8.pem");
        let mut site = Site::of("akenza")
            .believes(&self.authority)
            .variable("AKENZA_CONNECTOR", "connector-1")
            .variable("AKENZA_SECRET", SECRET)
            .change("UPLINKSECRET", SECRET)
            .file("secrets/device.key", std::fs::read(key).unwrap());
        let stations = site.driver.folder().join("stations/akenza.toml");
        let text = std::fs::read_to_string(stations).unwrap().replace("UPLINKSECRET", SECRET);
        site = site.file("stations/akenza.toml", text);
        site.server("mqtts://mqtt.akenza.io:8883", "mqtts", self.gate.port)
    }
}

#[test]
fn device_credentials_with_every_content_type() {
    let platform = Platform::start();
    let driver = platform.site().start(&["device"]);
    let writes = json!([
        { "name": "up.temperature", "value": 21.5 },
        { "name": "up.door", "value": true },
    ]);
    driver.call("tag.write", json!({ "writes": writes }));
    for (name, value) in [
        ("alerts.text", "too hot"),
        ("log.line", "pump 1 started"),
        ("table.rows", "a,b\n1,2\n"),
        ("document.xml", "<data><foo>bar</foo></data>"),
        ("raw.bytes", "abc"),
    ] {
        assert_eq!(driver.write(name, value)["outcome"], "completed", "{name}");
    }
    let published = platform.gate.seen(|seen| {
        assert_eq!((seen.discarded, seen.disconnected), (0, 0));
        let own = |publish: &Publish| {
            let topic = publish.topic.strip_prefix("/up/device/id/0004A30B001C0530").unwrap();
            (topic.to_owned(), publish.content_type.clone(), publish.payload.clone())
        };
        seen.published.iter().map(own).collect::<Vec<_>>()
    });
    let expected = [
        ("", None, r#"{"temperature":21.5,"door":{"open":true}}"#),
        ("/alerts/critical", None, r#"{"alert":"too hot"}"#),
        ("/log", Some("text/plain"), "pump 1 started"),
        ("/table", Some("text/csv"), "a,b\n1,2\n"),
        ("/document", Some("application/xml"), "<data><foo>bar</foo></data>"),
        ("/raw", Some("application/octet-stream"), "abc"),
    ];
    let expected = expected.map(|(topic, content_type, payload)| {
        (topic.to_owned(), content_type.map(str::to_owned), payload.to_owned())
    });
    assert_eq!(published, expected);
}

#[test]
fn downlinks_of_every_content_type() {
    let platform = Platform::start();
    let driver = platform.site().start(&["device"]);
    for message in messages::akenza() {
        match message.content_type {
            None => platform.broker.publish(&message.topic, &message.payload, 1),
            Some(is) => platform.broker.publish_typed(&message.topic, &message.payload, is),
        }
    }
    driver.has("down.data", "hello", "ok");
    driver.has("down.sub_topic", "text", "ok");
    driver.has("down.setpoint", 21.5, "ok");
    driver.has("down.mode_xml", "eco", "ok");
    driver.has("down.mode_csv", "night", "ok");
    driver.has("down.byte", 7, "ok");
}

#[test]
fn a_token_is_replaced_before_it_ends() {
    let platform = Platform::start();
    let driver =
        platform.site().change("lifetime = \"1h\"", "lifetime = \"10s\"").start(&["device"]);
    let topic = format!("/down/device/id/{DEVICE}");
    platform.broker.publish(&topic, r#"{"setpoint":1}"#, 1);
    driver.has("down.setpoint", 1, "ok");
    let mut changes = driver.subscribe(&["down.setpoint"], Json::Null);
    let passwords = platform.gate.eventually("another token", |seen| {
        let own = seen.connects.iter().filter(|(_, connect)| connect.client_id == DEVICE);
        let passwords: Vec<_> = own.filter_map(|(_, connect)| connect.password.clone()).collect();
        (passwords.len() >= 2).then_some(passwords)
    });
    assert_ne!(passwords[0], passwords[1]);
    driver.line_is("device", "up");
    platform.broker.publish(&topic, r#"{"setpoint":2}"#, 1);
    changes.until("the next set point", |all| all.last().is_some_and(|last| last["value"] == 2.0));
    let bad: Vec<_> = changes.all.iter().filter(|change| change["quality"] != "good").collect();
    assert!(bad.is_empty(), "no value is bad by that: {bad:?}");
}

#[test]
fn a_token_of_another_key_is_refused() {
    let platform = Platform::start();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let site = platform.site().file("secrets/device.key", key);
    let driver = site.start(&["connector"]);
    driver.logs(&["cannot connect", "device", "not authorized"]);
}

#[test]
fn an_uplink_secret() {
    let platform = Platform::start();
    let driver = platform.site().start(&["connector"]);
    assert_eq!(driver.write("meter7.energy", 12.5)["outcome"], "completed");
    let publish = platform.gate.seen(|seen| seen.published.last().cloned()).unwrap();
    assert_eq!(publish.topic, format!("/up/{SECRET}/id/meter7"));
    assert_eq!(publish.payload, r#"{"energy":12.5}"#);
    platform.broker.publish(&format!("/down/{SECRET}/id/meter7/config"), r#"{"interval":60}"#, 1);
    driver.has("meter7.interval", 60, "ok");
}

#[test]
fn over_web_socket_and_tls() {
    let platform = Platform::start();
    // The first server does not answer: the second one is the WebSocket.
    let dead = format!("mqtts://localhost:{}", platform.gate.port);
    let driver = platform
        .site()
        .change(&format!("\"{dead}\", "), "")
        .server("wss://mqtt.akenza.io:443", "wss", platform.web)
        .start(&["device"]);
    let up = platform.broker.subscribe("/up/#", 1);
    assert_eq!(driver.write("up.temperature", 20)["outcome"], "completed");
    assert_eq!(up.wait_for(1)[0].topic, format!("/up/device/id/{DEVICE}"));
}
