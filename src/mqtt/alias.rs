//! Topic aliases of one connection, MQTT 5.0 section 3.3.2.3.4, both ways.
//!
//! An alias means nothing on another connection (MQTT-3.3.2-7), so both tables die with theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bounds;
use super::error::Fault;
use super::packet::TopicAlias;

/// What the server's aliases stand for.
#[derive(Debug, Default)]
pub(super) struct InboundAliases {
    topics: BTreeMap<u16, Arc<str>>,
}

impl InboundAliases {
    /// The topic of a message that carries an alias; a topic that comes with it is remembered.
    pub(super) fn resolve(
        &mut self,
        alias: u16,
        topic: Arc<str>,
        maximum: u16,
    ) -> Result<Arc<str>, Fault> {
        if alias == 0 || alias > maximum {
            let what = format!("it used the topic alias {alias} where {maximum} is the highest");
            return Err(Fault::TopicAlias(what));
        }
        if !topic.is_empty() {
            self.topics.insert(alias, topic.clone());
            return Ok(topic);
        }
        self.topics.get(&alias).cloned().ok_or_else(|| {
            Fault::violation(format!("it used the topic alias {alias} without a topic before"))
        })
    }
}

/// Our aliases: they go to the topics that are used most, and move when that changes.
#[derive(Debug, Default)]
pub(super) struct OutboundAliases {
    topics: BTreeMap<Arc<str>, Use>,
    last_number: u16,
}

#[derive(Debug)]
struct Use {
    /// Halved from time to time, so that what was used long ago counts less.
    count: u32,
    /// 0: none.
    alias: u16,
}

impl OutboundAliases {
    /// How a message is to name its topic. What is answered must be sent.
    ///
    /// A topic gets an alias when it is used for the second time; if there is none left, the topic
    /// that is used least gives up its own to one that is used more.
    pub(super) fn choose(&mut self, topic: &Arc<str>, maximum: u16) -> Option<TopicAlias> {
        let maximum = maximum.min(bounds::TOPIC_ALIASES_MAX);
        if maximum == 0 || topic.len() < bounds::ALIASED_TOPIC_BYTES_MIN {
            return None;
        }
        let Some(used) = self.topics.get_mut(topic) else {
            self.age();
            self.topics.insert(topic.clone(), Use { count: 1, alias: 0 });
            return None;
        };
        used.count = used.count.saturating_add(1);
        if used.alias != 0 {
            return Some(TopicAlias { number: used.alias, is_known: true });
        }
        let number = match self.last_number < maximum {
            true => {
                self.last_number += 1;
                self.last_number
            }
            false => {
                let count = used.count;
                self.take_from_least(count)?
            }
        };
        if let Some(used) = self.topics.get_mut(topic) {
            used.alias = number;
        }
        Some(TopicAlias { number, is_known: false })
    }

    /// Takes the alias of the topic that is used least, if it is used less than this.
    fn take_from_least(&mut self, count: u32) -> Option<u16> {
        let holders = self.topics.values_mut().filter(|used| used.alias != 0);
        let least = holders.min_by_key(|used| used.count)?;
        (least.count < count).then(|| std::mem::take(&mut least.alias))
    }

    /// Makes room for one more topic.
    fn age(&mut self) {
        while self.topics.len() >= bounds::TOPICS_COUNTED {
            self.topics.retain(|_, used| {
                used.count /= 2;
                used.count > 0 || used.alias != 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alias(number: u16, is_known: bool) -> Option<TopicAlias> {
        Some(TopicAlias { number, is_known })
    }

    #[test]
    fn the_server_sets_uses_and_changes_an_alias() {
        let mut aliases = InboundAliases::default();
        let none: Arc<str> = "".into();
        assert!(matches!(aliases.resolve(1, none.clone(), 2), Err(Fault::Violation(_))));
        assert_eq!(aliases.resolve(1, "a".into(), 2), Ok("a".into()));
        assert_eq!(aliases.resolve(2, "b".into(), 2), Ok("b".into()));
        assert_eq!(aliases.resolve(1, none.clone(), 2), Ok("a".into()));
        assert_eq!(aliases.resolve(1, "c".into(), 2), Ok("c".into()));
        assert_eq!(aliases.resolve(1, none.clone(), 2), Ok("c".into()));
        assert!(matches!(aliases.resolve(3, "d".into(), 2), Err(Fault::TopicAlias(_))));
        assert!(matches!(aliases.resolve(0, "d".into(), 2), Err(Fault::TopicAlias(_))));
        assert!(matches!(aliases.resolve(1, "d".into(), 0), Err(Fault::TopicAlias(_))));
    }

    #[test]
    fn the_second_use_of_a_topic_sets_its_alias() {
        let mut aliases = OutboundAliases::default();
        let [a, b, c]: [Arc<str>; 3] = ["site/a".into(), "site/b".into(), "site/c".into()];
        assert_eq!(aliases.choose(&a, 0), None);
        assert_eq!(aliases.choose(&a, 2), None);
        assert_eq!(aliases.choose(&a, 2), alias(1, false));
        assert_eq!(aliases.choose(&a, 2), alias(1, true));
        assert_eq!(aliases.choose(&b, 2), None);
        assert_eq!(aliases.choose(&b, 2), alias(2, false));
        // All are taken: `c` gets one as soon as it is used more than `b`.
        assert_eq!(aliases.choose(&c, 2), None);
        assert_eq!(aliases.choose(&c, 2), None);
        assert_eq!(aliases.choose(&c, 2), alias(2, false));
        assert_eq!(aliases.choose(&b, 2), None);
        assert_eq!(aliases.choose(&"t".into(), 2), None);
    }

    proptest! {
        #[test]
        fn the_server_always_knows_what_an_alias_stands_for(
            uses in proptest::collection::vec(0u32..2_000, 1..3_000),
            maximum in 0u16..9,
        ) {
            let mut aliases = OutboundAliases::default();
            let mut server = InboundAliases::default();
            for number in uses {
                // The lower numbers are used more often.
                let topic: Arc<str> = format!("site/{}", number % (number % 40 + 1)).into();
                if let Some(alias) = aliases.choose(&topic, maximum) {
                    let sent = if alias.is_known { "".into() } else { topic.clone() };
                    prop_assert_eq!(server.resolve(alias.number, sent, maximum), Ok(topic));
                }
                prop_assert!(aliases.topics.len() <= bounds::TOPICS_COUNTED);
            }
        }
    }
}
