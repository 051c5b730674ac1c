//! Messages to tag values without a broker and without Rust: a folder of `tests/mapping` each, with
//! stations, tags, messages and what must become of them. `docs/mapping-cases.md` says how to add
//! one.
//!
//! `UPDATE_EXPECTED=1 cargo test --test mapping` writes every `expected.txt` anew; read the
//! difference before keeping it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own files fails")]

#[path = "mapping/support/difference.rs"]
mod difference;
#[path = "mapping/support/messages.rs"]
mod messages;
#[path = "mapping/support/replay.rs"]
mod replay;

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of `tests/mapping` that is no case.
const SUPPORT: &str = "support";

/// What a case must have; of the tags one of two.
const FILES: [&[&str]; 4] =
    [&["station.toml"], &["tags.csv", "tags.toml"], &["messages.txt"], &["expected.txt"]];

#[test]
fn every_case_gives_its_expected_values() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mapping");
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let only = std::env::var("CASE").unwrap_or_default();
    let cases = cases(&root);
    assert!(cases.len() >= 70, "only {} cases in {}", cases.len(), root.display());
    let mut failures = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        if !only.is_empty() && !name.contains(&only) {
            continue;
        }
        if let Err(failure) = check(&case, &format!("tests/mapping/{name}"), update) {
            failures.push(failure);
        }
    }
    assert!(failures.is_empty(), "{} cases fail\n\n{}", failures.len(), failures.join("\n"));
}

/// Holds a case to its `expected.txt`, or writes that.
fn check(case: &Path, name: &str, update: bool) -> Result<(), String> {
    for alternatives in FILES {
        let there = alternatives.iter().any(|file| case.join(file).is_file());
        if !(there || update && alternatives == ["expected.txt"]) {
            return Err(format!("{name}: there is no `{}`\n", alternatives.join("` or `")));
        }
    }
    let read = |file: &str| {
        fs::read_to_string(case.join(file)).map_err(|error| format!("{name}/{file}: {error}\n"))
    };
    let steps = messages::parse(&read("messages.txt")?, case)
        .map_err(|error| format!("{name}/messages.txt:{error}\n"))?;
    let found = replay::replay(case, &steps).map_err(|error| format!("{name}: {error}\n"))?;
    if update {
        fs::write(case.join("expected.txt"), found).unwrap();
        return Ok(());
    }
    let expected = read("expected.txt")?;
    if found == expected {
        return Ok(());
    }
    Err(difference::unified(&format!("{name}/expected.txt"), &expected, &found))
}

fn cases(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> =
        entries.filter(|path| path.is_dir() && !path.ends_with(SUPPORT)).collect();
    folders.sort();
    folders
}

#[test]
fn a_case_that_lacks_a_file_fails() {
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path();
    let check = || check(case, "case", false).unwrap_err();
    assert_eq!(check(), "case: there is no `station.toml`\n");
    fs::write(case.join("station.toml"), "[[station]]\nname = \"s\"\naddress = \"t\"\n").unwrap();
    assert_eq!(check(), "case: there is no `tags.csv` or `tags.toml`\n");
    fs::write(case.join("tags.csv"), "name,station,type,address\nd,s,TxtI,IN_DATA\n").unwrap();
    assert_eq!(check(), "case: there is no `messages.txt`\n");
    fs::write(case.join("messages.txt"), "").unwrap();
    assert_eq!(check(), "case: there is no `expected.txt`\n");
    fs::write(case.join("expected.txt"), "").unwrap();
    assert_eq!(check(), "case/messages.txt:1: there is no message\n");
}

#[test]
fn a_difference_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path();
    fs::write(case.join("station.toml"), "[[station]]\nname = \"s\"\naddress = \"t\"\n").unwrap();
    fs::write(case.join("tags.csv"), "name,station,type,address\nd,s,TxtI,IN_DATA\n").unwrap();
    fs::write(case.join("messages.txt"), "message t\npayload x\n").unwrap();
    let expected = "1 t -> s (exact)\n  d = \"y\" good/ok 2026-01-01T00:00:01Z\n";
    fs::write(case.join("expected.txt"), expected).unwrap();
    assert_eq!(
        check(case, "case", false).unwrap_err(),
        "case/expected.txt:2: -expected +found\n@@ -1,2 +1,2 @@\n 1 t -> s (exact)\n\
         -  d = \"y\" good/ok 2026-01-01T00:00:01Z\n+  d = \"x\" good/ok 2026-01-01T00:00:01Z\n"
    );
    fs::write(case.join("expected.txt"), expected.replace("\"y\"", "\"x\"")).unwrap();
    assert_eq!(check(case, "case", false), Ok(()));
}
