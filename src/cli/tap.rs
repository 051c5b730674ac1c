//! `tagline tap`: messages of brokers as they come.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::args::{Global, Tap};
use super::exit::Failure;
use super::query::{QUICK, connect, text};
use super::table::printable;
use crate::clock;

/// Bytes of a payload that are shown to people.
const SHOWN_BYTES_MAX: usize = 4096;

/// Bytes in a row of a payload that is no text.
const ROW_BYTES: usize = 16;

/// Taps and prints until it is told to stop.
pub(super) fn tap(global: &Global, tap: &Tap) -> Result<(), Failure> {
    let mut client = connect(global)?;
    let until = tap.duration.map(|duration| clock::now() + duration);
    let params = json!({ "line": tap.line, "station": tap.station, "topic": tap.topic });
    client.call("message.tap", params, QUICK)?;
    let mut out = std::io::stdout().lock();
    let mut left = tap.count;
    loop {
        let wait = until.map(|until| until.saturating_duration_since(clock::now()));
        if wait == Some(Duration::ZERO) || left == Some(0) {
            return Ok(());
        }
        let Some(notification) = client.next_notification(wait)? else { return Ok(()) };
        if notification["method"] != "message.received" {
            continue;
        }
        let params = &notification["params"];
        if global.json {
            writeln!(out, "{params}")?;
        } else {
            write!(out, "{}", shown(params))?;
        }
        out.flush()?;
        left = left.map(|left| left - 1);
    }
}

/// One line that says how it came, then the payload, indented.
fn shown(message: &Json) -> String {
    let mut said = String::new();
    if message["dropped"].as_u64().is_some_and(|dropped| dropped > 0) {
        said.push_str(&format!("({} messages left out)\n", message["dropped"]));
    }
    let mut how = format!("QoS {}", message["qos"]);
    if message["packet_id"] != 0 {
        how.push_str(&format!(" #{}", message["packet_id"]));
    }
    for flag in ["retain", "dup"] {
        if message[flag] == true {
            how.push_str(&format!(" {flag}"));
        }
    }
    let payload = payload(message);
    let plural = if payload.len() == 1 { "" } else { "s" };
    said.push_str(&format!(
        "{:<30}  {:<10}  {:<16}  {:<14}  {}  ({} byte{plural})\n",
        text(&message["time"]),
        text(&message["line"]),
        text(&message["station"]),
        how,
        text(&message["topic"]),
        payload.len(),
    ));
    for (name, value) in message["properties"].as_object().into_iter().flatten() {
        if value.as_array().is_none_or(|list| !list.is_empty()) {
            said.push_str(&format!("    {name}: {}\n", text(value)));
        }
    }
    let rows = match std::str::from_utf8(&payload) {
        Ok(payload) => text_rows(payload),
        Err(_) => hex_rows(&payload),
    };
    for row in rows {
        said.push_str(&format!("    {row}\n"));
    }
    said
}

fn payload(message: &Json) -> Vec<u8> {
    let payload = message["payload"].as_str().unwrap_or_default();
    match message["encoding"].as_str() {
        Some("base64") => data_encoding::BASE64.decode(payload.as_bytes()).unwrap_or_default(),
        _ => payload.as_bytes().to_vec(),
    }
}

/// JSON documents in their shape, other text as it is.
fn text_rows(payload: &str) -> Vec<String> {
    let is_document = payload.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(payload).is_ok();
    let shaped = if is_document { shaped(payload) } else { payload.to_owned() };
    let whole = shaped.as_str();
    let end = whole.floor_char_boundary(SHOWN_BYTES_MAX);
    let mut rows: Vec<String> = whole[..end].lines().map(printable).collect();
    if end < whole.len() {
        rows.push(format!("… {} bytes more", whole.len() - end));
    }
    rows
}

/// A JSON document with line breaks and indents; every other character of it stays.
fn shaped(document: &str) -> String {
    let mut shaped = String::with_capacity(2 * document.len());
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let mut characters = document.chars().peekable();
    let break_line = |shaped: &mut String, depth: usize| {
        shaped.push('\n');
        // Deeper ones would run off the screen.
        shaped.extend(std::iter::repeat_n("  ", depth.min(20)));
    };
    while let Some(character) = characters.next() {
        if in_text {
            shaped.push(character);
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '"' => {
                in_text = true;
                shaped.push(character);
            }
            '{' | '[' => {
                shaped.push(character);
                while characters.next_if(|next| next.is_whitespace()).is_some() {}
                if let Some(close) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    shaped.push(close);
                } else {
                    depth += 1;
                    break_line(&mut shaped, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut shaped, depth);
                shaped.push(character);
            }
            ',' => {
                shaped.push(character);
                break_line(&mut shaped, depth);
            }
            ':' => shaped.push_str(": "),
            blank if blank.is_whitespace() => {}
            other => shaped.push(other),
        }
    }
    shaped
}

/// Offset, bytes, and those that are printable.
fn hex_rows(payload: &[u8]) -> Vec<String> {
    let shown = &payload[..payload.len().min(SHOWN_BYTES_MAX)];
    let row = |(index, bytes): (usize, &[u8])| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x} ")).collect();
        let printable = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        let text: String = bytes.iter().map(printable).collect();
        format!("{:06x}  {hex:<width$} {text}", index * ROW_BYTES, width = ROW_BYTES * 3)
    };
    let mut rows: Vec<String> = shown.chunks(ROW_BYTES).enumerate().map(row).collect();
    if shown.len() < payload.len() {
        rows.push(format!("… {} bytes more", payload.len() - shown.len()));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &str, encoding: Option<&str>) -> Json {
        json!({
            "line": "plant", "station": null, "topic": "a/b", "payload": payload,
            "encoding": encoding, "qos": 1, "packet_id": 7, "retain": true, "dup": false,
            "time": "2026-11-20T14:22:43Z", "dropped": 0,
        })
    }

    #[test]
    fn a_document_is_shown_in_its_shape_and_text_as_it_is() {
        let said = shown(&message(r#"{"a":1}"#, None));
        assert!(said.contains("QoS 1 #7 retain"), "{said}");
        assert!(said.ends_with("a/b  (7 bytes)\n    {\n      \"a\": 1\n    }\n"), "{said}");
        let said = shown(&message("on\u{7}", None));
        assert!(said.ends_with("(3 bytes)\n    on\u{fffd}\n"), "{said}");
        // Numbers, order and texts stay as they were written.
        let document = r#" {"b" : [1.10, {}, []],"a":"x, \" {y"} "#;
        let rows = ["{", "  \"b\": [", "    1.10,", "    {},", "    []", "  ],"];
        let last = ["  \"a\": \"x, \\\" {y\"", "}"];
        assert_eq!(text_rows(document), [&rows[..], &last[..]].concat());
    }

    #[test]
    fn bytes_are_shown_with_their_offsets() {
        let said = shown(&message("AP9oaQ==", Some("base64")));
        assert!(said.contains("(4 bytes)"), "{said}");
        assert!(said.contains("000000  00 ff 68 69 "), "{said}");
        assert!(said.ends_with(" ..hi\n"), "{said}");
        let long = hex_rows(&[0; SHOWN_BYTES_MAX + 1]);
        assert_eq!(long.len(), SHOWN_BYTES_MAX / ROW_BYTES + 1);
        assert_eq!(long.last().unwrap(), "… 1 bytes more");
    }
}
