//! A WebSocket server out of its mind, on loopback.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tagline::config::{Scheme, Server, Tls};
use tagline::transport::{Options, Progress, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// What the server sends: with an even first byte its frames after a good handshake, with an odd one
/// its handshake and all that follows. Nothing but binary payloads comes out, and the end is
/// noticed.
pub fn websocket(data: &[u8]) {
    thread_local! {
        static WORLD: (tokio::runtime::Runtime, TcpListener) = {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let listener = runtime
                .block_on(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))
                .expect("a port");
            (runtime, listener)
        };
    }
    let Some((first, sent)) = data.split_first() else { return };
    WORLD.with(|(runtime, listener)| {
        runtime.block_on(async {
            let serve = serve(listener, *first, sent);
            let ((), ()) = tokio::join!(serve, connect(listener, sent.len()));
        });
    });
}

async fn serve(listener: &TcpListener, first: u8, sent: &[u8]) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let _ = stream.set_nodelay(true);
    if first & 1 == 1 {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        finish(stream, first, sent).await;
        return;
    }
    let protocol = |_: &Request, mut response: Response| {
        let mqtt = HeaderValue::from_static("mqtt");
        response.headers_mut().insert("Sec-WebSocket-Protocol", mqtt);
        Ok(response)
    };
    match tokio_tungstenite::accept_hdr_async(stream, protocol).await {
        Ok(socket) => finish(socket.into_inner(), first, sent).await,
        Err(error) => panic!("our own handshake is refused: {error}"),
    }
}

/// Sends in one or two pieces, and takes what the client says until it goes.
async fn finish(mut stream: TcpStream, first: u8, sent: &[u8]) {
    let half = usize::from(first >> 1).min(sent.len());
    for piece in [&sent[..half], &sent[half..]] {
        if stream.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    let _ = stream.shutdown().await;
    let mut answers = [0; 4096];
    while stream.read(&mut answers).await.is_ok_and(|count| count > 0) {}
}

async fn connect(listener: &TcpListener, sent: usize) {
    // Of one address there are too few ports for so many connections.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let host = Ipv4Addr::from(0x7f00_0001 + next % 0xffff);
    let server = Server {
        scheme: Scheme::WebSocket,
        host: host.to_string(),
        port: listener.local_addr().expect("an address").port(),
        path: "/mqtt".to_owned(),
    };
    let options = Options {
        tls: Tls::default(),
        key_passphrase: None,
        maximum_packet_size: 1 << 20,
        limit: Duration::from_secs(20),
    };
    let Ok(mut transport) = Transport::connect(&server, &options).await else { return };
    let mut outbound = VecDeque::from([Bytes::from_static(b"\x10\x02ab")]);
    let mut inbound = BytesMut::new();
    let deadline = Duration::from_secs(20);
    loop {
        let io = transport.io(&mut outbound, &mut inbound, true);
        match tokio::time::timeout(deadline, io).await.expect("an end is noticed") {
            Ok(Progress::PeerClosed) | Err(_) => break,
            Ok(Progress::Read(_) | Progress::Wrote(_)) => {}
        }
    }
    assert!(inbound.len() <= sent, "more came out than went in");
}
