//! PURE: the life of a line's stations: what is wrong with each, and since when.
//!
//! ```text
//!   line up and down, messages, wills, modes, time ──▶ Lives ──▶ StationChange: state, tags
//! ```
//!
//! Of several things that are wrong the first of this list shows: switched off, simulated, line
//! down, station will, communication error, stale. All times are monotonic; a timer costs the
//! logarithm of the number of stations, and a message none: a timer that a later message has
//! overtaken is set anew when it fires.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::hub::stations::{StationChange, StationEffect};
use crate::hub::status::{StationMode, StationState};
use crate::iotag::{Reason, StationId};

/// What the configuration says of a station's life.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LifeOptions {
    /// `StCOMERR` becomes `StHARDERR` after this long.
    pub(super) error_delay: Duration,
    /// No message for this long: stale.
    pub(super) stale_after: Option<Duration>,
    /// Mode at the start.
    pub(super) mode: StationMode,
}

/// What happens to one station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StationEvent {
    /// An ordinary message was routed to it.
    Message {
        /// A replay of what the server has kept: no sign of life.
        retained: bool,
    },
    /// Its will message came.
    Will,
    /// Whether any granted topic filter can bring it a message.
    Reachable(bool),
    /// Somebody switched it.
    Mode(StationMode),
}

/// All stations of a line.
#[derive(Debug)]
pub(super) struct Lives {
    /// In the order of their ids.
    stations: Vec<Life>,
    timers: BTreeSet<(Instant, usize, Timer)>,
    changes: VecDeque<StationChange>,
    line_is_up: bool,
    line_was_up: bool,
    /// How many stations are neither off nor simulated.
    on: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Hard,
    Stale,
}

#[derive(Debug)]
struct Life {
    id: StationId,
    options: LifeOptions,
    mode: StationMode,
    will: bool,
    unreachable: bool,
    stale: bool,
    /// Since when the line is down or nothing can reach the station.
    error_since: Option<Instant>,
    /// `error_delay` is over.
    hard: bool,
    /// The last life sign, or when the line came up, or when the station was switched on.
    alive: Instant,
    /// Whether a message may have been missed since the tags were last in order.
    missed: bool,
    hard_armed: bool,
    stale_armed: bool,
    shown: Shown,
}

/// What was last said of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    state: StationState,
    reason: Reason,
    /// What its tags show; `None`: their own quality.
    fault: Option<Reason>,
}

impl Lives {
    /// Stations of a line that is not connected yet. Until it first is, what the store gave back
    /// stays as it is.
    pub(super) fn new(
        now: Instant,
        stations: impl Iterator<Item = (StationId, LifeOptions)>,
    ) -> Self {
        Self::begin(now, stations, false)
    }

    /// Stations of a line that was connected in this process, and is no more.
    pub(super) fn resumed(
        now: Instant,
        stations: impl Iterator<Item = (StationId, LifeOptions)>,
    ) -> Self {
        Self::begin(now, stations, true)
    }

    fn begin(
        now: Instant,
        stations: impl Iterator<Item = (StationId, LifeOptions)>,
        line_was_up: bool,
    ) -> Self {
        let stations: Vec<Life> =
            stations.map(|(id, options)| Life::begin(now, id, options)).collect();
        debug_assert!(stations.is_sorted_by_key(|life| life.id));
        let on = stations.iter().filter(|life| life.mode == StationMode::On).count();
        let mut lives = Self {
            stations,
            timers: BTreeSet::new(),
            changes: VecDeque::new(),
            line_is_up: false,
            line_was_up,
            on,
        };
        for index in 0..lives.stations.len() {
            lives.begin_error(now, index);
            lives.refresh(index);
        }
        lives
    }

