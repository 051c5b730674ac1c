//! MQTT over WebSocket (RFC 6455; MQTT 3.1.1 and 5.0 section 6): a byte stream made of binary frames.
//!
//! Frames and packets have nothing to do with each other: what arrives is appended as it comes, what
//! goes out is joined into as few frames as possible.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::http::{Response, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes as Payload, Message};

use super::tls::TlsConnection;
use super::{Progress, READ_BYTES, advance};
use crate::config::Server;

/// MQTT 5.0 section 6.0, and MQTT-6.0.0-3.
const SUB_PROTOCOL: &str = "mqtt";
/// Largest message whatever the largest packet: a message may hold many packets.
const MESSAGE_BYTES_MIN: usize = 64 << 20;
/// Packets up to this size are joined with their neighbours in one frame.
const JOINED_BYTES_MAX: usize = 16 << 10;
/// Largest frame of joined packets.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Most bytes taken before they are pushed to the socket.
const UNFLUSHED_BYTES_MAX: usize = 256 << 10;

/// What carries the frames.
#[derive(Debug)]
pub(super) enum Carrier {
    Tcp(TcpStream),
    Tls(Box<TlsConnection>),
}

/// An open WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<Carrier>,
    /// Bytes that the stream took and the socket may not have.
    unflushed: usize,
    /// How it ended, while bytes that came before are still to be handed out.
    ended: Option<io::Result<()>>,
}

/// The upgrade. `maximum_packet_size` in bytes.
pub(super) async fn connect(
    server: &Server,
    carrier: Carrier,
    maximum_packet_size: u32,
) -> Result<WebSocket, String> {
    let request = request(server).map_err(|error| format!("no WebSocket at {server}: {error}"))?;
    let message_bytes_max = MESSAGE_BYTES_MIN.max(maximum_packet_size as usize * 2);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    tokio_tungstenite::client_async_with_config(request, carrier, Some(config))
        .await
        .map(|(stream, _)| WebSocket { stream, unflushed: 0, ended: None })
        .map_err(|error| format!("no WebSocket at {server}: {}", explain_upgrade(server, error)))
}

fn request(server: &Server) -> Result<Request, tokio_tungstenite::tungstenite::http::Error> {
    let host =
        if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
    let default_port = if server.scheme.is_tls() { 443 } else { 80 };
    let authority =
        if server.port == default_port { host } else { format!("{host}:{}", server.port) };
    Request::builder()
        .uri(format!("{}://{authority}{}", server.scheme.as_str(), server.path))
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUB_PROTOCOL)
        .body(())
}

impl WebSocket {
    /// The TLS connection of `wss://`.
    pub(super) fn tls(&self) -> Option<&TlsConnection> {
        match self.stream.get_ref() {
            Carrier::Tcp(_) => None,
            Carrier::Tls(tls) => Some(tls),
        }
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
            match Pin::new(&mut self.stream).poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(explain_stream(error))),
                Poll::Pending => break,
            }
            let payload = next_frame(outbound);
            self.unflushed += payload.len();
            if let Err(error) = Pin::new(&mut self.stream).start_send(Message::Binary(payload)) {
                return Poll::Ready(Err(explain_stream(error)));
            }
        }
        if self.unflushed == 0 {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.stream).poll_flush(context)) {
            Ok(()) => Poll::Ready(Ok(std::mem::take(&mut self.unflushed))),
            Err(error) => Poll::Ready(Err(explain_stream(error))),
        }
    }

    /// Appends what has arrived of binary frames, control frames being answered on the way.
    pub(super) fn poll_read_into(
        &mut self,
        context: &mut Context<'_>,
        inbound: &mut BytesMut,
    ) -> Poll<io::Result<Progress>> {
        let mut count = 0;
        while count < READ_BYTES && self.ended.is_none() {
            match Pin::new(&mut self.stream).poll_next(context) {
                Poll::Ready(Some(Ok(Message::Binary(payload)))) => {
                    count += payload.len();
                    inbound.extend_from_slice(&payload);
                }
                Poll::Ready(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
                // MQTT-6.0.0-1: on anything but binary the connection is closed.
                Poll::Ready(Some(Ok(Message::Text(_)) | Err(Error::Utf8(_)))) => {
                    self.fail(context, CloseCode::Unsupported, "MQTT needs binary frames");
                    let text = "the server sent a WebSocket text frame; MQTT needs binary ones";
                    self.ended = Some(Err(io::Error::other(text)));
                }
                Poll::Ready(Some(Ok(Message::Close(frame)))) => {
                    // The answer, which has been queued.
                    let _ = Pin::new(&mut self.stream).poll_flush(context);
                    self.ended = Some(explain_close(frame.as_ref()));
                }
                Poll::Ready(Some(Err(error))) => {
                    if let Error::Protocol(why) = &error
                        && *why != ProtocolError::ResetWithoutClosingHandshake
                    {
                        self.fail(context, CloseCode::Protocol, "protocol error");
                    }
                    self.ended = Some(explain_end(error));
                }
                Poll::Ready(None) => self.ended = Some(Ok(())),
                Poll::Pending => break,
            }
        }
        if count > 0 {
            return Poll::Ready(Ok(Progress::Read(count)));
        }
        match self.ended.take() {
            Some(Ok(())) => Poll::Ready(Ok(Progress::PeerClosed)),
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }

    /// Sends a close frame and closes what carries it, without waiting for the answer.
    pub(super) fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whatever goes wrong, there is nobody left to tell.
        let _ = ready!(Pin::new(&mut self.stream).poll_close(context));
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }

    /// Tells the server why, as far as the socket takes it at once.
    fn fail(&mut self, context: &mut Context<'_>, code: CloseCode, reason: &'static str) {
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        if Pin::new(&mut self.stream).start_send(close).is_ok() {
            let _ = Pin::new(&mut self.stream).poll_flush(context);
        }
    }
}

