//! A line at work on its stations: messages to tags, wills, modes, confirmations, simulation, and
//! the rest of a line whose stations are all off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::LineTask;
use super::confirmation::{Arrivals, Confirmation, Held, Refused, Released, Taken};
use super::life::{LifeOptions, Lives, StationEvent};
use super::path::Path;
use super::reconfigure::Dissolved;
use super::renewal::Renew;
use super::settlement::Receipt;
use super::stations::{Arrival, brings};
use crate::clock;
use crate::config::{Config, Line};
use crate::hub::stations::{SimulationStep, StationEffect};
use crate::hub::status::{LineState, PathId, StationMode};
use crate::hub::writes::{self, WriteError};
use crate::hub::{Confirm, Hub, WriteOutcome};
use crate::iotag::{LineId, Reason, StationAddress, StationId, TagAddress, Value};
use crate::mqtt::{Command, Publication, Session};
use crate::qos::Qos;

/// How often simulated values change.
const SIMULATION_STEP: Duration = Duration::from_secs(1);

/// How long the acknowledgements of later messages wait for one that nobody confirms.
const CONFIRMATION_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether one has waited that long.
const CONFIRMATION_LOOK: Duration = Duration::from_secs(1);

/// How long a line that no station needs waits for the outcomes of publications on their way.
const REST_PATIENCE: Duration = Duration::from_secs(5);

/// What a line keeps of its stations beside their plans.
pub(super) struct Attendance {
    pub(super) lives: Lives,
    /// Stations with an ACK_ID tag.
    confirmations: BTreeMap<StationId, Confirmation>,
    /// Stations with messages that are not confirmed.
    unconfirmed: BTreeSet<StationId>,
    /// When those messages are looked at.
    overtake_at: Option<Instant>,
    simulation: Simulation,
    /// Messages that an earlier process has shown, and that no tag can confirm any more.
    orphans: Vec<Receipt>,
    rest: Rest,
    /// Whether the server sends again what was not acknowledged.
    redelivers: bool,
}

struct Simulation {
    stations: BTreeSet<StationId>,
    begun: Instant,
    seed: u64,
    step: u64,
    next: Option<Instant>,
}

/// A line that no station needs.
enum Rest {
    /// One needs it.
    No,
    /// As soon as all that came is on disk, or in due time.
    Wanted(Instant),
    /// DISCONNECT was given to the transport, or there is no connection.
    Resting,
}

impl Attendance {
    pub(super) fn new(
        (line, resumed): (LineId, bool),
        hub: &Hub,
        config: &Config,
        sessions: &mut [Session],
    ) -> Self {
        let now = clock::now();
        let options = life_options(line, hub, config);
        let lives = if resumed { Lives::resumed(now, options) } else { Lives::new(now, options) };
        let mut confirmations: BTreeMap<StationId, Confirmation> =
            confirmed(line, config).map(|station| (station, Confirmation::default())).collect();
        let orphans = (0u8..)
            .map(PathId)
            .zip(sessions)
            .flat_map(|(path, session)| {
                restore_unconfirmed(now, config, (path, session), &mut confirmations)
            })
            .collect();
        let line = &config.lines[line.0 as usize];
        Self {
            lives,
            confirmations,
            unconfirmed: BTreeSet::new(),
            overtake_at: None,
            simulation: Simulation {
                stations: BTreeSet::new(),
                begun: now,
                seed: fastrand::u64(..),
                step: 0,
                next: None,
            },
            orphans,
            rest: Rest::No,
            redelivers: redelivers(line),
        }
    }

    /// Other stations. The answer is what becomes of messages that no tag can confirm any more.
    pub(super) fn reconfigure(
        &mut self,
        now: Instant,
        line: LineId,
        hub: &Hub,
        config: &Config,
    ) -> Dissolved {
        self.lives.reconfigure(now, life_options(line, hub, config));
        let mut before = std::mem::take(&mut self.confirmations);
        self.confirmations = confirmed(line, config)
            .map(|station| (station, before.remove(&station).unwrap_or_default()))
            .collect();
        let confirmations = &self.confirmations;
        self.unconfirmed.retain(|station| confirmations.contains_key(station));
        let lives = &self.lives;
        self.simulation.stations.retain(|station| lives.knows(*station));
        self.redelivers = redelivers(&config.lines[line.0 as usize]);
        let mut dissolved = Dissolved::default();
        for (station, confirmation) in before {
            let left_on = confirmation.left_on();
            if !left_on.is_empty() {
                dissolved.left.push((station, left_on));
            }
            let (shown, waiting) = confirmation.dissolve();
            dissolved.shown.extend(shown);
            dissolved.waiting.extend(waiting);
            hub.station_status(station, |status| {
                status.waiting_for_confirmation = 0;
                status.waiting_since = None;
            });
        }
        dissolved
    }

