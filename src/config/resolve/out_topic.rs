//! `out_topic`: a topic name, or a template of one with fields of its station.
//!
//! ```text
//! template = *( character | "{{" | "}}" | "{station}" | "{line}" )
//! ```

use std::sync::Arc;

use crate::config::document::Section;
use crate::config::problems::Problems;
use crate::config::source::Sources;
use crate::config::suggest;
use crate::iotag::SyntaxError;
use crate::topic;

/// What a template may name; `None`: it has a mistake of its own.
pub(super) struct Fields<'a> {
    pub(super) station: Option<&'a str>,
    pub(super) line: Option<&'a str>,
}

const NAMES: [&str; 2] = ["station", "line"];

/// The topic with its fields filled in.
pub(super) fn read(
    section: &Section<'_>,
    fields: &Fields<'_>,
    sources: &Sources,
    problems: &mut Problems,
) -> Option<Arc<str>> {
    let written = section.text("out_topic", problems).filter(|topic| !topic.value.is_empty())?;
    let filled = match fill(written.value, fields) {
        Ok(filled) => filled?,
        Err(error) => {
            problems.wrong_syntax(written.place, written.content(sources), error);
            return None;
        }
    };
    if let Err(error) = topic::check_name(&filled) {
        problems.wrong(written.place, format!("`{filled}` is no topic name: {error}"));
    }
    Some(filled.into())
}

/// `None`: a field's value is not known, because it has a mistake of its own.
fn fill(template: &str, fields: &Fields<'_>) -> Result<Option<String>, SyntaxError> {
    let mut filled = Some(String::with_capacity(template.len()));
    let mut put = |text: Option<&str>| match (&mut filled, text) {
        (Some(filled), Some(text)) => filled.push_str(text),
        _ => filled = None,
    };
    let mut at = 0;
    while let Some(found) = template[at..].find(['{', '}']) {
        let brace = at + found;
        put(Some(&template[at..brace]));
        let rest = &template[brace..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            put(Some(&rest[..1]));
            at = brace + 2;
            continue;
        }
        let end = rest.find('}').filter(|_| rest.starts_with('{')).ok_or_else(|| {
            SyntaxError::new(brace, "a brace without its other one")
                .help("a brace of the topic itself is written twice: `{{`, `}}`")
        })?;
        match &rest[1..end] {
            "station" => put(fields.station),
            "line" => put(fields.line),
            name => return Err(unknown(brace, name)),
        }
        at = brace + end + 1;
    }
    put(Some(&template[at..]));
    Ok(filled)
}

fn unknown(at: usize, name: &str) -> SyntaxError {
    let error = SyntaxError::new(at, format!("a topic has no field `{name}`"));
    match suggest::nearest(name, NAMES) {
        Some(likely) => error.help(format!("did you mean `{{{likely}}}`?")),
        None => error.help("the fields are `{station}` and `{line}`; a brace itself is `{{`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> Result<Option<String>, (usize, String)> {
        let fields = Fields { station: Some("pump1"), line: Some("plant") };
        fill(template, &fields).map_err(|error| (error.at, error.message))
    }

    #[test]
    fn fields_are_filled_in_and_doubled_braces_stay() {
        for (template, topic) in [
            ("a/b", "a/b"),
            ("{line}/{station}/set", "plant/pump1/set"),
            ("{station}{station}", "pump1pump1"),
            ("{{station}}/{station}}}", "{station}/pump1}"),
            ("č/{station}/ž", "č/pump1/ž"),
        ] {
            assert_eq!(filled(template), Ok(Some(topic.to_owned())), "{template}");
        }
        let unknown = Fields { station: None, line: Some("plant") };
        assert_eq!(fill("{line}/{station}/x", &unknown), Ok(None));
    }

    #[test]
    fn mistakes_have_their_place() {
        for (template, at, word) in [
            ("a/{staton}", 2, "no field `staton`"),
            ("{}", 0, "no field ``"),
            ("a/{station", 2, "without its other one"),
            ("a/station}", 9, "without its other one"),
        ] {
            let (found, message) = filled(template).unwrap_err();
            assert_eq!(found, at, "{template}");
            assert!(message.contains(word), "{template}: {message}");
        }
    }
}
