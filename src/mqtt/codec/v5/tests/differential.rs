//! What both versions can say, by both codecs: they must mean the same.

use proptest::prelude::*;

use super::*;
use crate::mqtt::client::Version;
use crate::mqtt::codec::Codec;

fn decode_with(codec: &mut Codec, bytes: &[u8]) -> Result<Inbound, Fault> {
    codec.check_first(bytes[0])?;
    let header = Header::read(bytes)?.expect("a whole header");
    codec.check_header(&header)?;
    codec.decode(&header, &Bytes::copy_from_slice(bytes))
}

/// The packet of MQTT 3.1.1 with the empty properties of 5.0 put in.
fn with_empty_properties(old: &[u8]) -> Vec<u8> {
    let header = Header::read(old).unwrap().unwrap();
    let body = &old[header.header_bytes..];
    let at = match header.first >> 4 {
        3 => {
            let topic_bytes = usize::from(u16::from_be_bytes([body[0], body[1]]));
            2 + topic_bytes + if header.first & 0b110 == 0 { 0 } else { 2 }
        }
        8..=10 => 2,
        _ => return old.to_vec(),
    };
    packet(header.first, &[&body[..at], &[0], &body[at..]])
}

fn encoded_by(codec: &Codec, packet: Outbound<'_>) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    codec.encode(packet, &mut buffer).unwrap();
    assert_eq!(codec.packet_bytes(packet), buffer.len());
    buffer.to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn messages(
        topic in "[a-zß/]{1,20}", payload: Vec<u8>, level in 0u8..3, id in 1u16.., retain: bool, dup: bool,
    ) {
        let (mut old, mut new) = (Codec::new(Version::V311), Codec::new(Version::V5));
        let publication = Publication { retain, ..publication(&topic, &payload, level) };
        let packet_id = if level == 0 { 0 } else { id };
        let dup = dup && level > 0;
        let packet = Outbound::Publish { publication: &publication, packet_id, dup, alias: None };
        let bytes = encoded_by(&old, packet);
        prop_assert_eq!(&with_empty_properties(&bytes), &encoded_by(&new, packet));
        let decoded = decode_with(&mut old, &bytes);
        prop_assert!(decoded.is_ok());
        prop_assert_eq!(decoded, decode_with(&mut new, &with_empty_properties(&bytes)));
    }

    #[test]
    fn requests(filters in proptest::collection::vec("[a-z/]{1,9}", 1..8), id in 1u16.., level in 0u8..3) {
        let (old, new) = (Codec::new(Version::V311), Codec::new(Version::V5));
        let qos = Qos::from_level(level).unwrap();
        let subscriptions: Vec<_> =
            filters.iter().map(|filter| Subscription::new(filter.as_str(), qos)).collect();
        let subscribe = Outbound::Subscribe { packet_id: id, filters: &subscriptions };
        let unsubscribe = Outbound::Unsubscribe { packet_id: id, filters: &filters };
        for packet in [subscribe, unsubscribe] {
            let bytes = with_empty_properties(&encoded_by(&old, packet));
            prop_assert_eq!(bytes, encoded_by(&new, packet));
        }
    }

    #[test]
    fn answers(
        first in prop_oneof![Just(0x40u8), Just(0x50), Just(0x62), Just(0x70), Just(0x90)],
        id: u16,
        codes in proptest::collection::vec(prop_oneof![0u8..4, Just(0x80)], 1..5),
    ) {
        let (mut old, mut new) = (Codec::new(Version::V311), Codec::new(Version::V5));
        let id = id.to_be_bytes();
        let codes = if first == 0x90 { &codes[..] } else { &[] };
        let bytes = packet(first, &[&id, codes]);
        let decoded = decode_with(&mut old, &bytes);
        match decode_with(&mut new, &with_empty_properties(&bytes)) {
            Ok(inbound) => prop_assert_eq!(decoded, Ok(inbound)),
            Err(_) => prop_assert!(decoded.is_err()),
        }
    }

    #[test]
    fn first_bytes(first: u8) {
        let (old, new) = (Codec::new(Version::V311), Codec::new(Version::V5));
        let is_new = first == 0xe0 || first == 0xf0;
        prop_assert_eq!(old.check_first(first).is_ok() || is_new, new.check_first(first).is_ok());
    }
}

#[test]
fn acknowledgements_are_the_same_bytes() {
    let (old, new) = (Codec::new(Version::V311), Codec::new(Version::V5));
    for packet in [
        Outbound::Puback(7),
        Outbound::Pubrec(7),
        Outbound::Pubrel { packet_id: 7, reason: 0 },
        Outbound::Pubcomp { packet_id: 7, reason: 0 },
        Outbound::Pingreq,
        Outbound::Disconnect { reason: 0, text: "" },
    ] {
        assert_eq!(encoded_by(&old, packet), encoded_by(&new, packet));
    }
}
