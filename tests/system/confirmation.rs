//! ACK_ID: one message at a time, acknowledged when the control system has confirmed it.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, again, publish};
use crate::harness::{Config, Driver, FakeBroker, Link, Mosquitto, eventually};

fn stations(config: Config) -> Config {
    config.station("work", "plant/work", "").station("other", "plant/other", "").tags(
        "work.topic,work,TxtI,IN_TOPIC
         work.data,work,TxtI,IN_DATA
         work.id,work,Ci,IN_ID
         work.ack,work,Co,ACK_ID
         other.data,other,TxtI,IN_DATA",
    )
}

#[track_caller]
fn confirm(driver: &Driver, id: u64) {
    let result = driver.write("work.ack", id);
    assert_eq!(result["outcome"], "completed", "{result}");
}

#[track_caller]
fn waiting(driver: &Driver, count: usize) -> Json {
    eventually(&format!("{count} messages wait"), || {
        let station = driver.station("work");
        (station["waiting_for_confirmation"] == count).then_some(station)
    })
}

#[track_caller]
fn resume(broker: &FakeBroker) -> Link {
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: true, code: 0 });
    link
}

#[test]
fn messages_are_released_one_by_one_and_acknowledged_then() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&stations(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut changes = driver.subscribe(&["work.data"], Json::Null);
    link.send_all(&[
        publish("plant/work", "one", 1, 11),
        publish("plant/work", "two", 2, 12),
        publish("plant/work", "three", 0, 0),
        publish("plant/work", "four", 1, 13),
    ]);
    let station = waiting(&driver, 4);
    assert_eq!(station["state"], "StWAIT");
    assert!(station["waiting_since"].is_string());
    driver.has("work.data", "one", "ok");
    assert_eq!(driver.read("work.id")["value"], 11);
    link.expect_silence(Duration::from_millis(200));
    let wrong = driver.write("work.ack", 12);
    assert_eq!([&wrong["outcome"], &wrong["error"]["code"]], [&json!("failed"), &json!(-32003)]);
    assert!(wrong["error"]["message"].as_str().unwrap().contains("11"), "{wrong}");
    confirm(&driver, 11);
    // Read-your-writes: the next one is there.
    assert_eq!(driver.read("work.data")["value"], "two");
    assert_eq!(driver.read("work.ack")["value"], 11);
    link.expect(&Packet::Puback(11));
    confirm(&driver, 12);
    link.expect(&Packet::Pubrec(12));
    link.send(&Packet::Pubrel(12));
    link.expect(&Packet::Pubcomp(12));
    assert_eq!(driver.read("work.data")["value"], "three");
    confirm(&driver, 0);
    assert_eq!(driver.read("work.data")["value"], "four");
    confirm(&driver, 13);
    link.expect(&Packet::Puback(13));
    let nothing = driver.write("work.ack", 13);
    assert_eq!(nothing["error"]["code"], -32003, "{nothing}");
    changes.until("all four", |all| all.len() >= 4);
    let expected: Vec<Json> = ["one", "two", "three", "four"].map(Json::from).into();
    assert_eq!(changes.values_of("work.data").split_off(changes.all.len() - 4), expected);
    assert_eq!(waiting(&driver, 0)["state"], "StON");
}

#[test]
fn a_control_system_that_is_gone_stops_neither_other_stations_nor_pings() {
    let broker = FakeBroker::start();
    let keys = "ping_interval = \"100ms\"\nsubscribe_qos = 1";
    let driver = Driver::start(&stations(Config::new().line(broker.port, keys)));
    let mut link = broker.accept_session(false);
    driver.up();
    link.answer_pings = false;
    link.send(&publish("plant/work", "stuck", 1, 1));
    link.send(&publish("plant/other", "served", 1, 2));
    driver.has("other.data", "served", "ok");
    link.expect(&Packet::Pingreq);
    link.send(&Packet::Pingresp);
    assert_eq!(driver.station("work")["state"], "StWAIT");
}

