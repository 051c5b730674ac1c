//! The files as read: their texts, and the lines and columns of places in them.

use std::cell::OnceCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest configuration file; a million tags need about a tenth of it.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 30;

/// Position of a file in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u32);

impl FileId {
    /// Files are ordered as they are loaded.
    pub(super) fn index(self) -> u32 {
        self.0
    }
}

/// Bytes of a file's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: FileId,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Place {
    pub(super) fn new(file: FileId, span: Range<usize>) -> Self {
        // Spans lie inside a text, and `FILE_BYTES_MAX` keeps texts below 4 GiB.
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { file, start: clamp(span.start), end: clamp(span.end) }
    }

    pub(super) fn span(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// All files read so far.
#[derive(Default)]
pub(super) struct Sources(Vec<Source>);

/// One file.
pub(super) struct Source {
    /// As the user would name it.
    pub(super) name: PathBuf,
    /// Without a byte order mark; bytes that are no UTF-8 are replaced one by one.
    pub(super) text: Arc<str>,
    /// Length of the byte order mark.
    pub(super) mark_bytes: usize,
    index: OnceCell<Index>,
}

/// What finds lines and columns quickly, also in a file that is one long line.
struct Index {
    line_starts: Vec<u32>,
    /// Characters before every multiple of [`STRIDE`] bytes.
    characters: Vec<u32>,
}

const STRIDE: usize = 1024;

impl Sources {
    pub(super) fn add(&mut self, name: PathBuf, text: Arc<str>, mark_bytes: usize) -> FileId {
        let id = FileId(self.0.len() as u32);
        self.0.push(Source { name, text, mark_bytes, index: OnceCell::new() });
        id
    }

    pub(super) fn file(&self, id: FileId) -> &Source {
        &self.0[id.0 as usize]
    }

    /// The text at a place.
    pub(super) fn slice(&self, place: Place) -> &str {
        self.file(place.file).text.get(place.span()).unwrap_or("")
    }

    /// `path:line:column` of a place's start.
    pub(super) fn label(&self, place: Place) -> String {
        let source = self.file(place.file);
        let (line, column) = source.line_and_column(place.start as usize);
        format!("{}:{line}:{column}", source.name.display())
    }
}

impl Source {
    /// Line and column, from 1, of a byte; the end of the text counts to its last line.
    pub(super) fn line_and_column(&self, at: usize) -> (usize, usize) {
        let index = self.index.get_or_init(|| Index::new(self.text.as_bytes()));
        let bytes = self.text.as_bytes();
        let mut at = at.min(bytes.len());
        let mut line = index.line_starts.partition_point(|&start| start as usize <= at);
        if at == bytes.len() && bytes.last() == Some(&b'\n') {
            line -= 1;
        }
        let start = index.line_starts[line - 1] as usize;
        while at > start && matches!(bytes[at - 1], b'\r' | b'\n') {
            at -= 1;
        }
        (line, index.characters_before(at, bytes) - index.characters_before(start, bytes) + 1)
    }
}

impl Index {
    fn new(text: &[u8]) -> Self {
        let breaks = memchr::memchr_iter(b'\n', text);
        let mut characters = vec![0];
        let mut count = 0;
        for block in text.chunks(STRIDE) {
            count += count_characters(block) as u32;
            characters.push(count);
        }
        Self {
            line_starts: std::iter::once(0).chain(breaks.map(|at| at as u32 + 1)).collect(),
            characters,
        }
    }

    fn characters_before(&self, at: usize, text: &[u8]) -> usize {
        let block = at / STRIDE;
        self.characters[block] as usize + count_characters(&text[block * STRIDE..at])
    }
}

/// Every byte but the continuation bytes of UTF-8 begins a character.
fn count_characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

/// What the bytes of a file are once they are text.
pub(super) struct Decoded {
    pub(super) text: String,
    pub(super) mark_bytes: usize,
    /// The first bytes of each line that are no UTF-8, as spans of `text`.
    pub(super) bad: Vec<Range<usize>>,
}

/// Reads bytes as UTF-8; `None` when they are UTF-16.
///
/// Every bad byte becomes one `?`, so that places stay true and the rest can be checked.
pub(super) fn decode(bytes: Vec<u8>) -> Option<Decoded> {
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return None;
    }
    let (mut bytes, mark_bytes) = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => (rest.to_vec(), 3),
        None => (bytes, 0),
    };
    let mut bad: Vec<Range<usize>> = Vec::new();
    let mut checked = 0;
    while let Err(error) = std::str::from_utf8(&bytes[checked..]) {
        let start = checked + error.valid_up_to();
        let end = error.error_len().map_or(bytes.len(), |length| start + length);
        bytes[start..end].fill(b'?');
        let same_line =
            bad.last().is_some_and(|last| memchr::memchr(b'\n', &bytes[last.end..start]).is_none());
        if !same_line {
            bad.push(start..end);
        }
        checked = end;
    }
    // The loop leaves nothing but UTF-8.
    let text = String::from_utf8(bytes).unwrap_or_default();
    Some(Decoded { text, mark_bytes, bad })
}

/// The name of a file below the folder of `tagline.toml`, as the user would write it.
pub(super) fn shown_name(folder: &Path, below: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() || folder == Path::new(".") {
        below.to_path_buf()
    } else {
        folder.join(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str, at: usize) -> (usize, usize) {
        let mut sources = Sources::default();
        let file = sources.add("a".into(), text.into(), 0);
        sources.file(file).line_and_column(at)
    }

    #[test]
    fn columns_count_characters_from_one() {
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("a\nb", 0), (1, 1));
        assert_eq!(position("a\nb", 1), (1, 2));
        assert_eq!(position("a\nb", 2), (2, 1));
        assert_eq!(position("čas = 1", 5), (1, 5));
    }

    #[test]
    fn the_end_belongs_to_the_last_line() {
        assert_eq!(position("a\nbc\n", 5), (2, 3));
        assert_eq!(position("a\r\nbc\r\n", 7), (2, 3));
        assert_eq!(position("a\nbc", 4), (2, 3));
        assert_eq!(position("a", 99), (1, 2));
    }

    #[test]
    fn long_lines_are_counted_in_blocks() {
        let text = format!("x\n{}\nž", "ab č".repeat(3000));
        for (at, _) in text.char_indices() {
            let before = &text[..at];
            let start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let expected = (before.matches('\n').count() + 1, text[start..at].chars().count() + 1);
            if at % 97 == 0 || at + 5 > text.len() {
                assert_eq!(position(&text, at), expected, "{at}");
            }
        }
    }

    #[test]
    fn bad_bytes_are_replaced_in_place_and_reported_once_a_line() {
        let decoded = decode(b"a\xFFb\xFE\n\xC3\n".to_vec()).unwrap();
        assert_eq!(decoded.text, "a?b?\n?\n");
        assert_eq!(decoded.bad, [1..2, 5..6]);
        let decoded = decode(b"\xEF\xBB\xBFa".to_vec()).unwrap();
        assert_eq!((decoded.text.as_str(), decoded.mark_bytes), ("a", 3));
        assert!(decode(b"\xFF\xFEa\0".to_vec()).is_none());
    }
}
