//! `messages.txt`: what arrives.
//!
//! ```text
//! # a comment
//! message TOPIC                        begins a message; the rest is optional
//! received 2026-01-01T00:00:01Z        default: so many seconds after midnight as messages so far
//! qos 1                                default: 0
//! id 7                                 packet identifier; default: 0 at QoS 0, else 1
//! retain
//! content-type text/csv
//! payload TEXT                         the rest of the line
//! payload <<END                        the lines up to one that is `END`, without the last line end
//! payload-base64 AAEC                  bytes
//! payload-gzip TEXT                    as `payload`, packed
//! payload-repeat 1000 TEXT             so many times
//! payload-file NAME                    a file of the case's folder
//! ```
//!
//! Several payload lines of a message are joined without anything between them.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use tagline::iotag::Timestamp;

/// A message and the time of its arrival.
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) content_type: Option<String>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) packet_id: Option<u16>,
    pub(crate) received: Timestamp,
}

impl Message {
    fn new(topic: &str, position: i64) -> Self {
        let midnight: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            topic: topic.to_owned(),
            payload: Vec::new(),
            content_type: None,
            qos: 0,
            retain: false,
            packet_id: None,
            received: midnight + jiff::SignedDuration::from_secs(position),
        }
    }
}

/// Reads the messages; the error begins with its line.
pub(crate) fn parse(text: &str, folder: &Path) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let failed = |why: &str| format!("{number}: {why}");
        if word == "message" {
            messages.push(Message::new(rest, messages.len() as i64 + 1));
            continue;
        }
        let Some(message) = messages.last_mut() else {
            return Err(failed("`message TOPIC` comes first"));
        };
        let number_of = |text: &str| text.parse().map_err(|_| failed("this is no number"));
        match word {
            "received" => {
                message.received =
                    rest.parse().map_err(|_| failed("this is no time, as 2026-01-01T00:00:00Z"))?;
            }
            "qos" => message.qos = number_of(rest)? as u8,
            "id" => message.packet_id = Some(number_of(rest)?),
            "retain" => message.retain = true,
            "content-type" => message.content_type = Some(rest.to_owned()),
            "payload" | "payload-gzip" => {
                let bytes = match rest.strip_prefix("<<") {
                    Some(end) => block(&mut lines, end)
                        .ok_or_else(|| failed(&format!("no line after this is `{end}`")))?,
                    None => rest.to_owned(),
                };
                match word {
                    "payload" => message.payload.extend(bytes.as_bytes()),
                    _ => message.payload.extend(packed(bytes.as_bytes())),
                }
            }
            "payload-base64" => {
                let bytes = data_encoding::BASE64.decode(rest.as_bytes());
                message.payload.extend(bytes.map_err(|error| failed(&error.to_string()))?);
            }
            "payload-repeat" => {
                let (count, text) = rest.split_once(' ').ok_or_else(|| failed("repeat what?"))?;
                message.payload.extend(text.repeat(number_of(count)?.into()).as_bytes());
            }
            "payload-file" => {
                let bytes = fs::read(folder.join(rest));
                message.payload.extend(bytes.map_err(|error| failed(&error.to_string()))?);
            }
            _ => return Err(failed(&format!("unknown word `{word}`"))),
        }
    }
    if messages.is_empty() { Err("1: there is no message".to_owned()) } else { Ok(messages) }
}

fn block<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, end: &str) -> Option<String> {
    let mut block = Vec::new();
    loop {
        match lines.next()? {
            (_, line) if line == end => return Some(block.join("\n")),
            (_, line) => block.push(line),
        }
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
