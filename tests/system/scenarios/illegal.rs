//! Packets that no server may send: 5.0 is told why in DISCONNECT, 3.1.1 has no word for it; both end
//! the connection, come back and have taken nothing of it.

use super::stage::{ONLY_5, Scenario, Stage, scenario};
use crate::strict::packet::{frame, message, publish, raw, sized, text};
use crate::strict::property::{self, Value};
use crate::strict::{Kind, Packet, Publish};

pub const SCENARIOS: &[Scenario] = &[
    scenario("illegal-headers", |stage| play(stage, headers())),
    scenario("illegal-lengths", |stage| play(stage, lengths(stage.is_5()))),
    scenario("illegal-publish", |stage| play(stage, publishes(stage.is_5()))),
    scenario("illegal-topics", |stage| play(stage, topics(stage.is_5()))),
    scenario("illegal-acks", |stage| play(stage, acks(stage.is_5()))),
    scenario("illegal-suback", illegal_suback),
    scenario("illegal-directions", |stage| play(stage, directions(stage.is_5()))),
    scenario("illegal-connack", illegal_connack),
    scenario("illegal-connack-5", illegal_connack_5).only(ONLY_5),
    scenario("illegal-publish-properties", |stage| play(stage, publish_properties())).only(ONLY_5),
    scenario("illegal-reasons", |stage| play(stage, reasons())).only(ONLY_5),
    scenario("illegal-disconnect-5", |stage| play(stage, disconnects())).only(ONLY_5),
    scenario("before-connack", before_connack),
    scenario("too-large", too_large).keys("maximum_packet_size = 2000"),
    scenario("behind-the-fault", behind_the_fault),
];

const MALFORMED: &[u8] = &[0x81];
const PROTOCOL: &[u8] = &[0x82];
/// Where the standard can be read either way.
const EITHER: &[u8] = &[0x81, 0x82];
const TOPIC: &[u8] = &[0x81, 0x82, 0x90];

/// What it is, its bytes, the reasons that DISCONNECT may give.
type Illegal = (&'static str, Vec<u8>, &'static [u8]);

fn play(stage: &mut Stage<'_>, table: Vec<Illegal>) {
    for (what, bytes, reasons) in table {
        let mut link = stage.session();
        link.send_bytes(&bytes);
        check_end(stage, what, &link.expect_end_after(what), reasons);
    }
    let mut link = stage.session();
    stage.deliver(&mut link, "end", 1, 1);
    assert_eq!(stage.applied("end"), ["end"], "something illegal was taken");
    stage.says(&["WARN", "connection lost", "retry_in"]);
    stage.link = Some(link);
}

#[track_caller]
fn check_end(stage: &Stage<'_>, what: &str, packets: &[Packet], reasons: &[u8]) {
    match packets {
        // In 3.1.1 a DISCONNECT would say that all is well, and suppress the will.
        [] if !stage.is_5() => {}
        [Packet::Disconnect { reason, .. }] if stage.is_5() && reasons.contains(reason) => {}
        other => {
            panic!("{what}: expected a DISCONNECT with {reasons:02x?} and the end, got {other:?}")
        }
    }
}

/// A PUBLISH with this first byte.
fn flagged(first: u8, is_5: bool) -> Vec<u8> {
    let properties: &[u8] = if is_5 { &[0] } else { &[] };
    let id: &[u8] = if first & 6 == 0 { &[] } else { &[0, 7] };
    frame(first, &[&text("in")[..], id, properties, b"bad"].concat())
}

fn headers() -> Vec<Illegal> {
    vec![
        ("type 0", frame(0x00, &[]), EITHER),
        ("PUBACK flags", frame(0x41, &[0, 1]), MALFORMED),
        ("PUBREC flags", frame(0x52, &[0, 1]), MALFORMED),
        ("PUBREL flags 0", frame(0x60, &[0, 1]), MALFORMED),
        ("PUBREL flags 3", frame(0x63, &[0, 1]), MALFORMED),
        ("PUBCOMP flags", frame(0x78, &[0, 1]), MALFORMED),
        ("SUBACK flags", frame(0x92, &[0, 1, 0]), MALFORMED),
        ("UNSUBACK flags", frame(0xB2, &[0, 1]), MALFORMED),
        ("PINGRESP flags", frame(0xD1, &[]), MALFORMED),
        ("PINGRESP with a body", frame(0xD0, &[0]), MALFORMED),
    ]
}

