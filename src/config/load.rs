//! From a path to a [`Config`], or to everything that is wrong.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diff::Retired;
use super::document::{self, Section};
use super::keys::SectionKind;
use super::raw_tag::{self, RawTag};
use super::resolve::station::Stations;
use super::resolve::tag::Tags;
use super::resolve::{Work, line, process};
use super::source::{self, FILE_BYTES_MAX, FileId, Place};
use super::{Config, Diagnostic};

/// Loads the configuration of a folder that holds `tagline.toml`, or of that file.
///
/// # Errors
///
/// Every mistake of every file, in the order of the files (`tagline.toml`, stations, tags, each
/// folder by name) and of the places in them.
pub fn load(path: &Path) -> Result<Config, Vec<Diagnostic>> {
    let (folder, main) = match locate(path) {
        Ok(located) => located,
        Err(diagnostic) => return Err(vec![diagnostic]),
    };
    let mut work = Work::default();
    let config = load_all(path, &folder, &main, &mut work);
    if work.problems.is_empty() {
        Ok(config)
    } else {
        Err(work.problems.into_diagnostics(&work.sources))
    }
}

/// The path of the socket, from `tagline.toml` alone: a client of a running process need not read
/// the stations and tags, and mistakes there are not its business.
///
/// # Errors
///
/// `tagline.toml` cannot be read, or its `[socket]` is wrong.
pub fn socket_path(path: &Path) -> Result<PathBuf, Vec<Diagnostic>> {
    let (folder, main) = locate(path).map_err(|diagnostic| vec![diagnostic])?;
    let mut work = Work::default();
    let main_file = read(&folder.join(main.file_name().unwrap_or_default()), main, &mut work);
    let text = Arc::clone(&work.sources.file(main_file).text);
    let table = document::parse(main_file, &text, &mut work.problems);
    let top = Section::top(SectionKind::Top, main_file, &table, &mut work.problems);
    let socket = process::socket(&top, &folder, &mut work);
    if work.problems.is_empty() {
        Ok(socket.path)
    } else {
        Err(work.problems.into_diagnostics(&work.sources))
    }
}

/// The folder, and the file as the user would name it.
fn locate(path: &Path) -> Result<(PathBuf, PathBuf), Diagnostic> {
    let failed = |file: &Path, message: String, help: &str| Diagnostic {
        file: file.to_path_buf(),
        line: 0,
        column: 0,
        span: 0..0,
        message,
        help: Some(help.to_owned()),
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let main = source::shown_name(path, Path::new("tagline.toml"));
            match fs::metadata(path.join("tagline.toml")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed(
                    &main,
                    "there is no such file".to_owned(),
                    "`--config` names the folder that holds `tagline.toml`, or that file",
                )),
                _ => Ok((path.to_path_buf(), main)),
            }
        }
        Ok(_) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            Ok((parent.unwrap_or(Path::new(".")).to_path_buf(), path.to_path_buf()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed(
            path,
            "there is no such file or folder".to_owned(),
            "`--config` names the folder that holds `tagline.toml`, or that file",
        )),
        Err(error) => Err(failed(
            path,
            format!("cannot be read: {}", reason(&error)),
            "the process needs to read it and to enter the folders above it",
        )),
    }
}

fn load_all(path: &Path, folder: &Path, main: &Path, work: &mut Work) -> Config {
    let main_file = read(&folder.join(main.file_name().unwrap_or_default()), main.into(), work);
    let text = Arc::clone(&work.sources.file(main_file).text);
    let table = document::parse(main_file, &text, &mut work.problems);
    let top = Section::top(SectionKind::Top, main_file, &table, &mut work.problems);
    let process = process::process(&top, folder, work);
    let socket = process::socket(&top, folder, work);
    let journal = process::journal(&top, work);
    let mut lines = line::lines(&top, folder, work);
    let lines_known = top.is_whole("line") && !work.problems.is_broken(main_file);

    let mut stations = Stations::new();
    let mut stations_known = lines_known;
    let listed = StatedFolder::new(&top, "stations", folder, &process.stations);
    let files = listed.files(&["toml"], work);
    stations_known &= files.is_some();
    for (path, name) in files.unwrap_or_default() {
        let file = read(&path, name, work);
        let text = Arc::clone(&work.sources.file(file).text);
        let table = document::parse(file, &text, &mut work.problems);
        let top = Section::top(SectionKind::StationFile, file, &table, &mut work.problems);
        stations.add_file(&top, &mut lines, lines_known, work);
        stations_known &= top.is_whole("station") && !work.problems.is_broken(file);
    }

    let mut tags = Tags::new();
    let listed = StatedFolder::new(&top, "tags", folder, &process.tags);
    let files = listed.files(&["csv", "toml"], work);
    for (path, name) in files.unwrap_or_default() {
        let file = read(&path, name, work);
        let text = Arc::clone(&work.sources.file(file).text);
        load_tags(&path, file, &text, &mut tags, &mut stations, stations_known, work);
    }
    tags.outputs.check(&tags.tags, &mut work.problems);
    Config {
        folder: folder.to_path_buf(),
        path: path.to_path_buf(),
        process,
        socket,
        journal,
        lines: lines.lines,
        stations: stations.entries.into_iter().filter_map(|entry| entry.station).collect(),
        tags: tags.tags,
        retired: Retired::default(),
    }
}

