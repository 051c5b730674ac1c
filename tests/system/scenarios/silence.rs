//! Answers that never come, and peers that fall silent.

use std::time::{Duration, Instant};

use super::stage::{BOTH, ONLY_5, SAMPLE, Scenario, Stage, scenario};
use crate::harness::PATIENCE;
use crate::strict::packet::{encode, publish};
use crate::strict::property::{self, Value};
use crate::strict::{Got, Link, Packet, Transport};

const QUICK: &str = "reply_timeout = \"2s\"";
const PINGS: &str = "reply_timeout = \"2s\"\nping_interval = \"300ms\"";
const KEPT: &str = "keep_alive = \"1s\"\nping_interval = \"0s\"";
const NOT_KEPT: &str = "keep_alive = \"0s\"\nping_interval = \"0s\"";
const WRAPPED: &[Transport] = &[Transport::Tls, Transport::Ws, Transport::Wss];

pub const SCENARIOS: &[Scenario] = &[
    scenario("no-handshake", no_handshake).keys(QUICK).over(WRAPPED),
    scenario("no-connack", no_connack).keys(QUICK),
    scenario("no-suback", no_suback).keys(QUICK),
    scenario("no-pingresp", no_pingresp).keys(PINGS),
    scenario("half-a-connack", half_a_connack).keys(QUICK),
    scenario("half-a-packet", half_a_packet).keys(QUICK),
    scenario("slow-packet", slow_packet).keys(QUICK),
    scenario("half-open", half_open).keys(PINGS),
    scenario("unread", unread).keys(PINGS).over(SAMPLE),
    scenario("keep-alive-inbound-only", keep_alive_inbound_only).keys(KEPT),
    scenario("keep-alive-outbound-only", keep_alive_outbound_only).keys(KEPT).only(BOTH),
    scenario("server-keep-alive", server_keep_alive).keys(NOT_KEPT).only(ONLY_5),
    scenario("server-keep-alive-none", server_keep_alive_none).keys(KEPT).only(ONLY_5).over(SAMPLE),
    scenario("nobody-pings", nobody_pings).keys(NOT_KEPT).over(SAMPLE),
];

/// The client gives up within a time that has to do with its timeout.
#[track_caller]
fn ends_in_time(link: &mut Link) -> Vec<Packet> {
    let begun = Instant::now();
    let packets = link.expect_end();
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    packets
}

/// The last packet, if there is one, is a DISCONNECT of 5.0.
#[track_caller]
fn leaves(stage: &Stage<'_>, packets: &[Packet]) {
    match packets {
        [] => {}
        [Packet::Disconnect { reason, .. }] if stage.is_5() && *reason >= 0x80 => {}
        other => panic!("{other:?}"),
    }
}

/// The connection is taken, and neither TLS nor HTTP is answered.
fn no_handshake(stage: &mut Stage<'_>) {
    let end = Instant::now() + PATIENCE;
    for _ in 0..2 {
        let stream = loop {
            if let Some(stream) = stage.broker.accept_tcp() {
                break stream;
            }
            assert!(Instant::now() < end, "no connection");
            std::thread::sleep(Duration::from_millis(5));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 4096];
        while matches!(std::io::Read::read(&mut &stream, &mut buffer), Ok(1..)) {}
    }
    stage.says(&["WARN", "cannot connect", "handshake"]);
}

fn no_connack(stage: &mut Stage<'_>) {
    let (mut link, _) = stage.greet();
    let packets = ends_in_time(&mut link);
    leaves(stage, &packets);
    stage.says(&["WARN", "did not answer CONNECT"]);
}

fn no_suback(stage: &mut Stage<'_>) {
    let (mut link, connect) = stage.greet();
    stage.connack(&mut link, &connect, vec![]);
    assert!(matches!(link.next(), Packet::Subscribe { .. }));
    let packets = ends_in_time(&mut link);
    leaves(stage, &packets);
    stage.says(&["WARN", "did not answer SUBSCRIBE"]);
}

fn no_pingresp(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    link.answer_pings = false;
    link.expect(&Packet::Pingreq);
    let packets = ends_in_time(&mut link);
    leaves(stage, &packets);
    stage.says(&["WARN", "did not answer PINGREQ"]);
}

