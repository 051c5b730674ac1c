//! What a session carries from one connection, or one process, to the next.

use std::collections::BTreeMap;

use super::*;

/// A client with a kept session in which everything is durable.
fn resumable(options: ClientOptions) -> Harness {
    let mut harness = Harness::up(options);
    harness.durable();
    harness.transmitted();
    harness.forget();
    harness
}

impl Harness {
    fn publish_durably(&mut self, token: u64, level: u8) {
        self.publish(token, "t", level);
        self.durable();
        self.transmitted();
    }
}

#[test]
fn what_is_unacknowledged_is_sent_again_in_order_with_dup() {
    let mut harness = resumable(persistent());
    for (token, level) in [(1, 2), (2, 1), (3, 2), (4, 1)] {
        harness.publish_durably(token, level);
    }
    harness.receive(&[ack(0x50, 3), ack(0x50, 1)].concat());
    harness.durable();
    harness.lose();
    assert!(harness.outcomes().is_empty());
    harness.reconnect(CONNACK_PRESENT);
    assert_eq!(
        harness.take_sent(),
        [&ack(0x62, 3)[..], &ack(0x62, 1), &publish(0x3a, 2), &publish(0x3a, 4)].concat()
    );
    harness.receive(&[ack(0x40, 2), ack(0x70, 1), ack(0x40, 4), ack(0x70, 3)].concat());
    let tokens: Vec<u64> = harness.outcomes().into_iter().map(|(token, _)| token).collect();
    assert_eq!(tokens, [2, 1, 4, 3]);
    assert!(harness.client.session.outgoing.is_empty());
}

#[test]
fn a_first_transmission_has_no_dup_even_after_a_reconnect() {
    let mut harness = resumable(persistent());
    harness.publish(1, "t", 1);
    harness.durable();
    harness.input(Input::Transmitted(7));
    harness.publish(2, "t", 1);
    harness.lose();
    harness.reconnect(CONNACK_PRESENT);
    // The record of the second is not durable yet.
    assert_eq!(harness.take_sent(), publish(0x32, 1));
    harness.durable();
    assert_eq!(harness.take_sent(), publish(0x32, 2));
}

#[test]
fn resends_respect_the_places_in_flight() {
    let mut harness = resumable(persistent());
    for token in 1..=3 {
        harness.publish_durably(token, 1);
    }
    harness.client.options.publish_in_flight = 1;
    harness.lose();
    harness.reconnect(CONNACK_PRESENT);
    harness.publish(4, "t", 1);
    assert_eq!(harness.take_sent(), publish(0x3a, 1));
    harness.receive(&ack(0x40, 1));
    assert_eq!(harness.take_sent(), publish(0x3a, 2));
    harness.receive(&ack(0x40, 2));
    assert_eq!(harness.take_sent(), publish(0x3a, 3));
    harness.receive(&ack(0x40, 3));
    harness.durable();
    assert_eq!(harness.take_sent(), publish(0x32, 4));
}

#[test]
fn a_publish_waits_for_the_resume_until_its_deadline() {
    let mut harness = resumable(persistent());
    harness.publish_durably(1, 1);
    harness.publish(2, "t", 1);
    harness.lose();
    harness.wait_for_connect();
    harness.wait(seconds(10));
    harness.durable();
    let outcomes = harness.outcomes();
    assert!(matches!(outcomes[0], (1, PublishOutcome::Uncertain(_))));
    assert!(matches!(outcomes[1], (2, PublishOutcome::Failed(_))));
    harness.opened();
    harness.forget();
    harness.receive(CONNACK_PRESENT);
    // The exchange of the first goes on, the second never left and is gone.
    assert_eq!(harness.take_sent(), publish(0x3a, 1));
    harness.receive(&ack(0x40, 1));
    assert_eq!(harness.outcomes(), []);
}

