//! What a TLS connection is made of: read from its files at every connect.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore};

use super::certificate::Certificate;
use super::keys;
use crate::config::Tls;

/// Largest file read; a bundle of all public CAs has a fifth of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Certificates and keys of one connection.
pub(super) struct Material {
    pub(super) roots: RootCertStore,
    /// The certificates of `ca_file`; empty where the system's are used.
    pub(super) own_roots: Vec<CertificateDer<'static>>,
    pub(super) client: Option<Client>,
    pub(super) files: TlsFiles,
}

/// The client's certificate.
pub(super) struct Client {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) certificate: Option<Certificate>,
}

impl Material {
    /// Reads every file; blocks.
    pub(super) fn read(
        tls: &Tls,
        passphrase: Option<&str>,
        provider: &CryptoProvider,
    ) -> Result<Self, String> {
        let mut read = Vec::new();
        let mut roots = RootCertStore::empty();
        let mut own_roots = Vec::new();
        if let Some(path) = &tls.ca_file {
            own_roots = certificates("ca_file", path, &file("ca_file", path, &mut read)?)?;
            for (index, certificate) in own_roots.iter().enumerate() {
                roots.add(certificate.clone()).map_err(|error| {
                    let number = index + 1;
                    format!("certificate {number} of `ca_file` {}: {error}", path.display())
                })?;
            }
        } else if !tls.insecure_skip_verify {
            system_roots(&mut roots)?;
        }
        let client = match (&tls.cert_file, &tls.key_file) {
            (Some(cert_file), Some(key_file)) => {
                Some(client(cert_file, key_file, passphrase, provider, &mut read)?)
            }
            _ => None,
        };
        let files = TlsFiles { tls: tls.clone(), passphrase: passphrase.map(str::to_owned), read };
        Ok(Self { roots, own_roots, client, files })
    }
}

fn system_roots(roots: &mut RootCertStore) -> Result<(), String> {
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(format!(
            "this machine has no CA certificates{why}: install them (package `ca-certificates`) or give a `ca_file`"
        ));
    }
    Ok(())
}

fn client(
    cert_file: &Path,
    key_file: &Path,
    passphrase: Option<&str>,
    provider: &CryptoProvider,
    read: &mut Vec<(PathBuf, Fingerprint)>,
) -> Result<Client, String> {
    let chain = certificates("cert_file", cert_file, &file("cert_file", cert_file, read)?)?;
    let certificate = chain.first().and_then(Certificate::read);
    let key = keys::parse(&file("key_file", key_file, read)?, passphrase)
        .map_err(|why| format!("the `key_file` {} {why}", key_file.display()))?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        format!(
            "the key in {} is of a kind that TLS cannot use here: it takes RSA of 2048 bits or more, \
             P-256, P-384 and Ed25519",
            key_file.display()
        )
    })?;
    let key = CertifiedKey::new(chain, key);
    if !fits(&key, certificate.as_ref()) {
        return Err(format!(
            "the key in {} is not that of the first certificate in {}: are both files of the same \
             renewal, and does the client's own certificate come first?",
            key_file.display(),
            cert_file.display()
        ));
    }
    Ok(Client { key: Arc::new(key), certificate })
}

/// Whether the key is that of the certificate, as far as can be told. X.509 version 1, which `openssl
/// x509 -req` makes and brokers take, is more than rustls reads.
fn fits(key: &CertifiedKey, certificate: Option<&Certificate>) -> bool {
    match key.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => true,
        Err(Error::InconsistentKeys(_)) => false,
        Err(_) => match (key.key.public_key(), certificate) {
            (Some(own), Some(certificate)) => own.as_ref() == certificate.public_key,
            _ => true,
        },
    }
}

fn certificates(
    key: &str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let certificates = certificates
        .map_err(|_| format!("the `{key}` {} is a damaged PEM file", path.display()))?;
    if certificates.is_empty() {
        return Err(format!(
            "the `{key}` {} holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)",
            path.display()
        ));
    }
    Ok(certificates)
}

fn file(key: &str, path: &Path, read: &mut Vec<(PathBuf, Fingerprint)>) -> Result<Vec<u8>, String> {
    let bytes = bytes_of(path)
        .map_err(|error| format!("cannot read the `{key}` {}: {error}", path.display()))?;
    read.push((path.to_owned(), Fingerprint::of(&bytes)));
    Ok(bytes)
}

fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other("the file is too large"));
    }
    std::fs::read(path)
}

/// Enough to see that a file was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    bytes: usize,
    crc: u32,
}

impl Fingerprint {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len(), crc: crc32fast::hash(bytes) }
    }
}

/// The files that a connection was made with.
#[derive(Clone)]
pub struct TlsFiles {
    tls: Tls,
    passphrase: Option<String>,
    read: Vec<(PathBuf, Fingerprint)>,
}

/// What became of the files of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesState {
    /// As they were read.
    Same,
    /// This one changed, and all of them together are good for a new connection.
    Renewed(PathBuf),
    /// One changed, but a new connection could not be made with them: half-written, or wrong.
    Unusable(String),
}

impl TlsFiles {
    /// Compares with what lies there; blocks.
    pub fn changed(&self) -> FilesState {
        let differs = |(path, fingerprint): &&(PathBuf, Fingerprint)| {
            bytes_of(path).map(|bytes| Fingerprint::of(&bytes)).ok() != Some(*fingerprint)
        };
        let Some((path, _)) = self.read.iter().find(differs) else { return FilesState::Same };
        match Material::read(&self.tls, self.passphrase.as_deref(), &super::provider()) {
            Ok(_) => FilesState::Renewed(path.clone()),
            Err(why) => FilesState::Unusable(why),
        }
    }
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsFiles").field(&self.read).finish()
    }
}
