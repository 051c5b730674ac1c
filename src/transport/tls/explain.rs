//! Why TLS failed, in words that an engineer acts on.

use std::io;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::certificate::Certificate;
use super::verifier::Observed;
use crate::config::{Server, Tls, TlsVersion};

/// What is known of a connection when it fails.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) server: Server,
    pub(super) tls: Tls,
    /// The name that the server's certificate must have.
    pub(super) expected_name: String,
    /// Subjects in `ca_file`; empty where the system's certificates are used.
    pub(super) own_roots: Vec<String>,
    /// How many certificates the system has.
    pub(super) system_roots: usize,
    /// The client's certificate.
    pub(super) client: Option<Certificate>,
    pub(super) observed: Arc<Observed>,
}

impl Context {
    /// An error of the handshake.
    pub(super) fn handshake(&self, error: &io::Error) -> String {
        let why = match tls_error(error) {
            Some(error) => self.explain(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => self.closed_in_handshake(),
                _ => error.to_string(),
            },
        };
        format!("no TLS with {}: {why}", self.server)
    }

    /// An error of an open connection, if TLS has a word in it.
    pub(super) fn stream(&self, error: &io::Error) -> Option<String> {
        tls_error(error).map(|error| self.explain(error))
    }

    /// The server closed before it said anything in MQTT.
    pub(super) fn closed_silently(&self) -> Option<String> {
        let wanted = self.observed.accepted_issuers().is_some() && self.client.is_none();
        wanted.then(|| {
            "it had asked for a client certificate, and the line has none: give `cert_file` and \
             `key_file`"
                .to_owned()
        })
    }

    fn closed_in_handshake(&self) -> String {
        match self.closed_silently() {
            Some(why) => format!("the server closed the connection; {why}"),
            None => format!(
                "the server closed the connection instead of answering: is {} its TLS port? A port \
                 for plain MQTT does this, and so does a server that speaks only TLS 1.1 or older",
                self.server.port
            ),
        }
    }

