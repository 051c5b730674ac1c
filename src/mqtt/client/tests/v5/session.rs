//! Sessions by the rules of MQTT 5.0.

use super::*;

#[test]
fn a_resumed_session_goes_on_in_order_with_dup() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    for (token, level) in [(1, 2), (2, 1), (3, 2)] {
        harness.publish_5(token, "t", level);
    }
    harness.receive(&ack(0x50, 1));
    harness.durable();
    harness.lose();
    harness.reconnect(CONNACK_5_PRESENT);
    let expected = [publish_5(0x3a, 2), publish_5(0x3c, 3), ack(0x62, 1).to_vec()].concat();
    let sent = harness.take_sent();
    assert_eq!(sent.len(), expected.len());
    assert!(sent.starts_with(&ack(0x62, 1)) || sent == expected, "{sent:02x?}");
    // PUBCOMP may say that the server has ended it before.
    harness.receive(&[0x70, 3, 0, 1, 0x92]);
    assert_eq!(harness.last_outcome(), PublishOutcome::Completed);
}

#[test]
fn a_smaller_receive_maximum_covers_what_is_sent_again() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    for token in 1..=3 {
        harness.publish_5(token, "t", 1);
    }
    harness.lose();
    harness.reconnect(&[0x20, 6, 1, 0, 3, 0x21, 0, 1]);
    assert_eq!(harness.take_sent(), publish_5(0x3a, 1));
    harness.receive(&ack(0x40, 1));
    assert_eq!(harness.take_sent(), publish_5(0x3a, 2));
}

#[test]
fn smaller_limits_end_what_cannot_be_sent_again() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.publish_5(1, "t", 2);
    harness.publish_5(2, "t", 1);
    harness.lose();
    harness.events.clear();
    harness.reconnect(&[0x20, 5, 1, 0, 2, 0x24, 1]);
    // Not before the record of the first is gone: a restart would send that behind it.
    assert!(harness.take_sent().is_empty());
    harness.durable();
    assert_eq!(harness.take_sent(), publish_5(0x3a, 2));
    let outcomes = harness.outcomes();
    assert!(
        matches!(&outcomes[..], [(1, PublishOutcome::Uncertain(why))] if why.contains("QoS 1"))
    );
}

#[test]
fn a_lost_session_is_not_gone_on_with() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    for (token, level) in [(1, 2), (2, 1), (3, 2), (4, 1)] {
        harness.publish_5(token, "t", level);
    }
    harness.receive(&ack(0x50, 3));
    harness.durable();
    harness.publish(5, "t", 2);
    harness.receive(&publish_5(0x34, 50));
    let delivery = harness.deliveries()[0];
    harness.command(Command::Acknowledge(delivery));
    harness.lose();
    harness.reconnect(CONNACK_5);
    assert!(harness.has_notice("3 publishes in flight are sent again, 1 received messages"));
    harness.durable();
    // QoS 1, and what has not left, as new: in order, without DUP. Of the rest nobody can say.
    let sent = harness.take_sent();
    let expected = [publish_5(0x32, 2), publish_5(0x32, 4), publish_5(0x34, 5)].concat();
    assert_eq!(sent, expected);
    let outcomes = harness.outcomes();
    assert!(matches!(
        outcomes[..],
        [(1, PublishOutcome::Uncertain(_)), (3, PublishOutcome::Uncertain(_))]
    ));
    harness.receive(&[ack(0x40, 2), ack(0x40, 4)].concat());
    let done = harness.outcomes();
    assert_eq!(done, [(2, PublishOutcome::Completed), (4, PublishOutcome::Completed)]);
    // The server's id is free for another message.
    harness.receive(&publish_5(0x34, 50));
    assert_eq!(harness.deliveries().len(), 1);
}

