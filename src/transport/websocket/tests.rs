//! Against a server made of bytes: frames split and joined anywhere, control frames in between,
//! upgrades refused in every way.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::*;
use crate::config::{Scheme, Tls};
use crate::transport::{Options, Transport};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame as a server sends it: without mask.
fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        length @ ..126 => frame.push(length as u8),
        length @ 126..65_536 => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// The server's end.
struct Peer {
    stream: TcpStream,
    request: String,
}

impl Peer {
    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame of the client, which must be masked: opcode and payload.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).await.ok()?;
        assert_eq!(head[0] & 0x70, 0, "reserved bits");
        assert_eq!(head[0] >> 7, 1, "a fragment");
        assert_eq!(head[1] >> 7, 1, "RFC 6455 section 5.1: a client masks every frame");
        let length = match head[1] & 127 {
            126 => u64::from(self.stream.read_u16().await.unwrap()),
            127 => self.stream.read_u64().await.unwrap(),
            length => u64::from(length),
        };
        let mut mask = [0; 4];
        self.stream.read_exact(&mut mask).await.unwrap();
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.unwrap();
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Some((head[0] & 15, payload))
    }
}

fn server(port: u16, path: &str) -> Server {
    let host = "127.0.0.1".to_owned();
    Server { scheme: Scheme::WebSocket, host, port, path: path.to_owned() }
}

fn options() -> Options {
    Options {
        tls: Tls::default(),
        key_passphrase: None,
        maximum_packet_size: 1 << 20,
        limit: Duration::from_secs(10),
    }
}

/// Connects to a server that answers the request with what `answer` makes of the accept key.
async fn dial(path: &str, answer: impl Fn(&str) -> String) -> (Result<Transport, String>, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = server(listener.local_addr().unwrap().port(), path);
    let options = options();
    let accept = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let answer = answer(&derive_accept_key(key.unwrap().as_bytes()));
        stream.write_all(answer.as_bytes()).await.unwrap();
        if !answer.contains(" 101 ") {
            let _ = stream.shutdown().await;
        }
        Peer { stream, request }
    };
    tokio::join!(Transport::connect(&server, &options), accept)
}

fn agree(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
}

async fn open() -> (Transport, Peer) {
    let (transport, peer) = dial("/mqtt", agree).await;
    (transport.unwrap(), peer)
}

/// Reads so many bytes, or until it ends.
async fn read(transport: &mut Transport, count: usize) -> (Vec<u8>, Option<io::Result<()>>) {
    let (mut outbound, mut inbound) = (VecDeque::new(), BytesMut::new());
    while inbound.len() < count {
        match transport.io(&mut outbound, &mut inbound, true).await {
            Ok(Progress::Read(_)) => {}
            Ok(Progress::Wrote(count)) => panic!("wrote {count} bytes out of nothing"),
            Ok(Progress::PeerClosed) => return (inbound.to_vec(), Some(Ok(()))),
            Err(error) => return (inbound.to_vec(), Some(Err(error))),
        }
    }
    (inbound.to_vec(), None)
}

async fn write(transport: &mut Transport, packets: &[&[u8]]) {
    let mut outbound = packets.iter().map(|packet| Bytes::copy_from_slice(packet)).collect();
    let mut left = packets.iter().map(|packet| packet.len()).sum::<usize>();
    while left > 0 {
        match transport.io(&mut outbound, &mut BytesMut::new(), false).await.unwrap() {
            Progress::Wrote(count) => left -= count,
            other => panic!("{other:?}"),
        }
    }
    assert!(transport.is_flushed());
}

async fn ended(bytes: &[u8]) -> (String, Peer) {
    let (mut transport, mut peer) = open().await;
    peer.write(bytes).await;
    let (_, end) = read(&mut transport, 1 << 20).await;
    (end.unwrap().unwrap_err().to_string(), peer)
}

#[tokio::test]
async fn the_request_is_what_the_standards_want() {
    let (_, peer) = dial("/a/b?token=1", agree).await;
    let request = peer.request.to_ascii_lowercase();
    assert!(request.starts_with("get /a/b?token=1 http/1.1\r\n"), "{request}");
    for header in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: mqtt",
        "host: 127.0.0.1:",
    ] {
        assert!(request.contains(&format!("\r\n{header}")), "{header} is not in {request}");
    }
    assert!(!request.contains("sec-websocket-extensions"));
}

