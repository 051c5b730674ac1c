//! What a client is told and what it says: options, inputs, commands, outputs.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::mqtt::authenticator::Authenticator;
use crate::mqtt::packet::{ConnectProperties, Publication, Subscription, Will};
use crate::mqtt::reconnect::Endpoint;
use crate::mqtt::session::{self, ChangeSeq, SessionChange};
use crate::qos::Qos;

/// Protocol version spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.0.
    V5,
}

/// What a client is told once.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Protocol version.
    pub version: Version,
    /// Empty: the server assigns one, and `clean_session` is taken as true.
    pub client_id: String,
    /// Start without session state and leave none.
    pub clean_session: bool,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// Server silent this long: PINGREQ.
    pub ping_interval: Option<Duration>,
    /// For CONNACK, SUBACK, UNSUBACK, PINGRESP, and packets that stay incomplete.
    pub reply_timeout: Option<Duration>,
    /// Last will.
    pub will: Option<Will>,
    /// All filters wanted; those of the stored session that are not among them are unsubscribed.
    pub subscriptions: Vec<Subscription>,
    /// Unacknowledged publishes at a time; 0: what the server allows.
    pub publish_in_flight: u16,
    /// Largest packet accepted, in bytes with its header.
    pub maximum_packet_size: u32,
    /// What MQTT 5.0 adds to CONNECT.
    pub properties: ConnectProperties,
    /// Pause before a new attempt: full jitter between nothing and a bound that doubles from `min` to `max`.
    pub reconnect_min: Duration,
    /// See `reconnect_min`.
    pub reconnect_max: Duration,
    /// How many servers the driver has; they are tried in turn.
    pub servers: usize,
    /// Seed of the jitter.
    pub seed: u64,
}

/// Read afresh by the driver for every connection.
#[derive(Default)]
pub struct Credentials {
    /// User name.
    pub user_name: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Enhanced authentication, which MQTT 3.1.1 has not.
    pub authenticator: Option<Box<dyn Authenticator>>,
}

/// What happened outside.
pub enum Input {
    /// The transport of the last [`Output::Connect`] is open.
    Connected(Credentials),
    /// It could not be opened, or credentials could not be had; in words for the operator.
    ConnectFailed(String),
    /// So many more bytes of the [`Output::Transmit`]s of this connection were taken by the transport.
    Transmitted(usize),
    /// The peer closed, or the transport failed; in words for the operator.
    Closed(String),
    /// [`Event::Session`] changes up to this one are on disk.
    Durable(ChangeSeq),
    /// [`super::Client::deadline`] has come.
    Timeout,
}

/// What the driver wants.
pub enum Command {
    /// Publish. Its end comes as [`Event::Completed`].
    Publish {
        /// Given back with the outcome.
        token: PublishToken,
        /// What to publish.
        publication: Publication,
        /// When the outcome is wanted at the latest.
        deadline: Instant,
        /// It must not leave after this, and MQTT 5.0 says how long the message is good for; `None`:
        /// for ever. Such a publish is not taken back at its deadline when the session has it.
        expires: Option<Instant>,
    },
    /// The message of this delivery is safe: PUBACK or PUBREC may go. Inert on a later connection,
    /// unless the message was seen there again.
    Acknowledge(Delivery),
    /// The acknowledgement of this delivery will take a while: those of later messages need not wait
    /// for it. MQTT-4.6.0-2 and MQTT-4.6.0-3 want the order of arrival; that one message must not
    /// stop all others is worth more.
    Overtake(Delivery),
    /// There is no room for the message of this delivery: it stays unacknowledged, and is handed over
    /// again when the server sends it on a later connection.
    Decline(Delivery),
    /// Take back a publish. One that cannot have left ends as failed; one that may have is sent again
    /// only to a server that has kept the session, as the standard demands.
    Withdraw(PublishToken),
    /// Close the connection in order (DISCONNECT) and stay closed until [`Command::Connect`].
    Disconnect,
    /// Leave the closed state that [`Command::Disconnect`] and a new client are in.
    Connect,
    /// Other options: all of them in the closed state; else those that the present connection can
    /// follow (filters, pauses, time-outs, publishes in flight), and the rest is ignored.
    Reconfigure(Box<ClientOptions>),
}

