//! Lists name a line or a station once, in any row of theirs.

use std::collections::BTreeSet;

use super::{Column, Level, cell};

/// Whose a row is that does not name its line or its station: lists name them once.
pub(super) struct Owners<'a> {
    /// The line, if it is the only one.
    line: Result<&'a str, &'static str>,
    /// Lines, addresses and names of stations.
    stations: Vec<(&'a str, &'a str, &'a str)>,
}

impl<'a> Owners<'a> {
    pub(super) fn of(columns: &[Column], rows: &'a [(usize, csv::StringRecord)]) -> Self {
        let named: BTreeSet<&str> =
            rows.iter().filter_map(|(_, row)| cell(columns, row, (Level::Line, "line"))).collect();
        let mut names = named.into_iter();
        let line = match (names.next(), names.next()) {
            (only, None) => Ok(only.unwrap_or("kom")),
            _ => Err("the row names no `Line`, and the list has several"),
        };
        let mut owners = Self { line, stations: Vec::new() };
        for (_, row) in rows {
            let address = cell(columns, row, (Level::Station, "address"));
            let station = cell(columns, row, (Level::Station, "station"));
            if let (Ok(line), Some(address), Some(station)) =
                (owners.line(columns, row), address, station)
            {
                owners.stations.push((line, address, station));
            }
        }
        owners
    }

    pub(super) fn line<'b>(
        &self,
        columns: &[Column],
        row: &'b csv::StringRecord,
    ) -> Result<&'b str, &'static str>
    where
        'a: 'b,
    {
        cell(columns, row, (Level::Line, "line")).map_or(self.line, Ok)
    }

    pub(super) fn station<'b>(&self, line: &str, address: &'b str) -> &'b str
    where
        'a: 'b,
    {
        let mut all = self.stations.iter();
        all.find(|known| (known.0, known.1) == (line, address)).map_or(address, |known| known.2)
    }
}
