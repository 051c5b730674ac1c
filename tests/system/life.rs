//! What can be wrong with a station, and how it gets well again.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, publish, retained};
use crate::harness::{Config, Driver, FakeBroker, Mosquitto, eventually};

/// Stations `pump` and `tank` with a text each; `more` holds further keys of `pump`.
fn two_stations(config: Config, more: &str) -> Config {
    config.station("pump", "plant/pump", more).station("tank", "plant/tank", "").tags(
        "pump.data,pump,TxtI,IN_DATA\ntank.data,tank,TxtI,IN_DATA\npump.out,pump,Co,OUT_VALUE",
    )
}

#[track_caller]
fn station_is(driver: &Driver, name: &str, state: &str) -> Json {
    eventually(&format!("station {name} is {state}; log:\n{}", driver.log()), || {
        let station = driver.station(name);
        (station["state"] == state).then_some(station)
    })
}

fn switch(driver: &Driver, name: &str, mode: &str) {
    assert_eq!(driver.call("station.set", json!({ "name": name, "mode": mode })), json!({}));
}

/// Value, quality and reason of a tag.
fn vtq(tag: &Json) -> [Json; 3] {
    ["value", "quality", "reason"].map(|key| tag[key].clone())
}

#[test]
fn a_will_makes_tags_bad_until_the_next_live_message() {
    let broker = Mosquitto::start();
    let will = "will_topic = \"plant/pump/state\"\nwill_payload = \"gone\"";
    let config = two_stations(Config::new().line(broker.port, ""), will);
    let driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/pump", "7", 1);
    driver.has("pump.data", "7", "ok");
    broker.publish("plant/pump/state", "here", 1);
    broker.publish("plant/pump/state", "gone", 1);
    let tag = driver.has("pump.data", "7", "station_will");
    assert_eq!(tag["quality"], "bad");
    let station = station_is(&driver, "pump", "StHARDERR");
    assert_eq!(station["reason"], "station_will");
    assert_eq!(station["counters"]["wills"], 1);
    assert_eq!(station_is(&driver, "tank", "StON")["reason"], "ok");
    broker.publish("plant/pump", "8", 1);
    driver.has("pump.data", "8", "ok");
    station_is(&driver, "pump", "StON");
}

#[test]
fn a_will_is_watched_whatever_the_routing() {
    let broker = FakeBroker::start();
    // On the station's own topic, on another station's topic, and outside every filter.
    let config = Config::new()
        .line(broker.port, "topic_filter = \"plant/#\"")
        .station("own", "plant/own", "will_topic = \"plant/own\"\nwill_payload = \"gone\"")
        .station("other", "plant/other", "will_topic = \"plant/own\"\nwill_payload = \"gone\"")
        .station("far", "plant/far", "will_topic = \"far/away\"")
        .tags(
            "own.data,own,TxtI,IN_DATA\nother.data,other,TxtI,IN_DATA\nfar.data,far,TxtI,IN_DATA",
        );
    let driver = Driver::start(&config);
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    let filters: Vec<String> = link.grant().into_iter().map(|(filter, _)| filter).collect();
    assert_eq!(filters, ["plant/#", "far/away"]);
    driver.up();
    for topic in ["plant/own", "plant/other", "plant/far"] {
        link.send(&publish(topic, "alive", 0, 0));
    }
    driver.has("far.data", "alive", "ok");
    // It is mapped too, and the tags stay bad; a replay is as much a will as any.
    link.send(&retained("plant/own", "gone", 0, 0));
    driver.has("own.data", "gone", "station_will");
    driver.has("other.data", "alive", "station_will");
    driver.has("far.data", "alive", "ok");
    link.send(&publish("far/away", "whatever", 1, 5));
    link.expect(&Packet::Puback(5));
    driver.has("far.data", "alive", "station_will");
    // A retained message brings its value and is no sign of life.
    link.send(&retained("plant/own", "replayed", 0, 0));
    driver.has("own.data", "replayed", "station_will");
    link.send(&publish("plant/own", "back", 0, 0));
    driver.has("own.data", "back", "ok");
    assert_eq!(driver.read("other.data")["reason"], "station_will");
}

