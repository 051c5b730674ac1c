//! `tagline check --topic`: which station takes a message and what its tags would become, without a
//! broker and without the process.

use std::io::{Read as _, Write as _};

use serde_json::{Value as Json, json};

use super::args::{Check, Global};
use super::check;
use super::exit::Failure;
use super::explain::bytes_shown;
use super::query::text;
use super::table::Table;
use crate::clock;
use crate::config::Config;
use crate::iotag::mapping::{InMessage, StationPlan};
use crate::iotag::router::Router;
use crate::iotag::{LineId, StationId, Tag, TagId, explanation};
use crate::topic;

/// Largest payload that MQTT can carry.
const PAYLOAD_BYTES_MAX: u64 = 268_435_455;

/// Says what would become of a message with this topic.
pub(super) fn contest(global: &Global, wanted: &Check, topic: &str) -> Result<(), Failure> {
    let config = check::load(global)?;
    if let Err(why) = topic::check_name(topic) {
        return Err(Failure::Configuration(format!("`{topic}` is no topic name: {why}")));
    }
    let payload = wanted.payload.as_deref().map(payload).transpose()?;
    let lines: Vec<LineId> = (0u32..)
        .map(LineId)
        .zip(&config.lines)
        .filter(|(_, line)| wanted.line.as_ref().is_none_or(|name| *name == *line.name))
        .map(|(id, _)| id)
        .collect();
    if let (Some(name), true) = (&wanted.line, lines.is_empty()) {
        return Err(Failure::Configuration(format!("there is no line `{name}`")));
    }
    let message = InMessage {
        topic,
        payload: payload.as_deref().unwrap_or_default(),
        content_type: wanted.content_type.as_deref(),
        packet_id: u16::from(wanted.qos > 0),
        received: clock::wall(),
    };
    let shown: Vec<Json> =
        lines.iter().map(|line| on_line(&config, *line, &message, payload.is_some())).collect();
    let taken = shown.iter().any(|line| !line["winner"].is_null());
    let all = json!({
        "ok": true,
        "topic": topic,
        "qos": wanted.qos,
        "retain": wanted.retain,
        "content_type": wanted.content_type,
        "payload_bytes": payload.as_ref().map(Vec::len),
        "lines": shown,
    });
    let mut out = std::io::stdout().lock();
    if global.json {
        writeln!(out, "{all}")?;
    } else {
        for line in &shown {
            print(&mut out, line, wanted.retain)?;
        }
    }
    if taken {
        return Ok(());
    }
    Err(Failure::Failed(format!("no station takes `{topic}`")))
}

fn payload(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let failed = |why: String| Failure::Failed(format!("{}: {why}", path.display()));
    let mut payload = Vec::new();
    let read = if path == std::path::Path::new("-") {
        std::io::stdin().lock().take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload))
    };
    match read {
        Ok(bytes) if bytes as u64 > PAYLOAD_BYTES_MAX => {
            Err(failed("no message can carry so much".to_owned()))
        }
        Ok(_) => Ok(payload),
        Err(error) => Err(failed(format!("cannot be read: {error}"))),
    }
}

/// What becomes of the message on one line.
fn on_line(config: &Config, line: LineId, message: &InMessage<'_>, with_tags: bool) -> Json {
    let station_of = |id: StationId| &config.stations[id.0 as usize];
    let stations = || (0u32..).map(StationId).zip(&config.stations);
    let own = || stations().filter(|(_, station)| station.line == line);
    let router = Router::compile(own().map(|(id, station)| (id, &station.address)));
    let contest = router.explain(message.topic);
    let mut shown = explanation::contest(&contest, station_of);
    shown["line"] = json!(&*config.lines[line.0 as usize].name);
    shown["subscribed"] = json!(is_subscribed(config, line, message.topic));
    let watched = |topic: &str| topic == message.topic;
    let wills = own().filter(|(_, station)| {
        station.will_topic.as_deref().is_some_and(watched)
            && station.will_payload.as_ref().is_none_or(|is| is.as_bytes() == message.payload)
    });
    let wills: Vec<&str> = wills.map(|(_, station)| &*station.name).collect();
    shown["wills"] = json!(wills);
    if let (Some((station, _)), true) = (contest.winner, with_tags) {
        let (tags, untouched, report) = tags(config, station, message);
        shown["tags"] = tags;
        shown["untouched"] = untouched;
        shown["report"] = report;
    }
    shown
}

