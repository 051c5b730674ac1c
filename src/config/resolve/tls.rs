//! `tls` of a line, and `jwt` of a password: both name key files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::secret;
use crate::config::document::{Section, Written, kind_of};
use crate::config::keys::SectionKind;
use crate::config::problems::Problems;
use crate::config::quantity;
use crate::config::{Jwt, JwtAlgorithm, Tls, TlsVersion};

const VERSIONS: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];
const ALGORITHMS: &[(&str, JwtAlgorithm)] =
    &[("RS256", JwtAlgorithm::Rs256), ("ES256", JwtAlgorithm::Es256)];

/// Longest name of a protocol, RFC 7301 section 3.1.
const ALPN_BYTES_MAX: usize = 255;
/// Where a token with a shorter life would be renewed without end.
const LIFETIME_MIN: Duration = Duration::from_secs(10);
const LIFETIME_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Resolves `tls`.
pub(super) fn tls(line: &Section<'_>, folder: &Path, problems: &mut Problems) -> Tls {
    let Some(section) = line.table("tls", SectionKind::Tls, problems) else {
        return Tls::default();
    };
    let ca_file = file(&section, "ca_file", folder, problems);
    let cert_file = file(&section, "cert_file", folder, problems);
    let key_file = file(&section, "key_file", folder, problems);
    for (given, missing) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if is_given(&section, given) && !is_given(&section, missing) {
            problems
                .missing(section.key_place(given), format!("`{given}` needs a `{missing}`"))
                .help("a client's certificate and its key go together; one file may hold both");
        }
    }
    Tls {
        ca_file,
        cert_file,
        key_file,
        key_passphrase: passphrase(&section, folder, problems),
        server_name: server_name(&section, problems),
        min_version: section.choice("min_version", VERSIONS, problems).unwrap_or_default(),
        alpn: alpn(&section, problems),
        insecure_skip_verify: section.logical("insecure_skip_verify", problems).unwrap_or(false),
    }
}

/// Resolves `jwt`.
pub(super) fn jwt(
    password: &Section<'_>,
    folder: &Path,
    problems: &mut Problems,
) -> Option<Box<Jwt>> {
    let section = password.table("jwt", SectionKind::Jwt, problems)?;
    let key_file = file(&section, "key_file", folder, problems);
    if !is_given(&section, "key_file") {
        problems.missing(section.place, "`jwt` needs the key `key_file`");
    }
    if section.get("algorithm").is_none() {
        problems
            .missing(section.place, "`jwt` needs the key `algorithm`")
            .help("`RS256` for an RSA key, `ES256` for one on P-256");
    }
    let algorithm = section.choice("algorithm", ALGORITHMS, problems);
    Some(Box::new(Jwt {
        key_file: key_file.unwrap_or_default(),
        key_passphrase: passphrase(&section, folder, problems),
        algorithm: algorithm.unwrap_or(JwtAlgorithm::Rs256),
        lifetime: lifetime(&section, problems),
        claims: claims(&section, problems),
    }))
}

/// A file that is there; what is in it shows when it is read at a connect.
fn file(
    section: &Section<'_>,
    key: &str,
    folder: &Path,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let written = section.text(key, problems).filter(|text| !text.value.is_empty())?;
    let path = folder.join(written.value);
    let complaint = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => "is a folder".to_owned(),
        Ok(_) => return Some(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    let message = format!("the `{key}` `{}` {complaint}", written.value);
    let problem = problems.wrong(written.place, message);
    if Path::new(written.value).is_relative() {
        problem.help("a relative path begins at the folder of `tagline.toml`");
    }
    Some(path)
}

fn passphrase(
    section: &Section<'_>,
    folder: &Path,
    problems: &mut Problems,
) -> Option<crate::config::Secret> {
    secret::secret(section, "key_passphrase", SectionKind::KeyPassphrase, folder, problems)
}

fn server_name(section: &Section<'_>, problems: &mut Problems) -> Option<String> {
    let name = section.text("server_name", problems).filter(|name| !name.value.is_empty())?;
    let allowed = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':')
    };
    if !name.value.chars().all(allowed) {
        problems
            .wrong(name.place, "`server_name` must be a host name or an IP address")
            .help("it is one of the names in the server's certificate, without scheme and port");
    }
    Some(name.value.to_owned())
}

