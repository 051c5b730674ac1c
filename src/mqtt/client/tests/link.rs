//! Greeting, subscriptions, timers, faults and reconnects.

use super::*;
use crate::mqtt::packet::Will;

#[test]
fn connect_carries_the_configuration() {
    let will = Will { publication: publication("gone", 1), delay_s: 0 };
    let mut harness =
        Harness::new(ClientOptions { keep_alive: 300, will: Some(will), ..persistent() });
    harness.command(Command::Connect);
    assert_eq!(harness.connects, [0]);
    let credentials = Credentials {
        user_name: Some("u".to_owned()),
        password: Some(b"p".to_vec()),
        authenticator: None,
    };
    harness.input(Input::Connected(credentials));
    assert_eq!(
        harness.take_sent(),
        [
            0x10,
            32,
            0,
            4,
            b'M',
            b'Q',
            b'T',
            b'T',
            4,
            0b1100_1100,
            1,
            44, //
            0,
            5,
            b'p',
            b'u',
            b'm',
            b'p',
            b's',
            0,
            4,
            b'g',
            b'o',
            b'n',
            b'e',
            0,
            1,
            b'1', //
            0,
            1,
            b'u',
            0,
            1,
            b'p',
        ]
    );
}

#[test]
fn an_empty_client_id_means_a_clean_session() {
    let mut harness = Harness::new(ClientOptions { client_id: String::new(), ..persistent() });
    harness.connect();
    assert_eq!(harness.take_sent(), [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0]);
}

#[test]
fn a_refusal_is_told_in_words_and_tried_again() {
    for (code, words) in [
        (1, "version of MQTT"),
        (2, "another client may be using the id"),
        (3, "unavailable"),
        (4, "wrong user name or password"),
        (5, "not authorized"),
        (99, "unknown reason (CONNACK return code 99)"),
    ] {
        let mut harness = Harness::new(options());
        harness.connect();
        harness.take_sent();
        harness.receive(&[0x20, 2, 0, code]);
        assert!(harness.cause().contains(words), "{}", harness.cause());
        assert!(harness.cause().contains("`pumps`"));
        assert_eq!((harness.closes, harness.sent.len()), (1, 0));
        harness.wait_for_connect();
    }
}

#[test]
fn a_greeting_that_is_no_connack_is_a_fault() {
    for (bytes, words) in [
        (&b"\xd0\x00"[..], "not a CONNACK"),
        (b"\x30\x04\0\x01t1", "not a CONNACK"),
        (b"HTTP/1.1 400", "HTTP"),
        (b"\x15\x03\x01\0\x02", "TLS"),
    ] {
        let mut harness = Harness::new(options());
        harness.connect();
        harness.receive(bytes);
        assert!(harness.cause().contains(words), "{}", harness.cause());
        assert_eq!(harness.closes, 1);
    }
}

#[test]
fn a_second_connack_is_a_fault() {
    let mut harness = Harness::up(options());
    harness.receive(CONNACK);
    assert!(harness.cause().contains("second CONNACK"));
    assert_eq!((harness.closes, harness.take_sent()), (1, vec![]));
}

#[test]
fn a_session_after_a_clean_connect_is_a_fault() {
    let mut harness = Harness::new(options());
    harness.connect();
    harness.receive(CONNACK_PRESENT);
    assert!(harness.cause().contains("clean"));
}

#[test]
fn all_filters_are_subscribed_in_packets_of_eight() {
    let names: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut harness =
        Harness::new(ClientOptions { subscriptions: subscribed(&names), ..options() });
    harness.connect();
    harness.forget();
    harness.receive(CONNACK);
    let sent = harness.take_sent();
    assert_eq!(sent[..9], [0x82, 42, 0, 1, 0, 2, b'f', b'0', 1]);
    assert_eq!(sent[44..], [0x82, 12, 0, 2, 0, 2, b'f', b'8', 1, 0, 2, b'f', b'9', 1]);
    harness.forget();
    harness.receive(&[0x90, 4, 0, 2, 1, 0x80]);
    assert!(harness.events.is_empty());
    harness.receive(&[0x90, 10, 0, 1, 0, 1, 1, 1, 1, 1, 1, 2]);
    let [Event::Subscribed { granted }] = &harness.events[..] else { panic!() };
    assert_eq!(granted[1], ("f9".to_owned(), Err("unspecified error (0x80)".to_owned())));
    assert_eq!(granted[2], ("f0".to_owned(), Ok(Qos::AtMostOnce)));
    assert_eq!(granted.len(), 10);
    assert!(harness.client.is_up());
}

