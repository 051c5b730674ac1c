//! Bytes typed from the MQTT 3.1.1 specification, both ways, and what must be refused.

use proptest::prelude::*;

use super::*;
use crate::mqtt::packet::{ConnectProperties, Subscription, Will};

fn decode_whole(bytes: &[u8]) -> Result<Inbound, Fault> {
    check_first(bytes[0])?;
    let header = Header::read(bytes)?.expect("a whole header");
    check_header(&header)?;
    assert_eq!(header.packet_bytes(), bytes.len(), "the test's packet is not whole");
    decode(&header, &Bytes::copy_from_slice(bytes), &mut TopicCache::new())
}

fn encoded(packet: Outbound<'_>) -> Vec<u8> {
    let mut buffer = BytesMut::from(&b"before"[..]);
    encode(packet, &mut buffer).unwrap();
    assert_eq!(packet_bytes(packet), buffer.len() - 6);
    buffer.split_off(6).to_vec()
}

fn publication(topic: &str, payload: &[u8], level: u8, retain: bool) -> Publication {
    Publication {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload),
        qos: Qos::from_level(level).unwrap(),
        retain,
        properties: None,
    }
}

fn connect<'a>() -> Connect<'a> {
    Connect {
        client_id: "",
        clean_session: true,
        keep_alive: 0,
        will: None,
        user_name: None,
        password: None,
        session_expiry_s: 0,
        maximum_packet_size: 0,
        properties: &NO_PROPERTIES,
        authentication: None,
    }
}

static NO_PROPERTIES: ConnectProperties = ConnectProperties {
    session_expiry_s: 0,
    receive_maximum: None,
    topic_alias_maximum: 0,
    user_properties: vec![],
};

#[test]
fn connect_with_everything() {
    // Section 3.1, the flags of figure 3.6 with will QoS 1 and clean session.
    let will = Will { publication: publication("w/t", b"gone", 1, false), delay_s: 0 };
    let packet = Connect {
        client_id: "id",
        clean_session: true,
        keep_alive: 10,
        will: Some(&will),
        user_name: Some("user"),
        password: Some(b"pw"),
        ..connect()
    };
    assert_eq!(
        encoded(Outbound::Connect(&packet)),
        [
            0x10,
            35, // header
            0,
            4,
            b'M',
            b'Q',
            b'T',
            b'T',
            4,           // protocol name and level
            0b1100_1110, // user name, password, will QoS 1, will, clean session
            0,
            10, // keep alive
            0,
            2,
            b'i',
            b'd', // client id
            0,
            3,
            b'w',
            b'/',
            b't', // will topic
            0,
            4,
            b'g',
            b'o',
            b'n',
            b'e', // will message
            0,
            4,
            b'u',
            b's',
            b'e',
            b'r', // user name
            0,
            2,
            b'p',
            b'w', // password
        ]
    );
}

#[test]
fn connect_with_nothing_and_with_each_flag() {
    let bytes = encoded(Outbound::Connect(&connect()));
    assert_eq!(bytes, [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0]);
    let flags = |packet: &Connect<'_>| encoded(Outbound::Connect(packet))[9];
    assert_eq!(flags(&Connect { clean_session: false, client_id: "x", ..connect() }), 0);
    assert_eq!(flags(&Connect { user_name: Some(""), ..connect() }), 0b1000_0010);
    // MQTT-3.1.2-22: a password alone takes an empty user name with it.
    assert_eq!(flags(&Connect { password: Some(b"x"), ..connect() }), 0b1100_0010);
    for level in 0..=2 {
        for retain in [false, true] {
            let will = Will { publication: publication("t", b"", level, retain), delay_s: 0 };
            let expected = 0b110 | level << 3 | u8::from(retain) << 5;
            assert_eq!(flags(&Connect { will: Some(&will), ..connect() }), expected);
        }
    }
}

#[test]
fn connect_that_cannot_be_said() {
    let long = "x".repeat(65_536);
    let will = Will { publication: publication("a/+", b"", 0, false), delay_s: 0 };
    for (packet, part) in [
        (Connect { client_id: &long, ..connect() }, "client id"),
        (Connect { client_id: "a\0", ..connect() }, "client id"),
        (Connect { user_name: Some(&long), ..connect() }, "user name"),
        (Connect { password: Some(long.as_bytes()), ..connect() }, "password"),
        (Connect { will: Some(&will), ..connect() }, "will topic"),
    ] {
        let mut buffer = BytesMut::from(&b"before"[..]);
        let error = encode(Outbound::Connect(&packet), &mut buffer).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(&buffer[..], b"before");
    }
}

