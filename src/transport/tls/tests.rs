//! Each way in which TLS fails, against servers in this process, and what the operator reads.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::*;
use crate::config::Scheme;
use crate::transport::{Options, Transport};

type Ca = CertifiedIssuer<'static, KeyPair>;

/// A folder with files, and the `tls` table that names them.
struct Bench {
    folder: TempDir,
    tls: Tls,
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(ca: &Ca, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "the broker");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    Identity { chain: vec![certificate.der().clone()], key }
}

impl Bench {
    /// A client that believes this CA.
    fn new(ca: &Ca) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls { ca_file: Some(folder.path().join("ca.pem")), ..Tls::default() };
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        Self { folder, tls }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn client_certificate(&mut self, identity: &Identity) {
        let chain: String = identity.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        fs::write(self.path("client.pem"), chain).unwrap();
        fs::write(self.path("client.key"), identity.key.serialize_pem()).unwrap();
        self.tls.cert_file = Some(self.path("client.pem"));
        self.tls.key_file = Some(self.path("client.key"));
    }

    fn options(&self) -> Options {
        Options {
            tls: self.tls.clone(),
            key_passphrase: None,
            maximum_packet_size: 1 << 20,
            limit: Duration::from_secs(10),
        }
    }

    async fn connect(&self, port: u16) -> Result<Transport, String> {
        self.connect_as("localhost", port).await
    }

    async fn connect_as(&self, host: &str, port: u16) -> Result<Transport, String> {
        let server =
            Server { scheme: Scheme::Tls, host: host.to_owned(), port, path: String::new() };
        Transport::connect(&server, &self.options()).await
    }

    /// The error of a connect, or of the first answer: in TLS 1.3 a client's certificate is
    /// refused when the handshake is over for the client.
    async fn failure(&self, port: u16) -> String {
        match self.connect(port).await {
            Err(why) => why,
            Ok(mut transport) => match ask(&mut transport, b"hello").await {
                Ok(answer) => panic!("it answered {answer:?}"),
                Err(error) => error.to_string(),
            },
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Sends a text and reads until something comes back.
async fn ask(transport: &mut Transport, question: &'static [u8]) -> io::Result<Vec<u8>> {
    let mut outbound = VecDeque::from([Bytes::from_static(question)]);
    let mut inbound = BytesMut::new();
    loop {
        match transport.io(&mut outbound, &mut inbound, true).await? {
            Progress::Wrote(_) => {}
            Progress::Read(_) => return Ok(inbound.to_vec()),
            Progress::PeerClosed => {
                let hint = transport.closed_hint().unwrap_or_default();
                return Err(io::Error::other(format!("closed {hint}")));
            }
        }
    }
}

struct Served {
    port: u16,
    _task: JoinHandle<()>,
}

/// A TLS server that sends back what it gets.
async fn serve(config: ServerConfig) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let task = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let handshake = acceptor.accept(tcp);
            tokio::spawn(async move {
                let Ok(mut stream) = handshake.await else { return };
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..count]).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    Served { port, _task: task }
}

/// A server that sends these bytes whatever it is told, then closes.
async fn serve_bytes(bytes: &'static [u8]) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = tcp.read(&mut buffer).await;
            let _ = tcp.write_all(bytes).await;
            let _ = tcp.shutdown().await;
            let _ = tcp.read(&mut buffer).await;
        }
    });
    Served { port, _task: task }
}

fn config(identity: &Identity, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), key_of(identity))
        .unwrap()
}

fn config_with_clients(
    identity: &Identity,
    clients: &Ca,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(clients.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), key_of(identity))
        .unwrap()
}

