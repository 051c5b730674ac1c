//! Plain TCP.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use super::Progress;
use crate::config::Server;

/// What to look at when a server ends the connection before it said anything.
const SILENT: &str = "before it answered anything (does this port want TLS, `mqtts://`, or WebSocket, \
                      `ws://`? Or does it refuse the client without a word?)";

/// An open TCP connection.
#[derive(Debug)]
pub struct TcpConnection {
    stream: TcpStream,
    answered: bool,
}

/// Opens a connection; every address of the host is tried.
pub(super) async fn connect(server: &Server) -> Result<TcpConnection, String> {
    let stream = TcpStream::connect((server.host.as_str(), server.port))
        .await
        .map_err(|error| explain(server, &error))?;
    // An acknowledgement must not wait for the next packet (Nagle).
    stream.set_nodelay(true).map_err(|error| explain(server, &error))?;
    Ok(TcpConnection { stream, answered: false })
}

impl TcpConnection {
    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }

    /// Why the server may have closed, if it never said anything.
    pub(super) fn closed_silently(&self) -> Option<String> {
        (!self.answered).then(|| SILENT.to_owned())
    }

    pub(super) fn poll_write_front(
        &mut self,
        context: &mut Context<'_>,
        outbound: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        let Some(front) = outbound.front_mut() else { return Poll::Pending };
        let wrote = Pin::new(&mut self.stream).poll_write(context, front);
        if let Poll::Ready(Ok(count)) = wrote {
            front.advance(count);
            if front.is_empty() {
                outbound.pop_front();
            }
        }
        wrote
    }

    pub(super) fn poll_read_into(
        &mut self,
        context: &mut Context<'_>,
        inbound: &mut BytesMut,
    ) -> Poll<io::Result<Progress>> {
        let before = inbound.len();
        // The future of `read_buf` keeps nothing between polls.
        let count = match ready!(pin!(self.stream.read_buf(inbound)).poll(context)) {
            Ok(0) => return Poll::Ready(Ok(Progress::PeerClosed)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && !self.answered => {
                let why = format!("the server reset the connection {SILENT}");
                return Poll::Ready(Err(io::Error::new(error.kind(), why)));
            }
            Err(error) => return Poll::Ready(Err(error)),
        };
        if !self.answered {
            self.answered = true;
            if let Some(why) = other_protocol(&inbound[before..]) {
                return Poll::Ready(Err(io::Error::other(why)));
            }
        }
        Poll::Ready(Ok(Progress::Read(count)))
    }
}

/// What speaks if not MQTT: no packet of a server begins like this.
fn other_protocol(first: &[u8]) -> Option<&'static str> {
    // A TLS alert, RFC 8446 section 5.1: content type 21, version 3.x.
    if first.starts_with(&[21, 3]) {
        return Some("the server answers in TLS: use `mqtts://` for this port");
    }
    if first.starts_with(b"HTTP") {
        return Some("the server answers in HTTP: use `ws://` for this port");
    }
    None
}

fn explain(server: &Server, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => " (is the broker running, and is this its port?)",
        io::ErrorKind::TimedOut => " (is there a firewall in between?)",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            " (is the network up?)"
        }
        _ => "",
    };
    format!("cannot connect to {server}: {error}{hint}")
}
