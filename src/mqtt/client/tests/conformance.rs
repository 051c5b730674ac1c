//! Statements of the specifications that no other test shows; docs/conformance.md names them.

use super::*;
use crate::mqtt::packet::PublishProperties;

const CONNACK_5: &[u8] = &[0x20, 3, 0, 0, 0];
const CONNACK_5_PRESENT: &[u8] = &[0x20, 3, 1, 0, 0];

/// A session that is kept, with either version: its options, and CONNACK without and with it.
fn both_versions() -> [(ClientOptions, &'static [u8], &'static [u8]); 2] {
    let properties = ConnectProperties { session_expiry_s: 3600, ..Default::default() };
    let options_5 = ClientOptions { version: Version::V5, properties, ..persistent() };
    [(persistent(), CONNACK, CONNACK_PRESENT), (options_5, CONNACK_5, CONNACK_5_PRESENT)]
}

/// A client that is up; all its records are durable.
fn up(options: ClientOptions, connack: &[u8]) -> Harness {
    let mut harness = Harness::new(options);
    harness.connect();
    harness.receive(connack);
    harness.durable();
    harness.transmitted();
    harness.forget();
    harness
}

/// The QoS 2 message `1` on topic `t` from the server, with these properties in MQTT 5.0.
fn message(version: Version, packet_id: u16, properties: &[u8]) -> Vec<u8> {
    let mut body = [&[0, 1, b't'][..], &packet_id.to_be_bytes()].concat();
    if version == Version::V5 {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.push(b'1');
    [&[0x34, body.len() as u8], &body[..]].concat()
}

/// MQTT-2.3.1-2 and MQTT-2.2.1-3: each side gives ids of its own.
#[test]
fn both_directions_may_use_one_id_at_once() {
    for (options, connack, _) in both_versions() {
        let version = options.version;
        let mut harness = up(options, connack);
        harness.publish(1, "t", 2);
        harness.durable();
        let sent = harness.take_sent();
        assert_eq!(sent[..7], [0x34, sent[1], 0, 1, b't', 0, 1]);
        harness.receive(&message(version, 1, &[]));
        let deliveries = harness.deliveries();
        assert_eq!(deliveries.len(), 1);
        harness.receive(&ack(0x50, 1));
        harness.durable();
        assert_eq!(harness.take_sent(), ack(0x62, 1));
        harness.command(Command::Acknowledge(deliveries[0]));
        assert_eq!(harness.take_sent(), ack(0x50, 1));
        harness.receive(&ack(0x70, 1));
        assert_eq!(harness.outcomes(), [(1, PublishOutcome::Completed)]);
        harness.receive(&ack(0x62, 1));
        harness.durable();
        assert_eq!(harness.take_sent(), ack(0x70, 1));
    }
}

/// MQTT-3.1.3-2: the client id names the session, so it is the same on each connection.
#[test]
fn connect_is_the_same_on_every_connection() {
    for (options, connack, connack_present) in both_versions() {
        let mut harness = Harness::new(options);
        harness.connect();
        let first = harness.take_sent();
        assert!(first.windows(7).any(|bytes| bytes == b"\0\x05pumps"), "{first:02x?}");
        harness.receive(connack);
        harness.durable();
        for _ in 0..3 {
            harness.lose();
            harness.forget();
            harness.wait_for_connect();
            harness.opened();
            assert_eq!(harness.take_sent(), first);
            harness.receive(connack_present);
        }
    }
}

/// MQTT-4.3.3-13 of 5.0: the handshake goes on although the message has expired meanwhile.
#[test]
fn the_handshake_of_an_expired_message_goes_on() {
    let [_, (options, connack, connack_present)] = both_versions();
    let mut harness = up(options, connack);
    // Message Expiry Interval of one second, section 3.3.2.3.3.
    harness.receive(&message(Version::V5, 7, &[0x02, 0, 0, 0, 1]));
    let delivery = harness.deliveries()[0];
    harness.wait(seconds(60));
    harness.command(Command::Acknowledge(delivery));
    assert_eq!(harness.take_sent(), ack(0x50, 7));
    harness.wait(seconds(60));
    harness.lose();
    harness.reconnect(connack_present);
    harness.take_sent();
    harness.receive(&ack(0x62, 7));
    harness.durable();
    assert_eq!(harness.take_sent(), ack(0x70, 7));
}

/// MQTT-4.3.3-7 of 5.0: what has left is not dropped because its expiry has passed.
#[test]
fn a_message_that_has_left_does_not_expire() {
    let [_, (options, connack, connack_present)] = both_versions();
    let mut harness = up(options, connack);
    let properties = PublishProperties { message_expiry_s: Some(1), ..Default::default() };
    let mut publication = publication("t", 2);
    publication.properties = Some(Box::new(properties));
    let (token, deadline) = (PublishToken(1), harness.now + seconds(1000));
    harness.command(Command::Publish { token, publication, deadline, expires: None });
    harness.durable();
    harness.transmitted();
    let mut sent = harness.take_sent();
    harness.wait(seconds(60));
    harness.lose();
    harness.reconnect(connack_present);
    sent[0] |= 0x08; // DUP
    assert_eq!(harness.take_sent(), sent);
    harness.receive(&ack(0x50, 1));
    harness.durable();
    assert_eq!(harness.take_sent(), ack(0x62, 1));
    harness.receive(&ack(0x70, 1));
    assert_eq!(harness.outcomes(), [(1, PublishOutcome::Completed)]);
}

/// MQTT-4.4.0-2 of 5.0: a message that the server has refused is acknowledged, and not sent again.
#[test]
fn a_refused_message_is_not_sent_again_on_the_resumed_session() {
    let [_, (options, connack, connack_present)] = both_versions();
    let mut harness = up(options, connack);
    for (token, level) in [(1, 1), (2, 2)] {
        harness.publish(token, "t", level);
    }
    harness.durable();
    harness.transmitted();
    harness.take_sent();
    harness.receive(&[0x40, 3, 0, 1, 0x97, 0x50, 3, 0, 2, 0x97]); // quota exceeded
    harness.durable();
    let outcomes = harness.outcomes();
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, PublishOutcome::Failed(_))));
    assert_eq!(outcomes.len(), 2);
    harness.lose();
    harness.reconnect(connack_present);
    assert!(harness.take_sent().is_empty());
}
