//! Brokers that stop, drivers that are killed: nothing lost, nothing twice, and no stale value
//! that looks fresh.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, publish};
use crate::harness::{Config, Driver, FakeBroker, Mosquitto, Next, eventually};

fn one_text_station(config: Config) -> Config {
    config.station("text", "plant/text", "").tags("text.data,text,TxtI,IN_DATA")
}

fn numbers(first: usize, last: usize) -> String {
    (first..=last).map(|number| format!("{number}\n")).collect()
}

/// How often each number was a change of the tag, according to the journal.
fn counted(driver: &Driver, last: usize) -> BTreeMap<usize, usize> {
    let mut changes = driver.subscribe(&["text.data"], "oldest");
    let end = last.to_string();
    changes.until("the last message", |all| {
        all.iter().any(|change| change["value"] == end && change["reason"] == "ok")
    });
    let mut counts = BTreeMap::new();
    // Quality changes repeat the value; a message is a good change with a receive time of its own.
    let mut before = Json::Null;
    for change in changes.all.iter().filter(|change| change["reason"] == "ok") {
        let message = json!([change["value"], change["received"]]);
        if message != before {
            *counts.entry(change["value"].as_str().unwrap().parse().unwrap()).or_default() += 1;
        }
        before = message;
    }
    counts
}

#[test]
fn the_line_comes_back_by_itself_and_gets_what_came_meanwhile() {
    let mut broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "subscribe_qos = 2"));
    let driver = Driver::start(&config);
    driver.up();
    let mut changes = driver.subscribe(&["text.data"], Json::Null);
    broker.publish_lines("plant/text", &numbers(1, 20), 2);
    changes.until("the first twenty", |all| all.len() == 20);
    broker.completed(20);
    broker.stop();
    driver.has("text.data", "20", "line_down");
    assert_eq!(driver.read("text.data")["quality"], "bad");
    assert_eq!(driver.station("text")["state"], "StHARDERR");
    assert_eq!(driver.line("plant")["state"], "connecting");
    broker.start_again();
    driver.up();
    broker.publish_lines("plant/text", &numbers(21, 40), 2);
    driver.has("text.data", "40", "ok");
    let line = driver.line("plant");
    assert_eq!(line["session_present"], true);
    assert_eq!(line["counters"]["connects"], 2);
    let counts = counted(&driver, 40);
    assert_eq!(counts, (1..=40).map(|number| (number, 1)).collect());
}

#[test]
fn what_is_published_while_the_driver_is_away_arrives_once_at_qos_1_and_2() {
    let mut broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "subscribe_qos = 2"));
    let mut driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/text", "0", 2);
    driver.has("text.data", "0", "ok");
    broker.completed(1);
    assert_eq!(driver.terminate().code(), Some(0));
    broker.publish_lines("plant/text", &numbers(1, 50), 1);
    broker.publish_lines("plant/text", &numbers(51, 100), 2);
    // The broker's own restart in between must not matter either.
    broker.stop();
    broker.start_again();
    driver.restart();
    driver.has("text.data", "100", "ok");
    let counts = counted(&driver, 100);
    assert_eq!(counts, (0..=100).map(|number| (number, 1)).collect());
}

#[test]
fn with_the_session_present_values_take_the_quality_they_had() {
    let mut broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, ""));
    let driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/text", "before", 1);
    let good = driver.has("text.data", "before", "ok");
    // Unacknowledged it would come again.
    broker.acknowledged(1);
    broker.stop();
    let down = driver.has("text.data", "before", "line_down");
    assert!(down["seq"].as_u64() > good["seq"].as_u64());
    broker.start_again();
    let back = driver.has("text.data", "before", "ok");
    assert_eq!((&back["time"], &back["received"]), (&good["time"], &good["received"]));
    assert!(back["seq"].as_u64() > down["seq"].as_u64(), "it is a change");
}

#[test]
fn without_the_session_values_are_restored_until_a_message_renews_them() {
    let mut broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "clean_session = true"));
    let driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/text", "before", 1);
    driver.has("text.data", "before", "ok");
    broker.stop();
    driver.has("text.data", "before", "line_down");
    broker.start_again();
    driver.has("text.data", "before", "restored");
    assert_eq!(driver.read("text.data")["quality"], "uncertain");
    broker.publish("plant/text", "after", 1);
    driver.has("text.data", "after", "ok");
}

