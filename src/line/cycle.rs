//! Cyclic publications: when a station's outputs are due.
//!
//! A station is due at the start plus a whole number of its periods, so that nothing that happens
//! late makes the next one late. What was missed is not made up for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::LineTask;
use crate::config::Config;
use crate::hub::status::StationMode;
use crate::iotag::{LineId, StationId};

/// The stations of a line that publish cyclically.
pub(super) struct Cycles {
    start: Instant,
    stations: Vec<(StationId, Duration)>,
    /// Every station once.
    due: BTreeSet<(Instant, usize)>,
}

impl Cycles {
    pub(super) fn new(start: Instant, line: LineId, config: &Config) -> Self {
        Self::of(start, stations(line, config))
    }

    /// Other stations. Those that go on with their period are due when they were; all others as if
    /// they had begun at the start.
    pub(super) fn reconfigure(&mut self, now: Instant, line: LineId, config: &Config) {
        self.change(now, stations(line, config));
    }

    fn change(&mut self, now: Instant, stations: Vec<(StationId, Duration)>) {
        let known: BTreeMap<(StationId, Duration), Instant> =
            self.due.iter().map(|(at, index)| (self.stations[*index], *at)).collect();
        let due = stations.iter().enumerate().filter_map(|(index, station)| {
            let at = known.get(station).copied();
            Some((at.or_else(|| next_after(self.start, station.1, now))?, index))
        });
        self.due = due.collect();
        self.stations = stations;
    }

    fn of(start: Instant, stations: Vec<(StationId, Duration)>) -> Self {
        let due = stations
            .iter()
            .enumerate()
            .filter_map(|(index, (_, period))| Some((start.checked_add(*period)?, index)));
        Self { start, due: due.collect(), stations }
    }

    /// When to call [`Self::take_due`] at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The stations that are due, with their periods.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(StationId, Duration)> {
        let mut taken = Vec::new();
        while let Some(&(at, index)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let (station, period) = self.stations[index];
            taken.push((station, period));
            if let Some(next) = next_after(self.start, period, now) {
                self.due.insert((next, index));
            }
        }
        taken
    }
}

fn stations(line: LineId, config: &Config) -> Vec<(StationId, Duration)> {
    let own = config.stations_of(line);
    own.filter_map(|(id, station)| Some((id, station.publish_every?))).collect()
}

/// The first start plus a whole number of periods after `now`.
fn next_after(start: Instant, period: Duration, now: Instant) -> Option<Instant> {
    let passed = now.duration_since(start).as_nanos().checked_div(period.as_nanos())? + 1;
    let nanoseconds = u64::try_from(period.as_nanos().checked_mul(passed)?).ok()?;
    start.checked_add(Duration::from_nanos(nanoseconds))
}

impl LineTask {
    /// Publishes what is due, while the line is up.
    pub(super) fn publish_cycles(&mut self, now: Instant) {
        for (station, period) in self.cycles.take_due(now) {
            if self.is_up() && self.hub.station_mode(station) == StationMode::On {
                // It comes back as a command, behind the writes that were composed before it.
                self.hub.publish_cyclically(station, period);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_missed_is_not_made_up_for() {
        let start = crate::clock::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let period = Duration::from_millis(100);
        let mut cycles = Cycles::of(start, vec![(StationId(7), period)]);
        assert_eq!(cycles.deadline(), Some(at(100)));
        assert!(cycles.take_due(at(99)).is_empty());
        assert_eq!(cycles.take_due(at(100)), [(StationId(7), period)]);
        assert_eq!(cycles.deadline(), Some(at(200)));
        assert_eq!(cycles.take_due(at(555)), [(StationId(7), period)]);
        assert_eq!(cycles.deadline(), Some(at(600)));
    }

    #[test]
    fn who_goes_on_is_due_when_it_was() {
        let start = crate::clock::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let every = |id, ms| (StationId(id), Duration::from_millis(ms));
        let mut cycles = Cycles::of(start, vec![every(1, 100), every(2, 100)]);
        // Late: both are due, and one of them goes on.
        cycles.change(at(130), vec![every(1, 100), every(2, 40), every(3, 70)]);
        assert_eq!(cycles.take_due(at(130)), [every(1, 100)]);
        assert_eq!(cycles.deadline(), Some(at(140)));
        let due: Vec<u64> = (135..=200)
            .flat_map(|ms| cycles.take_due(at(ms)).into_iter().map(move |_| ms))
            .collect();
        assert_eq!(due, [140, 160, 200, 200]);
    }

    proptest! {
        #[test]
        fn lateness_does_not_add_up(
            period_ms in 10u64..10_000,
            lateness in prop::collection::vec(0u64..9, 1..200),
        ) {
            let start = crate::clock::now();
            let period = Duration::from_millis(period_ms);
            let mut cycles = Cycles::of(start, vec![(StationId(0), period)]);
            for (count, late) in lateness.iter().enumerate() {
                let due = cycles.deadline().unwrap();
                prop_assert_eq!(due, start + period * (count as u32 + 1));
                let now = due + Duration::from_millis(*late);
                prop_assert_eq!(cycles.take_due(now).len(), 1);
            }
        }
    }
}
