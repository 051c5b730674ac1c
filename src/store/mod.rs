//! Values, journal and MQTT sessions on disk: sled, one tree, one atomic batch at a time.
//!
//! The journal is the truth: a commit writes its changes as blocks, not value by value, and is on
//! the disk (synced, not only flushed) when [`Store::commit`] returns. Current values are
//! checkpointed behind it, in portions that go with the commits; opening a store reads the
//! checkpoint and replays what lies behind. `docs/decisions/0002-durability.md` argues it.
//!
//! | file | what it is |
//! |---|---|
//! | `codec` | PURE: bytes of changes and values |
//! | `schema` | PURE: keys of the tree |
//! | `record` | checksums, and large bodies cut into parts |
//! | `writer` | commits to batches: blocks, checkpoint, trimming, sessions |
//! | `recovery` | reading a whole store |
//! | `engine` | sled behind a fence: sync, panics, errors |
//! | `folder` | lock, schema, ceiling of the sequence, quarantine |

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::iotag::{TagId, TagValue};
use codec::BlockReader;
use engine::{Engine, Trouble, fenced, sync_folder};
use folder::Folder;
use record::{Records, part_key};
use recovery::{Contents, begin, load};
use schema::{BLOCK, block_key, read_block_key};
use writer::{Limits, Writer};

mod codec;
mod engine;
mod folder;
mod numbers;
mod record;
mod recovery;
mod schema;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod writer;

/// One change of one tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Number in the whole process, never reused, from 1.
    pub seq: u64,
    /// Which tag (of the running configuration).
    pub tag: TagId,
    /// Its value after the change.
    pub value: TagValue,
}

/// One session record put or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Name of the line.
    pub line: Arc<str>,
    /// Key within the line's session.
    pub key: Vec<u8>,
    /// New value; `None` deletes the key. An empty key with `None` deletes the line's whole session.
    pub value: Option<Vec<u8>>,
}

/// What is committed at once.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Tag changes, `seq` rising by one.
    pub changes: Vec<Change>,
    /// Session records, in order.
    pub sessions: Vec<SessionRecord>,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Folder; made if it is not there.
    pub folder: PathBuf,
    /// Most changes the journal keeps.
    pub journal_entries_max: u64,
    /// Oldest change the journal keeps.
    pub journal_age_max: Duration,
}

/// What an opened store held.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Last value of each known tag, as it was stored; same order and length as the names given.
    pub values: Vec<Option<TagValue>>,
    /// Number of the change that made each of them; 0 where there is none.
    pub seqs: Vec<u64>,
    /// Number of the last change; 0: none.
    pub last_seq: u64,
    /// Records of stored sessions: line name, key, value.
    pub sessions: Vec<(Arc<str>, Vec<u8>, Vec<u8>)>,
    /// Where an unreadable store was moved to, and why it could not be read.
    pub quarantined: Option<(PathBuf, String)>,
}

/// One session record of a line.
pub type KeyAndValue = (Vec<u8>, Vec<u8>);

/// One entry of the journal, by name: the tag may be gone from the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Number of the change.
    pub seq: u64,
    /// Name of the tag.
    pub name: Arc<str>,
    /// Its value after the change.
    pub value: TagValue,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open; its process id, if it left one.
    #[error("{path} is in use by another process{holder}", path = .0.display(), holder = process(*.1))]
    InUse(PathBuf, Option<u32>),
    /// Made by a newer version.
    #[error("{path} was written by a newer version of tagline (schema {1})", path = .0.display())]
    Newer(PathBuf, u32),
    /// Reading or writing failed.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
}

fn process(id: Option<u32>) -> String {
    id.map(|id| format!(" (process {id})")).unwrap_or_default()
}

/// An open store. One process at a time has it; `commit` is called from one thread.
pub struct Store {
    folder: PathBuf,
    limits: Limits,
    /// `None` while a commit that failed has not been recovered from.
    engine: RwLock<Option<Engine>>,
    writer: Mutex<State>,
    /// Names by the store's tag number, for readers.
    names: RwLock<Vec<Arc<str>>>,
    /// Number of the last change that is on the disk.
    durable: AtomicU64,
    /// Number of the oldest change that the journal shows; above `durable`: none.
    oldest: AtomicU64,
    /// What the disk answers to commits.
    #[cfg(test)]
    refusal: Mutex<Option<std::io::ErrorKind>>,
}

