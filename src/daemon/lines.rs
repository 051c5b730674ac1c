//! The lines at work, and how a reload changes them.
//!
//! ```text
//!   load, align, compile ──▶ lines that go: stopped ──▶ lines that stay: paused ──▶ hub: in force
//!     ──▶ lines that stay: go on by it ──▶ lines that come: started
//! ```
//!
//! Up to the second step nothing has happened: mistakes are reported and that is all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::worker::Worker;
use crate::clock;
use crate::config::diff::{Aligned, Summary, align};
use crate::config::{self, Line};
use crate::hub::reload::{ConfigError, ConfigRequest, Prepared};
use crate::hub::{Hub, LinePort};
use crate::iotag::LineId;
use crate::line::{LineTask, Reconfiguration, Steps, Stored, StoredRecords};
use crate::store::Store;

/// How long the last records of a line that has ended may take to the disk.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Lines {
    hub: Arc<Hub>,
    store: Arc<Store>,
    /// Given on the command line, whatever the files say.
    socket: Option<PathBuf>,
    running: BTreeMap<LineId, Running>,
    worker: Worker,
}

/// A line at work.
struct Running {
    stop: watch::Sender<bool>,
    reconfigurations: mpsc::Sender<Reconfiguration>,
    task: JoinHandle<()>,
}

impl Lines {
    /// No line yet.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn new(
        hub: Arc<Hub>,
        store: Arc<Store>,
        socket: Option<PathBuf>,
    ) -> std::io::Result<Self> {
        Ok(Self { hub, store, socket, running: BTreeMap::new(), worker: Worker::start()? })
    }

    /// Starts lines that continue what is stored of them.
    pub(super) fn start(&mut self, ports: Vec<LinePort>, mut stored: StoredRecords) {
        let config = self.hub.config();
        for port in ports {
            let stored = stored.take(&config.lines[port.line.0 as usize]);
            let task = LineTask::new(port.line, Arc::clone(&self.hub), stored);
            self.spawn(port, task);
        }
    }

    fn spawn(&mut self, port: LinePort, task: LineTask) {
        let line = port.line;
        let (stop, stopped) = watch::channel(false);
        let (reconfigurations, received) = mpsc::channel(1);
        let task = tokio::spawn(task.run(port, received, stopped));
        self.running.insert(line, Running { stop, reconfigurations, task });
    }

    /// Serves requests until `stop` is true, then stops all lines.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<ConfigRequest>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let request = tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => break,
                request = requests.recv() => request,
            };
            let Some(ConfigRequest { apply, reply }) = request else { break };
            let outcome = tokio::select! {
                biased;
                // Whatever step it has come to: there will be no other.
                _ = stop.wait_for(|&stop| stop) => break,
                outcome = self.serve(apply) => outcome,
            };
            // Whoever waited may be gone.
            let _ = reply.send(outcome);
        }
        self.end(&self.running.keys().copied().collect::<Vec<_>>()).await;
    }

    async fn serve(&mut self, apply: bool) -> Result<Summary, ConfigError> {
        let loaded = self.load().await;
        if !apply {
            return loaded.map(|aligned| aligned.summary());
        }
        let result = match loaded {
            Ok(aligned) => self.apply(aligned).await,
            Err(error) => Err(error),
        };
        match &result {
            Ok(summary) => say(summary),
            Err(ConfigError::Mistakes(diagnostics)) => {
                for diagnostic in diagnostics {
                    tracing::error!("{diagnostic}");
                }
                let mistakes = diagnostics.len();
                tracing::error!(mistakes, "not reloaded, nothing was changed");
            }
            Err(ConfigError::Failed(why)) => {
                tracing::error!("not reloaded, nothing was changed: {why}");
            }
        }
        result
    }

    /// The configuration on disk, under the ids of the one in force.
    async fn load(&self) -> Result<Aligned, ConfigError> {
        let old = self.hub.config();
        let socket = self.socket.clone();
        let loading = self.worker.run(move || {
            let mut loaded = config::load(&old.path).map_err(ConfigError::Mistakes)?;
            if let Some(socket) = socket {
                loaded.socket.path = socket;
            }
            Ok(align(&old, loaded))
        });
        loading.await.map_err(failed)?
    }

    /// Puts a configuration in force.
    async fn apply(&mut self, aligned: Aligned) -> Result<Summary, ConfigError> {
        let summary = aligned.summary();
        if !summary.changed {
            return Ok(summary);
        }
        let aligned = Arc::new(aligned);
        let restarted = aligned.diff.restarted.clone();
        let ended: Vec<LineId> =
            aligned.diff.lines.ended().chain(restarted.iter().copied()).collect();
        let staying: Vec<LineId> =
            self.running.keys().copied().filter(|line| !ended.contains(line)).collect();
        let (prepared, compiled) = {
            let (hub, aligned) = (Arc::clone(&self.hub), Arc::clone(&aligned));
            let work = self.worker.run(move || {
                let compiled: Vec<(LineId, Reconfiguration, Steps)> = staying
                    .into_iter()
                    .map(|line| {
                        let (reconfiguration, steps) = Reconfiguration::compile(line, &aligned);
                        (line, reconfiguration, steps)
                    })
                    .collect();
                Ok::<_, ConfigError>((prepare(&hub, &aligned)?, compiled))
            });
            work.await.map_err(failed)??
        };
        self.stop(&ended).await;
        let ports = self.change(&aligned, prepared, compiled).await?;
        self.begin(ports, restarted).await?;
        Ok(summary)
    }

    /// Lines that stay wait while the hub changes, and go on by the other configuration.
    async fn change(
        &self,
        aligned: &Arc<Aligned>,
        prepared: Prepared,
        compiled: Vec<(LineId, Reconfiguration, Steps)>,
    ) -> Result<Vec<LinePort>, ConfigError> {
        let begun = clock::now();
        let mut paused = Vec::with_capacity(compiled.len());
        for (line, reconfiguration, steps) in compiled {
            let Some(running) = self.running.get(&line) else { continue };
            if running.reconfigurations.send(reconfiguration).await.is_ok() {
                paused.push(steps);
            }
        }
        let mut ready = Vec::with_capacity(paused.len());
        for Steps { ready: waits, go, done } in paused {
            // A line that has ended changes no more.
            if waits.await.is_ok() {
                ready.push((go, done));
            }
        }
        let (hub, aligned) = (Arc::clone(&self.hub), Arc::clone(aligned));
        let changing = self.worker.run(move || hub.reconfigure(&aligned, prepared, clock::wall()));
        // Should it fail, the lines go on as before: they are not told to go.
        let (ports, before) = changing.await.map_err(failed)?;
        let mut going = Vec::with_capacity(ready.len());
        for (go, done) in ready {
            if go.send(()).is_ok() {
                going.push(done);
            }
        }
        let mut replaced = Vec::with_capacity(going.len());
        for done in going {
            replaced.extend(done.await);
        }
        tracing::debug!(paused = ?(clock::now() - begun), "the lines go on");
        self.worker.drop_later((before, replaced));
        Ok(ports)
    }

    /// Starts lines that were not there, or come back, with the sessions that the store has of them.
    async fn begin(
        &mut self,
        ports: Vec<LinePort>,
        restarted: Vec<LineId>,
    ) -> Result<(), ConfigError> {
        if ports.is_empty() {
            return Ok(());
        }
        let (hub, store) = (Arc::clone(&self.hub), Arc::clone(&self.store));
        let made = self.worker.run(move || {
            let config = hub.config();
            let made = ports.into_iter().map(|port| {
                let mut stored = stored(&store, &config.lines[port.line.0 as usize]);
                if restarted.contains(&port.line) {
                    stored = stored.resumed();
                }
                let task = LineTask::new(port.line, Arc::clone(&hub), stored);
                (port, task)
            });
            made.collect::<Vec<_>>()
        });
        for (port, task) in made.await.map_err(failed)? {
            self.spawn(port, task);
        }
        Ok(())
    }

    /// Stops lines, and sees all that they knew to the disk.
    async fn stop(&mut self, lines: &[LineId]) {
        self.end(lines).await;
        for line in lines {
            let settled = self.hub.settled(*line);
            if tokio::time::timeout(SETTLE_TIMEOUT, settled).await.is_err() {
                tracing::warn!("a line has ended, and what it knew last is not on the disk yet");
            }
        }
    }

    /// Stops lines: drained and disconnected.
    async fn end(&mut self, lines: &[LineId]) {
        let stopping: Vec<Running> =
            lines.iter().filter_map(|line| self.running.remove(line)).collect();
        for running in &stopping {
            running.stop.send_replace(true);
        }
        for running in stopping {
            // One that panicked has ended too.
            let _ = running.task.await;
        }
    }
}

