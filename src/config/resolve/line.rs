//! `[[line]]`: one broker connection each.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::names::Names;
use super::settings::Settings;
use super::{Work, mqtt5, secret, server, tls};
use crate::config::document::{Section, Written};
use crate::config::keys::SectionKind;
use crate::config::problems::Problems;
use crate::config::quantity::{self, DURATION_MAX};
use crate::config::source::Place;
use crate::config::{Line, MqttVersion, Redundant, Server, Will};
use crate::qos::Qos;
use crate::topic;

/// Longest client identifier, MQTT 3.1.1 section 1.5.3.
const CLIENT_ID_BYTES_MAX: usize = 65_535;
/// Longest will message, MQTT 3.1.1 section 3.1.3.3.
const WILL_BYTES_MAX: usize = 65_535;
/// How far apart the copies of a message may arrive over the two connections of a redundant line.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(10);
const DUPLICATE_WINDOW_MAX: Duration = Duration::from_secs(3600);
/// Largest packet that MQTT can express: 1 + 4 + 268,435,455 bytes.
const PACKET_BYTES_MAX: u64 = 268_435_460;

const MQTT_VERSIONS: &[(&str, MqttVersion)] =
    &[("3.1.1", MqttVersion::V311), ("5.0", MqttVersion::V5)];

/// The lines and what their stations inherit, by position.
pub(crate) struct Lines {
    pub(crate) names: Names,
    pub(crate) lines: Vec<Line>,
    pub(crate) settings: Vec<Settings>,
}

/// Resolves every `[[line]]`.
pub(crate) fn lines(top: &Section<'_>, folder: &Path, work: &mut Work) -> Lines {
    let mut resolved = Lines { names: Names::new("line"), lines: Vec::new(), settings: Vec::new() };
    let mut client_ids = FxHashMap::default();
    for section in top.tables("line", SectionKind::Line, &mut work.problems) {
        let position = resolved.lines.len() as u32;
        let name = section.required_text("name", &mut work.problems);
        let name = name.map(|name| resolved.names.define(name, position, &mut work.problems));
        let line = line(&section, name.unwrap_or_default(), folder, work);
        check_client_id(&section, &line, &mut client_ids, &mut work.problems);
        resolved.settings.push(Settings::read(&section, &Settings::default(), work));
        resolved.lines.push(line);
    }
    resolved
}

fn line(section: &Section<'_>, name: Arc<str>, folder: &Path, work: &mut Work) -> Line {
    let servers = required_servers(section, work);
    let second = servers_of(section, "redundant_servers", work).unwrap_or_default();
    let problems = &mut work.problems;
    let user_name = secret::secret(section, "user_name", SectionKind::UserName, folder, problems);
    let password = secret::secret(section, "password", SectionKind::Password, folder, problems);
    let tls = tls::tls(section, folder, problems);
    // Of a version that is misspelt the keys of 5.0 say that it was probably meant.
    let fallback = match section.get("mqtt_version") {
        Some(_) => MqttVersion::V5,
        None => MqttVersion::V311,
    };
    let mqtt_version = section.choice("mqtt_version", MQTT_VERSIONS, problems).unwrap_or(fallback);
    let mqtt5 = mqtt5::mqtt5(section, mqtt_version, problems);
    let needs_user_name = mqtt_version == MqttVersion::V311;
    if needs_user_name
        && password.is_some()
        && user_name.is_none()
        && is_blank(section, "user_name")
    {
        problems
            .missing(
                section.key_place("password"),
                "`password` needs a `user_name` in MQTT 3.1.1 (section 3.1.2.9)",
            )
            .help("give `user_name` too");
    }
    let client_id = client_id(section, problems);
    let clean_session = section.logical("clean_session", problems).unwrap_or(false);
    let (reconnect_min, reconnect_max) = reconnect(section, problems);
    let redundant = redundant(section, second, &client_id, problems);
    Line {
        name,
        servers,
        redundant,
        mqtt_version,
        // MQTT-3.1.3-7: without a client identifier there is no session to come back to; and one that
        // ends with its connection is none either.
        clean_session: clean_session
            || client_id.is_empty()
            || mqtt_version == MqttVersion::V5 && mqtt5.session_expiry_s == 0,
        mqtt5,
        client_id,
        user_name,
        password,
        tls,
        topic_filters: topic_filters(section, work),
        subscribe_qos: section.qos("subscribe_qos", &mut work.problems).unwrap_or(Qos::AtLeastOnce),
        publish_in_flight: section
            .integer("publish_in_flight", 0..=65_535, &mut work.problems)
            .unwrap_or(0) as u16,
        keep_alive: keep_alive(section, &mut work.problems),
        ping_interval: duration(section, "ping_interval", 60, 3600, &mut work.problems),
        reply_timeout: duration(
            section,
            "reply_timeout",
            20,
            DURATION_MAX.as_secs(),
            &mut work.problems,
        ),
        reconnect_min,
        reconnect_max,
        will: will(section, mqtt_version, &mut work.problems),
        maximum_packet_size: section
            .size("maximum_packet_size", 16..=PACKET_BYTES_MAX, &mut work.problems)
            .unwrap_or(16 << 20) as u32,
        full_debug: section.logical("full_debug", &mut work.problems).unwrap_or(false),
    }
}