/// What only the committing thread touches.
struct State {
    folder: Folder,
    tags: Vec<Arc<str>>,
    /// `None` after a commit that failed: what reached the disk has to be read again.
    writer: Option<Writer>,
}

impl Store {
    /// Opens or makes a store. `tags` are the names of the running configuration, by `TagId`.
    ///
    /// A store that cannot be read is moved aside, never deleted, and a fresh one is begun whose
    /// numbers go on above those of the old one.
    ///
    /// # Errors
    /// [`StoreError`]: in use, of a newer version, or refused by the system; nothing was changed.
    pub fn open(
        options: &StoreOptions,
        tags: &[Arc<str>],
    ) -> Result<(Self, Recovered), StoreError> {
        let limits = Limits::new(options.journal_entries_max, options.journal_age_max, tags.len());
        Self::open_limited(&options.folder, tags, limits)
    }

    fn open_limited(
        path: &Path,
        tags: &[Arc<str>],
        limits: Limits,
    ) -> Result<(Self, Recovered), StoreError> {
        let folder = Folder::open(path)?;
        let mut quarantined = None;
        let (engine, mut contents) = match open_engine(&folder) {
            Ok(opened) => opened,
            Err(Trouble::Damaged(cause)) => {
                quarantined = Some((folder.quarantine()?, cause));
                open_engine(&folder).map_err(|trouble| failed(&folder.sled(), trouble))?
            }
            Err(trouble) => return Err(failed(&folder.sled(), trouble)),
        };
        folder.mark_schema()?;
        let oldest = oldest_shown(&contents, limits);
        let mut recovered = Recovered {
            values: Vec::new(),
            seqs: Vec::new(),
            last_seq: contents.last_seq,
            sessions: std::mem::take(&mut contents.sessions),
            quarantined,
        };
        let mut values = std::mem::take(&mut contents.values);
        let names = contents.names.clone();
        let writer = Writer::new(tags.to_vec(), contents, limits);
        for number in writer.numbers() {
            let stored = number.and_then(|number| values.get_mut(number as usize)?.take());
            recovered.seqs.push(stored.as_ref().map_or(0, |(seq, _)| *seq));
            recovered.values.push(stored.map(|(_, value)| value));
        }
        let store = Self {
            folder: path.to_path_buf(),
            limits,
            engine: RwLock::new(Some(engine)),
            writer: Mutex::new(State { folder, tags: tags.to_vec(), writer: Some(writer) }),
            names: RwLock::new(names),
            durable: AtomicU64::new(recovered.last_seq),
            oldest: AtomicU64::new(oldest),
            #[cfg(test)]
            refusal: Mutex::default(),
        };
        Ok((store, recovered))
    }

    /// Commits all of these at once and durably: after a power cut they are there, whole, or the
    /// call had not returned.
    ///
    /// After an error the same changes may come again, alone or with more behind them: the store is
    /// read again first, and what reached the disk of the failed commit is replaced.
    ///
    /// # Errors
    /// [`StoreError::Io`], also for a tag that is not configured and numbers that do not rise.
    pub fn commit(&self, commits: &[Commit]) -> Result<(), StoreError> {
        if commits.iter().all(|commit| commit.changes.is_empty() && commit.sessions.is_empty()) {
            return Ok(());
        }
        let mut state = lock(&self.writer);
        #[cfg(test)]
        if let Some(kind) = *lock(&self.refusal) {
            state.writer = None;
            return Err(failed(&self.folder, Trouble::from(std::io::Error::from(kind))));
        }
        if state.writer.is_none() {
            self.reopen(&mut state)?;
        }
        let result = self.commit_locked(&mut state, commits);
        result.map_err(|trouble| failed(&self.folder, trouble))
    }

