//! A plan as files, with the reasons for its choices.

use std::fmt::Write as _;

use super::{Plan, PlannedStation};
use crate::iotag::{EnvelopeEncoding, PayloadType};

/// Where the messages were heard.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name of the line.
    pub line: String,
    /// For a comment: how long, how many.
    pub heard: String,
}

/// `tagline.toml` for a broker that no configuration has yet. `keys` are the further keys of the line
/// and their values in TOML.
pub fn main_file(source: &Source, keys: &[(&str, String)]) -> String {
    let mut text = format!(
        "# Written by `tagline discover`: {}.\n# Yours from here on.\n\n[[line]]\nname = {}\n",
        source.heard,
        quoted(&source.line)
    );
    for (key, value) in keys {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{key} = {value}");
    }
    text
}

/// The station file.
pub fn station_file(plan: &Plan, source: &Source) -> String {
    let mut text = format!(
        "# Written by `tagline discover`: {}.\n# Yours from here on.\n\nline = {}\n",
        source.heard,
        quoted(&source.line)
    );
    for station in &plan.stations {
        text.push('\n');
        self::station(station, &mut text);
    }
    if !plan.left_out.is_empty() {
        text.push_str("\n# Left out:\n");
        for (what, why) in &plan.left_out {
            let _ = writeln!(text, "# {}: {}", one_line(what), one_line(why));
        }
    }
    text
}

fn station(station: &PlannedStation, text: &mut String) {
    let survey = &station.survey;
    let plural = if station.messages == 1 { "message" } else { "messages" };
    let _ = writeln!(text, "# {} {plural}.", station.messages);
    for note in &survey.notes {
        let _ = writeln!(text, "# {}.", one_line(note));
    }
    let _ = writeln!(text, "[[station]]\nname = {}", quoted(&station.name));
    let _ = writeln!(text, "address = {}", quoted(&address(&station.topic)));
    let _ = writeln!(text, "payload_type = \"{}\"", survey.payload_type.as_str());
    match &survey.time {
        Some(time) => {
            let always = if time.optional { "in some messages" } else { "in every message" };
            let zone = match time.mask {
                "RFC3339" => "",
                mask if mask.starts_with("UNIX") || mask.contains("ZZZ") => "",
                _ => "; it has no offset, so that `time_zone` says which clock it is",
            };
            let _ = writeln!(text, "# The time, {always}{zone}.");
            let _ = writeln!(text, "time_field_name = {}", quoted(&time.field));
            let _ = writeln!(text, "time_mask = {}", quoted(time.mask));
            if time.optional {
                text.push_str("ignore_missing_time = true\n");
            }
        }
        None => {
            if matches!(
                survey.payload_type,
                PayloadType::Json | PayloadType::Csv | PayloadType::Xml
            ) {
                text.push_str("# No field reads as a time: the time of arrival is taken.\n");
            }
            text.push_str("time_field_name = \"\"\n");
        }
    }
    if let Some((path, encoding)) = &survey.envelope {
        let _ = writeln!(text, "envelope_payload = {}", quoted(path));
        if *encoding != EnvelopeEncoding::Base64 {
            let _ = writeln!(text, "envelope_encoding = \"{}\"", encoding.as_str());
        }
    }
    if let Some(csv) = &survey.csv {
        let _ = writeln!(text, "csv_delimiter = {}", quoted(&csv.delimiter.to_string()));
        let _ = writeln!(text, "csv_header = {}", csv.header);
    }
    let optional = survey.leaves.iter().any(|leaf| leaf.optional);
    if optional && survey.payload_type != PayloadType::Influx {
        text.push_str("# Not every message has every value: what is missing keeps its last one.\n");
        text.push_str("on_missing = \"keep\"\n");
    }
}

/// The tag file, as a spreadsheet reads it.
pub fn tag_file(plan: &Plan) -> String {
    let rows = || plan.stations.iter().flat_map(|own| own.tags.iter().map(move |tag| (own, tag)));
    let has_when = rows().any(|(_, tag)| !tag.when.is_empty());
    let mut header = vec!["name", "station", "type", "address"];
    header.extend(has_when.then_some("when"));
    header.extend(["unit", "description"]);
    let mut text = row(&header);
    for (station, tag) in rows() {
        let example = one_line(&tag.example);
        let example: String = example.chars().take(60).collect();
        let example =
            if example.is_empty() { String::new() } else { format!("for instance {example}") };
        let mut cells = vec![&*tag.name, &*station.name, tag.tag_type.as_str(), &*tag.address];
        cells.extend(has_when.then_some(&*tag.when));
        cells.extend([&*tag.unit, &*example]);
        text.push_str(&row(&cells));
    }
    text
}

fn row(cells: &[&str]) -> String {
    let cell = |cell: &&str| {
        let special = cell.contains([',', '"', '\n', '\r']) || cell.trim() != *cell;
        if special { format!("\"{}\"", cell.replace('"', "\"\"")) } else { (*cell).to_owned() }
    };
    let mut row = cells.iter().map(cell).collect::<Vec<_>>().join(",");
    row.push('\n');
    row
}

/// A topic as an address that takes nothing else.
fn address(topic: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '@');
    let is_literal = topic.chars().all(is_plain);
    if is_literal { topic.to_owned() } else { format!("exact:{topic}") }
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}
