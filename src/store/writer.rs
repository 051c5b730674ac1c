//! Commits turned into batches: journal blocks, checkpoint portions, trimming, sessions.
//!
//! ```text
//! journal   ....|  checkpoint  |  behind the checkpoint  |  this commit
//!           trim ->            ^ all values up to here are stored as such
//! ```
//!
//! A round of the checkpoint starts when enough of the journal lies behind it, and writes the values
//! that changed meanwhile in portions, one with each commit; with the last portion the checkpoint
//! moves to where the round started. Recovery reads the stored values and replays what lies behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::codec::{
    BlockReader, BlockWriter, ValuePage, put_name, read_value_page, read_value_record, value_page,
    value_record,
};
use super::engine::{Engine, Trouble};
use super::numbers::Numbers;
use super::record::{Batch, KEY_BYTES_MAX, PART_BYTES_MAX, Record, Records, part_key, put, remove};
use super::recovery::{Contents, Numbered};
use super::schema::{
    BLOCK, CHECKPOINT_KEY, SESSION, block_key, large_key, name_key, page_key, place,
    read_block_key, session_key, session_prefix,
};
use super::{Change, Commit, SessionRecord};
use crate::iotag::{TagValue, Value};

/// What the next commit has to know.
#[derive(Debug)]
pub(super) struct Writer {
    tags: Vec<Arc<str>>,
    /// The store's number of a tag; `None`: its name is not stored yet.
    numbers: Vec<Option<u32>>,
    /// Positions of tags whose name an earlier one has too, and that one.
    twins: FxHashMap<usize, usize>,
    /// Names by the store's number.
    names: Vec<Arc<str>>,
    limits: Limits,
    last_seq: u64,
    newest_block: Option<u64>,
    /// Numbers of the journal's changes.
    journal: Numbers,
    /// Receive time of the last change, in seconds: what the journal's age is measured from.
    now_s: i64,
    dirty: FxHashMap<u32, Numbered>,
    /// Parts of the large values, by tag number.
    large: FxHashMap<u32, u16>,
    /// Parts of the session records that are stored, by record key.
    session_parts: BTreeMap<Vec<u8>, u16>,
    checkpoint_seq: u64,
    behind: (u64, u64),
    round: Option<Round>,
}

/// How long the journal is, and how far the checkpoint may stay behind its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Most changes.
    pub(super) entries_max: u64,
    /// Oldest change.
    pub(super) age_max: Duration,
    /// Changes behind the checkpoint that start a round of it.
    pub(super) window_changes: u64,
    /// Bytes of the journal behind the checkpoint that start a round of it.
    pub(super) window_bytes: u64,
    /// Values after which a checkpoint's portion may end.
    pub(super) portion_values: usize,
}

impl Limits {
    /// Those of a store of so many tags.
    pub(super) fn new(entries_max: u64, age_max: Duration, tags: usize) -> Self {
        Self {
            entries_max,
            age_max,
            window_changes: WINDOW_CHANGES.max(2 * tags as u64),
            window_bytes: WINDOW_BYTES,
            portion_values: PORTION_VALUES,
        }
    }
}

/// A checkpoint on its way.
#[derive(Debug)]
struct Round {
    target_seq: u64,
    /// Values to write, the last one first.
    values: Vec<(u32, Numbered)>,
}

/// What a batch adds to the journal.
#[derive(Debug, Default)]
struct Added {
    first_seq: Option<u64>,
    blocks: usize,
    bytes: usize,
}

/// A batch, and what is true once it is on the disk.
pub(super) struct Staged {
    pub(super) batch: Batch,
    /// Number of the last change.
    pub(super) last_seq: u64,
    /// Number of the oldest change that the journal still shows.
    pub(super) oldest_seq: u64,
    /// Names that the batch stores for the first time.
    pub(super) names: Vec<Arc<str>>,
}

