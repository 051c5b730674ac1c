//! A disk that takes nothing for a while: values flow to the consumers that are there, nothing is
//! acknowledged, and afterwards nobody has lost or doubled anything.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, again, publish};
use crate::harness::{Changes, Config, Driver, FakeBroker, Link, PATIENCE, Socket, eventually};

/// A driver whose disk has just become full, and how many messages are acknowledged.
struct Full {
    driver: Driver,
    broker: FakeBroker,
    link: Link,
    sent: u16,
    acknowledged: u16,
}

impl Full {
    #[track_caller]
    fn start() -> Self {
        let broker = FakeBroker::start();
        let config = Config::new()
            .line(broker.port, "keep_alive = \"2s\"\nping_interval = \"0s\"")
            .station("text", "plant/text", "")
            .station("quiet", "plant/quiet", "")
            .station("out", "plant/out", "out_topic = \"cmd\"\npublish_qos = 0")
            .tags("text.data,text,TxtI,IN_DATA")
            .tags("quiet.data,quiet,TxtI,IN_DATA")
            .tags("out.value,out,Co,OUT_VALUE");
        let mut driver = Driver::prepare(&config);
        driver.file_limit = Some(1 << 20);
        driver.restart();
        let link = broker.accept_session(false);
        driver.up();
        Self { driver, broker, link, sent: 0, acknowledged: 0 }
    }

    /// Sends some messages; then the disk takes nothing, and one more. The log may still be written.
    #[track_caller]
    fn fill(&mut self) {
        self.fill_to(64 << 10);
    }

    #[track_caller]
    fn fill_to(&mut self, bytes: u64) {
        let filling = "x".repeat(200_000);
        for _ in 0..5 {
            self.send(&filling);
            self.acknowledged += 1;
            self.link.expect(&Packet::Puback(self.acknowledged));
        }
        self.driver.limit_files(bytes);
        self.send("the first that waits");
        eventually("the state says that the disk is full", || {
            (self.state() == "error").then_some(())
        });
    }

    fn send(&mut self, filling: &str) {
        self.sent += 1;
        self.link.send(&publish("plant/text", format!("{} {filling}", self.sent), 1, self.sent));
    }

    fn state(&self) -> Json {
        self.driver.call("process.status", json!({}))["store"]["state"].clone()
    }

    #[track_caller]
    fn heal(&mut self) {
        self.driver.lift_file_limit();
        eventually("the disk is written again", || (self.state() == "ok").then_some(()));
    }
}

