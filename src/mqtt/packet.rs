//! Version-neutral packets, shaped as MQTT 5.0 has them.

use std::fmt;

use bytes::Bytes;

use super::bounds;
use crate::qos::Qos;

/// An application message, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Topic name; valid UTF-8, checked at its entry.
    pub topic: std::sync::Arc<str>,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
}

/// A topic filter and what is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Topic filter; may be `$share/NAME/FILTER`.
    pub filter: String,
    /// Requested maximum QoS.
    pub qos: Qos,
}

/// Last will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// What the server publishes when the connection is lost.
    pub publication: Publication,
}

/// A packet from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Answer to CONNECT.
    Connack(Connack),
    /// A message.
    Publish(Publish),
    /// End of a QoS 1 exchange of ours.
    Puback(u16),
    /// The server has our QoS 2 message.
    Pubrec(u16),
    /// The server releases the id of its QoS 2 message.
    Pubrel(u16),
    /// End of a QoS 2 exchange of ours.
    Pubcomp(u16),
    /// Answer to SUBSCRIBE.
    Suback {
        /// Id of the SUBSCRIBE.
        packet_id: u16,
        /// Granted QoS by filter; `None`: refused.
        granted: Vec<Option<Qos>>,
    },
    /// Answer to UNSUBSCRIBE.
    Unsuback(u16),
    /// Answer to PINGREQ.
    Pingresp,
}

/// Answer to CONNECT.
#[derive(Debug, PartialEq, Eq)]
pub struct Connack {
    /// Whether the server has kept our session.
    pub session_present: bool,
    /// Why not; `None`: accepted.
    pub refusal: Option<Refusal>,
    /// What the server allows on this connection.
    pub limits: Limits,
}

/// A message as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Publish {
    /// The message.
    pub publication: Publication,
    /// 0 at QoS 0.
    pub packet_id: u16,
    /// DUP flag.
    pub dup: bool,
}

/// What a connection allows. The defaults are those of MQTT 3.1.1, which says nothing about most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Publishes of QoS 1 and 2 in flight towards the server; `None`: it does not say.
    pub in_flight_max: Option<usize>,
    /// Largest packet that the server takes, with its header.
    pub packet_bytes_max: usize,
    /// What is unacknowledged is sent again although the server has lost the session: MQTT-4.4.0-1
    /// of 3.1.1 has no condition.
    pub resend_without_session: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: None,
            packet_bytes_max: bounds::BODY_BYTES_MAX + 5,
            resend_without_session: true,
        }
    }
}

/// Why the server does not accept a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code it gave.
    pub code: u8,
    /// What that means.
    pub cause: RefusalCause,
}

/// What a refusal means for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// Another protocol version is needed.
    Version,
    /// The client id is not allowed.
    Identifier,
    /// It does not serve.
    Unavailable,
    /// User name or password.
    Credentials,
    /// Not allowed.
    NotAuthorized,
    /// A code that the specification does not know.
    Unknown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.cause {
            RefusalCause::Version => "the server does not accept this version of MQTT",
            RefusalCause::Identifier => {
                "the server rejected the client id: another client may be using the id, or the \
                 server wants ids of its own form"
            }
            RefusalCause::Unavailable => {
                "the server is unavailable: it answers, but does not serve MQTT clients at present"
            }
            RefusalCause::Credentials => "wrong user name or password",
            RefusalCause::NotAuthorized => {
                "not authorized: check user name, password and what the server allows this client id"
            }
            RefusalCause::Unknown => "the server refused the connection for an unknown reason",
        };
        write!(f, "{text} (CONNACK return code {})", self.code)
    }
}

/// A packet to the server.
#[derive(Clone, Copy, Debug)]
pub enum Outbound<'a> {
    /// First packet of a connection.
    Connect(&'a Connect<'a>),
    /// A message.
    Publish {
        /// The message.
        publication: &'a Publication,
        /// 0 at QoS 0.
        packet_id: u16,
        /// Whether it may have been sent before.
        dup: bool,
    },
    /// End of a QoS 1 exchange of the server.
    Puback(u16),
    /// We have the server's QoS 2 message.
    Pubrec(u16),
    /// Our QoS 2 message is released.
    Pubrel(u16),
    /// End of a QoS 2 exchange of the server.
    Pubcomp(u16),
    /// Ask for topics.
    Subscribe {
        /// Its id.
        packet_id: u16,
        /// At least one.
        filters: &'a [Subscription],
    },
    /// Ask no longer.
    Unsubscribe {
        /// Its id.
        packet_id: u16,
        /// At least one.
        filters: &'a [String],
    },
    /// Are you there?
    Pingreq,
    /// The end, without the will.
    Disconnect,
}

impl Outbound<'_> {
    /// The packet's name in the specification.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "CONNECT",
            Self::Publish { .. } => "PUBLISH",
            Self::Puback(_) => "PUBACK",
            Self::Pubrec(_) => "PUBREC",
            Self::Pubrel(_) => "PUBREL",
            Self::Pubcomp(_) => "PUBCOMP",
            Self::Subscribe { .. } => "SUBSCRIBE",
            Self::Unsubscribe { .. } => "UNSUBSCRIBE",
            Self::Pingreq => "PINGREQ",
            Self::Disconnect => "DISCONNECT",
        }
    }
}

/// First packet of a connection.
#[derive(Debug)]
pub struct Connect<'a> {
    /// May be empty.
    pub client_id: &'a str,
    /// Start without session state and leave none.
    pub clean_session: bool,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// Last will.
    pub will: Option<&'a Will>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password; MQTT 3.1.1 has none without a user name, so an empty one is sent with it.
    pub password: Option<&'a [u8]>,
}
