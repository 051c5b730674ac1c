//! Messages from the server and their acknowledgements.

use super::*;

#[test]
fn a_message_is_acknowledged_at_its_qos_when_it_is_safe() {
    let mut harness = Harness::up(options());
    harness.receive(&[publish(0x30, 0), publish(0x33, 256), publish(0x34, 65_535)].concat());
    assert!(harness.take_sent().is_empty());
    let deliveries = harness.deliveries();
    assert_eq!(deliveries.len(), 3);
    for delivery in deliveries {
        harness.command(Command::Acknowledge(delivery));
    }
    assert_eq!(harness.take_sent(), [ack(0x40, 256), ack(0x50, 65_535)].concat());
}

#[test]
fn acknowledgements_keep_the_order_of_arrival() {
    let mut harness = Harness::up(options());
    for id in [5, 3, 4] {
        harness.receive(&publish(0x32, id));
        harness.receive(&publish(0x34, id + 10));
    }
    let deliveries = harness.deliveries();
    for position in [5, 4, 3, 2] {
        harness.command(Command::Acknowledge(deliveries[position]));
        assert!(harness.take_sent().is_empty());
    }
    harness.command(Command::Acknowledge(deliveries[0]));
    assert_eq!(harness.take_sent(), [ack(0x40, 5), ack(0x40, 3), ack(0x40, 4)].concat());
    harness.command(Command::Acknowledge(deliveries[1]));
    assert_eq!(harness.take_sent(), [ack(0x50, 15), ack(0x50, 13), ack(0x50, 14)].concat());
}

#[test]
fn acknowledgements_of_one_turn_leave_in_one_transmit() {
    let mut harness = Harness::up(options());
    harness.receive(&[publish(0x32, 1), publish(0x32, 2)].concat());
    for delivery in harness.deliveries() {
        harness.client.handle_command(harness.now, Command::Acknowledge(delivery));
    }
    let Some(Output::Transmit(bytes)) = harness.client.poll_output() else { panic!() };
    assert_eq!(&bytes[..], [ack(0x40, 1), ack(0x40, 2)].concat());
    assert!(harness.client.poll_output().is_none());
}

#[test]
fn the_same_id_after_puback_is_a_message_of_its_own() {
    let mut harness = Harness::up(options());
    for first in [0x32, 0x3a, 0x32] {
        harness.receive(&publish(first, 1));
        let deliveries = harness.deliveries();
        assert_eq!(deliveries.len(), 1);
        harness.command(Command::Acknowledge(deliveries[0]));
        assert_eq!(harness.take_sent(), ack(0x40, 1));
    }
}

#[test]
fn a_qos_2_message_is_handed_over_once_and_answered_each_time() {
    let mut harness = Harness::up(options());
    harness.receive(&[publish(0x34, 1), publish(0x3c, 1)].concat());
    let deliveries = harness.deliveries();
    assert_eq!(deliveries.len(), 1);
    harness.command(Command::Acknowledge(deliveries[0]));
    assert_eq!(harness.take_sent(), [ack(0x50, 1), ack(0x50, 1)].concat());
    harness.receive(&publish(0x3c, 1));
    assert_eq!(harness.take_sent(), ack(0x50, 1));
    assert!(harness.deliveries().is_empty());
    harness.receive(&ack(0x62, 1));
    harness.receive(&ack(0x62, 1));
    assert_eq!(harness.take_sent(), [ack(0x70, 1), ack(0x70, 1)].concat());
    harness.receive(&publish(0x34, 1));
    assert_eq!(harness.deliveries().len(), 1);
}

#[test]
fn an_unknown_pubrel_is_answered() {
    let mut harness = Harness::up(options());
    harness.receive(&ack(0x62, 77));
    assert_eq!(harness.take_sent(), ack(0x70, 77));
    let mut harness = Harness::up(persistent());
    harness.durable();
    harness.receive(&ack(0x62, 77));
    assert_eq!(harness.take_sent(), ack(0x70, 77));
}

#[test]
fn a_release_before_the_message_is_safe_waits_for_it() {
    let mut harness = Harness::up(options());
    harness.receive(&publish(0x34, 1));
    harness.receive(&ack(0x62, 1));
    assert!(harness.take_sent().is_empty());
    let delivery = harness.deliveries()[0];
    harness.command(Command::Acknowledge(delivery));
    assert_eq!(harness.take_sent(), [ack(0x50, 1), ack(0x70, 1)].concat());
}

