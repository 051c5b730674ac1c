//! A CSV file as written (RFC 4180): every cell with its place.
//!
//! Not the `csv` crate, because it does not tell where a cell is and forgives a quote that is
//! never closed; `tests` holds the two against each other.

use std::borrow::Cow;

use super::source::{FileId, Place};

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell<'a> {
    /// Without quotes; unquoted cells without blanks around them.
    pub(super) text: Cow<'a, str>,
    /// With quotes.
    pub(super) place: Place,
}

/// The rows of a file, blank ones left out.
pub(super) struct Rows<'a> {
    file: FileId,
    text: &'a str,
    at: usize,
}

/// A mistake of syntax.
#[derive(Debug, PartialEq)]
pub(super) struct CellError {
    pub(super) place: Place,
    pub(super) message: &'static str,
    pub(super) help: &'static str,
}

/// How a cell ended.
enum End {
    Comma,
    Row,
}

impl<'a> Rows<'a> {
    pub(super) fn new(file: FileId, text: &'a str) -> Self {
        Self { file, text, at: 0 }
    }

    /// Reads the next row into `cells`; `None` at the end. After an error the next line begins.
    pub(super) fn next(&mut self, cells: &mut Vec<Cell<'a>>) -> Option<Result<(), CellError>> {
        loop {
            if self.at >= self.text.len() {
                return None;
            }
            cells.clear();
            loop {
                match self.cell() {
                    Ok((cell, end)) => {
                        cells.push(cell);
                        if matches!(end, End::Row) {
                            break;
                        }
                    }
                    Err(error) => {
                        self.skip_line(error.place.start as usize);
                        return Some(Err(error));
                    }
                }
            }
            if cells.iter().any(|cell| !cell.text.is_empty()) {
                return Some(Ok(()));
            }
        }
    }

    fn cell(&mut self) -> Result<(Cell<'a>, End), CellError> {
        self.skip_blanks();
        let start = self.at;
        if self.text.as_bytes().get(start) == Some(&b'"') {
            let text = self.quoted()?;
            let place = Place::new(self.file, start..self.at);
            self.skip_blanks();
            let behind = self.at;
            let end = self.end().ok_or_else(|| CellError {
                place: Place::new(self.file, behind..self.text.ceil_char_boundary(behind + 1)),
                message: "expected a comma or the end of the row after a quoted cell",
                help: "inside quotes a quote is written twice",
            })?;
            return Ok((Cell { text, place }, end));
        }
        let rest = &self.text.as_bytes()[start..];
        let length = memchr::memchr2(b',', b'\n', rest).unwrap_or(rest.len());
        let raw = self.text[start..start + length].trim_ascii_end();
        if let Some(quote) = raw.find('"') {
            return Err(CellError {
                place: Place::new(self.file, start + quote..start + quote + 1),
                message: "a quote inside a cell that does not begin with one",
                help: "put the whole cell in quotes and write the quote twice",
            });
        }
        self.at = start + length;
        let place = Place::new(self.file, start..start + raw.len());
        // What `memchr2` stopped at is an end.
        let end = self.end().unwrap_or(End::Row);
        Ok((Cell { text: Cow::Borrowed(raw), place }, end))
    }

    /// From the opening quote to behind the closing one.
    fn quoted(&mut self) -> Result<Cow<'a, str>, CellError> {
        let open = self.at;
        let mut from = open + 1;
        let mut text = Cow::Borrowed("");
        loop {
            let Some(length) = memchr::memchr(b'"', &self.text.as_bytes()[from..]) else {
                return Err(CellError {
                    place: Place::new(self.file, open..open + 1),
                    message: "this quote is never closed",
                    help: "inside quotes a quote is written twice",
                });
            };
            let part = &self.text[from..from + length];
            if text.is_empty() {
                text = Cow::Borrowed(part);
            } else {
                text.to_mut().push_str(part);
            }
            self.at = from + length + 1;
            if self.text.as_bytes().get(self.at) != Some(&b'"') {
                return Ok(text);
            }
            text.to_mut().push('"');
            from = self.at + 1;
        }
    }

    /// Steps over what ends a cell.
    fn end(&mut self) -> Option<End> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at) {
            None => Some(End::Row),
            Some(b',') => {
                self.at += 1;
                Some(End::Comma)
            }
            Some(b'\n') => {
                self.at += 1;
                Some(End::Row)
            }
            Some(b'\r') if matches!(bytes.get(self.at + 1), None | Some(b'\n')) => {
                self.at = (self.at + 2).min(bytes.len());
                Some(End::Row)
            }
            Some(_) => None,
        }
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    }

    fn skip_line(&mut self, from: usize) {
        let rest = &self.text.as_bytes()[from..];
        self.at = memchr::memchr(b'\n', rest).map_or(self.text.len(), |end| from + end + 1);
    }
}

#[cfg(test)]
mod tests;
