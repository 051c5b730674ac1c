use super::*;

fn diagnostic(file: &Path, line: usize, column: usize, span: Range<usize>) -> Diagnostic {
    Diagnostic {
        file: file.to_path_buf(),
        line,
        column,
        span,
        message: "something is wrong".to_owned(),
        help: Some("do this".to_owned()),
    }
}

/// What is shown of a mistake in a file with this text.
fn shown(text: &str, line: usize, column: usize, span: Range<usize>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tagline.toml");
    fs::write(&file, text).unwrap();
    let output = render(&[diagnostic(&file, line, column, span)], false);
    output.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn the_line_is_shown_and_the_mistake_marked() {
    let expected = "\
error: something is wrong
 --> tagline.toml:2:7
  |
2 | čas = 12
  |       ^^
  |
  = help: do this

";
    assert_eq!(shown("a = 1\nčas = 12\r\n", 2, 7, 13..15), expected);
    // A byte order mark counts in the span and nowhere else.
    assert_eq!(shown("\u{feff}a = 1\nčas = 12", 2, 7, 16..18), expected);
}

#[test]
fn secrets_are_masked_before_and_behind_the_mistake() {
    let text = "password = \"hunter2\"";
    let output = shown(text, 1, 1, 0..8);
    assert!(output.contains("1 | password = ***\n"), "{output}");
    let output = shown(text, 1, 12, 11..20);
    assert!(output.contains("1 | password = ***\n  |            ^^^\n"), "{output}");
    let text = "a = { password = \"hunter2\", b = 1 }";
    let output = shown(text, 1, 29, 28..29);
    assert!(output.contains("tagline.toml:1:29"), "{output}");
    assert!(output.contains("1 | a = { password = ***, b = 1 }\n"), "{output}");
    assert!(output.contains("  |                       ^\n"), "{output}");
}

#[test]
fn what_cannot_be_shown_is_named() {
    let gone = render(&[diagnostic(Path::new("/no/such/file.toml"), 3, 4, 1..2)], false);
    assert!(gone.contains("/no/such/file.toml:3:4"), "{gone}");
    let whole = render(&[diagnostic(Path::new("/no/such/file.toml"), 0, 0, 0..0)], false);
    assert!(whole.contains("--> /no/such/file.toml\n"), "{whole}");
    let changed = shown("a", 7, 1, 100..200);
    assert!(changed.contains("tagline.toml:7:1"), "{changed}");
    let shorter = shown("a\nb", 2, 50, 100..200);
    assert!(shorter.contains("tagline.toml:2:50"), "{shorter}");
}

#[test]
fn colours_are_asked_for() {
    let coloured = render(&[diagnostic(Path::new("/no"), 0, 0, 0..0)], true);
    assert!(coloured.contains("\u{1b}["), "{coloured:?}");
}
