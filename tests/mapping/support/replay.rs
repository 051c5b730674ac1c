//! The messages of a case through the program's own parts: configuration, routing, mapping, table.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tagline::config::{self, Config};
use tagline::iotag::mapping::{InMessage, MappingReport, StationPlan};
use tagline::iotag::router::{Router, Rule};
use tagline::iotag::table::TagTable;
use tagline::iotag::{StationId, TagId, TagValue, Timestamp};

use super::messages::Message;

/// What `expected.txt` must be: after each message where it went, every change in order, the tags
/// of its station that did not change, and what was complained of.
pub(crate) fn replay(case: &Path, messages: &[Message]) -> Result<String, String> {
    let config = load(case)?;
    let mut router = router(&config);
    let plans: Vec<StationPlan> =
        (0..config.stations.len()).map(|position| plan(&config, position)).collect();
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut table = TagTable::new(config.tags.iter(), |_| None, start);
    let mut text = String::new();
    for (number, message) in (1..).zip(messages) {
        let contest = router.explain(&message.topic);
        let routed = router.route(&message.topic);
        if routed != contest.winner.map(|(station, _)| station) {
            return Err(format!("message {number}: routing and its explanation differ"));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        write!(text, "{number} {}", message.topic).unwrap();
        let Some((station, rule)) = contest.winner else {
            text += " -> unrouted\n";
            continue;
        };
        let name = &config.stations[station.0 as usize].name;
        writeln!(text, " -> {name} ({})", rule_name(rule)).unwrap();
        let plan = &plans[station.0 as usize];
        arrive(&config, station, plan, &mut table, message, &mut text)
            .map_err(|error| format!("message {number}: {error}"))?;
    }
    Ok(text)
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
