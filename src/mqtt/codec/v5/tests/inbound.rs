//! What a server sends, byte by byte, and what it must not send.

use super::*;

fn connack(bytes: &[u8]) -> Connack {
    match decode_whole(bytes) {
        Ok(Inbound::Connack(connack)) => *connack,
        other => panic!("{other:?}"),
    }
}

fn publish(bytes: &[u8]) -> Publish {
    match decode_whole(bytes) {
        Ok(Inbound::Publish(publish)) => publish,
        other => panic!("{other:?}"),
    }
}

/// Refused as malformed (0x81).
fn malformed(bytes: &[u8]) {
    let result = decode_whole(bytes);
    assert!(matches!(result, Err(Fault::Malformed { .. })), "{bytes:02x?}: {result:?}");
}

/// Refused as a protocol error (0x82).
fn violation(bytes: &[u8]) {
    let result = decode_whole(bytes);
    assert!(matches!(result, Err(Fault::Violation(_))), "{bytes:02x?}: {result:?}");
}

#[test]
fn connack_with_nothing() {
    let found = connack(&[0x20, 3, 0, 0, 0]);
    assert!(!found.session_present);
    assert_eq!(found.refusal, None);
    assert_eq!(found.limits, limits());
    assert!(connack(&[0x20, 3, 1, 0, 0]).session_present);
}

#[test]
fn connack_with_every_property() {
    let properties = [
        &[0x11, 0, 0, 1, 0][..],   // Session Expiry Interval
        &[0x21, 0, 20],            // Receive Maximum
        &[0x24, 1],                // Maximum QoS
        &[0x25, 0],                // Retain Available
        &[0x27, 0, 0, 0x10, 0],    // Maximum Packet Size
        &[0x12, 0, 2, b'i', b'd'], // Assigned Client Identifier
        &[0x22, 0, 10],            // Topic Alias Maximum
        &[0x1f, 0, 2, b'h', b'i'], // Reason String
        &[0x26, 0, 1, b'a', 0, 1, b'b', 0x26, 0, 1, b'a', 0, 1, b'b'],
        &[0x28, 0],          // Wildcard Subscription Available
        &[0x29, 0],          // Subscription Identifier Available
        &[0x2a, 0],          // Shared Subscription Available
        &[0x13, 0, 40],      // Server Keep Alive
        &[0x1a, 0, 1, b'r'], // Response Information
        &[0x1c, 0, 1, b's'], // Server Reference
        &[0x15, 0, 1, b'M'], // Authentication Method
        &[0x16, 0, 1, b'd'], // Authentication Data
    ]
    .concat();
    let found = connack(&packet(0x20, &[&[1, 0, properties.len() as u8], &properties]));
    let expected = Connack {
        session_present: true,
        refusal: None,
        limits: Limits {
            in_flight_max: Some(20),
            packet_bytes_max: 4096,
            qos_max: Qos::AtLeastOnce,
            retain: false,
            topic_alias_max: 10,
            wildcard_filters: false,
            shared_filters: false,
            ..limits()
        },
        assigned_client_id: Some("id".to_owned()),
        session_expiry_s: Some(256),
        server_keep_alive: Some(40),
        text: Some("hi".into()),
        authentication: Some(("M".to_owned(), Bytes::from_static(b"d"))),
    };
    assert_eq!(found, expected);
    assert_eq!(connack(&[0x20, 5, 0, 0, 2, 0x24, 0]).limits.qos_max, Qos::AtMostOnce);
}

#[test]
fn connack_refuses() {
    for code in 0..=255 {
        let result = decode_whole(&[0x20, 3, 0, code, 0]);
        match code {
            0 => {}
            0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f => {
                let Ok(Inbound::Connack(connack)) = result else { panic!("{code:02x}") };
                let refusal = connack.refusal.unwrap();
                assert_eq!(refusal.code, code);
                assert_ne!(refusal.cause, RefusalCause::Unknown);
                assert!(refusal.to_string().contains(&format!("0x{code:02x}")), "{refusal}");
            }
            _ => violation(&[0x20, 3, 0, code, 0]),
        }
    }
    let text = [0x20, 15, 0, 0x9d, 12, 0x1f, 0, 2, b'g', b'o', 0x1c, 0, 4, b'b', b':', b'1', b'2'];
    let refusal = connack(&text).refusal.unwrap();
    assert_eq!(refusal.text.as_deref(), Some("go"));
    assert_eq!(refusal.server_reference.as_deref(), Some("b:12"));
}

