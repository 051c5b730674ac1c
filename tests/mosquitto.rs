//! A CONNECT typed by hand, through every transport, answered by mosquitto, which `scripts/test`
//! installs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::VecDeque;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tagline::config::{Scheme, Server, Tls};
use tagline::transport::{Options, Progress, Transport};
use tempfile::TempDir;

/// MQTT 3.1.1, clean session, client identifier `t`, no keep alive.
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01t";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const PINGREQ: &[u8] = b"\xc0\x00";
const PINGRESP: &[u8] = b"\xd0\x00";
const DISCONNECT: &[u8] = b"\xe0\x00";

struct Broker {
    folder: TempDir,
    child: Child,
    /// Plain, TLS, TLS with client certificates, WebSocket, WebSocket over TLS.
    ports: [u16; 5],
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certificates(folder: &Path) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Plant CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    for (name, host) in [("server", vec!["localhost".to_owned()]), ("client", vec![])] {
        let mut params = CertificateParams::new(host).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn free_ports() -> [u16; 5] {
    let listeners = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Broker {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        certificates(path);
        let ports = free_ports();
        let [plain, tls, mutual, web, web_tls] = ports;
        let own = format!(
            "cafile {0}/ca.pem\ncertfile {0}/server.pem\nkeyfile {0}/server.key\n",
            path.display()
        );
        let open = "allow_anonymous true\n";
        let config = format!(
            "user root\nper_listener_settings true\n\
             listener {plain} 127.0.0.1\n{open}\
             listener {tls} 127.0.0.1\n{open}{own}\
             listener {mutual} 127.0.0.1\n{open}{own}require_certificate true\n\
             listener {web} 127.0.0.1\nprotocol websockets\n{open}\
             listener {web_tls} 127.0.0.1\nprotocol websockets\n{open}{own}"
        );
        fs::write(path.join("mosquitto.conf"), config).unwrap();
        let spawn = |program: &str| {
            Command::new(program)
                .arg("-c")
                .arg(path.join("mosquitto.conf"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        };
        let child = spawn("mosquitto")
            .or_else(|| spawn("/usr/sbin/mosquitto"))
            .expect("mosquitto is not installed: `scripts/test` does it");
        Self { folder, child, ports }
    }

    fn tls(&self) -> Tls {
        Tls { ca_file: Some(self.folder.path().join("ca.pem")), ..Tls::default() }
    }

    fn mutual_tls(&self) -> Tls {
        Tls {
            cert_file: Some(self.folder.path().join("client.pem")),
            key_file: Some(self.folder.path().join("client.key")),
            ..self.tls()
        }
    }
}

async fn open(scheme: Scheme, port: u16, tls: Tls) -> Result<Transport, String> {
    let path = match scheme {
        Scheme::WebSocket | Scheme::WebSocketTls => "/mqtt".to_owned(),
        Scheme::Tcp | Scheme::Tls => String::new(),
    };
    let server = Server { scheme, host: "localhost".to_owned(), port, path };
    let options = Options {
        tls,
        key_passphrase: None,
        maximum_packet_size: 1 << 20,
        limit: Duration::from_secs(20),
    };
    // The broker needs a moment until it listens.
    for _ in 0..200 {
        match Transport::connect(&server, &options).await {
            Err(why) if why.contains("onnection refused") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
    panic!("mosquitto does not listen");
}

/// Sends a packet and reads as many bytes as the answer has.
async fn ask(
    transport: &mut Transport,
    packet: &'static [u8],
    answer: &[u8],
) -> Result<(), String> {
    let mut outbound = VecDeque::from([Bytes::from_static(packet)]);
    let mut inbound = BytesMut::new();
    while inbound.len() < answer.len() || !outbound.is_empty() || !transport.is_flushed() {
        match transport.io(&mut outbound, &mut inbound, true).await {
            Ok(Progress::Wrote(_) | Progress::Read(_)) => {}
            Ok(Progress::PeerClosed) => {
                return Err(transport.closed_hint().unwrap_or_else(|| "closed".to_owned()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    assert_eq!(inbound, answer);
    Ok(())
}

#[tokio::test]
async fn mosquitto_answers_over_every_transport() {
    let broker = Broker::start();
    let [plain, tls, mutual, web, web_tls] = broker.ports;
    for (scheme, port, tls) in [
        (Scheme::Tcp, plain, Tls::default()),
        (Scheme::Tls, tls, broker.tls()),
        (Scheme::Tls, mutual, broker.mutual_tls()),
        (Scheme::WebSocket, web, Tls::default()),
        (Scheme::WebSocketTls, web_tls, broker.tls()),
    ] {
        let mut transport = open(scheme, port, tls).await.unwrap();
        ask(&mut transport, CONNECT, CONNACK).await.unwrap();
        ask(&mut transport, PINGREQ, PINGRESP).await.unwrap();
        ask(&mut transport, DISCONNECT, b"").await.unwrap();
        assert_eq!(transport.tls_status().is_some(), scheme.is_tls());
        transport.close().await.unwrap();
    }
}

#[tokio::test]
async fn mosquitto_is_understood_when_it_refuses() {
    let broker = Broker::start();
    let [plain, tls, mutual, web, _] = broker.ports;
    let without = match open(Scheme::Tls, mutual, broker.tls()).await {
        Ok(mut transport) => ask(&mut transport, CONNECT, CONNACK).await.unwrap_err(),
        Err(why) => why,
    };
    assert!(without.contains("client certificate"), "{without}");
    let why = open(Scheme::Tls, plain, broker.tls()).await.unwrap_err();
    assert!(why.contains("TLS port"), "{why}");
    let why = open(Scheme::WebSocket, plain, Tls::default()).await.unwrap_err();
    assert!(why.contains("ws://"), "{why}");
    let why = open(Scheme::WebSocket, tls, Tls::default()).await.unwrap_err();
    assert!(why.contains("no WebSocket at"), "{why}");
    let mut transport = open(Scheme::Tcp, tls, Tls::default()).await.unwrap();
    let why = ask(&mut transport, CONNECT, CONNACK).await.unwrap_err();
    assert!(why.contains("`mqtts://`"), "{why}");
    let mut transport = open(Scheme::Tcp, web, Tls::default()).await.unwrap();
    let why = ask(&mut transport, CONNECT, CONNACK).await.unwrap_err();
    assert!(why.contains("`ws://`"), "{why}");
}
