//! Quality and its reason, the contract's section 4.

use std::fmt;

/// How far a value may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// As the source sent it.
    Good,
    /// Usable with care; the reason says why.
    Uncertain,
    /// Not usable; the last value is kept beside it.
    Bad,
}

/// Why a tag has its quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing to complain of.
    Ok,
    /// Read back from the store after a restart; no message has renewed it yet.
    Restored,
    /// No message has brought a value since the tag exists.
    NeverReceived,
    /// The line of the tag's station is not connected.
    LineDown,
    /// The station is switched off.
    StationOff,
    /// The device's will message arrived (D2000: SWT, SWP).
    StationWill,
    /// The station is in a communication error.
    CommError,
    /// Nothing arrived for longer than `stale_after`.
    Stale,
    /// The address is not in the message.
    PathMissing,
    /// The message carries `null` there.
    Null,
    /// What the message carries does not convert to the tag's type.
    TypeMismatch,
    /// Outside `min` and `max`, or beyond 64 bits.
    OutOfRange,
    /// The payload could not be parsed.
    BadPayload,
    /// The payload's time could not be read; the receive time stands in.
    BadTime,
    /// The station is simulated.
    Simulated,
}

impl Quality {
    /// Every quality, best first.
    pub const ALL: [Self; 3] = [Self::Good, Self::Uncertain, Self::Bad];

    /// The word on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }
}

impl Reason {
    /// Every reason, in the contract's order. Append only: the position is what the store keeps.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::Restored,
        Self::NeverReceived,
        Self::LineDown,
        Self::StationOff,
        Self::StationWill,
        Self::CommError,
        Self::Stale,
        Self::PathMissing,
        Self::Null,
        Self::TypeMismatch,
        Self::OutOfRange,
        Self::BadPayload,
        Self::BadTime,
        Self::Simulated,
    ];

    /// The word on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Restored => "restored",
            Self::NeverReceived => "never_received",
            Self::LineDown => "line_down",
            Self::StationOff => "station_off",
            Self::StationWill => "station_will",
            Self::CommError => "comm_error",
            Self::Stale => "stale",
            Self::PathMissing => "path_missing",
            Self::Null => "null",
            Self::TypeMismatch => "type_mismatch",
            Self::OutOfRange => "out_of_range",
            Self::BadPayload => "bad_payload",
            Self::BadTime => "bad_time",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
