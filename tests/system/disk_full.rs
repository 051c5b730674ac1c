//! A disk that takes nothing for a while: values flow to the consumers that are there, nothing is
//! acknowledged, and afterwards nobody has lost or doubled anything.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, again, publish};
use crate::harness::{Changes, Config, Driver, FakeBroker, Link, Socket, eventually};

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
            .line(broker.port, "")
            .station("text", "plant/text", "")
            .tags("text.data,text,TxtI,IN_DATA");
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