fn key_of(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap()
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[tokio::test]
async fn both_versions_carry_bytes_and_tell_their_dates() {
    for (versions, version) in [(&[&TLS12][..], "TLS 1.2"), (&[&TLS13][..], "TLS 1.3")] {
        let plant = ca("Plant CA");
        let identity = issue(&plant, &["localhost"], |params| {
            params.not_after = date_time_ymd(2090, 5, 6);
        });
        let served = serve(config(&identity, versions)).await;
        let bench = Bench::new(&plant);
        let mut transport = bench.connect(served.port).await.unwrap();
        assert_eq!(ask(&mut transport, b"hello").await.unwrap(), b"hello");
        let status = transport.tls_status().unwrap();
        assert_eq!(status.version, version);
        assert!(status.cipher.starts_with("TLS"), "{}", status.cipher);
        assert_eq!(status.server_expires.unwrap().to_string(), "2090-05-06T00:00:00Z");
        assert_eq!(status.server_subject.as_deref(), Some("CN=the broker"));
        assert_eq!(status.client_expires, None);
        assert!(status.verified);
        transport.close().await.unwrap();
    }
}

#[tokio::test]
async fn min_version_is_held() {
    let plant = ca("Plant CA");
    let served = serve(config(&issue(&plant, &["localhost"], |_| {}), &[&TLS12])).await;
    let mut bench = Bench::new(&plant);
    bench.tls.min_version = TlsVersion::V13;
    let why = bench.failure(served.port).await;
    assert_says(&why, &["does not speak TLS 1.3", "`min_version = \"1.3\"`"]);
}

#[tokio::test]
async fn a_server_of_tls_1_1_is_called_too_old() {
    // A ServerHello of TLS 1.1: version 3.2, 32 bytes of random, no session, AES128-SHA.
    const HELLO: &[u8] = b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02\
        0123456789abcdef0123456789abcdef\x00\x00\x2f\x00";
    // What it says if it looks at the version first: alert, fatal, protocol_version.
    const ALERT: &[u8] = b"\x15\x03\x02\x00\x02\x02\x46";
    let bench = Bench::new(&ca("Plant CA"));
    for bytes in [HELLO, ALERT] {
        let served = serve_bytes(bytes).await;
        let why = bench.failure(served.port).await;
        assert_says(&why, &["only TLS 1.1 or older", "mqtts://localhost:"]);
    }
}

#[tokio::test]
async fn a_wrong_ca_is_named_with_what_was_wanted() {
    let (plant, other) = (ca("Plant CA"), ca("Other CA"));
    let served = serve(config(&issue(&other, &["localhost"], |_| {}), BOTH)).await;
    let mut bench = Bench::new(&plant);
    let why = bench.failure(served.port).await;
    assert_says(&why, &["`CN=the broker`", "from the CA `CN=Other CA`", "`ca_file` "]);
    assert_says(&why, &["ca.pem", "it has `CN=Plant CA`"]);
    // With the CAs of the machine, of which there may be none.
    bench.tls.ca_file = None;
    let why = bench.failure(served.port).await;
    assert!(why.contains("`CN=Other CA`") || why.contains("no CA certificates"), "{why}");
    assert_says(&why, &["`ca_file`"]);
}

#[tokio::test]
async fn a_ca_made_again_under_its_name_is_recognised() {
    let (old, new) = (ca("Plant CA"), ca("Plant CA"));
    let served = serve(config(&issue(&new, &["localhost"], |_| {}), BOTH)).await;
    let why = Bench::new(&old).failure(served.port).await;
    assert_says(&why, &["`CN=the broker`", "CA of that name", "made again"]);
}

#[tokio::test]
async fn a_chain_may_end_in_any_of_several_cas() {
    let (first, second) = (ca("First CA"), ca("Second CA"));
    let served = serve(config(&issue(&second, &["localhost"], |_| {}), BOTH)).await;
    let bench = Bench::new(&first);
    fs::write(bench.path("ca.pem"), format!("{}\n{}", first.pem(), second.pem())).unwrap();
    assert!(bench.connect(served.port).await.is_ok());
}

#[tokio::test]
async fn dates_are_told_with_the_clock() {
    let plant = ca("Plant CA");
    let bench = Bench::new(&plant);
    let expired = issue(&plant, &["localhost"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 3, 4);
    });
    let served = serve(config(&expired, BOTH)).await;
    let why = bench.failure(served.port).await;
    assert_says(&why, &["`CN=the broker` expired on 2002-03-04T00:00:00Z", " days ago"]);
    assert_says(&why, &["this machine's clock says 20", "check this machine's clock"]);
    let early = issue(&plant, &["localhost"], |params| {
        params.not_before = date_time_ymd(2091, 1, 1);
        params.not_after = date_time_ymd(2092, 1, 1);
    });
    let served = serve(config(&early, BOTH)).await;
    let why = bench.failure(served.port).await;
    assert_says(&why, &["is not valid before 2091-01-01T00:00:00Z", "check this machine's clock"]);
}

