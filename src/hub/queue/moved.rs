//! Queued writes of stations that a reload takes away or moves to another line.

use std::sync::{Arc, MutexGuard};

use super::line::{Entry, Waits};
use super::{Hub, lock};
use crate::clock;
use crate::hub::outputs::{Kept, StationOutputs};
use crate::hub::status::StationMode;
use crate::iotag::{StationId, TagId};

impl Hub {
    /// A station is not configured any more: what waits for it has failed.
    pub(in crate::hub) fn drop_queued(&self, station: StationId) {
        let station_name = Arc::clone(&self.config().stations[station.0 as usize].name);
        let line = self.config().stations[station.0 as usize].line;
        let dropped = lock(&self.line_queue(line).queue).remove_all(station);
        for number in dropped {
            tracing::warn!(station = %station_name, "a queued write is dropped: its station is gone");
            self.end_unsent(station, number, "its station is not configured any more");
        }
    }

    /// A station is on another line, under another id: what waits goes out there, before anything that is
    /// written to it from then on. `outputs` are those of its new id; they have been locked since before anybody knew of it.
    pub(in crate::hub) fn move_queued(
        &self,
        before: StationId,
        station: StationId,
        outputs: &mut MutexGuard<'_, StationOutputs>,
    ) {
        let setup = self.setup();
        let config = &setup.config;
        let line_of = |id: StationId| config.stations[id.0 as usize].line;
        let left = setup.station(before);
        let mut left = lock(&left.outputs);
        let numbers = lock(&self.line_queue(line_of(before)).queue).remove_all(before);
        if numbers.is_empty() {
            return;
        }
        let successor = |tag: &TagId| {
            let tag = &config.tags[tag.0 as usize];
            let id = setup.names.exact(&tag.name)?;
            let is_it = |other: &crate::iotag::Tag| {
                other.station == station && other.tag_type == tag.tag_type
            };
            is_it(&config.tags[id.0 as usize]).then_some(id)
        };
        let (now, wall) = (clock::now(), clock::wall());
        let queue = self.line_queue(line_of(station));
        for &number in &numbers {
            let Some(mut one) = left.remove(number) else { continue };
            let Some(message) = one.message.clone() else { continue };
            let values = std::mem::take(&mut one.values).into_iter();
            one.values =
                values.filter_map(|(tag, value)| Some((successor(&tag)?, value))).collect();
            one.carries = one.carries.iter().filter_map(successor).collect();
            one.kept = Kept::Queue;
            let expires =
                message.expiry.map(|expiry| now + super::left_of(expiry, message.written, wall));
            let entry = Entry { waits: Waits::Storing, message, deadline: now, expires };
            lock(&queue.queue).push(station, number, entry);
            self.store_now(station, &mut one);
            outputs.insert(one);
        }
        let held = self.station_mode(station) != StationMode::On;
        lock(&queue.queue).hold(station, held);
        tracing::info!(
            station = %config.stations[station.0 as usize].name,
            line = %config.lines[line_of(station).0 as usize].name,
            count = numbers.len(),
            "queued writes go out on the other line of their station"
        );
    }

    /// What has come back to a station that a reload has left behind goes to where the others went.
    pub(super) fn rehome(&self, station: StationId) {
        let setup = self.setup();
        if !setup.config.is_retired_station(station) {
            return;
        }
        let name = &setup.config.stations[station.0 as usize].name;
        let successor = setup.config.live_stations().find(|(_, live)| live.name == *name);
        match successor {
            Some((successor, _)) => {
                let mut outputs = lock(&setup.station(successor).outputs);
                self.move_queued(station, successor, &mut outputs);
            }
            None => self.drop_queued(station),
        }
    }
}
