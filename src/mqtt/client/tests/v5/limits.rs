//! What one side allows the other.

use super::*;

#[test]
fn more_messages_than_we_take_are_a_fault() {
    let mut options = options_5();
    options.properties.receive_maximum = Some(2);
    let mut harness = Harness::up_5(options.clone(), &[]);
    // QoS 1 and 2 count together, QoS 0 does not.
    harness.receive(&[publish_5(0x32, 1), publish_5(0x34, 2), publish_5(0x30, 0)].concat());
    assert_eq!(harness.deliveries().len(), 3);
    harness.receive(&publish_5(0x32, 3));
    harness.assert_disconnects(0x93);
    assert!(harness.deliveries().is_empty());

    // An acknowledgement gives the place back; that of QoS 2 is PUBCOMP.
    for as_mosquitto in [false, true] {
        let limits = if as_mosquitto { &[0x22, 0, 10, 0x21, 0, 20][..] } else { &[] };
        places_come_back(Harness::up_5(options.clone(), limits), as_mosquitto);
    }
}

fn places_come_back(mut harness: Harness, as_mosquitto: bool) {
    harness.receive(&[publish_5(0x32, 1), publish_5(0x34, 2)].concat());
    for delivery in harness.deliveries() {
        harness.command(Command::Acknowledge(delivery));
    }
    assert_eq!(harness.take_sent(), [ack(0x40, 1), ack(0x50, 2)].concat());
    harness.receive(&publish_5(0x32, 3));
    harness.receive(&ack(0x62, 2));
    assert_eq!(harness.take_sent(), ack(0x70, 2));
    harness.receive(&publish_5(0x32, 4));
    assert!(harness.client.is_up());
    assert!(!harness.has_notice("against `receive_maximum`"));
    if !as_mosquitto {
        harness.receive(&publish_5(0x34, 5));
        return harness.assert_disconnects(0x93);
    }
    // As mosquitto counts: a whole window for each answer. It is borne, and told once.
    harness.receive(&[publish_5(0x34, 5), publish_5(0x34, 6)].concat());
    assert!(harness.client.is_up());
    let told = |event: &&Event| matches!(event, Event::Notice(text) if text.contains("against"));
    assert_eq!(harness.events.iter().filter(told).count(), 1);
    harness.receive(&publish_5(0x34, 7));
    harness.assert_disconnects(0x93);
}

#[test]
fn what_is_sent_again_may_exceed_our_receive_maximum() {
    let mut options = persistent_5();
    options.properties.receive_maximum = Some(2);
    let mut harness = Harness::up_5(options, &[]);
    harness.receive(&publish_5(0x34, 9));
    let delivery = harness.deliveries()[0];
    harness.command(Command::Acknowledge(delivery));
    harness.lose();
    harness.reconnect(CONNACK_5_PRESENT);
    harness.take_sent();
    let again = [publish_5(0x3a, 1), publish_5(0x3a, 2), publish_5(0x3a, 3)].concat();
    harness.receive(&[again, ack(0x62, 9).to_vec()].concat());
    harness.receive(&[publish_5(0x32, 4), publish_5(0x32, 5)].concat());
    assert!(harness.client.is_up());
    // PUBCOMP of an exchange from before gives a place, as the server counts.
    harness.durable();
    assert_eq!(harness.take_sent(), ack(0x70, 9));
    harness.receive(&publish_5(0x32, 6));
    assert!(harness.client.is_up());
    assert!(!harness.has_notice("against `receive_maximum`"));
}

#[test]
fn the_servers_receive_maximum_is_kept_and_places_come_back() {
    let mut harness = Harness::up_5(options_5(), &[0x21, 0, 2]);
    for token in 1..=6 {
        harness.publish(token, "t", if token == 1 { 2 } else { 1 });
    }
    harness.publish(7, "t", 0);
    let expected = [publish_5(0x34, 1), publish_5(0x32, 2), publish_5(0x30, 0)].concat();
    assert_eq!(harness.take_sent(), expected);
    // PUBREC of success keeps the place, one that refuses gives it back.
    harness.receive(&ack(0x50, 1));
    assert_eq!(harness.take_sent(), ack(0x62, 1));
    harness.receive(&[0x40, 3, 0, 2, 0x97]);
    assert_eq!(harness.take_sent(), publish_5(0x32, 3));
    harness.receive(&ack(0x70, 1));
    assert_eq!(harness.take_sent(), publish_5(0x32, 4));
    let outcomes = harness.outcomes();
    assert!(
        matches!(&outcomes[0], (2, PublishOutcome::Failed(why)) if why.contains("quota exceeded (0x97)"))
    );
    assert_eq!(outcomes[1], (1, PublishOutcome::Completed));
}

