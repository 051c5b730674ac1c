//! I-Regexp (RFC 9485), the regular expressions of `match` and `search`.

use regex::{Regex, RegexBuilder};

/// Largest compiled expression, in bytes: patterns may stand in documents.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Compiles an expression, to match whole texts or parts; the error says what is wrong.
pub(super) fn compile(pattern: &str, whole: bool) -> Result<Pattern, String> {
    let translated = translate(pattern);
    let translated = if whole { format!(r"\A(?:{translated})\z") } else { translated };
    let compiled = RegexBuilder::new(&translated).size_limit(COMPILED_BYTES_MAX).build();
    compiled.map(Pattern).map_err(|error| {
        let error = error.to_string();
        let what = error.lines().last().unwrap_or_default().trim();
        let what = what.trim_start_matches("error: ").trim_end_matches('.');
        format!("`{pattern}` is no regular expression: {what}")
    })
}

/// What differs: a dot is neither line feed nor carriage return, and inside brackets `&`, `~` and
/// `[` are characters, no operators.
fn translate(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len() + 8);
    let mut is_class = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                translated.push(character);
                translated.extend(characters.next());
            }
            '[' if !is_class => {
                is_class = true;
                translated.push(character);
            }
            ']' if is_class => {
                is_class = false;
                translated.push(character);
            }
            '&' | '~' | '[' if is_class => {
                translated.push('\\');
                translated.push(character);
            }
            '.' if !is_class => translated.push_str(r"[^\n\r]"),
            _ => translated.push(character),
        }
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_those_of_the_rfc() {
        for (pattern, whole, text, expected) in [
            ("a.c", true, "abc", true),
            ("a.c", true, "a\nc", false),
            ("a.c", true, "a\rc", false),
            ("a.c", true, "a\u{2028}c", true),
            ("a.c", true, "xabc", false),
            ("a.c", false, "xabcx", true),
            ("a|b", true, "ab", false),
            ("[.]", true, "x", false),
            ("[a&&b]", true, "&", true),
            ("[a&&b]", true, "a", true),
            ("[a~~b]", true, "~", true),
            (r"[\]x]", true, "]", true),
            (r"a\.b", true, "axb", false),
            (r"\p{Lu}+", true, "ÄB", true),
            (r"\P{N}", true, "7", false),
            ("a{2,3}", true, "aaaa", false),
            ("", false, "x", true),
            ("", true, "x", false),
            // A final line end is a character as any other.
            ("ab", true, "ab\n", false),
        ] {
            let compiled = compile(pattern, whole).unwrap();
            assert_eq!(compiled.is_match(text), expected, "{pattern} {text:?}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for pattern in ["(", "a{", "[a", "a**b{999999}", "(?=a)", r"\2", "(((a{100}){100}){100})"] {
            let error = compile(pattern, true).map(|_| ()).unwrap_err();
            assert!(error.contains("is no regular expression: "), "{error}");
        }
    }
}