#[test]
fn what_is_submitted_anew_may_have_happened_before() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.publish_5(1, "t", 1);
    harness.publish_5(2, "t", 1);
    harness.lose();
    // One place: the second waits for it until its deadline.
    harness.reconnect(&[0x20, 6, 0, 0, 3, 0x21, 0, 1]);
    harness.durable();
    harness.forget();
    harness.receive(&[0x40, 3, 0, 1, 0x97]);
    let outcome = harness.last_outcome();
    assert!(matches!(&outcome, PublishOutcome::Uncertain(why) if why.contains("quota exceeded")));
    harness.durable();
    assert_eq!(harness.take_sent(), publish_5(0x32, 2));
    // On the session of that connection it is a repetition.
    harness.transmitted();
    harness.lose();
    harness.reconnect(CONNACK_5_PRESENT);
    assert_eq!(harness.take_sent(), publish_5(0x3a, 2));
}

#[test]
fn a_session_that_we_do_not_know_is_a_fault_and_started_anew() {
    let mut harness = Harness::new(persistent_5());
    harness.connect();
    assert_eq!(harness.take_sent()[9], 0);
    harness.receive(CONNACK_5_PRESENT);
    harness.assert_disconnects(0x82); // MQTT-3.2.2-4
    assert!(harness.cause().contains("know nothing of"));
    harness.wait_for_connect();
    harness.opened();
    assert_eq!(harness.take_sent()[9], 0b10);
    harness.receive(CONNACK_5);
    assert!(harness.client.is_up());
    harness.lose();
    harness.wait_for_connect();
    harness.forget();
    harness.opened();
    assert_eq!(harness.take_sent()[9], 0);
}

#[test]
fn a_session_after_a_clean_start_is_a_fault() {
    let mut harness = Harness::new(options_5());
    harness.connect();
    harness.take_sent();
    harness.receive(CONNACK_5_PRESENT);
    harness.assert_disconnects(0x82);
}

#[test]
fn a_shorter_expiry_is_told() {
    let mut harness = Harness::new(persistent_5());
    harness.connect();
    harness.receive(&connack(&[0x11, 0, 0, 0, 60]));
    assert!(harness.has_notice("60 s where 3600 s"));
}

#[test]
fn answers_to_what_is_unknown_say_so() {
    let mut harness = Harness::up_5(options_5(), &[]);
    harness.receive(&ack(0x50, 7));
    assert_eq!(harness.take_sent(), [0x62, 3, 0, 7, 0x92]);
    harness.receive(&ack(0x62, 8));
    assert_eq!(harness.take_sent(), [0x70, 3, 0, 8, 0x92]);
    assert!(harness.client.is_up());
}

#[test]
fn a_release_that_the_server_does_not_know_is_uncertain() {
    let mut harness = Harness::up_5(options_5(), &[]);
    harness.publish(1, "t", 2);
    harness.receive(&ack(0x50, 1));
    harness.receive(&[0x70, 3, 0, 1, 0x92]);
    assert!(matches!(harness.last_outcome(), PublishOutcome::Uncertain(_)));
}

#[test]
fn the_properties_of_a_publish_survive_a_restart() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.store(&mut Default::default());
    let mut message = publication("t", 1);
    let content_type = Some("x".to_owned());
    message.properties = Some(Box::new(PublishProperties { content_type, ..Default::default() }));
    let (token, deadline) = (PublishToken(1), harness.now + seconds(10));
    harness.command(Command::Publish { token, publication: message, deadline, expires: None });
    harness.durable();
    assert_eq!(harness.take_sent()[..10], [0x32, 11, 0, 1, b't', 0, 1, 4, 0x03, 0]);
    let mut records = std::collections::BTreeMap::new();
    records.insert(b"m".to_vec(), b"\x01\0\0\0\x01pumps".to_vec());
    harness.store(&mut records);
    let session = Session::restore(records).unwrap();
    let mut harness = Harness::restored(persistent_5(), session, harness.now);
    harness.connect();
    harness.forget();
    harness.receive(CONNACK_5_PRESENT);
    assert_eq!(harness.take_sent(), [0x3a, 11, 0, 1, b't', 0, 1, 4, 0x03, 0, 1, b'x', b'1']);
}