#[test]
fn a_lost_session_is_told_and_what_is_unacknowledged_is_sent_again() {
    let mut harness =
        resumable(ClientOptions { subscriptions: subscribed(&["a"]), ..persistent() });
    harness.receive(&[0x90, 3, 0, 1, 1]);
    for (token, level) in [(1, 2), (2, 1), (3, 2)] {
        harness.publish_durably(token, level);
    }
    harness.take_sent();
    harness.receive(&ack(0x50, 2));
    harness.durable();
    harness.receive(&publish(0x34, 50));
    let delivery = harness.deliveries()[0];
    harness.command(Command::Acknowledge(delivery));
    harness.lose();
    harness.reconnect(CONNACK);
    let up = Event::Up { session_present: false, session_expected: true };
    assert_eq!(format!("{:?}", harness.events[0]), format!("{up:?}"));
    assert!(harness.has_notice("3 publishes in flight are sent again, 1 received messages and 1"));
    let outcomes = harness.outcomes();
    assert!(matches!(outcomes[..], [(1, PublishOutcome::Uncertain(_))]), "{outcomes:?}");
    let sent = harness.take_sent();
    assert_eq!(
        sent,
        [&[0x82, 6, 0, 5, 0, 1, b'a', 1][..], &ack(0x62, 2), &publish(0x3a, 3), &publish(0x3c, 4)]
            .concat()
    );
    harness.receive(&publish(0x34, 50));
    assert_eq!(harness.deliveries().len(), 1);
    harness.receive(&ack(0x70, 2));
    assert_eq!(harness.outcomes(), []);
}

#[test]
fn a_clean_session_ends_with_its_connection() {
    let mut harness = Harness::up(ClientOptions { publish_in_flight: 2, ..options() });
    harness.publish(1, "t", 1);
    harness.transmitted();
    harness.publish(2, "t", 2);
    harness.publish(3, "t", 2);
    harness.receive(&publish(0x34, 9));
    let delivery = harness.client.session.received[&9];
    assert!(!delivery.settled);
    harness.lose();
    let outcomes = harness.outcomes();
    assert!(matches!(outcomes[0], (1, PublishOutcome::Uncertain(_))));
    assert!(matches!(outcomes[1], (2, PublishOutcome::Unsent(_))));
    assert!(matches!(outcomes[2], (3, PublishOutcome::Unsent(_))));
    harness.reconnect(CONNACK);
    assert!(harness.take_sent().is_empty());
    harness.receive(&publish(0x34, 9));
    assert_eq!(harness.deliveries().len(), 1);
}

#[test]
fn a_restored_session_goes_on() {
    let mut records = BTreeMap::new();
    let subscriptions = subscribed(&["a", "b"]);
    let mut harness = Harness::new(ClientOptions { subscriptions, ..persistent() });
    harness.connect();
    harness.receive(CONNACK);
    harness.durable();
    harness.receive(&[0x90, 4, 0, 1, 1, 1]);
    harness.durable();
    harness.publish_durably(1, 2);
    harness.publish_durably(2, 1);
    harness.receive(&ack(0x50, 2));
    harness.receive(&publish(0x34, 7));
    let delivery = harness.deliveries_kept()[0];
    harness.store(&mut records);
    let change = delivery.session_change().unwrap();
    records.insert(change.key, change.value.unwrap());

    let session = Session::restore(records.clone()).unwrap();
    assert_eq!(session.unfinished().len(), 2);
    let subscriptions = subscribed(&["b", "c"]);
    let options = ClientOptions { subscriptions, ..persistent() };
    let mut harness = Harness::restored(options, session, harness.now);
    harness.connect();
    harness.forget();
    harness.receive(CONNACK_PRESENT);
    let up = Event::Up { session_present: true, session_expected: true };
    assert_eq!(format!("{:?}", harness.events[0]), format!("{up:?}"));
    harness.durable();
    let subscribe = [0x82, 10, 0, 4, 0, 1, b'b', 1, 0, 1, b'c', 1];
    // `c` was not asked for before: its record comes first.
    assert_eq!(
        harness.take_sent(),
        [&ack(0x62, 2)[..], &publish(0x3a, 3), &[0xa2, 5, 0, 1, 0, 1, b'a'], &subscribe].concat()
    );
    // Applied before the restart, so it is only answered.
    harness.receive(&publish(0x3c, 7));
    assert_eq!(harness.take_sent(), ack(0x50, 7));
    harness.receive(&[&ack(0xb0, 1)[..], &[0x90, 4, 0, 4, 1, 0x80]].concat());
    harness.receive(&[ack(0x70, 2), ack(0x40, 3), ack(0x62, 7)].concat());
    harness.store(&mut records);
    let keys: Vec<&[u8]> = records.keys().map(Vec::as_slice).collect();
    // The ended exchange is remembered.
    assert_eq!(keys, [&b"m"[..], b"r\0\0\0\x01\0\x07", b"sb"]);
    assert!(harness.deliveries().is_empty());
}

