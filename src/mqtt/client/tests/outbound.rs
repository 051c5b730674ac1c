//! Publishes of ours on one connection.

use super::*;

fn completed(token: u64) -> (u64, PublishOutcome) {
    (token, PublishOutcome::Completed)
}

/// Publishes of these tokens failed, with these words.
fn assert_failed(harness: &mut Harness, expected: &[u64], words: &str) {
    let outcomes = harness.outcomes();
    assert_eq!(outcomes.iter().map(|(token, _)| *token).collect::<Vec<_>>(), expected);
    for (_, outcome) in outcomes {
        let (PublishOutcome::Failed(reason) | PublishOutcome::Unsent(reason)) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn qos_0_is_complete_when_the_transport_took_its_last_byte() {
    let mut harness = Harness::up(options());
    harness.transmitted();
    harness.publish(1, "t", 0);
    harness.publish(2, "t", 0);
    assert_eq!(harness.take_sent(), [publish(0x30, 0), publish(0x30, 0)].concat());
    harness.input(Input::Transmitted(5));
    assert_eq!(harness.outcomes(), []);
    harness.input(Input::Transmitted(1));
    assert_eq!(harness.outcomes(), [completed(1)]);
    harness.lose();
    assert_failed(&mut harness, &[2], "before it was sent");
}

#[test]
fn qos_1_is_complete_at_puback() {
    let mut harness = Harness::up(options());
    harness.publish(1, "t", 1);
    assert_eq!(harness.take_sent(), publish(0x32, 1));
    harness.transmitted();
    assert_eq!(harness.outcomes(), []);
    harness.receive(&ack(0x40, 1));
    assert_eq!(harness.outcomes(), [completed(1)]);
    assert_eq!(harness.client.unfinished(), 0);
}

#[test]
fn qos_2_is_complete_at_pubcomp() {
    let mut harness = Harness::up(options());
    harness.publish(1, "t", 2);
    assert_eq!(harness.take_sent(), publish(0x34, 1));
    harness.receive(&ack(0x50, 1));
    assert_eq!(harness.take_sent(), ack(0x62, 1));
    // PUBREL answers a repeated PUBREC too.
    harness.receive(&ack(0x50, 1));
    assert_eq!(harness.take_sent(), ack(0x62, 1));
    assert_eq!(harness.outcomes(), []);
    harness.receive(&ack(0x70, 1));
    assert_eq!(harness.outcomes(), [completed(1)]);
}

#[test]
fn an_answer_of_the_wrong_kind_ends_nothing() {
    let mut harness = Harness::up(options());
    harness.publish(1, "t", 1);
    harness.publish(2, "t", 2);
    harness.take_sent();
    harness.receive(&[ack(0x50, 1), ack(0x70, 1), ack(0x40, 2), ack(0x70, 2)].concat());
    assert!(harness.take_sent().is_empty());
    assert_eq!(harness.outcomes(), []);
    assert!(harness.client.is_up());
}

#[test]
fn releases_keep_the_order_of_pubrecs() {
    let mut harness = Harness::up(options());
    for token in 1..=3 {
        harness.publish(token, "t", 2);
    }
    harness.take_sent();
    harness.receive(&[ack(0x50, 3), ack(0x50, 1), ack(0x50, 2)].concat());
    assert_eq!(harness.take_sent(), [ack(0x62, 3), ack(0x62, 1), ack(0x62, 2)].concat());
}

#[test]
fn publishes_wait_for_a_place_in_flight() {
    let mut harness = Harness::up(ClientOptions { publish_in_flight: 2, ..options() });
    for token in 1..=4 {
        harness.publish(token, "t", 1 + (token % 2) as u8);
    }
    assert_eq!(harness.take_sent(), [publish(0x34, 1), publish(0x32, 2)].concat());
    harness.receive(&ack(0x50, 1));
    assert_eq!(harness.take_sent(), ack(0x62, 1));
    harness.receive(&ack(0x40, 2));
    assert_eq!(harness.take_sent(), publish(0x34, 3));
    harness.receive(&ack(0x70, 1));
    assert_eq!(harness.take_sent(), publish(0x32, 4));
    // QoS 0 needs no place.
    harness.publish(9, "t", 0);
    assert_eq!(harness.take_sent(), publish(0x30, 0));
}

#[test]
fn the_configuration_may_allow_more_in_flight_than_is_usual() {
    for (configured, allowed) in [(0, bounds::IN_FLIGHT_MAX), (1, 1), (50, 50)] {
        let mut harness = Harness::up(ClientOptions { publish_in_flight: configured, ..options() });
        for token in 0..60 {
            harness.publish(token, "t", 1);
        }
        assert_eq!(harness.take_sent().len(), allowed * 8);
    }
}

#[test]
fn ids_in_use_are_not_given_again() {
    let mut harness = Harness::up(ClientOptions { publish_in_flight: 3, ..options() });
    harness.publish(1, "t", 1);
    harness.take_sent();
    for _ in 0..70_000 {
        harness.publish(2, "t", 1);
        let sent = harness.take_sent();
        let id = u16::from_be_bytes([sent[5], sent[6]]);
        assert!(id > 1);
        harness.receive(&ack(0x40, id));
        harness.events.clear();
    }
}

#[test]
fn what_cannot_be_published_fails_and_the_connection_stays() {
    let mut harness = Harness::up(options());
    for topic in ["", "a/+", "#", "a\0"] {
        harness.publish(1, topic, 1);
        assert_failed(&mut harness, &[1], "topic");
    }
    harness.publish(1, &"x".repeat(65_536), 0);
    assert_failed(&mut harness, &[1], "65535");
    let mut message = publication("t", 0);
    message.payload = vec![0; 268_435_455].into();
    let deadline = harness.now + seconds(1);
    let token = PublishToken(1);
    harness.command(Command::Publish { token, publication: message, deadline, expires: None });
    assert_failed(&mut harness, &[1], "larger");
    assert!(harness.take_sent().is_empty());
    assert!(harness.client.is_up());
}

#[test]
fn publishes_fail_while_the_line_is_down() {
    let mut harness = Harness::new(persistent());
    harness.publish(1, "t", 0);
    harness.connect();
    harness.publish(2, "t", 1);
    assert_failed(&mut harness, &[1, 2], "down");
}

#[test]
fn a_full_queue_fails_at_once() {
    let mut harness = Harness::up(ClientOptions { publish_in_flight: 1, ..options() });
    for token in 0..=10_000 {
        harness.publish(token, "t", 1);
    }
    assert_eq!(harness.outcomes(), []);
    harness.publish(10_001, "t", 1);
    assert_failed(&mut harness, &[10_001], "too many");
}

#[test]
fn bytes_that_the_transport_does_not_take_are_bounded() {
    let mut harness = Harness::up(options());
    let mut message = publication("t", 0);
    message.payload = vec![0; 1024 * 1024].into();
    let mut failed = 0;
    for number in 0..30 {
        let (token, deadline) = (PublishToken(number), harness.now + seconds(10));
        message.qos = Qos::from_level((number % 2) as u8).unwrap();
        let publication = message.clone();
        harness.command(Command::Publish { token, publication, deadline, expires: None });
        failed += harness.outcomes().len();
    }
    assert!(harness.sent.len() < 18 * 1024 * 1024);
    assert!(failed > 0);
    harness.sent.clear();
    harness.transmitted();
    // Those of QoS 1 have waited.
    assert!(!harness.sent.is_empty());
}

#[test]
fn a_publish_that_has_not_left_at_its_deadline_never_will() {
    let mut harness = Harness::up(ClientOptions { publish_in_flight: 1, ..options() });
    harness.publish(1, "t", 1);
    harness.publish(2, "t", 1);
    harness.take_sent();
    harness.wait(seconds(10));
    let outcomes = harness.outcomes();
    assert!(matches!(outcomes[0], (1, PublishOutcome::Uncertain(_))));
    assert!(matches!(outcomes[1], (2, PublishOutcome::Failed(_))));
    harness.receive(&ack(0x40, 1));
    harness.wait(seconds(10));
    assert!(harness.take_sent().is_empty());
    assert_eq!(harness.outcomes(), []);
    harness.publish(3, "t", 1);
    assert_eq!(harness.take_sent(), publish(0x32, 2));
}

#[test]
fn a_qos_0_publish_that_still_leaves_at_its_deadline_is_uncertain() {
    let mut harness = Harness::up(options());
    harness.publish(1, "t", 0);
    harness.wait(seconds(10));
    assert!(matches!(harness.outcomes()[..], [(1, PublishOutcome::Uncertain(_))]));
    harness.transmitted();
    assert_eq!(harness.outcomes(), []);
}

#[test]
fn publish_and_pubrel_wait_for_their_records() {
    let mut harness = Harness::up(persistent());
    harness.durable();
    harness.publish(1, "t", 1);
    harness.publish(2, "t", 2);
    assert!(harness.take_sent().is_empty());
    let [
        Event::Session { seq: first, .. },
        Event::InFlight { token: PublishToken(1), packet_id: 1 },
        Event::Session { seq: second, .. },
        Event::InFlight { token: PublishToken(2), packet_id: 2 },
    ] = harness.events[..]
    else {
        panic!("{:?}", harness.events)
    };
    // What needs no record passes by.
    harness.publish(3, "t", 0);
    assert_eq!(harness.take_sent(), publish(0x30, 0));
    harness.input(Input::Durable(first));
    assert_eq!(harness.take_sent(), publish(0x32, 1));
    harness.input(Input::Durable(second));
    assert_eq!(harness.take_sent(), publish(0x34, 2));
    harness.receive(&ack(0x50, 2));
    assert!(harness.take_sent().is_empty());
    harness.durable();
    assert_eq!(harness.take_sent(), ack(0x62, 2));
}

#[test]
fn a_publish_whose_record_is_late_never_leaves() {
    let mut harness = Harness::up(persistent());
    harness.publish(1, "t", 1);
    harness.wait(seconds(10));
    // It has not happened only when a crash cannot bring it back.
    assert_eq!(harness.outcomes(), []);
    harness.durable();
    assert!(matches!(harness.outcomes()[..], [(1, PublishOutcome::Failed(_))]));
    assert!(harness.take_sent().is_empty());
    assert!(harness.client.session.outgoing.is_empty());
    harness.publish(2, "t", 1);
    harness.wait(seconds(11));
    assert!(matches!(harness.outcomes()[..], [(2, PublishOutcome::Uncertain(_))]));
    assert_eq!(harness.client.unfinished(), 0);
}

#[test]
fn what_was_taken_back_cannot_come_behind_later_messages_after_a_crash() {
    let mut harness = Harness::up(persistent());
    harness.durable();
    let now = harness.now;
    let publish_until = |harness: &mut Harness, token, deadline| {
        let publication = publication("t", 1);
        let token = PublishToken(token);
        let command = Command::Publish { token, publication, deadline, expires: None };
        harness.client.handle_command(now, command);
        harness.drain();
    };
    publish_until(&mut harness, 1, now + seconds(1));
    publish_until(&mut harness, 2, now + seconds(60));
    let records = harness.client.last_seq;
    harness.wait(seconds(1));
    // Both records are on disk, the removal of the first one is not: a crash would send it.
    harness.input(Input::Durable(records));
    assert!(harness.take_sent().is_empty());
    publish_until(&mut harness, 3, now + seconds(60));
    assert!(harness.take_sent().is_empty());
    harness.durable();
    assert_eq!(harness.take_sent(), [publish(0x32, 2), publish(0x32, 3)].concat());
    assert_failed(&mut harness, &[1], "in time");
}

#[test]
fn a_message_behind_one_that_was_taken_back_waits_for_its_own_record_too() {
    for qos in 1..=2 {
        let mut harness = Harness::up(persistent());
        harness.durable();
        let now = harness.now;
        let publish_until = |harness: &mut Harness, token, deadline| {
            let publication = publication("t", qos);
            let token = PublishToken(token);
            let command = Command::Publish { token, publication, deadline, expires: None };
            harness.client.handle_command(now, command);
            harness.drain();
        };
        publish_until(&mut harness, 1, now + seconds(1));
        harness.wait(seconds(1));
        let removal = harness.client.last_seq;
        publish_until(&mut harness, 2, now + seconds(60));
        harness.input(Input::Durable(removal));
        // A crash would free its identifier for another message.
        assert!(harness.take_sent().is_empty(), "QoS {qos}");
        harness.durable();
        assert_eq!(harness.take_sent(), publish(if qos == 1 { 0x32 } else { 0x34 }, 2));
    }
}
