use std::fs;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::clock;
use crate::config::{Scheme, Server, Tls};
use crate::transport::{Options, Transport};

fn certificate() -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap(), key)
}

#[tokio::test]
async fn a_renewed_certificate_file_ends_the_connection() {
    let (certificate, key) = self::certificate();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, certificate.pem()).unwrap();
    let options = Options {
        tls: Tls { ca_file: Some(ca_file.clone()), ..Tls::default() },
        key_passphrase: None,
        maximum_packet_size: 1 << 20,
        limit: Duration::from_secs(10),
    };
    let server =
        Server { scheme: Scheme::Tls, host: "localhost".into(), port, path: String::new() };
    let (transport, _peer) = tokio::join!(Transport::connect(&server, &options), accept);
    let watched = Watched {
        line: "plant".to_owned(),
        files: transport.unwrap().tls_files().cloned(),
        token: None,
    };
    let mut waiting = Box::pin(watched.wait(Duration::from_millis(1), Duration::from_millis(1)));
    let quiet = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(quiet.is_err(), "nothing was renewed");
    fs::write(&ca_file, "half a fi").unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(quiet.is_err(), "no connection can be made with this");
    fs::write(&ca_file, self::certificate().0.pem()).unwrap();
    assert_eq!(waiting.await, format!("{} was renewed", ca_file.display()));
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let at = clock::now() + Duration::from_millis(20);
    let watched = Watched { line: "plant".to_owned(), files: None, token: Some(at) };
    assert_eq!(watched.start().unwrap().await, "the token ends soon");
    assert!(clock::now() >= at);
    let watched = Watched { line: "plant".to_owned(), files: None, token: None };
    assert!(watched.start().is_none());
}
