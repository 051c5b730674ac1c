//! Outputs: what a station publishes, composed of what was written to its tags.
//!
//! ```text
//!   tag.write ──▶ Hub::publish ────────────▶ LineCommand::Publish ──▶ line
//!   publish_every ──▶ Hub::publish_cyclically ─┘                       │
//!   tags have the values, writers hear of it ◀── Hub::publication_ended ◀┘
//! ```
//!
//! A value is current once its publication is completed. Until then it is *under way*, and documents
//! that are composed meanwhile carry it, so that a later write never takes an earlier one back. When
//! such an earlier publication fails, its values have left with a later document or still will: the
//! write then ends as that one does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::queue::{Message, PacketIds};
use super::status::LineState;
use super::writes::{Finishes, LineCommand, Publish, WriteError, WriteOutcome, written};
use super::{Batch, Hub, State, lock};
use crate::clock;
use crate::iotag::{
    LineId, Quality, Reason, StationId, TagAddress, TagId, TagUpdate, Timestamp, Value, output,
};
use crate::topic;

/// Cyclic publications of a station under way; one more is left out and counted.
const CYCLES_UNDER_WAY_MAX: usize = 8;

/// How long a cyclic publication may wait for its end at least.
const CYCLE_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// A written value; `None` is a written null.
pub(super) type Written = (TagId, Option<Value>);

/// What the end of a publication does.
#[derive(Default)]
struct Ended {
    /// To its tags.
    updates: Vec<TagUpdate>,
    /// Who hears what.
    told: Vec<(Waiter, WriteOutcome)>,
    /// Publications that others wait for from now on.
    heirs: Vec<u64>,
}

/// The publications of a station that have not ended, in the order of their numbers.
#[derive(Default)]
pub(super) struct StationOutputs {
    pub(super) under_way: VecDeque<UnderWay>,
}

#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) number: u64,
    pub(super) cyclic: bool,
    /// What its tags will have been written.
    pub(super) values: Vec<Written>,
    /// All tags that the payload carries.
    pub(super) carries: Vec<TagId>,
    pub(super) waiters: Vec<Waiter>,
    /// How a later publication ended that carried values of this one.
    pub(super) carried: Option<WriteOutcome>,
    /// What the store has of it.
    pub(super) kept: Kept,
    /// What is published, if its station queues.
    pub(super) message: Option<Arc<Message>>,
}

/// What the store has of a publication under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing.
    No,
    /// All: it waits.
    Queue,
    /// That it was taken out to be sent.
    Taken,
    /// That a session has it.
    Session { line: LineId, packet_ids: PacketIds },
}

/// Somebody who waits for the end.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Hears of the first outcome.
    pub(super) reply: Option<oneshot::Sender<WriteOutcome>>,
    /// Hears how it ends, if it was queued.
    pub(super) finishes: Option<Finishes>,
    /// Number of the first write, once it is queued; 0: it is not.
    pub(super) first: u64,
    /// Names of the tags, in the order of the writes.
    pub(super) names: Vec<Arc<str>>,
    /// Why the publication failed that it waited for first.
    pub(super) failed: Option<WriteError>,
}

/// What is composed together.
#[derive(Clone, Copy)]
enum Payload {
    /// The text of an OUT_VALUE.
    Text(TagId),
    /// The document of all JA outputs.
    Document,
    /// The lines of LP outputs.
    Lines,
}

/// A payload and what is in it.
struct Composed {
    payload: Vec<u8>,
    carries: Vec<TagId>,
}

impl Hub {
    /// Publishes written values of a station together. `None`: the station publishes nothing on a
    /// write, and the tags have their values.
    pub(super) fn publish(
        &self,
        station_id: StationId,
        values: Vec<Written>,
        deadline: Instant,
        finishes: &Finishes,
    ) -> Result<Option<oneshot::Receiver<WriteOutcome>>, WriteError> {
        let setup = self.setup();
        let station = &setup.config.stations[station_id.0 as usize];
        if !station.publish_on_write {
            let _outputs = lock(&setup.station(station_id).outputs);
            let now = clock::wall();
            self.submit_unsettled(
                values.into_iter().map(|(tag, value)| written(tag, value, now)).collect(),
            );
            return Ok(None);
        }
        let refused = |why| WriteError::new(WriteError::REFUSED, why);
        let payload = match values.first() {
            Some((tag, _)) => self.payload_of(*tag).ok_or_else(|| refused("nothing to publish"))?,
            None => return Err(refused("nothing to publish")),
        };
        let (reply, receiver) = oneshot::channel();
        // Whoever composes first sends first.
        let mut outputs = lock(&setup.station(station_id).outputs);
        let composed = self
            .compose(station_id, payload, &values, &outputs)
            .map_err(|why| WriteError::new(WriteError::REFUSED, why))?
            .ok_or_else(|| refused("nothing to publish"))?;
        let name = |(tag, _): &Written| Arc::clone(&self.config().tags[tag.0 as usize].name);
        let names = values.iter().map(name).collect();
        let (reply, finishes) = (Some(reply), Some(finishes.clone()));
        let waiter = Waiter { reply, finishes, first: 0, names, failed: None };
        self.send(&mut outputs, station_id, composed, (values, vec![waiter]), deadline)?;
        Ok(Some(receiver))
    }

