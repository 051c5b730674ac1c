//! The commands that ask the running process: read, write, watch, browse, status.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::args::{Browse, Global, Names, Watch, Write};
use super::check;
use super::exit::Failure;
use super::table::{Table, printable};
use crate::api::client::Client;
use crate::clock;
use crate::iotag::Timestamp;

/// What a quick request may take.
pub(super) const QUICK: Duration = Duration::ZERO;

/// A connection to the process.
pub(super) fn connect(global: &Global) -> Result<Client, Failure> {
    Ok(Client::connect(&check::socket(global)?)?)
}

/// `tagline read`.
pub(super) fn read(global: &Global, names: &Names) -> Result<(), Failure> {
    let result = connect(global)?.call("tag.read", json!({ "names": names.names }), QUICK)?;
    let values = result["values"].as_array().cloned().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    if global.json {
        writeln!(out, "{result}")?;
    } else {
        let mut table = Table::new(&["NAME", "VALUE>", "QUALITY", "REASON", "TIME", "AGE>"]);
        let now = clock::wall();
        for vtq in values.iter().filter(|vtq| vtq["error"].is_null()) {
            table.row([
                text(&vtq["name"]),
                text(&vtq["value"]),
                text(&vtq["quality"]),
                text(&vtq["reason"]),
                text(&vtq["time"]),
                age(&vtq["received"], now),
            ]);
        }
        if !values.is_empty() {
            write!(out, "{}", table.render())?;
        }
    }
    let missing: Vec<String> = values
        .iter()
        .filter(|vtq| !vtq["error"].is_null())
        .map(|vtq| text(&vtq["error"]["message"]))
        .collect();
    if !missing.is_empty() {
        return Err(Failure::Failed(missing.join("\nerror: ")));
    }
    if values.is_empty() {
        return Err(Failure::Failed(format!("no tag matches `{}`", names.names.join("`, `"))));
    }
    Ok(())
}

/// `tagline write`.
pub(super) fn write(global: &Global, write: &Write) -> Result<(), Failure> {
    if !(0.0..=86_400.0).contains(&write.timeout) {
        return Err(Failure::Configuration("--timeout is not between 0 and 86400 seconds".into()));
    }
    // Text converts to every type, and to each exactly.
    let writes = json!([{ "name": write.name, "value": write.value }]);
    let params = json!({ "writes": writes, "timeout_s": write.timeout });
    let patience = Duration::from_secs_f64(write.timeout);
    let mut client = connect(global)?;
    let begun = clock::now();
    let result = client.call("tag.write", params, patience)?;
    let mut out = std::io::stdout().lock();
    let first = &result["results"][0];
    let mut outcome = text(&first["outcome"]);
    let mut error = first["error"].clone();
    if global.json {
        writeln!(out, "{result}")?;
    } else if outcome == "queued" {
        let number = &first["write"];
        writeln!(out, "{}: queued as write {number}, until its line takes it", write.name)?;
    } else if error.is_null() {
        writeln!(out, "{}: {outcome} in {} ms", write.name, first["elapsed_ms"])?;
    }
    if outcome == "queued"
        && let Some(wait) = write.wait
    {
        out.flush()?;
        let end = finished(&mut client, &first["write"], begun + wait)?;
        (outcome, error) = (text(&end["outcome"]), end["error"].clone());
        if global.json {
            writeln!(out, "{end}")?;
        } else if error.is_null() {
            let elapsed = (clock::now() - begun).as_millis();
            writeln!(out, "{}: {outcome} in {elapsed} ms", write.name)?;
        }
    }
    if outcome == "completed" || outcome == "queued" {
        return Ok(());
    }
    let why = text(&error["message"]);
    Err(Failure::Failed(format!("{}: {outcome}: {why}", write.name)))
}