fn alpn(section: &Section<'_>, problems: &mut Problems) -> Vec<String> {
    let names = section.texts("alpn", problems).unwrap_or_default();
    let empty_text = |name: &Written<&str>| !name.value.is_empty() || names.len() > 1;
    let mut protocols = Vec::with_capacity(names.len());
    for name in names.iter().filter(|name| empty_text(name)) {
        if name.value.is_empty() || name.value.len() > ALPN_BYTES_MAX {
            let message = format!("a protocol name has 1 to {ALPN_BYTES_MAX} bytes");
            problems.wrong(name.place, message);
        }
        protocols.push(name.value.to_owned());
    }
    protocols
}

fn lifetime(section: &Section<'_>, problems: &mut Problems) -> Duration {
    stated_lifetime(section, problems).unwrap_or(Duration::from_secs(3600))
}

/// The key `lifetime`, if it is there.
pub(super) fn stated_lifetime(section: &Section<'_>, problems: &mut Problems) -> Option<Duration> {
    let lifetime = section.duration("lifetime", LIFETIME_MAX, problems)?;
    if lifetime < LIFETIME_MIN || lifetime.subsec_nanos() != 0 {
        let message = format!(
            "`lifetime` must be whole seconds, {} at least, for the line connects again before it ends",
            LIFETIME_MIN.as_secs()
        );
        problems.wrong(section.key_place("lifetime"), message);
    }
    Some(lifetime)
}

/// `audience`, `issuer`, `subject` and `claims` in one.
fn claims(
    section: &Section<'_>,
    problems: &mut Problems,
) -> serde_json::Map<String, serde_json::Value> {
    let mut claims = serde_json::Map::new();
    if let Some(item) = section.get("claims") {
        match item.value {
            DeValue::Table(table) => {
                for (key, value) in table {
                    let name = key.get_ref().as_ref();
                    let place = section.inner_place(key);
                    if matches!(name, "iat" | "exp") {
                        problems
                            .wrong(place, format!("`{name}` is always set by the line itself"))
                            .help("`lifetime` says how far `exp` is from `iat`");
                    }
                    match json(value.get_ref()) {
                        Ok(json) => {
                            claims.insert(name.to_owned(), json);
                        }
                        Err(what) => {
                            problems.wrong(place, format!("a claim cannot hold {what}"));
                        }
                    }
                }
            }
            _ => section.wrong_type("claims", item, "a table", problems),
        }
    }
    for (key, claim) in [("audience", "aud"), ("issuer", "iss"), ("subject", "sub")] {
        let Some(text) = section.text(key, problems).filter(|text| !text.value.is_empty()) else {
            continue;
        };
        if claims.insert(claim.to_owned(), text.value.into()).is_some() {
            let message = format!("`{key}` and `{claim}` in `claims` are the same claim");
            problems.wrong(section.key_place(key), message).help("keep one of them");
        }
    }
    claims
}

fn json(value: &DeValue<'_>) -> Result<serde_json::Value, &'static str> {
    use serde_json::Value;
    Ok(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(logical) => Value::Bool(*logical),
        DeValue::Integer(_) => {
            let integer = quantity::integer(value).and_then(|integer| i64::try_from(integer).ok());
            Value::from(integer.ok_or("an integer beyond 64 bits")?)
        }
        DeValue::Float(float) => {
            let float: f64 = float.as_str().parse().map_err(|_| "this float")?;
            serde_json::Number::from_f64(float).map(Value::Number).ok_or("this float")?
        }
        DeValue::Array(list) => Value::Array(
            list.iter().map(|element| json(element.get_ref())).collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => {
            let mut object = serde_json::Map::new();
            for (key, value) in table {
                object.insert(key.get_ref().clone().into_owned(), json(value.get_ref())?);
            }
            Value::Object(object)
        }
        DeValue::Datetime(_) => return Err(kind_of(value)),
    })
}

/// Whether a text is written and not empty.
fn is_given(section: &Section<'_>, key: &str) -> bool {
    section.get(key).is_some_and(|item| item.value.as_str() != Some(""))
}
