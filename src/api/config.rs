//! `config.reload` and `config.check`.

use serde_json::{Value as Json, json};

use super::protocol::RpcError;
use crate::hub::Hub;
use crate::hub::reload::{ConfigError, Diagnostic, Summary};
use crate::hub::writes::WriteError;

/// `config.reload`: what has changed.
pub(super) async fn reload(hub: &Hub) -> Result<Json, RpcError> {
    match request(hub, true).await? {
        Ok(summary) => Ok(json!(summary)),
        Err(ConfigError::Mistakes(diagnostics)) => {
            let shown: Vec<Json> = diagnostics.iter().map(diagnostic).collect();
            let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
            let more = match diagnostics.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            Err(RpcError {
                code: RpcError::CONFIGURATION,
                message: format!(
                    "the configuration has mistakes, nothing was changed: {first}{more}"
                ),
                data: Some(json!({ "diagnostics": shown })),
            })
        }
        Err(ConfigError::Failed(why)) => {
            Err(RpcError::new(RpcError::INTERNAL, format!("nothing was changed: {why}")))
        }
    }
}

/// `config.check`: what is wrong with the files, or what a reload would change.
pub(super) async fn check(hub: &Hub) -> Result<Json, RpcError> {
    let shown = |ok: bool, diagnostics: &[Diagnostic], changes: Option<Summary>| {
        let diagnostics: Vec<Json> = diagnostics.iter().map(diagnostic).collect();
        json!({ "ok": ok, "diagnostics": diagnostics, "changes": changes })
    };
    match request(hub, false).await? {
        Ok(summary) => Ok(shown(true, &[], Some(summary))),
        Err(ConfigError::Mistakes(diagnostics)) => Ok(shown(false, &diagnostics, None)),
        Err(ConfigError::Failed(why)) => Err(RpcError::new(RpcError::INTERNAL, why)),
    }
}

async fn request(hub: &Hub, apply: bool) -> Result<Result<Summary, ConfigError>, RpcError> {
    let asked = hub
        .request_config(apply)
        .map_err(|WriteError { code, message }| RpcError::new(code, message))?;
    asked.await.map_err(|_| RpcError::new(RpcError::BUSY, "the process is stopping"))
}

fn diagnostic(diagnostic: &Diagnostic) -> Json {
    json!({
        "file": diagnostic.file.display().to_string(),
        "line": diagnostic.line,
        "column": diagnostic.column,
        "message": diagnostic.message,
        "hint": diagnostic.help,
    })
}