fn prepare(hub: &Hub, aligned: &Aligned) -> Result<Prepared, ConfigError> {
    hub.prepare(aligned).map_err(|error| ConfigError::Failed(error.to_string()))
}

fn failed(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Failed(error.to_string())
}

/// What the store has of a line that is not at work.
fn stored(store: &Store, line: &Line) -> Stored {
    let mut records = Vec::new();
    for name in StoredRecords::names(&line.name) {
        match store.session(&name) {
            Ok(found) => {
                let named = found.into_iter().map(|(key, value)| (Arc::clone(&name), key, value));
                records.extend(named);
            }
            Err(error) => tracing::error!(
                line = %line.name, %error,
                "the stored MQTT session cannot be read and is forgotten"
            ),
        }
    }
    StoredRecords::new(records).take(line)
}

/// One line in the log for what was done, and one for what was not.
fn say(summary: &Summary) {
    let Summary { lines, stations, tags, settings, restart_needed, .. } = summary;
    if summary.changed {
        tracing::info!(
            lines_added = lines.names.counts.added,
            lines_removed = lines.names.counts.removed,
            lines_changed = lines.names.counts.changed,
            lines_reconnected = lines.reconnected.len(),
            stations_added = stations.counts.added,
            stations_removed = stations.counts.removed,
            stations_changed = stations.counts.changed,
            tags_added = tags.counts.added,
            tags_removed = tags.counts.removed,
            tags_changed = tags.counts.changed,
            settings = settings.len(),
            "configuration reloaded"
        );
    } else {
        tracing::info!("configuration reloaded: nothing has changed");
    }
    if !restart_needed.is_empty() {
        tracing::warn!("these keys take effect at the next start: {}", restart_needed.join(", "));
    }
}
