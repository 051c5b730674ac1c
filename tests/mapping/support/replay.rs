//! The messages of a case through the program's own parts: configuration, routing, mapping, table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tagline::config::{self, Config};
use tagline::iotag::mapping::{InMessage, MappingReport, StationPlan};
use tagline::iotag::router::{Router, Rule};
use tagline::iotag::table::TagTable;
use tagline::iotag::{
    Quality, Reason, StationId, Tag, TagAddress, TagId, TagUpdate, TagValue, Timestamp, Value,
    output,
};

use super::messages::{Message, Step, Write};

/// What `expected.txt` must be: after each message where it went, every change in order, the tags
/// of its station that did not change, and what was complained of.
pub(crate) fn replay(case: &Path, steps: &[Step]) -> Result<String, String> {
    let config = load(case)?;
    let mut router = router(&config);
    let plans: Vec<StationPlan> =
        (0..config.stations.len()).map(|position| plan(&config, position)).collect();
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut table = TagTable::new(config.tags.iter(), |_| None, start);
    let mut text = String::new();
    for (number, step) in (1..).zip(steps) {
        if !text.is_empty() {
            text.push('\n');
        }
        let done = match step {
            Step::Message(message) => {
                write!(text, "{number} {}", message.topic).unwrap();
                match route(&config, &mut router, &message.topic, &mut text) {
                    Ok(Some(station)) => {
                        let plan = &plans[station.0 as usize];
                        arrive(&config, station, plan, &mut table, message, &mut text)
                    }
                    routed => routed.map(drop),
                }
            }
            Step::Write(writes) => {
                writeln!(text, "{number} write").unwrap();
                publish(&config, &mut table, writes, &mut text)
            }
        };
        done.map_err(|error| format!("step {number}: {error}"))?;
    }
    Ok(text)
}

fn route(
    config: &Config,
    router: &mut Router,
    topic: &str,
    text: &mut String,
) -> Result<Option<StationId>, String> {
    let contest = router.explain(topic);
    if router.route(topic) != contest.winner.map(|(station, _)| station) {
        return Err("routing and its explanation differ".to_owned());
    }
    match contest.winner {
        Some((station, rule)) => {
            let name = &config.stations[station.0 as usize].name;
            writeln!(text, " -> {name} ({})", rule_name(rule)).unwrap();
            Ok(Some(station))
        }
        None => {
            text.push_str(" -> unrouted\n");
            Ok(None)
        }
    }
}

fn load(case: &Path) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |to: &str, text: &str| {
        let path = folder.path().join(to);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let optional = |file: &str| fs::read_to_string(case.join(file)).ok();
    let line = optional("line.toml").unwrap_or_default();
    let head = "[[line]]\nname = \"plant\"\nservers = [\"mqtt://127.0.0.1\"]\n";
    write("tagline.toml", &format!("{head}{line}"));
    let stations = optional("station.toml").unwrap_or_default();
    write("stations/station.toml", &format!("line = \"plant\"\n{stations}"));
    for file in ["tags.csv", "tags.toml"] {
        if let Some(tags) = optional(file) {
            write(&format!("tags/{file}"), &tags);
        }
    }
    let config = config::load(folder.path())
        .map_err(|mistakes| format!("\n{}", config::render(&mistakes, false)))?;
    // A station nobody asks for, or a tag that is none, is a mistake of the case.
    if config.stations.is_empty() || config.tags.is_empty() {
        return Err("there is no station, or no tag".to_owned());
    }
    Ok(config)
}

fn router(config: &Config) -> Router {
    let stations = (0..).map(StationId).zip(&config.stations);
    Router::compile(stations.map(|(id, station)| (id, &station.address)))
}

fn plan(config: &Config, position: usize) -> StationPlan {
    let tags = (0..).map(TagId).zip(&config.tags);
    let own = tags.filter(|(_, tag)| tag.station.0 as usize == position);
    StationPlan::compile(&config.stations[position], own)
}

fn arrive(
    config: &Config,
    station: StationId,
    plan: &StationPlan,
    table: &mut TagTable,
    message: &Message,
    text: &mut String,
) -> Result<(), String> {
    let packet_id = message.packet_id.unwrap_or(u16::from(message.qos > 0));
    let arrived = InMessage {
        topic: &message.topic,
        payload: &message.payload,
        content_type: message.content_type.as_deref(),
        packet_id,
        received: message.received,
    };
    let mut updates = Vec::new();
    let report = plan.map(&arrived, &mut updates);
    let (mut again, mut traces) = (Vec::new(), Vec::new());
    let explained = plan.explain(&arrived, &mut again, &mut traces);
    if (&again, &explained) != (&updates, &report) || traces.len() != updates.len() {
        return Err("mapping and its explanation differ".to_owned());
    }
    let mut touched = vec![false; config.tags.len()];
    for update in updates {
        let position = update.tag.0 as usize;
        let tag = &config.tags[position];
        touched[position] = true;
        if tag.station != station || update.received != message.received {
            return Err(format!("`{}`: another station's tag, or another time", tag.name));
        }
        match table.apply(update) {
            Some(change) => writeln!(text, "  {} = {}", tag.name, shown(&change)).unwrap(),
            None => writeln!(text, "  {} within its deadband", tag.name).unwrap(),
        }
    }
    for (tag, touched) in config.tags.iter().zip(touched) {
        if tag.station == station && !touched && !tag.tag_type.is_output() {
            writeln!(text, "  {} unchanged", tag.name).unwrap();
        }
    }
    note(&report, text);
    Ok(())
}