impl Writer {
    /// A writer that goes on where the store ends.
    pub(super) fn new(tags: Vec<Arc<str>>, contents: Contents, limits: Limits) -> Self {
        let known: FxHashMap<&str, u32> =
            (0..).zip(&contents.names).map(|(number, name)| (&**name, number)).collect();
        let numbers = tags.iter().map(|tag| known.get(&**tag).copied()).collect();
        Self {
            tags,
            numbers,
            twins: FxHashMap::default(),
            names: contents.names,
            limits,
            last_seq: contents.last_seq,
            newest_block: contents.newest_block,
            journal: contents.journal,
            now_s: i64::MIN,
            dirty: contents.dirty,
            large: contents.large,
            session_parts: contents.session_parts,
            checkpoint_seq: contents.checkpoint_seq,
            behind: contents.behind,
            round: None,
        }
    }

    /// The store's number of each tag of the running configuration.
    pub(super) fn numbers(&self) -> &[Option<u32>] {
        &self.numbers
    }

    /// More tags of the running configuration, and the store's numbers of those it knows.
    pub(super) fn add_tags(&mut self, tags: &[Arc<str>], numbers: &[Option<u32>]) {
        self.tags.extend(tags.iter().cloned());
        self.numbers.extend(numbers);
        self.find_twins();
    }

    /// A tag whose type was changed has another id and the same name: one name has one number.
    pub(super) fn find_twins(&mut self) {
        let mut first: FxHashMap<&str, usize> = FxHashMap::default();
        self.twins.clear();
        for (at, name) in self.tags.iter().enumerate() {
            match first.get(&**name) {
                Some(&twin) => {
                    self.twins.insert(at, twin);
                }
                None => {
                    first.insert(name, at);
                }
            }
        }
    }