#[test]
fn an_error_of_the_line_is_soft_for_the_error_delay() {
    let mut broker = Mosquitto::start();
    let config = two_stations(Config::new().line(broker.port, ""), "error_delay = \"1s\"");
    let driver = Driver::start(&config);
    driver.up();
    broker.publish("plant/pump", "7", 1);
    driver.has("pump.data", "7", "ok");
    broker.stop();
    driver.has("pump.data", "7", "line_down");
    let station = driver.station("pump");
    assert_eq!([&station["state"], &station["reason"]], ["StCOMERR", "line_down"]);
    assert_eq!(driver.station("tank")["state"], "StHARDERR");
    station_is(&driver, "pump", "StHARDERR");
    assert_eq!(driver.read("pump.data")["reason"], "line_down");
    broker.start_again();
    driver.has("pump.data", "7", "ok");
    station_is(&driver, "pump", "StON");
}

#[test]
fn silence_makes_tags_stale_and_a_replay_does_not_end_it() {
    let broker = Mosquitto::start();
    broker.publish_retained("plant/pump", "kept", 1);
    let config = two_stations(Config::new().line(broker.port, ""), "stale_after = \"700ms\"");
    let driver = Driver::start(&config);
    driver.has("pump.data", "kept", "ok");
    let tag = driver.has("pump.data", "kept", "stale");
    assert_eq!(tag["quality"], "bad");
    assert_eq!(driver.station("pump")["reason"], "stale");
    assert_eq!(driver.read("tank.data")["reason"], "never_received");
    broker.publish("plant/pump", "live", 1);
    driver.has("pump.data", "live", "ok");
    driver.has("pump.data", "live", "stale");
}

#[test]
fn a_station_that_no_granted_filter_can_reach_says_so() {
    let broker = FakeBroker::start();
    let keys = "topic_filter = [\"plant/pump\", \"plant/tank\"]";
    let driver = Driver::start(&two_stations(Config::new().line(broker.port, keys), ""));
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    let Packet::Subscribe { id, filters } = link.next() else { panic!() };
    let refused = |(filter, qos): &(String, u8)| if filter == "plant/pump" { 0x80 } else { *qos };
    link.send(&Packet::Suback { id, codes: filters.iter().map(refused).collect() });
    driver.has("pump.data", Json::Null, "comm_error");
    assert_eq!(station_is(&driver, "pump", "StHARDERR")["reason"], "comm_error");
    assert_eq!(station_is(&driver, "tank", "StON")["reason"], "ok");
}

#[test]
fn a_station_that_is_off_takes_messages_and_shows_none() {
    let broker = FakeBroker::start();
    let keys = "out_topic = \"cmd/pump\"";
    let config = two_stations(Config::new().line(broker.port, "subscribe_qos = 2"), keys);
    let mut driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    driver.up();
    link.send(&publish("plant/pump", "before", 1, 1));
    link.expect(&Packet::Puback(1));
    switch(&driver, "pump", "off");
    assert_eq!(
        vtq(&driver.read("pump.data")),
        [json!("before"), json!("bad"), json!("station_off")]
    );
    assert_eq!(driver.station("pump")["state"], "StOFF");
    // Nothing was missed.
    switch(&driver, "pump", "on");
    assert_eq!(vtq(&driver.read("pump.data")), [json!("before"), json!("good"), json!("ok")]);
    switch(&driver, "pump", "off");
    link.send_all(&[publish("plant/pump", "lost", 1, 2), publish("plant/pump", "lost", 2, 3)]);
    let mut answers = vec![link.next(), link.next()];
    answers.sort_by_key(|packet| format!("{packet:?}"));
    assert_eq!(answers, [Packet::Puback(2), Packet::Pubrec(3)]);
    let refused = driver.write("pump.out", 5);
    assert_eq!(
        [&refused["outcome"], &refused["error"]["code"]],
        [&json!("failed"), &json!(-32003)]
    );
    assert!(refused["error"]["message"].as_str().unwrap().contains("switched off"), "{refused}");
    assert_eq!(driver.read("pump.data")["value"], "before");
    assert_eq!(driver.station("pump")["counters"]["messages_ignored"], 2);
    // A restart does not switch it on.
    driver.durable();
    driver.kill();
    drop(link);
    driver.restart();
    let _link = broker.accept_session(true);
    driver.up();
    assert_eq!(driver.station("pump")["mode"], "off");
    driver.has("pump.data", "before", "station_off");
    switch(&driver, "pump", "on");
    driver.has("pump.data", "before", "restored");
    assert_eq!(driver.station("pump")["mode"], "on");
}

