//! Verification that remembers what it saw, for those who must read why it failed.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::{Certificate, distinguished_name};

/// What the server showed and asked for.
#[derive(Debug, Default)]
pub(super) struct Observed {
    chain: OnceLock<Vec<CertificateDer<'static>>>,
    accepted_issuers: OnceLock<Vec<String>>,
}

impl Observed {
    /// The server's certificate and those that it sent along.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        self.chain.get().map_or(&[], Vec::as_slice)
    }

    /// The CAs that a client's certificate may be of, if one was asked for.
    pub(super) fn accepted_issuers(&self) -> Option<&[String]> {
        self.accepted_issuers.get().map(Vec::as_slice)
    }
}

/// The rules of the web's PKI, and two exceptions that the operator asked for.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: every certificate is believed.
    pub(super) rules: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates of `ca_file`, which a server may also use as its own.
    pub(super) pinned: Vec<CertificateDer<'static>>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) observed: Arc<Observed>,
}

impl Verifier {
    /// A server that shows the very certificate that stands in `ca_file`, as devices with a
    /// self-signed one do: the rules refuse a CA's certificate as a server's, the operator did not.
    fn verify_pinned(
        &self,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<Result<ServerCertVerified, Error>> {
        self.pinned.iter().find(|pinned| pinned.as_ref() == end_entity.as_ref())?;
        let certificate = Certificate::read(end_entity)?;
        let second = |time: jiff::Timestamp| {
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(
                u64::try_from(time.as_second()).unwrap_or_default(),
            ))
        };
        let (not_before, not_after) =
            (second(certificate.not_before), second(certificate.not_after));
        if now < not_before {
            return Some(
                Err(CertificateError::NotValidYetContext { time: now, not_before }.into()),
            );
        }
        if now > not_after {
            return Some(Err(CertificateError::ExpiredContext { time: now, not_after }.into()));
        }
        let parsed = ParsedCertificate::try_from(end_entity).ok()?;
        Some(verify_server_name(&parsed, server_name).map(|()| ServerCertVerified::assertion()))
    }
}

impl Verifier {
    /// Where every certificate is believed, also one of X.509 version 1, which rustls does not read.
    /// That the server has its key is checked all the same.
    fn verify_old(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
        error: Error,
    ) -> Result<HandshakeSignatureValid, Error> {
        let old = Certificate::read(certificate).filter(|certificate| certificate.version < 3);
        let Some(old) = old.filter(|_| self.rules.is_none()) else { return Err(error) };
        let mapping = self.provider.signature_verification_algorithms.mapping;
        mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signature.scheme)
            .flat_map(|(_, algorithms)| *algorithms)
            .find(|algorithm| {
                let verified = algorithm.verify_signature(
                    &old.public_key_bits,
                    message,
                    signature.signature(),
                );
                verified.is_ok()
            })
            .map(|_| HandshakeSignatureValid::assertion())
            .ok_or(error)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.observed.chain.get_or_init(|| {
            let all = std::iter::once(end_entity).chain(intermediates);
            all.map(|certificate| certificate.clone().into_owned()).collect()
        });
        let Some(rules) = &self.rules else { return Ok(ServerCertVerified::assertion()) };
        rules
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .or_else(|error| match error {
                Error::InvalidCertificate(CertificateError::Other(_)) => {
                    self.verify_pinned(end_entity, server_name, now).unwrap_or(Err(error))
                }
                error => Err(error),
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
            .or_else(|error| self.verify_old(message, certificate, signature, error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
            .or_else(|error| self.verify_old(message, certificate, signature, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The client's certificate, and the knowledge whether it was asked for.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) key: Option<Arc<CertifiedKey>>,
    pub(super) observed: Arc<Observed>,
}

impl ResolvesClientCert for Resolver {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.observed.accepted_issuers.get_or_init(|| {
            root_hint_subjects.iter().filter_map(|name| distinguished_name(name)).collect()
        });
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        // Also without one: an answer is due in either case, and the question is worth knowing.
        true
    }
}
