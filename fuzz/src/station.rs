//! A station for payload targets, out of a configuration as a user would write it.

use std::fmt::Write as _;
use std::fs;

use tagline::config;
use tagline::iotag::mapping::{InMessage, MappingReport, StationPlan};
use tagline::iotag::{Quality, Tag, TagId, TagUpdate, Timestamp};

pub(crate) struct Station {
    plan: StationPlan,
    tags: Vec<Tag>,
}

impl Station {
    /// `keys` are lines of a `[[station]]`; a tag is its type, its address and more keys.
    pub(crate) fn new(keys: &str, tags: &[(&str, &str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        write("tagline.toml", "[[line]]\nname = \"l\"\nservers = [\"mqtt://127.0.0.1\"]\n");
        write(
            "stations/s.toml",
            &format!("[[station]]\nname = \"s\"\nline = \"l\"\naddress = \"#\"\n{keys}"),
        );
        let mut text = String::new();
        for (number, (tag_type, address, more)) in tags.iter().enumerate() {
            let _ = write!(
                text,
                "[[tag]]\nname = \"t{number}\"\nstation = \"s\"\ntype = \"{tag_type}\"\naddress = '''{address}'''\n{more}\n"
            );
        }
        write("tags/t.toml", &text);
        let config = match config::load(folder.path()) {
            Ok(config) => config,
            Err(mistakes) => panic!("{}", config::render(&mistakes, false)),
        };
        let tags = (0..).map(TagId).zip(&config.tags);
        Self { plan: StationPlan::compile(&config.stations[0], tags), tags: config.tags.clone() }
    }

    /// Maps a payload twice, with and without explaining it, and holds the result to what every
    /// result must be: each update a value of its tag's type or the reason why there is none.
    pub(crate) fn map(
        &self,
        payload: &[u8],
        content_type: Option<&str>,
    ) -> (Vec<TagUpdate>, MappingReport) {
        let message = InMessage {
            topic: "a/b",
            payload,
            content_type,
            packet_id: 7,
            received: Timestamp::UNIX_EPOCH,
        };
        let mut updates = Vec::new();
        let report = self.plan.map(&message, &mut updates);
        let (mut again, mut traces) = (Vec::new(), Vec::new());
        let explained = self.plan.explain(&message, &mut again, &mut traces);
        assert_eq!((&updates, &report), (&again, &explained));
        assert_eq!(updates.len(), traces.len());
        for update in &updates {
            let tag_type = self.tags[update.tag.0 as usize].tag_type;
            match &update.value {
                Some(value) => assert!(value.is_of(tag_type) && update.quality != Quality::Bad),
                None => assert_eq!(update.quality, Quality::Bad),
            }
        }
        (updates, report)
    }
}
