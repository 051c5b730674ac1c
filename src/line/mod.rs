//! One task per line: the only place where `mqtt` and `iotag` meet. It drives its paths, each of
//! which drives one `mqtt::Client`.
//!
//! ```text
//!   Path (transport, Client) ─▶ Message ─▶ Stations (router, plan) ─▶ Batch ─▶ hub
//!   hub: batch is on disk ─▶ Settlement ─▶ Path: acknowledge
//!   hub: LineCommand ─▶ Publishing ─▶ Path: publish … Completed ─▶ Publishing ─▶ hub
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `path` | one connection: client, buffers, state; `link` its transport, `renewal` its planned end |
//! | `options`, `credentials`, `jwt` | what a connection is made with |
//! | `stations`, `recent` | which station takes a message, and what it makes of it |
//! | `attendance`, `life`, `confirmation` | the stations' state, and messages one at a time |
//! | `settlement` | what hangs on a batch's being on disk |
//! | `publishing`, `cycle` | publications on their way, and those that are due |
//! | `redundancy`, `duplicates` | two paths that are one line |
//! | `reconfigure`, `tapping` | another configuration while at work; messages for who looks for one |
//!
//! Nothing in the loop waits for anything but the next event, so that neither a slow store nor a
//! slow socket can hold up a PINGRESP.

mod attendance;
mod confirmation;
mod credentials;
mod cycle;
mod duplicates;
mod jwt;
mod life;
mod link;
pub mod listen;
mod options;
mod path;
mod publishing;
mod queue;
mod recent;
mod reconfigure;
mod redundancy;
mod renewal;
mod settlement;
mod stations;
mod stored;
mod tapping;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::config::Line;
use crate::hub::status::{LineState, PathId};
use crate::hub::writes::WriteError;
use crate::hub::{BatchId, Hub, LineCommand, LinePort, Publish, WriteOutcome};
use crate::iotag::LineId;
use crate::mqtt::{
    BytesProgress, Command, Event, Input, Publication, PublishOutcome, PublishToken,
};
use attendance::Attendance;
use cycle::Cycles;
use duplicates::Duplicates;
use options::with_content_type;
use path::{Path, PathEvent};
use publishing::Publishing;
use queue::Queued;
pub use reconfigure::{Reconfiguration, Steps};
use renewal::Renew;
use settlement::{Receipt, Settlement};
use stations::Stations;
pub use stored::{Stored, StoredRecords};

/// How long writes and unsettled messages may take to end when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// One line at work.
pub struct LineTask {
    id: LineId,
    hub: Arc<Hub>,
    config: Arc<Line>,
    /// Its connections, one or two.
    paths: Vec<Path>,
    /// Whose turn it is when something happens on several paths.
    turn: usize,
    /// Of a redundant line: which messages are copies.
    duplicates: Option<Duplicates>,
    stations: Stations,
    attendance: Attendance,
    settlement: Settlement,
    cycles: Cycles,
    publishing: Publishing,
    /// The configuration that the line is about to work by; it reads nothing meanwhile.
    other: Option<Reconfiguration>,
    /// Commands that wait for it.
    deferred: Vec<LineCommand>,
    queued: Queued,
}

impl LineTask {
    /// A line that continues what is stored of it.
    pub fn new(id: LineId, hub: Arc<Hub>, stored: Stored) -> Self {
        let all = hub.config();
        let config = Arc::new(all.lines[id.0 as usize].clone());
        let stations = Stations::new(id, &all);
        let subscriptions = stations.subscriptions();
        let Stored { mut sessions, duplicates, leftovers, resumed } = stored;
        let attendance = Attendance::new((id, resumed), &hub, &all, &mut sessions);
        let paths = (0u8..)
            .map(PathId)
            .zip(sessions)
            .map(|(path, session)| Path::new((id, path), &hub, &config, &subscriptions, session))
            .collect();
        let (duplicates, log) = redundancy::restore(&config, duplicates).unzip();
        let mut settlement = Settlement::new(id, &config.name, log);
        leftovers.into_iter().for_each(|name| settlement.delete(name));
        let mut task = Self {
            id,
            paths,
            turn: 0,
            cycles: Cycles::new(clock::now(), id, &all),
            settlement,
            duplicates,
            stations,
            attendance,
            publishing: Publishing::default(),
            other: None,
            deferred: Vec::new(),
            queued: Queued::default(),
            config,
            hub,
        };
        task.adopt();
        task
    }

