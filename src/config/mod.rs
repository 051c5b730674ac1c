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
pub mod diff;
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

use crate::iotag::{LineId, Station, StationId, Tag, TagId};
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
    /// What it was loaded from, and is loaded from again: that folder, or the file.
    pub path: PathBuf,
    /// `[process]`.
    pub process: Process,
    /// `[socket]`.
    pub socket: Socket,
    /// `[journal]`.
    pub journal: Journal,
    /// `[[line]]`, in file order and then as reloads added them; a `LineId` is a position here.
    pub lines: Vec<Line>,
    /// All stations, as the lines; a `StationId` is a position here.
    pub stations: Vec<Station>,
    /// All tags, as the lines; a `TagId` is a position here.
    pub tags: Vec<Tag>,
    /// Ids that reloads have left behind; empty in what [`load()`] gives.
    retired: diff::Retired,
}

impl Config {
    /// The lines that there are.
    pub fn live_lines(&self) -> impl Iterator<Item = (LineId, &Line)> {
        let all = (0u32..).map(LineId).zip(&self.lines);
        all.filter(|(id, _)| !self.is_retired_line(*id))
    }

    /// The stations that there are.
    pub fn live_stations(&self) -> impl Iterator<Item = (StationId, &Station)> {
        let all = (0u32..).map(StationId).zip(&self.stations);
        all.filter(|(id, _)| !self.is_retired_station(*id))
    }

    /// The stations of a line.
    pub fn stations_of(&self, line: LineId) -> impl Iterator<Item = (StationId, &Station)> {
        self.live_stations().filter(move |(_, station)| station.line == line)
    }

    /// The tags that there are.
    pub fn live_tags(&self) -> impl Iterator<Item = (TagId, &Tag)> {
        let all = (0u32..).map(TagId).zip(&self.tags);
        all.filter(|(id, _)| !self.is_retired_tag(*id))
    }

    /// How many lines, stations and tags there are.
    pub fn counts(&self) -> [usize; 3] {
        [
            self.lines.len() - self.retired.lines.len(),
            self.stations.len() - self.retired.stations.len(),
            self.tags.len() - self.retired.tags.len(),
        ]
    }

    /// Whether a reload has left this line behind.
    pub fn is_retired_line(&self, line: LineId) -> bool {
        self.retired.lines.contains(&line.0)
    }

    /// Whether a reload has left this station behind.
    pub fn is_retired_station(&self, station: StationId) -> bool {
        self.retired.stations.contains(&station.0)
    }

    /// Whether a reload has left this tag behind.
    pub fn is_retired_tag(&self, tag: TagId) -> bool {
        self.retired.tags.contains(&tag.0)
    }
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
    /// The second, simultaneous connection of a redundant line.
    pub redundant: Option<Redundant>,
    /// MQTT protocol version.
    pub mqtt_version: MqttVersion,
    /// What only MQTT 5.0 can say.
    pub mqtt5: Mqtt5,
    /// Client identifier; empty: the server assigns one and `clean_session` is true.
    pub client_id: String,
    /// No session state is kept on either side.
    pub clean_session: bool,
    /// User name; `None` when empty.
    pub user_name: Option<Secret>,
    /// Password; `None` when empty.
    pub password: Option<Secret>,
    /// `tls`, for servers whose scheme asks for it.
    pub tls: Tls,
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

/// The second connection of a redundant line. All else is as for the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Redundant {
    /// Tried in turn; at least one.
    pub servers: Vec<Server>,
    /// Client identifier; empty if the first has none.
    pub client_id: String,
    /// How far apart the two copies of a message may arrive.
    pub duplicate_window: Duration,
}

/// MQTT protocol version of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 3.1.1, OASIS Standard of October 2014.
    V311,
    /// MQTT 5.0, OASIS Standard of March 2019.
    V5,
}

