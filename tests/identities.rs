//! Identities over the life of a line. One whose token ends connects again in order, and nobody who
//! reads tags notices; one whose password was rotated takes what lies there.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tagline::config::{self, Config, Jwt, JwtAlgorithm, Secret};
use tagline::daemon::Daemon;
use tagline::hub::Hub;
use tagline::iotag::{LineId, Quality, Reason};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One line, whose password is in the file `secret`.
fn configuration(port: u16) -> (TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "tagline.toml",
        &format!(
            "[[line]]\nname = \"plant\"\nservers = [\"mqtt://127.0.0.1:{port}\"]\n\
             user_name = \"unused\"\npassword = {{ file = \"secret\" }}\n\
             reconnect = {{ min = \"10ms\", max = \"20ms\" }}\n"
        ),
    );
    write("stations/s.toml", "[[station]]\nname = \"s\"\nline = \"plant\"\naddress = \"a\"\n");
    write("tags/t.csv", "name,station,type,address\nt,s,TxtI,IN_DATA\n");
    let config = config::load(folder.path()).unwrap();
    (folder, config)
}

/// A token that lives for a second.
fn short_token() -> Secret {
    Secret::Jwt(Box::new(Jwt {
        key_file: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/p256-pkcs8.pem"),
        key_passphrase: None,
        algorithm: JwtAlgorithm::Es256,
        lifetime: Duration::from_secs(1),
        claims: serde_json::Map::new(),
    }))
}

/// A broker's end of one connection.
struct Peer(TcpStream);

impl Peer {
    /// The next packet: first byte and body. `None`: closed.
    async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.0.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.0.read_u8().await.ok()?;
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.ok()?;
        Some((first, body))
    }

    /// CONNECT and SUBSCRIBE; gives the password back.
    async fn greet(&mut self, session_present: bool) -> String {
        let (first, body) = self.packet().await.unwrap();
        assert_eq!(first, 0x10);
        self.0.write_all(&[0x20, 2, u8::from(session_present), 0]).await.unwrap();
        let (first, subscribe) = self.packet().await.unwrap();
        assert_eq!(first, 0x82);
        self.0.write_all(&[0x90, 3, subscribe[0], subscribe[1], 1]).await.unwrap();
        // The password is the last field.
        let text = String::from_utf8_lossy(&body).into_owned();
        text[text.find("eyJ").unwrap()..].to_owned()
    }
}

fn state_of(hub: &Hub) -> (Quality, Reason, u64) {
    let tag = hub.tag_named("t").unwrap();
    let reading = hub.read(&[tag]).pop().unwrap();
    (reading.value.quality, reading.value.reason, hub.last_seq())
}

async fn start() -> (TempDir, Daemon, TcpListener, Arc<Hub>, Peer, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (folder, mut config) = configuration(listener.local_addr().unwrap().port());
    config.lines[0].password = Some(short_token());
    let daemon = Daemon::start(config).unwrap();
    let hub = Arc::clone(daemon.hub());
    let mut peer = Peer(listener.accept().await.unwrap().0);
    let password = peer.greet(false).await;
    // At QoS 1, so that its acknowledgement says that the value is on disk.
    peer.0.write_all(b"\x32\x09\x00\x01a\x00\x07data").await.unwrap();
    assert_eq!(peer.packet().await, Some((0x40, vec![0, 7])));
    assert_eq!(state_of(&hub).0, Quality::Good);
    (folder, daemon, listener, hub, peer, password)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_session_the_tags_do_not_notice() {
    let (_folder, daemon, listener, hub, mut peer, first) = start().await;
    let before = state_of(&hub);
    // DISCONNECT, so that no will is published, and nothing behind it.
    assert_eq!(peer.packet().await, Some((0xe0, vec![])));
    assert_eq!(peer.packet().await, None);
    let mut peer = Peer(listener.accept().await.unwrap().0);
    assert_eq!(state_of(&hub), before, "while it is away");
    let second = peer.greet(true).await;
    assert_ne!(first, second, "another token");
    assert_eq!(peer.packet().await, Some((0xe0, vec![])), "and again");
    assert_eq!(state_of(&hub), before, "no change was made");
    drop(listener);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_session_the_tags_are_in_doubt() {
    let (_folder, daemon, listener, hub, mut peer, _) = start().await;
    assert_eq!(peer.packet().await, Some((0xe0, vec![])));
    let mut peer = Peer(listener.accept().await.unwrap().0);
    peer.greet(false).await;
    assert_eq!(peer.packet().await, Some((0xe0, vec![])));
    let (quality, reason, _) = state_of(&hub);
    assert_eq!((quality, reason), (Quality::Uncertain, Reason::Restored));
    drop(listener);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_that_fails_is_a_line_down() {
    let (_folder, daemon, listener, hub, mut peer, _) = start().await;
    drop(listener);
    assert_eq!(peer.packet().await, Some((0xe0, vec![])));
    drop(peer);
    let mut changes = hub.feed().watch();
    let down = async {
        while state_of(&hub).1 != Reason::LineDown {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(5), down).await.unwrap();
    daemon.stop().await;
}

/// While a password is rotated both are good; afterwards the server refuses the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_read_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (folder, config) = configuration(listener.local_addr().unwrap().port());
    let secret = folder.path().join("secret");
    fs::write(&secret, "old-hunter2\n").unwrap();
    let daemon = Daemon::start(config).unwrap();
    let mut old = Peer(listener.accept().await.unwrap().0);
    let (_, connect) = old.packet().await.unwrap();
    assert!(connect.ends_with(b"old-hunter2"));
    fs::write(&secret, "new-hunter2\n").unwrap();
    // Bad user name or password, MQTT 3.1.1 section 3.2.2.3.
    old.0.write_all(&[0x20, 2, 0, 4]).await.unwrap();
    let mut new = Peer(listener.accept().await.unwrap().0);
    let (_, connect) = new.packet().await.unwrap();
    assert!(connect.ends_with(b"new-hunter2"));
    let status = daemon.hub().line_status(LineId(0), |status| status.clone());
    let (_, why) = status.last_error().cloned().unwrap();
    assert!(!format!("{status:?}").contains("hunter2"), "{why}");
    drop((listener, new));
    daemon.stop().await;
}
