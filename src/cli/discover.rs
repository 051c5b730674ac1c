//! `tagline discover`: listens, then writes station and tag files.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Discover, Global};
use super::check;
use super::exit::Failure;
use super::files::{self, Files, Scratch, quoted};
use super::run::runtime;
use crate::clock;
use crate::config::{self, Config, Line};
use crate::discover::{self, Plan, Source, TOPICS_MAX, Topics};
use crate::iotag::router::{Router, Rule};
use crate::iotag::{LineId, StationId};
use crate::line::listen::{Heard, listen};
use crate::qos::Qos;

/// How often plain text says how far it is.
const PLAIN_PAUSE: Duration = Duration::from_secs(10);
/// How often a terminal does.
const BAR_PAUSE: Duration = Duration::from_millis(200);
/// Width of the bar, in characters.
const BAR_WIDTH: usize = 30;

/// What is listened on, and what is known of it.
struct Target {
    line: Line,
    /// Of the line that the configuration has.
    known: Option<(Config, LineId)>,
    /// Keys of the line that is written, when there is none yet.
    keys: Vec<(&'static str, String)>,
}

/// Listens on a line, or on a server, and writes what an engineer would.
pub(super) fn discover(global: &Global, wanted: &Discover) -> Result<(), Failure> {
    let mut target = target(global, wanted)?;
    if !wanted.topic.is_empty() {
        target.line.topic_filters.clone_from(&wanted.topic);
    }
    target.line.subscribe_qos = if wanted.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    let mut topics = Topics::default();
    let mut screen = Progress::new(wanted.duration, global.json);
    let start = clock::now();
    runtime()?.block_on(hear(&target.line, wanted.duration, &mut topics, &mut screen))?;
    screen.end();
    let mut plan = planned(&target, &topics, wanted.all);
    let scratch = Scratch::new()?;
    discover::verify(&mut plan, &topics, clock::wall(), scratch.path()).map_err(Failure::Failed)?;
    let name = target.line.name.to_string();
    let heard = format!(
        "{} of {} in {} s on {}",
        counted(topics.messages, "message"),
        counted(topics.len() as u64, "topic"),
        clock::now().duration_since(start).as_secs(),
        target.line.servers.first().map(ToString::to_string).unwrap_or_default(),
    );
    let source = Source { line: name.clone(), heard };
    let mut written: Files = Vec::new();
    if target.known.is_none() {
        written.push(("tagline.toml".into(), discover::main_file(&source, &target.keys)));
    }
    written.push((format!("stations/{name}.toml").into(), discover::station_file(&plan, &source)));
    written.push((format!("tags/{name}.csv").into(), discover::tag_file(&plan)));
    let nothing = plan.stations.is_empty();
    if !nothing {
        let main =
            format!("[[line]]\nname = {}\nservers = [\"mqtt://127.0.0.1\"]\n", quoted(&name));
        let more: &[(&str, &str)] =
            if target.known.is_some() { &[("tagline.toml", &main)] } else { &[] };
        files::check(&written, more)?;
        files::write_all(&wanted.out, &written, wanted.force)?;
    }
    report(global, wanted, &topics, &plan, &written)?;
    if nothing {
        return Err(Failure::Failed(match topics.messages {
            0 => "no message was heard\nhint: listen for longer (`--for 5m`), or on other topics (`--topic`)",
            _ => "nothing was heard that a station could be made of; no file was written",
        }
        .to_owned()));
    }
    Ok(())
}

fn target(global: &Global, wanted: &Discover) -> Result<Target, Failure> {
    if let Some(server) = &wanted.server {
        return of_server(server, wanted);
    }
    let config = check::load(global)?;
    let position = match &wanted.line {
        Some(name) => config.lines.iter().position(|line| *line.name == **name),
        None => (config.lines.len() == 1).then_some(0),
    };
    let Some(position) = position else {
        let names: Vec<&str> = config.lines.iter().map(|line| &*line.name).collect();
        return Err(Failure::Configuration(format!(
            "say with `--line` on which line to listen: `{}`",
            names.join("`, `")
        )));
    };
    let mut line = config.lines[position].clone();
    // Another client, which leaves nothing behind: the process may run meanwhile.
    line.client_id = wanted.client_id.clone().unwrap_or_else(own_client_id);
    line.clean_session = true;
    line.mqtt5.session_expiry_s = 0;
    line.will = None;
    Ok(Target { line, known: Some((config, LineId(position as u32))), keys: Vec::new() })
}

fn own_client_id() -> String {
    format!("tagline{:08x}", fastrand::u32(..))
}

/// A line for a server that no configuration has.
fn of_server(server: &str, wanted: &Discover) -> Result<Target, Failure> {
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        quoted(&path.to_string_lossy())
    };
    let id = wanted.client_id.clone().unwrap_or_else(own_client_id);
    let filters = match &wanted.topic[..] {
        [] => vec!["#".to_owned()],
        given => given.to_vec(),
    };
    let filters: Vec<String> = filters.iter().map(|filter| quoted(filter)).collect();
    let mut keys: Vec<(&'static str, String)> = vec![
        ("servers", format!("[{}]", quoted(server))),
        ("mqtt_version", quoted(&wanted.mqtt_version)),
        ("client_id", quoted(&id)),
        ("topic_filter", format!("[{}]", filters.join(", "))),
    ];
    let env = |variable: &str| format!("{{ env = {} }}", quoted(variable));
    // What is used now, and what is written.
    let mut user = (None, None);
    if let Some(name) = &wanted.user {
        let shown = if wanted.write_secrets { quoted(name) } else { env("TAGLINE_USER") };
        user = (Some(quoted(name)), Some(shown));
    }
    if let Some(variable) = &wanted.user_env {
        user = (Some(env(variable)), Some(env(variable)));
    }
    let password = match (&wanted.password_env, &wanted.password_file) {
        (Some(variable), _) => Some(env(variable)),
        (None, Some(file)) => Some(format!("{{ file = {} }}", absolute(file))),
        (None, None) => None,
    };
    let files = [
        ("ca_file", &wanted.ca_file),
        ("cert_file", &wanted.cert_file),
        ("key_file", &wanted.key_file),
    ];
    let tls: Vec<String> = files
        .iter()
        .filter_map(|(key, file)| Some(format!("{key} = {}", absolute(file.as_ref()?))))
        .collect();
    let scratch = Scratch::new()?;
    let mut used = keys.clone();
    used.extend(user.0.map(|user| ("user_name", user)));
    keys.extend(user.1.map(|user| ("user_name", user)));
    for keys in [&mut used, &mut keys] {
        keys.extend(password.clone().map(|password| ("password", password)));
        if !tls.is_empty() {
            keys.push(("tls", format!("{{ {} }}", tls.join(", "))));
        }
    }
    let source = Source { line: "found".to_owned(), heard: String::new() };
    let files: Files = vec![("tagline.toml".into(), discover::main_file(&source, &used))];
    files::write_all(scratch.path(), &files, true)?;
    let config = config::load(scratch.path()).map_err(|diagnostics| {
        let all: Vec<String> = diagnostics
            .iter()
            .map(|it| match &it.help {
                Some(help) => format!("{} (hint: {help})", it.message),
                None => it.message.clone(),
            })
            .collect();
        Failure::Configuration(all.join("\n"))
    })?;
    let mut line = config.lines[0].clone();
    line.clean_session = true;
    line.mqtt5.session_expiry_s = 0;
    Ok(Target { line, known: None, keys })
}