#[test]
fn a_filter_that_the_server_keeps_stays_known() {
    let mut records = std::collections::BTreeMap::new();
    records.insert(b"m".to_vec(), b"\x01\0\0\0\x01pumps".to_vec());
    records.insert(b"sa".to_vec(), vec![1]);
    records.insert(b"sb".to_vec(), vec![1]);
    let session = Session::restore(records.clone()).unwrap();
    let now = Harness::new(options_5()).now;
    let mut harness = Harness::restored(persistent_5(), session, now);
    harness.connect();
    harness.forget();
    harness.receive(CONNACK_5_PRESENT);
    assert_eq!(harness.take_sent(), [0xa2, 9, 0, 1, 0, 0, 1, b'a', 0, 1, b'b']);
    harness.receive(&[0xb0, 5, 0, 1, 0, 0x87, 0x11]);
    assert!(harness.has_notice("the server keeps the topic filter `a`: not authorized"));
    harness.store(&mut records);
    let keys: Vec<&[u8]> = records.keys().map(Vec::as_slice).collect();
    assert_eq!(keys, [&b"m"[..], b"sa"]);
}

/// The server may know the identifier of a QoS 2 message that it does not take again: the next message
/// with it would pass for a repetition.
#[test]
fn an_identifier_stays_in_use_until_its_exchange_can_be_forgotten() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.publish_5(1, "t", 2);
    assert_eq!(harness.take_sent(), publish_5(0x34, 1));
    harness.lose();
    // On this connection the server takes no message above QoS 1.
    harness.reconnect(&[0x20, 5, 1, 0, 2, 0x24, 1]);
    assert!(matches!(&harness.outcomes()[..], [(1, PublishOutcome::Uncertain(_))]));
    assert!(harness.take_sent().is_empty());
    harness.lose();
    harness.reconnect(CONNACK_5_PRESENT);
    assert!(harness.take_sent().is_empty(), "it was given up");
    // All other identifiers are used before it is, and it is not.
    for token in 2..=20 {
        harness.publish_5(token, "t", 1);
        let sent = harness.take_sent();
        let id = u16::from_be_bytes([sent[5], sent[6]]);
        assert_ne!(id, 1);
        harness.receive(&ack(0x40, id));
        harness.client.session.last_id = 0;
    }
    // The server has forgotten it with its session.
    harness.lose();
    harness.reconnect(CONNACK_5);
    harness.client.session.last_id = 0;
    harness.publish_5(30, "t", 1);
    assert_eq!(harness.take_sent(), publish_5(0x32, 1));
}

#[test]
fn a_publish_that_is_taken_back_is_sent_as_far_as_the_standard_demands() {
    for present in [true, false] {
        let mut options = persistent_5();
        options.publish_in_flight = 1;
        let mut harness = Harness::up_5(options, &[]);
        harness.publish_5(1, "t", 1);
        harness.publish_5(2, "t", 1);
        assert_eq!(harness.take_sent(), publish_5(0x32, 1));
        harness.lose();
        harness.forget();
        for token in 1..=3 {
            harness.command(Command::Withdraw(PublishToken(token)));
        }
        assert!(matches!(&harness.outcomes()[..], [(2, PublishOutcome::Failed(_))]));
        harness.reconnect(if present { CONNACK_5_PRESENT } else { CONNACK_5 });
        let expected = if present { publish_5(0x3a, 1) } else { vec![] };
        assert_eq!(harness.take_sent(), expected);
    }
}

#[test]
fn a_publish_whose_record_is_on_its_way_can_be_taken_back() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.publish(1, "t", 1);
    harness.command(Command::Withdraw(PublishToken(1)));
    assert!(harness.outcomes().is_empty(), "it could be sent after a crash still");
    harness.durable();
    assert!(matches!(&harness.outcomes()[..], [(1, PublishOutcome::Failed(_))]));
    assert!(harness.take_sent().is_empty());
    assert_eq!(harness.client.unfinished(), 0);
}