#[test]
fn publish_out() {
    // Section 3.3.2.3, figure 3.11: topic a/b, packet id 10.
    let message = publication("a/b", b"hi", 1, false);
    let packet =
        Outbound::Publish { publication: &message, packet_id: 10, dup: false, alias: None };
    assert_eq!(encoded(packet), [0x32, 9, 0, 3, b'a', b'/', b'b', 0, 10, b'h', b'i']);
    let message = publication("a/b", b"", 2, true);
    let packet =
        Outbound::Publish { publication: &message, packet_id: 0xff00, dup: true, alias: None };
    assert_eq!(encoded(packet), [0x3d, 7, 0, 3, b'a', b'/', b'b', 0xff, 0]);
    let message = publication("a/b", b"x", 0, false);
    let packet = Outbound::Publish { publication: &message, packet_id: 0, dup: false, alias: None };
    assert_eq!(encoded(packet), [0x30, 6, 0, 3, b'a', b'/', b'b', b'x']);
}

#[test]
fn publish_that_cannot_be_said() {
    let mut buffer = BytesMut::new();
    let message = publication(&"x".repeat(70_000), b"", 0, false);
    let packet = Outbound::Publish { publication: &message, packet_id: 0, dup: false, alias: None };
    assert_eq!(encode(packet, &mut buffer), Err(Unsendable::FieldTooLong("topic")));
    let message = publication("x", b"", 1, false);
    let packet = Outbound::Publish { publication: &message, packet_id: 0, dup: false, alias: None };
    assert!(encode(packet, &mut buffer).is_err());
    assert!(buffer.is_empty());
}

#[test]
fn small_packets_out() {
    assert_eq!(encoded(Outbound::Puback(1)), [0x40, 2, 0, 1]);
    assert_eq!(encoded(Outbound::Pubrec(256)), [0x50, 2, 1, 0]);
    assert_eq!(encoded(Outbound::Pubrel { packet_id: 0xff00, reason: 0 }), [0x62, 2, 0xff, 0]);
    assert_eq!(encoded(Outbound::Pubcomp { packet_id: 65_535, reason: 0 }), [0x70, 2, 0xff, 0xff]);
    assert_eq!(encoded(Outbound::Pingreq), [0xc0, 0]);
    assert_eq!(encoded(Outbound::Disconnect { reason: 0, text: "" }), [0xe0, 0]);
}

#[test]
fn subscribe_and_unsubscribe() {
    // Sections 3.8.3.1 and 3.10.3: a/b at QoS 1, c/d at QoS 2.
    let filters =
        [Subscription::new("a/b", Qos::AtLeastOnce), Subscription::new("c/d", Qos::ExactlyOnce)];
    assert_eq!(
        encoded(Outbound::Subscribe { packet_id: 10, filters: &filters }),
        [
            0x82, 14, 0, 10, 0, 3, b'a', b'/', b'b', 1, //
            0, 3, b'c', b'/', b'd', 2
        ]
    );
    let filters = ["a/b".to_owned(), "c/d".to_owned()];
    assert_eq!(
        encoded(Outbound::Unsubscribe { packet_id: 10, filters: &filters }),
        [0xa2, 12, 0, 10, 0, 3, b'a', b'/', b'b', 0, 3, b'c', b'/', b'd']
    );
}

#[test]
fn connack_in() {
    let connack = |bytes: &[u8]| match decode_whole(bytes) {
        Ok(Inbound::Connack(connack)) => connack,
        other => panic!("{other:?}"),
    };
    assert_eq!(connack(&[0x20, 2, 0, 0]).refusal, None);
    assert!(!connack(&[0x20, 2, 0, 0]).session_present);
    assert!(connack(&[0x20, 2, 1, 0]).session_present);
    for (code, cause) in [
        (1, RefusalCause::Protocol),
        (2, RefusalCause::Identifier),
        (3, RefusalCause::Unavailable),
        (4, RefusalCause::Credentials),
        (5, RefusalCause::NotAuthorized),
        (6, RefusalCause::Unknown),
        (255, RefusalCause::Unknown),
    ] {
        assert_eq!(connack(&[0x20, 2, 0, code]).refusal, Some(Refusal::new(code, cause)));
    }
}

