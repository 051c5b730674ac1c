//! From messages that were heard to station and tag files: `tagline discover`.
//!
//! ```text
//! messages --Topics--> samples of every topic --survey--> values, time, format
//!   --Plan--> stations and tags with names --verify--> those that come out good --files--> text
//! ```

mod files;
mod names;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use crate::iotag::TagType;
use crate::iotag::survey::{self, Heard, Kind, Survey};

pub use files::{Source, main_file, station_file, tag_file};
pub use verify::verify;

/// Most topics that are looked at.
pub const TOPICS_MAX: usize = 5000;
/// Messages kept of each topic: the first ones, and of the others the last ones.
const SAMPLES_MAX: usize = 64;
/// Those that stay.
const FIRST_MAX: usize = 16;
/// Bytes kept of all messages.
pub const BYTES_MAX: usize = 128 << 20;
/// Largest message that is looked at.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Tags of one station.
const TAGS_MAX: usize = 1000;

/// The messages of every topic, within bounds.
#[derive(Default)]
pub struct Topics {
    topics: BTreeMap<String, Samples>,
    /// Messages heard.
    pub messages: u64,
    /// Messages of topics beyond the bound.
    pub beyond: u64,
    bytes: usize,
    /// Whether the bytes did not suffice.
    pub is_full: bool,
}

/// What was heard on a topic.
#[derive(Default)]
pub struct Samples {
    /// How many messages.
    pub count: u64,
    /// Some of them.
    pub heard: Vec<Heard>,
    /// Too large to be looked at.
    oversized: u64,
}

impl Topics {
    /// Takes a message in.
    pub fn add(&mut self, topic: &str, payload: &[u8], content_type: Option<&str>) {
        self.messages += 1;
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= TOPICS_MAX {
                self.beyond += 1;
                return;
            }
            self.topics.insert(topic.to_owned(), Samples::default());
        }
        let Some(samples) = self.topics.get_mut(topic) else { return };
        samples.count += 1;
        if payload.len() > PAYLOAD_BYTES_MAX {
            samples.oversized += 1;
            return;
        }
        let heard =
            Heard { payload: payload.to_vec(), content_type: content_type.map(str::to_owned) };
        if samples.heard.contains(&heard) {
            return;
        }
        if samples.heard.len() >= SAMPLES_MAX {
            let gone = samples.heard.remove(FIRST_MAX);
            self.bytes -= gone.payload.len();
        } else if self.bytes + payload.len() > BYTES_MAX {
            self.is_full = true;
            if samples.heard.is_empty() && samples.count == 1 {
                samples.oversized += 1;
            }
            return;
        }
        self.bytes += payload.len();
        samples.heard.push(heard);
    }

    /// Number of topics.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether nothing was heard.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// What was heard on a topic.
    pub fn samples(&self, topic: &str) -> Option<&Samples> {
        self.topics.get(topic)
    }
}

/// A station as it will be written.
#[derive(Clone, Debug)]
pub struct PlannedStation {
    /// Unique name.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// Messages that were heard.
    pub messages: u64,
    /// What its payloads hold.
    pub survey: Survey,
    /// Its tags.
    pub tags: Vec<PlannedTag>,
}

/// A tag as it will be written.
#[derive(Clone, Debug)]
pub struct PlannedTag {
    /// Unique name.
    pub name: String,
    /// Type.
    pub tag_type: TagType,
    /// Address, with its prefix.
    pub address: String,
    /// Condition; empty: none.
    pub when: String,
    /// Unit; empty: none stated.
    pub unit: String,
    /// What it was when it was heard.
    pub example: String,
}

/// What becomes of the topics.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// By topic.
    pub stations: Vec<PlannedStation>,
    /// Topics and values that get no station or tag, and why.
    pub left_out: Vec<(String, String)>,
}

impl Plan {
    /// Plans a station for each topic that nobody has taken. `taken` says who has; names in `used` are
    /// not given again.
    pub fn of(
        topics: &Topics,
        taken: impl Fn(&str) -> Option<String>,
        mut used: BTreeSet<String>,
    ) -> Self {
        let mut plan = Self::default();
        let mut own: Vec<&str> = Vec::new();
        for (topic, samples) in &topics.topics {
            if let Some(station) = taken(topic) {
                plan.left_out
                    .push((topic.clone(), format!("station `{station}` takes it already")));
            } else if samples.heard.is_empty() {
                plan.left_out.push((topic.clone(), "its messages are too large".to_owned()));
            } else {
                own.push(topic);
            }
        }
        let names = names::stations(&own, &mut used);
        for (topic, name) in own.iter().zip(names) {
            let Some(samples) = topics.topics.get(*topic) else { continue };
            let survey = survey::survey(&samples.heard);
            let mut tags = Vec::new();
            let paths: Vec<&[String]> = survey.leaves.iter().map(|leaf| &leaf.names[..]).collect();
            let tag_names = names::tags(&name, &paths, &mut used);
            for (leaf, tag_name) in survey.leaves.iter().zip(tag_names) {
                let tag_type = match leaf.kind {
                    Kind::Null => {
                        let what = format!("{topic} {}", leaf.address);
                        plan.left_out.push((what, "it was never anything but null".to_owned()));
                        continue;
                    }
                    Kind::Logical => TagType::Di,
                    Kind::Counter => TagType::Ci,
                    Kind::Number => TagType::Ai,
                    Kind::Moment => TagType::TiA,
                    Kind::Text | Kind::Compound => TagType::TxtI,
                };
                if tags.len() >= TAGS_MAX {
                    let what = format!("{topic} {}", leaf.address);
                    plan.left_out.push((what, format!("a station gets {TAGS_MAX} tags at most")));
                    continue;
                }
                tags.push(PlannedTag {
                    name: tag_name,
                    tag_type,
                    address: leaf.address.clone(),
                    when: leaf.when.clone(),
                    unit: leaf.unit.clone(),
                    example: leaf.example.clone(),
                });
            }
            plan.stations.push(PlannedStation {
                name,
                topic: (*topic).to_owned(),
                messages: samples.count,
                survey,
                tags,
            });
        }
        plan
    }

    /// Number of tags.
    pub fn tags(&self) -> usize {
        self.stations.iter().map(|station| station.tags.len()).sum()
    }
}

#[cfg(test)]
mod tests;
