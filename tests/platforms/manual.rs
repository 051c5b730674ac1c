//! The shipped folders are complete, and docs/platforms.md tells the truth about them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::site::example;

const PLATFORMS: [&str; 10] = [
    "aedifion",
    "akenza",
    "d2000",
    "energydata-dk",
    "live-objects",
    "loriot",
    "pixii",
    "powernaut",
    "slovanet",
    "the-things-stack",
];

#[test]
fn every_platform_has_a_folder_with_a_page() {
    let folder = example("");
    let mut found: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, PLATFORMS);
    for platform in PLATFORMS {
        let page = fs::read_to_string(example(platform).join("README.md")).unwrap();
        assert!(page.contains("**Fill in**") && page.contains("**It shows**"), "{platform}");
        for file in ["tagline.toml", "stations", "tags"] {
            assert!(example(platform).join(file).exists(), "{platform}/{file}");
        }
        let config = fs::read_to_string(example(platform).join("tagline.toml")).unwrap();
        // No identity is written down: it comes from the environment, a file, a command or a key.
        assert!(!config.contains("password = \""), "{platform}");
        for variable in config.split("env = \"").skip(1) {
            let name = variable.split('"').next().unwrap();
            assert!(page.contains(name), "{platform}: the page does not name {name}");
        }
    }
}

/// `module::function` between back-ticks in the table's last column.
#[test]
fn every_row_of_the_table_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/platforms.md")).unwrap();
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    let mut rows = 0;
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", platform, what, tests, ""] = cells[..] else { continue };
        if platform == "platform" || platform.starts_with("---") {
            continue;
        }
        rows += 1;
        let references: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if references.is_empty() || what.is_empty() {
            wrong.push(format!("{line}: no test"));
        }
        for reference in references {
            named.insert(reference.to_owned());
            let Some((module, function)) = reference.split_once("::") else {
                wrong.push(format!("{reference} is no `module::function`"));
                continue;
            };
            let path = root.join(format!("tests/platforms/{module}.rs"));
            let code = fs::read_to_string(path).unwrap_or_default();
            if !code.contains(&format!("#[test]\nfn {function}()")) {
                wrong.push(format!("{reference}: no such test"));
            }
        }
    }
    assert!(rows >= 25, "only {rows} rows");
    // And no test of a platform is left out.
    for entry in fs::read_dir(root.join("tests/platforms")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let code = fs::read_to_string(&path).unwrap();
        for test in code.split("#[test]\nfn ").skip(1) {
            let function = test.split('(').next().unwrap();
            let reference = format!("{module}::{function}");
            if module != "manual" && !named.contains(&reference) {
                wrong.push(format!("{reference} is in no row"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
