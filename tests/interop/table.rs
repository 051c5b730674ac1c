//! The table at the end.

use std::io::Write;

use crate::cell::{Cell, Transport, Version};

const COLUMNS: [&str; 6] =
    ["q0 clean", "q0 resumed", "q1 clean", "q1 resumed", "q2 clean", "q2 resumed"];

/// The table of one broker with the reasons behind each `-` and each `RED`.
pub fn render(broker: &str, cells: &[Cell], seconds: f64) -> String {
    let mut text = format!("\ninteroperability with {broker} ({seconds:.1} s)\n{:<12}", "");
    text.extend(COLUMNS.map(|column| format!("{column:<12}")));
    for version in Version::ALL {
        for transport in Transport::ALL {
            text.push_str(&format!("\n{:<6}{:<6}", version.key(), transport.word()));
            let row = cells.iter().filter(|c| c.version == version && c.transport == transport);
            text.extend(row.map(|cell| format!("{:<12}", word(cell))));
        }
    }
    let mut reasons: Vec<&str> = cells.iter().filter_map(|cell| cell.left_out).collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let count = cells.iter().filter(|cell| cell.left_out == Some(reason)).count();
        text.push_str(&format!("\n-   {count} cells: {reason}"));
    }
    for cell in cells {
        text.extend(cell.faults.iter().map(|fault| format!("\nRED {cell}: {fault}")));
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n"))
}

fn word(cell: &Cell) -> &'static str {
    match (cell.left_out, cell.faults.is_empty()) {
        (Some(_), _) => "-",
        (None, true) => "ok",
        (None, false) => "RED",
    }
}

/// Writes it where the test runner does not catch it.
pub fn show(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