#[test]
fn answers_to_nothing_are_ignored() {
    let mut harness = Harness::up(ClientOptions { subscriptions: subscribed(&["a"]), ..options() });
    harness.receive(&[0x90, 3, 0, 9, 0]);
    assert!(harness.has_notice("SUBACK"));
    for first in [0xb0, 0x40, 0x50, 0x70] {
        harness.receive(&ack(first, 1));
    }
    assert!(harness.client.is_up());
    assert!(harness.take_sent().is_empty());
    harness.receive(&[0x90, 3, 0, 1, 0]);
    assert!(matches!(harness.events.last(), Some(Event::Subscribed { .. })));
}

#[test]
fn a_suback_of_another_length_is_a_fault() {
    let mut harness = Harness::up(ClientOptions { subscriptions: subscribed(&["a"]), ..options() });
    harness.receive(&[0x90, 4, 0, 1, 0, 0]);
    assert!(harness.cause().contains("SUBACK"));
}

#[test]
fn no_answer_in_time_closes_the_connection() {
    let mut harness = Harness::new(options());
    harness.connect();
    harness.wait(seconds(19));
    assert_eq!(harness.closes, 0);
    harness.wait(seconds(1));
    assert!(harness.cause().contains("did not answer CONNECT within 20s"), "{}", harness.cause());

    let mut harness = Harness::up(ClientOptions { subscriptions: subscribed(&["a"]), ..options() });
    harness.wait(seconds(20));
    assert!(harness.cause().contains("SUBSCRIBE"));

    let mut harness = Harness::up(ClientOptions { ping_interval: Some(seconds(5)), ..options() });
    harness.wait(seconds(5));
    assert_eq!(harness.take_sent(), [0xc0, 0]);
    harness.wait(seconds(19));
    assert_eq!((harness.closes, harness.take_sent()), (0, vec![]));
    harness.wait(seconds(1));
    assert!(harness.cause().contains("PINGREQ"));
    assert_eq!(harness.closes, 1);
}

#[test]
fn without_a_reply_timeout_nothing_is_given_up() {
    let mut harness = Harness::new(ClientOptions {
        reply_timeout: None,
        ping_interval: Some(seconds(5)),
        subscriptions: subscribed(&["a"]),
        ..options()
    });
    harness.connect();
    harness.wait(seconds(1000));
    harness.receive(CONNACK);
    harness.take_sent();
    harness.wait(seconds(16));
    assert_eq!(harness.take_sent(), [0xc0, 0, 0xc0, 0, 0xc0, 0]);
    assert_eq!(harness.closes, 0);
}

#[test]
fn packets_from_the_server_buy_time_for_an_answer_but_not_for_ever() {
    let mut harness = Harness::up(ClientOptions { keep_alive: 8, ..options() });
    harness.wait(seconds(6));
    assert_eq!(harness.take_sent(), [0xc0, 0]);
    for _ in 0..11 {
        harness.wait(seconds(5));
        harness.receive(&publish(0x30, 0));
        assert_eq!(harness.closes, 0);
    }
    harness.wait(seconds(5));
    assert!(harness.cause().contains("PINGREQ"));
}

#[test]
fn a_ping_behind_much_else_has_its_time_from_the_moment_at_which_it_leaves() {
    let mut harness = Harness::up(ClientOptions { ping_interval: Some(seconds(5)), ..options() });
    harness.transmitted();
    harness.publish(1, &"t".repeat(1000), 0);
    harness.wait(seconds(5));
    let sent = harness.take_sent();
    assert!(sent.ends_with(&[0xc0, 0]));
    for _ in 0..6 {
        harness.wait(seconds(15));
        harness.input(Input::Transmitted(10));
    }
    harness.input(Input::Transmitted(sent.len() - 60));
    harness.wait(seconds(19));
    assert_eq!(harness.closes, 0);
    harness.wait(seconds(1));
    assert!(harness.cause().contains("PINGREQ"), "{}", harness.cause());

    // A server that takes nothing does not get more time.
    let mut harness = Harness::up(ClientOptions { ping_interval: Some(seconds(5)), ..options() });
    harness.transmitted();
    harness.publish(1, &"t".repeat(1000), 0);
    harness.wait(seconds(24));
    assert_eq!(harness.closes, 0);
    harness.wait(seconds(1));
    assert!(harness.cause().contains("PINGREQ"), "{}", harness.cause());
}

