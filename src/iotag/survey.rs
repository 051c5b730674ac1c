//! What payloads hold, without a configuration: where their values are, and what kind they are of.
//! `tagline discover` makes tags of it.

mod document;
mod formats;
mod time;

use super::payload::{content, envelope, lpp};
use super::{EnvelopeEncoding, PayloadType};

pub use time::time_mask_of;

/// What several payloads of one topic have in common.
#[derive(Clone, Debug)]
pub struct Survey {
    /// How they are read.
    pub payload_type: PayloadType,
    /// The values, in the order in which they stand.
    pub leaves: Vec<Leaf>,
    /// Where the time is, and its mask.
    pub time: Option<TimeFound>,
    /// Where bytes stand as text.
    pub envelope: Option<(String, EnvelopeEncoding)>,
    /// Of CSV.
    pub csv: Option<CsvFound>,
    /// Choices that are worth a comment.
    pub notes: Vec<String>,
}

/// A value at an address.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Tag address, with its prefix.
    pub address: String,
    /// Names on the way to it, the last one first in importance.
    pub names: Vec<String>,
    /// What it was in all payloads.
    pub kind: Kind,
    /// Unit that the payload states.
    pub unit: String,
    /// The last value, as text.
    pub example: String,
    /// Whether a payload was without it.
    pub optional: bool,
    /// Condition, if only some messages have it.
    pub when: String,
}

/// What a value was in all payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but null.
    Null,
    /// True or false, also as words.
    Logical,
    /// An integer that counts or numbers something.
    Counter,
    /// Another number, also as text.
    Number,
    /// A moment, as RFC 3339.
    Moment,
    /// Any other text.
    Text,
    /// An object or array that is no further taken apart.
    Compound,
}

/// A time field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeFound {
    /// `time_field_name`.
    pub field: String,
    /// `time_mask`.
    pub mask: &'static str,
    /// Whether a payload was without it.
    pub optional: bool,
}

/// How CSV is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsvFound {
    /// Between the cells.
    pub delimiter: char,
    /// Whether the first row names the columns.
    pub header: bool,
}

/// A payload that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// As it came.
    pub payload: Vec<u8>,
    /// MQTT 5.0 Content Type.
    pub content_type: Option<String>,
}

impl Survey {
    fn of_type(payload_type: PayloadType) -> Self {
        Self {
            payload_type,
            leaves: Vec::new(),
            time: None,
            envelope: None,
            csv: None,
            notes: Vec::new(),
        }
    }
}

/// Surveys the payloads of one topic. The format is the one that fits all of them, the richest first.
pub fn survey(heard: &[Heard]) -> Survey {
    let payloads: Vec<Vec<u8>> = heard
        .iter()
        .filter_map(|one| content::unpacked(&one.payload, one.content_type.as_deref()).ok())
        .map(|payload| payload.into_owned())
        .filter(|payload| !payload.is_empty())
        .collect();
    if payloads.is_empty() {
        let mut survey = Survey::of_type(PayloadType::Text);
        survey.notes.push("only empty payloads were heard".to_owned());
        survey.leaves.push(whole_text(String::new()));
        return survey;
    }
    let is_said = heard.iter().any(|one| {
        one.content_type.as_deref().map(content::media_type).as_deref()
            == Some("application/octet-stream")
    });
    let is_text = |text: &&str| {
        !is_said && !text.contains(|it: char| it.is_control() && !matches!(it, '\t' | '\n' | '\r'))
    };
    let texts: Option<Vec<&str>> =
        payloads.iter().map(|payload| std::str::from_utf8(payload).ok().filter(is_text)).collect();
    let found = match texts {
        None => bytes(&payloads),
        Some(texts) => {
            let texts: Vec<&str> =
                texts.into_iter().map(|text| text.trim_start_matches('\u{feff}')).collect();
            document::survey(&texts)
                .or_else(|| formats::xml(&texts))
                .or_else(|| formats::influx(&texts))
                .or_else(|| formats::csv(&texts))
                .or_else(|| formats::word(&texts))
        }
    };
    found.unwrap_or_else(|| {
        let mut survey = Survey::of_type(PayloadType::Text);
        let last = payloads.last().map(|payload| String::from_utf8_lossy(payload).into_owned());
        survey.leaves.push(whole_text(last.unwrap_or_default()));
        survey
    })
}