/// The keys of a line that need MQTT 5.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mqtt5 {
    /// How long the server is to keep the session while we are away, in seconds.
    pub session_expiry_s: u32,
    /// Unacknowledged messages that the server may send at a time, from 1.
    pub receive_maximum: u16,
    /// Highest topic alias that the server may use; 0: none.
    pub topic_alias_maximum: u16,
    /// User Properties of CONNECT.
    pub user_properties: Vec<(String, String)>,
    /// Our own messages do not come back.
    pub no_local: bool,
    /// Messages keep the retain flag that they were published with.
    pub retain_as_published: bool,
    /// When a subscription brings what is retained.
    pub retain_handling: RetainHandling,
    /// Method of enhanced authentication, in place of sending the password.
    pub authentication_method: Option<&'static str>,
}

/// When a subscription brings what is retained (MQTT 5.0, section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainHandling {
    /// At every SUBSCRIBE, that is at every connect.
    Always,
    /// When the server did not have the subscription.
    New,
    /// Never.
    Never,
}

impl Default for Mqtt5 {
    fn default() -> Self {
        Self {
            session_expiry_s: 86_400,
            receive_maximum: 1024,
            topic_alias_maximum: 0,
            user_properties: Vec::new(),
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
            authentication_method: None,
        }
    }
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
    /// Path of a WebSocket, with its query; empty otherwise.
    pub path: String,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.scheme.as_str();
        // A query may be a signature or a token.
        let (path, query) = match self.path.split_once('?') {
            Some((path, _)) => (path, "?…"),
            None => (self.path.as_str(), ""),
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{path}{query}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}{path}{query}", self.host, self.port)
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

    /// The port where none is written.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 1883,
            Self::Tls => 8883,
            Self::WebSocket => 80,
            Self::WebSocketTls => 443,
        }
    }

    /// Whether bytes travel encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::WebSocketTls)
    }
}

/// `tls` of a line. Its files are read again at every connect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// PEM file of the certificates that may sign a server's; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate and those between it and its CA.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's private key; there whenever `cert_file` is.
    pub key_file: Option<PathBuf>,
    /// What `key_file` is encrypted with.
    pub key_passphrase: Option<Secret>,
    /// Name that the server's certificate must have; `None`: the host of the server's address.
    pub server_name: Option<String>,
    /// Oldest version spoken.
    pub min_version: TlsVersion,
    /// Protocol names offered (RFC 7301).
    pub alpn: Vec<String>,
    /// Believe every certificate.
    pub insecure_skip_verify: bool,
}

/// Version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    #[default]
    V12,
    /// TLS 1.3, RFC 8446.
    V13,
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
    /// Seconds that the server waits for us to come back (MQTT 5.0).
    pub delay_s: u32,
    /// Content Type (MQTT 5.0).
    pub content_type: Option<String>,
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
    /// A token made and signed for every connect.
    Jwt(Box<Jwt>),
    /// One that ends so long after it was read: the line connects again before.
    Lasting(Box<Secret>, Duration),
}

/// How a JSON Web Token (RFC 7519) is made. `iat` and `exp` are always set.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// PEM file of the private key.
    pub key_file: PathBuf,
    /// What `key_file` is encrypted with.
    pub key_passphrase: Option<Secret>,
    /// Signature.
    pub algorithm: JwtAlgorithm,
    /// From `iat` to `exp`, in whole seconds.
    pub lifetime: Duration,
    /// All other claims: `aud`, `iss`, `sub` and those written under `claims`.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// Signature of a token (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl JwtAlgorithm {
    /// The word in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(***)"),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // The arguments may hold a secret.
            Self::Command(words) => f.debug_tuple("Command").field(&words.first()).finish(),
            Self::Lasting(secret, lifetime) => {
                f.debug_tuple("Lasting").field(secret).field(lifetime).finish()
            }
            Self::Jwt(jwt) => f.debug_tuple("Jwt").field(&jwt.key_file).finish(),
        }
    }
}

#[cfg(test)]
mod tests;
