//! aedifion: TLS 1.2, also under WebSocket; line protocol both ways; SWOP; users of two hours.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use tokio_rustls::rustls::version::TLS12;

use crate::authority::Authority;
use crate::broker::Broker;
use crate::gate::{Gate, NoRules};
use crate::harness::{Driver, eventually};
use crate::messages;
use crate::site::Site;

const LOGIN: &str = "whisper-login-password";
const SERVERS: &str = "[\"mqtts://mqtt2.aedifion.io:8884\", \"wss://mqtt2.aedifion.io:9001\"]";
const RIGHTS: &str = "topic readwrite lbg01/mybuilding/#\ntopic readwrite META/lbg01/mybuilding\n\
                      topic readwrite CONTROLS/lbg01/mybuilding";

/// The HTTP API: users that it makes exist in the broker until they expire.
struct Api {
    port: u16,
    users: Arc<Mutex<Users>>,
    broker: Arc<Broker>,
}

#[derive(Default)]
struct Users {
    last_id: u64,
    /// Numbers by name.
    ids: BTreeMap<String, u64>,
    created: usize,
    renewed: usize,
    refused: usize,
}

impl Api {
    fn start(broker: &Arc<Broker>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let users = Arc::new(Mutex::new(Users::default()));
        let (all, own) = (Arc::clone(&users), Arc::downgrade(broker));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(broker) = own.upgrade() else { return };
                answer(stream, &mut all.lock().unwrap(), &broker);
            }
        });
        Self { port, users, broker: Arc::clone(broker) }
    }

    /// Two hours have passed: the user is removed.
    fn expire(&self, user: &str) {
        let mut users = self.users.lock().unwrap();
        users.ids.remove(user).unwrap();
        self.broker.remove_user(user);
        self.broker.reload();
    }
}

fn answer(mut stream: TcpStream, users: &mut Users, broker: &Broker) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (mut length, mut is_known) = (0, false);
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => {
                let login = data_encoding::BASE64.encode(format!("site1:{LOGIN}").as_bytes());
                is_known = value == format!("Basic {login}");
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Json = serde_json::from_slice(&body).unwrap();
    let path = words[1].strip_prefix("/v2/project/1/mqttuser").unwrap_or("?").to_owned();
    let validity = body["validity"].as_u64().unwrap();
    let (status, answer) = match (words[0].as_str(), path.as_str()) {
        _ if !is_known => (401, json!({ "error": "who are you" })),
        _ if validity > 7200 => (400, json!({ "error": "two hours at most" })),
        ("POST", "") => {
            let user = body["username"].as_str().unwrap().to_owned();
            if users.ids.contains_key(&user) {
                (409, json!({ "error": "that username exists" }))
            } else {
                users.last_id += 1;
                users.created += 1;
                let id = users.last_id;
                users.ids.insert(user.clone(), id);
                assert_eq!(body["rights"], "write");
                broker.set_password(&user, body["password"].as_str().unwrap());
                broker.reload();
                (201, resource("create", id, &user))
            }
        }
        ("PUT", path) => {
            let id: u64 = path.trim_start_matches('/').parse().unwrap();
            match users.ids.iter().find(|(_, known)| **known == id) {
                Some((user, _)) => {
                    users.renewed += 1;
                    (200, resource("", id, user))
                }
                None => (404, json!({ "error": "no such user" })),
            }
        }
        _ => (404, json!({ "error": "no such page" })),
    };
    users.refused += usize::from(status >= 400);
    let text = answer.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    );
}

fn resource(operation: &str, id: u64, user: &str) -> Json {
    let topics = json!([{ "id": 123, "rights": "write", "topic": "lbg01/mybuilding/#" }]);
    let resource = json!({
        "description": "Tagline", "id": id, "topics": topics, "username": user,
        "valid_until": "2019-01-18T16:23:01.707344Z",
    });
    json!({ "operation": operation, "resource": resource, "success": true })
}

struct Platform {
    broker: Arc<Broker>,
    api: Api,
    authority: Authority,
    /// TLS 1.2 in front of the broker.
    gate: Gate,
    /// The same in front of its WebSocket.
    web: Gate,
}

impl Platform {
    fn start() -> Self {
        let authority = Authority::new();
        let (web, listener) = Broker::listener("protocol websockets\n");
        let users = [("tagline_site1", "nobody-knows-it", RIGHTS)];
        let broker = Arc::new(Broker::with_users(&listener, &users));
        broker.remove_user("tagline_site1");
        broker.reload();
        let tls = authority.server(&[&TLS12]);
        let gate = Gate::start(broker.port, Some(Arc::clone(&tls)), NoRules);
        let web = Gate::tunnel(web, tls);
        Self { api: Api::start(&broker), broker, authority, gate, web }
    }

    fn site(&self, scheme: &str, port: u16) -> Site {
        Site::of("aedifion")
            .change(SERVERS, &format!("[\"{scheme}://localhost:{port}\"]"))
            .believes(&self.authority)
            .variable("AEDIFION_API", &format!("http://127.0.0.1:{}", self.api.port))
            .variable("AEDIFION_PROJECT", "1")
            .variable("AEDIFION_LOGIN", "site1")
            .secret("AEDIFION_PASSWORD", LOGIN)
    }

