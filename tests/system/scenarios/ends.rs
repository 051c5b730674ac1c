//! Refusals, disconnects, referrals and resets; and that none of them makes a tight loop.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::stage::{ALL, ONLY_5, ONLY_311, SAMPLE, Scenario, Stage, scenario};
use crate::harness::PATIENCE;
use crate::strict::packet::{disconnect, encode, frame, publish};
use crate::strict::property::{self, Value};
use crate::strict::{Broker, Got, Link, Packet};

pub const SCENARIOS: &[Scenario] = &[
    scenario("refused-311", refused_311).only(ONLY_311),
    scenario("refused-5", refused_5).only(ONLY_5),
    scenario("only-5-is-spoken", only_5_is_spoken).only(ONLY_311),
    scenario("only-311-is-spoken", only_311_is_spoken).only(ONLY_5),
    scenario("server-disconnects", server_disconnects).only(ONLY_5),
    scenario("server-disconnects-in-a-handshake", disconnects_in_a_handshake).only(ONLY_5),
    scenario("moved-at-connack", |stage| moved(stage, At::Connack, 0x9D)).only(ONLY_5),
    scenario("another-at-connack", |stage| moved(stage, At::Connack, 0x9C)).only(ONLY_5),
    scenario("moved-at-disconnect", |stage| moved(stage, At::Disconnect, 0x9D)).only(ONLY_5),
    scenario("another-at-disconnect", |stage| moved(stage, At::Disconnect, 0x9C)).only(ONLY_5),
    scenario("referred-nowhere", referred_nowhere).only(ONLY_5),
    scenario("referred-to-itself", referred_to_itself).only(ONLY_5).over(SAMPLE),
    scenario("reset-at-each-byte", reset_at_each_byte),
    scenario("close-at-each-byte", close_at_each_byte).over(SAMPLE),
    scenario("half-closed", half_closed),
    scenario("loop-accept-close", |stage| loops(stage, Fault::Accept)).over(SAMPLE),
    scenario("loop-accept-reset", |stage| loops(stage, Fault::AcceptReset)).over(SAMPLE),
    scenario("loop-connect-close", |stage| loops(stage, Fault::Connect)).over(ALL),
    scenario("loop-refused", |stage| loops(stage, Fault::Refused)).over(SAMPLE),
    scenario("loop-connack-close", |stage| loops(stage, Fault::Connack)).over(SAMPLE),
    scenario("loop-illegal", |stage| loops(stage, Fault::Illegal)).over(ALL),
    scenario("loop-message-reset", |stage| loops(stage, Fault::Message)).over(SAMPLE),
    scenario("loop-disconnect", |stage| loops(stage, Fault::Disconnect)).only(ONLY_5).over(ALL),
];

/// Refuses with these bytes: nothing is sent, it is said why, and tried again.
#[track_caller]
fn refuse(stage: &mut Stage<'_>, bytes: &[u8], words: &[&str]) {
    let (mut link, _) = stage.greet();
    link.send_bytes(bytes);
    let packets = link.expect_end();
    assert!(packets.is_empty(), "{words:?}: {packets:?}");
    let words = [&["WARN", "cannot connect"], words].concat();
    stage.says(&words);
}

fn refused_311(stage: &mut Stage<'_>) {
    for (code, word) in [
        (2, "client id"),
        (3, "unavailable"),
        (4, "password"),
        (5, "authori"),
        (6, "6"),
        (255, "255"),
    ] {
        refuse(stage, &frame(0x20, &[0, code]), &[word]);
    }
}

fn refused_5(stage: &mut Stage<'_>) {
    for (code, word) in [
        (0x80, "unspecified"),
        (0x81, "malformed packet"),
        (0x82, "protocol error"),
        (0x83, "implementation"),
        (0x85, "client id"),
        (0x86, "password"),
        (0x87, "not authorized"),
        (0x88, "unavailable"),
        (0x89, "busy"),
        (0x8A, "banned"),
        (0x8C, "authentication method"),
        (0x90, "topic name"),
        (0x95, "too large"),
        (0x97, "quota"),
        (0x99, "payload format"),
        (0x9A, "retain"),
        (0x9B, "QoS"),
        (0x9C, "another server"),
        (0x9D, "moved"),
        (0x9F, "rate"),
    ] {
        let properties = vec![(property::REASON_STRING, Value::Text(format!("because {code}")))];
        let properties = property::write(&properties);
        let bytes = frame(0x20, &[&[0, code][..], &properties].concat());
        refuse(stage, &bytes, &[word, &format!("because {code}")]);
    }
}

/// A server that speaks nothing but 5.0 says so with code 1.
fn only_5_is_spoken(stage: &mut Stage<'_>) {
    refuse(stage, &frame(0x20, &[0, 1]), &["version", "5.0"]);
    // Some answer in their own words.
    let (mut link, _) = stage.greet();
    link.send_bytes(&frame(0x20, &[0, 0x84, 0]));
    link.expect_end();
    stage.says(&["WARN", "cannot connect", "MQTT 5.0 only"]);
}

