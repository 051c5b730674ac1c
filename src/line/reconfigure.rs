//! Another configuration for a line at work.
//!
//! A line takes it between two turns: what came before is mapped by the old one and handed to the hub,
//! what comes after by the other one. What the new one says nothing else of goes on: connection, session,
//! timers, messages that await their confirmation, the phase of cyclic publications.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use tokio::sync::oneshot;

use super::LineTask;
use super::confirmation::{Held, Released};
use super::stations::{OtherStations, Replaced, subscriptions};
use crate::clock;
use crate::config::diff::Aligned;
use crate::hub::LineCommand;
use crate::hub::bounds::LINE_COMMANDS_MAX;
use crate::hub::status::PathId;
use crate::iotag::{LineId, StationId};
use crate::mqtt::Subscription;

/// What a reload changes for a line, compiled.
pub struct Reconfiguration {
    line: LineId,
    stations: OtherStations,
    subscriptions: Vec<Subscription>,
    /// Whether the connection has to be made anew.
    reconnect: bool,
    /// Hears when the line has handed everything to the hub, and reads no more.
    ready: Option<oneshot::Sender<()>>,
    /// Says that the hub has the configuration too.
    go: oneshot::Receiver<()>,
    /// Hears when the line works by it.
    done: oneshot::Sender<Replaced>,
}

/// The other side of a [`Reconfiguration`], in the order of the steps.
pub struct Steps {
    /// The line waits.
    pub ready: oneshot::Receiver<()>,
    /// It may go on. Dropped: as before.
    pub go: oneshot::Sender<()>,
    /// It works by the other configuration; what it has no use for any more takes a while to drop.
    pub done: oneshot::Receiver<Replaced>,
}

impl Reconfiguration {
    /// Compiles what is other for a line. Takes a while: not for async tasks.
    pub fn compile(line: LineId, aligned: &Aligned) -> (Self, Steps) {
        let Aligned { config, diff } = aligned;
        let (ready, ready_rx) = oneshot::channel();
        let (go, go_rx) = oneshot::channel();
        let (done, done_rx) = oneshot::channel();
        let reconfiguration = Self {
            line,
            stations: OtherStations::compile(line, config, diff),
            subscriptions: subscriptions(line, config),
            reconnect: diff.reconnected.contains(&line),
            ready: Some(ready),
            go: go_rx,
            done,
        };
        (reconfiguration, Steps { ready: ready_rx, go, done: done_rx })
    }
}

/// Waits until a line may work by the other configuration; false: it may not. Cancel-safe.
pub(super) async fn may_go(other: &mut Option<Reconfiguration>) -> bool {
    match other {
        Some(other) => (&mut other.go).await.is_ok(),
        None => std::future::pending().await,
    }
}

impl LineTask {
    /// Another configuration is about to be in force: what has come belongs before, and what would
    /// come has to wait.
    pub(super) fn pause(&mut self, mut other: Reconfiguration) {
        self.perform();
        if let Some(ready) = other.ready.take() {
            let _ = ready.send(());
        }
        self.other = Some(other);
    }

    /// Works by another configuration from here on.
    pub(super) fn reconfigure(&mut self, other: Reconfiguration) {
        let Reconfiguration { line, stations, subscriptions, reconnect, done, .. } = other;
        let now = clock::now();
        self.perform();
        let replaced = self.stations.reconfigure(stations);
        let config = Arc::clone(self.stations.config());
        let of_line = &config.lines[line.0 as usize];
        if *self.config != *of_line {
            self.config = Arc::new(of_line.clone());
        }
        let dissolved = self.attendance.reconfigure(now, line, &self.hub, &config);
        self.cycles.reconfigure(now, line, &config);
        for path in &mut self.paths {
            path.reconfigure(now, &self.config, &subscriptions, reconnect);
        }
        self.follow_stations(&FxHashSet::default());
        self.stations_subscribed();
        for released in &dissolved.shown {
            self.settle_all(released);
        }
        for held in dissolved.waiting {
            self.deliver_again(held);
        }
        for (station, left_on) in dissolved.left {
            let name = &config.stations[station.0 as usize].name;
            self.ask_for_redelivery(name, &left_on);
        }
        self.resume();
        self.perform();
        tracing::debug!(line = %self.config.name, reconnect, "reconfigured");
        // Whoever waited may be gone.
        let _ = done.send(replaced);
    }

    /// A message that awaited a confirmation which nobody can give any more: it goes where such a
    /// message goes.
    fn deliver_again(&mut self, held: Held) {
        let station = self.stations.station_of(&held.publication.topic);
        self.deliver(station, held);
    }

    /// Keeps a command that must wait for the other configuration: of a station that only that one
    /// has, as the hub knows it first, and what would map messages while nothing is to be mapped.
    pub(super) fn defer(&mut self, command: LineCommand) -> Option<LineCommand> {
        let paused = self.other.is_some();
        let station = match &command {
            LineCommand::Publish(_) => return Some(command),
            LineCommand::Confirm(confirm) => Some(confirm.station),
            LineCommand::Mode { station, .. } => Some(*station),
            LineCommand::Explain { tag, .. } => {
                self.stations.config().tags.get(tag.0 as usize).map(|tag| tag.station)
            }
        };
        let is_known = station.is_some_and(|station| {
            self.attendance.lives.knows(station) || self.stations.has_retired(station)
        });
        if is_known && !(paused && matches!(command, LineCommand::Confirm(_))) {
            return Some(command);
        }
        // One more than that is not done; who waits is told so.
        if self.deferred.len() < LINE_COMMANDS_MAX {
            self.deferred.push(command);
        }
        None
    }

    /// Goes on as before: the other configuration is not to be.
    pub(super) fn resume(&mut self) {
        for command in std::mem::take(&mut self.deferred) {
            self.on_command(command);
        }
    }
}

/// What becomes of messages that nobody can confirm any more.
#[derive(Default)]
pub(super) struct Dissolved {
    /// They are done with.
    pub(super) shown: Vec<Released>,
    /// They are as if they came only just.
    pub(super) waiting: Vec<Held>,
    /// Stations that had no room for messages, and the paths whose servers have them.
    pub(super) left: Vec<(StationId, Vec<PathId>)>,
}
