//! What MQTT 3.1.1 asks of a client, seen from a strict broker: acknowledgements, order, redelivery.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::harness::packet::{Packet, again, publish, retained};
use crate::harness::{Config, Driver, FakeBroker, Link, Next, Socket};

fn text_station(config: Config) -> Config {
    config
        .station("text", "plant/text", "")
        .tags("text.data,text,TxtI,IN_DATA\ntext.id,text,Ci,IN_ID")
}

/// An output at some QoS.
fn output(config: Config, qos: u8) -> Config {
    config
        .station("out", "status/out", &format!("out_topic = \"cmd/out\"\npublish_qos = {qos}"))
        .tags("out.value,out,Co,OUT_VALUE")
}

fn start_write(socket: &mut Socket, value: i64, timeout_s: f64) -> u64 {
    let write = json!([{ "name": "out.value", "value": value }]);
    socket.request("tag.write", json!({ "writes": write, "timeout_s": timeout_s }))
}

#[track_caller]
fn outcome(socket: &mut Socket, request: u64) -> String {
    socket.answer(request).unwrap()["results"][0]["outcome"].as_str().unwrap().to_owned()
}

/// CONNECT and CONNACK without what follows.
#[track_caller]
fn resume(broker: &FakeBroker) -> Link {
    let mut link = broker.accept();
    assert!(!link.expect_connect().clean_session);
    link.send(&Packet::Connack { session_present: true, code: 0 });
    link
}

/// The next packet that is no SUBSCRIBE; those are granted.
#[track_caller]
fn next_but_subscribe(link: &mut Link) -> Packet {
    loop {
        match link.next() {
            Packet::Subscribe { id, filters } => {
                let codes = filters.iter().map(|(_, qos)| *qos).collect();
                link.send(&Packet::Suback { id, codes });
            }
            other => return other,
        }
    }
}

#[test]
fn each_qos_has_its_answer_and_qos_0_has_none() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept_session(false);
    link.send(&publish("plant/text", "zero", 0, 0));
    link.expect_silence(Duration::from_millis(150));
    driver.has("text.data", "zero", "ok");
    for id in [1, 256, 0xFF00, 0xFFFF] {
        link.send(&publish("plant/text", "one", 1, id));
        link.expect(&Packet::Puback(id));
        link.send(&publish("plant/text", "two", 2, id));
        link.expect(&Packet::Pubrec(id));
        link.send(&Packet::Pubrel(id));
        link.expect(&Packet::Pubcomp(id));
        assert_eq!(driver.read("text.id")["value"], id);
    }
    assert_eq!(driver.line("plant")["counters"]["messages_received"], 9);
}

#[test]
fn what_no_station_takes_and_what_nobody_subscribed_is_acknowledged_too() {
    let broker = FakeBroker::start();
    let keys = "topic_filter = \"plant/#\"\nsubscribe_qos = 0";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let mut link = broker.accept_session(false);
    link.send(&publish("foreign/topic", "x", 1, 7));
    link.expect(&Packet::Puback(7));
    link.send(&publish("plant/unrouted", "x", 2, 8));
    link.expect(&Packet::Pubrec(8));
    link.send(&Packet::Pubrel(8));
    link.expect(&Packet::Pubcomp(8));
    let line = driver.line("plant");
    assert_eq!(line["counters"]["messages_unrouted"], 2);
    assert_eq!(line["last_unrouted_topic"], "plant/unrouted");
}

#[test]
fn acknowledgements_keep_the_order_of_the_messages() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept_session(false);
    let mut changes = driver.subscribe(&["text.data"], Json::Null);
    // The monitor holds the order of PUBACKs, PUBRECs and PUBCOMPs, each among themselves.
    let packets: Vec<Packet> = (1..=300_u16)
        .map(|id| publish("plant/text", id.to_string(), if id % 3 == 0 { 2 } else { 1 }, id))
        .collect();
    link.send_all(&packets);
    let (mut acknowledged, mut completed) = (0, 0);
    while acknowledged < 300 || completed < 100 {
        match link.next() {
            Packet::Puback(_) => acknowledged += 1,
            Packet::Pubrec(id) => {
                acknowledged += 1;
                link.send(&Packet::Pubrel(id));
            }
            Packet::Pubcomp(_) => completed += 1,
            other => panic!("{other:?}"),
        }
    }
    changes.until("all messages", |all| all.len() >= 300);
    let expected: Vec<Json> = (1..=300).map(|id| json!(id.to_string())).collect();
    assert_eq!(changes.values_of("text.data"), expected);
}

