//! TLS 1.2 and 1.3 over TCP.
//!
//! Certificates and keys are read again for every connection, so that a renewed file needs no
//! restart. What goes wrong is told by [`explain`].

mod certificate;
mod explain;
pub(super) mod keys;
mod material;
#[cfg(test)]
mod tests;
mod verifier;

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};

use super::{Progress, READ_BYTES, advance};
use crate::config::{Server, Tls, TlsVersion};
use certificate::Certificate;
use material::Material;
pub use material::{FilesState, TlsFiles};
use verifier::{Observed, Resolver, Verifier};

/// Slices given to the stream in one call; rustls makes records of them without joining them first.
const SLICES_MAX: usize = 64;
/// Most bytes taken before they are pushed to the socket.
const UNFLUSHED_BYTES_MAX: usize = 256 << 10;

/// What operators see of a TLS connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsStatus {
    /// `TLS 1.2` or `TLS 1.3`.
    pub version: &'static str,
    /// Name of the cipher suite in the registry of IANA.
    pub cipher: String,
    /// The protocol that the server chose of `alpn`.
    pub alpn: Option<String>,
    /// Subject of the server's certificate.
    pub server_subject: Option<String>,
    /// End of the server's certificate.
    pub server_expires: Option<Timestamp>,
    /// End of the client's certificate, if there is one.
    pub client_expires: Option<Timestamp>,
    /// Whether the server's certificate was checked.
    pub verified: bool,
}

/// Everything for a handshake, made before a socket is opened.
pub(super) struct Prepared {
    connector: TlsConnector,
    server_name: ServerName<'static>,
    context: explain::Context,
    files: TlsFiles,
}

/// An open TLS connection.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<BufReader<TcpStream>>,
    context: explain::Context,
    files: TlsFiles,
    /// Bytes that the stream took and the socket may not have.
    unflushed: usize,
    answered: bool,
    /// How reading ended, while bytes that came before are still to be handed out.
    ended: Option<io::Result<Progress>>,
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Reads all files.
pub(super) async fn prepare(
    server: &Server,
    tls: &Tls,
    passphrase: Option<String>,
) -> Result<Prepared, String> {
    let (server, tls) = (server.clone(), tls.clone());
    // The files may lie on a network drive that hangs.
    tokio::task::spawn_blocking(move || prepare_blocking(&server, &tls, passphrase.as_deref()))
        .await
        .map_err(|error| format!("reading the files of `tls` failed: {error}"))?
}

fn prepare_blocking(
    server: &Server,
    tls: &Tls,
    passphrase: Option<&str>,
) -> Result<Prepared, String> {
    let provider = provider();
    let material = Material::read(tls, passphrase, &provider)?;
    let expected_name = tls.server_name.as_ref().unwrap_or(&server.host).clone();
    let server_name = ServerName::try_from(expected_name.clone()).map_err(|_| {
        format!(
            "`{expected_name}` is no host name that a certificate can have: set `server_name` to \
             the one that the server's has"
        )
    })?;
    let observed = Arc::new(Observed::default());
    let context = explain::Context {
        server: server.clone(),
        tls: tls.clone(),
        expected_name,
        own_roots: material
            .own_roots
            .iter()
            .filter_map(Certificate::read)
            .map(|certificate| certificate.subject)
            .collect(),
        system_roots: if tls.ca_file.is_none() { material.roots.len() } else { 0 },
        client: material.client.as_ref().and_then(|client| client.certificate.clone()),
        observed: Arc::clone(&observed),
    };
    let rules = if tls.insecure_skip_verify {
        None
    } else {
        let roots = Arc::new(material.roots);
        let rules =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        Some(rules.map_err(|error| format!("the CA certificates cannot be used: {error}"))?)
    };
    let verifier = Verifier {
        rules,
        pinned: material.own_roots,
        provider: Arc::clone(&provider),
        observed: Arc::clone(&observed),
    };
    let key = material.client.map(|client| client.key);
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::V12 => &[&TLS13, &TLS12],
        TlsVersion::V13 => &[&TLS13],
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Resolver { key, observed }));
    // Every connection checks the certificate, and a renewed one is used at once.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = tls.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(Prepared {
        connector: TlsConnector::from(Arc::new(config)),
        server_name,
        context,
        files: material.files,
    })
}

impl Prepared {
    /// The handshake.
    pub(super) async fn connect(self, tcp: TcpStream) -> Result<TlsConnection, String> {
        if self.context.tls.insecure_skip_verify {
            tracing::warn!(
                server = %self.context.server,
                "`insecure_skip_verify` is set: whoever answers at this address is believed to be \
                 the server, and gets the user name and the password"
            );
        }
        let stream = self
            .connector
            // Without it rustls asks the system for 4 KiB at a time.
            .connect(self.server_name, BufReader::with_capacity(READ_BYTES, tcp))
            .await
            .map_err(|error| self.context.handshake(&error))?;
        Ok(TlsConnection {
            stream,
            context: self.context,
            files: self.files,
            unflushed: 0,
            answered: false,
            ended: None,
        })
    }
}