fn half_a_connack(stage: &mut Stage<'_>) {
    for count in 1..4 {
        let (mut link, _) = stage.greet();
        let whole = Packet::Connack { present: false, code: 0, properties: vec![] };
        link.send_bytes(&encode(stage.version, &whole)[..count]);
        let packets = ends_in_time(&mut link);
        leaves(stage, &packets);
    }
}

fn half_a_packet(stage: &mut Stage<'_>) {
    for half in [&[0x30, 0x80][..], &[0x32], &[0x32, 0x40, 0x00, 0x05, b'a', b'b']] {
        let mut link = stage.session();
        link.send_bytes(half);
        let packets = ends_in_time(&mut link);
        leaves(stage, &packets);
    }
    stage.says(&["WARN", "in the middle of a packet"]);
}

/// Longer altogether than the timeout, never as long without a byte.
fn slow_packet(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let bytes = link.note(&[publish("in", "0123456789", 1, 9)]);
    for byte in bytes {
        assert!(link.send_bytes(&[byte]));
        std::thread::sleep(Duration::from_millis(180));
    }
    stage.take_acks(&mut link, 1, 9);
    stage.has("0123456789");
    stage.link = Some(link);
}

/// The peer takes everything and says nothing more; the connection is never closed by it.
fn half_open(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    stage.deliver(&mut link, "before", 1, 1);
    link.answer_pings = false;
    let write = stage.write_within(1, 5, 20.0);
    let begun = Instant::now();
    let packets = link.expect_end();
    let pings = packets.iter().filter(|packet| **packet == Packet::Pingreq).count();
    assert!(pings >= 1, "it did not ask whether anybody is there: {packets:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let mut link = stage.session();
    assert_eq!(stage.take_write(&mut link), "5");
    assert_eq!(stage.outcome(write), "completed");
    stage.link = Some(link);
}

/// The peer does not even read.
fn unread(stage: &mut Stage<'_>) {
    let link = stage.session();
    let next = stage.session();
    drop(link);
    stage.link = Some(next);
}

/// Packets come within the interval of a second, with some grace for a busy machine.
#[track_caller]
fn keeps_alive(link: &mut Link, rounds: usize, mut inbound: impl FnMut(&mut Link)) {
    link.answer_pings = false;
    let mut last = Instant::now();
    let mut pings = 0;
    while pings < rounds {
        inbound(link);
        match link.next_within(Duration::from_millis(100)) {
            Got::Packet(Packet::Pingreq) => {
                last = Instant::now();
                pings += 1;
                link.send(&Packet::Pingresp);
            }
            Got::Packet(_) => last = Instant::now(),
            Got::Nothing => {
                let silence = last.elapsed();
                assert!(silence < Duration::from_millis(2500), "{silence:?} without a packet");
            }
            Got::End => panic!("the client has closed"),
        }
    }
    link.answer_pings = true;
}

fn keep_alive_inbound_only(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    keeps_alive(&mut link, 3, |link| link.send(&publish("in", "x", 0, 0)));
    stage.link = Some(link);
}

/// What is sent is a sign of life to the server, and no reason to leave it without a ping when it
/// says nothing.
fn keep_alive_outbound_only(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    for value in 0..8 {
        let request = stage.write(0, value);
        assert_eq!(stage.take_write(&mut link), value.to_string());
        assert_eq!(stage.outcome(request), "completed");
        link.expect_silence(Duration::from_millis(100));
    }
    keeps_alive(&mut link, 1, |_| {});
    stage.link = Some(link);
}

fn server_keep_alive(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(vec![(property::SERVER_KEEP_ALIVE, Value::Two(1))]);
    keeps_alive(&mut link, 3, |_| {});
    stage.link = Some(link);
}

fn server_keep_alive_none(stage: &mut Stage<'_>) {
    let mut link = stage.session_with(vec![(property::SERVER_KEEP_ALIVE, Value::Two(0))]);
    link.answer_pings = false;
    link.expect_silence(Duration::from_millis(2500));
    stage.link = Some(link);
}

fn nobody_pings(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    link.answer_pings = false;
    link.expect_silence(Duration::from_millis(1500));
    stage.link = Some(link);
}