    /// When to call [`LineTask::attend`] at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let rest = match self.rest {
            Rest::Wanted(until) => Some(until),
            Rest::No | Rest::Resting => None,
        };
        let others = [self.simulation.next, self.overtake_at, rest];
        self.lives.deadline().into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Whether the session outlives a connection, here and at the server.
    pub(super) fn keeps_session(&self) -> bool {
        self.redelivers
    }

    /// Whether the line is closed, or about to be, because no station needs it.
    pub(super) fn rests(&self) -> bool {
        matches!(self.rest, Rest::Resting)
    }
}

/// What the configuration says of the life of a line's stations.
fn life_options<'a>(
    line: LineId,
    hub: &'a Hub,
    config: &'a Config,
) -> impl Iterator<Item = (StationId, LifeOptions)> + 'a {
    config.stations_of(line).map(|(id, station)| {
        let options = LifeOptions {
            error_delay: station.error_delay,
            stale_after: station.stale_after,
            mode: hub.station_mode(id),
        };
        (id, options)
    })
}

/// The stations of a line with an ACK_ID tag.
fn confirmed(line: LineId, config: &Config) -> impl Iterator<Item = StationId> + '_ {
    let tags = config.live_tags().filter(|(_, tag)| tag.address == TagAddress::AckId);
    let stations = tags.map(|(_, tag)| tag.station);
    stations.filter(move |station| config.stations[station.0 as usize].line == line)
}

/// Whether the server sends again what was not acknowledged.
fn redelivers(line: &Line) -> bool {
    !line.clean_session && !line.client_id.is_empty()
}

/// Messages that an earlier process has shown await their confirmation still.
fn restore_unconfirmed(
    now: Instant,
    config: &Config,
    (path, session): (PathId, &mut Session),
    confirmations: &mut BTreeMap<StationId, Confirmation>,
) -> Vec<Receipt> {
    let mut orphans = Vec::new();
    for unconfirmed in session.take_unconfirmed() {
        let receipt = Receipt { path, delivery: unconfirmed.delivery() };
        let mut stations = config.live_stations();
        let named = stations.find(|(_, station)| station.name.as_bytes() == unconfirmed.note);
        match named.map(|(id, _)| id).and_then(|id| confirmations.get_mut(&id)) {
            Some(confirmation) => confirmation.restore(now, receipt),
            None => orphans.push(receipt),
        }
    }
    orphans
}

impl LineTask {
    /// Begins: the stations as they were left.
    pub(super) fn begin(&mut self, now: Instant) {
        for receipt in std::mem::take(&mut self.attendance.orphans) {
            self.settlement.received(receipt, 0);
        }
        let wall = clock::wall();
        let stations: Vec<StationId> = self.attendance.confirmations.keys().copied().collect();
        for station in stations {
            self.hub.station_status(station, |status| status.waiting_since = Some(wall));
            self.show_unconfirmed(station);
        }
        self.attend(now);
    }

    /// A message has come.
    pub(super) fn on_message(&mut self, receipt: Receipt, publication: Publication, dup: bool) {
        let (now, received) = (clock::now(), clock::wall());
        let Some(number) = self.first(now, receipt, &publication, dup) else { return };
        let station = self.stations.route(&self.hub, &publication, received);
        let wills = self.stations.wills(&publication);
        for &station in &wills {
            self.hub.station_status(station, |status| status.wills += 1);
            self.attendance.lives.handle(now, station, StationEvent::Will);
        }
        if self.hub.taps().is_any() {
            self.offer_to_taps(station, (receipt.delivery, dup), &publication, received);
        }
        // The tags are bad before the message is mapped, if it comes here too.
        self.follow_stations(&FxHashSet::default());
        if let Some(station) = station
            && !wills.contains(&station)
        {
            let event = StationEvent::Message { retained: publication.retain };
            self.attendance.lives.handle(now, station, event);
        }
        let arrivals = Arrivals::new(receipt, now);
        self.deliver(station, Held { number, arrivals, publication, received, dup });
    }