#[test]
fn a_window_full_of_other_messages_moves_past_one_that_nobody_confirms() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&stations(Config::new().line(broker.port, "subscribe_qos = 1")));
    driver.up();
    broker.publish("plant/work", "stuck", 1);
    driver.has("work.data", "stuck", "ok");
    // Three times what the server keeps in flight.
    let lines: String = (1..=60).map(|number| format!("{number}\n")).collect();
    broker.publish_lines("plant/other", &lines, 1);
    driver.has("other.data", "60", "ok");
    assert_eq!(driver.read("work.data")["value"], "stuck");
    let id = driver.read("work.id")["value"].as_u64().unwrap();
    broker.publish("plant/work", "next", 1);
    waiting(&driver, 2);
    confirm(&driver, id);
    driver.has("work.data", "next", "ok");
}

#[test]
fn what_is_not_confirmed_comes_again_after_a_broken_connection_and_is_shown_once() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&stations(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut changes = driver.subscribe(&["work.data"], Json::Null);
    let messages = [("one", 1, 21), ("two", 2, 22), ("three", 1, 23)];
    for (text, qos, id) in messages {
        link.send(&publish("plant/work", text, qos, id));
    }
    waiting(&driver, 3);
    drop(link);
    let mut link = resume(&broker);
    for (text, qos, id) in messages {
        link.send(&again("plant/work", text, qos, id));
    }
    link.grant();
    waiting(&driver, 3);
    for (_, qos, id) in messages {
        eventually("its turn", || (driver.read("work.id")["value"] == id).then_some(()));
        confirm(&driver, u64::from(id));
        let answer = if qos == 1 { Packet::Puback(id) } else { Packet::Pubrec(id) };
        link.expect(&answer);
    }
    waiting(&driver, 0);
    driver.durable();
    changes.until("the last", |all| all.last().is_some_and(|last| last["value"] == "three"));
    let shown: Vec<&Json> = changes
        .all
        .iter()
        .filter(|change| change["reason"] == "ok")
        .map(|change| &change["value"])
        .collect();
    // "one" a second time: the quality that it had before the line was down.
    assert_eq!(shown, ["one", "one", "two", "three"]);
}

#[test]
fn after_a_crash_unconfirmed_messages_await_their_confirmation_still() {
    for qos in [1, 2] {
        let broker = FakeBroker::start();
        let config = stations(Config::new().line(broker.port, "subscribe_qos = 2"));
        let mut driver = Driver::start(&config);
        let mut link = broker.accept_session(false);
        driver.up();
        link.send(&publish("plant/work", "one", qos, 31));
        link.send(&publish("plant/work", "two", qos, 32));
        waiting(&driver, 2);
        driver.durable();
        driver.kill();
        drop(link);
        driver.restart();
        let mut link = resume(&broker);
        link.send(&again("plant/work", "one", qos, 31));
        link.send(&again("plant/work", "two", qos, 32));
        link.grant();
        waiting(&driver, 2);
        assert_eq!(driver.read("work.data")["value"], "one");
        assert_eq!(driver.read("work.id")["value"], 31);
        link.expect_silence(Duration::from_millis(200));
        for id in [31, 32] {
            confirm(&driver, u64::from(id));
            link.expect(&if qos == 1 { Packet::Puback(id) } else { Packet::Pubrec(id) });
        }
        let mut changes = driver.subscribe(&["work.data"], "oldest");
        changes.until("the last", |all| all.last().is_some_and(|last| last["value"] == "two"));
        let good = changes.all.iter().filter(|change| change["reason"] == "ok");
        let ones = good.filter(|change| change["value"] == "one").count();
        assert_eq!(ones, if qos == 1 { 2 } else { 1 }, "QoS 2 is applied once");
    }
}

