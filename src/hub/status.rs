//! What operators see of lines and stations: states, counters, last errors.

use crate::iotag::Timestamp;

/// State of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineState {
    /// Not connected and not trying: every station is off, or the process is stopping.
    #[default]
    Off,
    /// Trying to connect, or waiting to try again.
    Connecting,
    /// Connected, and every filter was granted.
    Up,
    /// Connected, but the server refused a filter.
    Error,
}

impl LineState {
    /// The word on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Error => "error",
        }
    }
}

/// One topic filter and what the server said to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterStatus {
    /// The topic filter.
    pub filter: String,
    /// Granted QoS level; `None`: refused.
    pub granted: Option<u8>,
}

/// The encryption of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSummary {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// Cipher suite.
    pub cipher: String,
    /// Whether the server's certificate was checked.
    pub verified: bool,
    /// End of the server's certificate.
    pub server_expires: Option<Timestamp>,
    /// End of the client's certificate.
    pub client_expires: Option<Timestamp>,
}

/// What is known of a line.
#[derive(Clone, Debug, Default)]
pub struct LineStatus {
    /// State.
    pub state: LineState,
    /// Server in use, or being tried, as a URL.
    pub server: String,
    /// Whether the server had kept the session at the last connect.
    pub session_present: Option<bool>,
    /// Filters and their answers.
    pub filters: Vec<FilterStatus>,
    /// When the present connection came up.
    pub connected_since: Option<Timestamp>,
    /// Encryption of the last connection; `None` without TLS.
    pub tls: Option<TlsSummary>,
    /// When the next attempt is made.
    pub next_attempt: Option<Timestamp>,
    /// The last thing that went wrong, and when.
    pub last_error: Option<(Timestamp, String)>,
    /// When the last message arrived.
    pub last_message: Option<Timestamp>,
    /// Times the connection came up.
    pub connects: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Messages that no station takes.
    pub messages_unrouted: u64,
    /// Topic of the last of them.
    pub last_unrouted_topic: Option<String>,
    /// Publications that were completed.
    pub writes_completed: u64,
    /// Publications that failed or whose end is not known.
    pub writes_not_completed: u64,
}

/// State of a station, in D2000's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StationState {
    /// Its line is connected.
    On,
    /// Switched off.
    Off,
    /// Its line is not connected.
    #[default]
    HardError,
}

impl StationState {
    /// The word on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "StON",
            Self::Off => "StOFF",
            Self::HardError => "StHARDERR",
        }
    }
}

/// What is known of a station.
#[derive(Clone, Debug, Default)]
pub struct StationStatus {
    /// State.
    pub state: StationState,
    /// Messages routed to it.
    pub messages: u64,
    /// Payloads that could not be parsed.
    pub bad_payloads: u64,
    /// Messages without the time that the configuration expects.
    pub times_missing: u64,
    /// Times that could not be read.
    pub times_unreadable: u64,
    /// The last thing that went wrong, and when.
    pub last_error: Option<(Timestamp, String)>,
    /// When its last message arrived.
    pub last_message: Option<Timestamp>,
    /// Whether its last payload could not be parsed.
    pub payload_bad: bool,
}