fn load_tags(
    path: &Path,
    file: FileId,
    text: &str,
    tags: &mut Tags,
    stations: &mut Stations,
    stations_known: bool,
    work: &mut Work,
) {
    if has_extension(path, "csv") {
        if !work.problems.is_broken(file) || !text.is_empty() {
            raw_tag::each_row(file, text, work, |raw, work| {
                tags.add(&raw, stations, stations_known, work);
            });
        }
        return;
    }
    let table = document::parse(file, text, &mut work.problems);
    let top = Section::top(SectionKind::TagFile, file, &table, &mut work.problems);
    for section in top.tables("tag", SectionKind::Tag, &mut work.problems) {
        tags.add(&RawTag::from_table(&section), stations, stations_known, work);
    }
}

/// Reads a file; what cannot be read is reported and reads as empty.
fn read(path: &Path, name: PathBuf, work: &mut Work) -> FileId {
    let empty = |work: &mut Work, name: PathBuf, message: String, help: &str| {
        let file = work.sources.add(name, "".into(), 0);
        work.problems.file(file, message).help(help);
        file
    };
    let bytes = match read_bytes(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let help = "the process needs to read every file of its configuration";
            return empty(work, name, format!("cannot be read: {}", reason(&error)), help);
        }
    };
    let Some(decoded) = source::decode(bytes) else {
        return empty(work, name, "the file is UTF-16".to_owned(), "save it as UTF-8");
    };
    let file = work.sources.add(name, decoded.text.into(), decoded.mark_bytes);
    for span in decoded.bad {
        work.problems
            .syntax(Place::new(file, span), "these bytes are not UTF-8")
            .help("save the file as UTF-8");
    }
    file
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    fs::read(path)
}

/// The stations or the tags folder.
struct StatedFolder<'a> {
    path: &'a Path,
    /// As the user would name it.
    shown: PathBuf,
    /// Where `tagline.toml` names it; `None` for a default, which may be missing.
    place: Option<Place>,
    /// The file to blame.
    main_file: FileId,
}

impl<'a> StatedFolder<'a> {
    fn new(top: &Section<'_>, key: &str, folder: &Path, path: &'a Path) -> Self {
        let process = top.get("process").and_then(|process| process.value.as_table());
        let written = process.and_then(|process| process.get(key));
        Self {
            path,
            shown: source::shown_name(folder, path.strip_prefix(folder).unwrap_or(path)),
            place: written.map(|written| Place::new(top.place.file, written.span())),
            main_file: top.place.file,
        }
    }

    /// Its files in name order, with what to call them; `None` when nobody can tell.
    fn files(&self, extensions: &[&str], work: &mut Work) -> Option<Vec<(PathBuf, PathBuf)>> {
        let mut names = match fs::read_dir(self.path).and_then(names) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.place.is_none() => {
                return Some(Vec::new());
            }
            Err(error) => {
                let shown = self.shown.display();
                let message = format!("the folder `{shown}` cannot be read: {}", reason(&error));
                match self.place {
                    Some(place) => work.problems.wrong(place, message),
                    None => work.problems.file(self.main_file, message),
                };
                return None;
            }
        };
        names.sort();
        let wanted = names.into_iter().filter(|name| is_wanted(name, extensions));
        let both = |name: OsString| {
            (self.path.join(&name), source::shown_name(&self.shown, Path::new(&name)))
        };
        Some(wanted.map(both).collect())
    }
}

/// What the system says, without its numbers.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotADirectory => "it is not a folder".to_owned(),
        _ => error.to_string(),
    }
}

fn names(entries: fs::ReadDir) -> io::Result<Vec<OsString>> {
    entries.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

/// Hidden files are what editors leave behind while a file is open.
fn is_wanted(name: &OsStr, extensions: &[&str]) -> bool {
    let hidden = name.as_encoded_bytes().starts_with(b".");
    !hidden && extensions.iter().any(|extension| has_extension(Path::new(name), extension))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