#[tokio::test]
async fn a_wrong_name_is_told_with_the_right_ones() {
    let plant = ca("Plant CA");
    let names = ["broker.plant.example", "10.1.2.3"];
    let served = serve(config(&issue(&plant, &names, |_| {}), BOTH)).await;
    let mut bench = Bench::new(&plant);
    let why = bench.failure(served.port).await;
    assert_says(
        &why,
        &["`broker.plant.example`, `10.1.2.3`, not for `localhost`", "`server_name`"],
    );
    bench.tls.server_name = Some("broker.plant.example".to_owned());
    assert!(bench.connect(served.port).await.is_ok());
    bench.tls.server_name = Some("10.1.2.3".to_owned());
    assert!(bench.connect(served.port).await.is_ok());
    bench.tls.server_name = None;
    let why = bench.connect_as("127.0.0.1", served.port).await.unwrap_err();
    assert_says(&why, &["not for `127.0.0.1`"]);
}

#[tokio::test]
async fn a_certificate_without_names_must_be_made_again() {
    let plant = ca("Plant CA");
    let served = serve(config(&issue(&plant, &[], |_| {}), BOTH)).await;
    let why = Bench::new(&plant).failure(served.port).await;
    assert_says(&why, &["names no host", "`localhost`", "subjectAltName"]);
}

#[tokio::test]
async fn a_certificate_that_is_not_for_servers_is_refused() {
    let plant = ca("Plant CA");
    let identity = issue(&plant, &["localhost"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let served = serve(config(&identity, BOTH)).await;
    assert_says(&Bench::new(&plant).failure(served.port).await, &["`serverAuth`"]);
}

fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a device");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Identity { chain: vec![certificate.der().clone()], key }
}

#[tokio::test]
async fn a_self_signed_server_is_believed_if_its_certificate_is_the_ca_file() {
    let device = self_signed(&["localhost"], |_| {});
    let served = serve(config(&device, BOTH)).await;
    let bench = Bench::new(&ca("Plant CA"));
    let why = bench.failure(served.port).await;
    assert_says(&why, &["self-signed", "`CN=a device`"]);
    fs::write(bench.path("ca.pem"), pem("CERTIFICATE", &device.chain[0])).unwrap();
    let mut transport = bench.connect(served.port).await.unwrap();
    assert_eq!(ask(&mut transport, b"hello").await.unwrap(), b"hello");
    // Its dates and names count all the same.
    let why = bench.connect_as("127.0.0.1", served.port).await.unwrap_err();
    assert_says(&why, &["not for `127.0.0.1`"]);
    let old = self_signed(&["localhost"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 3, 4);
    });
    fs::write(bench.path("ca.pem"), pem("CERTIFICATE", &old.chain[0])).unwrap();
    let served = serve(config(&old, BOTH)).await;
    assert_says(&bench.failure(served.port).await, &["expired on 2002-03-04"]);
}

/// A server that shows a certificate without looking at it.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn a_pinned_certificate_needs_its_key() {
    // Whoever copies the certificate does not have the key that belongs to it.
    let device = self_signed(&["localhost"], |_| {});
    let thief = Identity { chain: device.chain.clone(), key: KeyPair::generate().unwrap() };
    let key = provider().key_provider.load_private_key(key_of(&thief)).unwrap();
    let key = CertifiedKey::new(thief.chain, key);
    for tls_version in BOTH {
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[tls_version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown(Arc::new(key.clone()))));
        let served = serve(config).await;
        let mut bench = Bench::new(&ca("Plant CA"));
        fs::write(bench.path("ca.pem"), pem("CERTIFICATE", &device.chain[0])).unwrap();
        assert!(bench.connect(served.port).await.is_err());
        bench.tls.insecure_skip_verify = true;
        assert!(bench.connect(served.port).await.is_err());
    }
}