#[test]
fn packets_in_any_cut_are_the_same_packets() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept();
    link.one_byte_writes = true;
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    link.grant();
    let long = "x".repeat(300);
    link.send(&publish("plant/text", long.as_str(), 2, 5));
    link.expect(&Packet::Pubrec(5));
    link.send(&Packet::Pubrel(5));
    link.expect(&Packet::Pubcomp(5));
    driver.has("text.data", long, "ok");
    // All at once, with an answer to nothing in between.
    link.one_byte_writes = false;
    link.send_all(&[
        publish("plant/text", "a", 0, 0),
        publish("plant/text", "b", 1, 6),
        Packet::Pingresp,
        publish("plant/text", "c", 2, 7),
        Packet::Pubrel(7),
        publish("plant/text", "d", 0, 0),
    ]);
    let mut answers = vec![link.next(), link.next(), link.next()];
    answers.sort_by_key(|packet| format!("{packet:?}"));
    assert_eq!(answers, [Packet::Puback(6), Packet::Pubcomp(7), Packet::Pubrec(7)]);
    driver.has("text.data", "d", "ok");
}

#[test]
fn an_identifier_is_free_again_after_its_acknowledgement() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "subscribe_qos = 2")));
    let mut link = broker.accept_session(false);
    let mut changes = driver.subscribe(&["text.data"], Json::Null);
    for text in ["first", "second"] {
        // After PUBACK the same identifier is another message, whatever DUP says (MQTT-4.3.2-2).
        link.send(&again("plant/text", text, 1, 3));
        link.expect(&Packet::Puback(3));
    }
    for text in ["third", "fourth"] {
        link.send(&publish("plant/text", text, 2, 3));
        link.expect(&Packet::Pubrec(3));
        link.send(&Packet::Pubrel(3));
        link.expect(&Packet::Pubcomp(3));
    }
    changes.until("four messages", |all| all.len() >= 4);
    let expected = ["first", "second", "third", "fourth"].map(Json::from);
    assert_eq!(changes.values_of("text.data"), expected);
}

#[test]
fn pubrel_is_answered_even_when_its_message_is_not_known() {
    let broker = FakeBroker::start();
    let _driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    for id in [1, 77, 65_535] {
        link.send(&Packet::Pubrel(id));
        link.expect(&Packet::Pubcomp(id));
    }
}

#[test]
fn acknowledgements_of_nothing_do_not_disturb() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(output(Config::new().line(broker.port, ""), 1)));
    let mut link = broker.accept_session(false);
    driver.up();
    for packet in [Packet::Puback(9), Packet::Pubcomp(9), Packet::Unsuback(9)] {
        link.send(&packet);
    }
    link.send(&publish("plant/text", "alive", 1, 1));
    link.expect(&Packet::Puback(1));
    driver.has("text.data", "alive", "ok");
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn both_directions_may_use_one_identifier_at_once() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(output(Config::new().line(broker.port, ""), 2)));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let request = start_write(&mut socket, 1, 10.0);
    let id = link.expect_publish().id;
    link.send(&publish("plant/text", "mine", 2, id));
    link.expect(&Packet::Pubrec(id));
    link.send(&Packet::Pubrec(id));
    link.expect(&Packet::Pubrel(id));
    link.send(&Packet::Pubrel(id));
    link.expect(&Packet::Pubcomp(id));
    link.send(&Packet::Pubcomp(id));
    assert_eq!(outcome(&mut socket, request), "completed");
    driver.has("text.data", "mine", "ok");
}

