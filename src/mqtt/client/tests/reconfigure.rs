use std::collections::BTreeMap;

use super::*;

fn with(filters: &[&str]) -> ClientOptions {
    ClientOptions { subscriptions: subscribed(filters), ..persistent() }
}

impl Harness {
    fn reconfigure(&mut self, options: ClientOptions) {
        self.command(Command::Reconfigure(Box::new(options)));
    }

    /// Up, with these filters granted and everything stored.
    fn with_filters(filters: &[&str]) -> Self {
        let mut harness = Self::up(with(filters));
        harness.durable();
        if !filters.is_empty() {
            let mut suback = vec![0x90, 2 + filters.len() as u8, 0, 1];
            suback.extend(vec![1; filters.len()]);
            harness.receive(&suback);
        }
        harness.durable();
        harness.forget();
        harness
    }
}

#[test]
fn only_filters_that_are_other_than_before_are_asked_for() {
    let mut harness = Harness::with_filters(&["a", "b"]);
    harness.reconfigure(with(&["b", "c"]));
    // SUBSCRIBE waits for the record of what it asks for.
    assert!(harness.take_sent().is_empty());
    harness.durable();
    let unsubscribe = [0xa2, 5, 0, 2, 0, 1, b'a'];
    let subscribe = [0x82, 6, 0, 3, 0, 1, b'c', 1];
    assert_eq!(harness.take_sent(), [&unsubscribe[..], &subscribe[..]].concat());
    harness.forget();
    harness.receive(&[0xb0, 2, 0, 2]);
    harness.receive(&[0x90, 3, 0, 3, 1]);
    let subscribed = harness.events.iter().find_map(|event| match event {
        Event::Subscribed { granted } => Some(granted.clone()),
        _ => None,
    });
    assert_eq!(subscribed, Some(vec![("c".to_owned(), Ok(Qos::AtLeastOnce))]));
    assert_eq!(harness.client.session.filters.keys().collect::<Vec<_>>(), ["b", "c"]);
    // The same again is nothing, and all are asked for on the next connection.
    harness.forget();
    harness.reconfigure(with(&["b", "c"]));
    assert!(harness.take_sent().is_empty() && harness.events.is_empty());
    harness.lose();
    harness.reconnect(CONNACK_PRESENT);
    let sent = harness.take_sent();
    assert_eq!(sent, [0x82, 10, 0, 4, 0, 1, b'b', 1, 0, 1, b'c', 1]);
}

#[test]
fn changes_that_come_before_the_first_request_are_part_of_it() {
    let mut harness = Harness::up(with(&["a"]));
    assert!(harness.take_sent().is_empty());
    harness.reconfigure(with(&["b"]));
    harness.reconfigure(with(&["b", "c"]));
    harness.durable();
    let sent = harness.take_sent();
    // `a` may have been remembered as asked for: it is unsubscribed, once.
    let unsubscribe = [0xa2, 5, 0, 1, 0, 1, b'a'];
    let subscribe = [0x82, 10, 0, 2, 0, 1, b'b', 1, 0, 1, b'c', 1];
    assert_eq!(sent, [&unsubscribe[..], &subscribe[..]].concat());
    harness.durable();
    assert!(harness.take_sent().is_empty());
}