/// `openssl x509 -req` without extensions makes version 1, as the manual of mosquitto does it.
#[tokio::test]
async fn certificates_of_x509_version_1_are_told_and_worked_with() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    for (chain, key) in [("v1-rsa.pem", "rsa-pkcs8.pem"), ("v1-p256.pem", "p256-sec1.pem")] {
        let der = CertificateDer::from_pem_file(folder.join(chain)).unwrap();
        let private = keys::private_key(&folder.join(key), None).unwrap();
        let private = provider().key_provider.load_private_key(private).unwrap();
        let certified = CertifiedKey::new(vec![der], private);
        for version in BOTH {
            let config = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(Shown(Arc::new(certified.clone()))));
            let served = serve(config).await;
            let mut bench = Bench::new(&ca("Plant CA"));
            fs::copy(folder.join("v1-ca.pem"), bench.path("ca.pem")).unwrap();
            let why = bench.failure(served.port).await;
            assert_says(&why, &["`CN=old device` is X.509 version 1", "subjectAltName"]);
            bench.tls.insecure_skip_verify = true;
            let mut transport = bench.connect(served.port).await.unwrap();
            assert_eq!(ask(&mut transport, b"hello").await.unwrap(), b"hello");
        }
        // As the client's own.
        let plant = ca("Plant CA");
        let served = serve(config(&issue(&plant, &["localhost"], |_| {}), BOTH)).await;
        let mut bench = Bench::new(&plant);
        bench.tls.cert_file = Some(folder.join(chain));
        bench.tls.key_file = Some(folder.join(key));
        assert!(bench.connect(served.port).await.is_ok());
        bench.tls.key_file = Some(folder.join("p256-encrypted.pem"));
        let options = Options { key_passphrase: Some("open-sesame".into()), ..bench.options() };
        let server = Server {
            scheme: Scheme::Tls,
            host: "localhost".to_owned(),
            port: served.port,
            path: String::new(),
        };
        let connected = Transport::connect(&server, &options).await;
        // The encrypted key is the same P-256 key.
        assert_eq!(connected.is_ok(), chain == "v1-p256.pem", "{connected:?}");
    }
}

#[tokio::test]
async fn insecure_skip_verify_believes_everything() {
    let stranger = issue(&ca("Other CA"), &["elsewhere"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 3, 4);
    });
    let served = serve(config(&stranger, BOTH)).await;
    let mut bench = Bench::new(&ca("Plant CA"));
    bench.tls.insecure_skip_verify = true;
    let transport = bench.connect(served.port).await.unwrap();
    assert!(!transport.tls_status().unwrap().verified);
}

#[tokio::test]
async fn a_client_certificate_opens_the_door() {
    for version in BOTH {
        let (plant, clients) = (ca("Plant CA"), ca("Client CA"));
        let identity = issue(&plant, &["localhost"], |_| {});
        let served = serve(config_with_clients(&identity, &clients, &[version])).await;
        let mut bench = Bench::new(&plant);
        bench.client_certificate(&issue(&clients, &[], |params| {
            params.not_after = date_time_ymd(2080, 1, 2);
        }));
        let mut transport = bench.connect(served.port).await.unwrap();
        assert_eq!(ask(&mut transport, b"hello").await.unwrap(), b"hello");
        let status = transport.tls_status().unwrap();
        assert_eq!(status.client_expires.unwrap().to_string(), "2080-01-02T00:00:00Z");
    }
}

#[tokio::test]
async fn a_missing_client_certificate_is_asked_for() {
    for version in BOTH {
        let (plant, clients) = (ca("Plant CA"), ca("Client CA"));
        let identity = issue(&plant, &["localhost"], |_| {});
        let served = serve(config_with_clients(&identity, &clients, &[version])).await;
        let why = Bench::new(&plant).failure(served.port).await;
        assert_says(&why, &["requires a client certificate", "`cert_file` and `key_file`"]);
    }
}

/// What TLS has to say reaches through the WebSocket that it carries.
#[tokio::test]
async fn a_missing_client_certificate_is_asked_for_inside_a_web_socket() {
    for version in BOTH {
        let (plant, clients) = (ca("Plant CA"), ca("Client CA"));
        let identity = issue(&plant, &["localhost"], |_| {});
        let served = serve(config_with_clients(&identity, &clients, &[version])).await;
        let server = Server {
            scheme: Scheme::WebSocketTls,
            host: "localhost".to_owned(),
            port: served.port,
            path: "/mqtt".to_owned(),
        };
        let bench = Bench::new(&plant);
        let why = Transport::connect(&server, &bench.options()).await.unwrap_err();
        assert_says(&why, &["wss://localhost:", "requires a client certificate"]);
    }
}

