//! A broken network and a killed driver while numbered messages flow both ways: nothing missing,
//! nothing twice at QoS 2. `scripts/` has the long version; this is the short one, by seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::{Config, Driver, ModelBroker, Mosquitto, PATIENCE, Proxy, Random, eventually};

fn plant(port: u16, qos: u8) -> Config {
    let keys = format!(
        "subscribe_qos = {qos}\npublish_qos = {qos}\nreply_timeout = \"2s\"\n\
         reconnect = {{ min = \"5ms\", max = \"20ms\" }}\ntopic_filter = \"plant/#\""
    );
    Config::new()
        .line(port, &keys)
        .station("text", "plant/text", "out_topic = \"cmd/text\"")
        .tags("text.data,text,TxtI,IN_DATA\ntext.out,text,Co,OUT_VALUE")
}

fn numbers(first: usize, last: usize) -> String {
    (first..=last).map(|number| format!("{number}\n")).collect()
}

/// How often each number was a change of `text.data`, and whether the order was kept.
#[track_caller]
fn counted(driver: &Driver, last: usize) -> (BTreeMap<usize, usize>, bool) {
    let mut changes = driver.subscribe(&["text.data"], "oldest");
    let end = last.to_string();
    changes.until("the last message", |all| {
        all.iter().any(|change| change["value"] == end && change["reason"] == "ok")
    });
    let (mut counts, mut sorted, mut highest) = (BTreeMap::new(), true, 0);
    let mut before = Json::Null;
    for change in changes.all.iter().filter(|change| change["reason"] == "ok") {
        let message = json!([change["value"], change["received"]]);
        if message != before {
            let number: usize = change["value"].as_str().unwrap().parse().unwrap();
            sorted &= number > highest;
            highest = highest.max(number);
            *counts.entry(number).or_default() += 1;
        }
        before = message;
    }
    (counts, sorted)
}

/// What became of commands: by number, the outcome that the writer was told.
type Outcomes = BTreeMap<i64, String>;

/// Writes numbers one after the other as long as it is worth it.
fn write_while(driver: &Driver, worth: impl Fn() -> bool, next: &mut i64, outcomes: &mut Outcomes) {
    let mut socket = driver.socket();
    let end = Instant::now() + PATIENCE;
    while worth() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: enough cuts");
        let write = json!([{ "name": "text.out", "value": *next }]);
        let result = socket.call("tag.write", json!({ "writes": write, "timeout_s": 20 }));
        let outcome = result["results"][0]["outcome"].as_str().unwrap();
        if outcome == "failed" {
            std::thread::sleep(Duration::from_millis(3));
        }
        outcomes.insert(*next, outcome.to_owned());
        *next += 1;
    }
}

#[track_caller]
fn check_commands(received: &[String], outcomes: &Outcomes, qos: u8) {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for payload in received {
        *counts.entry(payload.parse().unwrap()).or_default() += 1;
    }
    for (number, outcome) in outcomes {
        let count = counts.get(number).copied().unwrap_or(0);
        match outcome.as_str() {
            "completed" => assert!(count >= 1, "{number} was completed and never arrived"),
            "failed" => assert_eq!(count, 0, "{number} failed and arrived"),
            "uncertain" => {}
            other => panic!("{number}: {other}"),
        }
        assert!(qos < 2 || count <= 1, "{number} arrived {count} times at QoS 2");
    }
}

/// Everything is taken and the last commands are out.
#[track_caller]
fn settle(broker: &ModelBroker, driver: &Driver) {
    broker.steady();
    eventually("the client has acknowledged everything", || broker.is_drained().then_some(()));
    driver.up();
    let mark = driver.write("text.out", -1);
    assert_eq!(mark["outcome"], "completed", "{mark}");
}

#[test]
fn a_link_that_breaks_anywhere_loses_none_and_doubles_none() {
    for (seed, bytes, qos) in [(1, 3000, 2), (2, 300, 2), (3, 3000, 1), (4, 200, 2)] {
        let broker = ModelBroker::start(bytes, seed);
        let driver = Driver::start(&plant(broker.port, qos));
        (1..=1500).for_each(|number| broker.publish(number.to_string(), qos));
        let mut outcomes = Outcomes::new();
        let mut next = 1;
        write_while(&driver, || broker.cuts() < 12, &mut next, &mut outcomes);
        settle(&broker, &driver);
        let (counts, sorted) = counted(&driver, 1500);
        let missing: Vec<usize> =
            (1..=1500).filter(|number| !counts.contains_key(number)).collect();
        assert!(missing.is_empty(), "seed {seed}: missing {missing:?}");
        if qos == 2 {
            let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
            assert!(doubled.is_empty(), "seed {seed}: doubled {doubled:?}");
            assert!(sorted, "seed {seed}: out of order");
        }
        let completed = outcomes.values().filter(|outcome| *outcome == "completed").count();
        assert!(completed > 0, "seed {seed}: no command was completed");
        check_commands(&broker.commands(), &outcomes, qos);
    }
}

#[test]
fn kills_and_cuts_together_lose_none_and_double_none() {
    for seed in [5, 6] {
        let broker = ModelBroker::start(4000, seed);
        let mut random = Random::new(seed);
        let mut driver = Driver::start(&plant(broker.port, 2));
        (1..=1500).for_each(|number| broker.publish(number.to_string(), 2));
        let mut outcomes = Outcomes::new();
        let mut next = 1;
        for _ in 0..6 {
            let end = Instant::now() + Duration::from_millis(random.below(250) as u64 + 20);
            write_while(&driver, || Instant::now() < end, &mut next, &mut outcomes);
            // One more, whose outcome nobody lives to see.
            let write = json!([{ "name": "text.out", "value": next }]);
            driver.socket().request("tag.write", json!({ "writes": write }));
            outcomes.insert(next, "uncertain".into());
            next += 1;
            driver.kill();
            driver.restart();
        }
        settle(&broker, &driver);
        let (counts, sorted) = counted(&driver, 1500);
        assert_eq!(counts, (1..=1500).map(|number| (number, 1)).collect(), "seed {seed}");
        assert!(sorted, "seed {seed}: out of order");
        check_commands(&broker.commands(), &outcomes, 2);
    }
}

#[test]
fn a_real_broker_behind_a_link_that_breaks_loses_none() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.port, 3000, 7);
    let driver = Driver::start(&plant(proxy.port, 1));
    driver.up();
    let live = broker.subscribe("cmd/#", 2);
    let mut outcomes = Outcomes::new();
    let mut next = 1;
    std::thread::scope(|scope| {
        scope.spawn(|| broker.publish_lines("plant/text", &numbers(1, 1500), 1));
        write_while(&driver, || proxy.cuts() < 12, &mut next, &mut outcomes);
    });
    proxy.steady();
    broker.publish("plant/text", "1501", 1);
    let (counts, _) = counted(&driver, 1501);
    let missing: Vec<usize> = (1..=1501).filter(|number| !counts.contains_key(number)).collect();
    assert!(missing.is_empty(), "missing {missing:?}");
    driver.up();
    assert_eq!(driver.write("text.out", -1)["outcome"], "completed");
    eventually("the mark arrives", || {
        live.received().iter().any(|message| message.payload == "-1").then_some(())
    });
    let received: Vec<String> = live.received().into_iter().map(|m| m.payload).collect();
    check_commands(&received, &outcomes, 1);
}
