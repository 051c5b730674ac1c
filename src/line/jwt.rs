//! JSON Web Tokens (RFC 7519) as passwords: signed afresh for every connect.

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::crypto::ring;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode, Reader, SliceReader};

use crate::config::{Jwt, JwtAlgorithm};
use crate::iotag::Timestamp;
use crate::transport;

/// Bytes of a coordinate on P-256, RFC 7518 section 3.4.
const P256_BYTES: usize = 32;

/// A token that is good from `now` for its lifetime; blocks while it reads the key.
///
/// # Errors
///
/// The key cannot be read or is of another kind than the algorithm; in words that name the file.
pub(super) fn sign(jwt: &Jwt, passphrase: Option<&str>, now: Timestamp) -> Result<String, String> {
    let mut claims = jwt.claims.clone();
    let issued = now.as_second();
    let expires = issued.saturating_add_unsigned(jwt.lifetime.as_secs());
    claims.insert("iat".to_owned(), issued.into());
    claims.insert("exp".to_owned(), expires.into());
    let header = json!({ "alg": jwt.algorithm.as_str(), "typ": "JWT" });
    let mut token = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
    token.push('.');
    let claims = serde_json::Value::Object(claims).to_string();
    BASE64URL_NOPAD.encode_append(claims.as_bytes(), &mut token);
    let signature = signature(jwt, passphrase, token.as_bytes())?;
    token.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut token);
    Ok(token)
}

fn signature(jwt: &Jwt, passphrase: Option<&str>, message: &[u8]) -> Result<Vec<u8>, String> {
    let file = jwt.key_file.display();
    let algorithm = jwt.algorithm.as_str();
    let (scheme, kind) = match jwt.algorithm {
        JwtAlgorithm::Rs256 => {
            (SignatureScheme::RSA_PKCS1_SHA256, "an RSA key of 2048 bits or more")
        }
        JwtAlgorithm::Es256 => (SignatureScheme::ECDSA_NISTP256_SHA256, "a key on P-256"),
    };
    let wrong = || format!("the key in {file} is no key for {algorithm}: it needs {kind}");
    let key = transport::private_key(&jwt.key_file, passphrase)?;
    let key = ring::sign::any_supported_type(&key).map_err(|_| wrong())?;
    let signer = key.choose_scheme(&[scheme]).ok_or_else(wrong)?;
    let signed = signer
        .sign(message)
        .map_err(|_| format!("the key in {file} cannot sign with {algorithm}"))?;
    match jwt.algorithm {
        JwtAlgorithm::Rs256 => Ok(signed),
        JwtAlgorithm::Es256 => {
            fixed(&signed).ok_or_else(|| format!("the key in {file} made no signature of P-256"))
        }
    }
}

/// The two numbers of an ECDSA signature as X.509 writes it, one after the other, each at full length
/// (RFC 7518 section 3.4).
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(der).ok()?;
    let numbers = reader.sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?)));
    let (r, s) = numbers.map_err(|_: x509_cert::der::Error| ()).ok()?;
    let mut fixed = Vec::with_capacity(2 * P256_BYTES);
    for number in [r.as_bytes(), s.as_bytes()] {
        fixed.resize(fixed.len() + P256_BYTES.checked_sub(number.len())?, 0);
        fixed.extend_from_slice(number);
    }
    Some(fixed)
}

#[cfg(test)]
mod tests;
