//! QoS 2 over lost connections and lost processes: applied once, sent once. And nothing is
//! acknowledged before it is on disk.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, again, publish};
use crate::harness::{Changes, Config, Driver, FakeBroker, Link, Next};

fn text_station(config: Config) -> Config {
    config.station("text", "plant/text", "").tags("text.data,text,TxtI,IN_DATA")
}

/// Good changes of the tag from the journal, up to and including this last message.
#[track_caller]
fn applied(driver: &Driver, last: &str) -> Vec<String> {
    let mut changes: Changes = driver.subscribe(&["text.data"], "oldest");
    changes.until("the last message", |all| {
        all.iter().any(|change| change["value"] == last && change["reason"] == "ok")
    });
    let mut before = Json::Null;
    let mut values = Vec::new();
    for change in changes.all.iter().filter(|change| change["reason"] == "ok") {
        let message = json!([change["value"], change["received"]]);
        if message != before {
            values.push(change["value"].as_str().unwrap().to_owned());
        }
        before = message;
    }
    values
}

/// Sends a message that marks the end.
#[track_caller]
fn send_end(link: &mut Link) {
    link.send(&publish("plant/text", "end", 1, 60_000));
    link.expect(&Packet::Puback(60_000));
}

#[test]
fn a_repeat_before_pubrel_is_answered_and_not_applied_again() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept_session(false);
    link.send(&publish("plant/text", "once", 2, 5));
    link.expect(&Packet::Pubrec(5));
    link.send(&again("plant/text", "once", 2, 5));
    link.expect(&Packet::Pubrec(5));
    link.send(&Packet::Pubrel(5));
    link.expect(&Packet::Pubcomp(5));
    link.send(&Packet::Pubrel(5));
    link.expect(&Packet::Pubcomp(5));
    send_end(&mut link);
    assert_eq!(applied(&driver, "end"), ["once", "end"]);
}

#[test]
fn a_message_is_applied_once_over_a_reconnect_at_every_step() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 2")));
    // Cut before PUBREC could be seen.
    let mut link = broker.accept_session(false);
    link.send(&publish("plant/text", "a", 2, 5));
    link.expect(&Packet::Pubrec(5));
    drop(link);
    // The server has not seen PUBREC and sends the message again.
    let mut link = broker.accept_session(true);
    link.send(&again("plant/text", "a", 2, 5));
    link.expect(&Packet::Pubrec(5));
    link.send(&Packet::Pubrel(5));
    drop(link);
    // It has not seen PUBCOMP and sends PUBREL again.
    let mut link = broker.accept_session(true);
    link.send(&Packet::Pubrel(5));
    link.expect(&Packet::Pubcomp(5));
    // The identifier is free: another message.
    link.send(&publish("plant/text", "b", 2, 5));
    link.expect(&Packet::Pubrec(5));
    link.send(&Packet::Pubrel(5));
    link.expect(&Packet::Pubcomp(5));
    send_end(&mut link);
    assert_eq!(applied(&driver, "end"), ["a", "b", "end"]);
}

#[test]
fn a_message_is_applied_once_over_a_kill_at_every_step() {
    let broker = FakeBroker::start();
    let mut driver =
        Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept_session(false);
    let mut expected = Vec::new();
    for round in 0..6_u16 {
        let (id, text) = (round % 2 + 5, format!("message {round}"));
        expected.push(text.clone());
        link.send(&publish("plant/text", text.as_str(), 2, id));
        link.expect(&Packet::Pubrec(id));
        if round % 3 == 0 {
            // Killed with PUBREC out: it may not have arrived.
            driver.kill();
            driver.restart();
            link = broker.accept_session(true);
            link.send(&again("plant/text", text.as_str(), 2, id));
            link.expect(&Packet::Pubrec(id));
        }
        link.send(&Packet::Pubrel(id));
        link.expect(&Packet::Pubcomp(id));
        if round % 3 == 1 {
            // Killed with PUBCOMP out: it may not have arrived.
            driver.kill();
            driver.restart();
            link = broker.accept_session(true);
            link.send(&Packet::Pubrel(id));
            link.expect(&Packet::Pubcomp(id));
        }
    }
    send_end(&mut link);
    expected.push("end".into());
    assert_eq!(applied(&driver, "end"), expected);
}

#[test]
fn a_lost_session_makes_old_identifiers_new_messages() {
    let broker = FakeBroker::start();
    let mut driver =
        Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept_session(false);
    link.send(&publish("plant/text", "old", 2, 5));
    link.expect(&Packet::Pubrec(5));
    driver.kill();
    driver.restart();
    // The server lost everything: what it numbers 5 is another message.
    let mut link = broker.accept_session(false);
    link.send(&publish("plant/text", "fresh", 2, 5));
    link.expect(&Packet::Pubrec(5));
    link.send(&Packet::Pubrel(5));
    link.expect(&Packet::Pubcomp(5));
    send_end(&mut link);
    assert_eq!(applied(&driver, "end"), ["old", "fresh", "end"]);
}