#[test]
fn after_a_restart_values_are_uncertain_restored_until_renewed() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1\nclean_session = true")
        .station("a", "plant/a", "payload_type = \"json\"\nout_topic = \"cmd/a\"")
        .tags(
            "a.real,a,Ai,JA=real
             a.text,a,TxtI,JA=text
             a.never,a,Ai,JA=never
             a.out,a,Co,OUT_VALUE",
        );
    let mut driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/a", r#"{"real":1.5,"text":"kept"}"#, 1);
    let before = driver.has("a.real", 1.5, "ok");
    assert_eq!(driver.write("a.out", 42)["outcome"], "completed");
    driver.durable();
    driver.kill();
    drop(broker);
    driver.restart();
    for (name, value) in [("a.real", json!(1.5)), ("a.text", json!("kept")), ("a.out", json!(42))] {
        let tag = driver.read(name);
        assert_eq!(tag["value"], value);
        assert_eq!(
            (&tag["quality"], &tag["reason"]),
            (&json!("uncertain"), &json!("restored")),
            "{tag}"
        );
    }
    let after = driver.read("a.real");
    assert_eq!((&after["time"], &after["received"]), (&before["time"], &before["received"]));
    let never = driver.read("a.never");
    assert_eq!(
        never["value"],
        Json::Null,
        "a tag without a value has none after a restart: {never}"
    );
}

#[test]
fn restored_values_become_good_when_a_message_renews_them() {
    let broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "clean_session = true"));
    let mut driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/text", "old", 1);
    driver.has("text.data", "old", "ok");
    driver.durable();
    driver.kill();
    driver.restart();
    driver.up();
    driver.has("text.data", "old", "restored");
    broker.publish("plant/text", "new", 1);
    driver.has("text.data", "new", "ok");
}

#[test]
fn sigterm_ends_in_order_within_five_seconds() {
    let broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, ""));
    let mut driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/text", "last words", 1);
    driver.has("text.data", "last words", "ok");
    let begun = Instant::now();
    let status = driver.terminate();
    assert_eq!(status.code(), Some(0), "{}", driver.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    driver.logs(&["stopped"]);
    assert!(!driver.socket_path().exists(), "the socket file is left behind");
    eventually("mosquitto saw a DISCONNECT", || {
        broker.log().contains("Received DISCONNECT from tagline-plant").then_some(())
    });
}

#[test]
fn sigterm_ends_within_five_seconds_although_the_broker_says_nothing() {
    let broker = FakeBroker::start();
    let config = one_text_station(Config::new().line(broker.port, "publish_qos = 1"))
        .station("out", "status/out", "out_topic = \"cmd/out\"")
        .tags("out.value,out,Co,OUT_VALUE");
    let mut driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let write = json!({ "writes": [{ "name": "out.value", "value": 1 }], "timeout_s": 60 });
    socket.request("tag.write", write);
    link.expect_publish();
    let begun = Instant::now();
    assert_eq!(driver.terminate().code(), Some(0), "{}", driver.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
}

#[test]
fn sigint_ends_in_order_too_and_sighup_does_not_end() {
    let broker = Mosquitto::start();
    let mut driver = Driver::start(&one_text_station(Config::new().line(broker.port, "")));
    driver.up();
    driver.signal("HUP");
    driver.logs(&["SIGHUP"]);
    assert!(driver.ended().is_none());
    driver.signal("INT");
    assert_eq!(driver.wait().code(), Some(0));
}

#[test]
fn kill_in_a_stream_of_ten_thousand_qos_1_messages_loses_none() {
    let broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "subscribe_qos = 1"));
    let mut driver = Driver::start(&config);
    driver.up();
    std::thread::scope(|scope| {
        scope.spawn(|| broker.publish_lines("plant/text", &numbers(1, 10_000), 1));
        for place in [1500, 4000, 8000] {
            let mut socket = driver.socket();
            eventually("the stream gets there", || {
                let tag = socket.call("tag.read", json!({ "names": ["text.data"] }));
                let value = tag["values"][0]["value"].as_str()?.parse::<usize>().ok()?;
                (value >= place).then_some(())
            });
            driver.kill();
            driver.restart();
        }
    });
    let counts = counted(&driver, 10_000);
    let missing: Vec<usize> = (1..=10_000).filter(|number| !counts.contains_key(number)).collect();

    assert!(missing.is_empty(), "{} are missing: {missing:?}", missing.len());
}

#[test]
fn kill_in_a_stream_of_qos_2_messages_loses_none_and_doubles_none() {
    let broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "subscribe_qos = 2"));
    let mut driver = Driver::start(&config);
    driver.up();
    std::thread::scope(|scope| {
        scope.spawn(|| broker.publish_lines("plant/text", &numbers(1, 3000), 2));
        for place in [300, 900, 1500, 2100, 2700] {
            let mut socket = driver.socket();
            eventually("the stream gets there", || {
                let tag = socket.call("tag.read", json!({ "names": ["text.data"] }));
                let value = tag["values"][0]["value"].as_str()?.parse::<usize>().ok()?;
                (value >= place).then_some(())
            });
            driver.kill();
            driver.restart();
        }
    });
    let counts = counted(&driver, 3000);
    assert_eq!(counts, (1..=3000).map(|number| (number, 1)).collect());
}

