//! Version-neutral packets, shaped as MQTT 5.0 has them.

use std::fmt;

use bytes::Bytes;

use super::bounds;
use super::reason::{self, Reason};
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
    /// What MQTT 5.0 adds; most messages have none of it.
    pub properties: Option<Box<PublishProperties>>,
}

impl Publication {
    /// Content Type, if the message has one.
    pub fn content_type(&self) -> Option<&str> {
        self.properties.as_ref()?.content_type.as_deref()
    }
}

/// What MQTT 5.0 adds to a message, section 3.3.2.3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// Payload Format Indicator: whether the payload is UTF-8 text.
    pub payload_is_text: Option<bool>,
    /// Message Expiry Interval in seconds: what is left of it, when received.
    pub message_expiry_s: Option<u32>,
    /// Content Type, a MIME type by custom.
    pub content_type: Option<String>,
    /// Response Topic: where an answer is expected.
    pub response_topic: Option<String>,
    /// Correlation Data: what an answer is to carry.
    pub correlation_data: Option<Bytes>,
    /// User Properties in their order; a name may occur again.
    pub user_properties: Vec<(String, String)>,
    /// Subscription Identifiers, of received messages only.
    pub subscription_ids: Vec<u32>,
}

/// A topic filter and what is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Topic filter; may be `$share/NAME/FILTER`.
    pub filter: String,
    /// Requested maximum QoS.
    pub qos: Qos,
    /// What MQTT 5.0 adds.
    pub options: SubscribeOptions,
}

impl Subscription {
    /// A subscription as MQTT 3.1.1 has it.
    pub fn new(filter: impl Into<String>, qos: Qos) -> Self {
        Self { filter: filter.into(), qos, options: SubscribeOptions::default() }
    }
}

/// Subscription Options of MQTT 5.0, section 3.8.3.1. The defaults are what MQTT 3.1.1 does: our own
/// messages come back, the retain flag marks what was retained, and every SUBSCRIBE brings it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// No Local: our own messages do not come back.
    pub no_local: bool,
    /// Retain As Published: messages keep the retain flag they were published with.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When a subscription brings retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    Always = 0,
    /// When the subscription did not exist.
    IfAbsent = 1,
    /// Never.
    Never = 2,
}

/// Last will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// What the server publishes when the connection is lost.
    pub publication: Publication,
    /// Will Delay Interval of MQTT 5.0 in seconds.
    pub delay_s: u32,
}

/// A packet from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Answer to CONNECT.
    Connack(Box<Connack>),
    /// A message.
    Publish(Publish),
    /// End of a QoS 1 exchange of ours.
    Puback(Reply),
    /// The server has our QoS 2 message, or refuses it.
    Pubrec(Reply),
    /// The server releases the id of its QoS 2 message.
    Pubrel(Reply),
    /// End of a QoS 2 exchange of ours.
    Pubcomp(Reply),
    /// Answer to SUBSCRIBE.
    Suback {
        /// Id of the SUBSCRIBE.
        packet_id: u16,
        /// Granted QoS by filter, or why it was refused.
        granted: Vec<Result<Qos, Reason>>,
    },
    /// Answer to UNSUBSCRIBE.
    Unsuback {
        /// Id of the UNSUBSCRIBE.
        packet_id: u16,
        /// By filter; empty: all are gone.
        reasons: Vec<Reason>,
    },
    /// Answer to PINGREQ.
    Pingresp,
    /// The server ends the connection.
    Disconnect(Box<Disconnect>),
    /// A step of an authentication exchange.
    Auth(Box<Authentication>),
}

/// Answer to a packet with an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The id.
    pub packet_id: u16,
    /// How it went.
    pub reason: Reason,
}

impl Reply {
    /// An answer that says yes.
    pub fn success(packet_id: u16) -> Self {
        Self { packet_id, reason: Reason::default() }
    }
}

/// Answer to CONNECT.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Connack {
    /// Whether the server has kept our session.
    pub session_present: bool,
    /// Why not; `None`: accepted.
    pub refusal: Option<Refusal>,
    /// What the server allows on this connection.
    pub limits: Limits,
    /// The client id that the server has given us.
    pub assigned_client_id: Option<String>,
    /// Seconds for which the server keeps the session; `None`: as asked.
    pub session_expiry_s: Option<u32>,
    /// Keep alive in seconds that the server wants instead of ours.
    pub server_keep_alive: Option<u16>,
    /// Reason String of a CONNACK that accepts.
    pub text: Option<Box<str>>,
    /// Authentication Method and Data.
    pub authentication: Option<(String, Bytes)>,
}

/// DISCONNECT of the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: Reason,
    /// Server Reference.
    pub server_reference: Option<String>,
}

/// AUTH, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// 0x00, 0x18 or 0x19.
    pub reason: Reason,
    /// Authentication Method.
    pub method: String,
    /// Authentication Data; its meaning is the method's.
    pub data: Bytes,
}

