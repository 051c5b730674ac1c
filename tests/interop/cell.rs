//! One combination, and what went wrong in it.

use std::fmt::{self, Display};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V311,
    V50,
}

impl Version {
    pub const ALL: [Self; 2] = [Self::V311, Self::V50];

    /// As `mqtt_version` says it.
    pub fn key(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V50 => "5.0",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    /// TLS whose server wants a client certificate.
    MutualTls,
    WebSocket,
    WebSocketTls,
}

impl Transport {
    pub const ALL: [Self; 5] =
        [Self::Tcp, Self::Tls, Self::MutualTls, Self::WebSocket, Self::WebSocketTls];

    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::MutualTls => "mTLS",
            Self::WebSocket => "WS",
            Self::WebSocketTls => "WSS",
        }
    }

    pub fn is_encrypted(self) -> bool {
        !matches!(self, Self::Tcp | Self::WebSocket)
    }
}

/// A combination.
#[derive(Clone, Debug)]
pub struct Cell {
    pub version: Version,
    pub transport: Transport,
    pub qos: u8,
    pub resumed: bool,
    /// Why it is not run with this broker.
    pub left_out: Option<&'static str>,
    /// What went wrong, in order; the first is the cause.
    pub faults: Vec<String>,
}

impl Cell {
    /// All 60, in the order of the table.
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for version in Version::ALL {
            for transport in Transport::ALL {
                for qos in 0..=2 {
                    for resumed in [false, true] {
                        let (left_out, faults) = (None, Vec::new());
                        cells.push(Self { version, transport, qos, resumed, left_out, faults });
                    }
                }
            }
        }
        cells
    }

    /// Whether it takes part in the next step.
    pub fn is_good(&self) -> bool {
        self.left_out.is_none() && self.faults.is_empty()
    }

    pub fn topic_in(&self) -> String {
        format!("interop/in/{self}")
    }

    pub fn topic_out(&self) -> String {
        format!("interop/out/{self}")
    }
}

/// The name of its line, its station and the beginning of its tags.
impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = if self.resumed { "resumed" } else { "clean" };
        let version = self.version.key().replace('.', "");
        let transport = self.transport.word().to_lowercase();
        write!(f, "v{version}-{transport}-q{}-{session}", self.qos)
    }
}
