//! Regular expressions over whole topics, in descending order of their text.
//!
//! Not a `RegexSet`: its lazy automaton thrashes from a thousand expressions on, silently and by
//! orders of magnitude. Instead an expression is tried only when the topic begins with the text
//! that every match of it begins with, which for addresses is most of them.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind, Look};
use rustc_hash::FxHashMap;

use crate::iotag::{StationId, SyntaxError};

/// Largest compiled expression, in bytes.
const COMPILED_BYTES_MAX: usize = 10 << 20;
/// Longest beginning that is looked at, in bytes.
const PREFIX_BYTES_MAX: usize = 64;

/// Whether a character means something else than itself in an expression.
pub(super) fn is_meta(character: char) -> bool {
    regex_syntax::is_meta_character(character) && !matches!(character, '#' | '&' | '-' | '~')
}

/// Compiles an expression that matches whole topics. `.` takes a line end too: a topic has no lines.
pub(super) fn compile(source: &str) -> Result<Regex, SyntaxError> {
    // By itself first: `a)(b` is wrong although `(?:a)(b)` is not, and places count in the source.
    if let Err(error) =
        regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build().parse(source)
    {
        return Err(syntax_error(&error));
    }
    let build = |wrapped: &str| {
        RegexBuilder::new(wrapped).dot_matches_new_line(true).size_limit(COMPILED_BYTES_MAX).build()
    };
    build(&format!(r"\A(?:{source})\z"))
        // With `(?x)` a comment may take the parenthesis.
        .or_else(|_| build(&format!("\\A(?:{source}\n)\\z")))
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                SyntaxError::new(0, "the regular expression is too large when compiled")
            }
            _ => SyntaxError::new(0, "this is no regular expression"),
        })
}

fn syntax_error(error: &regex_syntax::Error) -> SyntaxError {
    let (at, what) = match error {
        regex_syntax::Error::Parse(error) => (error.span().start.offset, error.kind().to_string()),
        regex_syntax::Error::Translate(error) => {
            (error.span().start.offset, error.kind().to_string())
        }
        _ => (0, error.to_string()),
    };
    SyntaxError::new(at, format!("this is no regular expression: {what}"))
}

/// Expressions in the order in which they are tried.
pub(super) struct Expressions {
    tried: Vec<(Regex, StationId)>,
    /// Positions in `tried` by the text with which every match begins.
    by_prefix: FxHashMap<Box<str>, Vec<u32>>,
    /// The lengths of those texts, ascending.
    prefix_lengths: Vec<usize>,
}

impl Expressions {
    pub(super) fn compile(mut expressions: Vec<(&str, &Regex, StationId)>) -> Self {
        expressions.sort_by(|left, right| right.0.cmp(left.0).then(left.2.cmp(&right.2)));
        let mut by_prefix: FxHashMap<Box<str>, Vec<u32>> = FxHashMap::default();
        let mut tried = Vec::with_capacity(expressions.len());
        for (source, regex, station) in expressions {
            by_prefix.entry(prefix(source).into()).or_default().push(tried.len() as u32);
            tried.push((regex.clone(), station));
        }
        let mut prefix_lengths: Vec<usize> = by_prefix.keys().map(|key| key.len()).collect();
        prefix_lengths.sort_unstable();
        prefix_lengths.dedup();
        Self { tried, by_prefix, prefix_lengths }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tried.is_empty()
    }

    pub(super) fn first(&self, topic: &str) -> Option<StationId> {
        self.candidates(topic).find(|(regex, _)| regex.is_match(topic)).map(|(_, station)| *station)
    }

    pub(super) fn matches(&self, topic: &str) -> Vec<StationId> {
        self.candidates(topic)
            .filter(|(regex, _)| regex.is_match(topic))
            .map(|(_, station)| *station)
            .collect()
    }

    fn candidates(&self, topic: &str) -> impl Iterator<Item = &(Regex, StationId)> {
        let mut positions: Vec<u32> = Vec::new();
        for length in &self.prefix_lengths {
            let Some(beginning) = topic.get(..*length) else { continue };
            if let Some(found) = self.by_prefix.get(beginning) {
                positions.extend(found);
            }
        }
        positions.sort_unstable();
        positions.into_iter().map(|position| &self.tried[position as usize])
    }
}

/// A text with which every match begins; empty when there is none.
fn prefix(source: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(hir) = regex_syntax::parse(source) {
        collect(&hir, &mut bytes);
    }
    bytes.truncate(PREFIX_BYTES_MAX);
    let valid = match std::str::from_utf8(&bytes) {
        Ok(text) => text.len(),
        Err(error) => error.valid_up_to(),
    };
    bytes.truncate(valid);
    String::from_utf8(bytes).unwrap_or_default()
}

/// Appends what a match certainly begins with; false when something else follows.
fn collect(hir: &Hir, bytes: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Literal(literal) => {
            bytes.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => collect(&capture.sub, bytes),
        HirKind::Concat(parts) => parts.iter().all(|part| collect(part, bytes)),
        _ => false,
    }
}
