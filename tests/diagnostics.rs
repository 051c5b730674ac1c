//! Bad configurations and what is said of them: a folder of `tests/diagnostics` each, with its
//! files and `expected.txt`. Adding a case needs no Rust.
//!
//! `UPDATE_EXPECTED=1 cargo test --test diagnostics` writes `expected.txt` anew; read the
//! difference before keeping it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own files fails")]

use std::fs;
use std::path::{Path, PathBuf};

use tagline::config::{self, Diagnostic};

#[test]
fn every_folder_gives_its_expected_diagnostics() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut differences = String::new();
    let cases = folders(&root);
    assert!(cases.len() >= 20, "only {} cases in {}", cases.len(), root.display());
    for case in cases {
        let found = diagnostics(&case);
        let path = case.join("expected.txt");
        if update {
            fs::write(&path, &found).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            let name = case.file_name().unwrap_or_default().display();
            differences += &format!("--- {name}, expected:\n{expected}--- found:\n{found}\n");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// One line per mistake, with paths relative to the case.
fn diagnostics(case: &Path) -> String {
    let Err(diagnostics) = config::load(case) else { return "no mistake\n".to_owned() };
    lines(&diagnostics).replace(&format!("{}/", case.display()), "")
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect()
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Each fence of the manual with a file name is a file; a `tagline.toml` begins a configuration.
#[test]
fn the_examples_of_the_manual_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    let mut examples: Vec<Vec<(&str, String)>> = Vec::new();
    let mut lines = manual.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else { continue };
        let (_, name) = fence.split_once(' ').expect("a fence names its file");
        let body = lines.by_ref().take_while(|line| *line != "```");
        let body: String = body.map(|line| format!("{line}\n")).collect();
        if name == "tagline.toml" {
            examples.push(Vec::new());
        }
        examples.last_mut().expect("`tagline.toml` comes first").push((name, body));
    }
    assert!(examples.len() >= 3, "{} examples", examples.len());
    for example in examples {
        let folder = tempfile::tempdir().unwrap();
        for (name, body) in &example {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, body).unwrap();
        }
        if let Err(diagnostics) = config::load(folder.path()) {
            panic!("{}", config::render(&diagnostics, false));
        }
    }
}

/// Passwords in the cases are `hunter2`; nothing that is printed may have it.
#[test]
fn no_diagnostic_shows_a_password() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    for case in folders(&root) {
        let Err(diagnostics) = config::load(&case) else { continue };
        let shown = config::render(&diagnostics, false);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!lines(&diagnostics).contains("hunter2"), "{diagnostics:?}");
    }
}

/// The configuration at the top of the repository, which `tagline demo` runs.
#[test]
fn the_shipped_configuration_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match config::load(root) {
        Ok(config) => assert!(!config.tags.is_empty()),
        Err(diagnostics) => panic!("{}", config::render(&diagnostics, false)),
    }
}
