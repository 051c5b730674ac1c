//! What operators see of lines and stations: states, counters, last errors.

use crate::iotag::{Reason, Timestamp};

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

    /// The higher, the better off.
    fn rank(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Connecting => 1,
            Self::Error => 2,
            Self::Up => 3,
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

/// Which connection of a line: a redundant line has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u8);

impl PathId {
    /// How many a line has at most.
    pub const COUNT: usize = 2;

    /// The connection to `servers`.
    pub const FIRST: Self = Self(0);

    /// The connection to `redundant_servers`.
    pub const SECOND: Self = Self(1);

    /// Both.
    pub fn all() -> [Self; Self::COUNT] {
        [Self::FIRST, Self::SECOND]
    }

    /// What the session of this path is stored under. No line has the name of a second path: it
    /// begins with a control character.
    pub fn session_name(self, line: &str) -> std::sync::Arc<str> {
        match self {
            Self::FIRST => line.into(),
            Self(other) => format!("\u{2}{other} {line}").into(),
        }
    }
}

/// What is known of one connection of a line.
#[derive(Clone, Debug, Default)]
pub struct PathStatus {
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
    /// Times the connection came up.
    pub connects: u64,
    /// Messages that came over it, of a redundant line; copies are counted too.
    pub messages_received: u64,
}

/// What is known of a line.
#[derive(Clone, Debug)]
pub struct LineStatus {
    /// State: that of the path that is best off.
    pub state: LineState,
    /// Its connections, the first one first.
    pub paths: Vec<PathStatus>,
    /// When the last message arrived.
    pub last_message: Option<Timestamp>,
    /// Messages received, without copies.
    pub messages_received: u64,
    /// Messages of a redundant line that were copies of what the other path brought.
    pub duplicates: u64,
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

impl Default for LineStatus {
    fn default() -> Self {
        Self::of(1)
    }
}

impl LineStatus {
    /// A line with so many connections, none of them tried.
    pub fn of(paths: usize) -> Self {
        Self {
            state: LineState::Off,
            paths: vec![PathStatus::default(); paths.max(1)],
            last_message: None,
            messages_received: 0,
            duplicates: 0,
            bytes_received: 0,
            messages_unrouted: 0,
            last_unrouted_topic: None,
            writes_completed: 0,
            writes_not_completed: 0,
        }
    }

    /// The path that speaks for the line where one must: the first of those that are best off.
    pub fn leading(&self) -> &PathStatus {
        let rank = |path: &&PathStatus| path.state.rank();
        let best = self.paths.iter().rev().max_by_key(rank);
        best.unwrap_or(&self.paths[0])
    }

    /// The last thing that went wrong on any path.
    pub fn last_error(&self) -> Option<&(Timestamp, String)> {
        self.paths.iter().filter_map(|path| path.last_error.as_ref()).max_by_key(|(at, _)| *at)
    }

    /// Changes what is known of a path, and of the line with it.
    pub fn change_path<T>(&mut self, path: PathId, access: impl FnOnce(&mut PathStatus) -> T) -> T {
        let index = usize::from(path.0);
        if self.paths.len() <= index {
            self.paths.resize_with(index + 1, PathStatus::default);
        }
        let result = access(&mut self.paths[index]);
        self.state = self.leading().state;
        result
    }
}

/// Whether a station takes part; switched by `station.set`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StationMode {
    /// It does.
    #[default]
    On,
    /// Its messages change nothing, and nothing is written to it.
    Off,
    /// Its tags have made-up values; messages change nothing, and nothing is written to it.
    Simulate,
}

impl StationMode {
    /// The word on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Simulate => "simulate",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::On, Self::Off, Self::Simulate].into_iter().find(|mode| mode.as_str() == word)
    }
}

/// State of a station, in D2000's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StationState {
    /// Nothing is in the way of its messages.
    On,
    /// Switched off.
    Off,
    /// In error for less than its `error_delay`.
    CommError,
    /// In error: its line is down, its will message came, or no filter can bring it a message.
    #[default]
    HardError,
    /// Simulated.
    Simulated,
    /// A message awaits its confirmation by the control system.
    Wait,
}

impl StationState {
    /// The word on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "StON",
            Self::Off => "StOFF",
            Self::CommError => "StCOMERR",
            Self::HardError => "StHARDERR",
            Self::Simulated => "StSIMUL",
            Self::Wait => "StWAIT",
        }
    }
}

/// What is known of a station.
#[derive(Clone, Debug)]
pub struct StationStatus {
    /// Mode.
    pub mode: StationMode,
    /// State, apart from messages that await their confirmation: see [`Self::shown_state`].
    pub state: StationState,
    /// Why it is in this state; `ok` when nothing is wrong.
    pub reason: Reason,
    /// Messages routed to it.
    pub messages: u64,
    /// Messages that came while it was off or simulated, and changed nothing.
    pub messages_ignored: u64,
    /// Messages without room before the confirmation of those ahead, which are lost.
    pub messages_dropped: u64,
    /// Messages whose Message Expiry Interval ended while they waited here; they are shown all the same.
    pub messages_expired: u64,
    /// Times its will message came.
    pub wills: u64,
    /// Samples older than `max_age`, discarded.
    pub samples_too_old: u64,
    /// Publications of `publish_every` that were completed.
    pub cycles_completed: u64,
    /// Publications of `publish_every` that failed or whose end is not known.
    pub cycles_not_completed: u64,
    /// Lines of line protocol, or rows of CSV, that could not be parsed beside good ones.
    pub bad_lines: u64,
    /// Messages that are not confirmed yet.
    pub waiting_for_confirmation: usize,
    /// When the oldest of them was shown.
    pub waiting_since: Option<Timestamp>,
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

impl StationStatus {
    /// A station whose line has not been connected yet.
    pub fn new(mode: StationMode) -> Self {
        Self {
            mode,
            state: StationState::HardError,
            reason: Reason::LineDown,
            messages: 0,
            messages_ignored: 0,
            messages_dropped: 0,
            messages_expired: 0,
            wills: 0,
            samples_too_old: 0,
            cycles_completed: 0,
            cycles_not_completed: 0,
            bad_lines: 0,
            waiting_for_confirmation: 0,
            waiting_since: None,
            bad_payloads: 0,
            times_missing: 0,
            times_unreadable: 0,
            last_error: None,
            last_message: None,
            payload_bad: false,
        }
    }

    /// State for people: a station that is on and has a message to be confirmed waits.
    pub fn shown_state(&self) -> StationState {
        match self.state {
            StationState::On if self.waiting_for_confirmation > 0 => StationState::Wait,
            state => state,
        }
    }
}
