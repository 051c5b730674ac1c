//! `tag.explain`: the message, the bytes, the rule, the conversion, the time and the quality behind a
//! tag's value.

use serde_json::{Value as Json, json};

use super::protocol::{ExplainParams, RpcError, Vtq};
use super::requests::no_such_tag;
use crate::hub::Hub;
use crate::hub::explain::{Explained, ExplainedMessage};
use crate::hub::writes::WriteError;
use crate::iotag::{Reason, TagId, explanation};

/// `tag.explain`.
pub(super) async fn explain(hub: &Hub, params: &ExplainParams) -> Result<Json, RpcError> {
    let tag = hub.tag_named(&params.name).ok_or_else(|| no_such_tag(&params.name))?;
    let asked = hub
        .start_explain(tag)
        .map_err(|WriteError { code, message }| RpcError::new(code, message))?;
    match asked.await {
        Ok(explained) => Ok(shown(hub, tag, &explained)),
        Err(_) => Err(RpcError::new(WriteError::LINE_DOWN, "the process is stopping")),
    }
}

fn shown(hub: &Hub, tag: TagId, explained: &Explained) -> Json {
    let config = hub.config();
    let tag = &config.tags[tag.0 as usize];
    let station = &config.stations[tag.station.0 as usize];
    let Explained { reading, message, note } = explained;
    let vtq = Vtq { name: &tag.name, seq: reading.seq, value: &reading.value };
    // It has string keys and finite numbers, so this cannot fail.
    let mut shown = serde_json::to_value(vtq).unwrap_or_default();
    shown["message"] = json!(message.as_ref().map(message_shown));
    shown["bytes"] = message.as_ref().map_or(Json::Null, |message| message.bytes.clone());
    shown["samples"] = json!(message.as_ref().map(|message| message.samples));
    shown["rule"] = json!({
        "address": &*tag.address_text,
        "when": tag.when.as_ref().map(explanation::conditions),
        "station": &*station.name,
        "station_address": &*station.address_text,
        "line": &*config.lines[station.line.0 as usize].name,
        "routing": message.as_ref().map(|message| &message.contest["winner"]),
        "candidates": message.as_ref().map(|message| &message.contest["candidates"]),
    });
    shown["conversion"] = explanation::conversion(tag);
    shown["time_source"] =
        message.as_ref().map_or(Json::Null, |message| message.time_source.clone());
    let reason = reading.value.reason;
    // What is wrong with a station lies over what its last message said.
    let of_message = message.as_ref().filter(|_| is_of_message(reason));
    shown["quality_reason"] = match of_message {
        Some(message) => json!(message.quality_reason),
        None => json!(explanation::reason_text(reason)),
    };
    shown["note"] = json!(note);
    shown
}

/// Whether a message is what brings a reason about.
fn is_of_message(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Ok
            | Reason::PathMissing
            | Reason::Null
            | Reason::TypeMismatch
            | Reason::OutOfRange
            | Reason::BadPayload
            | Reason::BadTime
    )
}

fn message_shown(message: &ExplainedMessage) -> Json {
    json!({
        "topic": message.topic,
        "time": message.received.to_string(),
        "qos": message.qos,
        "retain": message.retain,
        "dup": message.dup,
        "packet_id": message.packet_id,
        "content_type": message.content_type,
        "payload": message.payload,
        "payload_bytes": message.payload_bytes,
        "payload_shortened": message.payload_shortened,
        "quality_reason": message.quality_reason,
    })
}