    fn run(&self) -> Driver {
        self.site("mqtts", self.gate.port).start(&["aedifion"])
    }
}

fn write(driver: &Driver, writes: Json) {
    let answer = driver.call("tag.write", json!({ "writes": writes }));
    for result in answer["results"].as_array().unwrap() {
        assert_eq!(result["outcome"], "completed", "{answer}");
    }
}

#[test]
fn line_protocol_both_ways_over_tls_1_2() {
    let platform = Platform::start();
    let driver = platform.run();
    assert_eq!(driver.line("aedifion")["tls"]["version"], "TLS 1.2", "{}", driver.line("aedifion"));
    for message in messages::aedifion() {
        platform.broker.publish(&message.topic, &message.payload, 1);
    }
    let room = driver.has("building.room_temperature", 22.3, "ok");
    assert_eq!(room["time"], "2016-06-13T17:43:51.1004002Z");
    driver.has("building.outside_temperature", 14.7, "ok");
    driver.has("building.quoted", 1, "ok");
    driver.has("building.flow_test", 7.5, "ok");
    driver.has("meta.name", "PXSite1'AS11-239291", "ok");
    driver.has("meta.objtype", "trendLog", "ok");
    let sent = platform.broker.subscribe("lbg01/mybuilding/tagline", 1);
    write(
        &driver,
        json!([{ "name": "site.supply", "value": 55.5 }, { "name": "site.return", "value": 40 }]),
    );
    // mosquitto_sub shows a message of two lines as two.
    let first = sent.wait_for(1)[0].payload.clone();
    assert!(first.starts_with("SupplyTemperature value=55.5 1"), "{first}");
    assert_eq!(first.rsplit(' ').next().unwrap().len(), 19, "nanoseconds: {first}");
    let published = platform.gate.seen(|seen| seen.published.last().cloned()).unwrap();
    let second = published.payload.lines().nth(1).unwrap();
    assert!(second.starts_with("Return\\ Temperature,side=secondary value=40 1"), "{second}");
}

#[test]
fn over_web_socket_and_tls_1_2() {
    let platform = Platform::start();
    let driver = platform.site("wss", platform.web.port).start(&["aedifion"]);
    platform.broker.publish(
        "lbg01/mybuilding",
        "RoomTemperature value=20.3 1465839830100400200",
        1,
    );
    driver.has("building.room_temperature", 20.3, "ok");
}

#[test]
fn swop_set_points_and_their_acknowledgement() {
    let platform = Platform::start();
    let driver = platform.run();
    let newspt = messages::aedifion().pop().unwrap();
    platform.broker.publish(&newspt.topic, &newspt.payload, 1);
    driver.has("room.setpoint", 20.3, "ok");
    driver.has("room.setpoint.priority", 13, "ok");
    driver.has("room.setpoint.acknowledge", true, "ok");
    driver.has("room.setpoint.reference", "r-17", "ok");
    let controls = platform.broker.subscribe(&newspt.topic, 1);
    let acknowledge = json!([
        { "name": "ack.datapoint", "value": "bacnet93-4120-External-Room-Set-Temperature-RTs" },
        { "name": "ack.reference", "value": "r-17" },
        { "name": "ack.status", "value": "written" },
    ]);
    write(&driver, acknowledge.clone());
    let ack: Json = serde_json::from_str(&controls.wait_for(1)[0].payload).unwrap();
    let expected = json!({
        "type": "ACKSPT", "swop_version": "0.1", "reference": "r-17", "status": "written",
        "datapoint": "bacnet93-4120-External-Room-Set-Temperature-RTs",
    });
    assert_eq!(ack, expected);
    // Our own acknowledgement came back, and is no set point.
    driver.has("answer.reference", "r-17", "ok");
    driver.has("room.setpoint", 20.3, "ok");
    // A duplicate, because the acknowledgement was lost: the same value, and a copy of it.
    platform.broker.publish(&newspt.topic, &newspt.payload, 1);
    write(&driver, acknowledge);
    let copies = controls.wait_for(3);
    assert_eq!(copies[0].payload, copies[2].payload);
}

#[test]
fn swop_as_the_issuer() {
    let platform = Platform::start();
    let driver = platform.run();
    let controls = platform.broker.subscribe("CONTROLS/lbg01/mybuilding", 1);
    write(
        &driver,
        json!([
            { "name": "new.datapoint", "value": "fan 1" },
            { "name": "new.value", "value": 0 },
            { "name": "new.reference", "value": "s-1" },
        ]),
    );
    let new: Json = serde_json::from_str(&controls.wait_for(1)[0].payload).unwrap();
    assert_eq!(new["type"], "NEWSPT");
    assert_eq!((&new["value"], &new["priority"]), (&json!(0.0), &json!(13)));
    let ack = r#"{"type":"ACKSPT","swop_version":"0.1","reference":"s-1","status":"failed","datapoint":"fan 1"}"#;
    platform.broker.publish("CONTROLS/lbg01/mybuilding", ack, 1);
    driver.has("answer.reference", "s-1", "ok");
    driver.has("answer.status", "failed", "ok");
}