/// The numbers of the messages that came.
fn numbers(changes: &[Json]) -> Vec<u16> {
    let good = changes.iter().filter(|change| change["reason"] == "ok");
    good.map(|change| change["value"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// Notifications until this message has come: the changes, and what is not on disk of them.
#[track_caller]
fn take_until(socket: &mut Socket, last: u16) -> (Vec<Json>, Vec<Json>, Json) {
    let (mut all, mut provisional, mut token) = (Vec::new(), Vec::new(), Json::Null);
    while numbers(&all).last() != Some(&last) {
        let Some(mut notification) = socket.notification_within(Duration::from_secs(30)) else {
            panic!("message {last} never came, but {:?}", numbers(&all));
        };
        let params = &mut notification["params"];
        token = params["token"].take();
        let Json::Array(changes) = params["changes"].take() else { panic!("{params}") };
        if params["durable"] == json!(false) {
            provisional.extend(changes.clone());
        }
        all.extend(changes);
    }
    (all, provisional, token)
}

fn subscribe(driver: &Driver, after: Json) -> Socket {
    let mut socket = driver.socket();
    socket.call("tag.subscribe", json!({ "names": ["text.data"], "after": after }));
    socket
}

#[test]
fn who_is_there_gets_every_change_once_and_the_token_when_it_is_on_disk() {
    let mut full = Full::start();
    let mut present = subscribe(&full.driver, json!("oldest"));
    full.fill();
    for _ in 0..3 {
        full.send("more");
    }
    let before = full.acknowledged;
    let (all, provisional, token) = take_until(&mut present, full.sent);
    assert_eq!(numbers(&all), (1..=full.sent).collect::<Vec<_>>());
    let expected: Vec<u16> = (before + 1..=full.sent).collect();
    assert_eq!(numbers(&provisional), expected, "what is not on disk says so");
    full.link.expect_silence(Duration::from_millis(700));
    // Who asks for the current values gets the last one, and then what comes.
    let mut late = subscribe(&full.driver, Json::Null);
    full.send("for two");
    assert_eq!(numbers(&take_until(&mut late, full.sent).0), [full.sent - 1, full.sent]);
    take_until(&mut present, full.sent);
    full.heal();
    // Only the token: nothing comes twice.
    let healed = present.notification_within(Duration::from_secs(30)).expect("a token");
    assert_eq!(healed["params"]["changes"], json!([]), "{healed}");
    let healed = healed["params"]["token"].clone();
    assert_ne!(healed, token);
    full.send("on disk again");
    let (all, provisional, _) = take_until(&mut present, full.sent);
    assert_eq!((numbers(&all), provisional.len()), (vec![full.sent], 0));
    // Both tokens lead on without a gap; the old one to what was shown before.
    for (token, first) in [(token, before + 1), (healed, full.sent)] {
        let (all, ..) = take_until(&mut subscribe(&full.driver, token), full.sent);
        assert_eq!(numbers(&all), (first..=full.sent).collect::<Vec<_>>());
    }
}

#[test]
fn a_consumer_that_comes_while_the_disk_is_full_goes_on_from_its_token() {
    let mut full = Full::start();
    full.send("first");
    full.link.expect(&Packet::Puback(1));
    full.acknowledged = 1;
    let (_, _, token) = take_until(&mut subscribe(&full.driver, json!("oldest")), 1);
    full.fill();
    full.send("last");
    let (all, provisional, after) = take_until(&mut subscribe(&full.driver, token), full.sent);
    assert_eq!(numbers(&all), (2..=full.sent).collect::<Vec<_>>());
    assert_eq!(numbers(&provisional).len(), usize::from(full.sent - full.acknowledged));
    // Once more from there: what is not on disk comes again.
    let (again, ..) = take_until(&mut subscribe(&full.driver, after), full.sent);
    assert_eq!(numbers(&again), numbers(&provisional));
}

#[test]
fn a_log_that_cannot_be_written_either_stops_nothing() {
    let mut full = Full::start();
    // Not even the log file takes a byte.
    full.fill_to(1);
    full.send("more");
    full.driver.has("text.data", format!("{} more", full.sent), "ok");
    full.heal();
    while full.acknowledged < full.sent {
        full.acknowledged += 1;
        full.link.expect(&Packet::Puback(full.acknowledged));
    }
    assert!(full.driver.terminate().success());
}

#[test]
fn a_kill_while_the_disk_is_full_loses_nothing_that_the_broker_still_has() {
    let mut full = Full::start();
    let mut present = subscribe(&full.driver, json!("oldest"));
    full.fill();
    full.send("last");
    let (_, provisional, token) = take_until(&mut present, full.sent);
    assert!(!provisional.is_empty());
    let Full { mut driver, broker, sent, acknowledged, .. } = full;
    driver.kill();
    driver.file_limit = None;
    driver.restart();
    let mut link = broker.accept_session(true);
    for number in acknowledged + 1..=sent {
        link.send(&again("plant/text", format!("{number} again"), 1, number));
        link.expect(&Packet::Puback(number));
    }
    // The numbers of lost changes are not given again: the token still fits.
    let mut changes: Changes = driver.subscribe(&["text.data"], token);
    changes.until("the last message", |all| numbers(all).last() == Some(&sent));
    assert_eq!(numbers(&changes.all), (acknowledged + 1..=sent).collect::<Vec<_>>());
    let newest = provisional.last().unwrap()["seq"].as_u64().unwrap();
    let ok = |change: &&Json| change["reason"] == "ok";
    assert!(changes.all.iter().filter(ok).all(|change| change["seq"].as_u64().unwrap() > newest));
}

/// Messages of QoS 0: more than twice what is kept.
const FLOOD: u32 = 150_000;

/// The number of a message of the flood.
fn flood_number(value: &Json) -> Option<u32> {
    value.as_str()?.strip_prefix("flood ")?.parse().ok()
}

/// Everything that a subscription gets until it is interrupted; the token to go on from.
#[track_caller]
fn until_interrupted(socket: &mut Socket) -> (Vec<Json>, Json) {
    let mut all = Vec::new();
    loop {
        let notification = socket.notification_within(PATIENCE).expect("a notification");
        let params = &notification["params"];
        if notification["method"] == "tag.interrupted" {
            assert_eq!(params["error"]["code"], -32010, "{notification}");
            return (all, params["error"]["data"]["oldest"].clone());
        }
        all.extend(params["changes"].as_array().unwrap().clone());
    }
}

#[test]
fn a_flood_while_the_disk_is_full_costs_no_connection_and_no_memory_and_its_gap_is_told() {
    let mut full = Full::start();
    full.send("first");
    full.link.expect(&Packet::Puback(1));
    full.acknowledged = 1;
    let (_, _, early) = take_until(&mut subscribe(&full.driver, json!("oldest")), 1);
    full.fill();
    let mut present = subscribe(&full.driver, Json::Null);
    take_until(&mut present, full.sent);
    let connected = full.driver.line("plant")["connected_since"].clone();
    full.link.send(&publish("plant/quiet", "once", 0, 0));
    let mut seen = 0;
    let mut most_waiting = 0;
    for thousand in 0..FLOOD / 1000 {
        let numbers = thousand * 1000 + 1..=thousand * 1000 + 1000;
        let flood = numbers.map(|number| publish("plant/text", format!("flood {number}"), 0, 0));
        full.link.send_all(&flood.collect::<Vec<_>>());
        if thousand == 20 {
            full.send("among the flood");
        }
        // Who is there gets every one of them, once.
        while seen < thousand * 1000 + 1000 {
            let notification = present.notification_within(PATIENCE).expect("the flood goes on");
            let params = &notification["params"];
            assert_eq!(params["durable"], false, "{notification}");
            for number in params["changes"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|change| flood_number(&change["value"]))
            {
                assert_eq!(number, seen + 1);
                seen = number;
            }
        }
        full.link.expect_silence(Duration::from_millis(1));
        let store = full.driver.call("process.status", json!({}))["store"].clone();
        most_waiting = most_waiting.max(store["waiting"].as_u64().unwrap());
    }
    assert!(most_waiting < 70_000, "{most_waiting} changes wait");
    full.driver.has("text.data", format!("flood {FLOOD}"), "ok");
    full.driver.has("quiet.data", "once", "ok");
    let line = full.driver.line("plant");
    assert_eq!((&line["state"], &line["connected_since"]), (&json!("up"), &connected));
    // Writes go on.
    let written = full.driver.write("out.value", 7);
    assert_eq!(written["outcome"], "completed", "{written}");
    assert_eq!(full.link.expect_publish().payload, b"7");
    let store = full.driver.call("process.status", json!({}))["store"].clone();
    let lost = store["lost"].as_u64().unwrap();
    assert!(u64::from(FLOOD) - 70_000 < lost && lost < u64::from(FLOOD), "{store}");

    // Who was away gets what is there up to the gap, and then hears of it.
    let on_disk: Vec<u16> = (2..=full.acknowledged).collect();
    let (all, oldest) = until_interrupted(&mut subscribe(&full.driver, early.clone()));
    assert_eq!(numbers_of_texts(&all)[..on_disk.len()], on_disk);
    // From behind it, nothing is missing.
    let behind = |socket: &mut Socket| {
        let mut flood = Vec::new();
        while flood.last() != Some(&FLOOD) {
            let notification = socket.notification_within(PATIENCE).expect("the rest");
            let changes = notification["params"]["changes"].as_array().unwrap().clone();
            flood.extend(changes.iter().filter_map(|change| flood_number(&change["value"])));
        }
        flood
    };
    let rest = behind(&mut subscribe(&full.driver, oldest.clone()));
    assert!(rest.len() > 30_000 && rest.windows(2).all(|pair| pair[0] + 1 == pair[1]));

    full.heal();
    full.driver.durable();
    for id in full.acknowledged + 1..=full.sent {
        full.link.expect(&Packet::Puback(id));
    }
    full.send("on disk again");
    full.link.expect(&Packet::Puback(full.sent));
    let (.., token) = take_until(&mut present, full.sent);
    assert_eq!(full.driver.call("process.status", json!({}))["store"]["waiting"], 0);
    for restarted in [false, true] {
        if restarted {
            assert!(full.driver.terminate().success());
            full.driver.restart();
            full.driver.has("quiet.data", "once", "restored");
        }
        let (all, told) = until_interrupted(&mut subscribe(&full.driver, early.clone()));
        assert_eq!(
            (numbers_of_texts(&all)[..on_disk.len()].to_vec(), &told),
            (on_disk.clone(), &oldest)
        );
        let last = numbers_of_texts(&all).last().copied();
        assert!(last.is_some_and(|last| last < full.sent), "{last:?}");
        assert_eq!(behind(&mut subscribe(&full.driver, oldest.clone())), rest);
        assert_eq!(behind(&mut subscribe(&full.driver, json!("oldest"))), rest);
        // Who was there all the time has no gap.
        let socket = full.driver.socket();
        let (mut socket, after) = (socket, token.clone());
        socket.call("tag.subscribe", json!({ "names": ["text.data"], "after": after }));
    }
}

/// The numbers of the messages that came, but for the flood.
fn numbers_of_texts(changes: &[Json]) -> Vec<u16> {
    let own = |change: &&Json| flood_number(&change["value"]).is_none();
    numbers(&changes.iter().filter(own).cloned().collect::<Vec<_>>())
}
