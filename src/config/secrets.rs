//! Where in a TOML file there may be secrets, for whoever wants to show a line of it.
//!
//! Errs on the side of hiding: a misspelt `pasword` is a secret as well, and so is what stands in a
//! file that cannot be parsed behind a key that sounds like one.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::suggest;

/// Spans of a TOML text, sorted, not overlapping.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut found = Vec::new();
    in_table(table.get_ref(), text, &mut found);
    if !errors.is_empty() {
        in_lines(text, &mut found);
    }
    found.retain(|span| text.get(span.clone()).is_some_and(|text| !text.is_empty()));
    found.sort_by_key(|span| (span.start, span.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for span in found {
        match merged.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

fn in_table(table: &DeTable<'_>, text: &str, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        if is_secret(key.get_ref()) {
            everything(value, found);
        } else {
            in_value(value, text, found);
        }
    }
}

fn in_value(value: &Spanned<DeValue<'_>>, text: &str, found: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => in_table(table, text, found),
        DeValue::Array(list) => list.iter().for_each(|one| in_value(one, text, found)),
        // `mqtt://user:password@host` is refused, and not shown.
        DeValue::String(string) if string.contains('@') => {
            let span = value.span();
            if let Some(at) = text.get(span.clone()).and_then(|written| written.rfind('@')) {
                found.push(span.start..span.start + at);
            }
        }
        _ => {}
    }
}

/// The values of a secret, but for the names of variables and files.
fn everything(value: &Spanned<DeValue<'_>>, found: &mut Vec<Range<usize>>) {
    let DeValue::Table(table) = value.get_ref() else {
        found.push(value.span());
        return;
    };
    for (key, value) in table {
        if !matches!(key.get_ref().as_ref(), "env" | "file") {
            everything(value, found);
        }
    }
}

/// What follows a `=` that follows a word which sounds like a secret.
fn in_lines(text: &str, found: &mut Vec<Range<usize>>) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let words =
            line.split(|character: char| !(character.is_alphanumeric() || character == '_'));
        if let Some(word) = words.into_iter().find(|word| is_secret(word)) {
            let behind = word.as_ptr() as usize - line.as_ptr() as usize + word.len();
            let from = line[behind..].find('=').map_or(behind, |equals| behind + equals + 1);
            found.push(start + from..start + line.trim_end().len().max(from));
        }
        start += line.len();
    }
}

fn is_secret(key: &str) -> bool {
    const PARTS: [&str; 6] = ["pass", "pwd", "secret", "token", "credential", "user"];
    let lower = key.to_lowercase();
    PARTS.iter().any(|part| lower.contains(part))
        || suggest::nearest(key, ["user_name", "password"]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Vec<&str> {
        find(text).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn values_of_secrets_are_found() {
        assert_eq!(hidden("password = \"a b\"\nname = \"x\"\n"), ["\"a b\""]);
        assert_eq!(hidden("[[line]]\npasword = 'a'\nUser-Name = 12\n"), ["'a'", "12"]);
        assert_eq!(hidden("password = { env = \"A\", x = \"b\" }"), ["\"b\""]);
        assert_eq!(hidden("password = { command = [\"p\", \"s\"] }"), ["[\"p\", \"s\"]"]);
        assert_eq!(hidden("password = \"\"\"\nmany\nlines\"\"\""), ["\"\"\"\nmany\nlines\"\"\""]);
        assert_eq!(hidden("servers = [\"mqtt://u:p@h\", \"b\"]"), ["\"mqtt://u:p"]);
        assert_eq!(hidden("topic = \"a/b\"\nkeep_alive = 3"), [""; 0]);
    }

    #[test]
    fn broken_files_hide_more() {
        assert_eq!(hidden("password = \"a\nname = \"x\"\n"), [" \"a"]);
        assert_eq!(hidden("x = [\npassword = hunter2 # old\n"), [" hunter2 # old"]);
    }
}