#[test]
fn unsent_answers_are_told_from_publications() {
    let mut harness = Harness::up(options());
    harness.transmitted();
    harness.publish(1, &"t".repeat(1000), 0);
    assert_eq!(harness.client.unsent_answers(), 0);
    for _ in 0..100 {
        harness.receive(&[0x62, 2, 0, 9]);
    }
    assert_eq!(harness.client.unsent_answers(), 400);
    // Taken in part: what has left counts until all that was before it has.
    harness.input(Input::Transmitted(1200));
    assert_eq!(harness.client.unsent_answers(), 400);
    harness.receive(&[0x62, 2, 0, 9]);
    harness.transmitted();
    assert_eq!(harness.client.unsent_answers(), 0);
}

#[test]
fn keep_alive_counts_from_the_last_packet_sent() {
    let mut harness = Harness::up(ClientOptions { keep_alive: 8, ..options() });
    harness.wait(seconds(5));
    harness.publish(1, "t", 0);
    harness.take_sent();
    // What the server sends does not count.
    for _ in 0..5 {
        harness.wait(seconds(1));
        harness.receive(&publish(0x30, 0));
        assert!(harness.take_sent().is_empty());
    }
    harness.wait(seconds(1));
    assert_eq!(harness.take_sent(), [0xc0, 0]);
    // It goes on while the answer is outstanding.
    harness.wait(seconds(6));
    assert_eq!(harness.take_sent(), [0xc0, 0]);
    harness.receive(&[0xd0, 0]);
    harness.wait(seconds(19));
    assert_eq!(harness.closes, 0);
}

#[test]
fn a_flood_does_not_delay_a_ping() {
    let mut harness = Harness::up(ClientOptions { keep_alive: 8, ..options() });
    let mut buffer = BytesMut::new();
    for _ in 0..30 {
        buffer.extend_from_slice(&publish(0x30, 0));
    }
    harness.now += seconds(6);
    assert_eq!(harness.client.handle_bytes(harness.now, &mut buffer), BytesProgress::More);
    harness.drain();
    assert_eq!(harness.take_sent(), [0xc0, 0]);
    assert_eq!(harness.deliveries().len(), 10);
    assert_eq!(buffer.len(), 20 * 6);
}

#[test]
fn the_ping_interval_counts_from_the_last_bytes_received() {
    let mut harness = Harness::up(ClientOptions { ping_interval: Some(seconds(5)), ..options() });
    harness.wait(seconds(4));
    harness.receive(&publish(0x30, 0));
    harness.wait(seconds(4));
    assert!(harness.take_sent().is_empty());
    harness.wait(seconds(1));
    assert_eq!(harness.take_sent(), [0xc0, 0]);
    harness.receive(&[0xd0, 0]);
    harness.wait(seconds(4));
    assert!(harness.take_sent().is_empty());
    harness.wait(seconds(1));
    assert_eq!(harness.take_sent(), [0xc0, 0]);
}

#[test]
fn a_packet_that_stays_incomplete_closes_the_connection() {
    let mut harness = Harness::up(options());
    let packet = publish(0x30, 0);
    let mut buffer = BytesMut::from(&packet[..3]);
    harness.client.handle_bytes(harness.now, &mut buffer);
    harness.wait(seconds(15));
    buffer.extend_from_slice(&packet[3..5]);
    harness.client.handle_bytes(harness.now, &mut buffer);
    harness.wait(seconds(15));
    // A call without more bytes gives no more time.
    harness.client.handle_bytes(harness.now, &mut buffer);
    assert_eq!(harness.closes, 0);
    harness.wait(seconds(5));
    assert!(harness.cause().contains("in the middle of a packet"), "{}", harness.cause());

    let mut harness = Harness::up(options());
    let mut buffer = BytesMut::from(&packet[..3]);
    harness.client.handle_bytes(harness.now, &mut buffer);
    harness.wait(seconds(15));
    buffer.extend_from_slice(&packet[3..]);
    harness.client.handle_bytes(harness.now, &mut buffer);
    harness.wait(seconds(100));
    assert_eq!(harness.closes, 0);
}

