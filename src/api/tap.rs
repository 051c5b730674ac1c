//! `message.tap`: messages of brokers as they come.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::connection::Outgoing;
use super::protocol;
use super::subscription::Ended;
use crate::hub::taps::{Tap, TapMessage};

/// Sends messages until the client is gone.
pub(super) async fn run(tap: Tap, number: u64, outgoing: Outgoing) -> Ended {
    loop {
        let (message, dropped) = tap.next().await;
        let params = Received { subscription: number, dropped, message: &message };
        let line = protocol::notification("message.received", params);
        drop(message);
        if outgoing.send(line).await.is_err() {
            return Ended::InOrder;
        }
    }
}

struct Received<'a> {
    subscription: u64,
    dropped: u64,
    message: &'a TapMessage,
}

impl Serialize for Received<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let TapMessage {
            line,
            station,
            topic,
            payload,
            qos,
            retain,
            dup,
            packet_id,
            received,
            properties,
        } = self.message;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("subscription", &self.subscription)?;
        map.serialize_entry("line", &**line)?;
        map.serialize_entry("station", &station.as_deref())?;
        map.serialize_entry("topic", &**topic)?;
        bytes_entry(&mut map, ["payload", "encoding"], payload)?;
        map.serialize_entry("qos", qos)?;
        map.serialize_entry("retain", retain)?;
        map.serialize_entry("dup", dup)?;
        map.serialize_entry("packet_id", packet_id)?;
        map.serialize_entry("time", &received.to_string())?;
        if let Some(properties) = properties {
            map.serialize_entry("properties", &Properties(properties))?;
        }
        map.serialize_entry("dropped", &self.dropped)?;
        map.end()
    }
}

struct Properties<'a>(&'a crate::hub::taps::TapProperties);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let properties = self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Some(is_text) = properties.payload_is_text {
            map.serialize_entry("payload_format", if is_text { "text" } else { "bytes" })?;
        }
        if let Some(expiry_s) = properties.message_expiry_s {
            map.serialize_entry("message_expiry_s", &expiry_s)?;
        }
        if let Some(content_type) = &properties.content_type {
            map.serialize_entry("content_type", content_type)?;
        }
        if let Some(response_topic) = &properties.response_topic {
            map.serialize_entry("response_topic", response_topic)?;
        }
        if let Some(data) = &properties.correlation_data {
            bytes_entry(&mut map, ["correlation_data", "correlation_data_encoding"], data)?;
        }
        // Pairs: a name may occur again.
        map.serialize_entry("user_properties", &properties.user_properties)?;
        map.end()
    }
}

/// Text where the bytes are text, else base64, said so.
fn bytes_entry<M: SerializeMap>(
    map: &mut M,
    [key, encoding]: [&'static str; 2],
    bytes: &[u8],
) -> Result<(), M::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry(key, text),
        Err(_) => {
            map.serialize_entry(key, &data_encoding::BASE64.encode(bytes))?;
            map.serialize_entry(encoding, "base64")
        }
    }
}