#[test]
fn publish_in() {
    let Ok(Inbound::Publish(publish)) =
        decode_whole(&[0x3b, 9, 0, 3, b'a', b'/', b'b', 0, 10, b'h', b'i'])
    else {
        panic!();
    };
    assert_eq!(publish.publication, publication("a/b", b"hi", 1, true));
    assert_eq!((publish.packet_id, publish.dup), (10, true));
    let Ok(Inbound::Publish(publish)) = decode_whole(&[0x30, 3, 0, 1, b'a']) else { panic!() };
    assert_eq!(publish.publication, publication("a", b"", 0, false));
    assert_eq!((publish.packet_id, publish.dup), (0, false));
    // MQTT-1.5.3-3: a byte order mark is a character as any other.
    let Ok(Inbound::Publish(publish)) =
        decode_whole(&[0x34, 8, 0, 4, 0xef, 0xbb, 0xbf, b'a', 0xff, 0xff])
    else {
        panic!();
    };
    assert_eq!(&*publish.publication.topic, "\u{feff}a");
    assert_eq!(publish.packet_id, 65_535);
}

#[test]
fn small_packets_in() {
    assert_eq!(decode_whole(&[0x40, 2, 0, 1]), Ok(Inbound::Puback(Reply::success(1))));
    assert_eq!(decode_whole(&[0x50, 2, 1, 0]), Ok(Inbound::Pubrec(Reply::success(256))));
    assert_eq!(decode_whole(&[0x62, 2, 0xff, 0]), Ok(Inbound::Pubrel(Reply::success(0xff00))));
    assert_eq!(decode_whole(&[0x70, 2, 0xff, 0xff]), Ok(Inbound::Pubcomp(Reply::success(65_535))));
    assert_eq!(
        decode_whole(&[0xb0, 2, 0, 10]),
        Ok(Inbound::Unsuback { packet_id: 10, reasons: vec![] })
    );
    assert_eq!(decode_whole(&[0xd0, 0]), Ok(Inbound::Pingresp));
    assert_eq!(
        decode_whole(&[0x90, 6, 0, 10, 0, 1, 2, 0x80]),
        Ok(Inbound::Suback {
            packet_id: 10,
            granted: vec![
                Ok(Qos::AtMostOnce),
                Ok(Qos::AtLeastOnce),
                Ok(Qos::ExactlyOnce),
                Err(Reason::new(0x80))
            ]
        })
    );
}