async fn hear(
    line: &Line,
    duration: Duration,
    topics: &mut Topics,
    screen: &mut Progress,
) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let mut was_up = false;
    let mut attempts = line.servers.len();
    let heard = listen(line, stop, |heard| {
        match heard {
            Heard::Tick => {}
            Heard::Up => {
                was_up = true;
                screen.say("connected, listening");
            }
            Heard::Message { topic, payload, content_type } => {
                topics.add(topic, payload, content_type);
            }
            Heard::Refused(filter) => {
                screen.say(&format!("the server refused the topic filter `{filter}`"));
            }
            Heard::Down(why) => {
                attempts = attempts.saturating_sub(1);
                if !was_up && attempts == 0 {
                    return Err(format!("cannot connect: {why}"));
                }
                screen.say(&format!("not connected: {why}"));
            }
        }
        screen.show(topics);
        Ok(())
    });
    heard.await.map_err(Failure::Failed)
}

fn planned(target: &Target, topics: &Topics, all: bool) -> Plan {
    let mut used = BTreeSet::new();
    let Some((config, line)) = &target.known else {
        return Plan::of(topics, |_| None, used);
    };
    used.extend(config.stations.iter().map(|station| station.name.to_string()));
    used.extend(config.tags.iter().map(|tag| tag.name.to_string()));
    let own = (0u32..).map(StationId).zip(&config.stations);
    let own = own.filter(|(_, station)| station.line == *line);
    let router = Router::compile(own.map(|(id, station)| (id, &station.address)));
    let taken = |topic: &str| {
        let (id, rule) = router.explain(topic).winner?;
        // Those that take everything are there for what nobody has thought of yet.
        let is_named = !all && !matches!(rule, Rule::All | Rule::Fallback);
        is_named.then(|| config.stations[id.0 as usize].name.to_string())
    };
    Plan::of(topics, taken, used)
}