/// The end of a queued write.
fn finished(client: &mut Client, write: &Json, until: Instant) -> Result<Json, Failure> {
    // It may have ended before the answer was read: then the notification is here already.
    loop {
        let wait = until.saturating_duration_since(clock::now());
        let Some(mut notification) = client.next_notification(Some(wait))? else {
            let why = format!("write {write} is still queued; ask again with `write.status`");
            return Err(Failure::Failed(why));
        };
        let params = &notification["params"];
        if notification["method"] == "write.finished" && params["write"] == *write {
            return Ok(notification["params"].take());
        }
    }
}

/// `tagline watch`.
pub(super) fn watch(global: &Global, watch: &Watch) -> Result<(), Failure> {
    let mut client = connect(global)?;
    let until = watch.duration.map(|duration| clock::now() + duration);
    client.call("tag.subscribe", json!({ "names": watch.names, "after": null }), QUICK)?;
    let mut out = std::io::stdout().lock();
    loop {
        let wait = until.map(|until| until.saturating_duration_since(clock::now()));
        if wait == Some(Duration::ZERO) {
            return Ok(());
        }
        let Some(notification) = client.next_notification(wait)? else { return Ok(()) };
        if notification["method"] == "tag.interrupted" {
            let why = text(&notification["params"]["error"]["message"]);
            return Err(Failure::Failed(format!("changes are missing: {why}")));
        }
        if notification["method"] != "tag.changed" {
            continue;
        }
        let params = &notification["params"];
        if global.json {
            writeln!(out, "{params}")?;
        } else {
            for vtq in params["changes"].as_array().into_iter().flatten() {
                let time = text(&vtq["time"]);
                let (name, value) = (text(&vtq["name"]), text(&vtq["value"]));
                let (quality, reason) = (text(&vtq["quality"]), text(&vtq["reason"]));
                writeln!(out, "{time:<30}  {name:<28}  {value:>14}  {quality:<9}  {reason}")?;
            }
        }
        out.flush()?;
    }
}

/// `tagline browse`.
pub(super) fn browse(global: &Global, browse: &Browse) -> Result<(), Failure> {
    let mut client = connect(global)?;
    let mut tags: Vec<Json> = Vec::new();
    let mut after = Json::Null;
    loop {
        let params = json!({
            "pattern": browse.pattern,
            "line": browse.line,
            "station": browse.station,
            "after": after,
        });
        let mut page = client.call("tag.browse", params, QUICK)?;
        if let Json::Array(found) = page["tags"].take() {
            tags.extend(found);
        }
        after = page["next"].take();
        if after.is_null() {
            break;
        }
    }
    let mut out = std::io::stdout().lock();
    if global.json {
        writeln!(out, "{}", json!({ "tags": tags }))?;
    } else if !tags.is_empty() {
        let mut table =
            Table::new(&["NAME", "TYPE", "ADDRESS", "STATION", "LINE", "UNIT", "DESCRIPTION"]);
        for tag in &tags {
            let columns = ["name", "type", "address", "station", "line", "unit", "description"];
            table.row(columns.map(|column| text(&tag[column])));
        }
        write!(out, "{}", table.render())?;
    }
    if tags.is_empty() {
        let pattern = browse.pattern.as_deref().unwrap_or("*");
        return Err(Failure::Failed(format!("no tag matches `{pattern}`")));
    }
    Ok(())
}

