//! Configuration: files to a [`Config`] that has nothing left to check.
//!
//! In three stages:
//!
//! | stage | modules | what it knows |
//! |---|---|---|
//! | load | `load`, `source` | folders, files, UTF-8 |
//! | raw | `document` (TOML), `cells` (CSV), `raw_tag` (both) | what was typed, and where |
//! | resolve | `resolve` | what is right; everything that is not becomes a [`Diagnostic`] |
//!
//! `keys` and `unsupported` are the lists of what may be written. No stage stops at a mistake.

mod cells;
pub mod diagnostic;
mod document;
mod keys;
mod load;
mod problems;
mod quantity;
mod raw_tag;
mod render;
mod resolve;
mod secrets;
mod source;
mod suggest;
mod unsupported;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::iotag::{Station, Tag};
use crate::qos::Qos;

pub use diagnostic::Diagnostic;
pub use load::{load, socket_path};
pub use quantity::parse_duration;
pub use render::render;

/// A configuration that is known to be right.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of `tagline.toml`; every relative path has been joined to it.
    pub folder: PathBuf,
    /// `[process]`.
    pub process: Process,
    /// `[socket]`.
    pub socket: Socket,
    /// `[journal]`.
    pub journal: Journal,
    /// `[[line]]`, in file order; a `LineId` is a position here.
    pub lines: Vec<Line>,
    /// All stations, files in name order; a `StationId` is a position here.
    pub stations: Vec<Station>,
    /// All tags, files in name order; a `TagId` is a position here.
    pub tags: Vec<Tag>,
}

/// `[process]`.
#[derive(Clone, Debug)]
pub struct Process {
    /// Name of this process in status and logs.
    pub name: String,
    /// Where the store lives; one process at a time.
    pub data_dir: PathBuf,
    /// Folder of the station files.
    pub stations: PathBuf,
    /// Folder of the tag files.
    pub tags: PathBuf,
    /// Tracing filter.
    pub log: String,
}

/// `[socket]`.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Path of the Unix stream socket.
    pub path: PathBuf,
    /// File mode bits.
    pub mode: u32,
}

/// `[journal]`: the durable change log; the oldest entries go first.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Most tag changes kept.
    pub max_entries: u64,
    /// Oldest tag change kept.
    pub max_age: Duration,
}

/// One broker connection (section `[[line]]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Unique name.
    pub name: Arc<str>,
    /// Tried in turn.
    pub servers: Vec<Server>,
    /// MQTT protocol version.
    pub mqtt_version: MqttVersion,
    /// Client identifier; empty: the server assigns one and `clean_session` is true.
    pub client_id: String,
    /// No session state is kept on either side.
    pub clean_session: bool,
    /// User name; `None` when empty.
    pub user_name: Option<Secret>,
    /// Password; `None` when empty.
    pub password: Option<Secret>,
    /// Filters to SUBSCRIBE to, without those of stations with `subscribe_address`.
    pub topic_filters: Vec<String>,
    /// Requested QoS of the subscriptions.
    pub subscribe_qos: Qos,
    /// Unacknowledged publishes at a time; 0: what the server allows.
    pub publish_in_flight: u16,
    /// Seconds; 0: none.
    pub keep_alive: u16,
    /// Server silent this long: PINGREQ; `None`: never.
    pub ping_interval: Option<Duration>,
    /// For CONNACK, SUBACK, UNSUBACK, PINGRESP and packets that stay incomplete; `None`: no limit.
    pub reply_timeout: Option<Duration>,
    /// Shortest pause before a new attempt to connect.
    pub reconnect_min: Duration,
    /// Longest pause before a new attempt to connect.
    pub reconnect_max: Duration,
    /// Last will.
    pub will: Option<Will>,
    /// Largest packet accepted, in bytes.
    pub maximum_packet_size: u32,
    /// Log every value sent and received.
    pub full_debug: bool,
}

/// MQTT protocol version of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 3.1.1, OASIS Standard of October 2014.
    V311,
    /// MQTT 5.0, OASIS Standard of March 2019.
    V5,
}

/// One address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How bytes travel.
    pub scheme: Scheme,
    /// Name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of a WebSocket; empty otherwise.
    pub path: String,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.scheme.as_str();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
        }
    }
}

/// How bytes travel to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `mqtt://`, port 1883.
    Tcp,
    /// `mqtts://`, port 8883.
    Tls,
    /// `ws://`, port 80.
    WebSocket,
    /// `wss://`, port 443.
    WebSocketTls,
}

impl Scheme {
    /// The URL scheme.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
        }
    }
}

/// Last will of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Will {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub message: String,
    /// QoS of its publication.
    pub qos: Qos,
    /// Whether the server retains it.
    pub retain: bool,
}

/// Where a secret comes from; read again at every connect, never printed.
#[derive(Clone, PartialEq)]
pub enum Secret {
    /// Written in the file.
    Literal(String),
    /// Environment variable.
    Env(String),
    /// First line of a file.
    File(PathBuf),
    /// First output line of a command.
    Command(Vec<String>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(***)"),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // The arguments may hold a secret.
            Self::Command(words) => f.debug_tuple("Command").field(&words.first()).finish(),
        }
    }
}

#[cfg(test)]
mod tests;