#[tokio::test]
async fn a_refused_client_certificate_is_named_with_the_reason() {
    for version in BOTH {
        let (plant, clients, other) = (ca("Plant CA"), ca("Client CA"), ca("Other CA"));
        let identity = issue(&plant, &["localhost"], |_| {});
        let served = serve(config_with_clients(&identity, &clients, &[version])).await;
        let mut bench = Bench::new(&plant);
        bench.client_certificate(&issue(&other, &[], |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "pump 1");
        }));
        let why = bench.failure(served.port).await;
        assert_says(&why, &["refused the client certificate", "client.pem", "`CN=pump 1`"]);
        assert_says(&why, &["issued by `CN=Other CA`", "alert `unknown_ca`"]);
        assert_says(&why, &["does not know that CA; it takes those of `CN=Client CA`"]);
        bench.client_certificate(&issue(&clients, &[], |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 3, 4);
        }));
        let why = bench.failure(served.port).await;
        assert_says(&why, &["valid until 2002-03-04", "alert `certificate_expired`", "renew it"]);
    }
}

#[tokio::test]
async fn ports_that_do_not_speak_tls_are_recognised() {
    let bench = Bench::new(&ca("Plant CA"));
    // A broker that does not understand the first bytes closes.
    let why = bench.failure(serve_bytes(b"").await.port).await;
    assert_says(&why, &["closed the connection instead of answering", "TLS port"]);
    let why = bench.failure(serve_bytes(b"\x20\x02\x00\x00").await.port).await;
    assert_says(&why, &["is no TLS", "`mqtt://`"]);
    let why = bench.failure(serve_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.port).await;
    assert_says(&why, &["is no TLS"]);
}

#[tokio::test]
async fn plain_mqtt_to_other_ports_is_recognised() {
    let options = Bench::new(&ca("Plant CA")).options();
    for (bytes, expected) in [
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], "`mqtts://`"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "`ws://`"),
        (b"", "before it answered anything"),
    ] {
        let port = serve_bytes(bytes).await.port;
        let host = "127.0.0.1".to_owned();
        let server = Server { scheme: Scheme::Tcp, host, port, path: String::new() };
        let mut transport = Transport::connect(&server, &options).await.unwrap();
        let why = ask(&mut transport, b"\x10\x00").await.unwrap_err().to_string();
        assert_says(&why, &[expected]);
    }
}

#[tokio::test]
async fn alpn_is_offered_and_missed() {
    let plant = ca("Plant CA");
    let mut with_alpn = config(&issue(&plant, &["localhost"], |_| {}), BOTH);
    with_alpn.alpn_protocols = vec![b"x-plant".to_vec()];
    let served = serve(with_alpn).await;
    let mut bench = Bench::new(&plant);
    bench.tls.alpn = vec!["mqtt".to_owned(), "x-plant".to_owned()];
    let transport = bench.connect(served.port).await.unwrap();
    assert_eq!(transport.tls_status().unwrap().alpn.as_deref(), Some("x-plant"));
    bench.tls.alpn = vec!["mqtt".to_owned()];
    assert_says(&bench.failure(served.port).await, &["none of the protocols `mqtt` of `alpn`"]);
}

