//! Reading a whole store: at the start, and again after a commit that failed.
//!
//! Every page is walked and every checksum verified, so that damage shows here, where the store can
//! be put aside, and not in the middle of a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::codec::{BlockReader, Malformed, read_names, read_value_page, read_value_record};
use super::engine::{Engine, Trouble};
use super::numbers::Numbers;
use super::record::{Batch, Record, Records, put};
use super::schema::{
    BLOCK, CHECKPOINT_KEY, LARGE, META, NAME, PAGE, SCHEMA_KEY, SESSION, read_block_key,
    read_number, read_page_key, read_schema, read_session_key, read_u64, schema_body,
};
use crate::iotag::TagValue;

/// A value and the number of its change.
pub(super) type Numbered = (u64, TagValue);

/// All that a store holds, but for the journal's old blocks.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Names by the store's tag number.
    pub(super) names: Vec<Arc<str>>,
    /// Last value by the store's tag number, journal included.
    pub(super) values: Vec<Option<Numbered>>,
    /// Values that only the journal has.
    pub(super) dirty: FxHashMap<u32, Numbered>,
    /// Parts of the large values, by tag number.
    pub(super) large: FxHashMap<u32, u16>,
    /// Session records: line, key, value.
    pub(super) sessions: Vec<(Arc<str>, Vec<u8>, Vec<u8>)>,
    /// Parts of the session records, by record key.
    pub(super) session_parts: BTreeMap<Vec<u8>, u16>,
    /// Number of the last change.
    pub(super) last_seq: u64,
    /// Number of the last change that the stored values include.
    pub(super) checkpoint_seq: u64,
    /// First number of the oldest block.
    pub(super) oldest_block: Option<u64>,
    /// First number of the newest block.
    pub(super) newest_block: Option<u64>,
    /// Numbers of the journal's changes.
    pub(super) journal: Numbers,
    /// Changes and bytes of the journal behind the checkpoint.
    pub(super) behind: (u64, u64),
}

/// Gives an empty store its schema; its changes begin after `base_seq`.
pub(super) fn begin(engine: &Engine, base_seq: u64) -> Result<(), Trouble> {
    let mut batch = Batch::default();
    put(&mut batch, SCHEMA_KEY, schema_body(base_seq))?;
    engine.commit(batch)
}

/// Reads a store.
pub(super) fn load(engine: &Engine) -> Result<Contents, Trouble> {
    engine.read(|tree| {
        let mut contents = Contents::default();
        let mut schema = None;
        for record in Records::new(tree.iter()) {
            let record = record?;
            match record.key.first() {
                Some(&META) if record.key == SCHEMA_KEY => {
                    let base = read_schema(&record.body)?;
                    contents.last_seq = contents.last_seq.max(base);
                    schema = Some(base);
                }
                Some(&META) if record.key == CHECKPOINT_KEY => {
                    contents.checkpoint_seq = read_u64(&record.body)?;
                }
                Some(&NAME) => contents.on_names(&record)?,
                Some(&PAGE) => contents.on_page(&record)?,
                Some(&LARGE) => contents.on_large(&record)?,
                Some(&BLOCK) => contents.on_block(&record)?,
                Some(&SESSION) => contents.on_session(record)?,
                _ => return Err(Trouble::damaged("a record of unknown kind")),
            }
        }
        let base = schema.ok_or_else(|| Trouble::damaged("the schema record is missing"))?;
        contents.last_seq = contents.last_seq.max(contents.checkpoint_seq);
        contents.checkpoint_seq = contents.checkpoint_seq.max(base);
        Ok(contents)
    })
}

impl Contents {
    fn on_names(&mut self, record: &Record) -> Result<(), Trouble> {
        if read_number(&record.key)? as usize != self.names.len() {
            return Err(Trouble::damaged("a tag name is missing"));
        }
        self.names.extend(read_names(&record.body)?);
        self.values.resize(self.names.len(), None);
        Ok(())
    }

    fn on_page(&mut self, record: &Record) -> Result<(), Trouble> {
        let first = read_page_key(&record.key)?;
        for (place, value) in read_value_page(&record.body)? {
            *self.slot(first + u32::from(place))? = Some(value);
        }
        Ok(())
    }

    fn on_large(&mut self, record: &Record) -> Result<(), Trouble> {
        let number = read_number(&record.key)?;
        let (seq, value) = read_value_record(&record.body)?;
        let slot = self.slot(number)?;
        if slot.as_ref().is_none_or(|(stored, _)| *stored < seq) {
            *slot = Some((seq, value));
        }
        self.large.insert(number, record.parts);
        Ok(())
    }

    fn on_block(&mut self, record: &Record) -> Result<(), Trouble> {
        let first = read_block_key(&record.key)?;
        let block = BlockReader::new(&record.body)?;
        let last = first
            .checked_add(block.changes() - 1)
            .filter(|_| self.newest_block.is_none() || first > self.last_seq)
            .ok_or_else(|| Trouble::damaged("two blocks of the journal overlap"))?;
        self.oldest_block = self.oldest_block.or(Some(first));
        self.newest_block = Some(first);
        self.journal.push(first, block.changes());
        self.last_seq = last;
        if last <= self.checkpoint_seq {
            return Ok(());
        }
        self.behind.0 += block.changes();
        self.behind.1 += record.body.len() as u64;
        for (seq, change) in (first..).zip(block) {
            let (number, value) = change?;
            let slot = self.slot(number)?;
            if slot.as_ref().is_none_or(|(stored, _)| *stored < seq) {
                *slot = Some((seq, value.clone()));
                self.dirty.insert(number, (seq, value));
            }
        }
        Ok(())
    }

    fn on_session(&mut self, record: Record) -> Result<(), Trouble> {
        let (line, key) = read_session_key(&record.key)?;
        let line = match self.sessions.last() {
            Some((last, ..)) if **last == *line => Arc::clone(last),
            _ => line.into(),
        };
        self.sessions.push((line, key, record.body));
        self.session_parts.insert(record.key, record.parts);
        Ok(())
    }

    fn slot(&mut self, number: u32) -> Result<&mut Option<Numbered>, Trouble> {
        self.values
            .get_mut(number as usize)
            .ok_or_else(|| Trouble::damaged("a value of a tag without name"))
    }
}

impl From<Malformed> for Trouble {
    fn from(malformed: Malformed) -> Self {
        Self::Damaged(format!("a record is malformed: {malformed}"))
    }
}