#[test]
fn a_settlement_for_an_old_connection_is_inert() {
    let mut harness = Harness::up(persistent());
    harness.receive(&[publish(0x32, 1), publish(0x34, 2)].concat());
    let deliveries = harness.deliveries();
    harness.lose();
    harness.reconnect(CONNACK_PRESENT);
    harness.durable();
    harness.forget();
    for &delivery in &deliveries {
        harness.command(Command::Acknowledge(delivery));
    }
    assert!(harness.take_sent().is_empty());
    // The QoS 1 message comes again as a new delivery, the QoS 2 message is known.
    harness.receive(&[publish(0x3a, 1), publish(0x3c, 2)].concat());
    assert_eq!(harness.take_sent(), ack(0x50, 2));
    let again = harness.deliveries();
    assert_eq!(again.len(), 1);
    harness.command(Command::Acknowledge(deliveries[0]));
    assert!(harness.take_sent().is_empty());
    harness.command(Command::Acknowledge(again[0]));
    assert_eq!(harness.take_sent(), ack(0x40, 1));
}

#[test]
fn an_unsettled_qos_2_message_seen_again_is_answered_on_the_connection_that_saw_it() {
    let mut harness = Harness::up(persistent());
    harness.receive(&publish(0x34, 2));
    let delivery = harness.deliveries()[0];
    harness.lose();
    harness.reconnect(CONNACK_PRESENT);
    harness.forget();
    harness.receive(&publish(0x3c, 2));
    assert!(harness.deliveries().is_empty());
    harness.command(Command::Acknowledge(delivery));
    assert_eq!(harness.take_sent(), ack(0x50, 2));
}

#[test]
fn after_a_lost_session_an_old_settlement_does_not_touch_the_new_message() {
    let mut harness = Harness::up(persistent());
    harness.receive(&publish(0x34, 2));
    let old = harness.deliveries()[0];
    harness.lose();
    harness.reconnect(CONNACK);
    harness.durable();
    harness.forget();
    harness.receive(&publish(0x34, 2));
    let new = harness.deliveries()[0];
    assert_ne!(old, new);
    harness.command(Command::Acknowledge(old));
    assert!(harness.take_sent().is_empty());
    // The record that was written for it is taken back.
    let key = old.session_change().unwrap().key;
    let [Event::Session { change, .. }] = &harness.events[..] else { panic!() };
    assert_eq!(change, &SessionChange { key, value: None });
    harness.command(Command::Acknowledge(new));
    assert_eq!(harness.take_sent(), ack(0x50, 2));
}

#[test]
fn pubcomp_waits_for_its_record() {
    let mut harness = Harness::up(persistent());
    harness.durable();
    harness.receive(&publish(0x34, 2));
    let delivery = harness.deliveries()[0];
    assert!(delivery.session_change().is_some());
    harness.command(Command::Acknowledge(delivery));
    assert_eq!(harness.take_sent(), ack(0x50, 2));
    harness.receive(&ack(0x62, 2));
    // A second PUBREL is not answered earlier than the first.
    harness.receive(&ack(0x62, 2));
    harness.receive(&publish(0x32, 9));
    assert!(harness.take_sent().is_empty());
    // What needs no record passes by.
    let delivery = harness.deliveries()[0];
    harness.command(Command::Acknowledge(delivery));
    assert_eq!(harness.take_sent(), ack(0x40, 9));
    harness.durable();
    assert_eq!(harness.take_sent(), [ack(0x70, 2), ack(0x70, 2)].concat());
}

#[test]
fn a_clean_session_records_nothing() {
    let mut harness = Harness::up(ClientOptions { subscriptions: subscribed(&["a"]), ..options() });
    harness.receive(&[0x90, 3, 0, 1, 1]);
    harness.publish(1, "t", 2);
    harness.receive(&publish(0x34, 2));
    harness.receive(&ack(0x50, 2));
    harness.receive(&ack(0x70, 2));
    assert!(!harness.events.iter().any(|event| matches!(event, Event::Session { .. })));
    let delivery = harness.deliveries()[0];
    assert_eq!(delivery.session_change(), None);
    harness.lose();
    harness.command(Command::Acknowledge(delivery));
    assert!(!harness.events.iter().any(|event| matches!(event, Event::Session { .. })));
}

