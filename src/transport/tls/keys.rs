//! Private keys from PEM files.

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::pem::PemLabel;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Reads the first private key of a PEM file: PKCS#8, encrypted or not, PKCS#1 or SEC1.
///
/// # Errors
///
/// The file cannot be read or holds no such key, or the passphrase does not fit; in words that name
/// the file and nothing of what is in it.
pub fn private_key(
    path: &Path,
    passphrase: Option<&str>,
) -> Result<PrivateKeyDer<'static>, String> {
    let text = std::fs::read(path)
        .map_err(|error| format!("cannot read the key file {}: {error}", path.display()))?;
    parse(&text, passphrase).map_err(|why| format!("the key file {} {why}", path.display()))
}

/// The same of what was read.
pub(super) fn parse(
    text: &[u8],
    passphrase: Option<&str>,
) -> Result<PrivateKeyDer<'static>, String> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) if !is_legacy_encrypted(text) => Ok(key),
        Ok(_) => Err(LEGACY.to_owned()),
        Err(pem::Error::NoItemsFound) => match encrypted_section(text) {
            Some(section) => decrypt(section, passphrase),
            None if is_legacy_encrypted(text) => Err(LEGACY.to_owned()),
            None => Err("holds no private key in PEM form (`-----BEGIN PRIVATE KEY-----`)".into()),
        },
        // The reason may quote the file.
        Err(_) if is_legacy_encrypted(text) => Err(LEGACY.to_owned()),
        Err(_) => Err("is no PEM file, or a damaged one".to_owned()),
    }
}

const LEGACY: &str = "is encrypted in the old way of OpenSSL: write it again with \
                      `openssl pkey -in OLD -aes256 -out NEW`";

fn is_legacy_encrypted(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"Proc-Type: 4,ENCRYPTED").is_some()
}

/// The PEM section of an encrypted PKCS#8 key.
fn encrypted_section(text: &[u8]) -> Option<&str> {
    const BEGIN: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";
    let start = memchr::memmem::find(text, BEGIN)?;
    let length = memchr::memmem::find(&text[start..], END)? + END.len();
    std::str::from_utf8(&text[start..start + length]).ok()
}

fn decrypt(section: &str, passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let passphrase = passphrase
        .ok_or("is encrypted: give its `key_passphrase`, or a key that is not encrypted")?;
    let (label, der) = pkcs8::SecretDocument::from_pem(section)
        .map_err(|_| "is no PEM file, or a damaged one".to_owned())?;
    EncryptedPrivateKeyInfoRef::validate_pem_label(label)
        .map_err(|_| "holds no encrypted private key".to_owned())?;
    let encrypted: EncryptedPrivateKeyInfoRef<'_> = der
        .decode_msg()
        .map_err(|_| "is encrypted in a way that is not PKCS#8 with PBES2".to_owned())?;
    let key = encrypted
        .decrypt(passphrase)
        .map_err(|_| "cannot be decrypted: is `key_passphrase` the right one?".to_owned())?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}