impl TlsConnection {
    /// Version, cipher suite, and how long the certificates last.
    pub fn status(&self) -> TlsStatus {
        let (_, connection) = self.stream.get_ref();
        let server = connection.peer_certificates().and_then(<[_]>::first);
        let server = server.and_then(Certificate::read);
        TlsStatus {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
            alpn: connection
                .alpn_protocol()
                .map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            server_expires: server.as_ref().map(|certificate| certificate.not_after),
            server_subject: server.map(|certificate| certificate.subject),
            client_expires: self.context.client.as_ref().map(|own| own.not_after),
            verified: !self.context.tls.insecure_skip_verify,
        }
    }

    /// The files that the connection was made with.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Why the server may have closed, if it never said anything.
    pub(super) fn closed_silently(&self) -> Option<String> {
        if self.answered { None } else { self.context.closed_silently() }
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.unflushed == 0
    }

    /// Counts bytes once the socket has them: until then they are not sent.
    pub(super) fn poll_write_front(
        &mut self,
        context: &mut Context<'_>,
        outbound: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        while !outbound.is_empty() && self.unflushed < UNFLUSHED_BYTES_MAX {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut used = 0;
            for (slice, bytes) in slices.iter_mut().zip(outbound.iter()) {
                *slice = IoSlice::new(bytes);
                used += 1;
            }
            let stream = Pin::new(&mut self.stream);
            match stream.poll_write_vectored(context, &slices[..used]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    advance(outbound, count);
                    self.unflushed += count;
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.explain_write(context, error)));
                }
                Poll::Pending => break,
            }
        }
        if self.unflushed == 0 {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.stream).poll_flush(context)) {
            Ok(()) => Poll::Ready(Ok(std::mem::take(&mut self.unflushed))),
            Err(error) => Poll::Ready(Err(self.explain_write(context, error))),
        }
    }

    pub(super) fn poll_read_into(
        &mut self,
        context: &mut Context<'_>,
        inbound: &mut BytesMut,
    ) -> Poll<io::Result<Progress>> {
        let mut count = 0;
        // A record may be as small as a packet: a turn takes as many as have arrived.
        while count < READ_BYTES && self.ended.is_none() {
            // The future of `read_buf` keeps nothing between polls.
            match pin!(self.stream.read_buf(inbound)).poll(context) {
                Poll::Ready(Ok(0)) => self.ended = Some(Ok(Progress::PeerClosed)),
                Poll::Ready(Ok(more)) => count += more,
                Poll::Ready(Err(error)) => self.ended = Some(self.explain_read(error)),
                Poll::Pending => break,
            }
        }
        if count > 0 {
            self.answered = true;
            return Poll::Ready(Ok(Progress::Read(count)));
        }
        self.ended.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Tells the server that no more comes.
    pub(super) fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn explain_read(&self, error: io::Error) -> io::Result<Progress> {
        // Without a close_notify. MQTT's packets have lengths: what was cut off is noticed.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Ok(Progress::PeerClosed);
        }
        Err(self.explain_error(error))
    }

    /// In TLS 1.3 a server looks at the client's certificate when the client already writes: the
    /// reason may lie unread behind the error of the write.
    fn explain_write(&mut self, context: &mut Context<'_>, error: io::Error) -> io::Error {
        if self.context.stream(&error).is_some() {
            return self.explain_error(error);
        }
        let mut ignored = BytesMut::with_capacity(4096);
        match pin!(self.stream.read_buf(&mut ignored)).poll(context) {
            Poll::Ready(Err(reason)) if self.context.stream(&reason).is_some() => {
                self.explain_error(reason)
            }
            _ => self.explain_error(error),
        }
    }

    fn explain_error(&self, error: io::Error) -> io::Error {
        let why = self.context.stream(&error).or_else(|| {
            let silent = self.closed_silently()?;
            Some(format!("{error}; {silent}"))
        });
        match why {
            Some(why) => io::Error::new(error.kind(), why),
            None => error,
        }
    }
}

/// For what is carried inside: errors are told like those of the connection itself.
impl AsyncRead for TlsConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match ready!(Pin::new(&mut this.stream).poll_read(context, buffer)) {
            Ok(()) => {
                this.answered |= buffer.filled().len() > before;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(this.explain_read(error).map(|_| ())),
        }
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = ready!(Pin::new(&mut this.stream).poll_write(context, bytes));
        Poll::Ready(wrote.map_err(|error| this.explain_write(context, error)))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.stream).poll_flush(context));
        Poll::Ready(flushed.map_err(|error| this.explain_write(context, error)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