    /// Publishes what a station's outputs are, if any was ever written.
    pub fn publish_cyclically(&self, station_id: StationId, period: Duration) {
        let setup = self.setup();
        let mut payloads = Vec::new();
        for &tag in &*setup.station_tags[station_id.0 as usize] {
            match self.payload_of(tag) {
                Some(Payload::Text(tag)) => payloads.push(Payload::Text(tag)),
                Some(Payload::Document)
                    if !payloads.iter().any(|known| matches!(known, Payload::Document)) =>
                {
                    payloads.push(Payload::Document);
                }
                Some(Payload::Lines)
                    if !payloads.iter().any(|known| matches!(known, Payload::Lines)) =>
                {
                    payloads.push(Payload::Lines);
                }
                _ => {}
            }
        }
        let deadline = clock::now() + period.max(CYCLE_TIMEOUT_MIN);
        let mut outputs = lock(&setup.station(station_id).outputs);
        for payload in payloads {
            let composed = match self.compose(station_id, payload, &[], &outputs) {
                Ok(Some(composed)) => Ok(composed),
                Ok(None) => continue,
                Err(why) => Err(WriteError::new(WriteError::REFUSED, why)),
            };
            let under_way = outputs.under_way.iter().filter(|one| one.cyclic).count();
            let sent = composed.and_then(|composed| {
                if self.is_queueing(station_id) {
                    let why = "queued writes of the station go out first";
                    return Err(WriteError::new(WriteError::BUSY, why));
                }
                if under_way >= CYCLES_UNDER_WAY_MAX {
                    let why = "the publications before it have not ended";
                    return Err(WriteError::new(WriteError::BUSY, why));
                }
                self.send(&mut outputs, station_id, composed, (Vec::new(), Vec::new()), deadline)
            });
            if let Err(error) = sent {
                self.count_cycle(station_id, Err(error));
            }
        }
    }

    /// A publication has ended. `apply` is given what becomes of its tags, before anybody hears of it.
    pub fn publication_ended(
        &self,
        publish: &Publish,
        outcome: WriteOutcome,
        apply: impl FnOnce(Batch),
    ) {
        if publish.cyclic {
            self.count_cycle(
                publish.station,
                match &outcome {
                    WriteOutcome::Completed | WriteOutcome::Queued(_) => Ok(()),
                    WriteOutcome::Failed(error) | WriteOutcome::Uncertain(error) => {
                        Err(error.clone())
                    }
                },
            );
        }
        self.end_publication(publish.station, publish.number, &outcome, apply);
    }

    pub(super) fn end_publication(
        &self,
        station: StationId,
        number: u64,
        outcome: &WriteOutcome,
        apply: impl FnOnce(Batch),
    ) {
        let now = clock::wall();
        let setup = self.setup();
        let mut outputs = lock(&setup.station(station).outputs);
        let Some(is_kept) = outputs.get_mut(number).map(|one| one.kept != Kept::No) else { return };
        let Some(ended) = outputs.end(number, outcome, now) else { return };
        let mut batch = Batch { updates: ended.updates, ..Batch::default() };
        let direct = self.settle_end(station, (number, is_kept), ended.told, &mut batch);
        for heir in ended.heirs {
            let heir = outputs.get_mut(heir);
            batch.sessions.extend(heir.and_then(|heir| self.heir_record(station, heir)));
        }
        if !batch.updates.is_empty() || !batch.sessions.is_empty() {
            apply(batch);
        }
        // Only then: who composes next finds the values here or in the table.
        if let Some(position) = outputs.position(number) {
            outputs.under_way.remove(position);
        }
        drop(outputs);
        for (waiter, outcome) in direct {
            if let Some(reply) = waiter.reply {
                // Whoever waited may be gone.
                let _ = reply.send(outcome);
            }
        }
    }