/// A message as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Publish {
    /// The message; its topic is empty when it is named by the alias alone.
    pub publication: Publication,
    /// 0 at QoS 0.
    pub packet_id: u16,
    /// DUP flag.
    pub dup: bool,
    /// Topic Alias, not 0.
    pub topic_alias: Option<u16>,
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
    /// A session that the server claims to have, and we have not, is a fault (MQTT-3.2.2-4 of 5.0).
    pub session_must_be_known: bool,
    /// Acknowledgements and DISCONNECT carry reasons, so that what is wrong can be said.
    pub reasons: bool,
    /// Highest QoS of our messages.
    pub qos_max: Qos,
    /// Whether messages may be retained.
    pub retain: bool,
    /// Highest topic alias that the server takes; 0: none.
    pub topic_alias_max: u16,
    /// Whether topic filters may contain wildcards.
    pub wildcard_filters: bool,
    /// Whether there are shared subscriptions.
    pub shared_filters: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: None,
            packet_bytes_max: bounds::BODY_BYTES_MAX + 5,
            resend_without_session: true,
            session_must_be_known: false,
            reasons: false,
            qos_max: Qos::ExactlyOnce,
            retain: true,
            topic_alias_max: 0,
            wildcard_filters: true,
            shared_filters: true,
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
    /// Reason String, for people.
    pub text: Option<Box<str>>,
    /// Server Reference: servers to be used instead.
    pub server_reference: Option<String>,
}

impl Refusal {
    /// A refusal of which nothing but the code is known.
    pub fn new(code: u8, cause: RefusalCause) -> Self {
        Self { code, cause, text: None, server_reference: None }
    }
}

/// What a refusal means for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// Another protocol version is needed.
    Protocol,
    /// The server speaks an older version of the protocol, and only that.
    OnlyOlderProtocol,
    /// The client id is not allowed.
    Identifier,
    /// It does not serve.
    Unavailable,
    /// User name or password.
    Credentials,
    /// Not allowed.
    NotAuthorized,
    /// Something else that has a name.
    Named,
    /// A code that the specification does not know.
    Unknown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.cause {
            RefusalCause::Protocol => {
                "the server does not speak this version of MQTT: set `mqtt_version = \"5.0\"`"
            }
            RefusalCause::OnlyOlderProtocol => {
                "the server speaks MQTT 3.1.1 only: set `mqtt_version = \"3.1.1\"`"
            }
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
            RefusalCause::Named => {
                write!(f, "the server refused the connection: {}", reason::name(self.code))?;
                ""
            }
            RefusalCause::Unknown => "the server refused the connection for an unknown reason",
        };
        if self.code < 0x80 {
            write!(f, "{text} (CONNACK return code {})", self.code)?;
        } else {
            write!(f, "{text} (CONNACK reason 0x{0:02x}, {0})", self.code)?;
        }
        if let Some(text) = &self.text {
            write!(f, ": {}", text.escape_debug())?;
        }
        if let Some(servers) = &self.server_reference {
            write!(f, "; it refers to `{}`", servers.escape_debug())?;
        }
        Ok(())
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
        /// Topic alias, where the server takes them.
        alias: Option<TopicAlias>,
    },
    /// End of a QoS 1 exchange of the server.
    Puback(u16),
    /// We have the server's QoS 2 message.
    Pubrec(u16),
    /// Our QoS 2 message is released.
    Pubrel {
        /// Its id.
        packet_id: u16,
        /// 0x00 or 0x92.
        reason: u8,
    },
    /// End of a QoS 2 exchange of the server.
    Pubcomp {
        /// Its id.
        packet_id: u16,
        /// 0x00 or 0x92.
        reason: u8,
    },
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
    /// The end.
    Disconnect {
        /// 0x00: the will is not published.
        reason: u8,
        /// In words for the server's operator; may be empty.
        text: &'a str,
    },
    /// A step of an authentication exchange.
    Auth(&'a Authentication),
}

/// How a message names its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicAlias {
    /// 1 to the server's maximum.
    pub number: u16,
    /// Whether the server knows what it stands for, so that the topic itself is left out.
    pub is_known: bool,
}

impl Outbound<'_> {
    /// The packet's name in the specification.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "CONNECT",
            Self::Publish { .. } => "PUBLISH",
            Self::Puback(_) => "PUBACK",
            Self::Pubrec(_) => "PUBREC",
            Self::Pubrel { .. } => "PUBREL",
            Self::Pubcomp { .. } => "PUBCOMP",
            Self::Subscribe { .. } => "SUBSCRIBE",
            Self::Unsubscribe { .. } => "UNSUBSCRIBE",
            Self::Pingreq => "PINGREQ",
            Self::Disconnect { .. } => "DISCONNECT",
            Self::Auth(_) => "AUTH",
        }
    }
}

/// First packet of a connection.
#[derive(Debug)]
pub struct Connect<'a> {
    /// May be empty.
    pub client_id: &'a str,
    /// Clean Session; in MQTT 5.0 Clean Start: start without session state.
    pub clean_session: bool,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// Session Expiry Interval in seconds; 0: the session ends with the connection.
    pub session_expiry_s: u32,
    /// Largest packet that we take, with its header.
    pub maximum_packet_size: u32,
    /// What MQTT 5.0 adds.
    pub properties: &'a ConnectProperties,
    /// Authentication Method and first Data.
    pub authentication: Option<&'a Authentication>,
    /// Last will.
    pub will: Option<&'a Will>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password; MQTT 3.1.1 has none without a user name, so an empty one is sent with it.
    pub password: Option<&'a [u8]>,
}

/// What MQTT 5.0 adds to CONNECT, as far as it is configured. The defaults say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Session Expiry Interval in seconds of a session that is kept.
    pub session_expiry_s: u32,
    /// Unacknowledged messages that the server may send at a time, not 0; `None`: as many as there
    /// are packet ids.
    pub receive_maximum: Option<u16>,
    /// Highest topic alias that the server may use; 0: none.
    pub topic_alias_maximum: u16,
    /// User Properties in their order.
    pub user_properties: Vec<(String, String)>,
}