#[test]
fn a_full_window_holds_up_nothing_else() {
    let options = ClientOptions { keep_alive: 8, ping_interval: None, ..options_5() };
    let mut harness = Harness::up_5(options, &[0x21, 0, 1]);
    harness.publish(1, "t", 1);
    harness.publish(2, "t", 1);
    harness.take_sent();
    harness.receive(&publish_5(0x32, 9));
    let delivery = harness.deliveries()[0];
    harness.command(Command::Acknowledge(delivery));
    assert_eq!(harness.take_sent(), ack(0x40, 9));
    harness.wait(seconds(6));
    assert_eq!(harness.take_sent(), [0xc0, 0]);
}

#[test]
fn a_refused_qos_2_message_has_no_pubrel() {
    let mut harness = Harness::up_5(persistent_5(), &[]);
    harness.publish_5(1, "t", 2);
    harness.forget();
    harness.receive(&[0x50, 3, 0, 1, 0x87]);
    assert!(harness.take_sent().is_empty());
    // The failure is told when the record is gone: after a crash it would be sent again.
    assert!(!harness.events.iter().any(|event| matches!(event, Event::Completed { .. })));
    harness.durable();
    let expected = "the server refused it: not authorized (0x87)".to_owned();
    assert_eq!(harness.last_outcome(), PublishOutcome::Failed(expected));
    harness.lose();
    harness.reconnect(CONNACK_5_PRESENT);
    assert!(harness.take_sent().is_empty());
}

#[test]
fn nobody_who_listens_is_no_failure() {
    let mut harness = Harness::up_5(options_5(), &[]);
    harness.publish(1, "t", 1);
    harness.receive(&[0x40, 3, 0, 1, 0x10]);
    assert_eq!(harness.last_outcome(), PublishOutcome::Completed);
}

#[test]
fn nothing_is_repeated_on_a_live_connection() {
    let mut harness = Harness::up_5(ClientOptions { ping_interval: None, ..options_5() }, &[]);
    harness.publish(1, "t", 1);
    harness.publish(2, "t", 2);
    harness.take_sent();
    harness.wait(seconds(60));
    assert!(harness.take_sent().is_empty());
    assert!(harness.client.is_up());
}

#[test]
fn what_the_server_does_not_take_fails_before_it_is_sent() {
    let properties = [0x24, 1, 0x25, 0, 0x27, 0, 0, 0, 20];
    let mut harness = Harness::up_5(options_5(), &properties);
    harness.publish(1, "t", 2);
    harness.publish(2, "a/long/topic/name", 0);
    let deadline = harness.now + seconds(10);
    let publication = Publication { retain: true, ..publication("t", 1) };
    harness.command(Command::Publish {
        token: PublishToken(3),
        publication,
        deadline,
        expires: None,
    });
    harness.publish(4, "t", 1);
    let outcomes = harness.outcomes();
    let words = ["above QoS 1", "23 bytes is larger than 20 bytes", "retains no messages"];
    for (token, words) in (1..).zip(words) {
        let (_, outcome) = outcomes.iter().find(|outcome| outcome.0 == token).unwrap();
        assert!(
            matches!(outcome, PublishOutcome::Failed(why) if why.contains(words)),
            "{outcome:?}"
        );
    }
    assert_eq!(harness.take_sent(), publish_5(0x32, 1));
}

#[test]
fn filters_that_the_server_does_not_take_are_refused_with_their_names() {
    let filters = ["a/#", "$share/g/b", "$share/g/+", "c", "a/name/that/is/too/long"];
    let options = ClientOptions { subscriptions: subscribed(&filters), ..options_5() };
    let mut harness = Harness::new(options);
    harness.connect();
    harness.forget();
    harness.receive(&connack(&[0x28, 0, 0x2a, 0, 0x27, 0, 0, 0, 22]));
    assert_eq!(harness.take_sent(), [0x82, 7, 0, 1, 0, 0, 1, b'c', 1]);
    harness.receive(&[0x90, 4, 0, 1, 0, 1]);
    let Some(Event::Subscribed { granted }) = harness.events.pop() else { panic!() };
    let why = |filter: &str| {
        let found = granted.iter().find(|(name, _)| name == filter).unwrap();
        found.1.clone().map(|_| String::new()).unwrap_or_else(|why| why)
    };
    assert!(why("a/#").contains("wildcards"));
    assert!(why("$share/g/b").contains("shared"));
    assert!(why("$share/g/+").contains("shared"));
    assert!(why("a/name/that/is/too/long").contains("longer than the packets"));
    assert_eq!(why("c"), "");
    assert_eq!(granted.len(), 5);
}

#[test]
fn subscribe_is_split_to_the_servers_packet_size() {
    let filters = ["aaaa", "bbbb", "cccc"];
    let options = ClientOptions { subscriptions: subscribed(&filters), ..options_5() };
    let mut harness = Harness::new(options);
    harness.connect();
    harness.forget();
    harness.receive(&connack(&[0x27, 0, 0, 0, 25]));
    let sent = harness.take_sent();
    assert_eq!(sent[..2], [0x82, 17]);
    assert_eq!(sent[19..21], [0x82, 10]);
}