#[test]
fn an_exchange_that_the_server_begins_again_is_answered_and_not_handed_over() {
    let mut harness = Harness::up(persistent());
    harness.durable();
    harness.take_sent();
    harness.receive(&publish(0x34, 7));
    let delivery = harness.deliveries()[0];
    harness.command(Command::Acknowledge(delivery));
    harness.receive(&ack(0x62, 7));
    harness.durable();
    assert_eq!(harness.take_sent(), [ack(0x50, 7), ack(0x70, 7)].concat());
    // PUBCOMP was lost; the server calls the session present and begins from PUBLISH.
    harness.lose();
    harness.reconnect(CONNACK_PRESENT);
    harness.durable();
    harness.take_sent();
    harness.receive(&publish(0x3c, 7));
    harness.receive(&ack(0x62, 7));
    harness.durable();
    assert!(harness.deliveries().is_empty());
    assert_eq!(harness.take_sent(), [ack(0x50, 7), ack(0x70, 7)].concat());
    // Without DUP, or with another payload, it is another message.
    harness.receive(&publish(0x34, 7));
    assert_eq!(harness.deliveries().len(), 1);
}

impl Harness {
    fn deliveries_kept(&self) -> Vec<Delivery> {
        let delivery = |event: &Event| match event {
            Event::Message { delivery, .. } => Some(*delivery),
            _ => None,
        };
        self.events.iter().filter_map(delivery).collect()
    }
}

#[test]
fn a_filter_is_asked_for_when_its_record_is_stored_or_too_late() {
    let mut harness =
        Harness::new(ClientOptions { subscriptions: subscribed(&["a"]), ..persistent() });
    harness.connect();
    harness.take_sent();
    harness.receive(CONNACK);
    assert!(harness.take_sent().is_empty());
    harness.durable();
    assert_eq!(harness.take_sent(), [0x82, 6, 0, 1, 0, 1, b'a', 1]);
    // The next connection has nothing to record.
    harness.lose();
    harness.reconnect(CONNACK_PRESENT);
    assert_eq!(harness.take_sent(), [0x82, 6, 0, 2, 0, 1, b'a', 1]);

    let mut harness =
        Harness::new(ClientOptions { subscriptions: subscribed(&["a"]), ..persistent() });
    harness.connect();
    harness.take_sent();
    harness.receive(CONNACK);
    harness.wait(seconds(2));
    assert!(harness.has_notice("not stored in time"));
    assert_eq!(harness.take_sent(), [0x82, 6, 0, 1, 0, 1, b'a', 1]);
    harness.durable();
    assert!(harness.take_sent().is_empty());
}