/// A server of 3.1.1 answers with its code 1; one that knows of 5.0 with 0x84.
fn only_311_is_spoken(stage: &mut Stage<'_>) {
    refuse(stage, &frame(0x20, &[0, 1]), &["version", "3.1.1"]);
    refuse(stage, &frame(0x20, &[0, 0x84, 0]), &["version", "3.1.1"]);
}

fn server_disconnects(stage: &mut Stage<'_>) {
    for (reason, word) in [
        (0x00, "disconnect"),
        (0x80, "unspecified"),
        (0x82, "protocol error"),
        (0x87, "not authorized"),
        (0x89, "busy"),
        (0x8B, "shutting down"),
        (0x8D, "keep alive"),
        (0x8E, "another client"),
        (0x93, "receive maximum"),
        (0x95, "too large"),
        (0x96, "rate too high"),
        (0x97, "quota"),
        (0x98, "administrative"),
        (0xA0, "maximum connect time"),
    ] {
        let mut link = stage.session();
        let text = format!("because {reason}");
        let properties = vec![
            (property::REASON_STRING, Value::Text(text.clone())),
            (property::USER_PROPERTY, Value::Pair("a".into(), "b".into())),
        ];
        // All forms of the packet: with properties, without, without a reason.
        let packet = Packet::Disconnect { reason, properties };
        link.send(&packet);
        let packets = link.expect_end();
        assert!(packets.is_empty(), "{reason:#04x}: {packets:?}");
        stage.says(&["connection lost", word, &text]);
    }
    for bytes in [&[0xE0, 0][..], &[0xE0, 1, 0x8B], &[0xE0, 2, 0x8B, 0]] {
        let mut link = stage.session();
        link.send_bytes(bytes);
        let packets = link.expect_end();
        assert!(packets.is_empty(), "{bytes:02x?}: {packets:?}");
    }
}

/// What was under way goes on with the next connection.
fn disconnects_in_a_handshake(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let request = stage.write(2, 7);
    let first = link.expect_publish();
    link.send_all(&[publish("in", "with it", 2, 3), disconnect(0x8B)]);
    for packet in link.expect_end() {
        assert!(matches!(packet, Packet::Ack(_)), "{packet:?}");
    }
    let mut link = stage.session();
    let again = link.expect_publish();
    assert!(again.dup && again.id == first.id);
    stage.answer(&mut link, &Packet::Publish(again));
    assert!(stage.serve(&mut link, |packet| matches!(packet, Packet::Ack(_))));
    assert_eq!(stage.outcome(request), "completed");
    stage.link = Some(link);
}

enum At {
    Connack,
    Disconnect,
}

/// Server Reference, section 4.11: it is followed.
fn moved(stage: &mut Stage<'_>, at: At, reason: u8) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = Broker::new(listener, stage.version, stage.broker.transport);
    let reference = format!("127.0.0.1:{}", other.port);
    let properties = vec![(property::SERVER_REFERENCE, Value::Text(reference.clone()))];
    match at {
        At::Connack => {
            let (mut link, _) = stage.greet();
            link.send(&Packet::Connack { present: false, code: reason, properties });
            assert!(link.expect_end().is_empty());
            stage.says(&["WARN", "cannot connect", &reference]);
        }
        At::Disconnect => {
            let mut link = stage.session();
            stage.deliver(&mut link, "before", 1, 1);
            link.send(&Packet::Disconnect { reason, properties });
            assert!(link.expect_end().is_empty());
            stage.says(&["connection lost", &reference]);
        }
    }
    let mut link = other.accept();
    let connect = link.expect_connect();
    assert_eq!(connect.client_id, format!("tagline-{}", stage.name));
    link.connack(false, vec![]);
    link.grant();
    stage.deliver(&mut link, "there", 1, 1);
    stage.has("there");
    let server = stage.driver.line(&stage.name)["server"].clone();
    assert!(server.as_str().unwrap().contains(&reference), "{server}");
    // It goes as well: back to the one that is configured.
    drop(link);
    assert_eq!(other.faults(), [""; 0]);
    drop(other);
}

fn referred_nowhere(stage: &mut Stage<'_>) {
    for reference in ["", "nonsense with blanks", "127.0.0.1:0", "127.0.0.1:1", "\u{202e}x:99999"] {
        let (mut link, _) = stage.greet();
        let properties = vec![(property::SERVER_REFERENCE, Value::Text(reference.into()))];
        link.send(&Packet::Connack { present: false, code: 0x9D, properties });
        assert!(link.expect_end().is_empty());
    }
}

fn referred_to_itself(stage: &mut Stage<'_>) {
    let reference = format!("127.0.0.1:{}", stage.broker.port);
    let count = attempts(stage, |stage, mut link| {
        let properties = vec![(property::SERVER_REFERENCE, Value::Text(reference.clone()))];
        if matches!(link.next_within(Duration::from_secs(5)), Got::Packet(Packet::Connect(_))) {
            link.try_send(&Packet::Connack { present: false, code: 0x9C, properties });
            link.next_within(Duration::from_secs(5));
        }
        let _ = stage;
    });
    assert!((2..=45).contains(&count), "{count} attempts");
}