#[test]
fn an_unacknowledged_publish_comes_again_with_dup_and_the_same_identifier() {
    let broker = FakeBroker::start();
    for qos in [1, 2] {
        let driver = Driver::start(&output(Config::new().line(broker.port, ""), qos));
        let mut link = broker.accept_session(false);
        driver.up();
        let mut socket = driver.socket();
        let request = start_write(&mut socket, 5, 20.0);
        let first = link.expect_publish();
        assert!(!first.dup);
        drop(link);
        let mut link = resume(&broker);
        let Packet::Publish(repeated) = next_but_subscribe(&mut link) else { panic!() };
        assert!(repeated.dup);
        assert_eq!((repeated.id, &repeated.payload), (first.id, &first.payload));
        if qos == 1 {
            link.send(&Packet::Puback(first.id));
        } else {
            link.send(&Packet::Pubrec(first.id));
            assert_eq!(next_but_subscribe(&mut link), Packet::Pubrel(first.id));
            link.send(&Packet::Pubcomp(first.id));
        }
        assert_eq!(outcome(&mut socket, request), "completed");
        // And once only.
        drop(link);
        let mut link = resume(&broker);
        assert!(matches!(link.next(), Packet::Subscribe { .. }));
        link.expect_silence(Duration::from_millis(150));
    }
}

#[test]
fn after_pubrec_only_pubrel_comes_again() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&output(Config::new().line(broker.port, ""), 2));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let request = start_write(&mut socket, 5, 20.0);
    let id = link.expect_publish().id;
    link.send(&Packet::Pubrec(id));
    link.expect(&Packet::Pubrel(id));
    for _ in 0..2 {
        drop(link);
        link = resume(&broker);
        assert_eq!(next_but_subscribe(&mut link), Packet::Pubrel(id));
    }
    link.send(&Packet::Pubcomp(id));
    assert_eq!(outcome(&mut socket, request), "completed");
}

#[test]
fn repeats_keep_the_order_of_the_first_transmission() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&output(Config::new().line(broker.port, ""), 2));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let requests: Vec<u64> = (1..=6).map(|value| start_write(&mut socket, value, 20.0)).collect();
    let ids: Vec<u16> = (1..=6).map(|_| link.expect_publish().id).collect();
    // The second and the fourth are received, in the other order; the monitor checks the repeats.
    for id in [ids[3], ids[1]] {
        link.send(&Packet::Pubrec(id));
        link.expect(&Packet::Pubrel(id));
    }
    drop(link);
    let mut link = resume(&broker);
    let mut open: Vec<u16> = ids.clone();
    let mut repeated = Vec::new();
    while !open.is_empty() {
        match next_but_subscribe(&mut link) {
            Packet::Publish(publish) => {
                repeated.push(publish.id);
                link.send(&Packet::Pubrec(publish.id));
            }
            Packet::Pubrel(id) => {
                link.send(&Packet::Pubcomp(id));
                open.retain(|other| *other != id);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(repeated, [ids[0], ids[2], ids[4], ids[5]]);
    for request in requests {
        assert_eq!(outcome(&mut socket, request), "completed");
    }
}

#[test]
fn a_doubled_acknowledgement_ends_one_write_only() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&output(Config::new().line(broker.port, ""), 1));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let (first, second) = (start_write(&mut socket, 1, 10.0), start_write(&mut socket, 2, 10.0));
    let id = link.expect_publish().id;
    let other = link.expect_publish().id;
    link.send(&Packet::Puback(id));
    link.send(&Packet::Puback(id));
    assert_eq!(outcome(&mut socket, first), "completed");
    assert!(socket.answer_within(second, Duration::from_millis(150)).is_none());
    link.send(&Packet::Puback(other));
    assert_eq!(outcome(&mut socket, second), "completed");
}

#[test]
fn nothing_is_repeated_on_a_live_connection() {
    let broker = FakeBroker::start();
    let keys = "reply_timeout = \"200ms\"\nping_interval = \"100ms\"";
    let driver = Driver::start(&output(Config::new().line(broker.port, keys), 1));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let request = start_write(&mut socket, 1, 5.0);
    let id = link.expect_publish().id;
    link.expect_silence(Duration::from_secs(1));
    link.send(&Packet::Puback(id));
    assert_eq!(outcome(&mut socket, request), "completed");
}

#[test]
fn with_a_clean_session_nothing_of_the_old_one_is_repeated() {
    let broker = FakeBroker::start();
    let keys = "clean_session = true";
    let driver = Driver::start(&output(Config::new().line(broker.port, keys), 1));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    let request = start_write(&mut socket, 5, 10.0);
    link.expect_publish();
    drop(link);
    let mut link = broker.accept();
    assert!(link.expect_connect().clean_session);
    link.send(&Packet::Connack { session_present: false, code: 0 });
    link.grant();
    // It left, the session is lost: nobody knows.
    assert_eq!(outcome(&mut socket, request), "uncertain");
    link.expect_silence(Duration::from_millis(150));
}

