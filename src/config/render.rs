//! Diagnostics for people: the line of the file with the mistake marked, and no secret in it.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, secrets, source};

/// What stands in place of a secret, whatever its length.
const MASK: &str = "***";

/// Shows each diagnostic with the line of its file, which is read again for that.
///
/// A file that is gone or has changed is named without its line. User names, passwords and what
/// looks like them are replaced by `***`.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut shown = ShownFile::default();
    let mut output = String::new();
    for diagnostic in diagnostics {
        if shown.name.as_ref() != Some(&diagnostic.file) {
            shown = ShownFile::read(&diagnostic.file);
        }
        output += &render_one(diagnostic, &shown, &renderer);
        output += "\n\n";
    }
    output
}

fn render_one(diagnostic: &Diagnostic, file: &ShownFile, renderer: &Renderer) -> String {
    let path = diagnostic.file.display().to_string();
    let title = Level::ERROR.primary_title(diagnostic.message.as_str());
    let help = diagnostic.help.as_deref().map(|help| Level::HELP.message(help));
    let origin = || Origin::path(&*path).line(diagnostic.line).char_column(diagnostic.column);
    let mut group = match file.line(diagnostic) {
        None if diagnostic.line == 0 => title.element(Origin::path(&*path)),
        None => title.element(origin()),
        Some((line, span)) => {
            let column = line[..span.start].chars().count() + 1;
            let snippet = Snippet::source(line)
                .line_start(diagnostic.line)
                .annotation(AnnotationKind::Primary.span(span));
            if column == diagnostic.column {
                title.element(snippet.path(&*path))
            } else {
                // Behind a mask: the column is that of the file.
                title.element(origin()).element(snippet)
            }
        }
    };
    if let Some(help) = help {
        group = group.element(help);
    }
    renderer.render(&[group])
}

/// A file as it is on disk at this moment.
#[derive(Default)]
struct ShownFile {
    name: Option<PathBuf>,
    text: String,
    mark_bytes: usize,
    line_starts: Vec<usize>,
    /// Bytes that nobody may see, sorted, not overlapping.
    secrets: Vec<Range<usize>>,
}

impl ShownFile {
    fn read(name: &Path) -> Self {
        let decoded = fs::read(name).ok().and_then(source::decode);
        let Some(decoded) = decoded else {
            return Self { name: Some(name.to_path_buf()), ..Self::default() };
        };
        let breaks = memchr::memchr_iter(b'\n', decoded.text.as_bytes());
        let line_starts = std::iter::once(0).chain(breaks.map(|at| at + 1)).collect();
        let is_csv = name.extension().is_some_and(|found| found.eq_ignore_ascii_case("csv"));
        let secrets = if is_csv { Vec::new() } else { secrets::find(&decoded.text) };
        Self {
            name: Some(name.to_path_buf()),
            text: decoded.text,
            mark_bytes: decoded.mark_bytes,
            line_starts,
            secrets,
        }
    }

    /// The line of a diagnostic without its secrets, and the span in it.
    fn line(&self, diagnostic: &Diagnostic) -> Option<(String, Range<usize>)> {
        let start = *self.line_starts.get(diagnostic.line.checked_sub(1)?)?;
        let rest = self.text.get(start..)?;
        let line = rest.split('\n').next().unwrap_or(rest).trim_end_matches('\r');
        let end = start + line.len();
        let from = diagnostic.span.start.checked_sub(self.mark_bytes)?.clamp(start, end);
        let to = diagnostic.span.end.saturating_sub(self.mark_bytes).clamp(from, end);
        let masked = Masked::new(line, start, &self.secrets);
        let (from, to) = (masked.position(from), masked.position(to));
        let from = masked.text.floor_char_boundary(from);
        let to = masked.text.ceil_char_boundary(to);
        Some((masked.text, from..to))
    }
}

/// A line with masks, and where its bytes went.
struct Masked {
    text: String,
    /// Bytes of the file and the position in `text` of what stands for them, in order.
    pieces: Vec<(Range<usize>, usize)>,
}

impl Masked {
    fn new(line: &str, start: usize, secrets: &[Range<usize>]) -> Self {
        let end = start + line.len();
        let mut masked = Self { text: String::new(), pieces: Vec::new() };
        let mut at = start;
        let first = secrets.partition_point(|secret| secret.end <= start);
        for secret in secrets[first..].iter().take_while(|secret| secret.start < end) {
            let (from, to) = (secret.start.max(at), secret.end.min(end));
            masked.pieces.push((at..from, masked.text.len()));
            masked.text += &line[at - start..from - start];
            masked.text += MASK;
            at = to;
        }
        masked.pieces.push((at..end, masked.text.len()));
        masked.text += &line[at - start..];
        masked
    }

    /// Where a byte of the file is; one inside a secret is at its mask.
    fn position(&self, at: usize) -> usize {
        let piece = self.pieces.partition_point(|(bytes, _)| bytes.start <= at).saturating_sub(1);
        let (bytes, position) = &self.pieces[piece];
        position + at.min(bytes.end).saturating_sub(bytes.start)
    }
}

#[cfg(test)]
mod tests;
