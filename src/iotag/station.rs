//! Stations: what a topic is routed to.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::json_address::JsonAddress;
use super::time_field::TimeField;
use super::time_mask::{TimeMask, Zone};
use super::{LineId, StationAddress};
use crate::qos::Qos;

/// A station, checked and compiled; values that its line may give are filled in.
#[derive(Clone, Debug)]
pub struct Station {
    /// Unique name.
    pub name: Arc<str>,
    /// Its line.
    pub line: LineId,
    /// Which topics it receives.
    pub address: StationAddress,
    /// The address as written.
    pub address_text: Arc<str>,
    /// How payloads are read.
    pub payload_type: PayloadType,
    /// Where the time is; `None`: receive time.
    pub time_field: Option<TimeField>,
    /// How the time is read.
    pub time_mask: TimeMask,
    /// Zone of times that do not say theirs.
    pub time_zone: Zone,
    /// Whether a missing time is worth no warning.
    pub ignore_missing_time: bool,
    /// Between the cells of CSV payloads.
    pub csv_delimiter: u8,
    /// Whether the first row of CSV payloads names the columns.
    pub csv_header: bool,
    /// Where bytes stand as text in its JSON documents; `None`: nowhere.
    pub envelope: Option<Envelope>,
    /// Samples with an older source time are discarded; `None`: none is.
    pub max_age: Option<SignedDuration>,
    /// Subscribe to the address too (D2000: SSA).
    pub subscribe_address: bool,
    /// Topic of its will message (D2000: SWT); `None`: none.
    pub will_topic: Option<Arc<str>>,
    /// Payload that makes it a will (D2000: SWP); `None`: any.
    pub will_payload: Option<Arc<str>>,
    /// How long an error is `StCOMERR` before it is `StHARDERR`.
    pub error_delay: Duration,
    /// No message for this long makes its inputs bad; `None`: off.
    pub stale_after: Option<Duration>,
    /// What an absent plain path does to its tag.
    pub on_missing: OnMissing,
    /// Topic of what it publishes instead of an OUT_TOPIC tag, its fields filled in; `None`: there is
    /// none.
    pub out_topic: Option<Arc<str>>,
    /// Its outputs are published again and again, this far apart; `None`: they are not.
    pub publish_every: Option<Duration>,
    /// Whether a write publishes; otherwise it only sets the tag's value.
    pub publish_on_write: bool,
    /// QoS of its publications.
    pub publish_qos: Qos,
    /// Retain flag of its publications.
    pub publish_retain: bool,
    /// MQTT 5.0 Content Type of its publications; `application/gzip` also compresses them.
    pub publish_content_type: Option<Arc<str>>,
    /// Whether its writes are kept until its line can take them.
    pub queues_writes: bool,
    /// How long such a write is good for; `None`: for ever.
    pub write_expiry: Option<Duration>,
}

/// How the payloads of a station are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadType {
    /// Not parsed.
    Text,
    /// RFC 8259.
    Json,
    /// Influx line protocol.
    Influx,
    /// RFC 4180, with a delimiter of choice.
    Csv,
    /// XML 1.0.
    Xml,
    /// Bytes at fixed places.
    Bytes,
    /// By the MQTT 5.0 Content Type of each message; JSON when it has none.
    Auto,
}

impl PayloadType {
    /// Every type, in the contract's order.
    pub const ALL: [Self; 7] =
        [Self::Text, Self::Json, Self::Influx, Self::Csv, Self::Xml, Self::Bytes, Self::Auto];

    /// As written in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Influx => "influx",
            Self::Csv => "csv",
            Self::Xml => "xml",
            Self::Bytes => "bytes",
            Self::Auto => "auto",
        }
    }
}

/// Bytes that stand as text in a JSON document, as LoRaWAN servers send what devices sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The field with the text.
    pub payload: JsonAddress,
    /// How it is written.
    pub encoding: EnvelopeEncoding,
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeEncoding {
    /// RFC 4648, sections 4 and 5, padded or not.
    Base64,
    /// RFC 4648, section 8, in any case.
    Hex,
}

impl EnvelopeEncoding {
    /// As written in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Hex => "hex",
        }
    }
}

/// What an absent plain path does to its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// The tag becomes bad, reason `path_missing`.
    Bad,
    /// The tag stays as it is.
    Keep,
}
