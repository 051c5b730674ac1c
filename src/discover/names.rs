//! Names that a person would give: short, readable, unique.

use std::collections::BTreeSet;

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

/// A name for a tag: the station, and as many names from the end of its path as make it unique.
pub(super) fn tag(station: &str, names: &[String], used: &mut BTreeSet<String>) -> String {
    let names: Vec<String> =
        names.iter().map(|name| clean(name)).filter(|name| !name.is_empty()).collect();
    let is_bare = names.first().is_some_and(|name| BARE.contains(&name.to_lowercase().as_str()));
    let is_number = names.first().is_some_and(|name| name.bytes().all(|it| it.is_ascii_digit()));
    let shortest = if (is_bare || is_number) && names.len() > 1 { 2 } else { 1 };
    for count in shortest..=names.len().max(1) {
        let mut own: Vec<&str> = names.iter().take(count).map(String::as_str).rev().collect();
        if is_bare && own.len() > 1 {
            own.pop();
        }
        let name = format!("{station}.{}", own.join("."));
        if !own.is_empty() && !used.contains(&name) {
            used.insert(name.clone());
            return name;
        }
    }
    let own: Vec<&str> = names.iter().map(String::as_str).rev().collect();
    unique(format!("{station}.{}", own.join(".")), "tag", used)
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