fn lengths(is_5: bool) -> Vec<Illegal> {
    let mut table = vec![
        ("five bytes of length", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], MALFORMED),
        ("four bytes that go on", vec![0x30, 0x80, 0x80, 0x80, 0x80], MALFORMED),
        ("an empty PUBLISH", frame(0x30, &[]), MALFORMED),
        ("half a topic length", frame(0x30, &[0]), MALFORMED),
        ("a topic past the end", frame(0x30, &[0, 32, b'a', b'b']), MALFORMED),
        ("no room for an id", frame(0x32, &[0, 1, b'a']), MALFORMED),
        ("half an id", frame(0x32, &[0, 1, b'a', 0]), MALFORMED),
        ("an empty PUBACK", frame(0x40, &[]), MALFORMED),
        ("half a PUBREL", frame(0x62, &[0]), MALFORMED),
        ("an empty SUBACK", frame(0x90, &[]), MALFORMED),
        ("an empty UNSUBACK", frame(0xB0, &[]), MALFORMED),
    ];
    if is_5 {
        // MQTT-1.5.5-1; 3.1.1 says nothing of it.
        table.push(("a longer length than needed", vec![0xD0, 0x80, 0x00], MALFORMED));
        table.push(("3 in two bytes", vec![0x30, 0x83, 0x00, 0, 1, b'a'], MALFORMED));
    }
    table
}

fn publishes(is_5: bool) -> Vec<Illegal> {
    let properties: &[u8] = if is_5 { &[0] } else { &[] };
    let zero = |first| frame(first, &[&text("in")[..], &[0, 0], properties, b"bad"].concat());
    vec![
        ("QoS 3", flagged(0x36, is_5), MALFORMED),
        ("QoS 3 and DUP", flagged(0x3E, is_5), MALFORMED),
        ("DUP at QoS 0", flagged(0x38, is_5), EITHER),
        ("id 0 at QoS 1", zero(0x32), EITHER),
        ("id 0 at QoS 2", zero(0x34), EITHER),
    ]
}

fn topics(is_5: bool) -> Vec<Illegal> {
    let properties: &[u8] = if is_5 { &[0] } else { &[] };
    let on = |topic: &[u8]| frame(0x30, &[&sized(topic)[..], properties, b"bad"].concat());
    vec![
        ("a byte that is no UTF-8", on(b"in\xFF"), MALFORMED),
        ("half a character", on(b"in\xC3"), MALFORMED),
        ("an overlong character", on(b"in\xC0\xAF"), MALFORMED),
        ("a surrogate", on(b"in\xED\xA0\x80"), MALFORMED),
        ("beyond the last character", on(b"in\xF4\x90\x80\x80"), MALFORMED),
        ("U+0000", on(b"in\0"), MALFORMED),
        ("a plus sign", on(b"in/+"), TOPIC),
        ("a hash sign", on(b"#"), TOPIC),
        ("a plus sign in a name", on(b"a+b"), TOPIC),
        ("no topic", on(b""), TOPIC),
    ]
}