#[test]
fn a_message_before_suback_is_taken() {
    let mut harness = Harness::up(ClientOptions { subscriptions: subscribed(&["a"]), ..options() });
    harness.receive(&publish(0x30, 0));
    assert_eq!(harness.deliveries().len(), 1);
}

#[test]
fn dup_and_retain_are_told() {
    let mut harness = Harness::up(options());
    harness.receive(&publish(0x3b, 1));
    let [Event::Message { publication, dup: true, .. }] = &harness.events[..] else { panic!() };
    assert!(publication.retain);
    assert_eq!((&*publication.topic, &publication.payload[..]), ("t", &b"1"[..]));
}

#[test]
fn what_is_overtaken_does_not_hold_up_later_acknowledgements() {
    let mut harness = Harness::up(options());
    harness.receive(
        &[publish(0x32, 1), publish(0x34, 2), publish(0x32, 3), publish(0x34, 4)].concat(),
    );
    let deliveries = harness.deliveries();
    harness.command(Command::Acknowledge(deliveries[2]));
    harness.command(Command::Acknowledge(deliveries[3]));
    assert!(harness.take_sent().is_empty());
    harness.command(Command::Overtake(deliveries[0]));
    assert_eq!(harness.take_sent(), ack(0x40, 3));
    harness.command(Command::Overtake(deliveries[1]));
    assert_eq!(harness.take_sent(), ack(0x50, 4));
    harness.command(Command::Acknowledge(deliveries[1]));
    harness.command(Command::Acknowledge(deliveries[0]));
    assert_eq!(harness.take_sent(), [ack(0x50, 2), ack(0x40, 1)].concat());
}

#[test]
fn what_is_declined_is_not_acknowledged_and_comes_again() {
    let mut harness = Harness::up(persistent());
    harness.receive(&[publish(0x32, 1), publish(0x34, 2), publish(0x34, 3)].concat());
    let deliveries = harness.deliveries();
    harness.command(Command::Decline(deliveries[0]));
    harness.command(Command::Decline(deliveries[1]));
    harness.command(Command::Acknowledge(deliveries[2]));
    assert_eq!(harness.take_sent(), ack(0x50, 3), "later ones do not wait");
    harness.input(Input::Closed("cut".to_owned()));
    harness.reconnect(CONNACK_PRESENT);
    harness.forget();
    harness.receive(&[publish(0x3a, 1), publish(0x3c, 2)].concat());
    let again = harness.deliveries();
    assert_eq!(again.len(), 2);
    for delivery in again {
        harness.command(Command::Acknowledge(delivery));
    }
    assert_eq!(harness.take_sent(), [ack(0x40, 1), ack(0x50, 2)].concat());
}

#[test]
fn a_message_that_an_earlier_process_showed_is_answered_when_it_is_confirmed() {
    let mut harness = Harness::up(persistent());
    harness.receive(&[publish(0x34, 7), publish(0x34, 8)].concat());
    let deliveries = harness.deliveries();
    let meta = harness.client.session.meta_change();
    let shown = deliveries[0].session_change_unconfirmed(b"pump").unwrap();
    let safe = deliveries[1].session_change().unwrap();
    let records = [meta, shown, safe].map(|change| (change.key, change.value.unwrap()));
    let mut session = Session::restore(records).unwrap();
    let unconfirmed = session.take_unconfirmed();
    assert_eq!(unconfirmed.len(), 1);
    assert_eq!((unconfirmed[0].packet_id, &*unconfirmed[0].note), (7, &b"pump"[..]));
    let mut harness = Harness::restored(persistent(), session, harness.now);
    harness.connect();
    harness.receive(CONNACK_PRESENT);
    harness.forget();
    harness.receive(&[publish(0x3c, 8), publish(0x3c, 7)].concat());
    assert!(harness.deliveries().is_empty(), "both are applied");
    assert_eq!(harness.take_sent(), ack(0x50, 8));
    harness.command(Command::Acknowledge(unconfirmed[0].delivery()));
    assert_eq!(harness.take_sent(), ack(0x50, 7));
}
