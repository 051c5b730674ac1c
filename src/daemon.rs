//! Start, run and stop, in that order and its reverse.

mod lines;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api;
use crate::clock;
use crate::config::Config;
use crate::hub::{Hub, writer};
use crate::line::StoredRecords;
use crate::store::{Store, StoreOptions};
use lines::Lines;

/// A process at work.
pub struct Daemon {
    hub: Arc<Hub>,
    stop_clients: watch::Sender<bool>,
    stop_lines: watch::Sender<bool>,
    clients: JoinSet<()>,
    lines: tokio::task::JoinHandle<()>,
    store_thread: JoinHandle<()>,
}

impl Daemon {
    /// Starts everything; the error is for the operator.
    pub fn start(config: Config) -> Result<Self, String> {
        Self::start_at(config, None)
    }

    /// As [`Self::start`], with another socket than the configured one.
    pub fn start_at(mut config: Config, socket: Option<PathBuf>) -> Result<Self, String> {
        if let Some(socket) = &socket {
            config.socket.path.clone_from(socket);
        }
        let config = Arc::new(config);
        let options = StoreOptions {
            folder: config.process.data_dir.clone(),
            journal_entries_max: config.journal.max_entries,
            journal_age_max: config.journal.max_age,
        };
        let names: Vec<Arc<str>> = config.tags.iter().map(|tag| Arc::clone(&tag.name)).collect();
        // The store before the socket: its lock tells whether the configuration is in use.
        let (store, mut recovered) =
            Store::open(&options, &names).map_err(|error| format!("data_dir: {error}"))?;
        if let Some((path, why)) = &recovered.quarantined {
            tracing::error!(
                moved_to = %path.display(),
                "the store could not be read and was moved away; starting with an empty one: {why}"
            );
        }
        let server = api::Server::bind(&config.socket.path, config.socket.mode)
            .map_err(|error| error.to_string())?;
        let store = Arc::new(store);
        let (hub, ports) =
            Hub::new(Arc::clone(&config), Arc::clone(&store), &recovered, clock::wall());
        let stored = StoredRecords::new(std::mem::take(&mut recovered.sessions));
        let store_thread =
            writer::spawn(&hub).map_err(|error| format!("cannot start a thread: {error}"))?;

        let (stop_lines, lines_stop) = watch::channel(false);
        let no_thread = |error| format!("cannot start a thread: {error}");
        let mut lines = Lines::new(Arc::clone(&hub), store, socket).map_err(no_thread)?;
        lines.start(ports, stored);
        let requests = hub.config_requests().ok_or("the hub is in use")?;
        let lines = tokio::spawn(lines.run(requests, lines_stop));
        let (stop_clients, clients_stop) = watch::channel(false);
        let mut clients = JoinSet::new();
        clients.spawn(server.run(Arc::clone(&hub), clients_stop));
        tracing::info!(
            name = %config.process.name,
            version = env!("CARGO_PKG_VERSION"),
            lines = config.lines.len(),
            stations = config.stations.len(),
            tags = config.tags.len(),
            socket = %config.socket.path.display(),
            "started"
        );
        Ok(Self { hub, stop_clients, stop_lines, clients, lines, store_thread })
    }

    /// The hub, for who shows values in this process.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Loads the configuration again; what comes of it is in the log.
    pub fn reload(&self) {
        if let Err(error) = self.hub.request_config(true) {
            tracing::warn!("not reloaded: {}", error.message);
        }
    }

    /// Stops everything: no more clients, lines drained and disconnected, the store written out.
    pub async fn stop(mut self) {
        self.stop_clients.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        self.stop_lines.send_replace(true);
        let _ = self.lines.await;
        self.hub.stop_writing();
        let store_thread = self.store_thread;
        let _ = tokio::task::spawn_blocking(move || store_thread.join()).await;
        tracing::info!("stopped");
    }
}
