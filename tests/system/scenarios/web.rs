//! What only WebSocket can do wrong.

use std::time::Duration;

use super::stage::{Scenario, Stage, WEB, scenario};
use crate::strict::carrier::{self as web, frame};
use crate::strict::packet::{encode, publish};
use crate::strict::{Cut, Kind, Link, Packet};

pub const SCENARIOS: &[Scenario] = &[
    scenario("web-ping", ping).over(WEB),
    scenario("web-close", close).over(WEB),
    scenario("web-text-frame", text_frame).over(WEB),
    scenario("web-illegal-frames", illegal_frames).over(WEB),
    scenario("web-empty-frames", empty_frames).over(WEB),
    scenario("web-many-packets-in-a-frame", many_packets_in_a_frame).over(WEB),
    scenario("web-refused-upgrade", refused_upgrade).over(&[crate::strict::Transport::Ws]),
];

fn ping(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    for payload in [&b""[..], b"are you there", &[0xFF; 125]] {
        assert!(link.carrier.write_below(&frame(true, web::PING, payload)));
        stage.deliver(&mut link, "behind it", 1, 1);
        assert_eq!(link.carrier.pongs().last().map(Vec::as_slice), Some(payload));
    }
    // Nobody asked for it.
    assert!(link.carrier.write_below(&frame(true, web::PONG, b"unasked")));
    stage.deliver(&mut link, "behind it", 1, 1);
    stage.link = Some(link);
}

/// The close frame is answered, and nothing follows.
fn close(stage: &mut Stage<'_>) {
    for payload in [&[][..], &[0x03, 0xE8], &[0x03, 0xE9, b'b', b'y', b'e']] {
        let mut link = stage.session();
        assert!(link.carrier.write_below(&frame(true, web::CLOSE, payload)));
        let packets = link.expect_end();
        assert!(packets.is_empty(), "{packets:?}");
        let expected = if payload.is_empty() {
            [0, 1000]
        } else {
            [u16::from_be_bytes([payload[0], payload[1]]); 2]
        };
        let closed = link.carrier.closed();
        assert!(closed.is_some_and(|code| expected.contains(&code) || code == 1000), "{closed:?}");
    }
}

#[track_caller]
fn ends(stage: &Stage<'_>, link: &mut Link) {
    for packet in link.expect_end() {
        let allowed = matches!(packet, Packet::Disconnect { reason, .. } if reason >= 0x80);
        assert!(allowed && stage.is_5(), "{packet:?}");
    }
}

fn text_frame(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let bytes = encode(stage.version, &publish("in", "text", 0, 0));
    assert!(link.carrier.write_below(&frame(true, web::TEXT, &bytes)));
    ends(stage, &mut link);
    let mut link = stage.session();
    stage.deliver(&mut link, "end", 1, 1);
    assert_eq!(stage.applied("end"), ["end"]);
    stage.link = Some(link);
}

fn illegal_frames(stage: &mut Stage<'_>) {
    let packet = encode(stage.version, &publish("in", "bad", 0, 0));
    let length = 0x80 | u8::try_from(packet.len()).unwrap();
    let masked = [&[0x82, length, 0, 0, 0, 0][..], &packet].concat();
    let mut reserved = frame(true, web::BINARY, &packet);
    reserved[0] |= 0x40;
    for bytes in [
        masked,
        reserved,
        // A continuation of nothing, an opcode that is reserved, control frames that are too long
        // or in pieces, a message within a message.
        frame(true, 0, &packet),
        frame(true, 3, &packet),
        frame(true, 11, &[]),
        frame(true, web::PING, &[0; 126]),
        frame(false, web::PING, b"x"),
        [frame(false, web::BINARY, &packet[..2]), frame(true, web::BINARY, &packet[2..])].concat(),
        // A close frame with half a status code, and with one that must not be sent.
        frame(true, web::CLOSE, &[3]),
        frame(true, web::CLOSE, &[0x03, 0xED]),
    ] {
        let mut link = stage.session();
        assert!(link.carrier.write_below(&bytes));
        ends(stage, &mut link);
    }
    let mut link = stage.session();
    stage.deliver(&mut link, "end", 1, 1);
    assert_eq!(stage.applied("end"), ["end"]);
    stage.link = Some(link);
}

fn empty_frames(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let bytes = link.note(&[publish("in", "between", 1, 4)]);
    let (front, back) = bytes.split_at(3);
    let frames = [
        frame(true, web::BINARY, &[]),
        frame(false, web::BINARY, &[]),
        frame(false, 0, front),
        frame(false, 0, &[]),
        frame(true, web::PONG, &[]),
        frame(false, 0, back),
        frame(true, 0, &[]),
    ];
    assert!(link.carrier.write_below(&frames.concat()));
    link.expect_ack(Kind::Puback, 4);
    stage.has("between");
    stage.link = Some(link);
}

fn many_packets_in_a_frame(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let packets: Vec<Packet> = (1..=20).map(|id| publish("in", id.to_string(), 1, id)).collect();
    let bytes = link.note(&packets);
    // The borders of the frames are in the middle of packets.
    assert!(link.carrier.write(&bytes, Cut::Each(bytes.len() / 2 + 3)));
    for id in 1..=20 {
        link.expect_ack(Kind::Puback, id);
    }
    stage.has("20");
    stage.link = Some(link);
}

/// What is answered to the request is no WebSocket, or not one that carries MQTT.
fn refused_upgrade(stage: &mut Stage<'_>) {
    let accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n";
    for answer in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 301 Moved Permanently\r\nLocation: ws://127.0.0.1:1/\r\n\r\n".to_owned(),
        format!("{accept}Connection: Upgrade\r\nSec-WebSocket-Accept: bm90IHJpZ2h0\r\n\r\n"),
        "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
    ] {
        let end = std::time::Instant::now() + crate::harness::PATIENCE;
        let stream = loop {
            if let Some(stream) = stage.broker.accept_tcp() {
                break stream;
            }
            assert!(std::time::Instant::now() < end, "no connection");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut buffer = [0; 4096];
        let _ = std::io::Read::read(&mut &stream, &mut buffer);
        let _ = std::io::Write::write_all(&mut &stream, answer.as_bytes());
        while matches!(std::io::Read::read(&mut &stream, &mut buffer), Ok(1..)) {}
    }
    stage.says(&["WARN", "cannot connect", "404"]);
}