#[test]
fn a_broker_that_restarts_in_a_stream_of_messages_costs_none() {
    let mut broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "subscribe_qos = 2"));
    let driver = Driver::start(&config);
    driver.up();
    for round in 0..3 {
        broker.publish_lines("plant/text", &numbers(round * 200 + 1, round * 200 + 200), 1);
        // It has taken them all and is stopped in the middle of handing them on.
        broker.stop();
        broker.start_again();
    }
    let counts = counted(&driver, 600);
    let missing: Vec<usize> = (1..=600).filter(|number| !counts.contains_key(number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_broker_that_restarts_in_a_stream_of_qos_2_messages_doubles_none() {
    let mut broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "subscribe_qos = 2"));
    let driver = Driver::start(&config);
    driver.up();
    for round in 0..3 {
        broker.publish_lines("plant/text", &numbers(round * 200 + 1, round * 200 + 200), 2);
        // Between PUBREC and PUBCOMP of some: it begins those again.
        broker.stop();
        broker.start_again();
    }
    let counts = counted(&driver, 600);
    assert_eq!(counts, (1..=600).map(|number| (number, 1)).collect());
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let broker = FakeBroker::start();
    let config = one_text_station(Config::new().line(broker.port, "subscribe_qos = 2"));
    let mut driver = Driver::start(&config);
    for round in 1..=8u16 {
        let mut link = broker.accept_session(round > 1);
        let qos = if round % 2 == 0 { 2 } else { 1 };
        link.send(&publish("plant/text", format!("round {round}"), qos, round));
        link.expect(&if qos == 1 { Packet::Puback(round) } else { Packet::Pubrec(round) });
        driver.kill();
        driver.restart();
        let tag = driver.read("text.data");
        assert_eq!(tag["value"], format!("round {round}"), "{tag}");
        assert_eq!(tag["reason"], "restored");
    }
}