#[test]
fn a_filter_that_comes_and_goes_while_its_record_waits_leaves_nothing() {
    let mut harness = Harness::with_filters(&["a"]);
    harness.reconfigure(with(&["a", "b"]));
    harness.reconfigure(with(&["a"]));
    harness.durable();
    // The server never had it; to say so does no harm.
    assert_eq!(harness.take_sent(), [0xa2, 5, 0, 2, 0, 1, b'b']);
    harness.receive(&[0xb0, 2, 0, 2]);
    assert_eq!(harness.client.session.filters.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn what_is_in_flight_both_ways_goes_on() {
    let mut harness = Harness::with_filters(&["a"]);
    harness.publish(1, "t", 1);
    harness.durable();
    harness.transmitted();
    harness.receive(&publish(0x32, 7));
    let delivery = harness.deliveries()[0];
    let before = harness.take_sent();
    assert_eq!(before[0], 0x32);
    harness.reconfigure(ClientOptions { publish_in_flight: 1, ..with(&["a"]) });
    assert!(harness.client.is_up());
    // One at a time from here on.
    harness.publish(2, "t", 1);
    harness.durable();
    assert!(harness.take_sent().is_empty());
    harness.command(Command::Acknowledge(delivery));
    assert_eq!(harness.take_sent(), ack(0x40, 7));
    harness.receive(&ack(0x40, 2));
    assert_eq!(harness.outcomes(), [(1, PublishOutcome::Completed)]);
    harness.durable();
    assert_eq!(harness.take_sent()[0], 0x32);
}

#[test]
fn pings_follow_another_interval() {
    let mut harness = Harness::with_filters(&[]);
    harness.wait(seconds(30));
    assert!(harness.take_sent().is_empty());
    let every = |ping_interval| ClientOptions { ping_interval, ..with(&[]) };
    harness.reconfigure(every(Some(seconds(10))));
    harness.wait(seconds(1));
    assert_eq!(harness.take_sent(), [0xc0, 0]);
    harness.receive(&[0xd0, 0]);
    harness.reconfigure(every(None));
    harness.wait(seconds(100));
    assert!(harness.take_sent().is_empty());
}

#[test]
fn a_closed_client_takes_all_and_keeps_its_session() {
    let mut harness = Harness::with_filters(&["a"]);
    harness.publish(1, "t", 1);
    harness.durable();
    harness.transmitted();
    harness.command(Command::Disconnect);
    harness.forget();
    harness.reconfigure(ClientOptions { keep_alive: 77, servers: 2, ..with(&["b"]) });
    assert!(harness.sent.is_empty() && harness.events.is_empty());
    harness.connect();
    assert_eq!(harness.take_sent()[9..12], [0, 0, 77]);
    harness.receive(CONNACK_PRESENT);
    harness.durable();
    let sent = harness.take_sent();
    assert!(sent.starts_with(&[0x3a]), "{sent:02x?}");
    harness.receive(&ack(0x40, 2));
    assert_eq!(harness.outcomes(), [(1, PublishOutcome::Completed)]);
}

#[test]
fn another_client_id_gives_the_session_up_and_says_what_became_of_writes() {
    let mut harness = Harness::with_filters(&["a"]);
    let mut records = BTreeMap::from([(b"old".to_vec(), vec![1])]);
    harness.publish(1, "t", 2);
    harness.durable();
    harness.transmitted();
    harness.command(Command::Disconnect);
    harness.reconfigure(ClientOptions { client_id: "other".to_owned(), ..with(&["a"]) });
    harness.store(&mut records);
    assert!(records.is_empty(), "{records:?}");
    assert!(harness.has_notice("`pumps` is dropped"));
    let outcomes = harness.outcomes();
    assert!(matches!(&outcomes[..], [(1, PublishOutcome::Uncertain(_))]), "{outcomes:?}");
    harness.connect();
    harness.receive(CONNACK);
    harness.durable();
    assert!(harness.client.session.outgoing.is_empty());
    assert_eq!(harness.client.session.client_id.as_deref(), Some("other"));
}

#[test]
fn a_session_that_is_to_be_kept_no_longer_is_forgotten() {
    let mut harness = Harness::with_filters(&["a"]);
    let mut records = BTreeMap::from([(b"old".to_vec(), vec![1])]);
    harness.command(Command::Disconnect);
    harness.reconfigure(ClientOptions { clean_session: true, ..with(&["a"]) });
    harness.store(&mut records);
    assert!(records.is_empty());
    harness.forget();
    harness.connect();
    // CONNECT says so: clean session.
    assert_eq!(harness.take_sent()[9], 2);
    harness.receive(CONNACK);
    // And back: a session that begins.
    harness.command(Command::Disconnect);
    harness.forget();
    harness.reconfigure(with(&["a"]));
    harness.connect();
    assert_eq!(harness.take_sent()[9], 0);
    harness.receive(CONNACK);
    assert!(!harness.has_notice("lost the session"));
}
