//! What brokers and payloads may try: each try has a clear word in the log, nothing panics, and the
//! line works afterwards.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::packet::{Packet, again, encode, frame, publish, text};
use crate::harness::{Config, Driver, FakeBroker, Mosquitto, Next, eventually};

fn json_station(config: Config) -> Config {
    config
        .station("meter", "plant/meter", "payload_type = \"json\"")
        .tags("m.a,meter,Ai,JA=a\nm.b,meter,TxtI,JA=b\nm.whole,meter,TxtI,IN_DATA")
}

fn text_station(config: Config) -> Config {
    config.station("text", "plant/text", "").tags("text.data,text,TxtI,IN_DATA")
}

#[test]
fn bad_json_makes_its_tags_bad_is_counted_and_the_next_good_message_heals() {
    let broker = Mosquitto::start();
    let driver = Driver::start(&json_station(Config::new().line(broker.port, "")));
    driver.up();
    broker.publish("plant/meter", r#"{"a":1,"b":"x"}"#, 1);
    driver.has("m.b", "x", "ok");
    let payloads = [
        "{",
        r#"{"a":1,"b":"y""#,
        r#"{"a":1,}"#,
        r#"{"a":1}x"#,
        "nonsense",
        "",
        r#"{"a":01}"#,
        r#"{"a":NaN}"#,
        "\u{1}",
    ];
    for (bad, payload) in (1..).zip(payloads) {
        broker.publish("plant/meter", payload, 1);
        eventually(&format!("{payload:?} is counted"), || {
            (driver.station("meter")["counters"]["bad_payloads"] == bad).then_some(())
        });
        // The last value stays, and says that it is old.
        let (a, b) = (driver.read("m.a"), driver.read("m.b"));
        assert_eq!((&a["value"], &a["reason"]), (&json!(1.0), &json!("bad_payload")), "{payload}");
        assert_eq!((&b["value"], &b["reason"]), (&json!("x"), &json!("bad_payload")), "{payload}");
        assert_eq!(a["quality"], "bad");
        let whole = driver.read("m.whole");
        assert_eq!((&whole["value"], &whole["reason"]), (&json!(payload), &json!("ok")));
    }
    let station = driver.station("meter");
    assert!(station["last_error"]["message"].is_string(), "{station}");
    assert_eq!(driver.count_logged("cannot be parsed"), 1, "one line per change, not per message");
    broker.publish("plant/meter", r#"{"a":2,"b":"z"}"#, 1);
    driver.has("m.a", 2, "ok");
    driver.has("m.b", "z", "ok");
    driver.logs(&["INFO", "can be parsed again"]);
    assert_eq!(driver.line("plant")["counters"]["connects"], 1);
}

#[test]
fn deep_nesting_and_huge_numbers_end_in_a_value_or_a_reason() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&json_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let long = "9".repeat(100_000);
    for (payload, reasons) in [
        (deep.clone(), &["path_missing", "bad_payload"][..]),
        (format!("{{\"a\":1,\"b\":\"x\",\"deep\":{deep}}}"), &["ok", "bad_payload"]),
        (format!("{{\"a\":{deep},\"b\":\"x\"}}"), &["type_mismatch", "bad_payload"]),
        (format!("{{\"a\":{long},\"b\":\"x\"}}"), &["type_mismatch", "out_of_range"]),
        (r#"{"a":1e999,"b":"x"}"#.into(), &["type_mismatch", "out_of_range"]),
        (r#"{"a":-1e999,"b":"x"}"#.into(), &["type_mismatch", "out_of_range"]),
    ] {
        link.send(&publish("plant/meter", payload.as_str(), 1, 3));
        link.expect(&Packet::Puback(3));
        let tag = driver.read("m.a");
        assert!(reasons.contains(&tag["reason"].as_str().unwrap()), "{payload:.60}: {tag}");
        link.send(&publish("plant/meter", r#"{"a":3,"b":"x"}"#, 1, 4));
        link.expect(&Packet::Puback(4));
        driver.has("m.a", 3, "ok");
    }
}

#[test]
fn bytes_that_are_no_utf_8_are_replaced_in_in_data() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    link.send(&publish("plant/text", b"a\xFF\xC3b\x00c".to_vec(), 1, 1));
    link.expect(&Packet::Puback(1));
    let value = driver.read("text.data")["value"].as_str().unwrap().to_owned();
    assert_eq!(value, "a\u{FFFD}\u{FFFD}b\u{0}c");
}

/// Sends bytes that must end the connection with a log line that has all of these words; the next
/// connection works.
#[track_caller]
fn ends_the_connection(bytes: &[u8], words: &[&str]) {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    link.send(&publish("plant/text", "before", 1, 1));
    link.expect(&Packet::Puback(1));
    let sent = link.try_send_bytes(bytes);
    let last = link.expect_end();
    // In 3.1.1 a DISCONNECT would say that all is well, and suppress the will.
    assert!(!last.contains(&Packet::Disconnect), "{bytes:02x?}: {last:?}");
    let found = [&["WARN", "connection lost"], words].concat();
    driver.logs(&found);
    let mut link = broker.accept_session(true);
    link.send(&publish("plant/text", "after", 1, 1));
    link.expect(&Packet::Puback(1));
    driver.has("text.data", "after", "ok");
    assert!(sent || bytes.len() > 1 << 20);
}

#[test]
fn short_bodies_end_the_connection() {
    ends_the_connection(&[0x20, 0x00], &["CONNACK"]);
    ends_the_connection(&[0x40, 0x00], &["PUBACK"]);
    ends_the_connection(&[0x62, 0x01, 0x00], &["PUBREL"]);
    ends_the_connection(&[0x90, 0x02, 0x00, 0x01], &["SUBACK"]);
    ends_the_connection(&[0x30, 0x00], &["PUBLISH"]);
    ends_the_connection(&[0x32, 0x03, 0x00, 0x01, b'a'], &["PUBLISH"]);
}

#[test]
fn lengths_past_the_end_end_the_connection() {
    ends_the_connection(&frame(0x30, &[0x00, 0x20, b'a', b'b']), &["PUBLISH", "topic"]);
    ends_the_connection(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], &["malformed", "length"]);
}

#[test]
fn bodies_that_are_too_long_end_the_connection() {
    ends_the_connection(&frame(0x40, &[0, 1, 0]), &["PUBACK"]);
    ends_the_connection(&frame(0xD0, &[0]), &["PINGRESP"]);
}

#[test]
fn illegal_flags_and_qos_end_the_connection() {
    let body = [&text("plant/text")[..], &[0, 1], b"x"].concat();
    ends_the_connection(&frame(0x36, &body), &["PUBLISH", "QoS"]);
    ends_the_connection(&frame(0x41, &[0, 1]), &["PUBACK", "flags"]);
    ends_the_connection(&frame(0x60, &[0, 1]), &["PUBREL", "flags"]);
    ends_the_connection(&frame(0xD1, &[]), &["PINGRESP", "flags"]);
    ends_the_connection(&frame(0x38, &body), &["PUBLISH"]);
}

#[test]
fn illegal_topics_and_identifiers_end_the_connection() {
    let publish = |topic: &[u8]| {
        let length = u16::try_from(topic.len()).unwrap();
        frame(0x30, &[&length.to_be_bytes()[..], topic, b"x"].concat())
    };
    ends_the_connection(&publish(b"plant/\xFF"), &["topic"]);
    ends_the_connection(&publish(b"plant/\0"), &["topic"]);
    ends_the_connection(&publish(b"plant/+/x"), &["topic"]);
    ends_the_connection(&publish(b"plant/\xED\xA0\x80"), &["topic"]);
    ends_the_connection(&publish(b""), &["topic"]);
    let body = [&text("plant/text")[..], &[0, 0], b"x"].concat();
    ends_the_connection(&frame(0x32, &body), &["packet id"]);
}

#[test]
fn packets_that_no_server_sends_end_the_connection() {
    ends_the_connection(
        &encode(&Packet::Connack { session_present: false, code: 0 }),
        &["CONNACK"],
    );
    ends_the_connection(&encode(&Packet::Pingreq), &["PINGREQ"]);
    ends_the_connection(&encode(&Packet::Disconnect), &["DISCONNECT"]);
    ends_the_connection(&frame(0x82, &[0, 1, 0, 1, b'a', 0]), &["SUBSCRIBE"]);
    ends_the_connection(&frame(0x00, &[]), &["0"]);
    ends_the_connection(&frame(0xF0, &[]), &["AUTH"]);
}

#[test]
fn a_packet_of_20_mb_is_refused_before_it_is_taken_in() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    driver.up();
    let before = driver.resident_bytes();
    link.try_send_bytes(&encode(&publish("plant/text", vec![b'x'; 20 << 20], 1, 1)));
    drop(link);
    driver.logs(&["WARN", "maximum_packet_size", "PUBLISH"]);
    assert!(driver.resident_bytes() < before + (8 << 20), "it was taken in");
    let mut link = broker.accept_session(true);
    link.send(&publish("plant/text", "after", 1, 1));
    link.expect(&Packet::Puback(1));
    driver.has("text.data", "after", "ok");
}

#[test]
fn a_large_packet_within_the_limit_is_an_ordinary_message() {
    let broker = FakeBroker::start();
    let driver = Driver::start(&text_station(Config::new().line(broker.port, "")));
    let mut link = broker.accept_session(false);
    let large = "x".repeat(12 << 20);
    link.send(&publish("plant/text", large.as_str(), 2, 1));
    link.expect(&Packet::Pubrec(1));
    link.send(&Packet::Pubrel(1));
    link.expect(&Packet::Pubcomp(1));
    assert_eq!(driver.read("text.data")["value"].as_str().unwrap().len(), large.len());
}

#[test]
fn a_poisoned_message_that_is_redelivered_for_ever_is_no_tight_loop() {
    let broker = FakeBroker::start();
    let keys = "maximum_packet_size = 1000\nreconnect = { min = \"50ms\", max = \"400ms\" }";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let poison = encode(&again("plant/text", vec![b'x'; 2000], 1, 1));
    let end = Instant::now() + Duration::from_secs(2);
    let mut present = false;
    let mut rounds = 0;
    while Instant::now() < end {
        let Some(mut link) = broker.accepted() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        link.expect_connect();
        link.send(&Packet::Connack { session_present: present, code: 0 });
        present = true;
        rounds += 1;
        link.try_send_bytes(&poison);
        while let Next::Packet(_) = link.next_within(Duration::from_secs(5)) {}
    }
    assert!((2..=40).contains(&rounds), "{rounds} connections in two seconds");
    driver.logs(&["maximum_packet_size"]);
}

#[test]
fn ill_formed_packets_before_connack_end_the_attempt() {
    for (bytes, word) in [
        (&[0x20, 0x00][..], "CONNACK"),
        (&[0x20, 0x02, 0x02, 0x00][..], "CONNACK"),
        (&[0x20, 0x03, 0x00, 0x00, 0x00][..], "CONNACK"),
        (&[0x40, 0x02, 0x00, 0x01][..], "not a CONNACK"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "cannot connect"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot connect"),
    ] {
        let broker = FakeBroker::start();
        let keys = "reply_timeout = \"500ms\"";
        let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
        let mut link = broker.accept();
        link.expect_connect();
        link.send_bytes(bytes);
        assert_eq!(link.expect_end(), []);
        driver.logs(&["WARN", "cannot connect", word]);
        let _link = broker.accept_session(false);
        driver.up();
    }
}

#[test]
fn random_bytes_never_stop_the_line() {
    let broker = FakeBroker::start();
    let keys = "reply_timeout = \"300ms\"\nreconnect = { min = \"1ms\", max = \"5ms\" }";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    // A fixed xorshift: the same bytes in every run.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let ordinary = encode(&publish("plant/text", "ordinary", 1, 1));
    for round in 0..120 {
        let mut link = broker.accept();
        link.expect_connect();
        if round % 3 > 0 {
            link.send(&Packet::Connack { session_present: false, code: 0 });
        }
        let bytes: Vec<u8> = if round % 2 == 0 {
            (0..random() % 64).map(|_| random() as u8).collect()
        } else {
            // An ordinary packet with one byte changed.
            let mut bytes = ordinary.clone();
            let place = random() as usize % bytes.len();
            bytes[place] = random() as u8;
            bytes
        };
        link.try_send_bytes(&bytes);
        link.half_close();
        link.expect_end_of_anything();
    }
    let mut link = broker.accept_session(false);
    link.send(&publish("plant/text", "alive", 1, 1));
    link.expect(&Packet::Puback(1));
    driver.has("text.data", "alive", "ok");
}

#[test]
fn a_broker_that_takes_no_bytes_costs_bounded_memory() {
    let broker = FakeBroker::start();
    let keys = "subscribe_qos = 2\nping_interval = \"0s\"";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let mut link = broker.accept_session(false);
    driver.up();
    let before = driver.resident_bytes();
    // PUBRELs of nothing are each answered, and nobody reads the answers.
    let packets: Vec<u8> = (0..200_000_u32)
        .flat_map(|number| encode(&Packet::Pubrel(u16::try_from(number % 60_000 + 1).unwrap())))
        .collect();
    let mut taken = 0;
    for _ in 0..100 {
        if !link.send_within(&packets, Duration::from_millis(200)) {
            break;
        }
        taken += 1;
    }
    assert!(taken < 100, "everything was read although no answer was taken");
    assert!(driver.resident_bytes() < before + (64 << 20), "memory grows without bound");
    let status = driver.call("process.status", json!({}));
    assert_eq!(status["lines"]["up"], 1);
}

#[test]
fn a_wrong_suback_does_not_pass_for_a_right_one() {
    for codes in [vec![], vec![1, 1], vec![3], vec![0x7F]] {
        let broker = FakeBroker::start();
        let keys = "reply_timeout = \"500ms\"";
        let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
        let mut link = broker.accept();
        link.expect_connect();
        link.send(&Packet::Connack { session_present: false, code: 0 });
        let Packet::Subscribe { id, .. } = link.next() else { panic!("no SUBSCRIBE") };
        link.send(&Packet::Suback { id, codes });
        link.expect_end();
        driver.logs(&["WARN", "SUBACK"]);
        let _link = broker.accept_session(false);
        driver.up();
    }
    // Of another identifier: it answers nothing.
    let broker = FakeBroker::start();
    let keys = "reply_timeout = \"500ms\"";
    let driver = Driver::start(&text_station(Config::new().line(broker.port, keys)));
    let mut link = broker.accept();
    link.expect_connect();
    link.send(&Packet::Connack { session_present: false, code: 0 });
    let Packet::Subscribe { id, .. } = link.next() else { panic!("no SUBSCRIBE") };
    link.send(&Packet::Suback { id: id.wrapping_add(7), codes: vec![1] });
    link.expect_end();
    let _link = broker.accept_session(false);
    driver.up();
}

#[test]
fn a_wrong_acknowledgement_completes_no_write() {
    for (qos, wrong) in [
        (1, Packet::Pubrec as fn(u16) -> Packet),
        (1, Packet::Pubcomp),
        (1, Packet::Unsuback),
        (2, Packet::Puback),
        (2, Packet::Pubcomp),
    ] {
        let broker = FakeBroker::start();
        let config = Config::new()
            .line(broker.port, &format!("publish_qos = {qos}"))
            .station("out", "status/out", "out_topic = \"cmd/out\"")
            .tags("out.value,out,Co,OUT_VALUE");
        let driver = Driver::start(&config);
        let mut link = broker.accept_session(false);
        driver.up();
        let mut socket = driver.socket();
        let write = json!([{ "name": "out.value", "value": 1 }]);
        let request = socket.request("tag.write", json!({ "writes": write, "timeout_s": 0.5 }));
        let Packet::Publish(publish) = link.next() else { panic!("no PUBLISH") };
        link.send_bytes(&encode(&wrong(publish.id)));
        let result = socket.answer(request).unwrap()["results"][0].clone();
        assert_eq!(result["outcome"], "uncertain", "QoS {qos}, {:?}: {result}", wrong(publish.id));
    }
}

#[test]
fn the_longest_topic_and_the_largest_packet_are_ordinary() {
    let broker = FakeBroker::start();
    let config = Config::new()
        .line(broker.port, "maximum_packet_size = 100000")
        .station("all", ".*", "")
        .tags("all.topic,all,TxtI,IN_TOPIC\nall.data,all,TxtI,IN_DATA");
    let driver = Driver::start(&config);
    let mut link = broker.accept_session(false);
    let topic = format!("\u{feff}{}", "t".repeat(65_532));
    link.send(&publish(&topic, "x", 1, 1));
    link.expect(&Packet::Puback(1));
    assert_eq!(driver.read("all.topic")["value"], topic.as_str());
    // Exactly the limit: header 4, topic 2 + 1, identifier 2.
    let payload = "x".repeat(100_000 - 9);
    let packet = publish("a", payload.as_str(), 1, 2);
    assert_eq!(encode(&packet).len(), 100_000);
    link.send(&packet);
    link.expect(&Packet::Puback(2));
    assert_eq!(driver.read("all.data")["value"], payload.as_str());
    // One byte more.
    link.try_send_bytes(&encode(&publish("a", format!("{payload}x"), 1, 3)));
    link.expect_end();
    driver.logs(&["WARN", "maximum_packet_size"]);
}