    /// Gives a message to its station.
    pub(super) fn deliver(&mut self, station: Option<StationId>, held: Held) {
        let Some(station) = station else {
            return self.done_with(&held);
        };
        if !self.attendance.lives.is_on(station) {
            self.follow_stations(&FxHashSet::default());
            self.hub.station_status(station, |status| {
                status.messages += 1;
                status.messages_ignored += 1;
                status.last_message = Some(held.received);
            });
            return self.done_with(&held);
        }
        let number = held.number;
        let receipt = held.arrivals.first();
        let Some(confirmation) = self.attendance.confirmations.get_mut(&station) else {
            self.apply(station, &held);
            return self.done_with(&held);
        };
        // It may stay for long, and must not hold the whole of what was read with it.
        let mut held = held;
        held.publication.payload = Bytes::copy_from_slice(&held.publication.payload);
        match confirmation.take(held, self.attendance.redelivers) {
            Taken::Show(held) => self.show(station, &held),
            Taken::Waits | Taken::Known => {}
            Taken::Left(Receipt { path, delivery }) => {
                self.forget(number);
                if let Some(path) = self.path(path) {
                    path.command(clock::now(), Command::Decline(delivery));
                }
            }
            Taken::Dropped => {
                self.settle(number, receipt, 0);
                self.hub.station_status(station, |status| status.messages_dropped += 1);
            }
        }
        self.follow_stations(&FxHashSet::default());
        self.show_unconfirmed(station);
    }

    /// A copy has come of a message that may await its confirmation. False: it does not.
    pub(super) fn attach_copy(
        &mut self,
        now: Instant,
        number: u64,
        receipt: Receipt,
        topic: &Arc<str>,
    ) -> bool {
        let confirmations = &mut self.attendance.confirmations;
        if confirmations.is_empty() {
            return false;
        }
        let station = self.stations.station_of(topic);
        let confirmation = station.and_then(|station| confirmations.get_mut(&station));
        confirmation.is_some_and(|confirmation| confirmation.attach(now, number, receipt))
    }

    /// Maps a message to the tags of its station.
    fn apply(&mut self, station: StationId, held: &Held) {
        let Held { arrivals, publication, received, dup, .. } = held;
        let packet_id = arrivals.first().delivery.packet_id;
        let about = Arrival { packet_id, received: *received, dup: *dup };
        if !self.attendance.lives.has_changes() {
            let updates = self.settlement.updates();
            return self.stations.map(&self.hub, station, publication, about, updates);
        }
        let mut updates = Vec::new();
        self.stations.map(&self.hub, station, publication, about, &mut updates);
        self.follow_stations(&updates.iter().map(|update| update.tag).collect());
        self.settlement.updates().append(&mut updates);
    }

    /// Shows a message that will have to be confirmed.
    fn show(&mut self, station: StationId, held: &Held) {
        self.apply(station, held);
        if held.is_expired(clock::wall()) {
            self.hub.station_status(station, |status| status.messages_expired += 1);
        }
        let name = self.stations.name(station);
        let receipts: Vec<Receipt> = held.arrivals.receipts().collect();
        for receipt in &receipts {
            self.settlement.shown(*receipt, name);
        }
        // What the server sends again is to be confirmed again, but of QoS 2 it is on disk.
        if receipts.iter().any(|receipt| receipt.delivery.qos == Qos::ExactlyOnce) {
            self.applied(held.number);
        }
        if let Some(confirmation) = self.attendance.confirmations.get_mut(&station) {
            confirmation.show(held);
        }
        let since = Some(clock::wall());
        self.hub.station_status(station, |status| status.waiting_since = since);
    }

    /// The control system has written an ACK_ID tag.
    pub(super) fn on_confirm(&mut self, confirm: Confirm) {
        let Confirm { station, tag, packet_id, reply } = confirm;
        let Value::Integer(id) = packet_id else { return };
        let Some(confirmation) = self.attendance.confirmations.get_mut(&station) else {
            let why = "no message awaits its confirmation";
            let _ = reply.send(WriteOutcome::Failed(WriteError::new(WriteError::REFUSED, why)));
            return;
        };
        let outcome = match confirmation.confirm(id) {
            Err(refused) => {
                let why = match refused {
                    Refused::Nothing => "no message awaits its confirmation".to_owned(),
                    Refused::Expected(expected) => format!(
                        "the message that awaits its confirmation has the identifier {expected}, not {id}"
                    ),
                };
                WriteOutcome::Failed(WriteError::new(WriteError::REFUSED, why))
            }
            Ok(released) => {
                let written = writes::written(tag, Some(packet_id), clock::wall());
                self.settlement.updates().push(written);
                self.settle_all(&released);
                self.show_next(station);
                // Read-your-writes: the next message is in the table before the client learns of it.
                self.settlement.submit(&self.hub);
                WriteOutcome::Completed
            }
        };
        let _ = reply.send(outcome);
    }

    /// A message is done with that came only just, or as if it had.
    fn done_with(&mut self, held: &Held) {
        self.settle(held.number, held.arrivals.first(), held.publication.payload.len());
        for receipt in held.arrivals.copies() {
            self.settle(held.number, receipt, 0);
        }
    }