/// Whether a subscription of the line brings messages of this topic.
fn is_subscribed(config: &Config, line: LineId, name: &str) -> bool {
    let own = config.stations.iter().filter(|station| station.line == line);
    let addresses = own
        .clone()
        .filter(|station| station.subscribe_address)
        .filter_map(|station| station.address.as_filter());
    let wills = own.filter_map(|station| station.will_topic.as_deref());
    let filters = config.lines[line.0 as usize].topic_filters.iter().map(String::as_str);
    filters.chain(addresses).chain(wills).any(|filter| {
        let shared = filter.strip_prefix("$share/").and_then(|shared| shared.split_once('/'));
        topic::matches(shared.map_or(filter, |(_, filter)| filter), name)
    })
}

fn tags(config: &Config, id: StationId, message: &InMessage<'_>) -> (Json, Json, Json) {
    let station = &config.stations[id.0 as usize];
    let own: Vec<(TagId, &Tag)> =
        (0u32..).map(TagId).zip(&config.tags).filter(|(_, tag)| tag.station == id).collect();
    let plan = StationPlan::compile(station, own.iter().copied());
    let tag_of = |id: TagId| &config.tags[id.0 as usize];
    let explained = explanation::explain(&plan, station, tag_of, message);
    let shown: Vec<Json> = explained
        .updates
        .iter()
        .map(|one| {
            let tag = tag_of(one.update.tag);
            json!({
                "name": &*tag.name,
                "value": one.update.value.as_ref().map(crate::iotag::Value::to_json),
                "quality": one.update.quality.as_str(),
                "reason": one.update.reason.as_str(),
                "time": one.update.time.to_string(),
                "received": one.update.received.to_string(),
                "address": &*tag.address_text,
                "bytes": one.bytes,
                "conversion": explanation::conversion(tag),
                "time_source": one.time_source,
                "quality_reason": one.quality_reason,
            })
        })
        .collect();
    let touched = |id: TagId| explained.updates.iter().any(|one| one.update.tag == id);
    let untouched: Vec<&str> = own
        .iter()
        .filter(|(id, tag)| !tag.tag_type.is_output() && !touched(*id))
        .map(|(_, tag)| &*tag.name)
        .collect();
    let report = json!({
        "bad_payload": explained.report.bad_payload,
        "bad_lines": explained.report.bad_lines,
        "bad_line": explained.report.bad_line,
        "samples_too_old": explained.report.discarded,
        "time_missing": explained.report.time_missing,
        "time_unreadable": explained.report.time_unreadable,
    });
    (json!(shown), json!(untouched), report)
}

fn print(out: &mut impl std::io::Write, line: &Json, retain: bool) -> Result<(), Failure> {
    let name = text(&line["line"]);
    let winner = &line["winner"];
    if winner.is_null() {
        writeln!(out, "line {name}: no station takes it; it would be counted as unrouted")?;
    } else {
        let (station, why) = (text(&winner["station"]), text(&winner["why"]));
        writeln!(out, "line {name}: station {station} takes it: {why}")?;
    }
    for other in line["candidates"].as_array().into_iter().flatten().skip(1) {
        let (station, why) = (text(&other["station"]), text(&other["why"]));
        writeln!(out, "  behind it: station {station}: {why}")?;
    }
    if line["subscribed"] == false {
        writeln!(out, "  but no topic filter of the line brings this topic")?;
    }
    for station in line["wills"].as_array().into_iter().flatten() {
        writeln!(out, "  it is the will message of station {}", text(station))?;
    }
    if retain && !winner.is_null() {
        writeln!(out, "  retained: its values are taken, but it is no sign of life")?;
    }
    let Some(tags) = line["tags"].as_array() else { return Ok(()) };
    let report = &line["report"];
    for (key, title) in [("bad_payload", "bad payload"), ("bad_line", "bad line")] {
        if !report[key].is_null() {
            writeln!(out, "  {title}: {}", text(&report[key]))?;
        }
    }
    if report["samples_too_old"] != 0 {
        writeln!(out, "  {} samples are older than `max_age`", report["samples_too_old"])?;
    }
    if !tags.is_empty() {
        let mut table = Table::new(&["TAG", "VALUE>", "QUALITY", "REASON", "TIME", "BYTES", "WHY"]);
        for tag in tags {
            let why = if tag["quality"] == "good" {
                &tag["time_source"]["text"]
            } else {
                &tag["quality_reason"]
            };
            table.row([
                text(&tag["name"]),
                text(&tag["value"]),
                text(&tag["quality"]),
                text(&tag["reason"]),
                text(&tag["time"]),
                bytes_shown(&tag["bytes"]),
                text(why),
            ]);
        }
        write!(out, "\n{}", table.render())?;
    }
    let untouched: Vec<String> =
        line["untouched"].as_array().into_iter().flatten().map(text).collect();
    if !untouched.is_empty() {
        writeln!(out, "\nuntouched: {}", untouched.join(", "))?;
    }
    Ok(())
}