    /// Works until `stop` is true, then ends in order. It works by the `reconfigurations`
    /// from when each is in force.
    pub async fn run(
        mut self,
        mut port: LinePort,
        mut reconfigurations: mpsc::Receiver<Reconfiguration>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut drain_until: Option<Instant> = None;
        let mut disconnected = false;
        self.begin(clock::now());
        if !self.rest(clock::now()) {
            self.connect(clock::now());
        }
        loop {
            self.serve_queue(&port);
            self.perform();
            let now = clock::now();
            if drain_until.is_none() && (self.rest(now) || self.renew(now)) {
                continue;
            }
            if let Some(until) = drain_until {
                let drained = self.publishing.is_empty() && self.settlement.is_settled();
                if !disconnected && (drained || now >= until) {
                    disconnected = true;
                    self.paths.iter_mut().for_each(|path| path.disconnect(now));
                    continue;
                }
                if disconnected && self.paths.iter().all(Path::is_closed) {
                    break;
                }
            }
            let wake = self.deadline(drain_until, disconnected);
            if wake.is_some_and(|wake| wake <= now) {
                self.on_time(now);
                continue;
            }
            // When stopping, read only for the sake of outcomes that are still awaited.
            let read = self.settlement.has_room(&self.hub)
                && self.other.is_none()
                && (drain_until.is_none() || !self.publishing.is_empty());
            let turn = self.turn;
            let Self { paths, other, .. } = &mut self;
            tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop), if drain_until.is_none() => {
                    drain_until = Some(clock::now() + DRAIN_TIMEOUT);
                    self.queue_stops();
                }
                settled = port.settled.changed() => {
                    if settled.is_err() {
                        break;
                    }
                    let settled = *port.settled.borrow_and_update();
                    self.on_settled(settled);
                }
                go = reconfigure::may_go(other) => match self.other.take() {
                    Some(other) if go => self.reconfigure(other),
                    _ => self.resume(),
                },
                Some(other) = reconfigurations.recv(), if drain_until.is_none() => self.pause(other),
                Some(command) = port.commands.recv() => self.on_command(command),
                () = port.queued.notified() => {}
                (index, event) = path_event(paths, turn, read) => {
                    self.turn = index + 1;
                    if self.paths[index].on_event(event) {
                        self.on_bytes(index, &mut port);
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
        self.queue_ends();
        for publish in self.publishing.drain() {
            if self.hub.leave_behind(&publish) {
                continue;
            }
            let error = WriteError::new(WriteError::PUBLICATION, "the process stopped");
            let Self { hub, settlement, .. } = &mut self;
            hub.publication_ended(&publish, WriteOutcome::Uncertain(error), |batch| {
                settlement.absorb(batch);
            });
        }
        self.settlement.submit(&self.hub);
        self.paths.iter_mut().for_each(|path| path.left(LineState::Off));
    }

    /// When something is to be done at the latest.
    fn deadline(&self, drain_until: Option<Instant>, disconnected: bool) -> Option<Instant> {
        let stopping = drain_until.is_some();
        let paths = self.paths.iter().filter_map(|path| path.deadline(stopping));
        let drain = drain_until.filter(|_| !disconnected);
        let queue = earliest(self.hub.queue_deadline(self.id), self.queued.deadline());
        let others = [self.attendance.deadline(), self.cycles.deadline(), queue, drain];
        paths.chain(others.into_iter().flatten()).min()
    }

    fn on_time(&mut self, now: Instant) {
        self.paths.iter_mut().for_each(|path| path.on_time(now));
        self.attend(now);
        self.publish_cycles(now);
    }

    /// Opens every path.
    fn connect(&mut self, now: Instant) {
        for path in &mut self.paths {
            path.connect(now);
        }
    }

    /// Whether a connection is up.
    fn is_up(&self) -> bool {
        self.paths.iter().any(Path::is_up)
    }

    fn path(&mut self, path: PathId) -> Option<&mut Path> {
        self.paths.get_mut(usize::from(path.0))
    }

    /// Whole packets, ten messages at a time, so that writes get their turn in a flood.
    fn on_bytes(&mut self, index: usize, port: &mut LinePort) {
        self.heard(clock::now(), PathId(index as u8));
        loop {
            let now = clock::now();
            let progress = self.paths[index].take_bytes(now);
            self.drain_events();
            if progress == BytesProgress::NeedMore {
                break;
            }
            while let Ok(command) = port.commands.try_recv() {
                self.on_command(command);
            }
            self.serve_queue(port);
            self.paths[index].on_time(now);
            self.drain_events();
            if !self.paths[index].is_open() {
                break;
            }
        }
    }

    fn on_settled(&mut self, settled: BatchId) {
        let now = clock::now();
        while let Some(batch) = self.settlement.next_settled(settled) {
            for (path, seq) in batch.durable {
                if let Some(path) = self.path(path) {
                    path.input(now, Input::Durable(seq));
                }
            }
            for Receipt { path, delivery } in batch.receipts {
                if let Some(path) = self.path(path) {
                    path.command(now, Command::Acknowledge(delivery));
                }
            }
            self.queue_marked(batch.marked);
        }
    }

    fn on_command(&mut self, command: LineCommand) {
        let Some(command) = self.defer(command) else { return };
        match command {
            LineCommand::Publish(publish) => self.publish(publish),
            LineCommand::Confirm(confirm) => self.on_confirm(confirm),
            LineCommand::Explain { tag, reply } => {
                if let Some(explained) = self.explain(tag) {
                    let _ = reply.send(explained);
                }
            }
            LineCommand::Mode { station, mode, reply } => {
                self.on_mode(station, mode);
                let _ = reply.send(());
            }
        }
    }

    /// Publishes on every path that is up. One that is not gets no late copy.
    fn publish(&mut self, publish: Publish) {
        let up = (0u8..).map(PathId).zip(&self.paths).filter(|(_, path)| path.is_up());
        let on = up.map(|(id, _)| id).collect();
        self.publish_on(on, publish);
    }

    fn publish_on(&mut self, mut on: Vec<PathId>, publish: Publish) {
        if self.config.full_debug {
            tracing::info!(
                line = %self.config.name,
                topic = %publish.topic,
                payload = %String::from_utf8_lossy(&publish.payload),
                "publishing"
            );
        }
        let publication = Publication {
            topic: publish.topic.as_str().into(),
            payload: publish.payload.clone(),
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.content_type.as_deref().map(with_content_type),
        };
        let (deadline, expires) = (publish.deadline, publish.expires);
        let ids = || (0u8..).map(PathId);
        if on.is_empty() {
            // It says that it is down.
            on.push(PathId::FIRST);
        }
        let token = self.publishing.begin(publish, &on);
        for (_, path) in ids().zip(&mut self.paths).filter(|(id, _)| on.contains(id)) {
            let publication = publication.clone();
            path.command(clock::now(), Command::Publish { token, publication, deadline, expires });
        }
        self.drain_events();
    }

    /// Does what the machines want, and hands the turn's batch to the hub.
    fn perform(&mut self) {
        self.drain_events();
        self.settlement.submit(&self.hub);
    }

    fn drain_events(&mut self) {
        for index in 0..self.paths.len() {
            while let Some(event) = self.paths[index].poll_event() {
                self.on_event(PathId(index as u8), event);
            }
        }
    }

    fn on_event(&mut self, path: PathId, event: Event) {
        match event {
            Event::Message { delivery, publication, dup } => {
                if self.config.full_debug {
                    tracing::info!(
                        line = %self.config.name,
                        topic = %publication.topic,
                        qos = publication.qos.level(),
                        retain = publication.retain,
                        dup,
                        payload = %String::from_utf8_lossy(&publication.payload),
                        "received"
                    );
                }
                self.on_message(Receipt { path, delivery }, publication, dup);
            }
            Event::Session { seq, change } => self.settlement.session(path, seq, change),
            Event::InFlight { token, packet_id } => self.on_in_flight(path, token, packet_id),
            Event::Completed { token, outcome } => self.on_completed(path, token, outcome),
            Event::Up { session_present, session_expected } => {
                self.on_up(path, session_present, session_expected);
            }
            Event::Down { cause, was_up, retry_in } => self.on_down(path, &cause, was_up, retry_in),
            Event::Subscribed { granted } => {
                if let Some(path) = self.path(path) {
                    path.subscribed(&granted);
                }
                if let Some(duplicates) = &mut self.duplicates {
                    duplicates.subscribed(clock::now(), path);
                }
                self.stations_subscribed();
            }
            Event::Notice(text) => {
                if let Some(path) = self.path(path) {
                    path.notice(&text);
                }
            }
        }
    }

    fn on_up(&mut self, id: PathId, session_present: bool, session_expected: bool) {
        self.hub.queue_opened(self.id);
        let Some(path) = self.path(id) else { return };
        let returning = matches!(path.renew, Renew::Returning(_));
        path.came_up(session_present, session_expected);
        self.path_up(id, session_present, returning);
    }

    fn on_down(&mut self, id: PathId, cause: &str, was_up: bool, retry_in: Option<Duration>) {
        let rests = self.attendance.rests();
        self.path_away(clock::now(), id);
        self.queue_down();
        let Some(path) = self.path(id) else { return };
        if rests {
            path.left(LineState::Off);
            return self.stations_down();
        }
        if matches!(path.renew, Renew::Leaving | Renew::Resetting) && retry_in.is_none() {
            return path.left(LineState::Connecting);
        }
        path.went_down(cause, was_up, retry_in);
        let failed = matches!(path.renew, Renew::Returning(_));
        if failed {
            path.renew = Renew::No;
        }
        if failed || was_up {
            self.path_lost();
        }
    }

    fn on_completed(&mut self, path: PathId, token: PublishToken, outcome: PublishOutcome) {
        let Some((publish, outcome)) = self.publishing.ended(path, token, outcome) else {
            return self.off_path(path, token);
        };
        self.say_end_of_adopted(token, &publish, &outcome);
        if publish.queues && matches!(outcome, PublishOutcome::Unsent(_)) {
            return self.came_back(&publish);
        }
        let completed = outcome == PublishOutcome::Completed;
        self.hub.line_status(self.id, |status| {
            if completed {
                status.writes_completed += 1;
            } else {
                status.writes_not_completed += 1;
            }
        });
        let error = |why| WriteError::new(WriteError::PUBLICATION, why);
        let outcome = match outcome {
            PublishOutcome::Completed => WriteOutcome::Completed,
            PublishOutcome::Failed(why) | PublishOutcome::Unsent(why) => {
                WriteOutcome::Failed(error(why))
            }
            PublishOutcome::Uncertain(why) => WriteOutcome::Uncertain(error(why)),
        };
        if let WriteOutcome::Failed(error) | WriteOutcome::Uncertain(error) = &outcome
            && !publish.cyclic
        {
            tracing::warn!(
                line = %self.config.name, topic = %publish.topic, "write not completed: {}", error.message
            );
        }
        // Read-your-writes: the value is in the table before the client learns of it.
        let Self { hub, settlement, .. } = self;
        hub.publication_ended(&publish, outcome, |batch| {
            settlement.absorb(batch);
            settlement.submit(hub);
        });
    }
}

/// The next thing that happens on any path; the one whose turn it is comes first. Cancel-safe.
async fn path_event(paths: &mut [Path], turn: usize, read: bool) -> (usize, PathEvent) {
    match paths {
        [first, second] => {
            let (one, other, order) =
                if turn == 1 { (second, first, [1, 0]) } else { (first, second, [0, 1]) };
            tokio::select! {
                biased;
                event = one.event(read) => (order[0], event),
                event = other.event(read) => (order[1], event),
            }
        }
        [only, ..] => (0, only.event(read).await),
        [] => std::future::pending().await,
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
