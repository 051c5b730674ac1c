//! Bytes typed from the MQTT 5.0 specification, and an oracle of its own for everything else.

mod differential;
mod inbound;
mod oracle;
mod outbound;
mod random;
mod table;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::mqtt::codec::TopicCache;
use crate::mqtt::error::{Fault, Unsendable};
use crate::mqtt::frame::Header;
use crate::mqtt::packet::*;
use crate::mqtt::reason::Reason;
use crate::qos::Qos;

/// Decodes bytes that must be exactly one packet as far as their header says.
fn decode_whole(bytes: &[u8]) -> Result<Inbound, Fault> {
    check_first(bytes[0])?;
    let header = Header::read(bytes)?.expect("a whole header");
    check_header(&header)?;
    assert_eq!(header.packet_bytes(), bytes.len(), "the test's packet is not whole");
    decode(&header, &Bytes::copy_from_slice(bytes), &mut TopicCache::new())
}

/// A packet from its first byte and its body.
fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(&body);
    bytes
}

fn encoded(packet: Outbound<'_>) -> Vec<u8> {
    let mut buffer = BytesMut::from(&b"before"[..]);
    encode(packet, &mut buffer).unwrap();
    assert_eq!(packet_bytes(packet), buffer.len() - 6);
    buffer.split_off(6).to_vec()
}

fn refused(packet: Outbound<'_>) -> Unsendable {
    let mut buffer = BytesMut::from(&b"before"[..]);
    let error = encode(packet, &mut buffer).unwrap_err();
    assert_eq!(&buffer[..], b"before");
    error
}

fn publication(topic: &str, payload: &[u8], level: u8) -> Publication {
    Publication {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload),
        qos: Qos::from_level(level).unwrap(),
        retain: false,
        properties: None,
    }
}

/// Every property that a client may send with a message.
fn all_properties() -> PublishProperties {
    PublishProperties {
        payload_is_text: Some(true),
        message_expiry_s: Some(0x0102_0304),
        content_type: Some("text/plain".to_owned()),
        response_topic: Some("re/ply".to_owned()),
        correlation_data: Some(Bytes::from_static(&[0, 0xff])),
        user_properties: vec![("a".to_owned(), "b".to_owned()), ("a".to_owned(), "c".to_owned())],
        subscription_ids: vec![],
    }
}

/// [`all_properties`] as sections 3.3.2.3.2 to 3.3.2.3.9 have them.
const ALL_PROPERTIES: &[u8] = &[
    0x01, 1, // Payload Format Indicator
    0x02, 1, 2, 3, 4, // Message Expiry Interval
    0x03, 0, 10, b't', b'e', b'x', b't', b'/', b'p', b'l', b'a', b'i', b'n', // Content Type
    0x08, 0, 6, b'r', b'e', b'/', b'p', b'l', b'y', // Response Topic
    0x09, 0, 2, 0, 0xff, // Correlation Data
    0x26, 0, 1, b'a', 0, 1, b'b', // User Property
    0x26, 0, 1, b'a', 0, 1, b'c', // User Property
];
