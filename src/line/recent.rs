//! The last messages of each station, for `tag.explain`.
//!
//! What a message did to a tag is not kept: it is mapped once more, on request.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::LineTask;
use super::stations::Arrival;
use crate::config::Config;
use crate::hub::explain::{Explained, ExplainedMessage};
use crate::iotag::explanation;
use crate::iotag::mapping::InMessage;
use crate::iotag::{LineId, Reason, StationId, TagId, Timestamp};
use crate::mqtt::Publication;
use crate::qos::Qos;

/// Payload bytes that a line keeps, all its stations together.
const LINE_BYTES_MAX: usize = 32 << 20;
/// Payload bytes that a station may keep, at least and at most.
const STATION_BYTES_MIN: usize = 512;
const STATION_BYTES_MAX: usize = 1 << 20;
/// Messages that a station keeps: those that touch one tag need not touch another.
const MESSAGES_MAX: usize = 8;

/// The last messages of a line's stations, the newest last.
pub(super) struct Recent {
    /// Payload bytes that each station may keep.
    share: usize,
    stations: BTreeMap<StationId, VecDeque<Kept>>,
}

struct Kept {
    topic: Arc<str>,
    /// A copy: a piece of the input would keep all of it.
    payload: Box<[u8]>,
    content_type: Option<Box<str>>,
    qos: Qos,
    retain: bool,
    arrival: Arrival,
}

impl Recent {
    pub(super) fn new(line: LineId, config: &Config) -> Self {
        Self { share: share(line, config), stations: BTreeMap::new() }
    }

    /// Other stations; messages of those that read them in another way are kept no longer.
    pub(super) fn reconfigure(&mut self, line: LineId, config: &Config, others: &[StationId]) {
        self.share = share(line, config);
        self.stations.retain(|station, _| others.binary_search(station).is_err());
    }

    /// Keeps a message; older ones make room, and one that is too large is not kept.
    pub(super) fn keep(&mut self, station: StationId, publication: &Publication, arrival: Arrival) {
        let kept = self.stations.entry(station).or_default();
        let mut bytes = publication.payload.len();
        let mut from = kept.len();
        while from > 0 && kept.len() - from + 1 < MESSAGES_MAX {
            bytes += kept[from - 1].payload.len();
            if bytes > self.share {
                break;
            }
            from -= 1;
        }
        kept.drain(..from);
        if publication.payload.len() > self.share {
            return;
        }
        kept.push_back(Kept {
            topic: Arc::clone(&publication.topic),
            payload: publication.payload[..].into(),
            content_type: publication.content_type().map(Into::into),
            qos: publication.qos,
            retain: publication.retain,
            arrival,
        });
    }

    /// Messages of a station that arrived at a time, the newest first.
    fn at(&self, station: StationId, received: Timestamp) -> impl Iterator<Item = &Kept> {
        let kept = self.stations.get(&station).into_iter().flatten().rev();
        kept.filter(move |kept| kept.arrival.received == received)
    }

    fn has_any(&self, station: StationId) -> bool {
        self.stations.get(&station).is_some_and(|kept| !kept.is_empty())
    }
}

fn share(line: LineId, config: &Config) -> usize {
    let own = config.stations_of(line).count();
    (LINE_BYTES_MAX / own.max(1)).clamp(STATION_BYTES_MIN, STATION_BYTES_MAX)
}

impl Kept {
    fn message(&self) -> InMessage<'_> {
        InMessage {
            topic: &self.topic,
            payload: &self.payload,
            content_type: self.content_type.as_deref(),
            packet_id: self.arrival.packet_id,
            received: self.arrival.received,
        }
    }
}