#[tokio::test]
async fn files_are_told_by_name_when_they_are_wrong() {
    let plant = ca("Plant CA");
    let identity = issue(&plant, &["localhost"], |_| {});
    let served = serve(config(&identity, BOTH)).await;
    let mut bench = Bench::new(&plant);
    fs::write(bench.path("ca.pem"), "no certificate").unwrap();
    assert_says(&bench.failure(served.port).await, &["`ca_file`", "ca.pem holds no certificate"]);
    fs::write(bench.path("ca.pem"), plant.pem().replacen("MII", "M!I", 1)).unwrap();
    assert_says(&bench.failure(served.port).await, &["`ca_file`", "ca.pem is a damaged PEM file"]);
    fs::remove_file(bench.path("ca.pem")).unwrap();
    assert_says(
        &bench.failure(served.port).await,
        &["cannot read the `ca_file`", "ca.pem: No such"],
    );
    fs::write(bench.path("ca.pem"), plant.pem()).unwrap();
    bench.client_certificate(&issue(&plant, &[], |_| {}));
    fs::write(bench.path("client.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let why = bench.failure(served.port).await;
    assert_says(&why, &["client.key is not that of the first certificate in", "client.pem"]);
    fs::write(bench.path("client.key"), "no key").unwrap();
    assert_says(&bench.failure(served.port).await, &["client.key holds no private key"]);
}

#[tokio::test]
async fn renewed_files_are_noticed_once_they_fit_together() {
    let plant = ca("Plant CA");
    let served = serve(config(&issue(&plant, &["localhost"], |_| {}), BOTH)).await;
    let mut bench = Bench::new(&plant);
    bench.client_certificate(&issue(&plant, &[], |_| {}));
    let transport = bench.connect(served.port).await.unwrap();
    let files = transport.tls_files().unwrap().clone();
    assert_eq!(files.changed(), FilesState::Same);
    // Written again without a change.
    let same = fs::read(bench.path("client.pem")).unwrap();
    fs::write(bench.path("client.pem"), same).unwrap();
    assert_eq!(files.changed(), FilesState::Same);
    // The certificate is there, its key is not yet.
    let renewed = issue(&plant, &[], |_| {});
    fs::write(bench.path("client.pem"), pem("CERTIFICATE", &renewed.chain[0])).unwrap();
    let FilesState::Unusable(why) = files.changed() else { panic!() };
    assert_says(&why, &["are both files of the same renewal"]);
    fs::write(bench.path("client.key"), renewed.key.serialize_pem()).unwrap();
    assert_eq!(files.changed(), FilesState::Renewed(bench.path("client.pem")));
    let again = bench.connect(served.port).await.unwrap();
    assert_eq!(again.tls_files().unwrap().changed(), FilesState::Same);
}

#[tokio::test]
async fn a_silent_server_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bench = Bench::new(&ca("Plant CA"));
    let server =
        Server { scheme: Scheme::Tls, host: "127.0.0.1".to_owned(), port, path: String::new() };
    let options = Options { limit: Duration::from_millis(200), ..bench.options() };
    let why = Transport::connect(&server, &options).await.unwrap_err();
    assert_says(&why, &["no answer to the TLS handshake", "within 200ms"]);
}

#[tokio::test]
async fn large_and_small_packets_arrive_in_order() {
    let plant = ca("Plant CA");
    let served = serve(config(&issue(&plant, &["localhost"], |_| {}), BOTH)).await;
    let mut transport = Bench::new(&plant).connect(served.port).await.unwrap();
    let mut outbound: VecDeque<Bytes> = VecDeque::new();
    let mut expected = Vec::new();
    for index in 0..500_usize {
        let size = if index.is_multiple_of(50) { 100_000 } else { index % 9 + 1 };
        outbound.push_back(vec![index as u8; size].into());
        expected.extend(vec![index as u8; size]);
    }
    let (mut inbound, mut wrote) = (BytesMut::new(), 0);
    while inbound.len() < expected.len() {
        match transport.io(&mut outbound, &mut inbound, true).await.unwrap() {
            Progress::Wrote(count) => wrote += count,
            Progress::Read(_) => {}
            Progress::PeerClosed => panic!("closed"),
        }
    }
    assert_eq!(wrote, expected.len());
    assert!(transport.is_flushed() && outbound.is_empty());
    assert_eq!(inbound, expected);
}

#[test]
fn keys_are_read_in_every_form() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    for name in ["rsa-pkcs8", "rsa-pkcs1", "p256-pkcs8", "p256-sec1"] {
        let key = keys::private_key(&folder.join(format!("{name}.pem")), None).unwrap();
        assert!(provider().key_provider.load_private_key(key).is_ok(), "{name}");
    }
    let encrypted = folder.join("p256-encrypted.pem");
    let key = keys::private_key(&encrypted, Some("open-sesame")).unwrap();
    assert!(provider().key_provider.load_private_key(key).is_ok());
    let why = keys::private_key(&encrypted, Some("hunter2")).unwrap_err();
    assert_says(&why, &["p256-encrypted.pem cannot be decrypted"]);
    assert!(!why.contains("hunter2"));
    let why = keys::private_key(&encrypted, None).unwrap_err();
    assert_says(&why, &["is encrypted: give its `key_passphrase`"]);
    let why = keys::private_key(&folder.join("p256-legacy-encrypted.pem"), None).unwrap_err();
    assert_says(&why, &["`openssl pkey"]);
    let why = keys::private_key(&folder.join("rsa-public.pem"), None).unwrap_err();
    assert_says(&why, &["holds no private key"]);
    let why = keys::private_key(&folder.join("no-such.pem"), None).unwrap_err();
    assert_says(&why, &["cannot read the key file", "no-such.pem"]);
}

#[test]
fn passphrases_are_not_shown() {
    let options = Options {
        tls: Tls::default(),
        key_passphrase: Some("hunter2".to_owned()),
        maximum_packet_size: 0,
        limit: Duration::ZERO,
    };
    assert!(!format!("{options:?}").contains("hunter2"));
}
