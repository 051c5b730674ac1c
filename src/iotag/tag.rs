//! Tags: their identity, their type, and what a message does to them.

use std::sync::Arc;

use super::when::When;
use super::{Quality, Reason, TagAddress, Timestamp, Value};

/// Position of a line in `Config::lines`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId(pub u32);

/// Position of a station in `Config::stations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StationId(pub u32);

/// Position of a tag in `Config::tags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagId(pub u32);

/// The thirteen value types of an I/O tag; the last letter is the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagType {
    /// Real number, input.
    Ai,
    /// Real number, output.
    Ao,
    /// Integer, input.
    Ci,
    /// Integer, output.
    Co,
    /// Logical, input.
    Di,
    /// Logical, output.
    Do,
    /// Four-state, input.
    Qi,
    /// Text, input.
    TxtI,
    /// Text, output.
    TxtO,
    /// Time interval, input.
    TiR,
    /// Time interval, output.
    ToR,
    /// Absolute time, input.
    TiA,
    /// Absolute time, output.
    ToA,
}

impl TagType {
    /// Every type, in the contract's order.
    pub const ALL: [Self; 13] = [
        Self::Ai,
        Self::Ao,
        Self::Ci,
        Self::Co,
        Self::Di,
        Self::Do,
        Self::Qi,
        Self::TxtI,
        Self::TxtO,
        Self::TiR,
        Self::ToR,
        Self::TiA,
        Self::ToA,
    ];

    /// As written in tag files and on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ai => "Ai",
            Self::Ao => "Ao",
            Self::Ci => "Ci",
            Self::Co => "Co",
            Self::Di => "Di",
            Self::Do => "Do",
            Self::Qi => "Qi",
            Self::TxtI => "TxtI",
            Self::TxtO => "TxtO",
            Self::TiR => "TiR",
            Self::ToR => "ToR",
            Self::TiA => "TiA",
            Self::ToA => "ToA",
        }
    }

    /// Reads what [`Self::as_str`] writes; the case counts.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tag_type| tag_type.as_str() == text)
    }

    /// Whether the control system writes it.
    pub fn is_output(self) -> bool {
        matches!(self, Self::Ao | Self::Co | Self::Do | Self::TxtO | Self::ToR | Self::ToA)
    }
}

impl std::fmt::Display for TagType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of a tag now: value, quality, times.
#[derive(Clone, Debug, PartialEq)]
pub struct TagValue {
    /// The last value, also when the quality is bad; `None` until the first one.
    pub value: Option<Value>,
    /// How far it may be trusted.
    pub quality: Quality,
    /// Why.
    pub reason: Reason,
    /// Source time: when it was so.
    pub time: Timestamp,
    /// Receive time: when we learned it.
    pub received: Timestamp,
}

/// A new tag value on its way to the table of current values.
#[derive(Clone, Debug, PartialEq)]
pub struct TagUpdate {
    /// Which tag.
    pub tag: TagId,
    /// The new value; `None` keeps the last one (every bad quality does).
    pub value: Option<Value>,
    /// How far it may be trusted.
    pub quality: Quality,
    /// Why.
    pub reason: Reason,
    /// Source time.
    pub time: Timestamp,
    /// Receive time.
    pub received: Timestamp,
}

/// One I/O tag, checked and compiled.
#[derive(Clone, Debug)]
pub struct Tag {
    /// Unique in the process.
    pub name: Arc<str>,
    /// Its station.
    pub station: StationId,
    /// Value type and direction.
    pub tag_type: TagType,
    /// Where in the message the value lives.
    pub address: TagAddress,
    /// The address as written.
    pub address_text: Arc<str>,
    /// Which messages touch it; `None`: every message.
    pub when: Option<When>,
    /// Free text.
    pub description: Arc<str>,
    /// Engineering unit.
    pub unit: Arc<str>,
    /// value = raw * scale + offset; 1 when not given.
    pub scale: Number,
    /// See `scale`; 0 when not given.
    pub offset: Number,
    /// Changes not larger than this are suppressed; `None`: every message is a change.
    pub deadband: Option<f64>,
    /// Below: bad, `out_of_range`.
    pub min: Option<Number>,
    /// Above: bad, `out_of_range`.
    pub max: Option<Number>,
    /// An output tag's value at the first start.
    pub initial: Option<Value>,
    /// Text that means `true`.
    pub on_text: Option<Arc<str>>,
    /// Text that means `false`.
    pub off_text: Option<Arc<str>>,
}

/// A number of a tag file, exact when it was written as an integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Written without fraction and exponent.
    Integer(i128),
    /// Anything else; finite.
    Real(f64),
}

impl Number {
    /// As a real number, rounded if need be.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Real(real) => real,
        }
    }
}