impl LineTask {
    /// Where a tag's value comes from. `None`: there is no such tag.
    pub(super) fn explain(&mut self, tag: TagId) -> Option<Explained> {
        // What was mapped in this turn is in the table then.
        self.settlement.submit(&self.hub);
        let reading = self.hub.read(&[tag]).pop()?;
        let config = Arc::clone(self.stations.config());
        let of = config.tags.get(tag.0 as usize)?;
        let value = &reading.value;
        if of.tag_type.is_output() || value.reason == Reason::Simulated {
            let note = match value.reason {
                Reason::Simulated => "the value is made up, no message brought it",
                Reason::NeverReceived => "it was never written",
                _ if reading.seq == 0 => "it is the `initial` of the configuration",
                _ => "it was written",
            };
            return Some(Explained { reading, message: None, note: Some(note.to_owned()) });
        }
        let mut kept = self.stations.recent.at(of.station, value.received);
        if let Some(message) = kept.find_map(|kept| self.explained(tag, kept)) {
            return Some(Explained { reading, message: Some(message), note: None });
        }
        let note = if value.value.is_none() && value.reason == Reason::NeverReceived {
            if self.stations.recent.has_any(of.station) {
                "messages came to its station, and none touched it: see `tagline check --topic`"
            } else {
                "no message has come to its station since the process started"
            }
        } else {
            "the message that brought it is no longer kept"
        };
        Some(Explained { reading, message: None, note: Some(note.to_owned()) })
    }

    /// What a message did to a tag; `None`: nothing.
    fn explained(&self, tag: TagId, kept: &Kept) -> Option<ExplainedMessage> {
        let config = self.stations.config();
        let station_id = config.tags[tag.0 as usize].station;
        let station = &config.stations[station_id.0 as usize];
        let message = kept.message();
        let plan = self.stations.plan(station_id)?;
        let tag_of = |id: TagId| &config.tags[id.0 as usize];
        let explained = explanation::explain(plan, station, tag_of, &message);
        let mut updates =
            explained.updates.into_iter().filter(|explained| explained.update.tag == tag);
        let first = updates.next()?;
        let (samples, last) = updates.fold((1, first), |(count, _), next| (count + 1, next));
        let contest = self.stations.contest(&kept.topic);
        let station_of = |id: StationId| &config.stations[id.0 as usize];
        let (payload, payload_shortened) =
            explanation::payload_text(&kept.payload, kept.content_type.as_deref());
        Some(ExplainedMessage {
            topic: kept.topic.to_string(),
            received: kept.arrival.received,
            qos: kept.qos.level(),
            retain: kept.retain,
            dup: kept.arrival.dup,
            packet_id: kept.arrival.packet_id,
            content_type: kept.content_type.as_deref().map(str::to_owned),
            payload_bytes: kept.payload.len(),
            payload,
            payload_shortened,
            contest: explanation::contest(&contest, station_of),
            samples,
            bytes: last.bytes,
            time_source: last.time_source,
            quality_reason: last.quality_reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(bytes: usize) -> Publication {
        Publication {
            topic: "t".into(),
            payload: vec![b'x'; bytes].into(),
            qos: Qos::AtMostOnce,
            retain: false,
            properties: None,
        }
    }

    fn kept(sizes: &[usize]) -> Vec<usize> {
        let mut recent = Recent { share: 100, stations: BTreeMap::new() };
        for &size in sizes {
            let arrival = Arrival { packet_id: 0, received: Timestamp::UNIX_EPOCH, dup: false };
            recent.keep(StationId(1), &publication(size), arrival);
        }
        recent.at(StationId(1), Timestamp::UNIX_EPOCH).map(|kept| kept.payload.len()).collect()
    }

    #[test]
    fn messages_are_kept_within_their_bounds_and_the_newest_first() {
        assert_eq!(kept(&[1, 2, 3]), [3, 2, 1]);
        assert_eq!(kept(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), [9, 8, 7, 6, 5, 4, 3, 2]);
        assert_eq!(kept(&[60, 30, 20]), [20, 30]);
        assert_eq!(kept(&[50, 100]), [100]);
        assert_eq!(kept(&[50, 101]), [0; 0], "an older one would be taken for the last");
    }
}