    fn count_cycle(&self, station: StationId, ended: Result<(), WriteError>) {
        let setup = self.setup();
        let mut status = lock(&setup.station(station).status);
        match ended {
            Ok(()) => status.cycles_completed += 1,
            Err(error) => {
                status.cycles_not_completed += 1;
                status.last_error =
                    Some((clock::wall(), format!("cyclic publication: {}", error.message)));
            }
        }
    }

    fn payload_of(&self, tag: TagId) -> Option<Payload> {
        let setup = self.setup();
        let config = &setup.config.tags[tag.0 as usize];
        if !config.tag_type.is_output() {
            return None;
        }
        match config.address {
            TagAddress::OutValue => Some(Payload::Text(tag)),
            TagAddress::Json(_) => Some(Payload::Document),
            TagAddress::Line(_) => Some(Payload::Lines),
            _ => None,
        }
    }

    /// Whether a tag belongs to a payload that is composed for these values, or cyclically for none.
    fn takes_part(&self, tag: TagId, payload: Payload, values: &[Written]) -> bool {
        let config = self.config();
        let is_output = config.tags[tag.0 as usize].tag_type.is_output();
        match (payload, &config.tags[tag.0 as usize].address) {
            (Payload::Text(one), _) => one == tag,
            (Payload::Document, TagAddress::Json(_)) => is_output,
            (Payload::Lines, TagAddress::Line(address)) => {
                // On a write, the series written.
                let same = |(other, _): &Written| match &config.tags[other.0 as usize].address {
                    TagAddress::Line(other) => output::is_same_series(address, other),
                    _ => false,
                };
                is_output && (values.is_empty() || values.iter().any(same))
            }
            _ => false,
        }
    }

    /// The tags that a payload carries which an earlier process composed for these values.
    pub(super) fn carried_then(
        &self,
        station: StationId,
        values: &[Written],
        outputs: &StationOutputs,
    ) -> Vec<TagId> {
        let payload = values.first().and_then(|(tag, _)| self.payload_of(*tag));
        let Some(payload) = payload else { return Vec::new() };
        let state = lock(&self.state);
        let own = self.setup().station_tags[station.0 as usize].to_vec();
        own.into_iter()
            .filter(|&tag| self.takes_part(tag, payload, values))
            .filter(|&tag| outputs.value(tag, values, &state).is_some())
            .collect()
    }

    /// `None`: there is nothing to publish. Without `values` it is composed of what was written
    /// before, if anything was.
    fn compose(
        &self,
        station_id: StationId,
        payload: Payload,
        values: &[Written],
        outputs: &StationOutputs,
    ) -> Result<Option<Composed>, String> {
        let setup = self.setup();
        let config = &setup.config;
        let station = &config.stations[station_id.0 as usize];
        let state = lock(&self.state);
        let own = &setup.station_tags[station_id.0 as usize];
        let mut carried: Vec<(TagId, Option<&Value>)> = Vec::new();
        let mut anybody_wrote = !values.is_empty();
        for &tag in &**own {
            if self.takes_part(tag, payload, values)
                && let Some(value) = outputs.value(tag, values, &state)
            {
                anybody_wrote |= outputs.is_under_way(tag) || state.table.is_written(tag);
                carried.push((tag, value));
            }
        }
        if !anybody_wrote {
            return Ok(None);
        }
        if let Some(max_age) = station.max_age
            && values.is_empty()
        {
            let is_old = |written: Timestamp| clock::wall().duration_since(written) > max_age;
            let fresh = |tag| outputs.is_under_way(tag);
            let mut carried = carried.iter().map(|(tag, _)| *tag).filter(|tag| !fresh(*tag));
            if let Some(tag) = carried.find(|tag| state.table.written_at(*tag).is_some_and(is_old))
            {
                let name = &config.tags[tag.0 as usize].name;
                return Err(format!(
                    "`{name}` was written longer ago than the station's `max_age`"
                ));
            }
        }
        let tags = || carried.iter().map(|(tag, value)| (&config.tags[tag.0 as usize], *value));
        let now = clock::wall();
        let composed = match payload {
            Payload::Document => output::compose_document(station, tags(), now)?,
            Payload::Lines => output::compose_lines(station, tags(), now)?,
            Payload::Text(_) => match tags().next() {
                Some((tag, Some(value))) => Some(output::compose_text(tag, station, value)?),
                _ => None,
            },
        };
        let composed = composed
            .map(|payload| output::finished(payload, station.publish_content_type.as_deref()))
            .transpose()?;
        let carries = carried.iter().map(|(tag, _)| *tag).collect();
        Ok(composed.map(|payload| Composed { payload, carries }))
    }