fn required_servers(section: &Section<'_>, work: &mut Work) -> Vec<Server> {
    let problems = &mut work.problems;
    if section.lacks("servers") {
        problems
            .missing(section.place, "`[[line]]` needs the key `servers`")
            .help("for example `servers = [\"mqtt://127.0.0.1:1883\"]`");
    }
    if let Some(item) = section.get("servers")
        && item.value.as_array().is_some_and(|list| list.is_empty())
    {
        problems
            .wrong(item.place, "`servers` needs at least one server")
            .help("for example `servers = [\"mqtt://127.0.0.1:1883\"]`");
    }
    servers_of(section, "servers", work).unwrap_or_default()
}

/// The servers of a list; `None`: there is no such key.
fn servers_of(section: &Section<'_>, key: &str, work: &mut Work) -> Option<Vec<Server>> {
    let mut servers = Vec::new();
    for text in section.texts(key, &mut work.problems)? {
        if text.value.is_empty() && key != "servers" {
            continue;
        }
        for server in server::parse_list(text.value) {
            match server {
                Ok(server) => servers.push(server),
                Err(error) => {
                    let content = text.content(&work.sources);
                    work.problems.wrong_syntax(text.place, content, error);
                }
            }
        }
    }
    Some(servers)
}

/// The second connection of a redundant line.
fn redundant(
    section: &Section<'_>,
    servers: Vec<Server>,
    client_id: &str,
    problems: &mut Problems,
) -> Option<Redundant> {
    let own_id = section.text("redundant_client_id", problems);
    let window = section.duration("duplicate_window", DUPLICATE_WINDOW_MAX, problems);
    if let (Some(window), Some(item)) = (window, section.get("duplicate_window"))
        && window.is_zero()
    {
        problems
            .wrong(item.place, "`duplicate_window` must be longer than 0")
            .help("the two copies of a message never arrive at the same moment");
    }
    if servers.is_empty() {
        // A list whose servers are all wrong was meant to be one.
        let meant = section.get("redundant_servers").is_some_and(|item| {
            item.value.as_array().is_some_and(|list| !list.is_empty())
                || item.value.as_str().is_some_and(|text| !text.is_empty())
        });
        for key in ["redundant_client_id", "duplicate_window"] {
            if let Some(item) = section.get(key)
                && !meant
            {
                problems
                    .wrong(item.place, format!("`{key}` is of no use without `redundant_servers`"));
            }
        }
        return None;
    }
    let own_id = own_id.map(|own_id| checked_client_id(own_id, "redundant_client_id", problems));
    let client_id = match own_id {
        Some(own_id) => {
            if own_id.is_empty() != client_id.is_empty() {
                problems.wrong(
                    section.key_place("redundant_client_id"),
                    "either both connections have a client identifier or none",
                );
            }
            own_id
        }
        // Without one, the server assigns both.
        None if client_id.is_empty() => String::new(),
        None => format!("{client_id}_2"),
    };
    let duplicate_window = window.unwrap_or(DUPLICATE_WINDOW);
    Some(Redundant { servers, client_id, duplicate_window })
}

