//! `tagline import d2000`: an address list of D2000 KOM to a configuration.
//!
//! The list is a CSV file with a row for each I/O tag. Its columns are named as D2000 names the
//! parameters, by full name or keyword; parameters of the line and the station stand in any row of
//! theirs.

mod d2000;

use std::io::Write;

use serde_json::json;

use super::args::{Global, Import, ImportD2000};
use super::exit::Failure;
use super::files;

/// Imports a list of another system.
pub(super) fn import(global: &Global, wanted: &Import) -> Result<(), Failure> {
    match wanted {
        Import::D2000(wanted) => d2000(global, wanted),
    }
}

fn d2000(global: &Global, wanted: &ImportD2000) -> Result<(), Failure> {
    let path = wanted.file.display();
    let bytes = std::fs::read(&wanted.file)
        .map_err(|error| Failure::Failed(format!("cannot read {path}: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::Failed(format!("{path} is no UTF-8: save it as UTF-8")))?;
    let imported = d2000::convert(&text).map_err(|mistakes| {
        let all: Vec<String> = mistakes.iter().map(|mistake| format!("{path}:{mistake}")).collect();
        Failure::Failed(all.join("\n"))
    })?;
    files::check(&imported.files, &[])?;
    files::write_all(&wanted.out, &imported.files, wanted.force)?;
    let mut out = std::io::stdout().lock();
    let written: Vec<_> = imported.files.iter().map(|(path, _)| wanted.out.join(path)).collect();
    if global.json {
        let summary = json!({
            "files": written, "lines": imported.lines, "stations": imported.stations,
            "tags": imported.tags, "notes": imported.notes,
        });
        writeln!(out, "{summary}")?;
        return Ok(());
    }
    for path in written {
        writeln!(out, "{}", path.display())?;
    }
    let (lines, stations, tags) = (imported.lines, imported.stations, imported.tags);
    writeln!(out, "lines: {lines}, stations: {stations}, tags: {tags}")?;
    for note in imported.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}