/// What a write does to its tags, and the payload that it makes.
fn publish(
    config: &Config,
    table: &mut TagTable,
    write: &Write,
    text: &mut String,
) -> Result<(), String> {
    let mut accepted: Vec<(usize, Option<Value>)> = Vec::new();
    for (name, value) in &write.values {
        let position = config.tags.iter().position(|tag| *tag.name == **name);
        let position = position.ok_or_else(|| format!("there is no tag `{name}`"))?;
        let tag = &config.tags[position];
        let station = &config.stations[tag.station.0 as usize];
        match output::accept_nullable_write(tag, station, value) {
            Ok(value) => accepted.push((position, value)),
            Err(why) => writeln!(text, "  {name} refused: {why}").unwrap(),
        }
    }
    for (position, value) in &accepted {
        let update = TagUpdate {
            tag: TagId(*position as u32),
            value: value.clone(),
            quality: Quality::Good,
            reason: Reason::Ok,
            time: write.at,
            received: write.at,
        };
        if let Some(change) = table.apply(update) {
            writeln!(text, "  {} = {}", config.tags[*position].name, shown(&change)).unwrap();
        }
    }
    let Some((first, value)) = accepted.first() else { return Ok(()) };
    match payload(config, table, &config.tags[*first], value.as_ref(), write.at) {
        Ok(Some(payload)) => {
            let payload = serde_json::Value::from(String::from_utf8_lossy(&payload));
            writeln!(text, "  publishes {payload}").unwrap();
        }
        Ok(None) => writeln!(text, "  publishes nothing").unwrap(),
        Err(why) => writeln!(text, "  cannot be composed: {why}").unwrap(),
    }
    Ok(())
}

fn payload(
    config: &Config,
    table: &TagTable,
    tag: &Tag,
    value: Option<&Value>,
    time: Timestamp,
) -> Result<Option<Vec<u8>>, String> {
    let station = &config.stations[tag.station.0 as usize];
    let written = (0..).map(TagId).zip(&config.tags).filter_map(|(id, other)| {
        let output = other.station == tag.station && other.tag_type.is_output();
        Some((other, table.written(id).filter(|_| output)?))
    });
    match (&tag.address, value) {
        (TagAddress::Json(_), _) => output::compose_document(station, written, time),
        (TagAddress::Line(series), _) => {
            let same = written.filter(|(other, _)| match &other.address {
                TagAddress::Line(other) => output::is_same_series(series, other),
                _ => false,
            });
            output::compose_lines(station, same, time)
        }
        (_, Some(value)) => output::compose_text(tag, station, value).map(Some),
        (_, None) => Ok(None),
    }
}

/// Value as on the socket, quality, reason, source time.
fn shown(change: &TagValue) -> String {
    let value = change.value.as_ref().map_or_else(|| "-".to_owned(), |v| v.to_json().to_string());
    format!("{value} {}/{} {}", change.quality, change.reason, change.time)
}

/// What was complained of. Of a sentence only the place is kept, for the words are a library's.
fn note(report: &MappingReport, text: &mut String) {
    let mut note = |words: String| writeln!(text, "  note: {words}").unwrap();
    if let Some(error) = &report.bad_payload {
        let place = error.rfind("at line").map_or("", |at| &error[at..]);
        note(format!("bad payload {place}").trim_end().to_owned());
    }
    if let Some(first) = &report.bad_line {
        let place = first.split(':').next().unwrap_or_default();
        note(format!("bad lines: {}, the first is {place}", report.bad_lines));
    }
    if report.discarded > 0 {
        note(format!("too old: {}", report.discarded));
    }
    if report.time_missing {
        note("time missing".to_owned());
    }
    if let Some(time) = &report.time_unreadable {
        note(format!("time unreadable: {time}"));
    }
}

fn rule_name(rule: Rule) -> &'static str {
    match rule {
        Rule::All => "all",
        Rule::Exact => "exact",
        Rule::Filter => "filter",
        Rule::Expression => "expression",
        Rule::Fallback => "fallback",
    }
}
