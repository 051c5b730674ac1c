//! Bytes to and from a broker.
//!
//! A [`Transport`] is an open byte stream, whatever carries it; the borders of packets mean nothing
//! here.

mod tcp;
mod tls;
mod websocket;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

use crate::config::{Scheme, Server, Tls};
use tcp::TcpConnection;
pub use tls::keys::private_key;
pub use tls::{FilesState, TlsConnection, TlsFiles, TlsStatus};
pub use websocket::WebSocket;

/// Bytes asked of the system in one read.
const READ_BYTES: usize = 64 * 1024;

/// An open connection to a broker.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Tcp(TcpConnection),
    /// TLS over TCP.
    Tls(Box<TlsConnection>),
    /// WebSocket over TCP or TLS.
    WebSocket(Box<WebSocket>),
}

/// How to open a connection, besides where.
#[derive(Clone)]
pub struct Options {
    /// `tls` of the line.
    pub tls: Tls,
    /// What its `key_file` is encrypted with.
    pub key_passphrase: Option<String>,
    /// Largest packet expected, in bytes.
    pub maximum_packet_size: u32,
    /// How long it may take until bytes can be sent.
    pub limit: Duration,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("tls", &self.tls)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What one call of [`Transport::io`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes were taken off the front of what was to be sent, and the socket has them.
    Wrote(usize),
    /// So many bytes came in.
    Read(usize),
    /// The peer has closed its side.
    PeerClosed,
}

impl Transport {
    /// Opens a connection; the error says in the operator's words what failed.
    pub async fn connect(server: &Server, options: &Options) -> Result<Self, String> {
        let until = Instant::now() + options.limit;
        let within = |stage| Stage { server, stage, until, limit: options.limit };
        let prepared = if server.scheme.is_tls() {
            let passphrase = options.key_passphrase.clone();
            let prepare = tls::prepare(server, &options.tls, passphrase);
            Some(within("the files of `tls` could not be read").of(prepare).await?)
        } else {
            None
        };
        let tcp = within("no answer to the connection").of(tcp::connect(server)).await?;
        let secure = match prepared {
            Some(prepared) => {
                let handshake = prepared.connect(tcp.into_inner());
                let stage = "no answer to the TLS handshake (is it a TLS port?)";
                Ok(Box::new(within(stage).of(handshake).await?))
            }
            None => Err(tcp),
        };
        let carrier = match (server.scheme, secure) {
            (Scheme::Tcp | Scheme::Tls, Ok(tls)) => return Ok(Self::Tls(tls)),
            (Scheme::Tcp | Scheme::Tls, Err(tcp)) => return Ok(Self::Tcp(tcp)),
            (_, Ok(tls)) => websocket::Carrier::Tls(tls),
            (_, Err(tcp)) => websocket::Carrier::Tcp(tcp.into_inner()),
        };
        let upgrade = websocket::connect(server, carrier, options.maximum_packet_size);
        let stage = "no answer to the WebSocket handshake (is it a port for WebSocket?)";
        Ok(Self::WebSocket(Box::new(within(stage).of(upgrade).await?)))
    }

    /// Writes from `outbound` and, if wanted, reads to the end of `inbound`: whichever is possible
    /// first, writing before reading. Cancel-safe: nothing is lost when the future is dropped.
    pub async fn io(
        &mut self,
        outbound: &mut VecDeque<Bytes>,
        inbound: &mut BytesMut,
        read: bool,
    ) -> io::Result<Progress> {
        poll_fn(|context| {
            if let Poll::Ready(wrote) = self.poll_write_front(context, outbound) {
                return Poll::Ready(wrote.map(Progress::Wrote));
            }
            if read {
                return self.poll_read_into(context, inbound);
            }
            Poll::Pending
        })
        .await
    }

    /// Whether the socket has everything that was taken off the front of `outbound`.
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::Tcp(_) => true,
            Self::Tls(connection) => connection.is_flushed(),
            Self::WebSocket(connection) => connection.is_flushed(),
        }
    }

    /// Takes leave of the peer in the transport's own way, without waiting for an answer: a close
    /// frame, a close_notify. Cancel-safe.
    pub async fn close(&mut self) -> io::Result<()> {
        poll_fn(|context| match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(connection) => connection.poll_close(context),
            Self::WebSocket(connection) => connection.poll_close(context),
        })
        .await
    }

    /// Version, cipher suite and dates of certificates, where TLS is used.
    pub fn tls_status(&self) -> Option<TlsStatus> {
        self.tls().map(TlsConnection::status)
    }

    /// The certificate files that the connection was made with, where TLS is used.
    pub fn tls_files(&self) -> Option<&TlsFiles> {
        self.tls().map(TlsConnection::files)
    }

    /// What to look at after [`Progress::PeerClosed`], if the server never said anything.
    pub fn closed_hint(&self) -> Option<String> {
        match self {
            Self::Tcp(connection) => connection.closed_silently(),
            Self::Tls(connection) => connection.closed_silently(),
            // It has answered in HTTP.
            Self::WebSocket(_) => None,
        }
    }

    fn tls(&self) -> Option<&TlsConnection> {
        match self {
            Self::Tcp(_) => None,
            Self::Tls(connection) => Some(connection),
            Self::WebSocket(connection) => connection.tls(),
        }
    }

    fn poll_write_front(
        &mut self,
        context: &mut Context<'_>,
        outbound: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(connection) => connection.poll_write_front(context, outbound),
            Self::Tls(connection) => connection.poll_write_front(context, outbound),
            Self::WebSocket(connection) => connection.poll_write_front(context, outbound),
        }
    }

    fn poll_read_into(
        &mut self,
        context: &mut Context<'_>,
        inbound: &mut BytesMut,
    ) -> Poll<io::Result<Progress>> {
        inbound.reserve(READ_BYTES);
        match self {
            Self::Tcp(connection) => connection.poll_read_into(context, inbound),
            Self::Tls(connection) => connection.poll_read_into(context, inbound),
            Self::WebSocket(connection) => connection.poll_read_into(context, inbound),
        }
    }
}

/// A part of opening a connection, and until when it must be done.
struct Stage<'a> {
    server: &'a Server,
    stage: &'static str,
    until: Instant,
    limit: Duration,
}

impl Stage<'_> {
    async fn of<T>(self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let Self { server, stage, until, limit } = self;
        tokio::time::timeout_at(until, work)
            .await
            .map_err(|_| format!("{server}: {stage} within {limit:?}"))?
    }
}

/// Takes so many bytes off the front.
fn advance(outbound: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(front) = outbound.front_mut() {
        if count < front.len() {
            front.advance(count);
            return;
        }
        count -= front.len();
        outbound.pop_front();
        if count == 0 {
            return;
        }
    }
}