fn client_id(section: &Section<'_>, problems: &mut Problems) -> String {
    let Some(client_id) = section.text("client_id", problems) else {
        return "tagline".to_owned();
    };
    checked_client_id(client_id, "client_id", problems)
}

fn checked_client_id(written: Written<&str>, key: &str, problems: &mut Problems) -> String {
    if written.value.len() > CLIENT_ID_BYTES_MAX || written.value.contains('\0') {
        let message = format!("`{key}` cannot be sent: too long, or with U+0000");
        problems.wrong(written.place, message);
    }
    written.value.to_owned()
}

/// MQTT-3.1.4-2: a server disconnects the client that has the identifier already, so two lines
/// would throw each other out for ever.
fn check_client_id(
    section: &Section<'_>,
    line: &Line,
    seen: &mut FxHashMap<(String, String, u16), Place>,
    problems: &mut Problems,
) {
    let place_of = |key| section.get(key).map_or(section.place, |item| item.place);
    let first = ("client_id", &line.client_id, &line.servers);
    let second = line.redundant.iter().map(|second| {
        // The default follows from the other key.
        let own = section.get("redundant_client_id").is_some();
        let key = if own { "redundant_client_id" } else { "client_id" };
        (key, &second.client_id, &second.servers)
    });
    let mut of_line: Vec<(String, String, u16)> = Vec::new();
    for (key, client_id, servers) in std::iter::once(first).chain(second) {
        if client_id.is_empty() {
            continue;
        }
        let place = place_of(key);
        let mut reported = false;
        let mut own: Vec<(String, String, u16)> = Vec::new();
        for server in servers {
            let key = (client_id.clone(), server.host.to_ascii_lowercase(), server.port);
            let earlier = seen.get(&key).copied().filter(|_| !own.contains(&key));
            if let Some(earlier) = earlier
                && !reported
            {
                reported = true;
                let message = format!(
                    "the `client_id` `{client_id}` is taken on `{}:{}`",
                    server.host, server.port
                );
                let problem = problems.wrong(place, message);
                if of_line.contains(&key) {
                    problem.help(
                        "give each connection its own: without `redundant_client_id` it is `client_id` and `_2`",
                    );
                } else {
                    problem
                        .first("the other line is", earlier)
                        .help("give each line its own `client_id`; the default is `tagline`");
                }
            }
            seen.entry(key.clone()).or_insert(place);
            own.push(key);
        }
        of_line.append(&mut own);
    }
}

fn topic_filters(section: &Section<'_>, work: &mut Work) -> Vec<String> {
    let Some(texts) = section.texts("topic_filter", &mut work.problems) else {
        return vec!["#".to_owned()];
    };
    let mut filters: Vec<String> = Vec::with_capacity(texts.len());
    for text in texts {
        if let Err(error) = topic::check_filter(text.value) {
            let message = format!("`{}` is no topic filter: {error}", text.value);
            work.problems.wrong(text.place, message);
        }
        if !filters.iter().any(|filter| filter == text.value) {
            filters.push(text.value.to_owned());
        }
    }
    filters
}