#[test]
fn a_packet_that_is_too_large_is_refused_at_its_header() {
    let mut harness = Harness::up(ClientOptions { maximum_packet_size: 1000, ..options() });
    let mut whole = vec![0x30, 0xe5, 7, 0, 1, b't'];
    whole.resize(1000, b'x');
    harness.receive(&whole);
    assert_eq!(harness.deliveries().len(), 1);
    harness.receive(&[0x30, 0xe6, 7]);
    assert!(harness.cause().contains("PUBLISH of 1001 bytes"), "{}", harness.cause());
    assert!(harness.cause().contains("`maximum_packet_size` allows 1000"));
}

#[test]
fn an_illegal_packet_closes_the_connection_without_disconnect() {
    let mut harness = Harness::up(options());
    harness.receive(&[&publish(0x32, 1)[..], &[0x36], &publish(0x30, 0)].concat());
    assert!(harness.cause().contains("QoS is 3"));
    assert_eq!((harness.closes, harness.take_sent()), (1, vec![]));
    let deliveries = harness.deliveries();
    assert_eq!(deliveries.len(), 1);
    // The rest of the stream means nothing.
    harness.receive(&publish(0x30, 0));
    assert!(harness.events.is_empty());
    harness.reconnect(CONNACK);
    assert!(harness.client.is_up());
}

#[test]
fn a_lost_connection_comes_back_with_growing_pauses() {
    let mut harness = Harness::up(options());
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        harness.lose();
        let Some(Event::Down { retry_in: Some(pause), .. }) = harness.events.last() else {
            panic!()
        };
        longest = longest.max(*pause);
        harness.wait_for_connect();
        harness.input(Input::ConnectFailed("refused".to_owned()));
        harness.wait_for_connect();
        harness.opened();
        harness.events.clear();
    }
    assert!(longest > seconds(10) && longest <= seconds(30));
}

#[test]
fn a_connection_that_lasted_starts_the_pauses_anew() {
    let mut harness = Harness::up(ClientOptions { servers: 2, ..options() });
    for _ in 0..21 {
        harness.lose();
        harness.reconnect(CONNACK);
    }
    let server = *harness.connects.last().unwrap();
    harness.wait(seconds(10));
    harness.forget();
    harness.lose();
    let Event::Down { retry_in: Some(pause), was_up: true, .. } = harness.events[0] else {
        panic!()
    };
    assert!(pause <= seconds(1));
    harness.wait_for_connect();
    assert_eq!(harness.connects.last(), Some(&server));
    harness.input(Input::ConnectFailed("refused".to_owned()));
    harness.wait_for_connect();
    assert_ne!(harness.connects.last(), Some(&server));
}

#[test]
fn a_take_over_is_recognised() {
    let mut harness = Harness::up(options());
    for round in 1..=3 {
        assert!(!harness.has_notice("another client"), "{round}");
        harness.lose();
        if round < 3 {
            harness.reconnect(CONNACK);
        }
    }
    assert!(harness.has_notice("another client probably uses the client id `pumps`"));
    harness.reconnect(CONNACK);
    harness.wait(seconds(11));
    for _ in 0..2 {
        harness.lose();
        harness.reconnect(CONNACK);
    }
    harness.lose();
    assert!(!harness.has_notice("another client"));
}

#[test]
fn disconnect_is_the_last_packet_and_nothing_follows() {
    let mut harness = Harness::up(options());
    harness.command(Command::Disconnect);
    assert_eq!((harness.take_sent(), harness.closes), (vec![0xe0, 0], 1));
    assert!(matches!(harness.events[..], [Event::Down { was_up: true, retry_in: None, .. }]));
    harness.wait(seconds(1000));
    assert_eq!(harness.connects.len(), 1);
    harness.connect();
    assert_eq!(harness.connects.len(), 2);
    harness.command(Command::Disconnect);
    harness.command(Command::Connect);
    harness.command(Command::Disconnect);
    assert_eq!((harness.closes, harness.connects.len()), (3, 3));
    harness.input(Input::Connected(Credentials::default()));
    harness.wait(seconds(1000));
    assert_eq!((harness.closes, harness.connects.len()), (3, 3));
}

#[test]
fn what_cannot_be_said_in_connect_is_told() {
    let mut harness = Harness::new(options());
    harness.command(Command::Connect);
    let user_name = Some("x".repeat(70_000));
    harness.input(Input::Connected(Credentials { user_name, ..Credentials::default() }));
    assert!(harness.cause().contains("user name"));
    assert_eq!(harness.closes, 1);
    harness.wait_for_connect();
}