/// The driver's name of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishToken(pub u64);

/// One inbound message until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Number of the connection it came on.
    pub epoch: u32,
    /// 0 at QoS 0.
    pub packet_id: u16,
    /// QoS it came with.
    pub qos: Qos,
    /// Whether the session is stored: with a clean session nothing is recorded.
    pub stored: bool,
    /// What its message is known again by; 0 below QoS 2.
    pub fingerprint: u64,
}

impl Delivery {
    /// The session record that must be committed together with the values of this message, so that
    /// it is applied exactly once: only QoS 2 has one.
    pub fn session_change(&self) -> Option<SessionChange> {
        (self.stored && self.qos == Qos::ExactlyOnce).then(|| session::received_change(self))
    }
}

impl Delivery {
    /// [`Self::session_change`] of a message whose values are applied and which must not be
    /// acknowledged yet. After a restart it comes back from [`crate::mqtt::Session::take_unconfirmed`], with the
    /// note; once it may be acknowledged, [`Self::session_change`] replaces the record.
    pub fn session_change_unconfirmed(&self, note: &[u8]) -> Option<SessionChange> {
        (self.stored && self.qos == Qos::ExactlyOnce)
            .then(|| session::received_unconfirmed_change(self, note))
    }
}

/// How a publish ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// QoS 0 taken by the transport, QoS 1 PUBACK, QoS 2 PUBCOMP.
    Completed,
    /// It did not happen, and there is no point in trying it again as it is.
    Failed(String),
    /// It did not happen, because the connection was not there or ended before it left.
    Unsent(String),
    /// It left, and no answer came in time, or the session was lost.
    Uncertain(String),
}

/// What the machine wants of its driver, in order.
#[derive(Debug)]
pub enum Output {
    /// Open a transport to this server, then [`Input::Connected`].
    Connect {
        /// Where it is.
        server: Endpoint,
    },
    /// Send these bytes.
    Transmit(Bytes),
    /// Close the transport once everything given to [`Output::Transmit`] is sent.
    Close,
    /// Something to know.
    Event(Event),
}

/// Something the driver should know.
#[derive(Debug)]
pub enum Event {
    /// CONNACK accepted.
    Up {
        /// Whether the server has kept our session.
        session_present: bool,
        /// Whether we hoped for it.
        session_expected: bool,
    },
    /// All filters are answered.
    Subscribed {
        /// Filter and granted QoS, or why there is none.
        granted: Vec<(String, Result<Qos, String>)>,
    },
    /// The connection is over, or an attempt failed.
    Down {
        /// In words for the operator.
        cause: String,
        /// Whether it had been up.
        was_up: bool,
        /// Pause before the next attempt; `None`: none will be made.
        retry_in: Option<Duration>,
    },
    /// A message; acknowledge it when it is safe.
    Message {
        /// For [`Command::Acknowledge`].
        delivery: Delivery,
        /// The message.
        publication: Publication,
        /// Whether the server says that it is a redelivery.
        dup: bool,
    },
    /// A session record to be stored; [`Input::Durable`] when it is.
    Session {
        /// Its number.
        seq: ChangeSeq,
        /// The record.
        change: SessionChange,
    },
    /// A publish has become part of the session, with the record of the [`Event::Session`] just before:
    /// what its owner keeps of it belongs into the same commit.
    InFlight {
        /// Its token.
        token: PublishToken,
        /// Its packet id, for [`Client::adopt`](super::Client::adopt) after a restart.
        packet_id: u16,
    },
    /// The end of a [`Command::Publish`], or of a publish that was adopted.
    Completed {
        /// Its token.
        token: PublishToken,
        /// How it ended.
        outcome: PublishOutcome,
    },
    /// Worth a log line, nothing more.
    Notice(String),
}

/// What [`super::Client::handle_bytes`] left in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BytesProgress {
    /// At most the beginning of a packet.
    NeedMore,
    /// Whole packets may be left: the share of one turn is used up. Call again.
    More,
}