#[test]
fn a_server_of_an_older_version_is_told_in_plain_words() {
    for bytes in [&[0x20, 2, 0, 1][..], &[0x20, 2, 0, 0], &[0x20, 3, 0, 0x84, 0]] {
        let refusal = connack(bytes).refusal.unwrap();
        assert_eq!(refusal.cause, RefusalCause::OnlyOlderProtocol);
        let words = "the server speaks MQTT 3.1.1 only: set `mqtt_version = \"3.1.1\"`";
        assert!(refusal.to_string().starts_with(words), "{refusal}");
    }
}

#[test]
fn connack_that_is_wrong() {
    malformed(&[0x20, 1, 0]);
    malformed(&[0x20, 3, 2, 0, 0]); // a reserved flag
    malformed(&[0x21, 3, 0, 0, 0]); // reserved header flags
    malformed(&[0x20, 4, 0, 0, 0, 0]); // more than its properties
    malformed(&[0x20, 3, 0, 0, 1]); // properties past its end
    violation(&[0x20, 7, 0, 0, 4, 0x16, 0, 1, b'd']); // data without a method
}

#[test]
fn publish_at_each_qos() {
    let found = publish(&[0x31, 6, 0, 1, b't', 0, b'h', b'i']);
    let expected = Publication { retain: true, ..publication("t", b"hi", 0) };
    assert_eq!(
        found,
        Publish { publication: expected, packet_id: 0, dup: false, topic_alias: None }
    );
    let found = publish(&[0x3a, 6, 0, 1, b't', 1, 0, 0]);
    assert_eq!((found.packet_id, found.dup), (256, true));
    assert_eq!(found.publication, publication("t", b"", 1));
    let found = publish(&[0x34, 7, 0, 1, b't', 0xff, 0xff, 0, b'!']);
    assert_eq!((found.packet_id, found.dup), (65_535, false));
    assert_eq!(found.publication, publication("t", b"!", 2));
}

#[test]
fn publish_with_every_property() {
    let ids = [0x0b, 1, 0x0b, 0xff, 0xff, 0xff, 0x7f];
    let length = [(ALL_PROPERTIES.len() + ids.len() + 3) as u8];
    let parts = [&[0, 1, b't'][..], &length, &ids, ALL_PROPERTIES, &[0x23, 0, 9], b"payload"];
    let found = publish(&packet(0x30, &parts));
    let expected = PublishProperties { subscription_ids: vec![1, 268_435_455], ..all_properties() };
    assert_eq!(found.publication.properties.as_deref(), Some(&expected));
    assert_eq!(found.publication.payload, b"payload"[..]);
    assert_eq!(found.topic_alias, Some(9));
}

#[test]
fn publish_by_its_alias_alone() {
    let found = publish(&[0x30, 7, 0, 0, 3, 0x23, 1, 2, b'x']);
    assert_eq!(found.topic_alias, Some(0x0102));
    assert!(found.publication.topic.is_empty());
    violation(&[0x30, 4, 0, 0, 0, b'x']); // neither a topic nor an alias
    let result = decode_whole(&[0x30, 6, 0, 0, 3, 0x23, 0, 0]);
    assert!(matches!(result, Err(Fault::TopicAlias(_))), "{result:?}");
}

