//! The server's side of TCP, TLS, WebSocket and WebSocket over TLS, down to the single frame.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::PATIENCE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Transport {
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    pub fn is_web(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }
}

/// A CA and a server certificate by it for the loopback address, made once.
pub struct Certificates {
    _folder: tempfile::TempDir,
    pub ca_file: PathBuf,
    server: Arc<ServerConfig>,
}

/// What all encrypted scenarios share.
pub fn certificates() -> &'static Certificates {
    static MADE: OnceLock<Certificates> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Scenario CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, ca.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(hosts).unwrap().signed_by(&key, &ca).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        Certificates { _folder: folder, ca_file, server: Arc::new(server) }
    })
}

/// `tls = …` of a line that trusts the scenarios' CA.
pub fn trust(ca_file: &Path) -> String {
    format!("tls = {{ ca_file = \"{}\" }}\n", ca_file.display())
}

enum Layer {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Layer {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Bytes that come within the time; `Ok(0)`: none. An error: the end.
    fn read(&mut self, chunk: &mut [u8], wait: Duration) -> Result<usize, ()> {
        let wait = wait.max(Duration::from_millis(1));
        self.tcp().set_read_timeout(Some(wait)).map_err(|_| ())?;
        let read = match self {
            Self::Tcp(stream) => stream.read(chunk),
            Self::Tls(stream) => stream.read(chunk),
        };
        match read {
            Ok(0) => Err(()),
            Ok(count) => Ok(count),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(0)
            }
            Err(_) => Err(()),
        }
    }

    /// One segment, or one record.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Tls(stream) => {
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }
}

/// How bytes are cut on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// One segment, record or frame.
    Whole,
    /// Each so many bytes: of WebSocket frames in their own frame.
    Each(usize),
    /// One message of WebSocket in frames of so many bytes, a ping between them; as [`Cut::Each`]
    /// with other transports.
    Fragments(usize),
}

/// One connection below MQTT.
pub struct Carrier {
    layer: Layer,
    web: Option<Web>,
    /// Rules of WebSocket that the client broke.
    pub faults: Vec<String>,
}

/// State of a WebSocket connection.
#[derive(Default)]
struct Web {
    buffer: Vec<u8>,
    in_message: bool,
    /// Payloads of the client's pongs.
    pongs: Vec<Vec<u8>>,
    /// Status code of the client's close frame; 0: it has none.
    closed: Option<u16>,
}

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

impl Carrier {
    /// Does the handshakes.
    pub fn accept(tcp: TcpStream, transport: Transport) -> Result<Self, String> {
        let _ = tcp.set_nodelay(true);
        let _ = tcp.set_write_timeout(Some(PATIENCE));
        let layer = if transport.is_encrypted() {
            let connection = ServerConnection::new(Arc::clone(&certificates().server)).unwrap();
            let mut stream = Box::new(StreamOwned::new(connection, tcp));
            let _ = stream.sock.set_read_timeout(Some(PATIENCE));
            while stream.conn.is_handshaking() {
                let StreamOwned { conn, sock } = &mut *stream;
                conn.complete_io(sock).map_err(|error| error.to_string())?;
            }
            Layer::Tls(stream)
        } else {
            Layer::Tcp(tcp)
        };
        let mut carrier = Self { layer, web: None, faults: Vec::new() };
        if transport.is_web() {
            carrier.upgrade()?;
        }
        Ok(carrier)
    }

