//! Random packets, random bytes, and packets with random mistakes.

use proptest::prelude::*;

use super::oracle::is_legal;
use super::*;

fn text() -> impl Strategy<Value = String> {
    "[a-zäß€/ ]{0,12}"
}

fn properties() -> impl Strategy<Value = PublishProperties> {
    let pair = (text(), text());
    let option = proptest::option::of::<BoxedStrategy<String>>;
    (
        proptest::option::of(any::<bool>()),
        proptest::option::of(any::<u32>()),
        option(text().boxed()),
        option("[a-z/]{1,9}".boxed()),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        proptest::collection::vec(pair, 0..4),
    )
        .prop_map(|(is_text, expiry, content_type, response_topic, data, user_properties)| {
            PublishProperties {
                payload_is_text: is_text,
                message_expiry_s: expiry,
                content_type,
                response_topic,
                correlation_data: data.map(Bytes::from),
                user_properties,
                subscription_ids: vec![],
            }
        })
}

fn message() -> impl Strategy<Value = Publication> {
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    let properties = proptest::option::of(properties());
    ("[a-zß/]{1,200}", payload, 0u8..3, any::<bool>(), properties).prop_map(
        |(topic, payload, level, retain, properties)| Publication {
            topic: topic.as_str().into(),
            payload: payload.into(),
            qos: Qos::from_level(level).unwrap(),
            retain,
            properties: properties
                .filter(|properties| *properties != PublishProperties::default())
                .map(Box::new),
        },
    )
}

/// A property as bytes: mostly a good one.
fn property_bytes() -> impl Strategy<Value = Vec<u8>> {
    let identifier = prop_oneof![9 => 0u8..0x2b, 1 => any::<u8>()];
    let value = prop_oneof![
        Just(vec![0]),
        Just(vec![1]),
        Just(vec![0, 1]),
        Just(vec![0, 0, 0, 9]),
        Just(vec![0, 1, b'x']),
        Just(vec![0, 1, b'x', 0, 0]),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    (identifier, value).prop_map(|(identifier, value)| [vec![identifier], value].concat())
}

/// A packet of a server, right or nearly so.
fn near_packet() -> impl Strategy<Value = Vec<u8>> {
    let properties = proptest::collection::vec(property_bytes(), 0..4);
    let code = prop_oneof![3 => Just(0u8), 1 => 0x80u8..0xa3, 1 => any::<u8>()];
    let first = prop_oneof![9 => 2u8..16, 1 => 0u8..2];
    (first, properties, code, 0u8..4, 0u16..3).prop_map(|(kind, properties, code, flags, id)| {
        let properties = &packet(0, &[&properties.concat()])[1..];
        let id = id.to_be_bytes();
        match kind {
            2 => packet(0x20, &[&[flags & 1, code], properties]),
            3 if flags == 0 => packet(0x31, &[&[0, 1, b't'], properties, b"x"]),
            3 => packet(0x30 | flags << 1, &[&[0, 1, b't'], &id, properties, b"x"]),
            6 => packet(0x62, &[&id, &[code], properties]),
            9 | 11 => packet(kind << 4, &[&id, properties, &[code]]),
            14 | 15 => packet(kind << 4, &[&[code], properties]),
            13 => packet(0xd0, &[]),
            _ => packet(kind << 4, &[&id, &[code], properties]),
        }
    })
}

/// Whole by its header, whatever is in it: cut or lengthened to fit.
fn made_whole(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let header = Header::read(&bytes).ok()??;
    if header.body_bytes > 2_000 {
        return None;
    }
    bytes.resize(header.packet_bytes(), 0);
    Some(bytes)
}

fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let result = decode_whole(bytes);
    prop_assert_eq!(result.is_ok(), is_legal(bytes), "{:02x?}: {:?}", bytes, result);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_message_comes_back_as_it_went(
        message in message(), packet_id in 1u16.., dup: bool, alias in 0u16..3,
    ) {
        let packet_id = if message.qos == Qos::AtMostOnce { 0 } else { packet_id };
        let dup = dup && packet_id > 0;
        let topic_alias = (alias > 0).then_some(alias);
        let alias = topic_alias.map(|number| TopicAlias { number, is_known: false });
        let outbound = Outbound::Publish { publication: &message, packet_id, dup, alias };
        let bytes = encoded(outbound);
        prop_assert!(is_legal(&bytes));
        let expected = Publish { publication: message, packet_id, dup, topic_alias };
        prop_assert_eq!(decode_whole(&bytes), Ok(Inbound::Publish(expected)));
    }

    #[test]
    fn stored_properties_come_back(properties in properties()) {
        let bytes = properties_to_bytes(&properties);
        prop_assert_eq!(properties_from_bytes(&bytes), Ok(properties));
    }

    #[test]
    fn releases_and_auth_come_back(packet_id in 1u16.., found: bool, data: Vec<u8>, text in text()) {
        let code = if found { 0 } else { 0x92 };
        let expected = Reply { packet_id, reason: Reason::new(code) };
        let bytes = encoded(Outbound::Pubrel { packet_id, reason: code });
        prop_assert_eq!(decode_whole(&bytes), Ok(Inbound::Pubrel(expected.clone())));
        let bytes = encoded(Outbound::Pubcomp { packet_id, reason: code });
        prop_assert_eq!(decode_whole(&bytes), Ok(Inbound::Pubcomp(expected)));
        let packet = Authentication { reason: Reason::new(0x18), method: text, data: data.into() };
        let bytes = encoded(Outbound::Auth(&packet));
        prop_assert_eq!(decode_whole(&bytes), Ok(Inbound::Auth(Box::new(packet))));
    }

    #[test]
    fn a_disconnect_comes_back(code in prop_oneof![Just(0x81u8), Just(0x93)], text in text()) {
        let bytes = encoded(Outbound::Disconnect { reason: code, text: &text });
        let text = (!text.is_empty()).then(|| text.as_str().into());
        let expected = Disconnect { reason: Reason { code, text }, server_reference: None };
        prop_assert_eq!(decode_whole(&bytes), Ok(Inbound::Disconnect(Box::new(expected))));
    }

    #[test]
    fn what_is_nearly_right_is_taken_or_refused_as_the_oracle_says(bytes in near_packet()) {
        agrees(&bytes)?;
    }

    #[test]
    fn mistakes_are_taken_or_refused_as_the_oracle_says(
        bytes in near_packet(), changes in proptest::collection::vec((0usize..40, any::<u8>()), 1..4),
    ) {
        let mut bytes = bytes;
        for (position, byte) in changes {
            let position = position % bytes.len();
            bytes[position] = byte;
        }
        if let Some(bytes) = made_whole(bytes) {
            agrees(&bytes)?;
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused_as_the_oracle_says(
        bytes in proptest::collection::vec(any::<u8>(), 2..60),
    ) {
        if let Some(bytes) = made_whole(bytes) {
            agrees(&bytes)?;
        }
    }
}