    fn send(
        &self,
        outputs: &mut StationOutputs,
        station_id: StationId,
        composed: Composed,
        (values, waiters): (Vec<Written>, Vec<Waiter>),
        deadline: Instant,
    ) -> Result<(), WriteError> {
        let config = self.config();
        let station = &config.stations[station_id.0 as usize];
        let topic = self.publish_topic(station_id)?;
        let cyclic = waiters.is_empty();
        let carries = composed.carries;
        let carried = None;
        let kept = Kept::No;
        let link = self.link(station.line);
        let is_up = || matches!(lock(&link.status).state, LineState::Up | LineState::Error);
        // One that used to queue may have writes that go out first.
        let queues = station.queues_writes || (self.is_queueing(station_id) && is_up());
        if queues && !cyclic {
            let message = Message {
                topic,
                payload: composed.payload.into(),
                qos: station.publish_qos,
                retain: station.publish_retain,
                content_type: station.publish_content_type.clone(),
                written: clock::wall(),
                expiry: station.write_expiry,
            };
            return self.enqueue(outputs, station_id, message, deadline, |number, message| {
                let message = Some(message);
                UnderWay { number, cyclic, values, carries, waiters, carried, kept, message }
            });
        }
        let down = || {
            let name = &config.lines[station.line.0 as usize].name;
            WriteError::new(WriteError::LINE_DOWN, format!("line `{name}` is not connected"))
        };
        if !is_up() {
            return Err(down());
        }
        let number = self.queued.next_number();
        let publish = Publish {
            station: station_id,
            number,
            cyclic,
            topic,
            payload: composed.payload.into(),
            qos: station.publish_qos,
            retain: station.publish_retain,
            content_type: station.publish_content_type.clone(),
            deadline,
            expires: None,
            queues: false,
        };
        match link.commands.try_send(LineCommand::Publish(publish)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(WriteError::new(
                    WriteError::BUSY,
                    "too many writes wait for this line",
                ));
            }
            Err(TrySendError::Closed(_)) => return Err(down()),
        }
        let message = None;
        let one = UnderWay { number, cyclic, values, carries, waiters, carried, kept, message };
        outputs.under_way.push_back(one);
        Ok(())
    }

    /// The topic that a station publishes on.
    fn publish_topic(&self, station_id: StationId) -> Result<String, WriteError> {
        let setup = self.setup();
        let station = &setup.config.stations[station_id.0 as usize];
        let chosen = match &station.out_topic {
            Some(topic) => Some(topic.to_string()),
            None => setup.out_topics[station_id.0 as usize].and_then(|tag| {
                match self.read(&[tag]).pop()?.value.value? {
                    Value::Text(topic) => Some(topic.to_string()),
                    _ => None,
                }
            }),
        };
        let Some(chosen) = chosen else {
            return Err(WriteError::new(
                WriteError::REFUSED,
                format!(
                    "station `{}` has no topic yet: write its OUT_TOPIC tag first",
                    station.name
                ),
            ));
        };
        topic::check_name(&chosen).map_err(|why| {
            WriteError::new(
                WriteError::REFUSED,
                format!("`{chosen}` is no topic to publish on: {why}"),
            )
        })?;
        Ok(chosen)
    }
}

impl StationOutputs {
    /// Numbers rise.
    fn position(&self, number: u64) -> Option<usize> {
        self.under_way.binary_search_by_key(&number, |one| one.number).ok()
    }