#[test]
fn users_of_two_hours_change_without_loss() {
    let platform = Platform::start();
    let driver = platform
        .site("mqtts", platform.gate.port)
        .change("lifetime = \"2h\"", "lifetime = \"10s\"")
        .start(&["aedifion"]);
    let mut changes = driver.subscribe(&["building.room_temperature"], Json::Null);
    let renewed = || platform.api.users.lock().unwrap().renewed;
    let mut number = 0;
    // Messages flow before, during and after the planned reconnect.
    while renewed() == 0 || platform.gate.seen(|seen| seen.connects.len()) < 2 {
        number += 1;
        assert!(number < 5000, "no planned reconnect");
        let line = format!("RoomTemperature value={number} {number}000000000");
        platform.broker.publish("lbg01/mybuilding", line, 1);
    }
    driver.line_is("aedifion", "up");
    number += 1;
    let line = format!("RoomTemperature value={number} {number}000000000");
    platform.broker.publish("lbg01/mybuilding", line, 1);
    write(&driver, json!([{ "name": "site.supply", "value": 1 }]));
    let numbers = |all: &[Json]| -> BTreeSet<u64> {
        all.iter().filter_map(|change| change["value"].as_f64()).map(|value| value as u64).collect()
    };
    changes.until("all numbers", |all| numbers(all).last() == Some(&number));
    assert!(numbers(&changes.all).into_iter().eq(1..=number));
    let bad: Vec<_> = changes.all.iter().filter(|change| change["quality"] == "bad").collect();
    assert!(bad.len() <= 1, "only before the first value: {bad:?}");
    assert_eq!(driver.count_logged("connection lost"), 0, "it was planned");
    assert_eq!(platform.api.users.lock().unwrap().created, 1);
}

#[test]
fn a_user_that_is_gone_is_made_anew() {
    let platform = Platform::start();
    let driver = platform.run();
    for round in 1..=2 {
        platform.api.expire("tagline_site1");
        eventually("a user is made anew", || {
            (platform.api.users.lock().unwrap().created == round + 1).then_some(())
        });
        driver.line_is("aedifion", "up");
        platform.broker.publish("lbg01/mybuilding", format!("RoomTemperature value={round}"), 1);
        driver.has("building.room_temperature", round, "ok");
        write(&driver, json!([{ "name": "site.supply", "value": round }]));
    }
    assert_eq!(driver.line("aedifion")["session_present"], true);
    assert_eq!(
        platform.api.users.lock().unwrap().refused,
        2,
        "each renewal of a user that is gone"
    );
    // The password is nowhere but in its file.
    let state = std::fs::read_to_string(driver.folder().join("data/mqtt-user.json")).unwrap();
    let state: Json = serde_json::from_str(&state).unwrap();
    assert!(!driver.log().contains(state["password"].as_str().unwrap()));
}

#[test]
fn the_helper_renews_makes_and_says_what_is_wrong() {
    let platform = Platform::start();
    let site = platform.site("mqtts", platform.gate.port);
    let helper = |login: &str, more: &[&str]| {
        let output = Command::new(site.driver.folder().join("mqtt-user"))
            .args(["--state", "data/user.json", "--user", "tagline_site1", "--rights", "write"])
            .args(more)
            .env("AEDIFION_API", format!("http://127.0.0.1:{}", platform.api.port))
            .env("AEDIFION_PROJECT", "1")
            .env("AEDIFION_LOGIN", "site1")
            .env("AEDIFION_PASSWORD", login)
            .output()
            .expect("python3 is installed: `scripts/test` does it");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let counts = || {
        let users = platform.api.users.lock().unwrap();
        (users.created, users.renewed)
    };
    let (done, password, _) = helper(LOGIN, &[]);
    assert!(done && password.len() >= 20, "a password of its own");
    assert_eq!(counts(), (1, 0));
    // It is there: renewed, with the same password.
    assert_eq!(helper(LOGIN, &[]), (true, password.clone(), String::new()));
    assert_eq!(counts(), (1, 1));
    // By a timer, without a word.
    assert_eq!(helper(LOGIN, &["--renew"]), (true, String::new(), String::new()));
    assert_eq!(counts(), (1, 2));
    // It is gone: a timer leaves that to the line, a connection makes another one.
    platform.api.expire("tagline_site1");
    assert_eq!(helper(LOGIN, &["--renew"]), (true, String::new(), String::new()));
    let (done, other, _) = helper(LOGIN, &[]);
    assert!(done && other != password);
    assert_eq!(counts(), (2, 2));
    let (done, shown, why) = helper("wrong", &[]);
    assert!(!done && shown.is_empty() && why.contains("the API answered 401"), "{why}");
    assert!(!why.contains("wrong\""), "no secret in it");
    let mode = std::fs::metadata(site.driver.folder().join("data/user.json")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}
