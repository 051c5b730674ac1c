//! What a line says that only MQTT 5.0 can express.

use std::time::Duration;

use toml::de::DeValue;

use super::line::is_blank;
use crate::config::document::{Section, kind_of};
use crate::config::problems::Problems;
use crate::config::{Mqtt5, MqttVersion, RetainHandling};

/// Keys of a line that are an error with MQTT 3.1.1, whatever their value.
const LINE_KEYS: [&str; 8] = [
    "session_expiry",
    "receive_maximum",
    "topic_alias_maximum",
    "user_properties",
    "no_local",
    "retain_as_published",
    "retain_handling",
    "authentication_method",
];

/// Longest text, MQTT 5.0 section 1.5.4.
const TEXT_BYTES_MAX: usize = 65_535;

const RETAIN_HANDLINGS: &[(&str, RetainHandling)] = &[
    ("always", RetainHandling::Always),
    ("new", RetainHandling::New),
    ("never", RetainHandling::Never),
];

const METHODS: &[(&str, Option<&str>)] = &[("", None), ("SCRAM-SHA-256", Some("SCRAM-SHA-256"))];

/// Resolves the keys of a line.
pub(super) fn mqtt5(line: &Section<'_>, version: MqttVersion, problems: &mut Problems) -> Mqtt5 {
    for key in LINE_KEYS {
        check_version(line, key, version, problems);
    }
    let defaults = Mqtt5::default();
    let authentication = line.choice("authentication_method", METHODS, problems).flatten();
    if authentication.is_some() {
        for key in ["user_name", "password"].into_iter().filter(|key| is_blank(line, key)) {
            let message = format!("`authentication_method` needs a `{key}`");
            problems.missing(line.key_place("authentication_method"), message);
        }
    }
    Mqtt5 {
        session_expiry_s: seconds(line, "session_expiry", problems)
            .unwrap_or(defaults.session_expiry_s),
        receive_maximum: line
            .integer("receive_maximum", 1..=65_535, problems)
            .map_or(defaults.receive_maximum, |number| number as u16),
        topic_alias_maximum: line
            .integer("topic_alias_maximum", 0..=65_535, problems)
            .map_or(defaults.topic_alias_maximum, |number| number as u16),
        user_properties: user_properties(line, problems),
        no_local: line.logical("no_local", problems).unwrap_or(defaults.no_local),
        retain_as_published: line
            .logical("retain_as_published", problems)
            .unwrap_or(defaults.retain_as_published),
        retain_handling: line
            .choice("retain_handling", RETAIN_HANDLINGS, problems)
            .unwrap_or(defaults.retain_handling),
        authentication_method: authentication,
    }
}

/// Reports a key that asks for something which the version of the line cannot say.
pub(super) fn check_version(
    section: &Section<'_>,
    key: &str,
    version: MqttVersion,
    problems: &mut Problems,
) {
    if version == MqttVersion::V311 && section.get(key).is_some() {
        problems
            .wrong(section.key_place(key), format!("`{key}` needs MQTT 5.0"))
            .help("write `mqtt_version = \"5.0\"` in the line, or leave it out");
    }
}

/// Whole seconds.
pub(super) fn seconds(section: &Section<'_>, key: &str, problems: &mut Problems) -> Option<u32> {
    let most = Duration::from_secs(u64::from(u32::MAX));
    let duration = section.duration(key, most, problems)?;
    if duration.subsec_nanos() != 0 {
        let place = section.get(key).map_or(section.place, |item| item.place);
        problems.wrong(place, format!("`{key}` must be whole seconds"));
    }
    u32::try_from(duration.as_secs()).ok()
}

/// Names of the user's own, each with a text or several.
fn user_properties(line: &Section<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    const KEY: &str = "user_properties";
    let Some(item) = line.get(KEY) else { return Vec::new() };
    let DeValue::Table(table) = item.value else {
        line.wrong_type(KEY, item, "a table", problems);
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for (name, value) in table {
        let values = match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            let place = line.inner_place(value);
            match value.get_ref() {
                DeValue::String(text) if fits(name.get_ref()) && fits(text) => {
                    pairs.push((name.get_ref().to_string(), text.to_string()));
                }
                DeValue::String(_) => {
                    let message = format!("`{KEY}` cannot be sent: too long, or with U+0000");
                    problems.wrong(place, message);
                }
                other => {
                    let found = kind_of(other);
                    let message = format!("expected a string in `{KEY}`, found {found}");
                    problems.wrong(place, message);
                }
            }
        }
    }
    pairs
}

fn fits(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.contains('\0')
}
