//! Runs what was heard through what was planned, so that only what comes out good is written.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Plan, Source, Topics, station_file, tag_file};
use crate::config;
use crate::iotag::mapping::{InMessage, StationPlan};
use crate::iotag::{Quality, Reason, TagId, TagType, Timestamp};

/// How often the plan is mended.
const ROUNDS: usize = 3;

/// Maps every sample by the planned configuration, in the empty folder `scratch`. What does not
/// convert becomes a text; what is never good is left out.
///
/// # Errors
///
/// The planned configuration is no configuration: a mistake of ours. Or the folder cannot be written.
pub fn verify(
    plan: &mut Plan,
    topics: &Topics,
    received: Timestamp,
    scratch: &Path,
) -> Result<(), String> {
    for _ in 0..ROUNDS {
        if !round(plan, topics, received, scratch)? {
            break;
        }
    }
    plan.stations.retain(|station| !station.tags.is_empty());
    Ok(())
}

/// What became of a tag.
#[derive(Default)]
struct Fate {
    good: usize,
    /// A value that does not fit its type.
    misfits: usize,
}

/// One pass; whether something was mended.
fn round(
    plan: &mut Plan,
    topics: &Topics,
    received: Timestamp,
    scratch: &Path,
) -> Result<bool, String> {
    let source = Source { line: "line".to_owned(), heard: String::new() };
    let main = "[[line]]\nname = \"line\"\nservers = [\"mqtt://127.0.0.1\"]\n";
    let write = |path: &str, text: &str| {
        let path = scratch.join(path);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    write("tagline.toml", main)?;
    write("stations/found.toml", &station_file(plan, &source))?;
    write("tags/found.csv", &tag_file(plan))?;
    let config = config::load(scratch).map_err(|diagnostics| {
        let all: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        format!("what was planned is no configuration:\n{}", all.join("\n"))
    })?;
    let mut mended = false;
    let tags = || (0u32..).map(TagId).zip(&config.tags);
    for (position, station) in config.stations.iter().enumerate() {
        let own = || tags().filter(|(_, tag)| tag.station.0 as usize == position);
        let compiled = StationPlan::compile(station, own());
        let mut fates: BTreeMap<&str, Fate> = BTreeMap::new();
        let mut bad_times = 0;
        let planned = &mut plan.stations[position];
        let Some(samples) = topics.samples(&planned.topic) else { continue };
        let mut updates = Vec::new();
        for heard in &samples.heard {
            let message = InMessage {
                topic: &planned.topic,
                payload: &heard.payload,
                content_type: heard.content_type.as_deref(),
                packet_id: 0,
                received,
            };
            compiled.map(&message, &mut updates);
        }
        for update in updates {
            let Some(tag) = config.tags.get(update.tag.0 as usize) else { continue };
            let fate = fates.entry(&tag.name).or_default();
            match (update.quality, update.reason) {
                (Quality::Good, _) => fate.good += 1,
                (Quality::Uncertain, Reason::BadTime) => {
                    fate.good += 1;
                    bad_times += 1;
                }
                (_, Reason::Null) => {}
                _ => fate.misfits += 1,
            }
        }
        if bad_times > 0 && planned.survey.time.take().is_some() {
            planned.survey.notes.push("its times are not all of one form".to_owned());
            mended = true;
        }
        let topic = planned.topic.clone();
        let left_out = &mut plan.left_out;
        planned.tags.retain_mut(|tag| {
            let fate = fates.remove(tag.name.as_str()).unwrap_or_default();
            if fate.good > 0 && fate.misfits == 0 {
                return true;
            }
            mended = true;
            let can_be_text = tag.tag_type != TagType::TxtI && fate.misfits > 0;
            if can_be_text {
                tag.tag_type = TagType::TxtI;
                return true;
            }
            let why =
                if fate.misfits > 0 { "its values are of no one kind" } else { "it has no value" };
            left_out.push((format!("{topic} {}", tag.address), why.to_owned()));
            false
        });
    }
    Ok(mended)
}