#[test]
fn a_simulated_station_swings_and_its_values_never_pass_for_real() {
    let broker = Mosquitto::start();
    let config = Config::new()
        .line(broker.port, "payload_type = \"json\"")
        .station("pump", "plant/pump", "out_topic = \"cmd/pump\"")
        .station("tank", "plant/tank", "")
        .tags(
            "p.ai,pump,Ai,JA=a
             p.ci,pump,Ci,JA=c
             p.di,pump,Di,JA=d
             p.qi,pump,Qi,JA=q
             p.txt,pump,TxtI,IN_DATA
             p.tir,pump,TiR,JA=r
             p.tia,pump,TiA,JA=t
             p.out,pump,Ao,OUT_VALUE
             t.ai,tank,Ai,JA=a",
        );
    let driver = Driver::start(&config);
    driver.up();
    let control = broker.subscribe("cmd/#", 0);
    broker.publish("plant/pump", r#"{"a":1,"c":2,"d":true}"#, 1);
    driver.has("p.ai", 1.0, "ok");
    switch(&driver, "pump", "simulate");
    assert_eq!(driver.station("pump")["state"], "StSIMUL");
    for name in ["p.ai", "p.ci", "p.tir", "p.out"] {
        let tag = driver.read(name);
        assert_eq!([&tag["quality"], &tag["reason"]], ["uncertain", "simulated"], "{tag}");
        let value = tag["value"].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&value), "{tag}");
    }
    for name in ["p.di", "p.qi", "p.txt", "p.tia"] {
        let tag = driver.read(name);
        assert_eq!(tag["reason"], "simulated", "{tag}");
        assert!(!tag["value"].is_null(), "{tag}");
    }
    let first = driver.read("p.ai")["value"].clone();
    eventually("the value moves", || (driver.read("p.ai")["value"] != first).then_some(()));
    // Written, and nothing published.
    assert_eq!(driver.write("p.out", 3.5)["outcome"], "completed");
    broker.publish("plant/pump", r#"{"a":9}"#, 1);
    eventually("the message is taken", || {
        (driver.station("pump")["counters"]["messages_ignored"] == 1).then_some(())
    });
    switch(&driver, "pump", "on");
    let real = driver.read("p.ai");
    assert_eq!(vtq(&real), [json!(1.0), json!("uncertain"), json!("restored")]);
    assert_eq!(driver.read("p.out")["reason"], "never_received");
    assert_eq!(driver.write("p.out", 4.5)["outcome"], "completed");
    let published = control.wait_for(1);
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].payload, "4.5");
}

#[test]
fn a_line_without_a_station_that_is_on_disconnects() {
    let broker = FakeBroker::start();
    let mut driver = Driver::start(&two_stations(Config::new().line(broker.port, ""), ""));
    let mut link = broker.accept_session(false);
    driver.up();
    link.send(&publish("plant/pump", "7", 1, 1));
    link.expect(&Packet::Puback(1));
    switch(&driver, "pump", "off");
    link.send(&publish("plant/tank", "8", 1, 2));
    link.expect(&Packet::Puback(2));
    switch(&driver, "tank", "simulate");
    assert_eq!(link.expect_end(), [Packet::Disconnect]);
    driver.line_is("plant", "off");
    assert_eq!(broker.count_attempts(Duration::from_millis(300)), 0);
    // Nor does it connect when the process starts.
    driver.durable();
    driver.terminate();
    driver.restart();
    driver.line_is("plant", "off");
    assert_eq!(broker.count_attempts(Duration::from_millis(300)), 0);
    switch(&driver, "pump", "on");
    let _link = broker.accept_session(true);
    driver.up();
    driver.has("pump.data", "7", "restored");
}

#[test]
fn wrong_modes_and_unknown_stations_are_refused() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&two_stations(Config::new().line(broker.port, ""), ""));
    let mut socket = driver.socket();
    for (params, part) in [
        (json!({ "name": "pump", "mode": "ON" }), "`mode`"),
        (json!({ "name": "pumpe", "mode": "on" }), "`pumpe`"),
        (json!({ "name": "pump" }), "mode"),
    ] {
        let error = socket.refused("station.set", params);
        assert_eq!(error.code, -32602, "{error:?}");
        assert!(error.message.contains(part), "{error:?}");
    }
}
