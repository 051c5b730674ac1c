//! Configuration files that a command writes: all or none, and nobody's work is overwritten.

use std::path::{Path, PathBuf};

use super::exit::Failure;
use crate::config;

/// Files by their place in a folder.
pub(super) type Files = Vec<(PathBuf, String)>;

/// A folder of our own that goes with the value.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Result<Self, Failure> {
        let name = format!("tagline-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::Failed(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Checks that files, with `more` beside them, are a configuration.
pub(super) fn check(files: &Files, more: &[(&str, &str)]) -> Result<(), Failure> {
    let scratch = Scratch::new()?;
    for (path, text) in files {
        write(&scratch.path().join(path), text)?;
    }
    for (path, text) in more {
        write(&scratch.path().join(path), text)?;
    }
    config::load(scratch.path()).map(drop).map_err(|diagnostics| {
        let folder = format!("{}/", scratch.path().display());
        let all: Vec<String> =
            diagnostics.iter().map(|it| it.to_string().replace(&folder, "")).collect();
        Failure::Failed(format!("the result is no configuration:\n{}", all.join("\n")))
    })
}

/// Writes them to a folder; `force` overwrites.
pub(super) fn write_all(out: &Path, files: &Files, force: bool) -> Result<(), Failure> {
    if !force {
        let there: Vec<String> = files
            .iter()
            .map(|(path, _)| out.join(path))
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect();
        if !there.is_empty() {
            return Err(Failure::Failed(format!(
                "{} there already\nhint: choose another `--out`, or overwrite with `--force`",
                match &there[..] {
                    [one] => format!("{one} is"),
                    several => format!("{} are", several.join(", ")),
                }
            )));
        }
    }
    files.iter().try_for_each(|(path, text)| write(&out.join(path), text))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
