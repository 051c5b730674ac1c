//! What the fuzz targets do with their bytes, as ordinary functions: a finding is repeated by a test.

mod client;
mod payload;
mod station;
mod text;
mod websocket;

use ::bytes::{Bytes, BytesMut};
use tagline::mqtt::Version;
use tagline::mqtt::codec::Codec;
use tagline::mqtt::frame::Header;
use tagline::mqtt::packet::{Inbound, Outbound, Reply, TopicAlias};

pub use client::{client, client_v5};
pub use payload::{bytes, content, csv, envelope, influx, json, xml};
pub use text::{
    config, json_address, json_path, line_address, protocol, time_mask, when, xml_address,
};
pub use websocket::websocket;

/// Splitting never panics, never loses a byte, and its pieces do not depend on how the bytes came.
pub fn frame(data: &[u8]) {
    let whole = split(&mut BytesMut::from(data));
    let mut buffer = BytesMut::new();
    let mut pieces = vec![];
    for byte in data {
        buffer.extend_from_slice(&[*byte]);
        pieces.extend(split(&mut buffer));
    }
    assert_eq!(whole, pieces);
    let taken: usize = whole.iter().map(Bytes::len).sum();
    assert_eq!(taken + buffer.len(), data.len());
}

fn split(buffer: &mut BytesMut) -> Vec<Bytes> {
    let mut packets = vec![];
    while let Ok(Some(header)) = Header::read(buffer) {
        let Some(packet) = header.take(buffer) else { break };
        assert_eq!(packet.len(), header.packet_bytes());
        packets.push(packet);
    }
    packets
}

/// Decoding never panics, and a message or acknowledgement that was read is written as it came.
pub fn codec_v4(data: &[u8]) {
    let mut codec = Codec::new(Version::V311);
    let mut buffer = BytesMut::from(data);
    while let Some(&first) = buffer.first() {
        if codec.check_first(first).is_err() {
            break;
        }
        let Ok(Some(header)) = Header::read(&buffer) else { break };
        if codec.check_header(&header).is_err() {
            break;
        }
        let Some(packet) = header.take(&mut buffer) else { break };
        let Ok(inbound) = codec.decode(&header, &packet) else { break };
        check_round_trip(&codec, &header, &packet, &inbound);
    }
}

/// Decoding never panics, and what was read is written so that it reads the same.
pub fn codec_v5(data: &[u8]) {
    let mut codec = Codec::new(Version::V5);
    let mut buffer = BytesMut::from(data);
    while let Some(inbound) = take(&mut codec, &mut buffer) {
        let outbound = match &inbound {
            Inbound::Publish(publish) => Outbound::Publish {
                publication: &publish.publication,
                packet_id: publish.packet_id,
                dup: publish.dup,
                alias: publish.topic_alias.map(|number| TopicAlias {
                    number,
                    is_known: publish.publication.topic.is_empty(),
                }),
            },
            Inbound::Auth(packet) => Outbound::Auth(packet),
            _ => continue,
        };
        let mut written = BytesMut::new();
        assert_eq!(codec.encode(outbound, &mut written), Ok(()));
        assert_eq!(written.len(), codec.packet_bytes(outbound));
        let mut again = take(&mut codec, &mut written).expect("what was written can be read");
        // Subscription identifiers are the server's to send, and a reason string is not sent.
        match (&mut again, &inbound) {
            (Inbound::Publish(again), Inbound::Publish(publish)) => {
                let ids = publish.publication.properties.as_ref();
                let ids = ids.map(|it| it.subscription_ids.clone()).unwrap_or_default();
                if !ids.is_empty() {
                    let properties = again.publication.properties.get_or_insert_default();
                    properties.subscription_ids = ids;
                }
            }
            (Inbound::Auth(again), Inbound::Auth(packet)) => {
                again.reason.text = packet.reason.text.clone();
            }
            _ => {}
        }
        assert_eq!(again, inbound);
    }
}

fn take(codec: &mut Codec, buffer: &mut BytesMut) -> Option<Inbound> {
    codec.check_first(*buffer.first()?).ok()?;
    let header = Header::read(buffer).ok()??;
    codec.check_header(&header).ok()?;
    let packet = header.take(buffer)?;
    codec.decode(&header, &packet).ok()
}

fn check_round_trip(codec: &Codec, header: &Header, packet: &Bytes, inbound: &Inbound) {
    let outbound = match inbound {
        Inbound::Publish(publish) => Outbound::Publish {
            publication: &publish.publication,
            packet_id: publish.packet_id,
            dup: publish.dup,
            alias: None,
        },
        Inbound::Puback(reply) => Outbound::Puback(reply.packet_id),
        Inbound::Pubrec(reply) => Outbound::Pubrec(reply.packet_id),
        Inbound::Pubrel(Reply { packet_id, .. }) => {
            Outbound::Pubrel { packet_id: *packet_id, reason: 0 }
        }
        Inbound::Pubcomp(Reply { packet_id, .. }) => {
            Outbound::Pubcomp { packet_id: *packet_id, reason: 0 }
        }
        _ => return,
    };
    let mut written = BytesMut::new();
    assert_eq!(codec.encode(outbound, &mut written), Ok(()));
    assert_eq!(written.len(), codec.packet_bytes(outbound));
    assert_eq!(written[0], packet[0]);
    // A length may be written with more bytes than it needs; what follows it is the same.
    let own = Header::read(&written).ok().flatten().map_or(0, |header| header.header_bytes);
    assert_eq!(written[own..], packet[header.header_bytes..]);
}

/// Every target by its name.
pub const TARGETS: [(&str, fn(&[u8])); 21] = [
    ("bytes", bytes),
    ("client", client),
    ("client_v5", client_v5),
    ("codec_v4", codec_v4),
    ("codec_v5", codec_v5),
    ("config", config),
    ("content", content),
    ("csv", csv),
    ("envelope", envelope),
    ("frame", frame),
    ("influx", influx),
    ("json", json),
    ("json_address", json_address),
    ("json_path", json_path),
    ("line_address", line_address),
    ("protocol", protocol),
    ("time_mask", time_mask),
    ("websocket", websocket),
    ("when", when),
    ("xml", xml),
    ("xml_address", xml_address),
];

#[cfg(test)]
mod tests {
    /// The corpus of every target, as the fuzzer left it.
    #[test]
    fn no_target_fails_on_its_corpus() {
        for (name, target) in super::TARGETS {
            let folder = format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<_> = std::fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{folder}: {error}"))
                .map(|entry| entry.expect("an entry").path())
                .collect();
            files.sort();
            assert!(!files.is_empty(), "{folder}");
            for file in files {
                target(&std::fs::read(file).expect("a file"));
            }
        }
    }

    /// Without the fuzzer: many short streams of bytes that occur in packets.
    #[test]
    fn no_target_fails_on_random_bytes() {
        let mut state = 1u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u32
        };
        const LIKELY: [u8; 16] =
            [0, 1, 2, 3, 4, 6, 0x20, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xd0];
        for _ in 0..20_000 {
            let length = next() % 60;
            let data: Vec<u8> = (0..length)
                .map(|_| {
                    let number = next();
                    if number % 4 == 0 { (number >> 8) as u8 } else { LIKELY[number as usize % 16] }
                })
                .collect();
            super::frame(&data);
            super::codec_v4(&data);
            super::codec_v5(&data);
            super::client_v5(&data);
            super::client(&data);
        }
    }
}
