//! Times: which mask reads them.

use crate::iotag::time_mask::{TimeMask, Zone};

/// Masks of texts, the usual ones first. Without an offset they are UTC until somebody says otherwise.
const MASKS: [&str; 8] = [
    "RFC3339",
    "yyyy-mm-ddThh:mi:ss.mssZZZZZ",
    "yyyy-mm-dd hh:mi:ss.mss",
    "yyyy-mm-ddThh:mi:ss.mss",
    "yyyy/mm/dd hh:mi:ss.mss",
    "dd.mm.yyyy hh:mi:ss.mss",
    "dd/mm/yyyy hh:mi:ss.mss",
    "yyyymmddhhmiss",
];

/// Names of time fields, the likeliest first.
pub(super) const NAMES: [&str; 16] = [
    "timestamp",
    "time",
    "ts",
    "received_at",
    "receivedat",
    "datetime",
    "date_time",
    "observedat",
    "observed_at",
    "sourcetimestamp",
    "source_time",
    "measured_at",
    "time_utc",
    "utc",
    "t",
    "date",
];

/// The mask that reads all of these texts, if one does.
pub fn time_mask_of(texts: &[&str]) -> Option<&'static str> {
    if texts.is_empty() {
        return None;
    }
    let numbers: Option<Vec<f64>> = texts.iter().map(|text| text.trim().parse().ok()).collect();
    if let Some(numbers) = numbers {
        // From 2001 to 2100.
        const RANGE: std::ops::Range<f64> = 1.0e9..4.2e9;
        let units = [("UNIX", 1.0), ("UNIXMS", 1e3), ("UNIXUS", 1e6), ("UNIXNS", 1e9)];
        let fits = |scale: f64| numbers.iter().all(|number| RANGE.contains(&(number / scale)));
        if let Some((mask, _)) = units.into_iter().find(|(_, scale)| fits(*scale)) {
            return Some(mask);
        }
    }
    let zone = Zone::parse("UTC").ok()?;
    MASKS.into_iter().find(|mask| {
        let mask = TimeMask::parse(mask);
        mask.is_ok_and(|mask| texts.iter().all(|text| mask.read(text, &zone).is_ok()))
    })
}

/// How likely a field of this name is the time; smaller is likelier.
pub(super) fn rank(name: &str) -> Option<usize> {
    let name = name.to_lowercase();
    NAMES.iter().position(|known| *known == name)
}
