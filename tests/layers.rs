//! Imports point one way. This test reads the `use crate::` lines and holds it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own files fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of the crate may import of the others. Whoever is not named imports nothing.
const LAYERS: &[(&str, &[&str])] = &[
    ("qos", &[]),
    ("topic", &[]),
    ("mqtt", &["qos", "topic"]),
    ("iotag", &["qos", "topic"]),
    ("clock", &["iotag"]),
    ("logging", &[]),
    ("config", &["iotag", "qos", "topic"]),
    ("discover", &["config", "iotag"]),
    ("store", &["iotag"]),
    ("hub", &["store", "config", "iotag", "qos", "topic", "clock"]),
    ("transport", &["config"]),
    ("line", &["hub", "transport", "mqtt", "iotag", "config", "store", "qos", "topic", "clock"]),
    ("api", &["hub", "iotag", "store", "clock"]),
    ("daemon", &["line", "api", "hub", "store", "config", "iotag", "clock"]),
    (
        "cli",
        &[
            "daemon", "line", "discover", "api", "hub", "config", "iotag", "logging", "clock",
            "mqtt", "qos", "topic",
        ],
    ),
    ("main", &["cli"]),
];

/// Words that the pure parts must not contain outside their tests.
const PURE: &[(&str, &[&str])] = &[
    ("mqtt", &["tokio", "sled", "Instant::now", "SystemTime", "std::net", "std::fs", "thread::"]),
    (
        "iotag",
        &[
            "tokio",
            "sled",
            "Instant::now",
            "SystemTime",
            "Timestamp::now",
            "std::net",
            "std::fs",
            "thread::",
        ],
    ),
    ("topic", &["tokio", "std::fs"]),
];

#[test]
fn imports_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (part, file, text) in sources() {
        let Some(allowed) = allowed.get(part.as_str()) else {
            wrong.push(format!("{}: `{part}` has no layer", file.display()));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for rest in code.split("crate::").skip(1) {
                // `use crate::{a, b}` names several.
                let names: Vec<&str> = match rest.strip_prefix('{') {
                    Some(list) => list.split(['}', ',']).map(str::trim).collect(),
                    None => vec![rest],
                };
                for name in names {
                    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
                    let name = &name[..end.unwrap_or(name.len())];
                    let known = LAYERS.iter().any(|(part, _)| *part == name);
                    if known && name != part && !allowed.contains(&name) {
                        let place = format!("{}:{}", file.display(), number + 1);
                        wrong.push(format!("{place}: `{part}` must not import `{name}`"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn layers_have_no_cycle() {
    for (index, (part, imports)) in LAYERS.iter().enumerate() {
        for import in *imports {
            let below = LAYERS[..index].iter().any(|(lower, _)| lower == import);
            assert!(
                below,
                "`{part}` imports `{import}`, which does not stand above it in the list"
            );
        }
    }
}

/// Files outside of codec and configuration that name a protocol version, and in how many lines: where
/// it is defined, and where a client is made.
const VERSIONED: &[(&str, usize)] = &[("mqtt/client/api.rs", 2), ("line/options.rs", 4)];

#[test]
fn only_the_codec_knows_the_version() {
    let mut wrong = Vec::new();
    for (part, file, text) in sources() {
        let file = file.to_string_lossy().into_owned();
        let may = part == "config" || file.starts_with("mqtt/codec/") || file.contains("/tests/");
        let names_one = |line: &&str| {
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(|c: char| !c.is_alphanumeric());
            words.any(|word| matches!(word, "V311" | "V5"))
        };
        let count = text.lines().filter(names_one).count();
        let known = VERSIONED.iter().find(|(known, _)| *known == file).map_or(0, |known| known.1);
        if !may && count != known {
            wrong.push(format!("{file}: {count} lines name a version, {known} are known"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_parts_are_pure() {
    let mut wrong = Vec::new();
    for (part, file, text) in sources() {
        let Some((_, words)) = PURE.iter().find(|(pure, _)| *pure == part) else { continue };
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in words.iter().filter(|word| code.contains(**word)) {
                wrong.push(format!("{}:{}: `{word}`", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Part, path and text of every source file that is no test.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".rs") || name == "tests.rs" || name == "lib.rs" {
                continue;
            }
            let below = path.strip_prefix(&root).unwrap();
            let part = below.iter().next().unwrap().to_string_lossy();
            let part = part.strip_suffix(".rs").unwrap_or(&part).to_owned();
            found.push((part, below.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(found.len() > 30, "the sources were not found");
    found
}