    /// A message is done with, and all its arrivals are to be acknowledged.
    pub(super) fn settle_all(&mut self, released: &Released) {
        for receipt in released.arrivals.receipts() {
            self.settle(released.number, receipt, 0);
        }
    }

    fn show_next(&mut self, station: StationId) {
        let Some(confirmation) = self.attendance.confirmations.get_mut(&station) else { return };
        let (next, wants) = (confirmation.next(), confirmation.wants_redelivery());
        let left_on = confirmation.left_on();
        if let Some(held) = next {
            self.show(station, &held);
        } else if wants {
            let name = Arc::clone(self.stations.name(station));
            self.ask_for_redelivery(&name, &left_on);
        }
        self.show_unconfirmed(station);
    }

    fn show_unconfirmed(&mut self, station: StationId) {
        let Some(confirmation) = self.attendance.confirmations.get(&station) else { return };
        let count = confirmation.unconfirmed();
        self.hub.station_status(station, |status| {
            status.waiting_for_confirmation = count;
            if count == 0 {
                status.waiting_since = None;
            }
        });
        if count == 0 {
            self.attendance.unconfirmed.remove(&station);
        } else {
            self.attendance.unconfirmed.insert(station);
            let look = clock::now() + CONFIRMATION_LOOK;
            self.attendance.overtake_at.get_or_insert(look);
        }
    }

    /// Lets acknowledgements pass those of messages that nobody confirms.
    fn overtake_if_due(&mut self, now: Instant) {
        if self.attendance.overtake_at.is_none_or(|at| at > now) {
            return;
        }
        let Attendance { confirmations, unconfirmed, overtake_at, .. } = &mut self.attendance;
        *overtake_at = (!unconfirmed.is_empty()).then(|| now + CONFIRMATION_LOOK);
        let Some(before) = now.checked_sub(CONFIRMATION_PATIENCE) else { return };
        for station in unconfirmed.iter() {
            let Some(confirmation) = confirmations.get_mut(station) else { continue };
            for Receipt { path, delivery } in confirmation.overtake(before) {
                if let Some(path) = self.paths.get_mut(usize::from(path.0)) {
                    path.command(now, Command::Overtake(delivery));
                }
            }
        }
    }

    /// Somebody has switched a station.
    pub(super) fn on_mode(&mut self, station: StationId, mode: StationMode) {
        self.settlement.submit(&self.hub);
        if self.hub.station_mode(station) != mode {
            let name = self.stations.name(station);
            tracing::info!(station = %name, mode = mode.as_str(), "station switched");
            self.hub.set_station_mode(station, mode);
        }
        let event = StationEvent::Mode(mode);
        self.attendance.lives.handle(clock::now(), station, event);
        self.follow_stations(&FxHashSet::default());
        if mode != StationMode::On
            && let Some(confirmation) = self.attendance.confirmations.get_mut(&station)
        {
            // Taken and acknowledged, as all its messages are while it is not on.
            let mut ignored = 0;
            let released: Vec<Released> = confirmation.release().collect();
            for released in released {
                self.settle_all(&released);
                ignored += 1;
            }
            self.hub.station_status(station, |status| status.messages_ignored += ignored);
            self.show_unconfirmed(station);
        }
        self.simulate_if_due(clock::now());
    }

    /// The line's connection is up.
    pub(super) fn stations_up(&mut self, path: PathId, session_present: bool) {
        // What came in before belongs before.
        self.settlement.submit(&self.hub);
        self.attendance.lives.line_up(clock::now(), session_present);
        self.confirmations_up(path, session_present);
        self.follow_stations(&FxHashSet::default());
    }

    /// What waits for its confirmation learns that a path is up.
    pub(super) fn confirmations_up(&mut self, path: PathId, session_present: bool) {
        let redundant = self.paths.len() > 1;
        for confirmation in self.attendance.confirmations.values_mut() {
            if session_present {
                confirmation.session_resumed(path, redundant);
            } else {
                confirmation.session_lost(path);
            }
        }
        // The server has sent again by then what it sends again.
        self.attendance.overtake_at = None;
        let stations: Vec<StationId> = self.attendance.confirmations.keys().copied().collect();
        for station in stations {
            self.show_next(station);
        }
    }

    /// The line's connection is over.
    pub(super) fn stations_down(&mut self) {
        self.settlement.submit(&self.hub);
        self.attendance.lives.line_down(clock::now());
        self.follow_stations(&FxHashSet::default());
    }