fn acks(is_5: bool) -> Vec<Illegal> {
    let mut table = vec![
        ("PUBACK 0", frame(0x40, &[0, 0]), EITHER),
        ("PUBREC 0", frame(0x50, &[0, 0]), EITHER),
        ("PUBREL 0", frame(0x62, &[0, 0]), EITHER),
        ("PUBCOMP 0", frame(0x70, &[0, 0]), EITHER),
    ];
    if is_5 {
        for (what, bytes) in [
            ("PUBACK with a wrong reason", frame(0x40, &[0, 1, 0x92])),
            ("PUBREC with a wrong reason", frame(0x50, &[0, 1, 0x92])),
            ("PUBREL with a wrong reason", frame(0x62, &[0, 1, 0x10])),
            ("PUBCOMP with a wrong reason", frame(0x70, &[0, 1, 0x80])),
            ("properties past the end", frame(0x40, &[0, 1, 0, 5, 0x1F])),
            ("bytes behind the properties", frame(0x40, &[0, 1, 0, 0, 0])),
            ("a property of another packet", frame(0x40, &[0, 1, 0, 2, 0x01, 0])),
        ] {
            table.push((what, bytes, EITHER));
        }
    } else {
        table.push(("a long PUBACK", frame(0x40, &[0, 1, 0]), EITHER));
        table.push(("a long PUBREL", frame(0x62, &[0, 1, 0, 0]), EITHER));
    }
    table
}

fn directions(is_5: bool) -> Vec<Illegal> {
    let version = if is_5 { 5 } else { 4 };
    let connect =
        [&text("MQTT")[..], &[version, 2, 0, 0], &[0; 1][..usize::from(is_5)], &text("x")].concat();
    let mut table = vec![
        ("CONNECT", frame(0x10, &connect), EITHER),
        ("a second CONNACK", frame(0x20, if is_5 { &[0, 0, 0] } else { &[0, 0] }), PROTOCOL),
        ("SUBSCRIBE", frame(0x82, &[0, 1, 0, 1, b'a', 0]), EITHER),
        ("UNSUBSCRIBE", frame(0xA2, &[0, 1, 0, 1, b'a']), EITHER),
        ("PINGREQ", frame(0xC0, &[]), EITHER),
    ];
    if is_5 {
        let method = [
            &[0x18][..],
            &property::write(&vec![(property::AUTH_METHOD, Value::Text("X".into()))]),
        ]
        .concat();
        table.push(("AUTH without having been asked", frame(0xF0, &method), EITHER));
        table.push(("an empty AUTH", frame(0xF0, &[]), EITHER));
    } else {
        table.push(("DISCONNECT", frame(0xE0, &[]), EITHER));
        table.push(("type 15", frame(0xF0, &[]), EITHER));
    }
    table
}

/// With properties as these bytes say.
fn with(properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    frame(0x30, &[&text("in")[..], &[length], properties, b"bad"].concat())
}

fn publish_properties() -> Vec<Illegal> {
    let twice = |id, value: Value| [raw(id, value.clone()), raw(id, value)].concat();
    let of = |id, value| with(&raw(id, value));
    vec![
        ("payload format 2", of(0x01, Value::Byte(2)), EITHER),
        ("payload format twice", with(&twice(0x01, Value::Byte(0))), PROTOCOL),
        ("message expiry twice", with(&twice(0x02, Value::Four(9))), PROTOCOL),
        ("content type twice", with(&twice(0x03, Value::Text("a".into()))), PROTOCOL),
        ("response topic twice", with(&twice(0x08, Value::Text("a".into()))), PROTOCOL),
        ("correlation data twice", with(&twice(0x09, Value::Data(vec![1]))), PROTOCOL),
        ("topic alias twice", with(&twice(0x23, Value::Two(1))), &[0x82, 0x94]),
        ("subscription id 0", of(0x0B, Value::Variable(0)), EITHER),
        ("subscription id of 5 bytes", with(&[0x0B, 0x80, 0x80, 0x80, 0x80, 1]), EITHER),
        ("subscription id longer than needed", with(&[0x0B, 0x81, 0x00]), EITHER),
        ("response topic with a wildcard", of(0x08, Value::Text("a/#".into())), TOPIC),
        ("content type that is no UTF-8", with(&[0x03, 0, 1, 0xFF]), MALFORMED),
        ("user property with U+0000", with(&[0x26, 0, 1, 0, 0, 1, b'a']), MALFORMED),
        ("half a user property", with(&[0x26, 0, 1, b'a']), MALFORMED),
        ("session expiry", of(0x11, Value::Four(1)), EITHER),
        ("server keep alive", of(0x13, Value::Two(1)), EITHER),
        ("reason string", of(0x1F, Value::Text("a".into())), EITHER),
        ("maximum QoS", of(0x24, Value::Byte(1)), EITHER),
        ("an unknown property", with(&[0x7F, 0]), EITHER),
        ("a property id longer than needed", with(&[0x81, 0x00, 0]), EITHER),
        ("half a value", with(&[0x02, 0, 0]), MALFORMED),
        ("properties past the end", frame(0x30, &[0, 1, b'a', 9, 0x01, 0]), MALFORMED),
        ("no properties at all", frame(0x30, &[0, 1, b'a']), MALFORMED),
        ("a length longer than needed", frame(0x30, &[0, 1, b'a', 0x80, 0x00]), MALFORMED),
    ]
}