#[test]
fn a_refused_filter_has_the_servers_words() {
    let options = ClientOptions { subscriptions: subscribed(&["a"]), ..options_5() };
    let mut harness = Harness::new(options);
    harness.connect();
    harness.receive(CONNACK_5);
    harness.receive(&[0x90, 9, 0, 1, 5, 0x1f, 0, 2, b'n', b'o', 0x87]);
    let Some(Event::Subscribed { granted }) = harness.events.pop() else { panic!() };
    assert_eq!(granted, [("a".to_owned(), Err("not authorized (0x87): no".to_owned()))]);
}

#[test]
fn the_servers_keep_alive_replaces_ours() {
    for (ours, theirs, due) in [(60u16, 4u8, Some(3)), (4, 40, Some(30)), (4, 0, None)] {
        let options = ClientOptions { keep_alive: ours, ..options_5() };
        let mut harness = Harness::up_5(options, &[0x13, 0, theirs]);
        if let Some(due) = due {
            harness.wait(seconds(due) - Duration::from_millis(1));
            assert!(harness.take_sent().is_empty());
            harness.wait(Duration::from_millis(1));
            assert_eq!(harness.take_sent(), [0xc0, 0]);
        } else {
            harness.wait(seconds(1000));
            assert!(harness.take_sent().is_empty());
        }
    }
}

#[test]
fn the_server_may_use_aliases_up_to_our_maximum() {
    let mut options = options_5();
    options.properties.topic_alias_maximum = 2;
    let mut harness = Harness::up_5(options, &[]);
    let topics = |harness: &mut Harness| -> Vec<String> {
        let topic = |event| match event {
            Event::Message { publication, .. } => Some(publication.topic.to_string()),
            _ => None,
        };
        std::mem::take(&mut harness.events).into_iter().filter_map(topic).collect()
    };
    harness.receive(&[0x30, 8, 0, 1, b'a', 3, 0x23, 0, 2, b'1']);
    harness.receive(&[0x30, 7, 0, 0, 3, 0x23, 0, 2, b'1']);
    harness.receive(&[0x30, 8, 0, 1, b'b', 3, 0x23, 0, 2, b'1']);
    harness.receive(&[0x30, 7, 0, 0, 3, 0x23, 0, 2, b'1']);
    assert_eq!(topics(&mut harness), ["a", "a", "b", "b"]);
    // It means nothing on another connection.
    harness.lose();
    harness.reconnect(CONNACK_5);
    harness.closes = 0;
    harness.receive(&[0x30, 7, 0, 0, 3, 0x23, 0, 2, b'1']);
    harness.assert_disconnects(0x82);
}

#[test]
fn our_aliases_stay_within_the_servers_maximum_and_their_connection() {
    let mut harness = Harness::up_5(persistent_5(), &[0x22, 0, 1]);
    let sent = |harness: &mut Harness, topic: &str, level| {
        harness.publish_5(1, topic, level);
        harness.take_sent()
    };
    let whole = [&[0x30, 10, 0, 6][..], b"site/a", &[0], b"1"].concat();
    let set = [&[0x30, 13, 0, 6][..], b"site/a", &[3, 0x23, 0, 1], b"1"].concat();
    let by_alias = [&[0x30, 7, 0, 0, 3, 0x23, 0, 1][..], b"1"].concat();
    assert_eq!(sent(&mut harness, "site/a", 0), whole);
    assert_eq!(sent(&mut harness, "site/a", 0), set);
    assert_eq!(sent(&mut harness, "site/a", 0), by_alias);
    // There is no second one, and this topic is used less.
    assert_eq!(sent(&mut harness, "site/b", 0).len(), 12);
    assert_eq!(sent(&mut harness, "site/b", 0).len(), 12);
    // What is sent again names its topic, and so does the first use on the next connection.
    harness.publish_5(9, "site/a", 1);
    assert_eq!(harness.take_sent()[..4], [0x32, 9, 0, 0]);
    harness.lose();
    harness.reconnect(&[0x20, 6, 1, 0, 3, 0x22, 0, 1]);
    let again = [&[0x3a, 12, 0, 6][..], b"site/a", &[0, 1, 0], b"1"].concat();
    assert_eq!(harness.take_sent(), again);
    assert_eq!(sent(&mut harness, "site/a", 0), whole);
    assert_eq!(sent(&mut harness, "site/a", 0), set);
    // Without the server's word there is none.
    harness.lose();
    harness.reconnect(CONNACK_5_PRESENT);
    harness.take_sent();
    for _ in 0..3 {
        assert_eq!(sent(&mut harness, "site/a", 0), whole);
    }
}

#[test]
fn a_refused_publish_leaves_no_deadline_to_the_next_one_with_its_id() {
    let mut harness = Harness::up_5(options_5(), &[]);
    harness.publish_5(1, "t", 1);
    harness.receive(&[0x40, 3, 0, 1, 0x97]);
    assert!(matches!(&harness.outcomes()[..], [(1, PublishOutcome::Failed(_))]));
    assert_eq!(harness.client.unfinished(), 0);
}
