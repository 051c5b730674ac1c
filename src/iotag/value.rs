//! Typed values.

use std::sync::Arc;

use super::{TagType, Timestamp};

/// One typed datum, without time and quality.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Ai, Ao. Never NaN, never infinite.
    Real(f64),
    /// Ci, Co: exact, within `i64::MIN..=u64::MAX`.
    Integer(i128),
    /// Di, Do.
    Logical(bool),
    /// Qi.
    FourState(FourState),
    /// TxtI, TxtO.
    Text(Arc<str>),
    /// TiR, ToR: a time interval in seconds. Never NaN, never infinite.
    Interval(f64),
    /// TiA, ToA: a moment.
    Moment(Timestamp),
}

impl Value {
    /// Whether a tag of this type may have this value.
    pub fn is_of(&self, tag_type: TagType) -> bool {
        match tag_type {
            TagType::Ai | TagType::Ao => matches!(self, Self::Real(_)),
            TagType::Ci | TagType::Co => matches!(self, Self::Integer(_)),
            TagType::Di | TagType::Do => matches!(self, Self::Logical(_)),
            TagType::Qi => matches!(self, Self::FourState(_)),
            TagType::TxtI | TagType::TxtO => matches!(self, Self::Text(_)),
            TagType::TiR | TagType::ToR => matches!(self, Self::Interval(_)),
            TagType::TiA | TagType::ToA => matches!(self, Self::Moment(_)),
        }
    }

    /// The value as the socket shows it (contract, section 5): a number, a boolean or a string;
    /// intervals in seconds, moments as RFC 3339 in UTC, a four-state as its word.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Real(real) | Self::Interval(real) => (*real).into(),
            Self::Integer(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
                (Ok(integer), _) => integer.into(),
                (_, Ok(integer)) => integer.into(),
                // Beyond the range that the type promises.
                _ => (*integer as f64).into(),
            },
            Self::Logical(on) => (*on).into(),
            Self::FourState(state) => state.as_str().into(),
            Self::Text(text) => (**text).into(),
            Self::Moment(time) => time.to_string().into(),
        }
    }
}

/// The four states of a Qi tag, 0 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FourState {
    /// 0.
    Off,
    /// 1.
    On,
    /// 2: between the end positions.
    Trans,
    /// 3: both end positions at once.
    Err,
}

impl FourState {
    /// Every state, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Off, Self::On, Self::Trans, Self::Err];

    /// The word on the socket.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Trans => "trans",
            Self::Err => "err",
        }
    }
}
