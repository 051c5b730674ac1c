//! rumqttd in this process, as the demo has it: built without TLS and WebSocket.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;

use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};

use crate::cell::{Cell, Transport, Version};
use crate::harness::{Mosquitto, eventually, free_port};
use crate::peer::Peer;
use crate::run::run;

struct Broker {
    clients: Mosquitto,
    v5: u16,
}

fn listener(name: &str, port: u16) -> HashMap<String, ServerSettings> {
    let settings = ServerSettings {
        name: name.to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 20_000,
            max_payload_size: 1 << 20,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    HashMap::from([(name.to_owned(), settings)])
}

impl Broker {
    fn start() -> Self {
        let [v4, v5] = [(); 2].map(|()| free_port());
        let config = Config {
            router: RouterConfig {
                max_connections: 256,
                max_outgoing_packet_count: 200,
                max_segment_size: 1 << 20,
                max_segment_count: 4,
                ..RouterConfig::default()
            },
            v4: Some(listener("v4", v4)),
            v5: Some(listener("v5", v5)),
            ..Config::default()
        };
        // It knows no stop: it ends with the test binary.
        thread::spawn(move || {
            if let Err(error) = rumqttd::Broker::new(config).start() {
                eprintln!("rumqttd ended: {error}");
            }
        });
        for port in [v4, v5] {
            eventually("rumqttd listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        Self { clients: Mosquitto::clients_of(v4), v5 }
    }
}

impl Peer for Broker {
    fn name(&self) -> &'static str {
        "rumqttd"
    }

    fn clients(&self) -> &Mosquitto {
        &self.clients
    }

    fn leaves_out(&self, cell: &Cell) -> Option<&'static str> {
        match (cell.transport, cell.version) {
            (Transport::Tcp, _) => None,
            (Transport::Tls | Transport::MutualTls, _) => {
                Some("rumqttd is built without its TLS listener, as for the demo")
            }
            (_, Version::V50) => Some("rumqttd has no WebSocket listener for MQTT 5.0"),
            (_, Version::V311) => {
                Some("rumqttd is built without its WebSocket listener, as for the demo")
            }
        }
    }

    fn line_keys(&self, cell: &Cell) -> String {
        let port = match cell.version {
            Version::V311 => self.clients.port,
            Version::V50 => self.v5,
        };
        // It cuts a client that asks for keep alive 0, without a CONNACK.
        format!("servers = [\"mqtt://127.0.0.1:{port}\"]\nkeep_alive = \"60s\"\n")
    }

    fn keeps_qos_0(&self) -> bool {
        true
    }

    /// It delivers at the QoS of the subscription what was published lower.
    fn lowers_qos(&self) -> bool {
        false
    }

    fn log(&self) -> Option<String> {
        None
    }
}

#[test]
fn rumqttd() {
    run(&Broker::start());
}
