//! Where the demo takes place: a folder of its own with the shipped configuration in it.
//!
//! The configuration is part of the program, so that `tagline demo` needs no checkout. The copy
//! differs from the original in the broker's port; as relative paths count from the folder of
//! `tagline.toml`, socket and data are in the folder too, and a second terminal needs its name only.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The shipped configuration: path within its folder, and text.
pub(super) const CONFIGURATION: [(&str, &str); 15] = [
    ("tagline.toml", include_str!("../../../tagline.toml")),
    ("stations/aedifion.toml", include_str!("../../../stations/aedifion.toml")),
    ("stations/akenza.toml", include_str!("../../../stations/akenza.toml")),
    ("stations/d2000.toml", include_str!("../../../stations/d2000.toml")),
    ("stations/energydata.toml", include_str!("../../../stations/energydata.toml")),
    ("stations/lorawan.toml", include_str!("../../../stations/lorawan.toml")),
    ("stations/powernaut.toml", include_str!("../../../stations/powernaut.toml")),
    ("stations/waterworks.toml", include_str!("../../../stations/waterworks.toml")),
    ("tags/aedifion.csv", include_str!("../../../tags/aedifion.csv")),
    ("tags/akenza.csv", include_str!("../../../tags/akenza.csv")),
    ("tags/d2000.csv", include_str!("../../../tags/d2000.csv")),
    ("tags/energydata.toml", include_str!("../../../tags/energydata.toml")),
    ("tags/lorawan.csv", include_str!("../../../tags/lorawan.csv")),
    ("tags/powernaut.csv", include_str!("../../../tags/powernaut.csv")),
    ("tags/waterworks.csv", include_str!("../../../tags/waterworks.csv")),
];

/// A folder that is removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// Makes a folder within `parent`, readable by this user only, and writes the shipped
    /// configuration into it, with a broker at 127.0.0.1 and this port.
    ///
    /// # Errors
    ///
    /// A sentence for the operator that names the path.
    pub(super) fn set(parent: &Path, port: u16) -> Result<Self, String> {
        let stage = Self::make(parent)?;
        for (path, text) in CONFIGURATION {
            let path = stage.folder.join(path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(|error| describe(folder, &error))?;
            }
            let text = text.replace(SHIPPED_SERVER, &format!("mqtt://127.0.0.1:{port}"));
            fs::write(&path, text).map_err(|error| describe(&path, &error))?;
        }
        Ok(stage)
    }

    /// The folder, for `--config`.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn make(parent: &Path) -> Result<Self, String> {
        let process = std::process::id();
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        for attempt in 0..ATTEMPTS_MAX {
            let folder = parent.join(format!("tagline-demo-{process}-{attempt}"));
            match builder.create(&folder) {
                Ok(()) => return Ok(Self { folder }),
                // Left by another process of the same number; it may still be in use.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(describe(&folder, &error)),
            }
        }
        Err(format!("no free folder name in `{}`", parent.display()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nobody is there to be told, and the system cleans its temporary folder anyway.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn describe(path: &Path, error: &std::io::Error) -> String {
    format!("cannot write `{}`: {error}", path.display())
}

/// What the port is put into.
const SHIPPED_SERVER: &str = "mqtt://127.0.0.1:1883";
/// Folder names tried before giving up.
const ATTEMPTS_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Everything below the folders of the repository that make up its configuration.
    fn shipped_files() -> BTreeMap<String, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = vec![root.join("tagline.toml")];
        for folder in ["stations", "tags"] {
            let entries = fs::read_dir(root.join(folder)).unwrap();
            paths.extend(entries.map(|entry| entry.unwrap().path()));
        }
        let relative = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        paths.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
    }

    #[test]
    fn the_configuration_is_complete() {
        let embedded = CONFIGURATION.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(BTreeMap::from(embedded), shipped_files());
    }

    #[test]
    fn a_stage_has_the_port_and_goes_away() {
        let parent = tempfile::tempdir().unwrap();
        let stage = Stage::set(parent.path(), 40_113).unwrap();
        let other = Stage::set(parent.path(), 40_114).unwrap();
        assert_ne!(stage.folder(), other.folder());
        let main = fs::read_to_string(stage.folder().join("tagline.toml")).unwrap();
        assert!(main.contains("\"mqtt://127.0.0.1:40113\"") && !main.contains(":1883\""));
        let mode = fs::metadata(stage.folder()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop((stage, other));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_parent_is_named() {
        let cause = Stage::set(Path::new("/nowhere/at/all"), 1).unwrap_err();
        assert!(cause.contains("/nowhere/at/all/tagline-demo-"), "{cause}");
    }
}
