//! `messages.txt`: what arrives, and what is written.
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
//! write TAG 12.5                       writes a JSON value to an output tag, at the next second
//! and TAG null                         writes another one with it
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

/// Values for output tags, by name, written together.
pub(crate) struct Write {
    pub(crate) values: Vec<(String, serde_json::Value)>,
    pub(crate) at: Timestamp,
}

/// A paragraph of the file.
pub(crate) enum Step {
    Message(Box<Message>),
    Write(Write),
}

/// So many seconds after midnight.
fn second(position: usize) -> Timestamp {
    let midnight: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    midnight + jiff::SignedDuration::from_secs(position as i64)
}

impl Message {
    fn new(topic: &str, position: usize) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: Vec::new(),
            content_type: None,
            qos: 0,
            retain: false,
            packet_id: None,
            received: second(position),
        }
    }
}

/// Reads the steps; the error begins with its line.
pub(crate) fn parse(text: &str, folder: &Path) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let failed = |why: &str| format!("{number}: {why}");
        match word {
            "message" => {
                steps.push(Step::Message(Box::new(Message::new(rest, steps.len() + 1))));
                continue;
            }
            "write" => {
                steps.push(Step::Write(Write { values: Vec::new(), at: second(steps.len() + 1) }));
            }
            _ => {}
        }
        let message = match steps.last_mut() {
            Some(Step::Message(message)) => message,
            Some(Step::Write(write)) if matches!(word, "write" | "and") => {
                let (tag, value) = rest.split_once(' ').ok_or_else(|| failed("write what?"))?;
                let value = serde_json::from_str(value);
                let value = value.map_err(|error| failed(&error.to_string()))?;
                write.values.push((tag.to_owned(), value));
                continue;
            }
            _ => return Err(failed("`message TOPIC` or `write TAG VALUE` comes first")),
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
    if steps.is_empty() { Err("1: there is no message".to_owned()) } else { Ok(steps) }
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