/// `tagline status`.
pub(super) fn status(global: &Global) -> Result<(), Failure> {
    let mut client = connect(global)?;
    let mut ask = |method| client.call(method, json!({}), QUICK);
    let process = ask("process.status")?;
    let lines = ask("line.list")?;
    let stations = ask("station.list")?;
    let mut out = std::io::stdout().lock();
    if global.json {
        let all = json!({
            "process": process,
            "lines": lines["lines"],
            "stations": stations["stations"],
        });
        writeln!(out, "{all}")?;
        return Ok(());
    }
    let now = clock::wall();
    let tags = &process["tags"];
    writeln!(
        out,
        "{} {}, pid {}, up {}",
        text(&process["name"]),
        text(&process["version"]),
        process["pid"],
        span(process["uptime_s"].as_u64().unwrap_or_default()),
    )?;
    writeln!(
        out,
        "tags: {} total, {} good, {} uncertain, {} bad",
        tags["total"], tags["good"], tags["uncertain"], tags["bad"]
    )?;
    let store = &process["store"];
    write!(out, "store: {}", text(&store["state"]))?;
    if !store["error"].is_null() {
        write!(out, ", {}", text(&store["error"]))?;
    }
    if !store["quarantined"].is_null() {
        let path = text(&store["quarantined"]["path"]);
        write!(out, ", an unreadable store was moved to {path}")?;
    }
    writeln!(out, "\n")?;
    let mut table = Table::new(&[
        "LINE",
        "STATE",
        "SERVER",
        "MESSAGES>",
        "UNROUTED>",
        "WRITES>",
        "LAST>",
        "CERTIFICATE",
        "LAST ERROR",
    ]);
    for line in lines["lines"].as_array().into_iter().flatten() {
        let counters = &line["counters"];
        table.row([
            text(&line["name"]),
            text(&line["state"]),
            text(&line["server"]),
            text(&counters["messages_received"]),
            text(&counters["messages_unrouted"]),
            text(&counters["writes_completed"]),
            age(&line["last_message"], now),
            certificate(&line["tls"]),
            last_error(&line["last_error"], now),
        ]);
        for path in line["paths"].as_array().into_iter().flatten() {
            let since = &path["connected_since"];
            let since = if since.is_null() { &path["last_error"]["time"] } else { since };
            table.row([
                "  path".to_owned(),
                format!("{} {}", text(&path["state"]), age(since, now)),
                text(&path["server"]),
                text(&path["counters"]["messages_received"]),
                String::new(),
                String::new(),
                String::new(),
                certificate(&path["tls"]),
                last_error(&path["last_error"], now),
            ]);
        }
    }
    writeln!(out, "{}", table.render())?;
    let mut table = Table::new(&[
        "STATION",
        "LINE",
        "STATE",
        "REASON",
        "MESSAGES>",
        "BAD>",
        "WAITING>",
        "QUEUED>",
        "LAST>",
        "LAST ERROR",
    ]);
    for station in stations["stations"].as_array().into_iter().flatten() {
        let counters = &station["counters"];
        table.row([
            text(&station["name"]),
            text(&station["line"]),
            text(&station["state"]),
            text(&station["reason"]),
            text(&counters["messages"]),
            text(&counters["bad_payloads"]),
            waiting(station, now),
            text(&station["queued_writes"]),
            age(&station["last_message"], now),
            last_error(&station["last_error"], now),
        ]);
    }
    write!(out, "{}", table.render())?;
    Ok(())
}

/// How many messages are not confirmed, and for how long the oldest has waited.
fn waiting(station: &Json, now: Timestamp) -> String {
    let count = &station["waiting_for_confirmation"];
    if station["waiting_since"].is_null() {
        return text(count);
    }
    format!("{count} for {}", age(&station["waiting_since"], now))
}

/// How long the certificates of a connection last, the one that ends first.
fn certificate(tls: &Json) -> String {
    let days = |whose: &'static str| Some((tls[whose]["days"].as_i64()?, whose));
    let ends = ["server_certificate", "client_certificate"].into_iter().filter_map(days).min();
    match ends {
        None => "-".to_owned(),
        Some((days, whose)) => {
            let whose = whose.trim_end_matches("_certificate");
            if days < 0 { format!("{whose}: ended") } else { format!("{whose}: {days} days left") }
        }
    }
}

fn last_error(error: &Json, now: Timestamp) -> String {
    if error.is_null() {
        return String::new();
    }
    format!("{} ago: {}", age(&error["time"], now), text(&error["message"]))
}

/// A JSON value as a person reads it.
pub(super) fn text(value: &Json) -> String {
    match value {
        Json::Null => "-".into(),
        Json::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// How long ago an RFC 3339 time is.
fn age(time: &Json, now: Timestamp) -> String {
    let Some(time) = time.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "-".into();
    };
    span(u64::try_from(now.duration_since(time).as_secs()).unwrap_or(0))
}

/// Seconds in the two largest units.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
