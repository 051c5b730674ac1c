//! Messages of the server.

use std::time::Duration;

use super::stage::{ONLY_5, Scenario, Stage, scenario};
use crate::strict::packet::{ack, message, publish, refusal};
use crate::strict::property::{self, Value};
use crate::strict::{Cut, Kind, Link, Packet, Publish};

pub const SCENARIOS: &[Scenario] = &[
    scenario("answer-by-qos", answer_by_qos),
    scenario("repeat-after-reconnect", repeat_after_reconnect).qos(&[1, 2]),
    scenario("release-after-reconnect", release_after_reconnect),
    scenario("repeat-on-one-connection", repeat_on_one_connection),
    scenario("release-of-nothing", release_of_nothing),
    scenario("id-again-after-its-end", id_again_after_its_end).qos(&[1, 2]),
    scenario("many-at-once", many_at_once),
    scenario("one-byte-at-a-time", |stage| cut(stage, Cut::Each(1))),
    scenario("three-bytes-at-a-time", |stage| cut(stage, Cut::Each(3))),
    scenario("fragments", |stage| cut(stage, Cut::Fragments(2))),
    scenario("all-in-one-piece", all_in_one_piece),
    scenario("one-id-both-ways", one_id_both_ways),
    scenario("foreign-topics", foreign_topics).qos(&[0, 1, 2]),
    scenario("session-lost-between", session_lost_between),
    scenario("large-message", large_message).qos(&[0, 1, 2]),
    scenario("empty-payload", empty_payload).qos(&[0, 1, 2]),
    scenario("all-properties", all_properties).only(ONLY_5).qos(&[0, 1, 2]),
    scenario("release-with-reason", release_with_reason).only(ONLY_5),
    scenario("expiring-message", expiring_message).only(ONLY_5),
];

fn answer_by_qos(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    link.send(&publish("in", "zero", 0, 0));
    link.expect_silence(Duration::from_millis(50));
    stage.has("zero");
    for id in [1, 256, 0xFF00, 0xFFFF] {
        stage.deliver(&mut link, &format!("one {id}"), 1, id);
        stage.deliver(&mut link, &format!("two {id}"), 2, id);
        stage.has(&format!("two {id}"));
    }
    stage.link = Some(link);
}

fn repeat_after_reconnect(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    for (round, id) in [5, 6, 5].into_iter().enumerate() {
        let sent = message("in", format!("message {round}"), stage.qos, id);
        link.send(&Packet::Publish(sent.clone()));
        for _ in 0..2 {
            // The answer was sent, and did not arrive.
            let expected = if stage.qos == 1 { Kind::Puback } else { Kind::Pubrec };
            link.expect_ack(expected, id);
            drop(link);
            link = stage.session();
            link.send(&sent.again());
        }
        stage.take_acks(&mut link, stage.qos, id);
    }
    stage.deliver(&mut link, "end", 1, 9);
    let applied = stage.applied("end");
    let count = |text: &str| applied.iter().filter(|one| *one == text).count();
    for text in ["message 0", "message 1", "message 2"] {
        assert!(count(text) == 1 || stage.qos == 1 && count(text) > 1, "{text}: {applied:?}");
    }
    stage.link = Some(link);
}

fn release_after_reconnect(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    link.send(&publish("in", "once", 2, 5));
    link.expect_ack(Kind::Pubrec, 5);
    for _ in 0..3 {
        link.send(&ack(Kind::Pubrel, 5));
        // PUBCOMP may have been sent or not.
        drop(link);
        link = stage.session();
    }
    link.send(&ack(Kind::Pubrel, 5));
    let Packet::Ack(last) = link.next() else { panic!("no PUBCOMP") };
    assert_eq!((last.kind, last.id), (Kind::Pubcomp, 5));
    stage.deliver(&mut link, "another", 2, 5);
    assert_eq!(stage.applied("another"), ["once", "another"]);
    stage.link = Some(link);
}

fn repeat_on_one_connection(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let once = message("in", "once", 2, 5);
    link.send_all(&[Packet::Publish(once.clone()), once.again(), Packet::Publish(once.clone())]);
    for _ in 0..3 {
        link.expect_ack(Kind::Pubrec, 5);
    }
    link.send(&once.again());
    link.expect_ack(Kind::Pubrec, 5);
    link.send(&ack(Kind::Pubrel, 5));
    link.expect_ack(Kind::Pubcomp, 5);
    stage.deliver(&mut link, "end", 1, 9);
    assert_eq!(stage.applied("end"), ["once", "end"]);
    stage.link = Some(link);
}

