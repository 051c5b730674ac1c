//! What an operator wants to know of a certificate.

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Names and dates of an X.509 certificate, fit for a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Host names and addresses that it is for.
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// The X.509 version, from 1.
    pub(super) version: u8,
    /// The SubjectPublicKeyInfo in DER.
    pub(super) public_key: Vec<u8>,
    /// The bits of the key in it.
    pub(super) public_key_bits: Vec<u8>,
}

impl Certificate {
    /// `None`: not a certificate, or one of a form that nobody should issue.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der.as_ref()).ok()?;
        let tbs = certificate.tbs_certificate();
        let second = |time: x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
            Timestamp::from_second(seconds).ok()
        };
        let names = tbs.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        Some(Self {
            subject: printable(&tbs.subject().to_string()),
            issuer: printable(&tbs.issuer().to_string()),
            names: names.iter().filter_map(host_name).collect(),
            not_before: second(tbs.validity().not_before)?,
            not_after: second(tbs.validity().not_after)?,
            version: tbs.version() as u8 + 1,
            public_key: tbs.subject_public_key_info().to_der().ok()?,
            public_key_bits: tbs.subject_public_key_info().subject_public_key.as_bytes()?.to_vec(),
        })
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }
}

/// The distinguished name in DER, in words.
pub(super) fn distinguished_name(der: &[u8]) -> Option<String> {
    let name = x509_cert::name::Name::from_der(der).ok()?;
    Some(printable(&name.to_string()))
}

fn host_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(printable(name.as_str())),
        GeneralName::IpAddress(octets) => match octets.as_bytes() {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            bytes => {
                let bytes: [u8; 16] = bytes.try_into().ok()?;
                Some(std::net::Ipv6Addr::from(bytes).to_string())
            }
        },
        _ => None,
    }
}

/// A name comes from the peer: it must not move the cursor of whoever reads the log.
fn printable(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let clean = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    text.chars().take(CHARACTERS_MAX).map(clean).collect()
}
