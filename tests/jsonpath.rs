//! JSONPath (RFC 9535) as an address: what queries select, and what is no query.
//!
//! The cases stand in `tests/jsonpath/*.txt`, a file for each part of the RFC. A line is a document
//! (`: JSON`), a query on the document before it and what it selects (`QUERY ==> JSON JSON …`, each
//! exactly as it is written in the document, in order; `==> nothing`), or a text that is no query
//! (`QUERY ==> refused`). `\n`, `\t`, `\r` and `\s` outside of quotes of a query are meant to be
//! written so: after `escaped ` they become what they stand for.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its own files fails")]

use std::fs;
use std::path::Path;

use tagline::iotag::json_path::JsonPath;

#[test]
fn every_case_selects_what_it_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jsonpath");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let mut failures = Vec::new();
    let mut count = 0;
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let mut document = String::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.is_empty() || line.starts_with("# ") {
                continue;
            }
            if let Some(written) = line.strip_prefix(": ") {
                document = written.to_owned();
                continue;
            }
            count += 1;
            if let Err(failure) = check(line, &document) {
                let name = file.file_name().unwrap().to_str().unwrap();
                failures.push(format!("{name}:{number}: {line}\n  {failure}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count}\n{}", failures.len(), failures.join("\n"));
    assert!(count >= 400, "only {count} cases");
}

fn check(line: &str, document: &str) -> Result<(), String> {
    let (query, expected) = line.rsplit_once(" ==> ").ok_or("there is no ` ==> `")?;
    let query = match query.strip_prefix("escaped ") {
        Some(query) => {
            let query = query.replace(r"\n", "\n").replace(r"\t", "\t");
            query.replace(r"\r", "\r").replace(r"\s", " ")
        }
        None => query.to_owned(),
    };
    let path = match (JsonPath::parse(&query), expected) {
        (Err(_), "refused") => return Ok(()),
        (Err(error), _) => return Err(format!("refused: {error}")),
        (Ok(_), "refused") => return Err("taken".to_owned()),
        (Ok(path), _) => path,
    };
    let selected = path.select_texts(document)?.join(" ");
    let selected = if selected.is_empty() { "nothing" } else { &selected };
    if selected == expected { Ok(()) } else { Err(format!("selects {selected}")) }
}

/// All slices with small numbers, against the definition of RFC 9535, section 2.3.4.2.2.
#[test]
fn slices_are_those_of_the_rfc() {
    let numbers = || std::iter::once(None).chain((-6_i64..=6).map(Some));
    let shown = |number: Option<i64>| number.map_or_else(String::new, |it| it.to_string());
    for length in 0_i64..=4 {
        let elements: Vec<String> = (0..length).map(|element| element.to_string()).collect();
        let document = format!("[{}]", elements.join(","));
        for start in numbers() {
            for end in numbers() {
                for step in numbers() {
                    let query = format!("$[{}:{}:{}]", shown(start), shown(end), shown(step));
                    let selected = JsonPath::parse(&query).unwrap();
                    let selected = selected.select_texts(&document).unwrap();
                    let expected = slice(length, start, end, step.unwrap_or(1));
                    let expected: Vec<&str> =
                        expected.iter().map(|index| elements[*index as usize].as_str()).collect();
                    assert_eq!(selected, expected, "{query} on {document}");
                }
            }
        }
    }
}

fn slice(length: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Vec<i64> {
    let normal = |index: i64| if index >= 0 { index } else { length + index };
    let (start, end) = if step >= 0 {
        (start.unwrap_or(0), end.unwrap_or(length))
    } else {
        (start.unwrap_or(length - 1), end.unwrap_or(-length - 1))
    };
    let (start, end) = (normal(start), normal(end));
    let mut selected = Vec::new();
    if step > 0 {
        let (lower, upper) = (start.max(0).min(length), end.max(0).min(length));
        let mut index = lower;
        while index < upper {
            selected.push(index);
            index += step;
        }
    } else if step < 0 {
        let (upper, lower) = (start.max(-1).min(length - 1), end.max(-1).min(length - 1));
        let mut index = upper;
        while lower < index {
            selected.push(index);
            index += step;
        }
    }
    selected
}

/// What a value is to a comparison, and its rank in the order of its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Null,
    Boolean,
    Number,
    Text,
    Compound,
}

/// Every pair of values by every operator, as literals and as what queries find, against RFC 9535,
/// section 2.3.5.2.2.
#[test]
fn comparisons_are_those_of_the_rfc() {
    // Equal values of a kind have one rank; greater ones a greater rank.
    let values: &[(&str, Kind, i32)] = &[
        ("", Kind::Nothing, 0),
        ("null", Kind::Null, 0),
        ("true", Kind::Boolean, 1),
        ("false", Kind::Boolean, 0),
        ("-1.5", Kind::Number, -2),
        ("0", Kind::Number, 0),
        ("-0", Kind::Number, 0),
        ("0.0", Kind::Number, 0),
        ("13", Kind::Number, 3),
        ("13.0", Kind::Number, 3),
        ("1.3e1", Kind::Number, 3),
        ("9007199254740991", Kind::Number, 9),
        ("\"\"", Kind::Text, 0),
        ("\"a\"", Kind::Text, 1),
        ("\"\\u0061\"", Kind::Text, 1),
        ("\"b\"", Kind::Text, 2),
        ("\"\u{ffff}\"", Kind::Text, 8),
        ("\"\u{10000}\"", Kind::Text, 9),
        ("[]", Kind::Compound, 0),
        ("[1,2]", Kind::Compound, 1),
        ("[1.0, 2]", Kind::Compound, 1),
        ("[2,1]", Kind::Compound, 2),
        ("{}", Kind::Compound, 3),
        ("{\"a\":1,\"b\":[]}", Kind::Compound, 4),
        ("{\"b\":[],\"a\":1e0}", Kind::Compound, 4),
        ("{\"a\":1,\"b\":null}", Kind::Compound, 5),
    ];
    for (left, left_kind, left_rank) in values {
        for (right, right_kind, right_rank) in values {
            let is_equal = left_kind == right_kind && left_rank == right_rank;
            let ordered = left_kind == right_kind && [Kind::Number, Kind::Text].contains(left_kind);
            let (less, greater) =
                (ordered && left_rank < right_rank, ordered && left_rank > right_rank);
            let member = |name: &str, value: &str| match value {
                "" => String::new(),
                value => format!(",\"{name}\":{value}"),
            };
            let document = format!("[{{\"n\":1{}{}}}]", member("l", left), member("r", right));
            for (operator, expected) in [
                ("==", is_equal),
                ("!=", !is_equal),
                ("<", less),
                ("<=", less || is_equal),
                (">", greater),
                (">=", greater || is_equal),
            ] {
                let literal = |value: &str, kind: &Kind| {
                    (!matches!(kind, Kind::Nothing | Kind::Compound)).then(|| value.to_owned())
                };
                let lefts = [Some("@.l".to_owned()), literal(left, left_kind)];
                for one in lefts.iter().flatten() {
                    let rights = [Some("@['r']".to_owned()), literal(right, right_kind)];
                    for other in rights.iter().flatten() {
                        let query = format!("$[?{one} {operator} {other}].n");
                        let path = JsonPath::parse(&query)
                            .unwrap_or_else(|error| panic!("{query}: {error}"));
                        let selected = path.select_texts(&document).unwrap();
                        assert_eq!(!selected.is_empty(), expected, "{query} on {document}");
                    }
                }
            }
        }
    }
}

/// Nested filters over a document that makes them costly are given up, not waited for.
#[test]
fn a_query_ends() {
    let row = format!("[{}]", vec!["1"; 400].join(","));
    let document = format!("[{}]", vec![row; 400].join(","));
    let path = JsonPath::parse("$..[?count($..*) == count(@..*)]").unwrap();
    let error = path.select_texts(&document).unwrap_err();
    assert_eq!(error, "the query looks at more than 67108864 values");
}
