//! Secrets, read again at every connect and never printed.

use std::path::Path;
use std::time::Duration;

use crate::config::{Line, Secret};
use crate::mqtt::Credentials;

/// How long a command may take to print its secret.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest secret in bytes; MQTT allows 65,535 for user name and password.
const SECRET_BYTES_MAX: usize = 65_535;

/// User name and password of a line; the error names the secret, never its text.
pub(super) async fn read(line: &Line) -> Result<Credentials, String> {
    let user_name = match &line.user_name {
        Some(secret) => Some(read_secret("user_name", secret).await?),
        None => None,
    };
    let password = match &line.password {
        Some(secret) => Some(read_secret("password", secret).await?.into_bytes()),
        None => None,
    };
    Ok(Credentials { user_name, password })
}

async fn read_secret(what: &str, secret: &Secret) -> Result<String, String> {
    let text = match secret {
        Secret::Literal(text) => text.clone(),
        Secret::Env(name) => std::env::var(name)
            .map_err(|_| format!("{what}: environment variable `{name}` is not set or no text"))?,
        Secret::File(path) => first_line_of_file(what, path).await?,
        Secret::Command(words) => first_line_of_command(what, words).await?,
    };
    if text.len() > SECRET_BYTES_MAX {
        return Err(format!("{what}: longer than {SECRET_BYTES_MAX} bytes"));
    }
    Ok(text)
}

async fn first_line_of_file(what: &str, path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| format!("{what}: cannot read {}: {error}", path.display()))?;
    Ok(first_line(&text))
}

async fn first_line_of_command(what: &str, words: &[String]) -> Result<String, String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(format!("{what}: the command is empty"));
    };
    let running = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_TIMEOUT, running)
        .await
        .map_err(|_| format!("{what}: `{program}` did not end within {COMMAND_TIMEOUT:?}"))?
        .map_err(|error| format!("{what}: cannot run `{program}`: {error}"))?;
    if !output.status.success() {
        // Its output may hold the secret: only the status is shown.
        return Err(format!("{what}: `{program}` ended with {}", output.status));
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|_| format!("{what}: `{program}` printed bytes that are no UTF-8"))?;
    Ok(first_line(&text))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secrets_come_from_files_and_commands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "first\nsecond\n").unwrap();
        assert_eq!(read_secret("password", &Secret::File(path)).await.unwrap(), "first");
        let command = Secret::Command(vec!["printf".into(), "a b\\nc".into()]);
        assert_eq!(read_secret("password", &command).await.unwrap(), "a b");
    }

    #[tokio::test]
    async fn a_failing_command_does_not_show_what_it_printed() {
        let script = "echo hunter2; echo hunter2 >&2; exit 3";
        let command = Secret::Command(vec!["sh".into(), "-c".into(), script.into()]);
        let error = read_secret("password", &command).await.unwrap_err();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_variable_is_named() {
        let error = read_secret("password", &Secret::Env("TAGLINE_NO_SUCH".into())).await;
        assert!(error.unwrap_err().contains("TAGLINE_NO_SUCH"));
    }
}