#[test]
fn identifiers_in_flight_are_not_used_twice_over_the_wrap() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&output(Config::new().line(broker.port, ""), 1));
    let mut link = broker.accept_session(false);
    driver.up();
    let mut socket = driver.socket();
    // One stays open while others come and go: the monitor holds that its identifier is not taken.
    let stuck = start_write(&mut socket, -1, 60.0);
    let stuck_id = link.expect_publish().id;
    for value in 0..500 {
        let request = start_write(&mut socket, value, 10.0);
        let id = link.expect_publish().id;
        assert_ne!(id, stuck_id);
        link.send(&Packet::Puback(id));
        assert_eq!(outcome(&mut socket, request), "completed");
    }
    link.send(&Packet::Puback(stuck_id));
    assert_eq!(outcome(&mut socket, stuck), "completed");
}

#[test]
fn filters_that_a_stored_session_still_has_are_unsubscribed() {
    let broker = FakeBroker::start();
    let config = |filters: &str| {
        text_station(Config::new().line(broker.port, &format!("topic_filter = {filters}")))
    };
    let mut driver = Driver::start(&config("[\"plant/#\", \"old/one\", \"old/two\"]"));
    let link = broker.accept_session(false);
    driver.up();
    assert_eq!(driver.terminate().code(), Some(0));
    drop(link);
    config("[\"plant/#\", \"fresh/#\"]").write(driver.folder());
    driver.restart();
    let mut link = resume(&broker);
    let (mut subscribed, mut unsubscribed) = (Vec::new(), Vec::new());
    while unsubscribed.len() < 2 || subscribed.len() < 2 {
        match link.next() {
            Packet::Subscribe { id, filters } => {
                let codes = filters.iter().map(|(_, qos)| *qos).collect();
                subscribed.extend(filters.into_iter().map(|(filter, _)| filter));
                link.send(&Packet::Suback { id, codes });
            }
            Packet::Unsubscribe { id, filters } => {
                unsubscribed.extend(filters);
                link.send(&Packet::Unsuback(id));
            }
            other => panic!("{other:?}"),
        }
    }
    unsubscribed.sort();
    assert_eq!(unsubscribed, ["old/one", "old/two"]);
    assert!(subscribed.contains(&"fresh/#".to_owned()), "{subscribed:?}");
    driver.up();
    // The next time there is nothing left to take back.
    driver.terminate();
    drop(link);
    driver.restart();
    let mut link = resume(&broker);
    loop {
        match link.next_within(Duration::from_millis(300)) {
            Next::Packet(Packet::Subscribe { id, filters }) => {
                let codes = filters.iter().map(|(_, qos)| *qos).collect();
                link.send(&Packet::Suback { id, codes });
            }
            Next::Packet(other) => panic!("{other:?}"),
            _ => break,
        }
    }
}

#[test]
fn a_lost_session_is_said_out_loud_and_subscribed_again() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    drop(broker.accept_session(false));
    let mut link = broker.accept_session(false);
    driver.logs(&["WARN", "lost the session"]);
    driver.up();
    assert_eq!(driver.line("plant")["session_present"], false);
    link.send(&publish("plant/text", "again", 1, 1));
    link.expect(&Packet::Puback(1));
    driver.has("text.data", "again", "ok");
}

#[test]
fn a_message_may_come_before_suback() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    let Packet::Subscribe { id, filters } = link.next() else { panic!() };
    link.send(&retained("plant/text", "early", 1, 1));
    link.expect(&Packet::Puback(1));
    link.send(&Packet::Suback { id, codes: vec![1; filters.len()] });
    driver.has("text.data", "early", "ok");
    driver.up();
}

#[test]
fn disconnect_is_the_last_packet_of_an_orderly_stop() {
    let broker = FakeBroker::start();
    let mut driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    driver.up();
    driver.signal("TERM");
    assert_eq!(link.expect_end(), [Packet::Disconnect]);
    assert_eq!(driver.wait().code(), Some(0));
}

#[test]
fn a_half_closed_connection_is_left_and_made_anew() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    driver.up();
    link.half_close();
    link.expect_end();
    driver.logs(&["WARN", "connection lost", "closed"]);
    let _link = broker.accept_session(true);
    driver.up();
}