    /// The request of RFC 6455, held to section 4.1 and to MQTT-6.0.0-3.
    fn upgrade(&mut self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            let left = end.saturating_duration_since(Instant::now());
            let count = self.layer.read(&mut chunk, left).map_err(|()| "closed in the request")?;
            request.extend_from_slice(&chunk[..count]);
            if left.is_zero() {
                return Err("no whole request".into());
            }
        }
        let request = String::from_utf8(request).map_err(|_| "the request is not text")?;
        let mut lines = request.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        if first != "GET /mqtt HTTP/1.1" {
            self.faults.push(format!("request line `{first}`"));
        }
        let headers: Vec<(String, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .collect();
        let header = |name: &str| {
            let mut all = headers.iter().filter(|(other, _)| other == name);
            (all.next().map_or("", |(_, value)| *value), all.next().is_some())
        };
        let key = header("sec-websocket-key").0.to_owned();
        let is_right = |name: &str, wanted: &str| {
            let (value, is_double) = header(name);
            !is_double && value.split(',').any(|one| one.trim().eq_ignore_ascii_case(wanted))
        };
        for (name, wanted) in [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "mqtt"),
        ] {
            if !is_right(name, wanted) {
                self.faults.push(format!("header {name} is `{}`", header(name).0));
            }
        }
        if header("host").0.is_empty() {
            self.faults.push("no header host".into());
        }
        if BASE64.decode(key.as_bytes()).map_or(0, |bytes| bytes.len()) != 16 {
            self.faults.push(format!("key `{key}`"));
        }
        let guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        let algorithm = &::ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
        let digest = ::ring::digest::digest(algorithm, format!("{key}{guid}").as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
            BASE64.encode(digest.as_ref())
        );
        self.layer.write(answer.as_bytes()).map_err(|error| error.to_string())?;
        self.web = Some(Web::default());
        Ok(())
    }

    /// Bytes of MQTT that come within the time; empty: none. An error: the end.
    pub fn read(&mut self, wait: Duration) -> Result<Vec<u8>, ()> {
        let mut chunk = vec![0; 65_536];
        let Some(mut web) = self.web.take() else {
            let count = self.layer.read(&mut chunk, wait)?;
            chunk.truncate(count);
            return Ok(chunk);
        };
        let result = self.layer.read(&mut chunk, wait);
        let mut bytes = Vec::new();
        if let Ok(count) = result {
            web.buffer.extend_from_slice(&chunk[..count]);
            while let Some((opcode, payload)) = self.take_frame(&mut web) {
                match opcode {
                    0 | BINARY => bytes.extend(payload),
                    PING => {
                        let _ = self.layer.write(&frame(true, PONG, &payload));
                    }
                    PONG => web.pongs.push(payload),
                    _ => {
                        let code =
                            payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                        web.closed = Some(code.unwrap_or(0));
                    }
                }
            }
        }
        self.web = Some(web);
        result.map(|_| bytes)
    }

    /// The first frame of the buffer, unmasked and checked.
    fn take_frame(&mut self, web: &mut Web) -> Option<(u8, Vec<u8>)> {
        let &[first, second, ..] = web.buffer.as_slice() else { return None };
        let (mut header, mut length) = (2, usize::from(second & 0x7F));
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if extended > 0 {
            let bytes = web.buffer.get(2..2 + extended)?;
            length = bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
            header += extended;
            let shortest = if extended == 2 { 126 } else { 65_536 };
            if length < shortest {
                self.faults.push(format!("a frame length of {length} in {extended} bytes"));
            }
        }
        let mask: Option<[u8; 4]> = if second & 0x80 == 0 {
            None
        } else {
            header += 4;
            web.buffer.get(header - 4..header)?.try_into().ok()
        };
        if web.buffer.len() < header + length {
            return None;
        }
        let mut payload: Vec<u8> = web.buffer.drain(..header + length).skip(header).collect();
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0F);
        let mut fault = |what: &str| self.faults.push(format!("WebSocket: {what}"));
        match mask {
            None => fault("a frame without a mask"),
            Some(mask) => {
                for (place, byte) in payload.iter_mut().enumerate() {
                    *byte ^= mask[place % 4];
                }
            }
        }
        if first & 0x70 != 0 {
            fault("reserved bits are set");
        }
        if web.closed.is_some() {
            fault("a frame after the close frame");
        }
        match opcode {
            0 if !web.in_message => fault("a continuation of nothing"),
            BINARY if web.in_message => fault("a message within a message"),
            0 | BINARY => web.in_message = !is_last,
            CLOSE | PING | PONG if !is_last || length > 125 => fault("a long control frame"),
            CLOSE if length == 1 => fault("half a status code"),
            CLOSE | PING | PONG => {}
            opcode => fault(&format!("opcode {opcode} (MQTT-6.0.0-1)")),
        }
        Some((opcode, payload))
    }

    /// Sends bytes of MQTT; false: the client has closed.
    pub fn write(&mut self, bytes: &[u8], cut: Cut) -> bool {
        let is_web = self.web.is_some();
        let (size, in_one) = match cut {
            Cut::Whole => (bytes.len().max(1), false),
            Cut::Each(size) => (size, false),
            Cut::Fragments(size) => (size, is_web),
        };
        let count = bytes.len().div_ceil(size);
        for (place, chunk) in bytes.chunks(size).enumerate() {
            let written = if is_web {
                let opcode = if in_one && place > 0 { 0 } else { BINARY };
                let mut all = frame(!in_one || place + 1 == count, opcode, chunk);
                if in_one && place == 0 {
                    // Control frames may stand between the fragments of a message.
                    all.extend(frame(true, PING, b"between"));
                }
                self.layer.write(&all)
            } else {
                self.layer.write(chunk)
            };
            if written.is_err() {
                return false;
            }
        }
        true
    }

    /// Sends bytes below WebSocket, for frames that are not to be right.
    pub fn write_below(&mut self, bytes: &[u8]) -> bool {
        self.layer.write(bytes).is_ok()
    }

    /// What the client's pongs carried so far.
    pub fn pongs(&self) -> &[Vec<u8>] {
        self.web.as_ref().map_or(&[], |web| &web.pongs)
    }

    /// The status code of the client's close frame.
    pub fn closed(&self) -> Option<u16> {
        self.web.as_ref().and_then(|web| web.closed)
    }

    /// Ends our direction in the transport's own way; the other stays open.
    pub fn half_close(&mut self) {
        if let Layer::Tls(stream) = &mut self.layer {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.layer.tcp().shutdown(Shutdown::Write);
    }

    /// Ends the connection with a TCP reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.layer.tcp());
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

/// A frame of a server, which has no mask.
pub fn frame(is_last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(is_last) << 7 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(u8::try_from(length).unwrap()),
        length @ 126..=65_535 => {
            bytes.push(126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}
