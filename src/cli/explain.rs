//! `tagline explain`: where a tag's value comes from.

use std::io::Write as _;

use serde_json::{Value as Json, json};

use super::args::{Explain, Global};
use super::exit::Failure;
use super::query::{QUICK, connect, text};
use super::table::printable;

/// Asks the process and prints the answer.
pub(super) fn explain(global: &Global, explain: &Explain) -> Result<(), Failure> {
    let answer = connect(global)?.call("tag.explain", json!({ "name": explain.name }), QUICK)?;
    let mut out = std::io::stdout().lock();
    if global.json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    for (title, said) in rows(&answer) {
        writeln!(out, "{title:<12}{}", printable(&said))?;
    }
    Ok(())
}

fn rows(answer: &Json) -> Vec<(&'static str, String)> {
    let of = |key: &str| text(&answer[key]);
    let mut rows = vec![
        ("tag", of("name")),
        ("value", format!("{}, {}, {}", of("value"), of("quality"), of("reason"))),
        ("quality", of("quality_reason")),
        ("time", of("time")),
        ("received", of("received")),
    ];
    let message = &answer["message"];
    if !message.is_null() {
        let mut how = format!("QoS {}", message["qos"]);
        if message["packet_id"] != 0 {
            how.push_str(&format!(", packet {}", message["packet_id"]));
        }
        for flag in ["retain", "dup"] {
            if message[flag] == true {
                how.push_str(&format!(", {flag}"));
            }
        }
        if !message["content_type"].is_null() {
            how.push_str(&format!(", {}", text(&message["content_type"])));
        }
        rows.push(("message", format!("{} ({how})", text(&message["topic"]))));
        let bytes = &message["payload_bytes"];
        rows.push(("payload", format!("{} ({bytes} bytes)", text(&message["payload"]))));
        rows.push(("bytes", bytes_shown(&answer["bytes"])));
        if answer["samples"].as_u64().is_some_and(|samples| samples > 1) {
            rows.push(("samples", format!("{}, this is the last", answer["samples"])));
        }
        if message["quality_reason"] != answer["quality_reason"] {
            rows.push(("by itself", text(&message["quality_reason"])));
        }
        rows.push(("time from", text(&answer["time_source"]["text"])));
    }
    let rule = &answer["rule"];
    let mut address = text(&rule["address"]);
    if !rule["when"].is_null() {
        address.push_str(&format!(" when {}", text(&rule["when"])));
    }
    rows.push(("address", address));
    let (station, line) = (text(&rule["station"]), text(&rule["line"]));
    let mut place = format!("{station} of line {line}");
    if !rule["routing"].is_null() {
        place.push_str(&format!(": {}", text(&rule["routing"]["why"])));
    }
    rows.push(("station", place));
    rows.push(("conversion", text(&answer["conversion"]["text"])));
    if !answer["note"].is_null() {
        rows.push(("note", of("note")));
    }
    rows
}

/// What was taken and where it stood.
pub(super) fn bytes_shown(bytes: &Json) -> String {
    if bytes.is_null() {
        return "none".to_owned();
    }
    let taken = text(&bytes["text"]);
    if bytes["offset"].is_null() {
        return taken;
    }
    format!("{taken} (offset {}, length {})", bytes["offset"], bytes["length"])
}