#[test]
fn what_has_no_room_stays_with_the_server_and_nothing_is_lost() {
    let broker = Mosquitto::start_with_window(2000);
    let driver = Driver::start(&stations(Config::new().line(broker.port, "subscribe_qos = 2")));
    driver.up();
    let mut changes = driver.subscribe(&["work.data", "work.id"], Json::Null);
    let count = 1100;
    let lines: String = (1..=count).map(|number| format!("{number}\n")).collect();
    broker.publish_lines("plant/work", &lines, 2);
    waiting(&driver, 1001);
    let mut socket = driver.socket();
    let mut confirmed = 0;
    while confirmed < count {
        let read = socket.call("tag.read", json!({ "names": ["work.data", "work.id"] }));
        let wanted = (confirmed + 1).to_string();
        if read["values"][0]["value"] != wanted {
            let end = changes.take_in(Duration::from_secs(10));
            assert!(end, "{confirmed} are confirmed, then nothing; log:\n{}", driver.log());
            continue;
        }
        let id = read["values"][1]["value"].clone();
        let write = json!({ "writes": [{ "name": "work.ack", "value": id }] });
        let result = socket.call("tag.write", write)["results"][0].clone();
        assert_eq!(result["outcome"], "completed", "{result}");
        confirmed += 1;
    }
    assert_eq!(driver.station("work")["counters"]["messages_dropped"], 0);
    driver.logs(&["connecting again as planned", "had no room"]);
}

#[test]
fn switching_a_station_off_lets_go_of_what_waits() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&stations(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    driver.up();
    link.send(&publish("plant/work", "one", 1, 41));
    link.send(&publish("plant/work", "two", 1, 42));
    waiting(&driver, 2);
    driver.call("station.set", json!({ "name": "work", "mode": "off" }));
    link.expect(&Packet::Puback(41));
    link.expect(&Packet::Puback(42));
    let station = waiting(&driver, 0);
    assert_eq!(station["counters"]["messages_ignored"], 2);
    assert_eq!(driver.read("work.data")["value"], "one");
}

#[test]
fn a_message_that_no_tag_can_confirm_any_more_is_acknowledged_after_the_restart() {
    let broker = FakeBroker::start();
    let keys = "subscribe_qos = 2";
    let mut driver = Driver::start(&stations(Config::new().line(broker.port, keys)));
    let mut link = broker.accept_session(false);
    driver.up();
    link.send(&publish("plant/work", "one", 2, 51));
    waiting(&driver, 1);
    driver.durable();
    driver.kill();
    drop(link);
    Config::new()
        .line(broker.port, keys)
        .station("work", "plant/work", "")
        .tags("work.data,work,TxtI,IN_DATA")
        .write(driver.folder());
    driver.restart();
    let mut link = resume(&broker);
    link.send(&again("plant/work", "one", 2, 51));
    link.grant();
    link.expect(&Packet::Pubrec(51));
    assert_eq!(driver.read("work.data")["value"], "one");
}

#[test]
fn a_message_that_expires_while_it_waits_is_shown_and_counted() {
    let broker = Mosquitto::start();
    let config = Config::new().line(broker.port, "mqtt_version = \"5.0\"");
    let driver = Driver::start(&stations(config));
    driver.up();
    for payload in ["one", "two"] {
        let status = std::process::Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-V", "5", "-q", "1"])
            .args(["-t", "plant/work", "-m", payload])
            .args(["-D", "publish", "message-expiry-interval", "1"])
            .status()
            .unwrap();
        assert!(status.success());
    }
    waiting(&driver, 2);
    driver.has("work.data", "one", "ok");
    assert_eq!(driver.station("work")["counters"]["messages_expired"], 0);
    // The time that it waits is what is tested.
    std::thread::sleep(Duration::from_millis(1500));
    let id = driver.read("work.id")["value"].as_u64().unwrap();
    confirm(&driver, id);
    assert_eq!(driver.read("work.data")["value"], "two");
    assert_eq!(driver.station("work")["counters"]["messages_expired"], 1);
}