    /// Entries after a number, in order, at most `limit` and whole blocks at most a little more.
    ///
    /// Fewer than `limit` do not mean that there are no more: long texts end the answer early, too.
    /// An empty answer does. If the first entry is not `seq + 1`, the journal no longer reaches
    /// back that far.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the store cannot be read.
    pub fn journal_after(&self, seq: u64, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        let mut entries = self
            .with_engine(|engine| engine.read(|tree| self.read_journal(tree, seq, limit)))
            .map_err(|trouble| failed(&self.folder, trouble))?;
        // Blocks may be removed while they are read, always the oldest: below `oldest` there may be
        // holes, above it there are none.
        let oldest = self.oldest.load(Ordering::Acquire);
        if entries.first().is_some_and(|entry| entry.seq < oldest) {
            entries.retain(|entry| entry.seq >= oldest);
            if entries.is_empty() {
                return self.journal_after(oldest - 1, limit);
            }
        }
        Ok(entries)
    }

    /// Number of the oldest entry that the journal still has; `None`: it is empty.
    ///
    /// Where a caller skipped numbers, it may be one of those.
    ///
    /// # Errors
    /// None today; a store that has to look on the disk may have some.
    pub fn journal_oldest(&self) -> Result<Option<u64>, StoreError> {
        let oldest = self.oldest.load(Ordering::Acquire);
        Ok((oldest <= self.durable.load(Ordering::Acquire)).then_some(oldest))
    }

    /// Tags are added to the running configuration; `tags` are all their names, by `TagId`, of which
    /// the first are those that the store has already. The answer is what it knows of those added.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the store cannot be read; then nothing was added.
    pub fn add_tags(&self, tags: &[Arc<str>]) -> Result<Vec<Option<(u64, TagValue)>>, StoreError> {
        if tags.len() == lock(&self.writer).tags.len() {
            return Ok(Vec::new());
        }
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Names of tags that are not configured are not given numbers meanwhile.
        let known: FxHashMap<&str, u32> =
            (0..).zip(&names).map(|(number, name)| (&**name, number)).collect();
        let mut state = lock(&self.writer);
        let State { tags: present, writer, .. } = &mut *state;
        let added = tags.get(present.len()..).unwrap_or_default();
        let numbers: Vec<Option<u32>> =
            added.iter().map(|name| known.get(&**name).copied()).collect();
        let unavailable = || Trouble::Io("the store is not open".to_owned());
        let stored = self.with_engine(|engine| {
            writer.as_ref().ok_or_else(unavailable)?.stored(engine, &numbers)
        });
        let stored = stored.map_err(|trouble| failed(&self.folder, trouble))?;
        present.extend(added.iter().cloned());
        if let Some(writer) = writer {
            writer.add_tags(added, &numbers);
        }
        Ok(stored)
    }

    /// The records of a line's session as they are on the disk, for a line that is not at work.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the store cannot be read.
    pub fn session(&self, line: &str) -> Result<Vec<KeyAndValue>, StoreError> {
        let read = |tree: &sled::Tree| {
            let mut records = Vec::new();
            for record in Records::new(tree.scan_prefix(schema::session_prefix(line))) {
                let record = record?;
                let (owner, key) = schema::read_session_key(&record.key)?;
                if owner == line {
                    records.push((key, record.body));
                }
            }
            Ok(records)
        };
        self.with_engine(|engine| engine.read(read))
            .map_err(|trouble| failed(&self.folder, trouble))
    }

    /// From here on, no commit reaches the disk; `None`: they do.
    #[cfg(test)]
    pub(crate) fn refuse(&self, kind: Option<std::io::ErrorKind>) {
        *lock(&self.refusal) = kind;
    }