    fn explain(&self, error: &Error) -> String {
        match error {
            Error::InvalidCertificate(error) => self.certificate(error),
            Error::AlertReceived(alert) => self.alert(*alert),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::SupportedVersionsExtensionRequired,
            ) => self.too_old(),
            Error::PeerIncompatible(why) => {
                format!("the server and this line have too little in common ({why:?})")
            }
            Error::InvalidMessage(_) => format!(
                "what the server answers is no TLS: does port {} speak plain MQTT (`mqtt://`) or \
                 something else?",
                self.server.port
            ),
            Error::NoApplicationProtocol => self.no_protocol(),
            Error::PeerMisbehaved(why) => format!("the server breaks the rules of TLS ({why:?})"),
            error => error.to_string(),
        }
    }

    fn too_old(&self) -> String {
        match self.tls.min_version {
            TlsVersion::V12 => "the server speaks only TLS 1.1 or older, which is not safe any \
                                more: it must be set to TLS 1.2 or 1.3"
                .to_owned(),
            TlsVersion::V13 => "the server does not speak TLS 1.3, which `min_version = \"1.3\"` \
                                asks for: lower it to \"1.2\" or set up the server"
                .to_owned(),
        }
    }

    fn no_protocol(&self) -> String {
        let offered = self.tls.alpn.join("`, `");
        format!("the server takes none of the protocols `{offered}` of `alpn`")
    }

    fn certificate(&self, error: &CertificateError) -> String {
        let shown = self.server_certificate();
        match error {
            CertificateError::UnknownIssuer => self.unknown_issuer(),
            CertificateError::ExpiredContext { time, not_after } => {
                let (now, then) = (timestamp(*time), timestamp(*not_after));
                format!(
                    "the server's certificate{} expired on {then}, {} ago; this machine's clock says \
                     {}: renew the certificate, or check this machine's clock if that is wrong",
                    self.named(|certificate| certificate.not_after == then),
                    span(now.duration_since(then)),
                    hour(now),
                )
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                let (now, then) = (timestamp(*time), timestamp(*not_before));
                format!(
                    "the server's certificate{} is not valid before {then}; this machine's clock \
                     says {}: check this machine's clock, then the certificate",
                    self.named(|certificate| certificate.not_before == then),
                    hour(now),
                )
            }
            CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
                self.wrong_name()
            }
            CertificateError::BadSignature => format!(
                "the signature of the server's certificate {} is not by the CA of that name in {}: \
                 is it a CA that was made again, or one with an RSA key of less than 2048 bits?",
                shown.map_or_else(String::new, |certificate| format!("`{}`", certificate.subject)),
                self.trust()
            ),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the server's certificate is not for servers (its extended key usage lacks \
                 `serverAuth`): it must be made again"
                    .to_owned()
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                "the server's certificate is signed in a way that is not safe any more (SHA-1?) or \
                 not known here: it must be made again, with SHA-256"
                    .to_owned()
            }
            CertificateError::Revoked => "the server's certificate is revoked".to_owned(),
            _ => match shown {
                Some(certificate) if certificate.version < 3 => format!(
                    "the server's certificate `{}` is X.509 version {}, without the names of the \
                     server: it must be made again as version 3 with a subjectAltName",
                    certificate.subject, certificate.version
                ),
                Some(certificate) if certificate.is_self_issued() => format!(
                    "the server's certificate is the self-signed certificate of a CA, `{}`: put \
                     that very certificate into `ca_file`, or give the server one of its own",
                    certificate.subject
                ),
                _ => format!("the server's certificate is not valid ({error})"),
            },
        }
    }

    fn unknown_issuer(&self) -> String {
        let chain: Vec<Certificate> =
            self.observed.chain().iter().filter_map(Certificate::read).collect();
        let Some(own) = chain.first() else {
            return "the server's certificate cannot be read".to_owned();
        };
        let advice = match &self.tls.ca_file {
            Some(_) => "is it the wrong file, or is a certificate missing in it?",
            None => "give the certificate of that CA as `ca_file`",
        };
        if own.is_self_issued() {
            return format!(
                "the server's certificate `{}` is self-signed and not in {}: put it into `ca_file`, \
                 if this is the right server",
                own.subject,
                self.trust()
            );
        }
        // The end of the chain that the server sent.
        let mut last = own;
        for _ in &chain {
            let above = chain.iter().find(|above| above.subject == last.issuer);
            match above {
                Some(above) if !last.is_self_issued() => last = above,
                _ => break,
            }
        }
        format!(
            "the server's certificate `{}` is from the CA `{}`, which is not in {}; {advice}",
            own.subject,
            last.issuer,
            self.trust()
        )
    }

    fn wrong_name(&self) -> String {
        let Some(certificate) = self.server_certificate() else {
            return format!("the server's certificate is not for `{}`", self.expected_name);
        };
        if certificate.names.is_empty() {
            return format!(
                "the server's certificate `{}` names no host (it has no subjectAltName, and the \
                 subject does not count): it must be made again with `{}` in it",
                certificate.subject, self.expected_name
            );
        }
        format!(
            "the server's certificate is for `{}`, not for `{}`: use one of these names in `servers`, \
             or set it as `server_name` if this is the right server",
            certificate.names.join("`, `"),
            self.expected_name
        )
    }

    fn alert(&self, alert: AlertDescription) -> String {
        let asked = self.observed.accepted_issuers();
        match (alert, &self.client) {
            (AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity, _) => {
                self.too_old()
            }
            (AlertDescription::NoApplicationProtocol, _) => self.no_protocol(),
            (AlertDescription::UnrecognisedName, _) => format!(
                "the server does not know the name `{}`: use its own in `servers`, or set \
                 `server_name`",
                self.expected_name
            ),
            (AlertDescription::CertificateRequired, _) => self.certificate_required(),
            (_, None) if asked.is_some() && is_about_certificates(alert) => {
                self.certificate_required()
            }
            (_, Some(own)) if asked.is_some() && is_about_certificates(alert) => {
                self.refused(alert, own, asked.unwrap_or_default())
            }
            (AlertDescription::HandshakeFailure, _) => "the server found no cipher suite that it \
                                                        shares with this line, or wants a client \
                                                        certificate"
                .to_owned(),
            (alert, _) => format!("the server ended TLS with the alert `{}`", word(alert)),
        }
    }

    fn certificate_required(&self) -> String {
        match &self.client {
            None => "the server requires a client certificate, and the line has none: give \
                     `cert_file` and `key_file`"
                .to_owned(),
            Some(own) => self.refused(
                AlertDescription::CertificateRequired,
                own,
                self.observed.accepted_issuers().unwrap_or_default(),
            ),
        }
    }

    fn refused(&self, alert: AlertDescription, own: &Certificate, accepted: &[String]) -> String {
        let file = self.tls.cert_file.as_deref().unwrap_or(std::path::Path::new(""));
        let mut text = format!(
            "the server refused the client certificate {} (`{}`, issued by `{}`, valid until {}) with \
             the alert `{}`",
            file.display(),
            own.subject,
            own.issuer,
            own.not_after,
            word(alert)
        );
        text.push_str(match alert {
            AlertDescription::UnknownCA => ": it does not know that CA",
            AlertDescription::CertificateExpired => ": renew it, or check the server's clock",
            AlertDescription::CertificateRevoked => ": it has been revoked, get another one",
            AlertDescription::UnsupportedCertificate => {
                ": it is not for clients, or of a wrong kind"
            }
            _ => "",
        });
        if !accepted.is_empty() {
            const SHOWN_MAX: usize = 5;
            let shown = accepted.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>();
            text.push_str(&format!("; it takes those of `{}`", shown.join("`, `")));
            if accepted.len() > SHOWN_MAX {
                text.push_str(" and others");
            }
        }
        text
    }

    fn server_certificate(&self) -> Option<Certificate> {
        self.observed.chain().first().and_then(Certificate::read)
    }

    /// The subject of the certificate in the server's chain that it is about.
    fn named(&self, is_it: impl Fn(&Certificate) -> bool) -> String {
        let chain = self.observed.chain().iter().filter_map(Certificate::read);
        let mut found = chain.filter(is_it).map(|certificate| certificate.subject);
        found.next().map_or_else(String::new, |subject| format!(" `{subject}`"))
    }

    fn trust(&self) -> String {
        const SHOWN_MAX: usize = 5;
        match &self.tls.ca_file {
            Some(path) => {
                let shown: Vec<&str> =
                    self.own_roots.iter().take(SHOWN_MAX).map(String::as_str).collect();
                let more = if self.own_roots.len() > SHOWN_MAX { " and others" } else { "" };
                format!("the `ca_file` {} (it has `{}`{more})", path.display(), shown.join("`, `"))
            }
            None => format!("the {} CA certificates of this machine", self.system_roots),
        }
    }
}

/// The error of rustls inside one of the stream.
fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Alerts by which servers say that they do not like the client's certificate, or want one.
fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

/// An alert as RFC 8446 section 6 writes it: `bad_certificate`.
fn word(alert: AlertDescription) -> String {
    let mut word = String::new();
    let name = format!("{alert:?}").replace("CA", "Ca");
    for (index, character) in name.char_indices() {
        if character.is_ascii_uppercase() && index > 0 {
            word.push('_');
        }
        word.push(character.to_ascii_lowercase());
    }
    word
}

fn timestamp(time: UnixTime) -> Timestamp {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// To the hour, and no finer below: the log says a failure once for each of its texts.
fn hour(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d %H h UTC").to_string()
}

fn span(duration: SignedDuration) -> String {
    let (days, hours) = (duration.as_hours() / 24, duration.as_hours());
    match (days, hours) {
        (2.., _) => format!("{days} days"),
        (_, 2..) => format!("{hours} hours"),
        _ => "less than two hours".to_owned(),
    }
}