#[test]
fn publish_that_is_wrong() {
    malformed(&[0x36, 6, 0, 1, b't', 0, 1, 0]); // QoS 3
    malformed(&[0x38, 4, 0, 1, b't', 0]); // DUP at QoS 0
    malformed(&[0x32, 6, 0, 1, b't', 0, 0, 0]); // packet id 0
    malformed(&[0x30, 4, 0, 3, b't', 0]); // topic past its end
    malformed(&[0x32, 4, 0, 1, b't', 0]); // ends within the packet id
    malformed(&[0x30, 3, 0, 1, b't']); // no length of properties
    malformed(&[0x30, 4, 0, 1, b't', 1]); // properties past its end
    malformed(&[0x30, 5, 0, 1, b't', 0x80, 0]); // length of properties not the shortest
    malformed(&[0x30, 8, 0, 1, b't', 0x80, 0x80, 0x80, 0x80, 0]);
    malformed(&[0x30, 0x84, 0, 0, 1, b't', 0]); // remaining length not the shortest
    violation(&[0x30, 6, 0, 1, b't', 2, 0x0b, 0]); // subscription identifier 0
    violation(&[0x30, 6, 0, 1, b't', 2, 0x01, 2]); // payload format indicator 2
    violation(&[0x30, 8, 0, 1, b't', 4, 0x08, 0, 1, b'#']); // response topic with a wildcard
}

#[test]
fn texts_are_well_formed() {
    // Section 1.5.4: ill-formed bytes, surrogates, and U+0000 are malformed; U+FEFF is a character.
    for bad in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\0"] {
        let length = [0, bad.len() as u8];
        malformed(&packet(0x30, &[&length, bad, &[0]]));
        let properties = [&[0x03][..], &length, bad].concat();
        malformed(&packet(0x30, &[&[0, 1, b't', properties.len() as u8], &properties]));
        let properties = [&[0x26][..], &length, bad, &[0, 0]].concat();
        malformed(&packet(0x30, &[&[0, 1, b't', properties.len() as u8], &properties]));
        let properties = [&[0x26, 0, 0][..], &length, bad].concat();
        malformed(&packet(0x30, &[&[0, 1, b't', properties.len() as u8], &properties]));
    }
    for wild in [b'+', b'#'] {
        malformed(&[0x30, 4, 0, 1, wild, 0]); // MQTT-3.3.2-2
    }
    let found = publish(&[0x30, 7, 0, 4, 0xef, 0xbb, 0xbf, b'a', 0]);
    assert_eq!(&*found.publication.topic, "\u{feff}a"); // MQTT-1.5.4-3
}

#[test]
fn acknowledgements_in_their_three_lengths() {
    let reply = |packet_id, code, text: Option<&str>| Reply {
        packet_id,
        reason: Reason { code, text: text.map(Into::into) },
    };
    assert_eq!(decode_whole(&[0x40, 2, 0, 1]), Ok(Inbound::Puback(reply(1, 0, None))));
    assert_eq!(decode_whole(&[0x50, 3, 1, 0, 0x10]), Ok(Inbound::Pubrec(reply(256, 0x10, None))));
    assert_eq!(
        decode_whole(&[0x62, 4, 0xff, 0, 0x92, 0]),
        Ok(Inbound::Pubrel(reply(0xff00, 0x92, None)))
    );
    assert_eq!(
        decode_whole(&[0x70, 8, 0, 7, 0, 4, 0x1f, 0, 1, b'x']),
        Ok(Inbound::Pubcomp(reply(7, 0, Some("x"))))
    );
    for first in [0x40, 0x50, 0x62, 0x70] {
        malformed(&[first, 1, 0]);
        malformed(&[first, 2, 0, 0]);
        malformed(&[first, 5, 0, 1, 0, 0, 0]);
        malformed(&[first ^ 2, 2, 0, 1]);
    }
}

#[test]
fn reason_codes_of_each_packet() {
    // Section 2.4 and the tables of chapter 3.
    let receipt: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let release: &[u8] = &[0x00, 0x92];
    let suback: &[u8] = &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2];
    let unsuback: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91];
    for code in 0..=255 {
        for (first, legal) in [(0x40, receipt), (0x50, receipt), (0x62, release), (0x70, release)] {
            let result = decode_whole(&[first, 3, 0, 1, code]);
            assert_eq!(result.is_ok(), legal.contains(&code), "{first:02x} {code:02x}");
        }
        for (first, legal) in [(0x90, suback), (0xb0, unsuback)] {
            let result = decode_whole(&[first, 4, 0, 1, 0, code]);
            assert_eq!(result.is_ok(), legal.contains(&code), "{first:02x} {code:02x}");
        }
        let disconnects = matches!(code,
            0 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b | 0x8d..=0x90 | 0x93..=0x9f | 0xa0..=0xa2);
        assert_eq!(decode_whole(&[0xe0, 1, code]).is_ok(), disconnects, "{code:02x}");
        let result = decode_whole(&[0xf0, 6, code, 4, 0x15, 0, 1, b'M']);
        assert_eq!(result.is_ok(), matches!(code, 0 | 0x18), "{code:02x}");
    }
}

