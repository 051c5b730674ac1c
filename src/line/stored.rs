//! What the store has of a line: the session of each path, and the pairing of a redundant line.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::duplicates::Log;
use crate::config::Line;
use crate::hub::status::PathId;
use crate::mqtt::Session;

/// Key and value.
type Record = (Vec<u8>, Vec<u8>);

/// The session records of a store, by the name that they are stored under.
#[derive(Debug, Default)]
pub struct StoredRecords(BTreeMap<Arc<str>, Vec<Record>>);

/// What a line continues.
#[derive(Debug, Default)]
pub struct Stored {
    /// Session of each path.
    pub(super) sessions: Vec<Session>,
    /// Log of the pairing.
    pub(super) duplicates: Vec<Record>,
    /// Names of records that the line has no use for.
    pub(super) leftovers: Vec<Arc<str>>,
    /// Whether the line was at work in this process before.
    pub(super) resumed: bool,
}

impl Stored {
    /// Of a line that was at work in this process before: it is down.
    pub fn resumed(self) -> Self {
        Self { resumed: true, ..self }
    }
}

impl StoredRecords {
    /// Sorts records of a store: name, key, value.
    pub fn new(records: impl IntoIterator<Item = (Arc<str>, Vec<u8>, Vec<u8>)>) -> Self {
        let mut sorted: BTreeMap<Arc<str>, Vec<Record>> = BTreeMap::new();
        for (name, key, value) in records {
            sorted.entry(name).or_default().push((key, value));
        }
        Self(sorted)
    }

    /// Names that records of a line are stored under.
    pub fn names(line: &str) -> [Arc<str>; 3] {
        let [first, second] = PathId::all().map(|path| path.session_name(line));
        [first, second, Log::name(line)]
    }

    /// Takes what a line continues.
    pub fn take(&mut self, line: &Line) -> Stored {
        let mut stored = Stored::default();
        let name = PathId::FIRST.session_name(&line.name);
        stored.sessions.push(self.session(line, &name));
        let second = PathId::SECOND.session_name(&line.name);
        let duplicates = Log::name(&line.name);
        if line.redundant.is_some() {
            stored.sessions.push(self.session(line, &second));
            stored.duplicates = self.0.remove(&duplicates).unwrap_or_default();
        } else {
            let left = |name: &Arc<str>| self.0.contains_key(name);
            stored.leftovers = [second, duplicates].into_iter().filter(left).collect();
        }
        stored
    }

    fn session(&mut self, line: &Line, name: &str) -> Session {
        let records = self.0.remove(name).unwrap_or_default();
        Session::restore(records).unwrap_or_else(|why| {
            tracing::error!(
                line = %line.name,
                "the stored MQTT session cannot be read and is forgotten: {why}"
            );
            Session::default()
        })
    }
}
