//! Mistakes on their way to diagnostics: collected in any order, reported by file and place.

use std::collections::BTreeSet;

use super::Diagnostic;
use super::source::{FileId, Place, Sources};
use crate::iotag::SyntaxError;

/// Everything that is wrong, in the order of discovery.
#[derive(Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    /// Files that could not be read or parsed whole, by position.
    broken: BTreeSet<u32>,
}

/// One mistake.
pub(super) struct Problem {
    file: FileId,
    /// `None`: the file itself.
    place: Option<Place>,
    message: String,
    help: Option<String>,
    /// Where the thing was first, and what to call that.
    first: Option<(&'static str, Place)>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What is written is wrong.
    Wrong,
    /// Something is not there; a syntax error of the file may be the reason.
    Missing,
    /// The file cannot be read or parsed there.
    Syntax,
}

impl Problem {
    /// What to do about it.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Where the other one is.
    pub(super) fn first(&mut self, label: &'static str, place: Place) -> &mut Self {
        self.first = Some((label, place));
        self
    }
}

impl Problems {
    /// Something written is wrong.
    pub(super) fn wrong(&mut self, place: Place, message: impl Into<String>) -> &mut Problem {
        self.push(place.file, Some(place), message.into(), Kind::Wrong)
    }

    /// Something is missing from the table or row at a place.
    pub(super) fn missing(&mut self, place: Place, message: impl Into<String>) -> &mut Problem {
        self.push(place.file, Some(place), message.into(), Kind::Missing)
    }

    /// A file's syntax is wrong.
    pub(super) fn syntax(&mut self, place: Place, message: impl Into<String>) -> &mut Problem {
        self.push(place.file, Some(place), message.into(), Kind::Syntax)
    }

    /// A file cannot be read.
    pub(super) fn file(&mut self, file: FileId, message: impl Into<String>) -> &mut Problem {
        self.push(file, None, message.into(), Kind::Syntax)
    }

    /// An address, mask or zone is wrong; `content` is where its text begins, if it is verbatim.
    pub(super) fn wrong_syntax(
        &mut self,
        place: Place,
        content: Option<u32>,
        error: SyntaxError,
    ) -> &mut Problem {
        let at = match content {
            // A place needs a byte to point at; the end of the text points at what closes it.
            Some(start) => {
                let start = (start + error.at as u32).min(place.end);
                Place { start, end: place.end.max(start), ..place }
            }
            None => place,
        };
        let problem = self.wrong(at, error.message);
        problem.help = error.help;
        problem
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a file could not be read or parsed whole, so that things may be missing from it.
    pub(super) fn is_broken(&self, file: FileId) -> bool {
        self.broken.contains(&file.index())
    }

    /// Sorted by file and place, with lines and columns.
    pub(super) fn into_diagnostics(mut self, sources: &Sources) -> Vec<Diagnostic> {
        self.drop_consequences(sources);
        self.list.sort_by_key(|problem| {
            (problem.file.index(), problem.place.map(|place| (place.start, place.end)))
        });
        let mut diagnostics: Vec<Diagnostic> =
            self.list.into_iter().map(|problem| problem.into_diagnostic(sources)).collect();
        diagnostics.dedup();
        diagnostics
    }

    /// Where the syntax is wrong, what a recovering parser made of the line is not the user's.
    fn drop_consequences(&mut self, sources: &Sources) {
        let line = |place: Place| {
            let (line, _) = sources.file(place.file).line_and_column(place.start as usize);
            (place.file.index(), line)
        };
        let files = &self.broken;
        if files.is_empty() {
            return;
        }
        let syntax = self.list.iter().filter(|problem| problem.kind == Kind::Syntax);
        let lines: BTreeSet<(u32, usize)> =
            syntax.filter_map(|problem| problem.place.map(line)).collect();
        self.list.retain(|problem| match (problem.kind, problem.place) {
            (Kind::Wrong, Some(place)) => {
                !(files.contains(&place.file.index())
                    && (place.end == 0 || lines.contains(&line(place))))
            }
            (Kind::Missing, _) => !files.contains(&problem.file.index()),
            _ => true,
        });
    }

    fn push(
        &mut self,
        file: FileId,
        place: Option<Place>,
        message: String,
        kind: Kind,
    ) -> &mut Problem {
        if kind == Kind::Syntax {
            self.broken.insert(file.index());
        }
        let index = self.list.len();
        self.list.push(Problem { file, place, message, help: None, first: None, kind });
        &mut self.list[index]
    }
}

impl Problem {
    fn into_diagnostic(self, sources: &Sources) -> Diagnostic {
        let source = sources.file(self.file);
        let mut message = self.message;
        if let Some((label, place)) = self.first {
            message.push_str(&format!(", {label} at `{}`", sources.label(place)));
        }
        let (line, column) =
            self.place.map_or((0, 0), |place| source.line_and_column(place.start as usize));
        let span = self.place.map_or(0..0, |place| {
            place.start as usize + source.mark_bytes..place.end as usize + source.mark_bytes
        });
        let (message, help) = (one_line(&message), self.help.as_deref().map(one_line));
        Diagnostic { file: source.name.clone(), line, column, span, message, help }
    }
}

/// What is quoted from a file must not break the line that a diagnostic is.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_debug());
        } else {
            line.push(character);
        }
    }
    line
}