    /// Other stations, in the order of their ids. Those that go on keep all that happened to them:
    /// what they wait for counts from where it began, however long it is to take from here on.
    pub(super) fn reconfigure(
        &mut self,
        now: Instant,
        stations: impl Iterator<Item = (StationId, LifeOptions)>,
    ) {
        self.on_time(now);
        let mut before: BTreeMap<StationId, Life> =
            std::mem::take(&mut self.stations).into_iter().map(|life| (life.id, life)).collect();
        self.timers.clear();
        for (id, options) in stations {
            let life = match before.remove(&id) {
                Some(life) => life.reconfigured(now, options),
                None => Life {
                    // What nobody has been told anything of is taken to be so.
                    shown: Shown {
                        state: StationState::HardError,
                        reason: Reason::LineDown,
                        fault: None,
                    },
                    ..Life::begin(now, id, options)
                },
            };
            self.stations.push(life);
        }
        debug_assert!(self.stations.is_sorted_by_key(|life| life.id));
        self.on = self.stations.iter().filter(|life| life.mode == StationMode::On).count();
        for index in 0..self.stations.len() {
            if !self.line_is_up || self.stations[index].error_since.is_some() {
                self.begin_error(now, index);
            }
            if !self.stations[index].stale {
                self.arm_stale(index);
            }
            self.refresh(index);
        }
        self.on_time(now);
    }

    /// Whether the line has to be connected: a station of it is neither off nor simulated.
    pub(super) fn line_is_wanted(&self) -> bool {
        self.on > 0 || self.stations.is_empty()
    }

    /// Whether a station's messages are applied.
    pub(super) fn is_on(&self, station: StationId) -> bool {
        self.index(station).is_some_and(|index| self.stations[index].mode == StationMode::On)
    }

    /// The line's connection is up.
    pub(super) fn line_up(&mut self, now: Instant, session_present: bool) {
        self.on_time(now);
        (self.line_is_up, self.line_was_up) = (true, true);
        for index in 0..self.stations.len() {
            let life = &mut self.stations[index];
            (life.error_since, life.hard) = (None, false);
            // What the server grants is asked anew.
            life.unreachable = false;
            life.alive = now;
            life.missed |= !session_present;
            self.arm_stale(index);
            self.refresh(index);
        }
    }

    /// The line's connection is over; again and again until it is back is once.
    pub(super) fn line_down(&mut self, now: Instant) {
        self.on_time(now);
        self.line_is_up = false;
        for index in 0..self.stations.len() {
            self.begin_error(now, index);
            self.stations[index].unreachable = false;
            self.refresh(index);
        }
    }

    /// Something happens to a station.
    pub(super) fn handle(&mut self, now: Instant, station: StationId, event: StationEvent) {
        self.on_time(now);
        let Some(index) = self.index(station) else { return };
        let life = &mut self.stations[index];
        match event {
            StationEvent::Message { retained } => {
                life.missed |= life.mode != StationMode::On;
                if !retained {
                    life.alive = now;
                    (life.will, life.stale, life.unreachable) = (false, false, false);
                    if self.line_is_up {
                        (life.error_since, life.hard) = (None, false);
                    }
                    self.arm_stale(index);
                }
            }
            StationEvent::Will => (life.will, life.missed) = (true, true),
            StationEvent::Reachable(reachable) if self.line_is_up => {
                life.unreachable = !reachable;
                if reachable {
                    (life.error_since, life.hard) = (None, false);
                } else {
                    life.missed = true;
                    self.begin_error(now, index);
                }
            }
            StationEvent::Reachable(_) => {}
            StationEvent::Mode(mode) => {
                let was_on = life.mode == StationMode::On;
                life.mode = mode;
                let is_on = mode == StationMode::On;
                match (was_on, is_on) {
                    (false, true) => {
                        self.on += 1;
                        (life.alive, life.stale) = (now, false);
                        self.arm_stale(index);
                    }
                    (true, false) => self.on -= 1,
                    _ => {}
                }
            }
        }
        self.refresh(index);
    }

    /// Fires what is due.
    pub(super) fn on_time(&mut self, now: Instant) {
        while let Some(&(due, index, timer)) = self.timers.first()
            && due <= now
        {
            self.timers.pop_first();
            let life = &mut self.stations[index];
            match timer {
                Timer::Hard => {
                    life.hard_armed = false;
                    if let Some(since) = life.error_since {
                        life.hard = since + life.options.error_delay <= now;
                        if !life.hard {
                            self.arm_hard(index);
                        }
                    }
                }
                Timer::Stale => {
                    life.stale_armed = false;
                    let after = life
                        .options
                        .stale_after
                        .filter(|_| self.line_is_up && life.mode == StationMode::On && !life.stale);
                    if let Some(after) = after {
                        life.stale = life.alive + after <= now;
                        life.missed |= life.stale;
                        if !life.stale {
                            self.arm_stale(index);
                        }
                    }
                }
            }
            self.refresh(index);
        }
    }