#[test]
fn a_second_process_on_one_data_dir_is_refused_in_words() {
    let broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, ""));
    let driver = Driver::start(&config);
    let output = driver.run(["run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("data_dir"), "{said}");
    assert!(said.contains("in use") || said.contains("another process"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    // The first is unharmed.
    driver.up();
    broker.publish("plant/text", "alive", 1);
    driver.has("text.data", "alive", "ok");
}

#[test]
fn a_removed_tag_is_gone_and_the_others_keep_their_values() {
    let broker = Mosquitto::start();
    let config = |tags: &str| {
        Config::new()
            .line(broker.port, "clean_session = true")
            .station("a", "plant/a", "payload_type = \"json\"")
            .tags(tags)
    };
    let mut driver = Driver::start(&config("a.x,a,Ai,JA=x\na.y,a,Ai,JA=y\na.z,a,Ai,JA=z"));
    driver.up();
    broker.publish("plant/a", r#"{"x":1,"y":2,"z":3}"#, 1);
    driver.has("a.z", 3, "ok");
    driver.terminate();
    // Positions change, names count; a tag of another type is another tag.
    config("a.z,a,Ai,JA=z\na.x,a,TxtI,JA=x").write(driver.folder());
    driver.restart();
    assert_eq!(driver.read("a.z")["value"].as_f64(), Some(3.0));
    assert_eq!(driver.read("a.x")["value"], Json::Null);
    assert!(driver.read("a.y")["error"].is_object());
}

#[test]
fn a_store_that_cannot_be_read_is_moved_away_loudly() {
    let broker = Mosquitto::start();
    let config = one_text_station(Config::new().line(broker.port, "clean_session = true"));
    let mut driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/text", "old", 1);
    driver.has("text.data", "old", "ok");
    driver.terminate();
    // sled keeps its settings beside its log; without them it does not open.
    std::fs::write(driver.folder().join("data/sled/conf"), b"this is no configuration").unwrap();
    driver.restart();
    driver.logs(&["ERROR", "could not be read"]);
    let status = driver.call("process.status", json!({}));
    assert!(status["store"]["quarantined"]["path"].is_string(), "{status}");
    driver.up();
    broker.publish("plant/text", "new", 1);
    driver.has("text.data", "new", "ok");
}

#[test]
fn a_driver_that_was_there_first_waits_for_its_broker() {
    let mut broker = Mosquitto::start();
    broker.stop();
    let driver = Driver::start(&one_text_station(Config::new().line(broker.port, "")));
    driver.logs(&["WARN", "cannot connect", "refused"]);
    assert_eq!(driver.line("plant")["state"], "connecting");
    assert!(
        driver.line("plant")["next_attempt"].is_string()
            || driver.line("plant")["state"] == "connecting"
    );
    broker.start_again();
    driver.up();
    broker.publish("plant/text", "hello", 1);
    driver.has("text.data", "hello", "ok");
}

#[test]
fn a_server_may_be_named_and_listed_as_one_text() {
    let broker = Mosquitto::start();
    // mosquitto listens on 127.0.0.1 only; the name may mean ::1 first.
    let keys =
        format!("servers = \"localhost:1,localhost:{};127.0.0.1:{}\"", broker.port, broker.port);
    let driver = Driver::start(&one_text_station(Config::new().line(broker.port, &keys)));
    driver.up();
    assert_eq!(driver.line("plant")["server"], format!("mqtt://localhost:{}", broker.port));
}

#[test]
fn an_output_topic_outlives_a_restart_and_initial_values_publish_nothing() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "publish_qos = 1")
        .station("s", "status/s", "")
        .tag_columns("name,station,type,address,initial")
        .tags("s.topic,s,TxtO,OUT_TOPIC,cmd/first\ns.value,s,Co,OUT_VALUE,7");
    let mut driver = Driver::start(&config);
    driver.up();
    let live = broker.subscribe("cmd/#", 1);
    assert_eq!(driver.read("s.value")["value"], 7);
    assert_eq!(driver.write("s.value", 8)["outcome"], "completed");
    assert_eq!(live.wait_for(1)[0].topic, "cmd/first");
    driver.write("s.topic", "cmd/second");
    driver.durable();
    driver.kill();
    driver.restart();
    driver.up();
    assert_eq!(driver.read("s.value")["value"], 8, "the initial value is for the first start");
    assert_eq!(driver.write("s.value", 9)["outcome"], "completed");
    let received = live.wait_for(2);
    assert_eq!((received[1].topic.as_str(), received[1].payload.as_str()), ("cmd/second", "9"));
    assert_eq!(received.len(), 2, "{received:?}");
}

#[test]
fn a_session_that_the_server_has_and_we_do_not_is_no_obstacle() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&one_text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(true);
    link.send(&Packet::Pubrel(9));
    link.expect(&Packet::Pubcomp(9));
    link.send(&publish("plant/text", "works", 1, 1));
    link.expect(&Packet::Puback(1));
    driver.has("text.data", "works", "ok");
}

#[test]
fn a_full_disk_stops_acknowledgements_not_values_and_heals() {
    let broker = FakeBroker::start();
    let config = one_text_station(Config::new().line(broker.port, ""));
    let mut driver = Driver::prepare(&config);
    driver.file_limit = Some(6 * 1024);
    driver.restart();
    let mut link = broker.accept_session(false);
    driver.up();
    // Fill it: each message is acknowledged only when it is on disk.
    let filling = "x".repeat(200_000);
    let (mut sent, mut acknowledged) = (0_u16, 0_u16);
    while sent - acknowledged < 20 {
        sent += 1;
        link.send(&publish("plant/text", format!("{sent} {filling}"), 1, sent));
        if let Next::Packet(packet) = link.next_within(Duration::from_millis(300)) {
            acknowledged += 1;
            assert_eq!(packet, Packet::Puback(acknowledged));
        }
        assert!(sent < 200, "the disk never got full");
    }
    // Values are served all the same, and the state says why nothing is acknowledged.
    driver.has("text.data", format!("{sent} {filling}"), "ok");
    let status = driver.call("process.status", json!({}))["store"].clone();
    assert_eq!(status["state"], "error", "{status}");
    assert!(status["error"].is_string(), "{status}");
    driver.logs(&["ERROR", "store", "acknowledged"]);
    // Room again: everything is acknowledged, in order, and nothing was lost.
    driver.lift_file_limit();
    while acknowledged < sent {
        acknowledged += 1;
        link.expect(&Packet::Puback(acknowledged));
    }
    eventually("the state is good again", || {
        let status = driver.call("process.status", json!({}))["store"].clone();
        (status["state"] == "ok").then_some(())
    });
    driver.kill();
    driver.restart();
    assert_eq!(driver.read("text.data")["value"], format!("{sent} {filling}"));
    let mut changes = driver.subscribe(&["text.data"], "oldest");
    changes.until("every message", |all| all.len() >= usize::from(sent));
}
