use std::path::PathBuf;
use std::time::Duration;

use ::ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::*;

fn key(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

fn jwt(algorithm: JwtAlgorithm, file: &str) -> Jwt {
    let mut claims = serde_json::Map::new();
    claims.insert("aud".to_owned(), "plant".into());
    claims.insert("nested".to_owned(), json!({ "a": [1, true, "ž"] }));
    Jwt {
        key_file: key(file),
        key_passphrase: None,
        algorithm,
        lifetime: Duration::from_secs(3600),
        claims,
    }
}

fn now() -> Timestamp {
    "2026-03-04T05:06:07.9Z".parse().unwrap()
}

/// Header, claims, what is signed, and the signature.
fn parts(token: &str) -> (Value, Value, String, Vec<u8>) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let json = |part: &str| {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
    };
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    (json(header), json(claims), message.to_owned(), signature)
}

/// The public half, read and used by somebody else's code.
fn verify(algorithm: &'static dyn VerificationAlgorithm, file: &str, token: &str) -> bool {
    let pem = std::fs::read_to_string(key(file)).unwrap();
    let (_, der) = pkcs8::Document::from_pem(&pem).unwrap();
    let info = SubjectPublicKeyInfoRef::from_der(der.as_bytes()).unwrap();
    let public = info.subject_public_key.raw_bytes();
    let (_, _, message, signature) = parts(token);
    UnparsedPublicKey::new(algorithm, public).verify(message.as_bytes(), &signature).is_ok()
}

#[test]
fn rs256_is_verified_by_the_public_key() {
    for file in ["rsa-pkcs8.pem", "rsa-pkcs1.pem"] {
        let token = sign(&jwt(JwtAlgorithm::Rs256, file), None, now()).unwrap();
        assert!(verify(&RSA_PKCS1_2048_8192_SHA256, "rsa-public.pem", &token));
        let (header, ..) = parts(&token);
        assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT" }));
    }
}

#[test]
fn es256_is_verified_by_the_public_key() {
    // Often enough for numbers that begin with a zero.
    for _ in 0..400 {
        let token = sign(&jwt(JwtAlgorithm::Es256, "p256-sec1.pem"), None, now()).unwrap();
        assert!(verify(&ECDSA_P256_SHA256_FIXED, "p256-public.pem", &token));
    }
    let token = sign(&jwt(JwtAlgorithm::Es256, "p256-pkcs8.pem"), None, now()).unwrap();
    assert!(verify(&ECDSA_P256_SHA256_FIXED, "p256-public.pem", &token));
    let (header, ..) = parts(&token);
    assert_eq!(header, json!({ "alg": "ES256", "typ": "JWT" }));
    // A changed token is no token.
    let changed = token.replacen("ey", "fy", 1);
    let (message, _) = changed.rsplit_once('.').unwrap();
    let (_, original) = token.rsplit_once('.').unwrap();
    let signature = BASE64URL_NOPAD.decode(original.as_bytes()).unwrap();
    let pem = std::fs::read_to_string(key("p256-public.pem")).unwrap();
    let (_, der) = pkcs8::Document::from_pem(&pem).unwrap();
    let info = SubjectPublicKeyInfoRef::from_der(der.as_bytes()).unwrap();
    let public =
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, info.subject_public_key.raw_bytes());
    assert!(public.verify(message.as_bytes(), &signature).is_err());
}

#[test]
fn the_claims_are_those_written_and_the_two_times() {
    let token = sign(&jwt(JwtAlgorithm::Es256, "p256-sec1.pem"), None, now()).unwrap();
    let (_, claims, ..) = parts(&token);
    let issued = 1_772_600_767;
    assert_eq!(
        claims,
        json!({
            "aud": "plant",
            "nested": { "a": [1, true, "ž"] },
            "iat": issued,
            "exp": issued + 3600,
        })
    );
}

#[test]
fn an_encrypted_key_takes_its_passphrase() {
    let jwt = jwt(JwtAlgorithm::Es256, "p256-encrypted.pem");
    let token = sign(&jwt, Some("open-sesame"), now()).unwrap();
    assert!(verify(&ECDSA_P256_SHA256_FIXED, "p256-public.pem", &token));
    assert!(sign(&jwt, None, now()).unwrap_err().contains("`key_passphrase`"));
    let why = sign(&jwt, Some("hunter2"), now()).unwrap_err();
    assert!(!why.contains("hunter2"), "{why}");
}

#[test]
fn a_key_of_another_kind_is_told() {
    for (algorithm, file, expected) in [
        (JwtAlgorithm::Rs256, "p256-sec1.pem", "p256-sec1.pem is no key for RS256"),
        (JwtAlgorithm::Es256, "rsa-pkcs8.pem", "rsa-pkcs8.pem is no key for ES256"),
        (JwtAlgorithm::Rs256, "rsa-1024.pem", "it needs an RSA key of 2048 bits or more"),
        (JwtAlgorithm::Rs256, "rsa-public.pem", "holds no private key"),
        (JwtAlgorithm::Rs256, "no-such.pem", "cannot read the key file"),
    ] {
        let why = sign(&jwt(algorithm, file), None, now()).unwrap_err();
        assert!(why.contains(expected), "`{expected}` is not in: {why}");
    }
}