    /// Servers have answered the topic filters: a station that none of them can bring a message is
    /// in error, as far as that can be told from its address.
    pub(super) fn stations_subscribed(&mut self) {
        let answers: Vec<&(String, bool)> =
            self.paths.iter().filter_map(Path::granted).flatten().collect();
        if self.paths.len() == 1 && answers.iter().all(|(_, granted)| *granted) {
            return;
        }
        let filters: Vec<&str> = answers
            .iter()
            .filter(|(_, granted)| *granted)
            .map(|(filter, _)| filter.as_str())
            .collect();
        let now = clock::now();
        for (id, station) in self.stations.config().stations_of(self.id) {
            let reachable = match &station.address {
                StationAddress::Exact(topic) => filters.iter().any(|filter| brings(filter, topic)),
                // Without a special character, the expression matches this topic only.
                StationAddress::Plain(topic, _)
                    if topic.chars().all(|char| char.is_alphanumeric() || "/_-".contains(char)) =>
                {
                    filters.iter().any(|filter| brings(filter, topic))
                }
                StationAddress::All
                | StationAddress::Plain(..)
                | StationAddress::Filter(_)
                | StationAddress::Regex(..)
                | StationAddress::Fallback => !filters.is_empty(),
            };
            self.attendance.lives.handle(now, id, StationEvent::Reachable(reachable));
        }
        self.follow_stations(&FxHashSet::default());
    }

    /// Tells the hub what has become of stations. `touched` are tags that are about to be renewed.
    pub(super) fn follow_stations(&mut self, touched: &FxHashSet<crate::iotag::TagId>) {
        if !self.attendance.lives.has_changes() {
            return;
        }
        let mut changes = Vec::new();
        while let Some(change) = self.attendance.lives.poll_change() {
            let simulated = change.reason == Reason::Simulated;
            let stations = &mut self.attendance.simulation.stations;
            if simulated {
                stations.insert(change.station);
            } else {
                stations.remove(&change.station);
            }
            if change.effect == Some(StationEffect::Simulate) {
                self.attendance.simulation.next = Some(clock::now());
            }
            if change.effect == Some(StationEffect::Invalidate(Reason::StationWill)) {
                let name = self.stations.name(change.station);
                tracing::warn!(station = %name, "the will message of the station came");
            }
            changes.push(change);
        }
        // What came in before belongs before.
        self.settlement.submit(&self.hub);
        self.hub.change_stations(&changes, touched);
    }

    fn simulate_if_due(&mut self, now: Instant) {
        let simulation = &mut self.attendance.simulation;
        if simulation.next.is_none_or(|next| next > now) {
            return;
        }
        if simulation.stations.is_empty() {
            simulation.next = None;
            return;
        }
        let step = SimulationStep {
            seed: simulation.seed,
            step: simulation.step,
            elapsed_s: (now - simulation.begun).as_secs_f64(),
            now: clock::wall(),
        };
        simulation.step += 1;
        simulation.next = Some(now + SIMULATION_STEP);
        self.settlement.submit(&self.hub);
        self.hub.simulate(self.attendance.simulation.stations.iter().copied(), step);
    }

    /// Fires the timers of stations.
    pub(super) fn attend(&mut self, now: Instant) {
        self.attendance.lives.on_time(now);
        self.follow_stations(&FxHashSet::default());
        self.simulate_if_due(now);
        self.overtake_if_due(now);
    }

    /// Disconnects when no station needs the line, and connects when one does. True: something was
    /// done.
    pub(super) fn rest(&mut self, now: Instant) -> bool {
        let wanted = self.attendance.lives.line_is_wanted();
        match self.attendance.rest {
            Rest::No if !wanted => {
                self.attendance.rest = Rest::Wanted(now + REST_PATIENCE);
            }
            Rest::Wanted(_) if wanted => self.attendance.rest = Rest::No,
            Rest::Wanted(until)
                if until <= now
                    || !self.is_up()
                    || self.publishing.is_empty() && self.settlement.is_settled() =>
            {
                tracing::info!(line = %self.config.name, "all stations are off or simulated: disconnecting");
                self.attendance.rest = Rest::Resting;
                for path in &mut self.paths {
                    path.renew = Renew::No;
                    path.disconnect(now);
                    path.left(LineState::Off);
                }
                self.stations_down();
            }
            // The DISCONNECT of before has to leave first.
            Rest::Resting if wanted && self.paths.iter().all(Path::is_closed) => {
                tracing::info!(line = %self.config.name, "a station is on: connecting");
                self.attendance.rest = Rest::No;
                self.connect(now);
            }
            Rest::No | Rest::Wanted(_) | Rest::Resting => return false,
        }
        true
    }
}