/// The next packet as it is, or as many small ones as fit into a frame.
fn next_frame(outbound: &mut VecDeque<Bytes>) -> Payload {
    let (mut packets, mut bytes) = (0, 0);
    for packet in outbound.iter() {
        let joined = packet.len() <= JOINED_BYTES_MAX && bytes + packet.len() <= FRAME_BYTES_MAX;
        if packets > 0 && !joined {
            break;
        }
        packets += 1;
        bytes += packet.len();
        if !joined {
            break;
        }
    }
    if packets == 1
        && let Some(packet) = outbound.pop_front()
    {
        return packet;
    }
    let mut frame = BytesMut::with_capacity(bytes);
    for packet in outbound.iter().take(packets) {
        frame.extend_from_slice(packet);
    }
    advance(outbound, bytes);
    frame.freeze()
}

fn explain_close(frame: Option<&CloseFrame>) -> io::Result<()> {
    let Some(frame) = frame else { return Ok(()) };
    let code = u16::from(frame.code);
    let meaning = match code {
        1000 | 1001 if frame.reason.is_empty() => return Ok(()),
        1000 => "normal",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1007 => "invalid data",
        1008 => "policy violation",
        1009 => "message too big",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        _ => "",
    };
    let mut text = format!("the server closed the WebSocket with {code} {meaning}");
    let text_end = text.trim_end().len();
    text.truncate(text_end);
    if !frame.reason.is_empty() {
        let clean = |character: char| if character.is_control() { '\u{fffd}' } else { character };
        text.push_str(&format!(" (`{}`)", frame.reason.chars().map(clean).collect::<String>()));
    }
    Err(io::Error::other(text))
}

/// An error that ends reading; a peer that just goes is no error of MQTT.
fn explain_end(error: Error) -> io::Result<()> {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ok(()),
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        error => Err(explain_stream(error)),
    }
}

fn explain_stream(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::SendAfterClosing) => {
            io::Error::new(io::ErrorKind::BrokenPipe, "the WebSocket is closed")
        }
        Error::Capacity(why) => io::Error::other(format!(
            "the server's WebSocket message is too large ({why}); see `maximum_packet_size`"
        )),
        Error::Protocol(why) => {
            io::Error::other(format!("the server breaks the rules of WebSocket: {why}"))
        }
        error => io::Error::other(error.to_string()),
    }
}

fn explain_upgrade(server: &Server, error: Error) -> String {
    let (scheme, port) = (server.scheme.as_str(), server.port);
    let not_http = || {
        let other = if server.scheme.is_tls() { "mqtts" } else { "mqtt" };
        format!(
            "what the server answers is no HTTP: does port {port} speak plain MQTT (`{other}://`)?"
        )
    };
    let closed = || {
        format!(
            "the server closed the connection instead of answering: is {port} its port for \
             {scheme}://?"
        )
    };
    match error {
        Error::Http(response) => explain_status(server, &response),
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(why)) => match why {
            SubProtocolError::NoSubProtocol => format!(
                "the server did not choose the sub-protocol `{SUB_PROTOCOL}`: something else than \
                 MQTT is at `{}`",
                path(server)
            ),
            _ => format!("the server chose another sub-protocol than `{SUB_PROTOCOL}`"),
        },
        Error::Protocol(ProtocolError::HttparseError(_) | ProtocolError::WrongHttpVersion) => {
            not_http()
        }
        Error::Protocol(ProtocolError::HandshakeIncomplete) | Error::ConnectionClosed => closed(),
        Error::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
                if error.get_ref().is_none() =>
            {
                closed()
            }
            _ => error.to_string(),
        },
        Error::Protocol(why) => {
            format!("the server agrees to WebSocket, but not by its rules: {why}")
        }
        Error::AttackAttempt => "the server's answer has no end".to_owned(),
        error => error.to_string(),
    }
}

fn explain_status(server: &Server, response: &Response<Option<Vec<u8>>>) -> String {
    let status = response.status();
    let path = path(server);
    let header = |name: header::HeaderName| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.split('?').next().unwrap_or_default().to_owned())
    };
    let why = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "the web server wants a login of its own or forbids it; MQTT's user name and password \
             are not meant for it"
                .to_owned()
        }
        StatusCode::NOT_FOUND => format!(
            "there is nothing at `{path}`: which path has its WebSocket? Often it is `/mqtt`, `/ws` \
             or `/`"
        ),
        StatusCode::UPGRADE_REQUIRED => match header(header::SEC_WEBSOCKET_VERSION) {
            Some(versions) => format!("the server speaks version {versions} of WebSocket, not 13"),
            None => "the server wants another protocol at this address, or a proxy in between \
                     takes WebSocket's headers away"
                .to_owned(),
        },
        StatusCode::BAD_REQUEST => format!(
            "the server does not take this for a WebSocket of MQTT: is `{path}` the right path, and \
             does a proxy in between let WebSocket through?"
        ),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            "a proxy answers, but does not reach the broker".to_owned()
        }
        status if status.is_redirection() => match header(header::LOCATION) {
            Some(location) => format!(
                "the server sends us on to `{location}`: write the right address into `servers`"
            ),
            None => "the server sends us on, but does not say where".to_owned(),
        },
        status if status.is_success() => {
            format!("a web server answers at `{path}`, but not with a WebSocket")
        }
        _ => "the server refuses".to_owned(),
    };
    format!("{why} (HTTP {status})")
}

/// The path as it may be shown.
fn path(server: &Server) -> &str {
    server.path.split('?').next().unwrap_or_default()
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }
}

#[cfg(test)]
mod tests;
