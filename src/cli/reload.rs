//! `tagline reload`: the configuration on disk in force, or what that would change.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::args::{Global, Reload};
use super::exit::Failure;
use super::query::{connect, text};
use super::table::printable;
use crate::api::client::ClientError;
use crate::api::protocol::RpcError;

/// What loading a million tags may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks the process and prints what has changed, or would.
pub(super) fn reload(global: &Global, reload: &Reload) -> Result<(), Failure> {
    let mut client = connect(global)?;
    let mut out = std::io::stdout().lock();
    if reload.check {
        let answer = client.call("config.check", json!({}), PATIENCE)?;
        if global.json {
            writeln!(out, "{answer}")?;
        } else if answer["ok"] == true {
            write!(out, "{}", shown(&answer["changes"], "would be"))?;
        }
        return match answer["ok"] == true {
            true => Ok(()),
            false if global.json => Err(Failure::Configuration(String::new())),
            false => Err(mistakes(&answer["diagnostics"])),
        };
    }
    match client.call("config.reload", json!({}), PATIENCE) {
        Ok(answer) => {
            if global.json {
                writeln!(out, "{answer}")?;
            } else {
                write!(out, "{}", shown(&answer, "is"))?;
            }
            Ok(())
        }
        Err(ClientError::Refused { code, message, data })
            if code == i64::from(RpcError::CONFIGURATION) =>
        {
            if global.json {
                writeln!(out, "{}", json!({ "error": { "message": message, "data": data } }))?;
                return Err(Failure::Configuration(String::new()));
            }
            Err(mistakes(&data["diagnostics"]))
        }
        Err(error) => Err(error.into()),
    }
}

fn mistakes(diagnostics: &Json) -> Failure {
    let list = diagnostics.as_array().map(Vec::as_slice).unwrap_or_default();
    let plural = if list.len() == 1 { "" } else { "s" };
    let mut said = format!("the configuration has {} mistake{plural}", list.len());
    for diagnostic in list {
        said.push_str(&format!("\n{}", text(&diagnostic["file"])));
        if diagnostic["line"] != 0 {
            said.push_str(&format!(":{}:{}", diagnostic["line"], diagnostic["column"]));
        }
        said.push_str(&format!(": error: {}", text(&diagnostic["message"])));
        if !diagnostic["hint"].is_null() {
            said.push_str(&format!(" (hint: {})", text(&diagnostic["hint"])));
        }
    }
    Failure::Configuration(said)
}

/// One line for each kind of change.
fn shown(changes: &Json, verb: &str) -> String {
    let mut said = String::new();
    if changes["changed"] != true {
        said.push_str("nothing has changed\n");
    }
    for (kind, one, many) in
        [("lines", "line", "lines"), ("stations", "station", "stations"), ("tags", "tag", "tags")]
    {
        for what in ["added", "removed", "changed", "reconnected"] {
            let names = changes[kind][what].as_array().map(Vec::as_slice).unwrap_or_default();
            let count = changes[kind]["counts"][what].as_u64().unwrap_or(names.len() as u64);
            if count == 0 {
                continue;
            }
            let word = if count == 1 { one } else { many };
            said.push_str(&format!("{count} {word} {what}: {}\n", listed(names, count)));
        }
    }
    let keys = |list: &Json| {
        let keys = list.as_array().into_iter().flatten().map(text);
        keys.collect::<Vec<_>>().join(", ")
    };
    if changes["settings"].as_array().is_some_and(|list| !list.is_empty()) {
        said.push_str(&format!("{verb} in force at once: {}\n", keys(&changes["settings"])));
    }
    if changes["restart_needed"].as_array().is_some_and(|list| !list.is_empty()) {
        said.push_str(&format!("needs a restart: {}\n", keys(&changes["restart_needed"])));
    }
    said
}

/// The first names of a list.
fn listed(names: &[Json], count: u64) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| printable(&text(name))).collect();
    let more = count.saturating_sub(shown.len() as u64);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_listed_by_kind() {
        let changes = json!({
            "changed": true,
            "lines": {
                "added": [], "removed": [], "changed": ["plant"], "reconnected": ["plant"],
                "counts": { "added": 0, "removed": 0, "changed": 1 },
            },
            "stations": { "added": ["a", "b"], "counts": { "added": 2 } },
            "tags": { "removed": ["x"], "counts": { "removed": 12 } },
            "settings": ["process.name"],
            "restart_needed": ["socket.path"],
        });
        assert_eq!(
            shown(&changes, "is"),
            "1 line changed: plant\n1 line reconnected: plant\n2 stations added: a, b\n\
             12 tags removed: x, and 11 more\nis in force at once: process.name\n\
             needs a restart: socket.path\n"
        );
        let nothing = json!({ "changed": false, "restart_needed": [] });
        assert_eq!(shown(&nothing, "is"), "nothing has changed\n");
    }
}
