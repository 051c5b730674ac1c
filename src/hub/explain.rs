//! Where a tag's value comes from: what the line knows of the message behind it.

use serde_json::Value as Json;

use super::Reading;
use crate::iotag::Timestamp;

/// A tag's value and its origin.
#[derive(Debug)]
pub struct Explained {
    /// The value, as it was when the line looked.
    pub reading: Reading,
    /// The message that brought it, if it is still kept.
    pub message: Option<ExplainedMessage>,
    /// What there is to say beside it, for instance why there is no message.
    pub note: Option<String>,
}

/// A message and what it did to the tag.
#[derive(Debug)]
pub struct ExplainedMessage {
    /// Topic name.
    pub topic: String,
    /// When it arrived.
    pub received: Timestamp,
    /// QoS, 0 to 2.
    pub qos: u8,
    /// Retain flag.
    pub retain: bool,
    /// DUP flag.
    pub dup: bool,
    /// Packet identifier; 0 at QoS 0.
    pub packet_id: u16,
    /// MQTT 5.0 Content Type.
    pub content_type: Option<String>,
    /// Length of the payload in bytes.
    pub payload_bytes: usize,
    /// Its text, unpacked and shortened.
    pub payload: String,
    /// Whether the text was shortened.
    pub payload_shortened: bool,
    /// How stations contested for it.
    pub contest: Json,
    /// How many values it had for the tag; the last one is explained.
    pub samples: usize,
    /// The bytes taken.
    pub bytes: Json,
    /// Where the source time comes from.
    pub time_source: Json,
    /// Why its quality was what it was.
    pub quality_reason: String,
}
