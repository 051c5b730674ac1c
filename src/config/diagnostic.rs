//! One mistake in one file, and where it is.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// A mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as the user would name it.
    pub file: PathBuf,
    /// Line, from 1; 0 when the mistake is the file itself.
    pub line: usize,
    /// Column in characters, from 1; 0 when the mistake is the file itself.
    pub column: usize,
    /// Bytes of the file that are wrong; empty when the mistake is the file itself.
    pub span: Range<usize>,
    /// What is wrong and what was expected: lower case, no final period.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": error: {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, " (hint: {help})")?;
        }
        Ok(())
    }
}
