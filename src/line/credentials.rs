//! Secrets, read again at every connect and never printed.

use std::path::Path;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom as _, SystemRandom};

use super::jwt;
use crate::clock;
use crate::config::{Jwt, Line, Secret};
use crate::mqtt::Credentials;
use crate::mqtt::scram::{self, ScramSha256};

/// How long a command may take to print its secret.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest secret in bytes; MQTT allows 65,535 for user name and password.
const SECRET_BYTES_MAX: usize = 65_535;

/// Part of a secret's life after which the connection is made again with another one.
const RENEW_AT: f64 = 0.9;

/// What one connection is made with.
pub(super) struct Fresh {
    pub(super) credentials: Credentials,
    /// What the client's key file is encrypted with.
    pub(super) key_passphrase: Option<String>,
    /// When to connect again, because a token ends soon after.
    pub(super) renew_at: Option<Instant>,
}

/// All secrets of a line; an error names the secret, never its text.
pub(super) async fn read(line: &Line) -> Result<Fresh, String> {
    let user_name = match &line.user_name {
        Some(secret) => Some(read_secret("user_name", secret).await?),
        None => None,
    };
    let password = match &line.password {
        Some(secret) => Some(read_secret("password", secret).await?.into_bytes()),
        None => None,
    };
    let renew_at = match &line.password {
        Some(Secret::Jwt(jwt)) => Some(jwt.lifetime),
        Some(Secret::Lasting(_, lifetime)) => Some(*lifetime),
        _ => None,
    };
    let renew_at = renew_at.map(|lifetime| clock::now() + lifetime.mul_f64(RENEW_AT));
    let key_passphrase = passphrase(line.tls.key_passphrase.as_ref()).await?;
    let mut credentials = Credentials { user_name, password, authenticator: None };
    if line.mqtt5.authentication_method == Some(scram::METHOD) {
        // The exchange proves that we know the password; it is not sent.
        let password = credentials.password.take().unwrap_or_default();
        let user_name = credentials.user_name.clone().unwrap_or_default();
        credentials.authenticator = Some(Box::new(ScramSha256::new(user_name, password, nonce()?)));
    }
    Ok(Fresh { credentials, key_passphrase, renew_at })
}

/// 144 bits that nobody can guess.
fn nonce() -> Result<String, String> {
    let mut bytes = [0; 18];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "no random numbers to be had".to_owned())?;
    Ok(data_encoding::BASE64.encode(&bytes))
}

async fn passphrase(secret: Option<&Secret>) -> Result<Option<String>, String> {
    match secret {
        Some(secret) => read_stored("key_passphrase", secret).await.map(Some),
        None => Ok(None),
    }
}

async fn read_secret(what: &str, secret: &Secret) -> Result<String, String> {
    let text = match secret {
        Secret::Jwt(jwt) => token(what, jwt).await?,
        Secret::Lasting(stored, _) => read_stored(what, stored).await?,
        stored => read_stored(what, stored).await?,
    };
    if text.len() > SECRET_BYTES_MAX {
        return Err(format!("{what}: longer than {SECRET_BYTES_MAX} bytes"));
    }
    Ok(text)
}

async fn token(what: &str, jwt: &Jwt) -> Result<String, String> {
    let passphrase = passphrase(jwt.key_passphrase.as_ref()).await?;
    let (jwt, now) = (jwt.clone(), clock::wall());
    // The key may lie on a network drive that hangs.
    tokio::task::spawn_blocking(move || jwt::sign(&jwt, passphrase.as_deref(), now))
        .await
        .map_err(|error| format!("signing failed: {error}"))
        .flatten()
        .map_err(|why| format!("{what}: {why}"))
}

async fn read_stored(what: &str, secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Literal(text) => Ok(text.clone()),
        Secret::Env(name) => std::env::var(name)
            .map_err(|_| format!("{what}: environment variable `{name}` is not set or no text")),
        Secret::File(path) => first_line_of_file(what, path).await,
        Secret::Command(words) => first_line_of_command(what, words).await,
        Secret::Jwt(_) | Secret::Lasting(..) => Err(format!("{what}: a token cannot be used here")),
    }
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

    /// Two sets are good while secrets are rotated: each connect takes what lies there.
    #[tokio::test]
    async fn a_rotated_secret_is_taken_at_the_next_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let secret = Secret::File(path.clone());
        for password in ["first", "second"] {
            std::fs::write(&path, password).unwrap();
            assert_eq!(read_secret("password", &secret).await.unwrap(), password);
        }
    }

    #[tokio::test]
    async fn a_token_is_signed_for_every_connect() {
        let key_file = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let jwt = |passphrase: &str| {
            Secret::Jwt(Box::new(Jwt {
                key_file: key_file.join("tests/keys/p256-encrypted.pem"),
                key_passphrase: Some(Secret::Literal(passphrase.to_owned())),
                algorithm: crate::config::JwtAlgorithm::Es256,
                lifetime: Duration::from_secs(60),
                claims: serde_json::Map::new(),
            }))
        };
        let first = read_secret("password", &jwt("open-sesame")).await.unwrap();
        let second = read_secret("password", &jwt("open-sesame")).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(first.split('.').count(), 3);
        let why = read_secret("password", &jwt("hunter2")).await.unwrap_err();
        assert!(why.starts_with("password: the key file ") && !why.contains("hunter2"), "{why}");
        assert!(!format!("{:?}", jwt("hunter2")).contains("hunter2"));
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
