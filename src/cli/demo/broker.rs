//! The demo's broker: rumqttd inside this process, on a free port of the loopback interface.
//!
//! It is not a broker for anything else: no passwords, no TLS, nothing on disk. Facts about it that
//! shape the rest of the demo: it cuts a client that asks for keep alive 0 without a CONNACK, it
//! delivers at the subscription's QoS even what was published lower, and it has no `$SYS`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rumqttd::protocol::v4::V4;
use rumqttd::{ConnectionSettings, LinkType, Router, RouterConfig, Server, ServerSettings};
use tokio::sync::oneshot;

/// A running broker. Dropping it stops it: the port is closed and every connection with it.
pub(super) struct Broker {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker and returns when it accepts connections.
    ///
    /// May be called from a thread and from a task; it blocks for some milliseconds.
    ///
    /// # Errors
    ///
    /// A sentence for the operator: no port, no thread, or no runtime could be had.
    pub(super) fn start() -> Result<Self, String> {
        let mut cause = String::new();
        for _ in 0..START_ATTEMPTS_MAX {
            match Self::start_on(free_port()?) {
                Ok(broker) => return Ok(broker),
                // Somebody else may take the port between its choice and rumqttd's own bind.
                Err(error) => cause = error,
            }
        }
        Err(cause)
    }

    /// The port it listens on, at 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Closes the port and all connections, and returns when that is done.
    pub(super) fn stop(mut self) {
        self.halt();
    }

    fn start_on(port: u16) -> Result<Self, String> {
        let (stop, stopped) = oneshot::channel();
        let (ready, readiness) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("demo-broker".to_owned())
            .spawn(move || serve(port, stopped, &ready))
            .map_err(|error| format!("cannot start the thread of the demo broker: {error}"))?;
        let broker = Self { port, stop: Some(stop), thread: Some(thread) };
        match readiness.recv_timeout(START_PATIENCE) {
            Ok(Ok(())) => Ok(broker),
            Ok(Err(cause)) => Err(format!("cannot start the demo broker: {cause}")),
            Err(_) => Err("cannot start the demo broker: it does not come up".to_owned()),
        }
    }

    fn halt(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It fails only when the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed by its own thread; nothing is left to clean up.
            let _ = thread.join();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Runs the listener and all its connections on one thread, until stopped.
///
/// `rumqttd::Broker::start` never returns; its parts do: when the future of `Server::start` and the
/// runtime are dropped, the port and the connections are closed. rumqttd's router thread holds a
/// sender to itself and so waits, idle, for the end of the process.
fn serve(port: u16, stopped: oneshot::Receiver<()>, ready: &mpsc::Sender<Result<(), String>>) {
    // Its connections log every disconnect as an error.
    let _quiet = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::new());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error.to_string()));
            return;
        }
    };
    let router = Router::new(0, router_config()).spawn();
    let mut server = Server::new(server_settings(port), router, V4);
    runtime.block_on(async {
        tokio::select! {
            biased;
            end = server.start(LinkType::Remote) => {
                let cause = end.err().map_or_else(|| "it ended".to_owned(), |e| e.to_string());
                let _ = ready.send(Err(cause));
            }
            // Polled after the server, whose first poll binds the port.
            () = async {
                let _ = ready.send(Ok(()));
                let _ = stopped.await;
            } => {}
        }
    });
}

fn free_port() -> Result<u16, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port on 127.0.0.1: {error}"))
}

fn router_config() -> RouterConfig {
    RouterConfig {
        max_connections: CONNECTIONS_MAX,
        max_outgoing_packet_count: 200,
        max_segment_size: SEGMENT_BYTES_MAX,
        max_segment_count: SEGMENTS_MAX,
        ..RouterConfig::default()
    }
}

fn server_settings(port: u16) -> ServerSettings {
    ServerSettings {
        name: "demo".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: PAYLOAD_BYTES_MAX,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}

/// To be added to the tracing filter: rumqttd's router thread logs to whatever is set up globally.
pub(super) const LOG_DIRECTIVE: &str = "rumqttd=off";

/// Ports tried before giving up.
const START_ATTEMPTS_MAX: usize = 5;
/// For the broker's thread to come up.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// The plant, the driver, and a curious user's own clients.
const CONNECTIONS_MAX: usize = 256;
/// Largest packet; rumqttd's own choice would be 20 KB.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The commit log of one filter: a segment.
const SEGMENT_BYTES_MAX: usize = 1024 * 1024;
/// The commit log of one filter: its segments; the oldest goes first.
const SEGMENTS_MAX: usize = 4;