    /// When to call [`Self::on_time`] at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(due, ..)| *due)
    }

    /// Whether [`Self::poll_change`] has something.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// The next change, if there is one.
    pub(super) fn poll_change(&mut self) -> Option<StationChange> {
        self.changes.pop_front()
    }

    /// Whether a station is of this line.
    pub(super) fn knows(&self, station: StationId) -> bool {
        self.index(station).is_some()
    }

    fn index(&self, station: StationId) -> Option<usize> {
        self.stations.binary_search_by_key(&station, |life| life.id).ok()
    }

    fn begin_error(&mut self, now: Instant, index: usize) {
        let life = &mut self.stations[index];
        if life.error_since.is_none() {
            life.error_since = Some(now);
            life.hard = life.options.error_delay.is_zero();
        }
        if !life.hard {
            self.arm_hard(index);
        }
    }

    fn arm_hard(&mut self, index: usize) {
        let life = &mut self.stations[index];
        if let (false, Some(since)) = (life.hard_armed, life.error_since) {
            life.hard_armed = true;
            self.timers.insert((since + life.options.error_delay, index, Timer::Hard));
        }
    }

    fn arm_stale(&mut self, index: usize) {
        let life = &mut self.stations[index];
        let wanted = self.line_is_up && life.mode == StationMode::On && !life.stale_armed;
        if let (true, Some(after)) = (wanted, life.options.stale_after) {
            life.stale_armed = true;
            self.timers.insert((life.alive + after, index, Timer::Stale));
        }
    }

    /// Says what has become of a station, if it is anything else than before.
    fn refresh(&mut self, index: usize) {
        let life = &mut self.stations[index];
        let error = if life.hard { StationState::HardError } else { StationState::CommError };
        let (state, reason) = match life.mode {
            StationMode::Off => (StationState::Off, Reason::StationOff),
            StationMode::Simulate => (StationState::Simulated, Reason::Simulated),
            StationMode::On if !self.line_is_up => {
                let state = if life.will { StationState::HardError } else { error };
                (state, Reason::LineDown)
            }
            StationMode::On if life.will => (StationState::HardError, Reason::StationWill),
            StationMode::On if life.unreachable => (error, Reason::CommError),
            StationMode::On if life.stale => (StationState::On, Reason::Stale),
            StationMode::On => (StationState::On, Reason::Ok),
        };
        let fault = match reason {
            Reason::Ok => None,
            // Before the first connection nothing has been lost.
            Reason::LineDown if !self.line_was_up && life.shown.fault.is_none() => None,
            reason => Some(reason),
        };
        let effect = match fault {
            _ if fault == life.shown.fault => None,
            None => Some(StationEffect::Recover { nothing_missed: !life.missed }),
            Some(Reason::Simulated) => Some(StationEffect::Simulate),
            Some(reason) => Some(StationEffect::Invalidate(reason)),
        };
        if fault.is_none() && self.line_is_up {
            life.missed = false;
        }
        let shown = Shown { state, reason, fault };
        if shown != life.shown {
            life.shown = shown;
            self.changes.push_back(StationChange { station: life.id, state, reason, effect });
        }
    }
}

impl Life {
    /// The same with other delays, and its timers to be set.
    fn reconfigured(mut self, now: Instant, options: LifeOptions) -> Self {
        let over = |since: Instant, after: Duration| since + after <= now;
        self.hard = self.error_since.is_some_and(|since| over(since, options.error_delay));
        if options.stale_after != self.options.stale_after {
            self.stale &= options.stale_after.is_some_and(|after| over(self.alive, after));
        }
        (self.hard_armed, self.stale_armed) = (false, false);
        self.options = options;
        self
    }

    fn begin(now: Instant, id: StationId, options: LifeOptions) -> Self {
        Self {
            id,
            options,
            mode: options.mode,
            will: false,
            unreachable: false,
            stale: false,
            error_since: None,
            hard: false,
            alive: now,
            missed: false,
            hard_armed: false,
            stale_armed: false,
            shown: Shown { state: StationState::On, reason: Reason::Ok, fault: None },
        }
    }
}

#[cfg(test)]
mod tests;
