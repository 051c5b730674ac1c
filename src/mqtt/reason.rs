//! Reason codes, MQTT 5.0 section 2.4, in words.
//!
//! MQTT 3.1.1 has no more than success and, in SUBACK, failure; its codec makes reasons of them.

use std::fmt;

/// Success of any kind, a normal DISCONNECT, or granted QoS 0.
pub const SUCCESS: u8 = 0x00;
/// AUTH: the exchange goes on.
pub const CONTINUE_AUTHENTICATION: u8 = 0x18;
/// None of the others fits.
pub const UNSPECIFIED: u8 = 0x80;
/// The bytes are no packet.
pub const MALFORMED_PACKET: u8 = 0x81;
/// A packet that is right in itself, but not here.
pub const PROTOCOL_ERROR: u8 = 0x82;
/// The protocol version is not spoken.
pub const UNSUPPORTED_VERSION: u8 = 0x84;
/// The client id is not allowed.
pub const CLIENT_ID_NOT_VALID: u8 = 0x85;
/// Another client uses the client id.
pub const SESSION_TAKEN_OVER: u8 = 0x8e;
/// An acknowledgement of what is unknown.
pub const PACKET_ID_NOT_FOUND: u8 = 0x92;
/// More unacknowledged messages than allowed.
pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
/// An alias of 0, or above the maximum.
pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
/// Larger than the maximum packet size.
pub const PACKET_TOO_LARGE: u8 = 0x95;
/// Another server is to be used for a while.
pub const USE_ANOTHER_SERVER: u8 = 0x9c;
/// Another server is to be used for good.
pub const SERVER_MOVED: u8 = 0x9d;

/// Why something was or was not done, as the server says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// Section 2.4; 0x80 and above mean that it was not done.
    pub code: u8,
    /// Reason String, for people.
    pub text: Option<Box<str>>,
}

impl Reason {
    /// A reason without a text.
    pub fn new(code: u8) -> Self {
        Self { code, text: None }
    }

    /// Whether it says no.
    pub fn is_failure(&self) -> bool {
        self.code >= 0x80
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", name(self.code), self.code)?;
        if let Some(text) = &self.text {
            write!(f, ": {}", text.escape_debug())?;
        }
        Ok(())
    }
}

/// The name of a reason code. Codes below 0x80 mean different things in different packets.
pub fn name(code: u8) -> &'static str {
    match code {
        0x00 => "success",
        0x10 => "no matching subscribers",
        0x11 => "no subscription existed",
        0x18 => "continue authentication",
        0x19 => "re-authenticate",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep alive timeout",
        0x8e => "session taken over",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "QoS not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9e => "shared subscriptions not supported",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        _ => "unknown reason",
    }
}