fn keep_alive(section: &Section<'_>, problems: &mut Problems) -> u16 {
    let most = Duration::from_secs(65_535);
    let Some(keep_alive) = section.duration("keep_alive", most, problems) else { return 0 };
    if keep_alive.subsec_nanos() != 0 {
        let place = section.get("keep_alive").map_or(section.place, |item| item.place);
        problems.wrong(place, "`keep_alive` must be whole seconds");
    }
    keep_alive.as_secs() as u16
}

/// A duration whose 0 means off.
fn duration(
    section: &Section<'_>,
    key: &str,
    default_s: u64,
    most_s: u64,
    problems: &mut Problems,
) -> Option<Duration> {
    let duration = section
        .duration(key, Duration::from_secs(most_s), problems)
        .unwrap_or(Duration::from_secs(default_s));
    (!duration.is_zero()).then_some(duration)
}

fn reconnect(section: &Section<'_>, problems: &mut Problems) -> (Duration, Duration) {
    let (default_min, default_max) = (Duration::from_secs(1), Duration::from_secs(30));
    let Some(section) = section.table("reconnect", SectionKind::Reconnect, problems) else {
        return (default_min, default_max);
    };
    let min = section.duration("min", DURATION_MAX, problems);
    let max = section.duration("max", DURATION_MAX, problems);
    let (shortest, longest) = (min.unwrap_or(default_min), max.unwrap_or(default_max));
    if min.is_some_and(|min| min.is_zero())
        && let Some(item) = section.get("min")
    {
        problems
            .wrong(item.place, "`min` must be longer than 0")
            .help("without a pause a broker that refuses is asked without end");
    } else if shortest > longest {
        let key = if min.is_some() { "min" } else { "max" };
        let place = section.get(key).map_or(section.place, |item| item.place);
        let (shortest, longest) = (quantity::shown(shortest), quantity::shown(longest));
        let message = format!("`min` ({shortest}) is longer than `max` ({longest})");
        problems.wrong(place, message);
    }
    (shortest, longest)
}

fn will(section: &Section<'_>, version: MqttVersion, problems: &mut Problems) -> Option<Will> {
    let section = section.table("will", SectionKind::Will, problems)?;
    let topic = section.text("topic", problems);
    let message = section.text("message", problems).map(|text| check_will(text, problems));
    let qos = section.qos("qos", problems).unwrap_or_default();
    let retain = section.logical("retain", problems).unwrap_or(false);
    let message = message.unwrap_or_default();
    for key in ["delay", "content_type"] {
        mqtt5::check_version(&section, key, version, problems);
    }
    let delay_s = mqtt5::seconds(&section, "delay", problems).unwrap_or(0);
    let content_type = section.text("content_type", problems);
    let content_type = content_type.filter(|text| !text.value.is_empty());
    match topic.filter(|topic| !topic.value.is_empty()) {
        Some(topic) => {
            if let Err(error) = topic::check_name(topic.value) {
                let message = format!("`{}` is no topic name: {error}", topic.value);
                problems.wrong(topic.place, message);
            }
            Some(Will {
                topic: topic.value.to_owned(),
                message,
                qos,
                retain,
                delay_s,
                content_type: content_type.map(|text| text.value.to_owned()),
            })
        }
        None => {
            let asked = !message.is_empty() || qos != Qos::AtMostOnce || retain;
            let unread = section.get("topic").is_some_and(|item| !item.value.is_str());
            if asked && !unread {
                problems
                    .missing(section.place, "a will needs a `topic`")
                    .help("leave `will` out if there is to be none");
            }
            None
        }
    }
}

fn check_will(message: Written<&str>, problems: &mut Problems) -> String {
    if message.value.len() > WILL_BYTES_MAX {
        let text = format!("the message of a will has at most {WILL_BYTES_MAX} bytes");
        problems.wrong(message.place, text);
    }
    message.value.to_owned()
}

/// Whether a text is absent or empty.
pub(super) fn is_blank(section: &Section<'_>, key: &str) -> bool {
    section.get(key).is_none_or(|item| item.value.as_str() == Some(""))
}