#[test]
fn answers_to_filters() {
    assert_eq!(
        decode_whole(&[0x90, 10, 0, 10, 3, 0x1f, 0, 0, 0, 1, 2, 0x87]),
        Ok(Inbound::Suback {
            packet_id: 10,
            granted: vec![
                Ok(Qos::AtMostOnce),
                Ok(Qos::AtLeastOnce),
                Ok(Qos::ExactlyOnce),
                Err(Reason { code: 0x87, text: Some("".into()) }),
            ]
        })
    );
    assert_eq!(
        decode_whole(&[0xb0, 6, 0, 10, 0, 0, 0x11, 0x80]),
        Ok(Inbound::Unsuback {
            packet_id: 10,
            reasons: vec![Reason::new(0), Reason::new(0x11), Reason::new(0x80)],
        })
    );
    for first in [0x90, 0xb0] {
        malformed(&[first, 3, 0, 1, 0]);
        malformed(&[first, 4, 0, 1, 1, 0]);
        malformed(&[first, 6, 0, 1, 3, 0x1f, 0, 0]); // no reason code behind the properties
        malformed(&[first, 4, 0, 0, 0, 0]);
        malformed(&[first | 2, 4, 0, 1, 0, 0]);
    }
}

#[test]
fn disconnect_of_the_server() {
    let disconnect = |bytes: &[u8]| match decode_whole(bytes) {
        Ok(Inbound::Disconnect(disconnect)) => *disconnect,
        other => panic!("{other:?}"),
    };
    let plain = |code| Disconnect { reason: Reason::new(code), server_reference: None };
    assert_eq!(disconnect(&[0xe0, 0]), plain(0));
    assert_eq!(disconnect(&[0xe0, 1, 0x8b]), plain(0x8b));
    assert_eq!(disconnect(&[0xe0, 2, 0x8b, 0]), plain(0x8b));
    let found = disconnect(&[0xe0, 10, 0x9c, 8, 0x1f, 0, 1, b'x', 0x1c, 0, 1, b'b']);
    assert_eq!(found.reason, Reason { code: 0x9c, text: Some("x".into()) });
    assert_eq!(found.server_reference.as_deref(), Some("b"));
    malformed(&[0xe0, 7, 0x8b, 5, 0x11, 0, 0, 0, 1]); // MQTT-3.14.2-2: no session expiry
    malformed(&[0xe1, 0]);
    malformed(&[0xe0, 3, 0x8b, 0, 0]);
}

#[test]
fn auth_of_the_server() {
    let result = decode_whole(&[0xf0, 10, 0x18, 8, 0x15, 0, 1, b'M', 0x16, 0, 1, b'd']);
    let expected = Authentication {
        reason: Reason::new(0x18),
        method: "M".to_owned(),
        data: Bytes::from_static(b"d"),
    };
    assert_eq!(result, Ok(Inbound::Auth(Box::new(expected))));
    violation(&[0xf0, 0]); // section 3.15.2.2.2: no method
    violation(&[0xf0, 2, 0x18, 0]);
    malformed(&[0xf1, 0]);
}

#[test]
fn what_only_a_client_sends() {
    for first in [0x10, 0x82, 0xa2, 0xc0] {
        assert!(matches!(check_first(first), Err(Fault::Violation(_))));
    }
    assert!(matches!(check_first(0), Err(Fault::Malformed { .. })));
    assert_eq!(decode_whole(&[0xd0, 0]), Ok(Inbound::Pingresp));
    malformed(&[0xd0, 1, 0]);
    malformed(&[0xd1, 0]);
}