    /// The folder it lives in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn commit_locked(&self, state: &mut State, commits: &[Commit]) -> Result<(), Trouble> {
        let Some(writer) = &mut state.writer else {
            return Err(Trouble::Io("the store is not open".to_owned()));
        };
        writer.check(commits)?;
        let last = commits.iter().flat_map(|commit| &commit.changes).last();
        state
            .folder
            .allow(last.map_or(0, |change| change.seq))
            .map_err(|error| Trouble::Io(error.to_string()))?;
        let done = self.with_engine(|engine| {
            let staged = writer.stage(engine, commits)?;
            // Readers see names before numbers, and no entry that a removal has reached.
            write(&self.names).extend(staged.names);
            self.oldest.fetch_max(staged.oldest_seq, Ordering::AcqRel);
            engine.commit(staged.batch)?;
            self.durable.store(staged.last_seq, Ordering::Release);
            Ok(())
        });
        if done.is_err() {
            state.writer = None;
        }
        done
    }

    /// Closes sled after an error and reads the store again.
    fn reopen(&self, state: &mut State) -> Result<(), StoreError> {
        // While the disk is full, the journal stays readable.
        state.folder.probe()?;
        let mut slot = write(&self.engine);
        // Dropping sled flushes, which may fail again.
        let closed = slot.take();
        let _ = fenced(|| {
            drop(closed);
            Ok(())
        });
        let (engine, contents) =
            open_engine(&state.folder).map_err(|trouble| failed(&self.folder, trouble))?;
        *slot = Some(engine);
        drop(slot);
        *write(&self.names) = contents.names.clone();
        self.durable.store(contents.last_seq, Ordering::Release);
        self.oldest.store(oldest_shown(&contents, self.limits), Ordering::Release);
        let mut writer = Writer::new(state.tags.clone(), contents, self.limits);
        writer.find_twins();
        state.writer = Some(writer);
        Ok(())
    }

    fn with_engine<T>(
        &self,
        run: impl FnOnce(&Engine) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        run(engine.as_ref().ok_or_else(|| Trouble::Io("the store is not open".to_owned()))?)
    }

    fn read_journal(
        &self,
        tree: &sled::Tree,
        seq: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, Trouble> {
        let mut entries = Vec::new();
        let durable = self.durable.load(Ordering::Acquire);
        let Some(wanted) = seq.checked_add(1).filter(|wanted| *wanted <= durable) else {
            return Ok(entries);
        };
        // The block that begins at or before the entry wanted, or else the first one behind it.
        let start = tree
            .get_lt(block_key(wanted.saturating_add(1)))?
            .and_then(|(key, _)| read_block_key(&key).ok().filter(|_| key.starts_with(&[BLOCK])))
            .unwrap_or(0);
        let mut bytes = 0;
        for record in Records::new(tree.range(part_key(&block_key(start), 0)..vec![BLOCK + 1])) {
            let record = record?;
            let first = read_block_key(&record.key)?;
            if first > durable || entries.len() >= limit || bytes >= READ_BYTES_MAX {
                break;
            }
            let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
            for (seq, change) in (first..=durable).zip(BlockReader::new(&record.body)?) {
                let (number, value) = change?;
                if seq < wanted {
                    continue;
                }
                let name = names.get(number as usize);
                let name =
                    Arc::clone(name.ok_or_else(|| Trouble::damaged("an entry without name"))?);
                entries.push(JournalEntry { seq, name, value });
            }
            bytes += record.body.len();
        }
        Ok(entries)
    }
}

/// Opens sled and reads it all.
fn open_engine(folder: &Folder) -> Result<(Engine, Contents), Trouble> {
    let sled = folder.sled();
    let fresh = !sled.exists();
    let engine = Engine::open(&sled)?;
    if fresh {
        sync_folder(folder.path())?;
    }
    // sled takes a file in which it recognises nothing for a fresh one.
    if engine.read(|tree| Ok(tree.is_empty()))? {
        if !fresh && folder.is_marked() {
            return Err(Trouble::damaged("sled finds nothing in its file"));
        }
        begin(&engine, folder.ceiling())?;
    }
    let contents = load(&engine)?;
    Ok((engine, contents))
}

fn oldest_shown(contents: &Contents, limits: Limits) -> u64 {
    let keep_from = contents.journal.first_of_last(limits.entries_max, contents.last_seq);
    contents.oldest_block.unwrap_or(contents.last_seq + 1).max(keep_from)
}

fn failed(path: &Path, trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Newer(schema) => StoreError::Newer(path.to_path_buf(), schema),
        trouble => StoreError::Io { path: path.to_path_buf(), cause: trouble.into_cause() },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of blocks after which an answer of [`Store::journal_after`] ends.
const READ_BYTES_MAX: usize = 4 << 20;