#[tokio::test]
async fn frames_end_anywhere_in_a_packet() {
    let packets: Vec<u8> = (0..=255).collect();
    for at in 0..=packets.len() {
        let (mut transport, mut peer) = open().await;
        let (first, second) = packets.split_at(at);
        let mut bytes = frame(true, BINARY, first);
        bytes.extend(frame(true, PING, b"alive?"));
        bytes.extend(frame(true, BINARY, second));
        peer.write(&bytes).await;
        assert_eq!(read(&mut transport, packets.len()).await.0, packets);
        assert_eq!(peer.frame().await, Some((PONG, b"alive?".to_vec())));
    }
}

#[tokio::test]
async fn bytes_arrive_one_by_one() {
    let (mut transport, mut peer) = open().await;
    let payload: Vec<u8> = (0..300_u16).map(|index| index as u8).collect();
    let mut bytes = frame(false, BINARY, &payload[..200]);
    bytes.extend(frame(true, PING, b""));
    bytes.extend(frame(false, CONTINUATION, &payload[200..250]));
    bytes.extend(frame(true, PONG, b"unasked"));
    bytes.extend(frame(true, CONTINUATION, &payload[250..]));
    let feed = async {
        for byte in &bytes {
            peer.write(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        peer.frame().await
    };
    let ((received, end), pong) = tokio::join!(read(&mut transport, payload.len()), feed);
    assert_eq!(received, payload);
    assert!(end.is_none());
    assert_eq!(pong, Some((PONG, vec![])));
}

#[tokio::test]
async fn packets_are_joined_and_large_ones_are_not() {
    let (mut transport, mut peer) = open().await;
    let large = vec![7; 200_000];
    let packets: [&[u8]; 4] = [&[1; 3], &[2; 4], &large, &[3; 5]];
    let feed = write(&mut transport, &packets);
    let receive = async {
        let mut frames = Vec::new();
        for _ in 0..3 {
            frames.push(peer.frame().await.unwrap());
        }
        frames
    };
    let ((), frames) = tokio::join!(feed, receive);
    assert_eq!(frames[0], (BINARY, vec![1, 1, 1, 2, 2, 2, 2]));
    assert_eq!(frames[1], (BINARY, large));
    assert_eq!(frames[2], (BINARY, vec![3; 5]));
}

#[tokio::test]
async fn closing_is_said_in_a_masked_frame() {
    let (mut transport, mut peer) = open().await;
    write(&mut transport, &[&[0xe0, 0]]).await;
    transport.close().await.unwrap();
    assert_eq!(peer.frame().await, Some((BINARY, vec![0xe0, 0])));
    let (opcode, _) = peer.frame().await.unwrap();
    assert_eq!(opcode, CLOSE);
    assert_eq!(peer.frame().await, None);
}

/// MQTT-6.0.0-1.
#[tokio::test]
async fn a_text_frame_ends_the_connection() {
    for payload in [&b"hello"[..], b"\xff\xfe"] {
        let (why, mut peer) = ended(&frame(true, TEXT, payload)).await;
        assert!(why.contains("text frame"), "{why}");
        let (opcode, reason) = peer.frame().await.unwrap();
        assert_eq!((opcode, &reason[..2]), (CLOSE, &1003_u16.to_be_bytes()[..]));
    }
}

#[tokio::test]
async fn what_came_before_the_end_is_not_lost() {
    let (mut transport, mut peer) = open().await;
    let mut bytes = frame(true, BINARY, b"last words");
    bytes.extend(frame(true, CLOSE, b"\x03\xf0not\nwelcome"));
    peer.write(&bytes).await;
    let (received, end) = read(&mut transport, 100).await;
    assert_eq!(received, b"last words");
    let why = end.unwrap().unwrap_err().to_string();
    assert_eq!(
        why,
        "the server closed the WebSocket with 1008 policy violation (`not\u{fffd}welcome`)"
    );
    // RFC 6455 section 5.5.1: the answer to a close frame is one.
    assert_eq!(peer.frame().await.unwrap().0, CLOSE);
}

#[tokio::test]
async fn a_normal_close_is_a_closed_connection() {
    for payload in [&b""[..], b"\x03\xe8", b"\x03\xe9"] {
        let (mut transport, mut peer) = open().await;
        peer.write(&frame(true, CLOSE, payload)).await;
        assert!(matches!(read(&mut transport, 1).await.1, Some(Ok(()))));
    }
    let (mut transport, peer) = open().await;
    drop(peer);
    assert!(matches!(read(&mut transport, 1).await.1, Some(Ok(()))));
}

#[tokio::test]
async fn broken_rules_are_told() {
    let mut masked = frame(true, BINARY, b"");
    masked[1] |= 0x80;
    masked.extend([0; 4]);
    let too_large = [&[0x82, 127][..], &(1_u64 << 40).to_be_bytes()].concat();
    for (bytes, expected) in [
        (masked, "masked frame"),
        (frame(true, CONTINUATION, b"x"), "nothing to continue"),
        ([frame(false, BINARY, b"a"), frame(true, BINARY, b"b")].concat(), "fragments"),
        (frame(false, PING, b""), "Fragmented control frame"),
        (vec![0xc2, 0], "Reserved bits"),
        (frame(true, 5, b""), "opcode"),
        (too_large, "too large"),
    ] {
        let (why, _) = ended(&bytes).await;
        assert!(why.to_lowercase().contains(&expected.to_lowercase()), "{expected}: {why}");
    }
}

async fn refused(answer: &'static str) -> String {
    let (transport, peer) =
        dial("/mqtt?token=hunter2", |accept| answer.replace("KEY", accept)).await;
    drop(peer);
    let why = transport.unwrap_err();
    assert!(why.starts_with("no WebSocket at ws://127.0.0.1:"), "{why}");
    assert!(!why.contains("hunter2"), "{why}");
    why
}

#[tokio::test]
async fn refused_upgrades_are_told() {
    for (answer, expected) in [
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", "login of its own or forbids it"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "(HTTP 403 Forbidden)"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "nothing at `/mqtt`"),
        ("HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8\r\n\r\n", "version 8"),
        ("HTTP/1.1 426 Upgrade Required\r\n\r\n", "a proxy in between"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "right path"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "does not reach the broker"),
        ("HTTP/1.1 200 OK\r\n\r\n<html>", "a web server answers"),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n", "the server refuses (HTTP 500"),
        (
            "HTTP/1.1 301 Moved Permanently\r\nLocation: wss://other/ws?secret=1\r\n\r\n",
            "sends us on to `wss://other/ws`",
        ),
        ("HTTP/1.1 302 Found\r\n\r\n", "does not say where"),
        ("\x20\x02\x00\x00", "plain MQTT (`mqtt://`)"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: KEY\r\n\r\n",
            "did not choose the sub-protocol `mqtt`",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: KEY\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
            "another sub-protocol than `mqtt`",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: bm8=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
            "not by its rules",
        ),
    ] {
        let why = refused(answer).await;
        assert!(why.contains(expected), "`{expected}` is not in: {why}");
    }
    assert!(refused("").await.contains("instead of answering: is "));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the frames, the bytes are the same and every ping is answered.
    #[test]
    fn any_framing_carries_the_same_bytes(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0..4_u8), 1..20),
        cuts in prop::collection::vec(1..50_usize, 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut bytes, mut expected, mut pings, mut open_message) =
                (Vec::new(), Vec::new(), 0, false);
            for (payload, kind) in &parts {
                let opcode = if open_message { CONTINUATION } else { BINARY };
                expected.extend_from_slice(payload);
                open_message = *kind == 1;
                bytes.extend(frame(!open_message, opcode, payload));
                if *kind == 2 {
                    bytes.extend(frame(true, PING, &payload[..payload.len().min(125)]));
                    pings += 1;
                }
            }
            if open_message {
                bytes.extend(frame(true, CONTINUATION, b""));
            }
            let (mut transport, mut peer) = open().await;
            let feed = async {
                let mut rest = &bytes[..];
                for cut in cuts.iter().cycle() {
                    let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                    peer.write(piece).await;
                    rest = behind;
                    if rest.is_empty() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                peer.write(&frame(true, CLOSE, b"")).await;
                let mut pongs = 0;
                while let Some((opcode, _)) = peer.frame().await {
                    pongs += usize::from(opcode == PONG);
                }
                pongs
            };
            let receive = async move { read(&mut transport, usize::MAX).await.0 };
            let (received, pongs) = tokio::join!(receive, feed);
            assert_eq!(received, expected);
            // One pong may stand for several pings that came at once (section 5.5.3).
            assert!(pongs <= pings && (pings == 0 || pongs > 0), "{pongs} of {pings}");
        });
    }
}