#[test]
fn a_session_of_another_client_id_is_dropped() {
    let mut records = BTreeMap::new();
    let mut harness = resumable(persistent());
    harness.publish_durably(1, 1);
    harness.store(&mut records);
    records.insert(b"m".to_vec(), b"\x01\0\0\0\x01pumps".to_vec());
    for (client_id, clean_session) in [("other", false), ("pumps", true), ("", false)] {
        let session = Session::restore(records.clone()).unwrap();
        let options = ClientOptions { client_id: client_id.to_owned(), clean_session, ..options() };
        let mut harness = Harness::restored(options, session, harness.now);
        assert_eq!(harness.has_notice("`pumps` is dropped"), client_id != "pumps");
        let mut left = records.clone();
        harness.store(&mut left);
        assert!(left.is_empty());
        harness.connect();
        harness.receive(CONNACK);
        harness.durable();
        assert!(!harness.sent.contains(&0x3a));
    }
}

#[test]
fn an_unfinished_release_of_a_restored_session_needs_no_record() {
    let records = [
        (b"m".to_vec(), b"\x01\0\0\0\x01pumps".to_vec()),
        (b"o\0\x05".to_vec(), b"\0\0\0\0\0\0\0\x01\x03".to_vec()),
    ];
    let session = Session::restore(records).unwrap();
    let now = Harness::new(options()).now;
    let mut harness = Harness::restored(persistent(), session, now);
    harness.connect();
    harness.forget();
    harness.receive(CONNACK_PRESENT);
    assert_eq!(harness.take_sent(), ack(0x62, 5));
}

#[test]
fn a_disconnect_keeps_the_session() {
    let mut harness = resumable(persistent());
    harness.publish_durably(1, 1);
    harness.take_sent();
    harness.command(Command::Disconnect);
    assert!(harness.outcomes().is_empty());
    harness.connect();
    harness.take_sent();
    harness.receive(CONNACK_PRESENT);
    assert_eq!(harness.take_sent(), publish(0x3a, 1));
}

#[test]
fn a_publish_that_ends_every_connection_is_given_up() {
    let mut harness = resumable(persistent());
    let (token, publication) = (PublishToken(1), publication("t", 1));
    let deadline = harness.now + seconds(1);
    harness.command(Command::Publish { token, publication, deadline, expires: None });
    harness.publish_durably(2, 1);
    harness.wait(seconds(1));
    assert!(matches!(harness.outcomes()[..], [(1, PublishOutcome::Uncertain(_))]));
    for round in 1..=bounds::FATAL_TIMES {
        harness.transmitted();
        harness.lose();
        assert_eq!(harness.has_notice("may this client publish there?"), round == 2);
        harness.reconnect(CONNACK_PRESENT);
        if round < bounds::FATAL_TIMES {
            let again = [publish(0x3a, 1), publish(0x3a, 2)].concat();
            assert_eq!(harness.take_sent(), again, "round {round}");
        }
    }
    assert!(harness.has_notice("the publication on `t` is given up"));
    // Only the one that stood in front.
    assert_eq!(harness.take_sent(), publish(0x3a, 2));
    assert!(harness.client.session.outgoing.keys().eq([&2]));
    harness.receive(&ack(0x40, 2));
    assert!(harness.client.session.outgoing.is_empty());
}

#[test]
fn a_publish_is_not_given_up_while_connections_last_or_somebody_waits() {
    let mut harness = resumable(persistent());
    harness.publish_durably(1, 1);
    for _ in 0..4 * bounds::FATAL_TIMES {
        harness.transmitted();
        harness.wait(bounds::STABLE_AFTER);
        harness.lose();
        harness.reconnect(CONNACK_PRESENT);
        assert_eq!(harness.take_sent(), publish(0x3a, 1));
    }
    let mut harness = resumable(ClientOptions { reconnect_max: seconds(1), ..persistent() });
    let (token, publication) = (PublishToken(1), publication("t", 1));
    let deadline = harness.now + seconds(1000);
    harness.command(Command::Publish { token, publication, deadline, expires: None });
    harness.durable();
    for _ in 0..4 * bounds::FATAL_TIMES {
        harness.transmitted();
        harness.lose();
        harness.reconnect(CONNACK_PRESENT);
        assert_eq!(harness.take_sent(), publish(0x3a, 1));
    }
}
