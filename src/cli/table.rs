//! Tables that line up, whatever script the names are in.

use unicode_width::UnicodeWidthStr;

/// Rows under a header; a column is as wide as its widest cell.
pub(super) struct Table {
    header: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A header that ends in `>` aligns its column to the right.
    pub(super) fn new(header: &[&'static str]) -> Self {
        Self {
            right: header.iter().map(|title| title.ends_with('>')).collect(),
            header: header.iter().map(|title| title.trim_end_matches('>')).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    pub(super) fn render(&self) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|title| title.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let mut text = String::new();
        let header: Vec<String> = self.header.iter().map(|title| (*title).to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column].saturating_sub(cell.width()));
                if self.right[column] {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Control characters of payloads must not drive the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "VALUE>"]);
        table.row(["čerpadlo".to_owned(), "1".to_owned()]);
        table.row(["温度".to_owned(), "12.5".to_owned()]);
        table.row(["bell\u{7}".to_owned(), "x\ny".to_owned()]);
        assert_eq!(
            table.render(),
            "NAME      VALUE\nčerpadlo      1\n温度       12.5\nbell\u{fffd}       x\u{fffd}y\n"
        );
    }
}
