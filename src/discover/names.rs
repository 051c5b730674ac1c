//! Names that a person would give: short, readable, unique.

use std::collections::{BTreeMap, BTreeSet};

/// Levels that say nothing of the device.
const GENERIC: [&str; 22] = [
    "up",
    "down",
    "data",
    "state",
    "status",
    "value",
    "values",
    "telemetry",
    "uplink",
    "devices",
    "device",
    "id",
    "sensor",
    "sensors",
    "json",
    "raw",
    "events",
    "event",
    "measurement",
    "commands",
    "v",
    "tele",
];
/// Fields that say nothing of themselves.
const BARE: [&str; 4] = ["value", "v", "val", "present_value"];

/// A name for the station of each topic: the levels in which the topics differ, the first of which
/// often is the device.
pub(super) fn stations(topics: &[&str], used: &mut BTreeSet<String>) -> Vec<String> {
    let levels: Vec<Vec<&str>> = topics.iter().map(|topic| topic.split('/').collect()).collect();
    let common = |place: usize| {
        let first = levels[0].get(place);
        levels.iter().all(|own| own.get(place) == first)
    };
    levels
        .iter()
        .map(|own| {
            let filled = || own.iter().enumerate().filter(|(_, level)| !level.is_empty());
            let mut chosen: Vec<&str> = filled()
                .filter(|(place, _)| levels.len() > 1 && !common(*place))
                .map(|(_, level)| *level)
                .collect();
            if chosen.iter().all(|level| is_generic(level)) {
                // What stands before says whose it is.
                let named = filled().rev().find(|(_, level)| !is_generic(level));
                let before = named.or_else(|| filled().next_back()).map(|(_, level)| *level);
                for level in before.into_iter().rev() {
                    if !chosen.contains(&level) {
                        chosen.insert(0, level);
                    }
                }
            }
            let wanted: Vec<String> = chosen.iter().map(|level| clean(level)).collect();
            unique(wanted.join("_"), "station", used)
        })
        .collect()
}

/// Names for the tags of a station: the station, and of each as many names from the end of its path as
/// tell it from the others.
pub(super) fn tags(station: &str, paths: &[&[String]], used: &mut BTreeSet<String>) -> Vec<String> {
    let paths: Vec<Path> = paths.iter().map(|names| Path::of(names)).collect();
    let mut counts: Vec<usize> = paths.iter().map(|path| path.shortest).collect();
    loop {
        let names: Vec<String> =
            paths.iter().zip(&counts).map(|(path, count)| path.name(station, *count)).collect();
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        for name in &names {
            *known.entry(name).or_default() += 1;
        }
        let mut longer = false;
        for (position, path) in paths.iter().enumerate() {
            let is_taken = known[names[position].as_str()] > 1 || used.contains(&names[position]);
            if is_taken && counts[position] < path.names.len() {
                counts[position] += 1;
                longer = true;
            }
        }
        if !longer {
            return names.into_iter().map(|name| unique(name, "tag", used)).collect();
        }
    }
}

/// Where a value stands, by names; the last one first.
struct Path {
    names: Vec<String>,
    /// The last one says nothing of itself.
    is_bare: bool,
    /// As many names are taken at least.
    shortest: usize,
}

impl Path {
    fn of(names: &[String]) -> Self {
        let names: Vec<String> =
            names.iter().map(|name| clean(name)).filter(|name| !name.is_empty()).collect();
        let is_bare =
            names.first().is_some_and(|name| BARE.contains(&name.to_lowercase().as_str()));
        let is_number =
            names.first().is_some_and(|name| name.bytes().all(|it| it.is_ascii_digit()));
        let shortest = if (is_bare || is_number) && names.len() > 1 { 2 } else { 1 };
        Self { names, is_bare, shortest }
    }

    fn name(&self, station: &str, count: usize) -> String {
        let mut own: Vec<&str> = self.names.iter().take(count).map(String::as_str).rev().collect();
        if self.is_bare && own.len() > 1 {
            own.pop();
        }
        if own.is_empty() {
            format!("{station}.value")
        } else {
            format!("{station}.{}", own.join("."))
        }
    }
}

fn is_generic(level: &str) -> bool {
    GENERIC.contains(&level.to_lowercase().as_str())
}

/// Without what must be quoted somewhere, or is a wildcard. A unit in brackets is not part of a name.
fn clean(name: &str) -> String {
    let name = name.split(['[', '(']).next().filter(|name| !name.trim().is_empty()).unwrap_or(name);
    let mut clean = String::with_capacity(name.len());
    for character in name.trim().chars().take(80) {
        if character.is_alphanumeric() || matches!(character, '_' | '-') {
            clean.push(character);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    clean.trim_matches('_').to_owned()
}

fn unique(wanted: String, otherwise: &str, used: &mut BTreeSet<String>) -> String {
    let wanted = if wanted.is_empty() { otherwise.to_owned() } else { wanted };
    let mut name = wanted.clone();
    let mut number = 2;
    while !used.insert(name.clone()) {
        name = format!("{wanted}_{number}");
        number += 1;
    }
    name
}
