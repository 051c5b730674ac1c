//! Publishes that must not leave after some time, and those that an earlier process has begun.

use super::*;

/// A PUBLISH of topic `t` and payload `1` with what is left of its expiry.
fn publish_expiring(first: u8, packet_id: u16, seconds: u8) -> Vec<u8> {
    let mut bytes = vec![first, 10, 0, 1, b't', 5, 0x02, 0, 0, 0, seconds, b'1'];
    if first & 0b110 != 0 {
        bytes[1] = 12;
        bytes.splice(5..5, packet_id.to_be_bytes());
    }
    bytes
}

impl Harness {
    /// The next attempt was begun while time passed.
    fn opened_meanwhile(&mut self) {
        self.opened();
        self.forget();
        self.receive(CONNACK_5_PRESENT);
    }

    fn publish_until(&mut self, token: u64, level: u8, expires: Duration, deadline: Duration) {
        let (token, publication) = (PublishToken(token), publication("t", level));
        let (deadline, expires) = (self.now + deadline, Some(self.now + expires));
        self.command(Command::Publish { token, publication, deadline, expires });
    }
}

#[test]
fn the_server_is_told_what_is_left_when_it_is_sent_in_whole_seconds_rounded_up() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.publish_until(1, 0, Duration::from_millis(2500), seconds(10));
    assert_eq!(harness.take_sent(), publish_expiring(0x30, 0, 3));
    harness.publish_until(2, 1, Duration::from_millis(2500), seconds(10));
    harness.wait(seconds(1));
    harness.durable();
    assert_eq!(harness.take_sent(), publish_expiring(0x32, 1, 2));
    // What is sent again has been sent: it is, and never with 0, which some take for no end.
    harness.transmitted();
    harness.lose();
    harness.wait(seconds(5));
    harness.opened_meanwhile();
    assert_eq!(harness.take_sent(), publish_expiring(0x3a, 1, 1));
}

#[test]
fn mqtt_3_1_1_has_no_word_for_it() {
    let mut harness = Harness::up(options());
    harness.publish_until(1, 0, seconds(2), seconds(10));
    assert_eq!(harness.take_sent(), publish(0x30, 0));
}

#[test]
fn what_has_expired_does_not_leave() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.publish_until(1, 2, Duration::ZERO, seconds(10));
    assert!(
        matches!(harness.last_outcome(), PublishOutcome::Failed(why) if why.contains("expired"))
    );
    // Its record is not on disk before the connection is gone.
    harness.publish_until(2, 2, seconds(2), seconds(60));
    harness.lose();
    harness.durable();
    harness.wait(seconds(3));
    harness.opened_meanwhile();
    assert!(harness.take_sent().is_empty());
    harness.durable();
    assert!(
        matches!(harness.last_outcome(), PublishOutcome::Failed(why) if why.contains("expired"))
    );
}

#[test]
fn at_its_deadline_it_is_not_taken_back_before_it_expires() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.publish_until(1, 1, seconds(60), seconds(2));
    harness.publish_until(2, 1, seconds(60), seconds(30));
    harness.lose();
    harness.durable();
    harness.wait(seconds(3));
    assert!(matches!(harness.outcomes()[..], [(1, PublishOutcome::Uncertain(_))]));
    harness.opened_meanwhile();
    let expected = [publish_expiring(0x32, 1, 57), publish_expiring(0x32, 2, 57)].concat();
    let sent = harness.take_sent();
    assert_eq!(sent.len(), expected.len());
    assert_eq!(sent[5..7], [0, 1], "in their order: {sent:02x?}");
}

#[test]
fn an_adopted_publish_ends_as_the_session_ends_it() {
    for (deadline, answered) in [(None, true), (Some(2), true), (Some(2), false)] {
        let mut harness = Harness::up_5(persistent_5(), &[]);
        harness.publish(1, "t", 1);
        let mut records = std::collections::BTreeMap::new();
        records.insert(b"m".to_vec(), b"\x01\0\0\0\x01pumps".to_vec());
        harness.store(&mut records);
        let session = Session::restore(records).unwrap();
        let mut harness = Harness::restored(persistent_5(), session, harness.now);
        let deadline = deadline.map(|after| harness.now + seconds(after));
        assert!(!harness.client.adopt(2, PublishToken(8), (deadline, None)), "it has no such id");
        assert!(harness.client.adopt(1, PublishToken(9), (deadline, None)));
        harness.connect();
        harness.forget();
        harness.receive(CONNACK_5_PRESENT);
        assert_eq!(harness.take_sent(), publish_5(0x3a, 1));
        if answered {
            harness.receive(&ack(0x40, 1));
            assert_eq!(harness.outcomes(), [(9, PublishOutcome::Completed)]);
            harness.wait(seconds(5));
        } else {
            harness.wait(seconds(5));
            assert!(matches!(harness.outcomes()[..], [(9, PublishOutcome::Uncertain(_))]));
            harness.receive(&ack(0x40, 1));
        }
        assert!(harness.outcomes().is_empty(), "it has ended once");
    }
}

#[test]
fn there_is_room_while_a_publish_would_leave_at_once() {
    let mut harness = Harness::new(ClientOptions { publish_in_flight: 1, ..persistent_5() });
    assert!(!harness.client.has_room(Qos::AtMostOnce), "the line is down");
    harness.connect();
    harness.receive(CONNACK_5);
    harness.durable();
    assert!(harness.client.has_room(Qos::AtLeastOnce));
    harness.publish_5(1, "t", 1);
    assert!(!harness.client.has_room(Qos::AtLeastOnce));
    assert!(harness.client.has_room(Qos::AtMostOnce));
    harness.publish_5(2, "t", 1);
    assert!(!harness.client.has_room(Qos::AtMostOnce), "one waits that came before");
    harness.receive(&ack(0x40, 1));
    harness.durable();
    harness.receive(&ack(0x40, 2));
    assert!(harness.client.has_room(Qos::AtLeastOnce));
}
