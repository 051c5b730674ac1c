//! `[process]`, `[socket]` and `[journal]`.

use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Work;
use crate::config::document::{Section, Written};
use crate::config::keys::SectionKind;
use crate::config::problems::Problems;
use crate::config::quantity::{self, DURATION_MAX, Refused};
use crate::config::{Journal, Process, Socket, suggest};

/// Resolves `[process]`.
pub(crate) fn process(top: &Section<'_>, folder: &Path, work: &mut Work) -> Process {
    let problems = &mut work.problems;
    let section = top.table("process", SectionKind::Process, problems);
    let section = section.as_ref();
    let name = section.and_then(|section| section.text("name", problems));
    if let Some(name) = name {
        super::check_name("process", name, problems);
    }
    let log = section.and_then(|section| section.text("log", problems));
    if let Some(log) = log {
        check_log(log, problems);
    }
    let mut path = |key, default| folder.join(path(section, key, default, problems));
    Process {
        name: name.map_or("tagline", |name| name.value).to_owned(),
        data_dir: path("data_dir", "data"),
        stations: path("stations", "stations"),
        tags: path("tags", "tags"),
        log: log.map_or("info", |log| log.value).to_owned(),
    }
}

/// Resolves `[socket]`.
pub(crate) fn socket(top: &Section<'_>, folder: &Path, work: &mut Work) -> Socket {
    let problems = &mut work.problems;
    let section = top.table("socket", SectionKind::Socket, problems);
    let section = section.as_ref();
    Socket {
        path: folder.join(path(section, "path", "run/tagline.sock", problems)),
        mode: section.and_then(|section| mode(section, problems)).unwrap_or(0o660),
    }
}

/// Resolves `[journal]`.
pub(crate) fn journal(top: &Section<'_>, work: &mut Work) -> Journal {
    let problems = &mut work.problems;
    let section = top.table("journal", SectionKind::Journal, problems);
    let section = section.as_ref();
    let max_entries =
        section.and_then(|section| section.integer("max_entries", 1..=1_000_000_000_000, problems));
    let max_age = section.and_then(|section| {
        let max_age = section.duration("max_age", DURATION_MAX, problems)?;
        if max_age.is_zero() {
            let place = section.get("max_age")?.place;
            problems.wrong(place, "`max_age` of the journal must be longer than 0");
        }
        Some(max_age)
    });
    Journal {
        max_entries: max_entries.unwrap_or(1_000_000),
        max_age: max_age.unwrap_or(Duration::from_secs(7 * 86_400)),
    }
}

fn path<'a>(
    section: Option<&Section<'a>>,
    key: &str,
    default: &'a str,
    problems: &mut Problems,
) -> &'a str {
    let Some(path) = section.and_then(|section| section.text(key, problems)) else {
        return default;
    };
    if path.value.is_empty() || path.value.contains('\0') {
        problems.wrong(path.place, format!("`{key}` must be a path"));
    }
    path.value
}

fn mode(section: &Section<'_>, problems: &mut Problems) -> Option<u32> {
    let item = section.get("mode")?;
    match quantity::mode(item.value) {
        Ok(mode) => return Some(mode),
        Err(Refused::Form) => section.wrong_type("mode", item, quantity::MODE, problems),
        Err(_) => {
            problems.wrong(item.place, "`mode` must be from `\"0000\"` to `\"0777\"`");
        }
    }
    None
}

/// A filter of one word is a level; without this check a misspelt level would be taken for the
/// name of a module, and everything would be silent.
fn check_log(log: Written<&str>, problems: &mut Problems) {
    let text = log.value;
    let is_word = text.chars().all(|character| character.is_ascii_alphabetic());
    if is_word && text.parse::<LevelFilter>().is_err() {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let problem = problems.wrong(
            log.place,
            format!("unknown log level `{text}`, expected one of {}", suggest::list(levels)),
        );
        if let Some(likely) = suggest::nearest(text, levels) {
            problem.help(format!("did you mean `{likely}`?"));
        }
    } else if let Err(error) = EnvFilter::builder().parse(text) {
        problems
            .wrong(log.place, format!("`log` is no tracing filter: {error}"))
            .help("for example `info` or `info,tagline::line=debug`");
    }
}