#[test]
fn what_is_redelivered_at_qos_1_before_its_puback_is_never_missing() {
    let broker = FakeBroker::start();
    let mut driver =
        Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 1")));
    let mut link = broker.accept_session(false);
    for id in 1..=200_u16 {
        link.send(&publish("plant/text", id.to_string(), 1, id));
    }
    // Killed somewhere in the middle; the broker redelivers what it has no PUBACK of.
    let mut acknowledged = 0;
    while acknowledged < 60 {
        match link.next() {
            Packet::Puback(id) => acknowledged = id,
            other => panic!("{other:?}"),
        }
    }
    driver.kill();
    while let Next::Packet(packet) = link.next_within(Duration::from_secs(1)) {
        match packet {
            Packet::Puback(id) => acknowledged = id,
            other => panic!("{other:?}"),
        }
    }
    driver.restart();
    let mut link = broker.accept_session(true);
    for id in acknowledged + 1..=200 {
        link.send(&again("plant/text", id.to_string(), 1, id));
        link.expect(&Packet::Puback(id));
    }
    send_end(&mut link);
    let values = applied(&driver, "end");
    for id in 1..=200_u16 {
        assert!(values.contains(&id.to_string()), "{id} is missing; {acknowledged} acknowledged");
    }
}

fn output(config: Config) -> Config {
    config
        .station("out", "status/out", "out_topic = \"cmd/out\"\npublish_qos = 2")
        .tags("out.value,out,Co,OUT_VALUE")
}

#[test]
fn a_command_at_qos_2_goes_out_once_over_a_kill_at_every_step() {
    let broker = FakeBroker::start();
    let mut driver = Driver::start(&output(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    socket.request("tag.write", json!({ "writes": [{ "name": "out.value", "value": 7 }] }));
    let first = link.expect_publish();
    // Killed before PUBREC: the session in the store knows the message, so it comes with DUP and
    // its identifier, or not at all; never as another message.
    driver.kill();
    driver.restart();
    let mut link = broker.accept_session(true);
    let Packet::Publish(repeated) = link.next() else { panic!("no repeat") };
    assert!(repeated.dup);
    assert_eq!((repeated.id, &repeated.payload), (first.id, &first.payload));
    link.send(&Packet::Pubrec(first.id));
    link.expect(&Packet::Pubrel(first.id));
    // Killed after PUBREC: only PUBREL may come.
    driver.kill();
    driver.restart();
    let mut link = broker.accept_session(true);
    link.expect(&Packet::Pubrel(first.id));
    link.send(&Packet::Pubcomp(first.id));
    // Done: nothing comes any more.
    link.expect_silence(Duration::from_millis(200));
    driver.durable();
    driver.kill();
    driver.restart();
    let mut link = broker.accept_session(true);
    link.expect_silence(Duration::from_millis(200));
}

#[test]
fn a_write_outlives_a_lost_connection_while_somebody_waits_for_it() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&output(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let request = socket.request(
        "tag.write",
        json!({ "writes": [{ "name": "out.value", "value": 7 }], "timeout_s": 20 }),
    );
    let id = link.expect_publish().id;
    link.send(&Packet::Pubrec(id));
    drop(link);
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: true, code: 0 });
    loop {
        match link.next() {
            Packet::Subscribe { id, .. } => link.send(&Packet::Suback { id, codes: vec![1] }),
            Packet::Publish(publish) => link.send(&Packet::Pubrec(publish.id)),
            Packet::Pubrel(id) => {
                link.send(&Packet::Pubcomp(id));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let result = socket.answer(request).unwrap();
    assert_eq!(result["results"][0]["outcome"], "completed", "{result}");
}

#[test]
fn a_session_of_another_client_identifier_is_not_ours() {
    let broker = FakeBroker::start();
    let config = |id: &str| {
        let keys = format!("client_id = \"{id}\"\nsubscribe_qos = 2");
        text_station(output(Config::new().line(broker.port, &keys)))
    };
    let mut driver = Driver::start(&config("first"));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    socket.request("tag.write", json!({ "writes": [{ "name": "out.value", "value": 7 }] }));
    link.expect_publish();
    link.send(&publish("plant/text", "for the first", 2, 5));
    link.expect(&Packet::Pubrec(5));
    driver.kill();
    drop(link);
    config("second").write(driver.folder());
    driver.restart();
    // What the server keeps for the second client begins with nothing of the first's.
    let mut link = broker.accept();
    assert_eq!(link.expect_connect().client_id, "second");
    link.send(&Packet::Connack { session_present: false, code: 0 });
    link.grant();
    link.expect_silence(Duration::from_millis(200));
    link.send(&publish("plant/text", "for the second", 2, 5));
    link.expect(&Packet::Pubrec(5));
    link.send(&Packet::Pubrel(5));
    link.expect(&Packet::Pubcomp(5));
    send_end(&mut link);
    assert_eq!(applied(&driver, "end"), ["for the first", "for the second", "end"]);
}