fn whole_text(example: String) -> Leaf {
    Leaf {
        address: "IN_DATA".to_owned(),
        names: vec!["data".to_owned()],
        kind: Kind::Text,
        unit: String::new(),
        example,
        optional: false,
        when: String::new(),
    }
}

/// Payloads that are no text.
fn bytes(payloads: &[Vec<u8>]) -> Option<Survey> {
    let mut survey = Survey::of_type(PayloadType::Bytes);
    survey.leaves = of_bytes(payloads, &mut survey.notes);
    Some(survey)
}

/// Addresses in bytes: the values of Cayenne LPP frames, if all of them are such; otherwise the first
/// byte, for a person to go on from.
fn of_bytes(payloads: &[Vec<u8>], notes: &mut Vec<String>) -> Vec<Leaf> {
    let frames: Result<Vec<_>, String> =
        payloads.iter().map(|payload| lpp::values(payload)).collect();
    let is_likely = |frames: &[Vec<lpp::LppValue<'_>>]| {
        frames
            .iter()
            .all(|frame| !frame.is_empty() && frame.is_sorted_by_key(|value| value.channel))
    };
    match frames {
        Ok(frames) if is_likely(&frames) => {
            notes.push("the bytes are Cayenne LPP frames".to_owned());
            let mut leaves: Vec<Leaf> = Vec::new();
            for value in frames.iter().flatten() {
                for (part, datum) in value.parts() {
                    let own = format!("{}_{}", value.kind.name, value.channel);
                    let (name, names) = match part {
                        "" => (own.clone(), vec![own]),
                        part => (format!("{own}.{part}"), vec![part.to_owned(), own]),
                    };
                    let address = format!("LPP={name}");
                    if let Some(known) = leaves.iter_mut().find(|leaf| leaf.address == address) {
                        known.example = datum;
                        continue;
                    }
                    let is_logical = matches!(
                        value.kind.name,
                        "digital_in" | "digital_out" | "presence" | "switch"
                    );
                    leaves.push(Leaf {
                        address,
                        names,
                        kind: if is_logical && matches!(&*datum, "0" | "1") {
                            Kind::Logical
                        } else {
                            Kind::Number
                        },
                        unit: value.kind.unit.to_owned(),
                        example: datum,
                        optional: false,
                        when: String::new(),
                    });
                }
            }
            leaves
        }
        _ => {
            let last = payloads.last().map(Vec::as_slice).unwrap_or_default();
            let shown = data_encoding::HEXLOWER.encode(&last[..last.len().min(32)]);
            notes.push(format!(
                "what the bytes mean is not known: `RA=` addresses read them; the last were {shown}"
            ));
            let shortest = payloads.iter().map(Vec::len).min().unwrap_or(0);
            let first = last.first().filter(|_| shortest > 0);
            first
                .map(|byte| Leaf {
                    address: "RA=0:u8".to_owned(),
                    names: vec!["byte_0".to_owned()],
                    kind: Kind::Counter,
                    unit: String::new(),
                    example: byte.to_string(),
                    optional: false,
                    when: String::new(),
                })
                .into_iter()
                .collect()
        }
    }
}

/// Whether all of these texts are bytes as text, and how.
fn enclosed(texts: &[&str]) -> Option<(EnvelopeEncoding, Vec<Vec<u8>>)> {
    [EnvelopeEncoding::Hex, EnvelopeEncoding::Base64].into_iter().find_map(|encoding| {
        let bytes: Option<Vec<Vec<u8>>> = texts
            .iter()
            .map(|text| envelope::bytes(text, encoding).ok().filter(|bytes| !bytes.is_empty()))
            .collect();
        Some((encoding, bytes?))
    })
}

#[cfg(test)]
mod tests;
