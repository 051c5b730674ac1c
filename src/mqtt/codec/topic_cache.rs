//! A small bounded memory of topics, so that a message costs no allocation for its topic.

use std::hash::Hasher;
use std::sync::Arc;

use rustc_hash::FxHasher;

use crate::mqtt::bounds::{TOPIC_REMEMBERED_BYTES_MAX, TOPICS_REMEMBERED};
use crate::topic::{self, TopicError};

/// One place per hash; a newer topic takes the place of an older one.
pub(super) struct TopicCache {
    places: Box<[Option<Arc<str>>]>,
    nameless: Arc<str>,
}

impl TopicCache {
    pub(super) fn new() -> Self {
        let places = vec![None; TOPICS_REMEMBERED].into_boxed_slice();
        Self { places, nameless: Arc::from("") }
    }

    /// The empty text, where a topic alias stands for the topic.
    pub(super) fn nameless(&self) -> Arc<str> {
        self.nameless.clone()
    }

    /// The shared text of a topic name, checked the first time it is seen.
    pub(super) fn intern(&mut self, name: &str) -> Result<Arc<str>, TopicError> {
        let mut hasher = FxHasher::default();
        hasher.write(name.as_bytes());
        // The upper bits of this hash are the good ones.
        let place = (hasher.finish() >> 32) as usize & (TOPICS_REMEMBERED - 1);
        if let Some(known) = &self.places[place]
            && **known == *name
        {
            return Ok(known.clone());
        }
        topic::check_name(name)?;
        let text: Arc<str> = name.into();
        if name.len() <= TOPIC_REMEMBERED_BYTES_MAX {
            self.places[place] = Some(text.clone());
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_seen_twice_is_one_text() {
        let mut cache = TopicCache::new();
        let first = cache.intern("site/pump1").unwrap();
        assert!(Arc::ptr_eq(&first, &cache.intern("site/pump1").unwrap()));
        assert_eq!(&*cache.intern("site/pump2").unwrap(), "site/pump2");
        assert_eq!(cache.intern("site/+"), Err(TopicError::Wildcard));
        assert_eq!(cache.intern("site/+"), Err(TopicError::Wildcard));
    }

    #[test]
    fn many_topics_stay_right() {
        let mut cache = TopicCache::new();
        for round in 0..3 {
            for number in 0..5_000 {
                let name = format!("site/{number}/data");
                assert_eq!(*cache.intern(&name).unwrap(), *name, "round {round}");
            }
        }
    }

    #[test]
    fn a_long_topic_is_not_kept() {
        let mut cache = TopicCache::new();
        let name = "x".repeat(TOPIC_REMEMBERED_BYTES_MAX + 1);
        let first = cache.intern(&name).unwrap();
        assert!(!Arc::ptr_eq(&first, &cache.intern(&name).unwrap()));
    }
}