fn release_of_nothing(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    for id in [1, 77, 65_535] {
        link.send(&ack(Kind::Pubrel, id));
        let reason = if stage.is_5() { 0x92 } else { 0 };
        link.expect(&refusal(Kind::Pubcomp, id, reason));
    }
    stage.link = Some(link);
}

fn id_again_after_its_end(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let texts = ["first", "second", "second", "fourth"];
    for (round, text) in texts.into_iter().enumerate() {
        let sent = message("in", text, stage.qos, 3);
        // After PUBACK the same id is another message, whatever DUP says (MQTT-4.3.2-5).
        let is_again = stage.qos == 1 && round % 2 == 1;
        link.send(&if is_again { sent.again() } else { Packet::Publish(sent) });
        stage.take_acks(&mut link, stage.qos, 3);
    }
    assert_eq!(stage.applied("fourth"), texts);
    stage.link = Some(link);
}

/// QoS 1 and 2 mixed, then QoS 0 with them: the order of the answers is the judge's matter.
fn many_at_once(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let qos_of = |id: u16| u8::try_from(id % 3).unwrap();
    let packets: Vec<Packet> = (1..=90)
        .map(|id| publish("in", id.to_string(), qos_of(id), if qos_of(id) == 0 { 0 } else { id }))
        .collect();
    link.send_all(&packets);
    let (mut acknowledged, mut completed) = (0, 0);
    while acknowledged < 60 || completed < 30 {
        match link.next() {
            Packet::Ack(one) if one.kind == Kind::Puback => acknowledged += 1,
            Packet::Ack(one) if one.kind == Kind::Pubrec => {
                acknowledged += 1;
                link.send(&ack(Kind::Pubrel, one.id));
            }
            Packet::Ack(one) if one.kind == Kind::Pubcomp => completed += 1,
            other => panic!("{other:?}"),
        }
    }
    let expected: Vec<String> = (1..=90).map(|id| id.to_string()).collect();
    assert_eq!(stage.applied("90"), expected);
    stage.link = Some(link);
}

/// The whole of a session in pieces.
fn cut(stage: &mut Stage<'_>, cut: Cut) {
    let (mut link, connect) = stage.greet();
    link.cut = cut;
    stage.connack(&mut link, &connect, vec![]);
    link.grant();
    let long = "x".repeat(200);
    stage.deliver(&mut link, &long, 2, 5);
    stage.has(&long);
    stage.deliver(&mut link, "next", 1, 6);
    let write = stage.write(2, 7);
    assert_eq!(stage.take_write(&mut link), "7");
    assert_eq!(stage.outcome(write), "completed");
    if stage.broker.transport.is_web() && matches!(cut, Cut::Fragments(_)) {
        assert!(link.carrier.pongs().len() >= 4, "pings within messages are answered");
        assert!(link.carrier.pongs().iter().all(|pong| pong == b"between"));
    }
    link.cut = Cut::Whole;
    stage.link = Some(link);
}

/// CONNACK, messages before SUBACK, and everything after it: no border means anything.
fn all_in_one_piece(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    assert!(!connect.clean || stage.is_5());
    link.send_all(&[
        Packet::Connack { present: false, code: 0, properties: vec![] },
        publish("in", "a", 0, 0),
        publish("in", "b", 1, 1),
        Packet::Pingresp,
        publish("in", "c", 2, 2),
        ack(Kind::Pubrel, 2),
        publish("in", "d", 0, 0),
    ]);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let packet = link.next();
        match &packet {
            Packet::Subscribe { .. } => {
                link.granted(&packet);
                seen.push("SUBSCRIBE".to_owned());
            }
            Packet::Ack(one) => seen.push(format!("{:?} {}", one.kind, one.id)),
            other => panic!("{other:?}"),
        }
    }
    seen.sort();
    assert_eq!(seen, ["Puback 1", "Pubcomp 2", "Pubrec 2", "SUBSCRIBE"]);
    assert_eq!(stage.applied("d"), ["a", "b", "c", "d"]);
    stage.link = Some(link);
}

