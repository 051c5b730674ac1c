//! docs/conformance.md tells the truth about itself: what it names is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own files fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A row of a table of statements.
struct Row {
    statement: String,
    code: Vec<String>,
    tests: Vec<String>,
    state: String,
}

/// The manual, taken apart.
struct Manual {
    rows: Vec<Row>,
    /// Name and file.
    names: BTreeMap<String, String>,
    deviations: BTreeSet<String>,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between back-ticks.
fn spans(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

fn manual() -> Manual {
    let text = fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let (mut rows, mut names, mut deviations) = (vec![], BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            ["", "statement" | "name", ..] | ["", "---", ..] => {}
            ["", statement, _, code, tests, state, ""] => rows.push(Row {
                statement: statement.to_owned(),
                code: spans(code),
                tests: spans(tests),
                state: state.to_owned(),
            }),
            ["", name, file, ""] => {
                let other = names.insert(name.replace('`', ""), file.replace('`', ""));
                assert_eq!(other, None, "{name} stands for two files");
            }
            [line] => {
                let number = line.split_once(". **").map(|(number, _)| number);
                deviations.extend(number.map(ToOwned::to_owned));
            }
            _ => panic!("neither a row nor a text: {line}"),
        }
    }
    Manual { rows, names, deviations, text }
}

impl Manual {
    /// The lines of the file in which a reference lies, and that of its function.
    fn find(&self, reference: &str) -> Result<(Vec<String>, usize), String> {
        let (name, function) = reference.split_once("::").ok_or("it is no `name::function`")?;
        let file = self.names.get(name).ok_or("its name stands for no file")?;
        let text = fs::read_to_string(root().join(file)).map_err(|error| error.to_string())?;
        let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        let is_it = |line: &String| {
            let rest = line.split_once("fn ").map(|(_, rest)| rest).unwrap_or_default();
            let after = rest.strip_prefix(function).unwrap_or_default();
            after.starts_with(['(', '<']) && !line.starts_with("//")
        };
        match lines.iter().position(is_it) {
            Some(position) => Ok((lines, position)),
            None => Err(format!("`{file}` has no such function")),
        }
    }

    fn is_test(&self, reference: &str) -> Result<(), String> {
        let (lines, position) = self.find(reference)?;
        let before = lines[..position].iter().rev();
        let mut before = before.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        let is_one = before.any(|line| line.starts_with("#[test]") || line.contains("::test"));
        let function = reference.split_once("::").map_or("", |(_, function)| function);
        if is_one || is_scenario(&lines, function) {
            Ok(())
        } else {
            Err("it is no test".to_owned())
        }
    }
}

/// Whether the file has a table of scenarios, and this function plays one of them.
fn is_scenario(lines: &[String], function: &str) -> bool {
    let table = lines.iter().skip_while(|line| !line.contains("const SCENARIOS:"));
    let mut rows = table.take_while(|line| *line != "];").filter(|line| line.contains('"'));
    let words = |line: &str| -> Vec<String> {
        line.split(|c: char| !c.is_alphanumeric() && c != '_').map(ToOwned::to_owned).collect()
    };
    rows.any(|line| words(line).iter().any(|word| word == function))
}

#[test]
fn what_is_named_exists() {
    let manual = manual();
    let mut wrong = vec![];
    let mut used = BTreeSet::new();
    for Row { statement, code, tests, .. } in &manual.rows {
        let code = code.iter().map(|reference| (reference, manual.find(reference).map(drop)));
        let tests = tests.iter().map(|reference| (reference, manual.is_test(reference)));
        for (reference, result) in code.chain(tests) {
            used.extend(reference.split_once("::").map(|(name, _)| name));
            if let Err(why) = result {
                wrong.push(format!("{statement}: `{reference}`: {why}"));
            }
        }
    }
    for name in manual.names.keys().filter(|name| !used.contains(name.as_str())) {
        wrong.push(format!("`{name}` is not used"));
    }
    for path in spans(&manual.text) {
        let is_path = ["src/", "tests/", "docs/"].iter().any(|top| path.starts_with(top));
        if is_path && !root().join(&path).exists() {
            wrong.push(format!("`{path}` does not exist"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_state_is_one_of_three_and_has_what_it_needs() {
    let manual = manual();
    assert!(manual.rows.len() > 100, "{} rows", manual.rows.len());
    let mut wrong = vec![];
    let mut explained = BTreeSet::new();
    for Row { statement, code, tests, state } in &manual.rows {
        let is_shown = !code.is_empty() && !tests.is_empty();
        let fits = match state.split_once(", deviation ") {
            Some(("kept", number)) => {
                explained.insert(number.to_owned());
                is_shown && manual.deviations.contains(number)
            }
            None if state == "kept" => is_shown,
            None => state.strip_prefix("not applicable: ").is_some_and(|why| !why.is_empty()),
            Some(_) => false,
        };
        if !fits {
            wrong.push(format!("{statement}: {state}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(explained, manual.deviations, "deviations that rows name, and that are explained");
}
