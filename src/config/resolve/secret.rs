//! User names, passwords and passphrases. What is written never enters a message.

use std::path::Path;

use toml::de::DeValue;

use super::tls;
use crate::config::Secret;
use crate::config::document::Section;
use crate::config::keys::SectionKind;
use crate::config::problems::Problems;

/// Longest user name or password, MQTT 3.1.1 section 1.5.3.
const SECRET_BYTES_MAX: usize = 65_535;

/// A text, or `{ env = … }`, `{ file = … }`, `{ command = […] }`; `None` when empty.
pub(super) fn secret(
    line: &Section<'_>,
    key: &str,
    kind: SectionKind,
    folder: &Path,
    problems: &mut Problems,
) -> Option<Secret> {
    let item = line.get(key)?;
    match item.value {
        DeValue::String(text) => {
            if text.len() > SECRET_BYTES_MAX || (key == "user_name" && text.contains('\0')) {
                let message = format!("`{key}` cannot be sent: too long, or with U+0000");
                problems.wrong(item.place, message);
            }
            (!text.is_empty()).then(|| Secret::Literal(text.clone().into_owned()))
        }
        DeValue::Table(_) => {
            let section = line.table(key, kind, problems)?;
            let secret = from_table(&section, folder, problems)?;
            if kind != SectionKind::Password {
                return Some(secret);
            }
            match tls::stated_lifetime(&section, problems) {
                Some(_) if matches!(secret, Secret::Jwt(_)) => {
                    problems
                        .wrong(section.key_place("lifetime"), "the lifetime of a token is its own")
                        .help("write it inside of `jwt`");
                    Some(secret)
                }
                Some(lifetime) => Some(Secret::Lasting(Box::new(secret), lifetime)),
                None => Some(secret),
            }
        }
        _ => {
            let expected = match kind {
                SectionKind::Password => {
                    "a string, `{ env = … }`, `{ file = … }`, `{ command = […] }` or `{ jwt = {…} }`"
                }
                _ => "a string, `{ env = … }`, `{ file = … }` or `{ command = […] }`",
            };
            line.wrong_type(key, item, expected, problems);
            None
        }
    }
}

fn from_table(section: &Section<'_>, folder: &Path, problems: &mut Problems) -> Option<Secret> {
    let choices = match section.kind {
        SectionKind::Password => "`env`, `file`, `command` and `jwt`",
        _ => "`env`, `file` and `command`",
    };
    let is_given = |key: &&&str| **key != "lifetime" && section.get(key).is_some();
    let given = section.kind.keys().iter().filter(is_given).count();
    if given > 1 {
        let message = format!("{} comes from one place only", section.kind.label());
        problems.wrong(section.place, message).help(format!("keep one of {choices}"));
        return None;
    }
    if given == 0 && (section.is_empty() || section.get("lifetime").is_some()) {
        let message = format!("{} needs one of {choices}", section.kind.label());
        problems.missing(section.place, message);
    }
    if let Some(variable) = section.text("env", problems) {
        if variable.value.is_empty() || variable.value.contains(['=', '\0']) {
            problems.wrong(variable.place, "`env` must be the name of an environment variable");
        }
        return Some(Secret::Env(variable.value.to_owned()));
    }
    if let Some(path) = section.text("file", problems) {
        if path.value.is_empty() || path.value.contains('\0') {
            problems.wrong(path.place, "`file` must be a path");
        }
        return Some(Secret::File(folder.join(path.value)));
    }
    if section.kind == SectionKind::Password && section.get("jwt").is_some() {
        return tls::jwt(section, folder, problems).map(Secret::Jwt);
    }
    let place = section.get("command")?.place;
    let words = section.texts("command", problems)?;
    if words.first().is_none_or(|program| program.value.is_empty()) {
        problems
            .wrong(place, "`command` must name a program")
            .help("for example `{ command = [\"prog\", \"arg\"] }`");
    }
    let mut words: Vec<String> = words.iter().map(|word| word.value.to_owned()).collect();
    // A program without a slash is looked for in `PATH`.
    if let Some(program) = words.first_mut()
        && program.contains('/')
    {
        *program = folder.join(&*program).to_string_lossy().into_owned();
    }
    Some(Secret::Command(words))
}