/// The bytes of a server after SUBACK.
fn exchange(link: &mut Link) -> Vec<u8> {
    use crate::strict::Kind;
    use crate::strict::packet::ack;
    let packets = [publish("in", "one", 1, 11), publish("in", "two", 2, 12), ack(Kind::Pubrel, 12)];
    link.note(&packets)
}

fn reset_at_each_byte(stage: &mut Stage<'_>) {
    // CONNACK first.
    let connack = Packet::Connack { present: false, code: 0, properties: vec![] };
    for count in 0..encode(stage.version, &connack).len() {
        let (mut link, _) = stage.greet();
        link.send_bytes(&encode(stage.version, &connack)[..count]);
        link.carrier.reset();
    }
    let mut count = 0;
    loop {
        let mut link = stage.session();
        let bytes = exchange(&mut link);
        if count > bytes.len() {
            stage.link = Some(link);
            break;
        }
        link.send_bytes(&bytes[..count]);
        if count % 2 == 0 {
            link.next_within(Duration::from_millis(2));
        }
        link.carrier.reset();
        count += if stage.broker.transport == crate::strict::Transport::Tcp { 1 } else { 3 };
    }
    drop(stage.link.take());
}

/// In order, and with a write under way.
fn close_at_each_byte(stage: &mut Stage<'_>) {
    let request = {
        let mut link = stage.session();
        let request = stage.write(2, 99);
        link.expect_publish();
        request
    };
    for count in (0..24).step_by(2) {
        let mut link = stage.session();
        let bytes = exchange(&mut link);
        link.send_bytes(&bytes[..count.min(bytes.len())]);
        link.carrier.half_close();
        link.expect_end();
    }
    let mut link = stage.session();
    assert!(stage.serve(&mut link, |packet| {
        matches!(packet, Packet::Ack(ack) if ack.kind == crate::strict::Kind::Pubrel)
    }));
    assert_eq!(stage.outcome(request), "completed");
    stage.link = Some(link);
}

/// The server has no more to say; the client closes too, after it has answered what came.
fn half_closed(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    link.send(&publish("in", "last words", 0, 0));
    link.carrier.half_close();
    let packets = link.expect_end();
    assert!(packets.is_empty(), "{packets:?}");
    let mut link = stage.session();
    stage.deliver(&mut link, "next", 1, 1);
    assert_eq!(stage.applied("next"), ["last words", "next"]);
    stage.link = Some(link);
}

#[derive(Clone, Copy)]
enum Fault {
    Accept,
    AcceptReset,
    Connect,
    Refused,
    Connack,
    Illegal,
    Message,
    Disconnect,
}

/// How many connections are made in a second and a half, each ended by the play.
fn attempts(stage: &mut Stage<'_>, play: impl Fn(&Stage<'_>, Link)) -> usize {
    let mut count = 0;
    let goes_on = watched();
    while goes_on(count) {
        match stage.broker.accept_now() {
            Some(link) => {
                count += 1;
                play(stage, link);
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    count
}

/// Whether attempts are still counted: for a while, and on a slow machine until there are two.
fn watched() -> impl Fn(usize) -> bool {
    let begun = Instant::now();
    move |count| {
        let passed = begun.elapsed();
        passed < Duration::from_millis(1500) || count < 2 && passed < PATIENCE
    }
}

/// The same fault again and again.
fn loops(stage: &mut Stage<'_>, fault: Fault) {
    if matches!(fault, Fault::Accept | Fault::AcceptReset) {
        let mut count = 0;
        let goes_on = watched();
        while goes_on(count) {
            match stage.broker.accept_tcp() {
                Some(stream) => {
                    count += 1;
                    if matches!(fault, Fault::AcceptReset) {
                        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                    }
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        assert!((2..=45).contains(&count), "{count} attempts");
        return;
    }
    let count = attempts(stage, |stage, mut link| {
        let Got::Packet(Packet::Connect(connect)) = link.next_within(Duration::from_secs(5)) else {
            return;
        };
        match fault {
            Fault::Connect => return,
            Fault::Refused => {
                let code = if stage.is_5() { 0x87 } else { 5 };
                link.try_send(&Packet::Connack { present: false, code, properties: vec![] });
                link.next_within(Duration::from_secs(5));
                return;
            }
            _ => stage.connack(&mut link, &connect, vec![]),
        }
        let Got::Packet(packet) = link.next_within(Duration::from_secs(5)) else { return };
        match fault {
            Fault::Illegal => {
                link.granted(&packet);
                link.send_bytes(&frame(0x41, &[0, 1]));
                while let Got::Packet(_) = link.next_within(Duration::from_secs(5)) {}
            }
            Fault::Message => {
                link.granted(&packet);
                link.try_send(&publish("in", "again", 1, 9));
                link.next_within(Duration::from_secs(5));
                link.carrier.reset();
            }
            Fault::Disconnect => {
                link.granted(&packet);
                link.try_send(&disconnect(0x8E));
                link.next_within(Duration::from_secs(5));
            }
            _ => {}
        }
    });
    assert!((2..=45).contains(&count), "{count} attempts");
}
