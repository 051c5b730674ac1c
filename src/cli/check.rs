//! `tagline check`, and loading the configuration for the other commands.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::Global;
use super::exit::Failure;
use crate::config::{self, Config, Diagnostic};

/// Checks the configuration and says what there is, or all that is wrong.
pub(super) fn check(global: &Global) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match config::load(path(global)) {
        Ok(config) => {
            let (lines, stations, tags) =
                (config.lines.len(), config.stations.len(), config.tags.len());
            if global.json {
                let counts = json!({ "lines": lines, "stations": stations, "tags": tags });
                writeln!(out, "{}", json!({ "ok": true, "counts": counts, "diagnostics": [] }))?;
            } else {
                let folder = config.folder.display();
                let [lines, stations, tags] =
                    [counted(lines, "line"), counted(stations, "station"), counted(tags, "tag")];
                writeln!(out, "{folder}: ok, {lines}, {stations}, {tags}")?;
            }
            Ok(())
        }
        Err(diagnostics) => {
            if global.json {
                let shown: Vec<_> = diagnostics.iter().map(to_json).collect();
                writeln!(out, "{}", json!({ "ok": false, "diagnostics": shown }))?;
                return Err(Failure::Configuration(String::new()));
            }
            Err(Failure::Configuration(report(&diagnostics)))
        }
    }
}

/// Loads the configuration; all its mistakes are the failure's text.
pub(super) fn load(global: &Global) -> Result<Config, Failure> {
    config::load(path(global)).map_err(|diagnostics| Failure::Configuration(report(&diagnostics)))
}

/// The socket of the process, from the command line or the configuration.
pub(super) fn socket(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(socket) = &global.socket {
        return Ok(socket.clone());
    }
    config::socket_path(path(global))
        .map_err(|diagnostics| Failure::Configuration(report(&diagnostics)))
}

fn path(global: &Global) -> &Path {
    global.config.as_deref().unwrap_or(Path::new("."))
}

/// One line for each mistake, and for a person the place in the file too.
fn report(diagnostics: &[Diagnostic]) -> String {
    let mut text = format!("the configuration has {}\n", counted(diagnostics.len(), "mistake"));
    if std::io::stderr().is_terminal() {
        let color = std::env::var_os("NO_COLOR").is_none();
        text.push_str(&config::render(diagnostics, color));
    } else {
        for diagnostic in diagnostics {
            text.push_str(&format!("{diagnostic}\n"));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn to_json(diagnostic: &Diagnostic) -> serde_json::Value {
    json!({
        "file": diagnostic.file.display().to_string(),
        "line": diagnostic.line,
        "column": diagnostic.column,
        "message": diagnostic.message,
        "help": diagnostic.help,
    })
}
