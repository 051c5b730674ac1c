//! Packets to bytes and back: the only place that asks which version is spoken.
//!
//! A codec gets exactly one whole packet, whose header it has accepted before ([`Codec::check_header`]),
//! so an illegal packet is refused as soon as its header is there, whatever its size.

mod topic_cache;
mod v4;
mod v5;

use bytes::{Bytes, BytesMut};

use super::client::Version;
use super::error::{Fault, Unsendable};
use super::frame::Header;
use super::packet::{Inbound, Limits, Outbound, PublishProperties};
use topic_cache::TopicCache;

/// Encoder and decoder of one client.
pub struct Codec {
    version: Version,
    topics: TopicCache,
}

impl Codec {
    /// A codec for one version of the protocol.
    pub fn new(version: Version) -> Self {
        Self { version, topics: TopicCache::new() }
    }

    /// What a connection allows as long as the server has said nothing.
    pub fn limits(&self) -> Limits {
        match self.version {
            Version::V311 => Limits::default(),
            Version::V5 => v5::limits(),
        }
    }

    /// Checks the first byte of a packet: type, direction and flags.
    pub fn check_first(&self, first: u8) -> Result<(), Fault> {
        match self.version {
            Version::V311 => v4::check_first(first),
            Version::V5 => v5::check_first(first),
        }
    }

    /// Checks that a packet of this type may have a body of this size.
    pub fn check_header(&self, header: &Header) -> Result<(), Fault> {
        match self.version {
            Version::V311 => v4::check_header(header),
            Version::V5 => v5::check_header(header),
        }
    }

    /// Decodes one whole packet whose header was accepted.
    pub fn decode(&mut self, header: &Header, packet: &Bytes) -> Result<Inbound, Fault> {
        match self.version {
            Version::V311 => v4::decode(header, packet, &mut self.topics),
            Version::V5 => v5::decode(header, packet, &mut self.topics),
        }
    }

    /// Appends a packet to `buffer`; on an error the buffer is as it was.
    pub fn encode(&self, packet: Outbound<'_>, buffer: &mut BytesMut) -> Result<(), Unsendable> {
        match self.version {
            Version::V311 => v4::encode(packet, buffer),
            Version::V5 => v5::encode(packet, buffer),
        }
    }

    /// Size of a packet with its header.
    pub fn packet_bytes(&self, packet: Outbound<'_>) -> usize {
        match self.version {
            Version::V311 => v4::packet_bytes(packet),
            Version::V5 => v5::packet_bytes(packet),
        }
    }
}

/// The properties of a message in a form that can be stored, whatever version is spoken.
pub fn properties_to_bytes(properties: &PublishProperties) -> Vec<u8> {
    v5::properties_to_bytes(properties)
}

/// The other way round; `None`: these are no properties.
pub fn properties_from_bytes(bytes: &[u8]) -> Option<PublishProperties> {
    v5::properties_from_bytes(bytes).ok()
}

/// Reserved flags of a packet, which both versions fix (MQTT-2.2.2-2 of 3.1.1, MQTT-2.1.3-1 of 5.0).
fn check_flags(packet: &'static str, flags: u8, wanted: u8) -> Result<(), Fault> {
    if flags != wanted {
        let what = format!("its header flags are {flags:04b} where {wanted:04b} is demanded");
        return Err(Fault::malformed(packet, what));
    }
    Ok(())
}

/// Flags of a PUBLISH, which mean the same in both versions.
fn check_publish_flags(flags: u8) -> Result<(), Fault> {
    let qos = flags >> 1 & 0b11;
    if qos == 3 {
        return Err(Fault::malformed("PUBLISH", "its QoS is 3")); // MQTT-3.3.1-4
    }
    if qos == 0 && flags & 0b1000 != 0 {
        return Err(Fault::malformed("PUBLISH", "DUP is set at QoS 0")); // MQTT-3.3.1-2
    }
    Ok(())
}
