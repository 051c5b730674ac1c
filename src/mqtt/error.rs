//! What ends a connection, by whose fault it is, in words for an operator.

use std::time::Duration;

use super::packet::Refusal;
use super::reason::{self, Reason};

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
    /// More messages than `receive_maximum` without an acknowledgement of ours.
    #[error("the server sent more than {0} messages without waiting for their acknowledgement")]
    ReceiveMaximum(u16),
    /// A topic alias that it must not use.
    #[error("the server broke the protocol: {0}")]
    TopicAlias(String),
    /// DISCONNECT of the server.
    #[error("the server disconnected: {reason}{}", hint(.reason.code, .server_reference.as_deref()))]
    Disconnected {
        /// Why.
        reason: Reason,
        /// Servers to be used instead.
        server_reference: Option<String>,
    },
    /// The server could not show that it knows our password, or the method cannot go on.
    #[error("authentication failed: {0}")]
    Authentication(String),
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
    /// A response topic that is no topic name.
    #[error("the response topic is not valid: {0}")]
    ResponseTopic(crate::topic::TopicError),
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

fn hint(code: u8, servers: Option<&str>) -> String {
    match servers {
        Some(servers) => format!("; it refers to `{}`", servers.escape_debug()),
        None if code == reason::SESSION_TAKEN_OVER => {
            "; another client has connected with our client id".to_owned()
        }
        None => String::new(),
    }
}

impl Fault {
    /// The reason that DISCONNECT gives to the server; `None`: it is told nothing.
    pub(super) fn reason_code(&self) -> Option<u8> {
        Some(match self {
            Self::Malformed { .. } => reason::MALFORMED_PACKET,
            Self::Violation(_) => reason::PROTOCOL_ERROR,
            Self::TooLarge { .. } => reason::PACKET_TOO_LARGE,
            Self::ReceiveMaximum(_) => reason::RECEIVE_MAXIMUM_EXCEEDED,
            Self::TopicAlias(_) => reason::TOPIC_ALIAS_INVALID,
            Self::NoReply { .. } | Self::Incomplete(_) | Self::Unsendable(_) => reason::UNSPECIFIED,
            Self::Authentication(_) => reason::UNSPECIFIED,
            // Section 4.13.2: who was told that it is over closes, and says no more.
            Self::Refused { .. } | Self::Disconnected { .. } => return None,
        })
    }

    /// Other servers that are to be used instead (section 4.11 of MQTT 5.0).
    pub(super) fn referral(&self) -> Option<&str> {
        let (code, servers) = match self {
            Self::Refused { refusal, .. } => (refusal.code, &refusal.server_reference),
            Self::Disconnected { reason, server_reference } => (reason.code, server_reference),
            _ => return None,
        };
        let refers = matches!(code, reason::USE_ANOTHER_SERVER | reason::SERVER_MOVED);
        servers.as_deref().filter(|_| refers)
    }

    /// A malformed packet.
    pub(super) fn malformed(packet: &'static str, what: impl Into<String>) -> Self {
        Self::Malformed { packet, what: what.into() }
    }

    /// A packet that must not come here.
    pub(super) fn violation(what: impl Into<String>) -> Self {
        Self::Violation(what.into())
    }
}