fn one_id_both_ways(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let write = stage.write(2, 1);
    let id = link.expect_publish().id;
    link.send(&publish("in", "mine", 2, id));
    link.expect_ack(Kind::Pubrec, id);
    link.send(&ack(Kind::Pubrec, id));
    link.expect_ack(Kind::Pubrel, id);
    link.send(&ack(Kind::Pubrel, id));
    link.expect_ack(Kind::Pubcomp, id);
    link.send(&ack(Kind::Pubcomp, id));
    assert_eq!(stage.outcome(write), "completed");
    stage.has("mine");
    stage.link = Some(link);
}

fn foreign_topics(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    for topic in ["nobody/has/this", "\u{feff}in", "$SYS/x", "/"] {
        link.send(&publish(topic, "x", stage.qos, if stage.qos == 0 { 0 } else { 7 }));
        stage.take_acks(&mut link, stage.qos, 7);
    }
    stage.deliver(&mut link, "end", 1, 9);
    assert_eq!(stage.applied("end"), ["end"]);
    stage.link = Some(link);
}

fn session_lost_between(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    link.send(&publish("in", "old", 2, 5));
    link.expect_ack(Kind::Pubrec, 5);
    drop(link);
    let (mut link, connect) = stage.greet();
    stage.connack_anew(&mut link, &connect, vec![]);
    link.grant();
    // The server has forgotten everything: what it numbers 5 is another message, with the same text.
    stage.deliver(&mut link, "old", 2, 5);
    stage.deliver(&mut link, "end", 1, 6);
    assert_eq!(stage.applied("end"), ["old", "old", "end"]);
    stage.says(&["WARN", "lost the session"]);
    stage.link = Some(link);
}

fn large_message(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    // Over the sizes of length fields of MQTT and WebSocket, and of TLS records.
    for size in [120, 127, 128, 16_383, 16_384, 65_535, 65_536, 300_000] {
        let text = "y".repeat(size);
        stage.deliver(&mut link, &text, stage.qos, if stage.qos == 0 { 0 } else { 8 });
        stage.has(&text);
    }
    stage.link = Some(link);
}

fn empty_payload(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    stage.deliver(&mut link, "", stage.qos, if stage.qos == 0 { 0 } else { 8 });
    stage.has("");
    stage.link = Some(link);
}

fn all_properties(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let properties = vec![
        (property::PAYLOAD_FORMAT, Value::Byte(1)),
        (property::MESSAGE_EXPIRY, Value::Four(3600)),
        (property::CONTENT_TYPE, Value::Text("text/plain".into())),
        (property::RESPONSE_TOPIC, Value::Text("answer/here".into())),
        (property::CORRELATION_DATA, Value::Data(vec![0, 0xFF, 1])),
        (property::SUBSCRIPTION_ID, Value::Variable(1)),
        (property::SUBSCRIPTION_ID, Value::Variable(268_435_455)),
        (property::USER_PROPERTY, Value::Pair("a".into(), "ä".into())),
        (property::USER_PROPERTY, Value::Pair("a".into(), String::new())),
    ];
    let id = if stage.qos == 0 { 0 } else { 8 };
    let sent = Publish { properties, ..message("in", "with all", stage.qos, id) };
    link.send(&Packet::Publish(sent));
    stage.take_acks(&mut link, stage.qos, id);
    stage.has("with all");
    stage.link = Some(link);
}

/// A reason in PUBREL says that the server does not know the exchange; it is over all the same.
fn release_with_reason(stage: &mut Stage<'_>) {
    let mut link: Link = stage.session();
    link.send(&publish("in", "a", 2, 5));
    link.expect_ack(Kind::Pubrec, 5);
    link.send(&refusal(Kind::Pubrel, 5, 0x92));
    link.expect_ack(Kind::Pubcomp, 5);
    stage.deliver(&mut link, "b", 2, 5);
    assert_eq!(stage.applied("b"), ["a", "b"]);
    stage.link = Some(link);
}

fn expiring_message(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let properties = vec![(property::MESSAGE_EXPIRY, Value::Four(0))];
    let sent = Publish { properties, ..message("in", "gone", 2, 5) };
    link.send(&Packet::Publish(sent));
    // The handshake goes on whatever becomes of the message (MQTT-4.3.3-13).
    stage.take_acks(&mut link, 2, 5);
    stage.link = Some(link);
}
