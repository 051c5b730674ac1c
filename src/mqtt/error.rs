//! What ends a connection, by whose fault it is, in words for an operator.

use std::time::Duration;

use super::packet::Refusal;

/// Why a connection is closed by us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are no packet of the protocol.
    #[error("the server sent a malformed {packet}: {what}")]
    Malformed {
        /// Name of the packet.
        packet: &'static str,
        /// What was wrong.
        what: String,
    },
    /// A packet that is right in itself, but not here (MQTT-4.8.0-1).
    #[error("the server broke the protocol: {0}")]
    Violation(String),
    /// Larger than `maximum_packet_size`.
    #[error(
        "the server sent a {packet} of {size} bytes, `maximum_packet_size` allows {allowed} bytes"
    )]
    TooLarge {
        /// Name of the packet.
        packet: &'static str,
        /// Its size with its header.
        size: usize,
        /// The limit.
        allowed: usize,
    },
    /// CONNACK says no.
    #[error("{refusal}; the client id is `{client_id}`")]
    Refused {
        /// What it says.
        refusal: Refusal,
        /// Our client id: many servers decide by it.
        client_id: String,
    },
    /// No answer in time.
    #[error("the server did not answer {awaited} within {timeout:?}")]
    NoReply {
        /// What was asked.
        awaited: &'static str,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// A packet began and did not end.
    #[error("the server stopped in the middle of a packet and sent nothing for {0:?}")]
    Incomplete(Duration),
    /// We were asked to send what cannot be said.
    #[error("{0}")]
    Unsendable(#[from] Unsendable),
}

/// Why a packet cannot be encoded. Never caused by the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// A field of at most 65,535 bytes.
    #[error("the {0} is longer than 65535 bytes")]
    FieldTooLong(&'static str),
    /// MQTT-1.5.3-2.
    #[error("the {0} contains the character U+0000")]
    Nul(&'static str),
    /// Section 2.2.3.
    #[error("the packet of {0} bytes is larger than {1} bytes")]
    TooLarge(usize, usize),
    /// A will topic that is no topic name.
    #[error("the will topic is not valid: {0}")]
    WillTopic(crate::topic::TopicError),
    /// Every id is in use.
    #[error("all 65535 packet ids are in use")]
    NoPacketId,
    /// The encoder refused: a mistake of ours.
    #[error("the {packet} cannot be encoded: {cause}")]
    Encoder {
        /// Name of the packet.
        packet: &'static str,
        /// What the encoder says.
        cause: String,
    },
}

impl Fault {
    /// A malformed packet.
    pub(super) fn malformed(packet: &'static str, what: impl Into<String>) -> Self {
        Self::Malformed { packet, what: what.into() }
    }

    /// A packet that must not come here.
    pub(super) fn violation(what: impl Into<String>) -> Self {
        Self::Violation(what.into())
    }
}