    /// A publication by its number.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut UnderWay> {
        let position = self.position(number)?;
        self.under_way.get_mut(position)
    }

    /// Takes a publication out.
    pub(super) fn remove(&mut self, number: u64) -> Option<UnderWay> {
        self.under_way.remove(self.position(number)?)
    }

    /// Puts a publication at the place that its number has.
    pub(super) fn insert(&mut self, one: UnderWay) {
        let place = self.under_way.partition_point(|other| other.number < one.number);
        self.under_way.insert(place, one);
    }

    /// What a tag is in the next payload; `None`: it was never written.
    fn value<'a>(
        &'a self,
        tag: TagId,
        values: &'a [Written],
        state: &'a State,
    ) -> Option<Option<&'a Value>> {
        let of = |values: &'a [Written]| {
            values.iter().find(|(other, _)| *other == tag).map(|(_, value)| value.as_ref())
        };
        of(values)
            .or_else(|| self.under_way.iter().rev().find_map(|one| of(&one.values)))
            .or_else(|| state.table.written(tag))
    }

    fn is_under_way(&self, tag: TagId) -> bool {
        self.under_way.iter().any(|one| one.sets(tag))
    }

    /// What the end of a publication does to its tags, and who hears what. It stays until its
    /// updates are in the table. `None`: there is no such publication.
    fn end(&mut self, number: u64, outcome: &WriteOutcome, now: Timestamp) -> Option<Ended> {
        let position = self.position(number)?;
        let waiters = std::mem::take(&mut self.under_way[position].waiters);
        let WriteOutcome::Failed(error) = outcome else {
            let completed = *outcome == WriteOutcome::Completed;
            let mut values = self.carried_by(position, outcome);
            let own = self.under_way[position].values.clone();
            // An earlier publication that ends later must not bring back what this one replaced.
            for earlier in self.under_way.range_mut(..position) {
                earlier.values.retain(|(tag, _)| own.iter().all(|(replaced, _)| replaced != tag));
            }
            values.extend(own);
            let values = values.into_iter();
            let updates = values.map(|(tag, value)| ended(tag, value, completed, now)).collect();
            let told = waiters.into_iter().map(|waiter| (waiter, outcome.clone())).collect();
            return Some(Ended { updates, told, heirs: Vec::new() });
        };
        let values = std::mem::take(&mut self.under_way[position].values);
        let mut heir = None;
        let mut heir_numbers = Vec::new();
        for (tag, value) in values {
            if let Some(carrier) = self.carrier(position, tag) {
                self.under_way[carrier].values.push((tag, value));
                heir_numbers.push(self.under_way[carrier].number);
                heir = heir.max(Some(carrier));
            }
        }
        let mut told = Vec::new();
        for mut waiter in waiters {
            match (heir, &self.under_way[position].carried) {
                (Some(heir), _) => {
                    waiter.failed.get_or_insert_with(|| error.clone());
                    self.under_way[heir].waiters.push(waiter);
                }
                (None, Some(carried)) => told.push((waiter, carried.clone())),
                (None, None) => {
                    let error = waiter.failed.take().unwrap_or_else(|| error.clone());
                    told.push((waiter, WriteOutcome::Failed(error)));
                }
            }
        }
        Some(Ended { updates: Vec::new(), told, heirs: heir_numbers })
    }

    /// The first later payload that carries what a publication writes to a tag, unless a later write
    /// has replaced it by then.
    fn carrier(&self, position: usize, tag: TagId) -> Option<usize> {
        let of_tag = |one: &UnderWay| one.sets(tag) || one.carries.contains(&tag);
        let next = (position + 1..self.under_way.len()).find(|&at| of_tag(&self.under_way[at]))?;
        (!self.under_way[next].sets(tag)).then_some(next)
    }

    /// Values of earlier publications that have not ended, and that left with this one. They need no
    /// other end if this one is completed.
    fn carried_by(&mut self, position: usize, outcome: &WriteOutcome) -> Vec<Written> {
        let mut values = Vec::new();
        for earlier in 0..position {
            let tags: Vec<TagId> =
                self.under_way[earlier].values.iter().map(|(tag, _)| *tag).collect();
            for tag in tags {
                if self.carrier(earlier, tag) != Some(position) {
                    continue;
                }
                let one = &mut self.under_way[earlier];
                one.carried = Some(outcome.clone());
                values.extend(one.values.iter().filter(|(other, _)| *other == tag).cloned());
                if *outcome == WriteOutcome::Completed {
                    one.values.retain(|(other, _)| *other != tag);
                }
            }
        }
        values
    }
}

impl UnderWay {
    fn sets(&self, tag: TagId) -> bool {
        self.values.iter().any(|(other, _)| *other == tag)
    }
}

/// A tag whose publication left; not completed, nobody knows whether it arrived.
fn ended(tag: TagId, value: Option<Value>, completed: bool, now: Timestamp) -> TagUpdate {
    let update = written(tag, value, now);
    if completed {
        return update;
    }
    TagUpdate { quality: Quality::Uncertain, reason: Reason::CommError, ..update }
}

#[cfg(test)]
mod tests;
