//! Every property in every packet, against the oracle's table and a legal example of each.

use super::oracle::{TABLE, is_legal};
use super::*;
use crate::mqtt::codec::v5::property::{self, Kind, Legal, RULES};

/// A legal value of each type.
fn example(kind: u8) -> Vec<u8> {
    match kind {
        b'b' => vec![1],
        b'2' => vec![0, 1],
        b'4' => vec![0, 0, 0, 1],
        b'v' => vec![1],
        b'p' => vec![0, 1, b'k', 0, 1, b'v'],
        _ => vec![0, 1, b'x'],
    }
}

/// A packet of this type with these properties, legal in all else.
fn with_properties(kind: u8, properties: &[u8]) -> Vec<u8> {
    let part = packet(0, &[properties]);
    let part = &part[1..]; // length and properties
    match kind {
        2 => packet(0x20, &[&[0, 0], part]),
        3 => packet(0x30, &[&[0, 1, b't'], part, b"payload"]),
        6 => packet(0x62, &[&[0, 1, 0], part]),
        4 | 5 | 7 => packet(kind << 4, &[&[0, 1, 0], part]),
        9 | 11 => packet(kind << 4, &[&[0, 1], part, &[0]]),
        14 => packet(0xe0, &[&[0x80], part]),
        _ => packet(0xf0, &[&[0x18], part]),
    }
}

const PACKETS: [u8; 10] = [2, 3, 4, 5, 6, 7, 9, 11, 14, 15];

/// What a packet needs besides the property in question.
fn company(kind: u8, identifier: u32) -> &'static [u8] {
    match (kind, identifier) {
        (15, 0x15) => &[],
        (15, _) | (2, 0x16) => &[0x15, 0, 1, b'M'],
        _ => &[],
    }
}

#[test]
fn each_property_stands_where_it_may_and_nowhere_else() {
    for &(identifier, kind, packets, _) in TABLE {
        let property = [&[identifier as u8][..], &example(kind)].concat();
        for packet in PACKETS {
            let company = company(packet, identifier);
            let once = with_properties(packet, &[company, &property].concat());
            let legal = packets.contains(&packet);
            let result = decode_whole(&once);
            assert_eq!(result.is_ok(), legal, "0x{identifier:02x} in {packet}: {result:?}");
            assert_eq!(is_legal(&once), legal, "the oracle: 0x{identifier:02x} in {packet}");
            if !legal {
                assert!(matches!(result, Err(Fault::Malformed { .. })));
                continue;
            }
            let twice = with_properties(packet, &[company, &property, &property].concat());
            let repeatable = matches!(identifier, 0x0b | 0x26);
            let result = decode_whole(&twice);
            assert_eq!(result.is_ok(), repeatable, "0x{identifier:02x} twice in {packet}");
            assert!(repeatable || matches!(result, Err(Fault::Violation(_))));
            for end in 0..property.len() {
                let cut = with_properties(packet, &[company, &property[..end]].concat());
                let result = decode_whole(&cut);
                assert!(result.is_err() == (end > 0 || company.is_empty() && packet == 15));
            }
        }
    }
}

#[test]
fn unknown_properties_are_malformed() {
    let known: Vec<u32> = TABLE.iter().map(|row| row.0).collect();
    for identifier in (0..128u8).filter(|&it| !known.contains(&u32::from(it))) {
        for packet in PACKETS {
            let property = [identifier, 0, 1, b'x'];
            let bytes = with_properties(packet, &[company(packet, 0), &property].concat());
            assert!(matches!(decode_whole(&bytes), Err(Fault::Malformed { .. })));
        }
    }
    // An identifier is a variable byte integer, with the fewest bytes.
    assert!(decode_whole(&with_properties(3, &[0x81, 0x00, 1])).is_err());
    assert!(decode_whole(&with_properties(3, &[0xff, 0x01, 1])).is_err());
}

#[test]
fn illegal_numbers_are_protocol_errors() {
    for (identifier, kind, packets, legal) in TABLE {
        let width = match kind {
            b'b' | b'v' => 1,
            b'2' => 2,
            b'4' => 4,
            _ => continue,
        };
        for number in [0u32, 1, 2, 3, 127] {
            let value = &number.to_be_bytes()[4 - width..];
            for &packet in *packets {
                let bytes = with_properties(packet, &[&[*identifier as u8][..], value].concat());
                let result = decode_whole(&bytes);
                assert_eq!(result.is_ok(), legal.contains(&number), "0x{identifier:02x} {number}");
            }
        }
    }
}

#[test]
fn the_table_is_that_of_the_specification() {
    assert_eq!(RULES.len(), TABLE.len());
    // The oracle's packets by ours.
    let places = [
        (2, property::CONNACK),
        (3, property::PUBLISH),
        (4, property::PUBACK),
        (5, property::PUBREC),
        (6, property::PUBREL),
        (7, property::PUBCOMP),
        (9, property::SUBACK),
        (11, property::UNSUBACK),
        (14, property::DISCONNECT),
        (15, property::AUTH),
    ];
    for (rule, &(identifier, kind, packets, _)) in RULES.iter().zip(TABLE) {
        assert_eq!(rule.property as u32, identifier, "{}", rule.name);
        let own = match rule.kind {
            Kind::Byte => b'b',
            Kind::TwoBytes => b'2',
            Kind::FourBytes => b'4',
            Kind::Variable => b'v',
            Kind::Text if rule.legal == Legal::Topic => b't',
            Kind::Text => b's',
            Kind::Binary => b'd',
            Kind::Pair => b'p',
        };
        assert_eq!(own, kind, "{}", rule.name);
        for (packet, place) in places {
            let legal = rule.places & place != 0;
            assert_eq!(legal, packets.contains(&packet), "{} in {packet}", rule.name);
        }
    }
}

#[test]
fn what_a_client_may_send_is_in_the_table_too() {
    // Table 2-4, the rows of CONNECT, will, PUBLISH, SUBSCRIBE, UNSUBSCRIBE and DISCONNECT.
    let expected: [(&[u32], property::Places); 6] = [
        (&[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27], property::CONNECT),
        (&[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26], property::WILL),
        (&[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26], property::OUR_PUBLISH),
        (&[0x0b, 0x26], property::SUBSCRIBE),
        (&[0x26], property::UNSUBSCRIBE),
        (&[0x11, 0x1f, 0x26], property::OUR_DISCONNECT),
    ];
    for (identifiers, place) in expected {
        let found = RULES.iter().filter(|rule| rule.places & place != 0);
        let found: Vec<u32> = found.map(|rule| rule.property as u32).collect();
        assert_eq!(found, identifiers);
    }
}

#[test]
fn what_we_encode_passes_the_table() {
    let mut publication = publication("t", b"", 1);
    publication.properties = Some(Box::new(all_properties()));
    let alias = Some(TopicAlias { number: 3, is_known: false });
    let bytes =
        encoded(Outbound::Publish { publication: &publication, packet_id: 1, dup: false, alias });
    let properties = Bytes::copy_from_slice(&bytes[2 + 3 + 2 + 1..]);
    let mut properties = property::Properties::new("PUBLISH", property::OUR_PUBLISH, &properties);
    let mut count = 0;
    while properties.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 8);
}