fn reasons() -> Vec<Illegal> {
    vec![
        ("SUBACK reason 3", frame(0x90, &[0, 1, 0, 3]), EITHER),
        ("UNSUBACK reason 1", frame(0xB0, &[0, 1, 0, 1]), EITHER),
        ("PUBACK reason 1", frame(0x40, &[0, 1, 1]), EITHER),
        ("AUTH reason 1", frame(0xF0, &[1, 0]), EITHER),
    ]
}

/// A DISCONNECT that is no packet ends the connection too; whether it is answered is left open.
fn disconnects() -> Vec<Illegal> {
    vec![
        ("reason 0x04, which is the client's", frame(0xE0, &[0x04]), EITHER),
        ("an unknown reason", frame(0xE0, &[0x42]), EITHER),
        ("session expiry of a server", frame(0xE0, &[0, 5, 0x11, 0, 0, 0, 1]), EITHER),
        ("flags", frame(0xE1, &[]), MALFORMED),
        (
            "reason string twice",
            frame(0xE0, &[0x8B, 8, 0x1F, 0, 1, b'a', 0x1F, 0, 1, b'a']),
            EITHER,
        ),
    ]
}

fn illegal_suback(stage: &mut Stage<'_>) {
    for (what, codes) in [
        ("no code", vec![]),
        ("two codes for one filter", vec![1, 1]),
        ("code 3", vec![3]),
        ("code 0x7F", vec![0x7F]),
    ] {
        let (mut link, connect) = stage.greet();
        stage.connack(&mut link, &connect, vec![]);
        let Packet::Subscribe { id, .. } = link.next() else { panic!("no SUBSCRIBE") };
        link.send(&Packet::Suback { id, codes });
        check_end(stage, what, &link.expect_end(), EITHER);
    }
    stage.says(&["WARN", "SUBACK"]);
}

/// Nothing is sent to a server whose CONNACK cannot be understood, except that 5.0 may say why.
#[track_caller]
fn no_connection(stage: &mut Stage<'_>, what: &str, bytes: &[u8]) {
    let (mut link, _) = stage.greet();
    link.send_bytes(bytes);
    match link.expect_end().as_slice() {
        [] => {}
        [Packet::Disconnect { reason, .. }] if stage.is_5() && *reason >= 0x80 => {}
        other => panic!("{what}: {other:?}"),
    }
}

fn illegal_connack(stage: &mut Stage<'_>) {
    let tail: &[u8] = if stage.is_5() { &[0] } else { &[] };
    for (what, first, body) in [
        ("empty", 0x20, vec![]),
        ("half", 0x20, vec![0]),
        ("reserved bits", 0x20, [&[2, 0], tail].concat()),
        ("flags", 0x21, [&[0, 0], tail].concat()),
        ("too long", 0x20, [&[0, 0], tail, &[0]].concat()),
        (
            "refused with a session",
            0x20,
            [&[1, if stage.is_5() { 0x87 } else { 5 }], tail].concat(),
        ),
    ] {
        no_connection(stage, what, &frame(first, &body));
    }
    stage.says(&["WARN", "cannot connect", "CONNACK"]);
}