    /// The last values of these tags.
    pub(super) fn stored(
        &self,
        engine: &Engine,
        numbers: &[Option<u32>],
    ) -> Result<Vec<Option<Numbered>>, Trouble> {
        let in_round: FxHashMap<u32, &Numbered> = self
            .round
            .iter()
            .flat_map(|round| &round.values)
            .map(|(number, value)| (*number, value))
            .collect();
        let mut page: Option<([u8; 5], ValuePage)> = None;
        let mut stored = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(number) = *number else {
                stored.push(None);
                continue;
            };
            if let Some(value) = self.dirty.get(&number).or(in_round.get(&number).copied()) {
                stored.push(Some(value.clone()));
                continue;
            }
            if self.large.contains_key(&number) {
                let record = read_record(engine, &large_key(number))?;
                stored.push(record.map(|record| read_value_record(&record.body)).transpose()?);
                continue;
            }
            let key = page_key(number);
            if page.as_ref().is_none_or(|(last, _)| *last != key) {
                let record = read_record(engine, &key)?;
                let values = record.map(|record| read_value_page(&record.body)).transpose()?;
                page = Some((key, values.unwrap_or_default()));
            }
            stored.push(page.as_ref().and_then(|(_, values)| values.get(&place(number)).cloned()));
        }
        Ok(stored)
    }

    /// Refuses what cannot be committed before anything is changed.
    pub(super) fn check(&self, commits: &[Commit]) -> Result<(), Trouble> {
        let mut before: Option<u64> = None;
        for change in commits.iter().flat_map(|commit| &commit.changes) {
            if change.tag.0 as usize >= self.tags.len() {
                return Err(Trouble::Refused(format!("there is no tag {}", change.tag.0)));
            }
            if change.seq == 0 || before.is_some_and(|before| change.seq <= before) {
                return Err(Trouble::Refused(format!("change {} is out of order", change.seq)));
            }
            before = Some(change.seq);
        }
        for record in commits.iter().flat_map(|commit| &commit.sessions) {
            if session_key(&record.line, &record.key).len() > KEY_BYTES_MAX {
                return Err(Trouble::Refused(format!(
                    "a session key of `{}` is too long",
                    record.line
                )));
            }
        }
        Ok(())
    }

    /// Stages one batch. When it does not reach the disk, the writer is spoilt and the store has to
    /// be read again.
    pub(super) fn stage(&mut self, engine: &Engine, commits: &[Commit]) -> Result<Staged, Trouble> {
        let mut batch = Batch::default();
        let known_names = self.names.len();
        let changes = commits.iter().flat_map(|commit| &commit.changes);
        let count: usize = commits.iter().map(|commit| commit.changes.len()).sum();
        if let Some(first) = changes.clone().next() {
            self.replace_from(engine, &mut batch, first.seq)?;
        }
        let added = self.stage_changes(&mut batch, changes)?;
        self.stage_sessions(&mut batch, commits.iter().flat_map(|commit| &commit.sessions))?;
        self.stage_checkpoint(engine, &mut batch, count, added.bytes)?;
        let oldest_seq = self.stage_trim(engine, &mut batch, &added)?;
        let names = self.stage_names(&mut batch, known_names)?;
        Ok(Staged { batch, last_seq: self.last_seq, oldest_seq, names })
    }

    /// A commit that failed may have reached the disk all the same. What comes again replaces it.
    fn replace_from(
        &mut self,
        engine: &Engine,
        batch: &mut Batch,
        first_seq: u64,
    ) -> Result<(), Trouble> {
        if first_seq > self.last_seq {
            return Ok(());
        }
        if self.newest_block.is_none() || first_seq <= self.checkpoint_seq {
            return Err(Trouble::Refused(format!("change {first_seq} was committed before")));
        }
        engine.read(|tree| {
            let before = tree.get_lt(block_key(first_seq))?.filter(|(key, _)| key[0] == BLOCK);
            if let Some((key, _)) = before {
                let straddling = Records::new(tree.range(&key[..9]..)).next();
                if let Some(record) = straddling {
                    let record = record?;
                    let count = BlockReader::new(&record.body)?.changes();
                    if read_block_key(&record.key)? + count > first_seq {
                        return Err(Trouble::Refused(format!(
                            "change {first_seq} was committed before"
                        )));
                    }
                }
            }
            self.journal.cut_from(first_seq);
            for entry in tree.range(block_key(first_seq).as_slice()..&[BLOCK + 1]) {
                batch.remove(entry?.0.to_vec());
            }
            Ok(())
        })
    }

    fn stage_changes<'a>(
        &mut self,
        batch: &mut Batch,
        changes: impl Iterator<Item = &'a Change>,
    ) -> Result<Added, Trouble> {
        let mut added = Added::default();
        let mut block = BlockWriter::default();
        let mut first_seq = 0;
        for change in changes {
            let gap = block.count() > 0 && change.seq != first_seq + block.count();
            // A large text gets a block of its own, so that reading others does not touch it.
            let room = BLOCK_BYTES.saturating_sub(block.len());
            if gap || (block.count() > 0 && room < value_bytes(&change.value)) {
                self.put_block(batch, first_seq, &mut block, &mut added)?;
            }
            if block.count() == 0 {
                first_seq = change.seq;
            }
            let number = self.number(change)?;
            block.push(number, &change.value);
            self.dirty.insert(number, (change.seq, change.value.clone()));
            self.last_seq = change.seq;
            self.now_s = change.value.received.as_second();
        }
        if block.count() > 0 {
            self.put_block(batch, first_seq, &mut block, &mut added)?;
        }
        Ok(added)
    }

    fn put_block(
        &mut self,
        batch: &mut Batch,
        first_seq: u64,
        block: &mut BlockWriter,
        added: &mut Added,
    ) -> Result<(), Trouble> {
        let changes = block.count();
        self.behind.0 += changes;
        let body = block.take();
        self.behind.1 += body.len() as u64;
        self.newest_block = Some(first_seq);
        self.journal.push(first_seq, changes);
        added.first_seq = added.first_seq.or(Some(first_seq));
        added.blocks += 1;
        added.bytes += body.len();
        put(batch, &block_key(first_seq), body)?;
        Ok(())
    }

    /// The store's number of a tag, given on its first change.
    fn number(&mut self, change: &Change) -> Result<u32, Trouble> {
        let at = change.tag.0 as usize;
        if let Some(number) = self.numbers[at] {
            return Ok(number);
        }
        let at = self.twins.get(&at).copied().unwrap_or(at);
        if let Some(number) = self.numbers[at] {
            return Ok(number);
        }
        let number = u32::try_from(self.names.len())
            .map_err(|_| Trouble::Refused("too many tag names".to_owned()))?;
        self.names.push(Arc::clone(&self.tags[at]));
        self.numbers[at] = Some(number);
        Ok(number)
    }

    /// Stages the names beyond those that are known, and answers with them.
    fn stage_names(&self, batch: &mut Batch, known: usize) -> Result<Vec<Arc<str>>, Trouble> {
        let names = &self.names[known..];
        let (mut list, mut first) = (Vec::new(), known as u32);
        for (number, name) in (first..).zip(names) {
            if !list.is_empty() && list.len() + name.len() > BLOCK_BYTES {
                put(batch, &name_key(first), std::mem::take(&mut list))?;
                first = number;
            }
            put_name(&mut list, name);
        }
        if !list.is_empty() {
            put(batch, &name_key(first), list)?;
        }
        Ok(names.to_vec())
    }

    fn stage_sessions<'a>(
        &mut self,
        batch: &mut Batch,
        records: impl Iterator<Item = &'a SessionRecord>,
    ) -> Result<(), Trouble> {
        // In order: what a commit puts and then deletes with its session is not there.
        let mut staged: BTreeMap<Vec<u8>, Option<&[u8]>> = BTreeMap::new();
        for record in records {
            if !record.key.is_empty() || record.value.is_some() {
                let key = session_key(&record.line, &record.key);
                staged.insert(key, record.value.as_deref());
                continue;
            }
            let prefix = session_prefix(&record.line);
            for (_, value) in staged.iter_mut().filter(|(key, _)| key.starts_with(&prefix)) {
                *value = None;
            }
            let stored = self.session_parts.range(prefix.clone()..);
            let stored = stored.take_while(|(key, _)| key.starts_with(&prefix));
            staged.extend(stored.map(|(key, _)| (key.clone(), None)));
        }
        for (key, value) in staged {
            debug_assert_eq!(key.first(), Some(&SESSION));
            let before = self.session_parts.remove(&key).unwrap_or(0);
            let parts = match value {
                Some(value) => put(batch, &key, value.to_vec())?,
                None => 0,
            };
            remove(batch, &key, parts..before);
            if parts > 0 {
                self.session_parts.insert(key, parts);
            }
        }
        Ok(())
    }

    fn stage_checkpoint(
        &mut self,
        engine: &Engine,
        batch: &mut Batch,
        changes: usize,
        change_bytes: usize,
    ) -> Result<(), Trouble> {
        let Limits { window_changes, window_bytes, portion_values, .. } = self.limits;
        let due = self.behind.0 >= window_changes || self.behind.1 >= window_bytes;
        if self.round.is_none() && due {
            let mut values: Vec<_> = std::mem::take(&mut self.dirty).into_iter().collect();
            values.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
            self.round = Some(Round { target_seq: self.last_seq, values });
            self.behind = (0, 0);
        }
        let Some(mut round) = self.round.take() else { return Ok(()) };
        let most = portion_values.max(changes);
        let most_bytes = PORTION_BYTES.max(change_bytes);
        let (mut written, mut bytes) = (0, 0);
        while let Some(&(number, _)) = round.values.last()
            && written < most
            && bytes < most_bytes
        {
            let before = round.values.len();
            bytes += self.stage_page(engine, batch, page_key(number), &mut round.values)?;
            written += before - round.values.len();
        }
        if round.values.is_empty() {
            self.checkpoint_seq = round.target_seq;
            put(batch, CHECKPOINT_KEY, round.target_seq.to_be_bytes().to_vec())?;
        } else {
            self.round = Some(round);
        }
        Ok(())
    }

    /// Stages the values of one page, and those of its tags that are too large for it; the answer is
    /// how many bytes that takes.
    fn stage_page(
        &mut self,
        engine: &Engine,
        batch: &mut Batch,
        key: [u8; 5],
        values: &mut Vec<(u32, Numbered)>,
    ) -> Result<usize, Trouble> {
        let stored = read_record(engine, &key)?;
        let (mut page, parts_before) = match &stored {
            Some(record) => (read_value_page(&record.body)?, record.parts),
            None => (ValuePage::new(), 0),
        };
        let mut bytes = 0;
        while let Some((number, (seq, value))) =
            values.pop_if(|(number, _)| page_key(*number) == key)
        {
            let large_before = self.large.remove(&number).unwrap_or(0);
            let mut large_parts = 0;
            if value_bytes(&value) > LARGE_BYTES {
                let body = value_record(seq, &value);
                bytes += body.len();
                large_parts = put(batch, &large_key(number), body)?;
                self.large.insert(number, large_parts);
                page.remove(&place(number));
            } else {
                page.insert(place(number), (seq, value));
            }
            remove(batch, &large_key(number), large_parts..large_before);
        }
        let body = value_page(&page);
        bytes += body.len();
        let parts = put(batch, &key, body)?;
        remove(batch, &key, parts..parts_before);
        Ok(bytes)
    }

    /// Removes a few of the oldest blocks, never the newest one: it says how far the numbers are.
    /// The answer is the oldest change that the journal shows: it may lie within a block.
    fn stage_trim(
        &mut self,
        engine: &Engine,
        batch: &mut Batch,
        added: &Added,
    ) -> Result<u64, Trouble> {
        let keep_from = self.journal.first_of_last(self.limits.entries_max, self.last_seq);
        let age_max_s = i64::try_from(self.limits.age_max.as_secs()).unwrap_or(i64::MAX);
        let oldest_s = self.now_s.saturating_sub(age_max_s);
        let keep_block = added.first_seq.or(self.newest_block).unwrap_or(self.last_seq + 1);
        let checkpoint_seq = self.checkpoint_seq;
        let (oldest_seq, removed_before) = engine.read(|tree| {
            let mut oldest_seq = keep_block;
            let mut removed = 0;
            let mut removed_before = 0;
            for record in Records::new(tree.scan_prefix([BLOCK])) {
                let record = record?;
                let first = read_block_key(&record.key)?;
                let block = BlockReader::new(&record.body)?;
                let last = first + (block.changes() - 1);
                let old = last < keep_from || block.newest_s() < oldest_s;
                let parts = usize::from(record.parts);
                if !old || first >= keep_block {
                    oldest_seq = first;
                    break;
                }
                let portion = removed == 0 || removed + parts <= TRIM_PARTS + 2 * added.blocks;
                if last > checkpoint_seq || !portion {
                    // It stays on the disk for a while, but is shown no longer.
                    oldest_seq = last + 1;
                    break;
                }
                remove(batch, &record.key, 0..record.parts);
                removed += parts;
                removed_before = last + 1;
            }
            Ok((oldest_seq.max(keep_from), removed_before))
        })?;
        self.journal.cut_before(removed_before);
        Ok(oldest_seq)
    }
}

/// One whole record, if there is one.
fn read_record(engine: &Engine, key: &[u8]) -> Result<Option<Record>, Trouble> {
    engine.read(|tree| {
        Records::new(tree.range(part_key(key, 0)..=part_key(key, u16::MAX))).next().transpose()
    })
}

/// About how many bytes a value takes.
fn value_bytes(value: &TagValue) -> usize {
    match &value.value {
        Some(Value::Text(text)) => text.len() + 64,
        _ => 64,
    }
}

/// Bytes of changes after which a block is closed.
const BLOCK_BYTES: usize = PART_BYTES_MAX - 64;

/// See [`Limits::window_changes`]; twice the number of tags if that is more.
const WINDOW_CHANGES: u64 = 1 << 18;

/// See [`Limits::window_bytes`].
const WINDOW_BYTES: u64 = 8 << 20;

/// Values larger than this are not kept in pages.
const LARGE_BYTES: usize = 1024;

/// See [`Limits::portion_values`].
const PORTION_VALUES: usize = 64;

/// Bytes after which a checkpoint's portion ends.
const PORTION_BYTES: usize = 256 * 1024;

/// Parts of journal blocks that a commit may remove, beyond twice those it adds.
const TRIM_PARTS: usize = 128;
