//! PURE: payloads to tag values and back.
//!
//! No socket, no clock, no task, no MQTT. A station's tags are compiled once into a plan
//! ([`mapping`]); a message is walked once by that plan and yields [`TagUpdate`]s.

pub mod address;
pub mod bytes_address;
pub mod convert;
mod decimal;
pub mod explanation;
pub mod json_address;
pub mod json_path;
pub mod line_address;
pub mod lpp_address;
pub mod mapping;
pub mod output;
mod payload;
pub mod quality;
pub mod router;
pub mod simulation;
pub mod station;
pub mod survey;
pub mod syntax;
pub mod table;
pub mod tag;
#[cfg(test)]
mod testing;
pub mod time_field;
pub mod time_mask;
pub mod value;
pub mod when;
pub mod xml_address;

pub use address::TagAddress;
pub use quality::{Quality, Reason};
pub use router::StationAddress;
pub use station::{Envelope, EnvelopeEncoding, OnMissing, PayloadType, Station};
pub use syntax::SyntaxError;
pub use tag::{LineId, Number, StationId, Tag, TagId, TagType, TagUpdate, TagValue};
pub use value::{FourState, Value};

/// A moment of the outside world, UTC, with nanoseconds: source times and receive times.
pub type Timestamp = jiff::Timestamp;
