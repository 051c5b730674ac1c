//! What was found for a topic, remembered within a bound.

use std::mem;

use rustc_hash::FxHashMap;

use crate::iotag::StationId;

/// Topics in one of the two generations.
const TOPICS_MAX: usize = 16_384;
/// Bytes of their names.
const BYTES_MAX: usize = 2 << 20;

/// Two generations: when the younger is full it becomes the older, whose topics are forgotten
/// unless they were asked for meanwhile. So a flood of topics that come once costs no more than
/// looking each up, and topics in use stay.
#[derive(Default)]
pub(super) struct Cache {
    younger: FxHashMap<Box<str>, Option<StationId>>,
    younger_bytes: usize,
    older: FxHashMap<Box<str>, Option<StationId>>,
}

impl Cache {
    /// `None`: never seen, or forgotten; `Some(None)`: no station takes the topic.
    pub(super) fn find(&mut self, topic: &str) -> Option<Option<StationId>> {
        if let Some(station) = self.younger.get(topic) {
            return Some(*station);
        }
        let station = self.older.remove(topic)?;
        self.remember(topic, station);
        Some(station)
    }

    pub(super) fn remember(&mut self, topic: &str, station: Option<StationId>) {
        if self.younger.len() >= TOPICS_MAX || self.younger_bytes + topic.len() > BYTES_MAX {
            self.older = mem::take(&mut self.younger);
            self.younger_bytes = 0;
        }
        self.younger_bytes += topic.len();
        self.younger.insert(topic.into(), station);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.younger.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut cache = Cache::default();
        cache.remember("often", Some(StationId(7)));
        for number in 0..5 * TOPICS_MAX {
            cache.remember(&format!("once/{number}"), None);
            assert_eq!(cache.find("often"), Some(Some(StationId(7))));
        }
        assert!(cache.len() <= 2 * TOPICS_MAX);
        assert_eq!(cache.find("once/0"), None);
        let long = "x".repeat(60_000);
        for number in 0..200 {
            cache.remember(&format!("{long}{number}"), None);
        }
        assert!(cache.len() <= 2 * (BYTES_MAX / 60_000) + 1);
    }
}