fn report(
    global: &Global,
    wanted: &Discover,
    topics: &Topics,
    plan: &Plan,
    written: &Files,
) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let paths: Vec<PathBuf> = match plan.stations.is_empty() {
        true => Vec::new(),
        false => written.iter().map(|(path, _)| wanted.out.join(path)).collect(),
    };
    if global.json {
        let stations: Vec<_> = plan
            .stations
            .iter()
            .map(|station| {
                json!({
                    "name": station.name,
                    "topic": station.topic,
                    "payload_type": station.survey.payload_type.as_str(),
                    "messages": station.messages,
                    "time_field_name": station.survey.time.as_ref().map(|time| &time.field),
                    "time_mask": station.survey.time.as_ref().map(|time| time.mask),
                    "tags": station.tags.iter().map(|tag| json!({
                        "name": tag.name,
                        "type": tag.tag_type.as_str(),
                        "address": tag.address,
                        "unit": tag.unit,
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        let left_out: Vec<_> =
            plan.left_out.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect();
        let summary = json!({
            "files": paths,
            "messages": topics.messages,
            "topics": topics.len(),
            "messages_of_topics_beyond_the_bound": topics.beyond,
            "samples_bound_reached": topics.is_full,
            "stations": stations,
            "left_out": left_out,
        });
        writeln!(out, "{summary}")?;
        return Ok(());
    }
    for path in &paths {
        writeln!(out, "{}", path.display())?;
    }
    writeln!(
        out,
        "{}, {}; {} of {}",
        counted(plan.stations.len() as u64, "station"),
        counted(plan.tags() as u64, "tag"),
        counted(topics.messages, "message"),
        counted(topics.len() as u64, "topic"),
    )?;
    if topics.beyond > 0 {
        writeln!(
            out,
            "there are more than {TOPICS_MAX} topics: {} of others were not looked at; narrow it with `--topic`",
            counted(topics.beyond, "message")
        )?;
    }
    if topics.is_full {
        writeln!(out, "there was more than could be kept: not every message was looked at")?;
    }
    if !plan.left_out.is_empty() {
        let count = counted(plan.left_out.len() as u64, "topic or value");
        writeln!(out, "{count} left out; the end of the station file says which and why")?;
    }
    Ok(())
}

fn counted(count: u64, word: &str) -> String {
    match (count, word) {
        (1, _) => format!("1 {word}"),
        (_, "topic or value") => format!("{count} topics or values"),
        _ => format!("{count} {word}s"),
    }
}

/// How far it is: a bar on a terminal, lines otherwise, on the standard error.
struct Progress {
    start: Instant,
    duration: Duration,
    is_terminal: bool,
    is_quiet: bool,
    last: Option<Instant>,
}

impl Progress {
    fn new(duration: Duration, is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { start: clock::now(), duration, is_terminal, is_quiet, last: None }
    }

    /// A line of its own.
    fn say(&mut self, text: &str) {
        if !self.is_quiet {
            self.clear();
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    fn clear(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn show(&mut self, topics: &Topics) {
        let pause = if self.is_terminal { BAR_PAUSE } else { PLAIN_PAUSE };
        let now = clock::now();
        let last = self.last.unwrap_or(self.start);
        if self.is_quiet || now.duration_since(last) < pause {
            return;
        }
        self.last = Some(now);
        let elapsed = now.duration_since(self.start).min(self.duration);
        let state = format!(
            "{} s of {} s, {} of {}",
            elapsed.as_secs(),
            self.duration.as_secs(),
            counted(topics.messages, "message"),
            counted(topics.len() as u64, "topic")
        );
        let mut err = std::io::stderr();
        if self.is_terminal {
            let part = elapsed.as_secs_f64() / self.duration.as_secs_f64().max(0.001);
            let filled = (part * BAR_WIDTH as f64) as usize;
            let bar =
                format!("{}{}", "#".repeat(filled), " ".repeat(BAR_WIDTH.saturating_sub(filled)));
            let _ = write!(err, "\r\x1b[K[{bar}] {state}");
            let _ = err.flush();
        } else {
            let _ = writeln!(err, "{state}");
        }
    }

    fn end(&self) {
        if !self.is_quiet {
            self.clear();
        }
    }
}
