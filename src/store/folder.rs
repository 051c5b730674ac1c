//! What lies in the store's folder beside sled: the lock, the schema, the ceiling of the sequence.
//!
//! ```text
//! lock       held while a process has the store; its process id
//! schema     version, read before sled touches anything
//! sequence   no change has a number above this
//! sled/      the store; sled.quarantine-N: one that could not be read
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::engine::sync_folder;
use super::schema::SCHEMA;

/// The folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    ceiling: u64,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and locks it; a folder that is in use or of a newer version is
    /// left as it is.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.is_dir() {
            std::fs::create_dir_all(path).map_err(|error| io(path, &error))?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_folder(parent).map_err(|error| io(parent, &error))?;
            }
        }
        let lock = lock(path)?;
        let mut folder = Self { path: path.to_path_buf(), ceiling: 0, _lock: lock };
        folder.check_schema()?;
        folder.ceiling = folder.read_ceiling()?;
        Ok(folder)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where sled lives.
    pub(super) fn sled(&self) -> PathBuf {
        self.path.join("sled")
    }

    /// No change has a number above this.
    pub(super) fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Raises the ceiling, with room above, so that numbers up to this one may be used.
    pub(super) fn allow(&mut self, last_seq: u64) -> Result<(), StoreError> {
        if last_seq > self.ceiling {
            let ceiling = last_seq.saturating_add(CEILING_STEP);
            self.write("sequence", format!("{ceiling}\n").as_bytes())?;
            self.ceiling = ceiling;
        }
        Ok(())
    }

    /// Whether sled has been given its schema.
    pub(super) fn is_marked(&self) -> bool {
        self.path.join("schema").exists()
    }

    /// Writes down what version this is; to be called when sled holds it.
    pub(super) fn mark_schema(&self) -> Result<(), StoreError> {
        if self.is_marked() {
            return Ok(());
        }
        self.write("schema", format!("{SCHEMA}\n").as_bytes())
    }

    /// Whether there is room to go on: sled writes whole segments, and a snapshot when it opens.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let path = self.path.join("room");
        let written = File::create(&path).and_then(|mut file| {
            (0..PROBE_BLOCKS).try_for_each(|_| file.write_all(&[0x5a; 64 * 1024]))?;
            file.sync_all()
        });
        let _ = std::fs::remove_file(&path);
        written.map_err(|error| io(&self.path, &error))
    }

    /// Moves an unreadable sled aside; the answer is where to.
    pub(super) fn quarantine(&self) -> Result<PathBuf, StoreError> {
        let sled = self.sled();
        let free = (1_u32..)
            .map(|number| self.path.join(format!("sled.quarantine-{number}")))
            .find(|path| path.symlink_metadata().is_err())
            .unwrap_or_else(|| self.path.join("sled.quarantine"));
        std::fs::rename(&sled, &free).map_err(|error| io(&sled, &error))?;
        sync_folder(&self.path).map_err(|error| io(&self.path, &error))?;
        Ok(free)
    }

    fn check_schema(&self) -> Result<(), StoreError> {
        match self.read_number("schema")? {
            Some(version) if version > u64::from(SCHEMA) => Err(StoreError::Newer(
                self.path.clone(),
                u32::try_from(version).unwrap_or(u32::MAX),
            )),
            _ => Ok(()),
        }
    }

    fn read_ceiling(&self) -> Result<u64, StoreError> {
        Ok(self.read_number("sequence")?.unwrap_or(0))
    }

    /// A number alone in a file; none if the file is not there or holds something else, which
    /// sled's own records then make good.
    fn read_number(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => {
                Ok(std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(&path, &error)),
        }
    }

    /// Replaces a small file so that it is the old or the new one after a power cut.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, draft) = (self.path.join(name), self.path.join(format!("{name}.draft")));
        let written = File::create(&draft)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&draft, &path))
            .and_then(|()| sync_folder(&self.path));
        written.map_err(|error| io(&path, &error))
    }
}

/// An error of the system, with the path.
pub(super) fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io { path: path.to_path_buf(), cause: error.to_string() }
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| io(&path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(20).read_to_string(&mut holder);
            return Err(StoreError::InUse(folder.to_path_buf(), holder.trim().parse().ok()));
        }
        Err(TryLockError::Error(error)) => return Err(io(&path, &error)),
    }
    // The number is a courtesy to whoever comes second; a full disk shows soon enough.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Blocks of 64 KiB that there must be room for: two of sled's segments.
const PROBE_BLOCKS: usize = 64;

/// How far ahead the ceiling is written.
const CEILING_STEP: u64 = 1 << 24;
