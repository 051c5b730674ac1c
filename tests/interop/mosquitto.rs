//! Debian's mosquitto: one process with a listener for each transport.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::cell::{Cell, Transport};
use crate::harness::{Mosquitto, free_port};
use crate::peer::Peer;
use crate::run::run;

struct Broker {
    broker: Mosquitto,
    certificates: TempDir,
    tls: u16,
    mutual_tls: u16,
    web: u16,
    web_tls: u16,
}

/// A CA, and by it `server.*` for the loopback address and `client.*`.
fn make_certificates(folder: &Path) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Plant CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    for (name, hosts) in [("server", vec!["127.0.0.1".to_owned()]), ("client", vec![])] {
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

impl Broker {
    fn start() -> Self {
        let certificates = tempfile::tempdir().unwrap();
        make_certificates(certificates.path());
        let [tls, mutual_tls, web, web_tls] = [(); 4].map(|()| free_port());
        let own = format!(
            "cafile {0}/ca.pem\ncertfile {0}/server.pem\nkeyfile {0}/server.key\n",
            certificates.path().display()
        );
        let access = format!(
            "allow_anonymous true\n\
             listener {tls} 127.0.0.1\n{own}\
             listener {mutual_tls} 127.0.0.1\n{own}require_certificate true\n\
             use_identity_as_username true\n\
             listener {web} 127.0.0.1\nprotocol websockets\n\
             listener {web_tls} 127.0.0.1\nprotocol websockets\n{own}"
        );
        let broker = Mosquitto::start_with(&access, None);
        Self { broker, certificates, tls, mutual_tls, web, web_tls }
    }
}

impl Peer for Broker {
    fn name(&self) -> &'static str {
        "mosquitto"
    }

    fn clients(&self) -> &Mosquitto {
        &self.broker
    }

    fn leaves_out(&self, _: &Cell) -> Option<&'static str> {
        None
    }

    fn line_keys(&self, cell: &Cell) -> String {
        let server = match cell.transport {
            Transport::Tcp => format!("mqtt://127.0.0.1:{}", self.broker.port),
            Transport::Tls => format!("mqtts://127.0.0.1:{}", self.tls),
            Transport::MutualTls => format!("mqtts://127.0.0.1:{}", self.mutual_tls),
            Transport::WebSocket => format!("ws://127.0.0.1:{}/mqtt", self.web),
            Transport::WebSocketTls => format!("wss://127.0.0.1:{}/mqtt", self.web_tls),
        };
        let folder = self.certificates.path().display();
        let own = match cell.transport {
            Transport::MutualTls => {
                format!(", cert_file = \"{folder}/client.pem\", key_file = \"{folder}/client.key\"")
            }
            _ => String::new(),
        };
        let tls = match cell.transport.is_encrypted() {
            true => format!("tls = {{ ca_file = \"{folder}/ca.pem\"{own} }}\n"),
            false => String::new(),
        };
        format!("servers = [\"{server}\"]\n{tls}")
    }

    fn keeps_qos_0(&self) -> bool {
        false
    }

    fn lowers_qos(&self) -> bool {
        true
    }

    fn log(&self) -> Option<String> {
        Some(self.broker.log())
    }
}

#[test]
fn mosquitto() {
    run(&Broker::start());
}
