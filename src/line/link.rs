//! The transport of a path, from opening to closing, and the next thing that happens to it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::credentials::{self, Fresh};
use crate::config::{Line, Server};
use crate::transport::{Options, Progress, Transport};

/// How long a connection may take to open when the line has no reply timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) type Opened = Result<(Transport, Fresh), String>;
pub(super) type Opening = Pin<Box<dyn Future<Output = Opened> + Send>>;

/// Where the transport is.
pub(super) enum Link {
    Closed,
    Opening(Opening),
    Open(Transport),
    /// Everything that is to be sent leaves, then it is dropped.
    Closing(Transport, Instant),
}

/// What happened to it.
pub(super) enum LinkEvent {
    Opened(Opened),
    Io(std::io::Result<Progress>),
    Flushed,
}

/// A transport that is closing, what it still has to send, and until when it may.
type Leaving = (Transport, VecDeque<Bytes>, Instant);

/// Reads the secrets afresh, and opens a transport to a server once the one before has left.
pub(super) async fn open(left: Option<Leaving>, line: Arc<Line>, server: Server) -> Opened {
    if let Some(left) = left {
        take_leave(left).await;
    }
    // The secret first: it may take a while, and a server waits only so long for CONNECT.
    let fresh = credentials::read(&line).await?;
    let options = Options {
        key_passphrase: fresh.key_passphrase.clone(),
        maximum_packet_size: line.maximum_packet_size,
        limit: line.reply_timeout.unwrap_or(CONNECT_TIMEOUT),
        tls: line.tls.clone(),
    };
    let transport = Transport::connect(&server, &options).await?;
    Ok((transport, fresh))
}

/// The last words of a connection leave before the next one begins, however short the pause between
/// them is: the server learns why, and in this order.
pub(super) async fn take_leave((mut transport, mut outbound, until): Leaving) {
    let leave = async {
        let mut unread = BytesMut::new();
        while !outbound.is_empty() || !transport.is_flushed() {
            if transport.io(&mut outbound, &mut unread, false).await.is_err() {
                return;
            }
        }
        let _ = transport.close().await;
    };
    let _ = tokio::time::timeout_at(until.into(), leave).await;
}

impl Link {
    /// The next thing that happens. Cancel-safe.
    pub(super) async fn event(
        &mut self,
        outbound: &mut VecDeque<Bytes>,
        inbound: &mut BytesMut,
        read: bool,
    ) -> LinkEvent {
        match self {
            Self::Closed => std::future::pending().await,
            Self::Opening(opening) => LinkEvent::Opened(opening.await),
            Self::Open(transport) => LinkEvent::Io(transport.io(outbound, inbound, read).await),
            Self::Closing(transport, _) if outbound.is_empty() && transport.is_flushed() => {
                // Whether the peer hears it or not, it is over.
                let _ = transport.close().await;
                LinkEvent::Flushed
            }
            Self::Closing(transport, _) => {
                LinkEvent::Io(transport.io(outbound, inbound, false).await)
            }
        }
    }
}
