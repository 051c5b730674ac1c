//! sled behind a fence: opened, written and synced here, its panics and errors sorted.
//!
//! `flush()` of sled 0.34 writes its log with `sync_file_range`, which neither empties the disk's
//! cache nor writes the file's extents. [`Engine::commit`] therefore syncs sled's file itself, by
//! another descriptor, before it returns. One batch at a time, each synced before the next begins:
//! sled gives a segment free for reuse when a later segment's header says that its successor is
//! stable, at least a whole segment of log later, so nothing that is needed is ever overwritten by
//! bytes whose successor is not synced.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::Db;

use super::record::{Batch, PART_BYTES_MAX};

/// What is wrong, by what can be done about it.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What is stored cannot be read; another attempt will not help.
    Damaged(String),
    /// The system refuses; it may heal.
    Io(String),
    /// The caller asked for what cannot be; nothing was done.
    Refused(String),
    /// A newer version's schema.
    Newer(u32),
}

impl Trouble {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    /// In words.
    pub(super) fn into_cause(self) -> String {
        match self {
            Self::Damaged(cause) | Self::Io(cause) | Self::Refused(cause) => cause,
            Self::Newer(schema) => format!("schema {schema} is newer"),
        }
    }
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            sled::Error::Corruption { .. } => Self::damaged("sled finds its file damaged"),
            sled::Error::Unsupported(cause) | sled::Error::ReportableBug(cause) => {
                Self::Damaged(cause)
            }
            sled::Error::CollectionNotFound(_) => Self::damaged("sled misses its tree"),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // A file that is shorter than it says, or is not there although another one names it.
            ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::NotFound => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Io(error.to_string()),
        }
    }
}

/// An open sled with a descriptor of its own for syncing.
pub(super) struct Engine {
    db: Db,
    file: File,
    blobs: PathBuf,
    #[cfg(test)]
    fault: std::sync::Mutex<Option<Fault>>,
}

/// Where the next commit fails.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    BeforeWriting,
    AfterSyncing,
}

impl Engine {
    /// Opens or makes the sled in this folder.
    pub(super) fn open(folder: &Path) -> Result<Self, Trouble> {
        let path = folder.join("db");
        wait_for_release(&path);
        fenced(|| {
            // sled's snapshot will refer to what it reads: it must not be ahead of the disk, as it
            // is after a process was killed between writing and syncing.
            if path.exists() {
                File::open(&path)?.sync_all()?;
            }
            remove_drafts(folder)?;
            let db = sled::Config::new()
                .path(folder)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES)
                .mode(sled::Mode::LowSpace)
                .flush_every_ms(None)
                .open()?;
            let file = File::open(&path)?;
            file.sync_all()?;
            File::open(folder.join("conf"))?.sync_all()?;
            sync_folder(folder)?;
            Ok(Self {
                db,
                file,
                blobs: folder.join("blobs"),
                #[cfg(test)]
                fault: std::sync::Mutex::default(),
            })
        })
    }

    /// Applies a batch, whole or not at all, and returns when it is on the disk.
    pub(super) fn commit(&self, batch: Batch) -> Result<(), Trouble> {
        fenced(|| {
            #[cfg(test)]
            let fault = self.fault.lock().unwrap().take();
            #[cfg(test)]
            if fault == Some(Fault::BeforeWriting) {
                return Err(Trouble::Io("a fault before writing".to_owned()));
            }
            let entries = batch.len();
            self.db.apply_batch(batch.into_inner())?;
            self.db.flush()?;
            collect_garbage(entries);
            self.sync_blobs()?;
            self.file.sync_data()?;
            #[cfg(test)]
            if fault == Some(Fault::AfterSyncing) {
                return Err(Trouble::Io("a fault after syncing".to_owned()));
            }
            Ok(())
        })
    }

    /// Makes the next commit fail.
    #[cfg(test)]
    pub(super) fn fail_next(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    /// Runs something that reads.
    pub(super) fn read<T>(
        &self,
        reading: impl FnOnce(&sled::Tree) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        fenced(|| reading(&self.db))
    }

    /// Parts are too small to end up here (see [`super::record`]); should sled put something into
    /// a file of its own all the same, it is synced.
    fn sync_blobs(&self) -> Result<(), Trouble> {
        let mut any = false;
        for blob in std::fs::read_dir(&self.blobs)? {
            File::open(blob?.path())?.sync_all()?;
            any = true;
        }
        if any {
            sync_folder(&self.blobs)?;
        }
        Ok(())
    }
}

/// sled locks its file, and its threads may hold it for a moment after it was dropped. Who comes here
/// has the store's own lock: no other process is waited for.
fn wait_for_release(file: &Path) {
    let Ok(file) = File::open(file) else { return };
    for _ in 0..RELEASE_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            Ok(()) | Err(TryLockError::Error(_)) => return,
        }
    }
}

/// sled leaves every page that it replaces to its epoch collector, and its free segments, too. The
/// collector moves on with the number of operations that pin it, and a batch is one: with large
/// batches it falls behind without end, in memory and on disk, unless it is turned.
fn collect_garbage(entries: usize) {
    for _ in 0..=entries / ENTRIES_A_TURN {
        crossbeam_epoch::pin().flush();
    }
}

/// A snapshot that sled could not finish (the process was killed, the disk was full) bears a name
/// that sled takes for the newest one, finds damaged, and refuses to open. It was never needed.
fn remove_drafts(folder: &Path) -> Result<(), Trouble> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Runs sled so that its panic is an error of ours.
pub(super) fn fenced<T>(inside: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(inside)).unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

fn panicked(panic: &(dyn Any + Send)) -> Trouble {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Trouble::Damaged(format!("sled panicked: {text}"))
}

/// Size of sled's segments. A change of it makes existing stores unreadable.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// Entries whose garbage one turn of the collector surely takes: it takes some five hundred pieces.
const ENTRIES_A_TURN: usize = 32;

/// How often it is looked, a millisecond apart, whether sled has let go of its file.
const RELEASE_TRIES: u32 = 5000;

/// sled's page cache.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

// The largest leaf (16 entries before the split, and those that come with it) stays a message.
const _: () = assert!(27 * PART_BYTES_MAX < SEGMENT_BYTES / 4 - 1024);
