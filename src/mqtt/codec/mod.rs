//! Packets to bytes and back: the only place that asks which version is spoken.
//!
//! A codec gets exactly one whole packet, whose header it has accepted before ([`Codec::check_header`]),
//! so an illegal packet is refused as soon as its header is there, whatever its size.

mod topic_cache;
mod v4;

use bytes::{Bytes, BytesMut};

use super::client::Version;
use super::error::{Fault, Unsendable};
use super::frame::Header;
use super::packet::{Inbound, Outbound};
use topic_cache::TopicCache;

/// Encoder and decoder of one client.
pub struct Codec {
    topics: TopicCache,
}

impl Default for Codec {
    fn default() -> Self {
        Self { topics: TopicCache::new() }
    }
}

impl Codec {
    /// Whether this version can be spoken.
    pub fn supports(version: Version) -> bool {
        version == Version::V311
    }

    /// Checks the first byte of a packet: type, direction and flags.
    pub fn check_first(&self, first: u8) -> Result<(), Fault> {
        v4::check_first(first)
    }

    /// Checks that a packet of this type may have a body of this size.
    pub fn check_header(&self, header: &Header) -> Result<(), Fault> {
        v4::check_header(header)
    }

    /// Decodes one whole packet whose header was accepted.
    pub fn decode(&mut self, header: &Header, packet: &Bytes) -> Result<Inbound, Fault> {
        v4::decode(header, packet, &mut self.topics)
    }

    /// Appends a packet to `buffer`; on an error the buffer is as it was.
    pub fn encode(&self, packet: Outbound<'_>, buffer: &mut BytesMut) -> Result<(), Unsendable> {
        v4::encode(packet, buffer)
    }

    /// Size of a packet with its header.
    pub fn packet_bytes(&self, packet: Outbound<'_>) -> usize {
        v4::packet_bytes(packet)
    }
}
