//! CSV payloads: every row is a sample.

use std::borrow::Cow;

use ::csv::{ByteRecord, Reader, ReaderBuilder};

use super::{Absence, Datum, Found, SourceTime, Times};
use crate::iotag::mapping::MappingReport;

/// The columns of a station's addresses; a slot is a position.
pub(in crate::iotag) struct CsvPlan {
    columns: Vec<Box<str>>,
    time: Option<Box<str>>,
    delimiter: u8,
    header: bool,
}

/// Where the wanted columns are in a payload.
struct Layout {
    /// By slot.
    columns: Vec<Option<usize>>,
    /// `None`: there is no time field; `Some(None)`: there is, but not its column.
    time: Option<Option<usize>>,
    /// Cells that a row must have.
    width: Option<usize>,
}

impl CsvPlan {
    pub(in crate::iotag) fn new(delimiter: u8, header: bool, time: Option<&str>) -> Self {
        Self { columns: Vec::new(), time: time.map(Box::from), delimiter, header }
    }

    pub(in crate::iotag) fn insert(&mut self, column: &str) -> u32 {
        self.columns.push(column.into());
        self.columns.len() as u32 - 1
    }

    /// Takes a payload apart. Good rows count beside bad ones, which are in the report; an error
    /// when nothing is good.
    pub(in crate::iotag) fn take<'a>(
        &self,
        payload: &'a [u8],
        times: &Times,
        report: &mut MappingReport,
    ) -> Result<Found<'a>, String> {
        let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .from_reader(payload);
        let mut record = ByteRecord::new();
        let mut layout = if self.header {
            match reader.read_byte_record(&mut record) {
                Ok(true) if ends_in_quotes(payload, &reader, &record, self.delimiter) => {
                    return Err("a quote of the header is never closed".to_owned());
                }
                Ok(true) => self.by_header(&record)?,
                Ok(false) => return Err("there is no header at line 1 column 1".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        } else {
            self.by_number()
        };
        let mut found = Found::new(self.columns.len(), Absence::NotCarried);
        let mut good = false;
        loop {
            let line = reader.position().line() as usize;
            match reader.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(error.to_string()),
            }
            let line = record.position().map_or(line, |position| position.line() as usize);
            // It has swallowed the rows behind it: what it holds is no cell that anybody sent.
            if ends_in_quotes(payload, &reader, &record, self.delimiter) {
                report.note_bad_line(line, "a quote is never closed");
                continue;
            }
            match layout.check(&record) {
                Ok(()) => {
                    good = true;
                    layout.take_row(&record, times, report, &mut found)?;
                }
                Err(error) => report.note_bad_line(line, &error),
            }
        }
        if let (Some(first), false) = (&report.bad_line, good) {
            return Err(first.clone());
        }
        for (slot, column) in (0..).zip(&layout.columns) {
            if column.is_none() || (good && !self.header) {
                found.set_absence(slot, Absence::Missing(SourceTime::Unstated));
            }
        }
        Ok(found)
    }

    fn by_header(&self, header: &ByteRecord) -> Result<Layout, String> {
        let mut names = Vec::with_capacity(header.len());
        for cell in header {
            let name = std::str::from_utf8(cell).map_err(|_| "the header is not UTF-8")?;
            names.push(name);
        }
        let find = |wanted: &str| {
            let exact = names.iter().position(|name| *name == wanted);
            exact.or_else(|| names.iter().position(|name| name.trim() == wanted))
        };
        Ok(Layout {
            columns: self.columns.iter().map(|column| find(column)).collect(),
            time: self.time.as_deref().map(find),
            width: Some(header.len()),
        })
    }

    fn by_number(&self) -> Layout {
        let number = |column: &str| column.parse::<usize>().ok()?.checked_sub(1);
        Layout {
            columns: self.columns.iter().map(|column| number(column)).collect(),
            time: self.time.as_deref().map(number),
            width: None,
        }
    }
}

impl Layout {
    fn check(&mut self, row: &ByteRecord) -> Result<(), String> {
        let width = *self.width.get_or_insert(row.len());
        if row.len() != width {
            return Err(format!("{} cells instead of {width}", row.len()));
        }
        match row.iter().position(|cell| std::str::from_utf8(cell).is_err()) {
            Some(cell) => Err(format!("cell {} is not UTF-8", cell + 1)),
            None => Ok(()),
        }
    }

    fn take_row(
        &self,
        row: &ByteRecord,
        times: &Times,
        report: &mut MappingReport,
        found: &mut Found<'_>,
    ) -> Result<(), String> {
        let time = match self.time {
            None => SourceTime::Unstated,
            Some(column) => match column.and_then(|column| row.get(column)) {
                Some(cell) => times.read(&datum(cell), report),
                None => SourceTime::Missing,
            },
        };
        for (slot, column) in (0..).zip(&self.columns) {
            if let Some(cell) = column.and_then(|column| row.get(column)) {
                found.push(slot, datum(cell), time)?;
            }
        }
        Ok(())
    }
}

/// Whether the payload ends inside quotes of the row just read, which the reader takes for closed.
fn ends_in_quotes(payload: &[u8], reader: &Reader<&[u8]>, row: &ByteRecord, delimiter: u8) -> bool {
    if reader.position().byte() != payload.len() as u64 {
        return false;
    }
    let start = row.position().map_or(0, |position| position.byte() as usize);
    let mut place = Place::CellStart;
    for byte in payload.get(start..).unwrap_or_default() {
        place = match (place, *byte) {
            (Place::Quotes, b'"') => Place::QuoteInQuotes,
            (Place::Quotes, _) => Place::Quotes,
            (Place::CellStart | Place::QuoteInQuotes, b'"') => Place::Quotes,
            (_, b'\r' | b'\n') => Place::CellStart,
            (_, byte) if byte == delimiter => Place::CellStart,
            _ => Place::Cell,
        };
    }
    place == Place::Quotes
}

/// Where in a row a byte is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    CellStart,
    Cell,
    Quotes,
    /// It closes the quotes, or the next one makes a quote of both.
    QuoteInQuotes,
}

fn datum(cell: &[u8]) -> Datum<'static> {
    if cell.is_empty() {
        return Datum::Null;
    }
    Datum::Text(Cow::Owned(String::from_utf8_lossy(cell).into_owned()))
}

#[cfg(test)]
mod tests;