#[test]
fn what_a_server_must_not_send_is_named() {
    for (bytes, packet, what) in [
        // Packets that mqttrs alone panics on, or reads past.
        (&[0x40, 0][..], "PUBACK", "remaining length is 0"),
        (&[0x40, 1, 0], "PUBACK", "remaining length is 1"),
        (&[0x20, 0], "CONNACK", "remaining length is 0"),
        (&[0x20, 1, 0], "CONNACK", "remaining length is 1"),
        (&[0x90, 0], "SUBACK", "remaining length is 0"),
        (&[0x90, 2, 0, 1], "SUBACK", "remaining length is 2"),
        (&[0xb0, 0], "UNSUBACK", "remaining length is 0"),
        (&[0x30, 0], "PUBLISH", "remaining length is 0"),
        (&[0x30, 3, 0, 2, b'a'], "PUBLISH", "reaches past its end"),
        (&[0x30, 4, 0xff, 0xff, b'a', b'b'], "PUBLISH", "reaches past its end"),
        (&[0x32, 3, 0, 1, b'a'], "PUBLISH", "before its packet id"),
        (&[0x34, 4, 0, 1, b'a', 0], "PUBLISH", "before its packet id"),
        // What it accepts and the specification does not.
        (&[0x50, 3, 0, 1, 0], "PUBREC", "remaining length is 3"),
        (&[0x62, 4, 0, 1, 0, 0], "PUBREL", "remaining length is 4"),
        (&[0x70, 0], "PUBCOMP", "remaining length is 0"),
        (&[0xd0, 1, 0], "PINGRESP", "remaining length is 1"),
        (&[0x20, 2, 0xff, 0], "CONNACK", "reserved acknowledge flags"),
        (&[0x20, 2, 2, 0], "CONNACK", "reserved acknowledge flags"),
        (&[0x38, 3, 0, 1, b'a'], "PUBLISH", "DUP is set at QoS 0"),
        (&[0x36, 5, 0, 1, b'a', 0, 1], "PUBLISH", "QoS is 3"),
        (&[0x3e, 5, 0, 1, b'a', 0, 1], "PUBLISH", "QoS is 3"),
        (&[0x32, 5, 0, 1, b'a', 0, 0], "PUBLISH", "packet id is 0"),
        (&[0x40, 2, 0, 0], "PUBACK", "packet id is 0"),
        (&[0x90, 3, 0, 0, 0], "SUBACK", "packet id is 0"),
        (&[0x90, 3, 0, 1, 3], "SUBACK", "reserved return code 0x03"),
        (&[0x90, 4, 0, 1, 0, 0x81], "SUBACK", "reserved return code 0x81"),
        // Topics.
        (&[0x30, 3, 0, 0, 1], "PUBLISH", "empty"),
        (&[0x30, 3, 0, 1, b'+'], "PUBLISH", "wildcard"),
        (&[0x30, 5, 0, 3, b'a', b'/', b'#'], "PUBLISH", "wildcard"),
        (&[0x30, 3, 0, 1, 0], "PUBLISH", "U+0000"),
        (&[0x30, 3, 0, 1, 0xff], "PUBLISH", "not UTF-8"),
        (&[0x30, 5, 0, 3, 0xed, 0xa0, 0x80], "PUBLISH", "not UTF-8"),
        (&[0x30, 4, 0, 2, 0xc0, 0x80], "PUBLISH", "not UTF-8"),
        (&[0x30, 6, 0, 4, 0xf4, 0x90, 0x80, 0x80], "PUBLISH", "not UTF-8"),
        (&[0x30, 4, 0, 2, b'a', 0xe2], "PUBLISH", "not UTF-8"),
        // Flags of table 2.2.
        (&[0x21, 2, 0, 0], "CONNACK", "header flags"),
        (&[0x41, 2, 0, 1], "PUBACK", "header flags"),
        (&[0x52, 2, 0, 1], "PUBREC", "header flags"),
        (&[0x60, 2, 0, 1], "PUBREL", "header flags"),
        (&[0x78, 2, 0, 1], "PUBCOMP", "header flags"),
        (&[0x94, 3, 0, 1, 0], "SUBACK", "header flags"),
        (&[0xb2, 2, 0, 1], "UNSUBACK", "header flags"),
        (&[0xdf, 0], "PINGRESP", "header flags"),
        // Types.
        (&[0x00, 0], "type 0", "reserved"),
        (&[0xf0, 0], "AUTH", "reserved"),
        (&[0x10, 0], "CONNECT", "only a client"),
        (&[0x82, 0], "SUBSCRIBE", "only a client"),
        (&[0xa2, 0], "UNSUBSCRIBE", "only a client"),
        (&[0xc0, 0], "PINGREQ", "only a client"),
        (&[0xe0, 0], "DISCONNECT", "only a client"),
    ] {
        let text = decode_whole(bytes).expect_err("it is illegal").to_string();
        assert!(text.contains(packet) && text.contains(what), "{bytes:02x?}: {text}");
    }
}

fn any_topic() -> impl Strategy<Value = String> {
    "[^+#\u{0}]{1,40}"
}

proptest! {
    #[test]
    fn a_publish_is_read_as_it_was_written(
        topic in any_topic(),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        level in 0u8..=2,
        packet_id in 1u16..,
        retain: bool,
        dup: bool,
    ) {
        let message = publication(&topic, &payload, level, retain);
        let packet_id = if level == 0 { 0 } else { packet_id };
        let dup = dup && level > 0;
        let packet = Outbound::Publish { publication: &message, packet_id, dup, alias: None };
        let expected =
            Publish { publication: message.clone(), packet_id, dup, topic_alias: None };
        prop_assert_eq!(decode_whole(&encoded(packet)), Ok(Inbound::Publish(expected)));
    }

    #[test]
    fn no_packet_panics(first: u8, body in proptest::collection::vec(any::<u8>(), 0..20)) {
        let mut bytes = vec![first, body.len() as u8];
        bytes.extend(&body);
        let _ = decode_whole(&bytes);
    }

    #[test]
    fn no_publish_panics(flags in 0u8..16, topic_bytes in 0u16..12, rest in proptest::collection::vec(any::<u8>(), 0..12)) {
        let mut bytes = vec![0x30 | flags, rest.len() as u8 + 2];
        bytes.extend(topic_bytes.to_be_bytes());
        bytes.extend(&rest);
        let _ = decode_whole(&bytes);
    }
}
