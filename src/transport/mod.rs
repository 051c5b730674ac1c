//! Bytes to and from a broker.
//!
//! A [`Transport`] is an open byte stream, whatever carries it; the borders of packets mean nothing
//! here.

mod tcp;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::{Scheme, Server};

/// Bytes asked of the system in one read.
const READ_BYTES: usize = 64 * 1024;

/// An open connection to a broker.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Tcp(TcpStream),
}

/// What one call of [`Transport::io`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes were taken off the front of what was to be sent.
    Wrote(usize),
    /// So many bytes came in.
    Read(usize),
    /// The peer has closed its side.
    PeerClosed,
}

impl Transport {
    /// Opens a connection; the error says in the operator's words what failed.
    pub async fn connect(server: &Server) -> Result<Self, String> {
        match server.scheme {
            Scheme::Tcp => tcp::connect(server).await.map(Self::Tcp),
            scheme => Err(format!("{}:// is not supported yet", scheme.as_str())),
        }
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

    fn poll_write_front(
        &mut self,
        context: &mut Context<'_>,
        outbound: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        let Some(front) = outbound.front_mut() else { return Poll::Pending };
        let wrote = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, front),
        };
        if let Poll::Ready(Ok(count)) = wrote {
            front.advance(count);
            if front.is_empty() {
                outbound.pop_front();
            }
        }
        wrote
    }

    fn poll_read_into(
        &mut self,
        context: &mut Context<'_>,
        inbound: &mut BytesMut,
    ) -> Poll<io::Result<Progress>> {
        inbound.reserve(READ_BYTES);
        let polled = match self {
            // The future of `read_buf` keeps nothing between polls.
            Self::Tcp(stream) => pin!(stream.read_buf(inbound)).poll(context),
        };
        polled.map_ok(|count| match count {
            0 => Progress::PeerClosed,
            count => Progress::Read(count),
        })
    }
}