fn illegal_connack_5(stage: &mut Stage<'_>) {
    let connack = |properties: &[u8]| {
        frame(0x20, &[&[0, 0, u8::try_from(properties.len()).unwrap()], properties].concat())
    };
    let twice = |id, value: Value| connack(&[raw(id, value.clone()), raw(id, value)].concat());
    for (what, bytes) in [
        ("a code of 3.1.1", frame(0x20, &[0, 5, 0])),
        ("an unknown code", frame(0x20, &[0, 0xFE, 0])),
        ("no properties", frame(0x20, &[0, 0])),
        ("receive maximum 0", connack(&raw(0x21, Value::Two(0)))),
        ("maximum packet size 0", connack(&raw(0x27, Value::Four(0)))),
        ("maximum QoS 2", connack(&raw(0x24, Value::Byte(2)))),
        ("retain available 2", connack(&raw(0x25, Value::Byte(2)))),
        ("wildcards available 2", connack(&raw(0x28, Value::Byte(2)))),
        ("receive maximum twice", twice(0x21, Value::Two(9))),
        ("assigned id twice", twice(0x12, Value::Text("a".into()))),
        ("server keep alive twice", twice(0x13, Value::Two(9))),
        ("a property of PUBLISH", connack(&raw(0x23, Value::Two(1)))),
        ("authentication that nobody began", connack(&raw(0x15, Value::Text("X".into())))),
        ("assigned id that is no UTF-8", connack(&[0x12, 0, 1, 0xFF])),
        ("past the end", frame(0x20, &[0, 0, 9, 0x21])),
    ] {
        no_connection(stage, what, &bytes);
    }
}

fn before_connack(stage: &mut Stage<'_>) {
    let message = crate::strict::packet::encode(stage.version, &publish("in", "early", 0, 0));
    for (what, bytes) in [
        ("PUBLISH", message),
        ("PINGRESP", frame(0xD0, &[])),
        ("SUBACK", frame(0x90, &[0, 1, 0, 0])),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
    ] {
        no_connection(stage, what, &bytes);
    }
    let mut link = stage.session();
    stage.deliver(&mut link, "end", 1, 1);
    assert_eq!(stage.applied("end"), ["end"]);
    stage.says(&["WARN", "cannot connect", "not a CONNACK"]);
    stage.link = Some(link);
}

fn too_large(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let overhead = if stage.is_5() { 10 } else { 9 };
    // Exactly the limit.
    let fits = "x".repeat(2000 - overhead);
    stage.deliver(&mut link, &fits, 1, 1);
    stage.has(&fits);
    let packet = publish("in", format!("{fits}xx"), 1, 2);
    link.send_bytes(&crate::strict::packet::encode(stage.version, &packet));
    check_end(stage, "too large", &link.expect_end(), &[0x95]);
    stage.says(&["WARN", "maximum_packet_size"]);
}

/// What stands behind a fault in the same piece is not looked at; what stands before it counts.
fn behind_the_fault(stage: &mut Stage<'_>) {
    let mut link = stage.session();
    let version = stage.version;
    let bytes = |packet: &Packet| crate::strict::packet::encode(version, packet);
    let before = link.note(&[publish("in", "before", 1, 1)]);
    let all = [before, frame(0x41, &[0, 1]), bytes(&publish("in", "behind", 0, 0))].concat();
    link.send_bytes(&all);
    let packets = link.expect_end();
    let rest: Vec<Packet> = packets
        .into_iter()
        .filter(
            |packet| !matches!(packet, Packet::Ack(ack) if ack.kind == Kind::Puback && ack.id == 1),
        )
        .collect();
    check_end(stage, "flags", &rest, MALFORMED);
    let mut link = stage.session();
    // No PUBACK may have come: then the server sends it again, and it may be taken twice.
    let again = Publish { dup: true, ..message("in", "before", 1, 1) };
    link.send(&Packet::Publish(again));
    stage.take_acks(&mut link, 1, 1);
    stage.deliver(&mut link, "end", 1, 3);
    let applied = stage.applied("end");
    assert!(!applied.contains(&"behind".to_owned()), "{applied:?}");
    assert!(applied.contains(&"before".to_owned()), "{applied:?}");
    stage.link = Some(link);
}
