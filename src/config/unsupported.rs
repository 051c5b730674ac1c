//! What the contract has and this version does not: refused, never ignored.
//!
//! This file is the whole list. Whoever builds one of these deletes its row here, adds the key to
//! [`super::keys`], and moves its line in `docs/configuration.md`.

use toml::de::DeValue;

use super::keys::SectionKind;

/// A key that does not work yet.
pub(super) struct Row {
    pub(super) section: SectionKind,
    pub(super) key: &'static str,
    /// The value that asks for nothing, and is therefore accepted.
    pub(super) neutral: Neutral,
}

/// A value that asks for nothing.
#[derive(Clone, Copy)]
pub(super) enum Neutral {
    /// There is none: writing the key asks for something.
    Nothing,
}

const fn row(section: SectionKind, key: &'static str, neutral: Neutral) -> Row {
    Row { section, key, neutral }
}

/// Keys.
pub(super) const ROWS: &[Row] = &[row(SectionKind::Top, "http", Neutral::Nothing)];

/// The row of a key, if it does not work yet.
pub(super) fn find(section: SectionKind, key: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.section == section && row.key == key)
}

impl Neutral {
    /// Whether a value asks for nothing.
    pub(super) fn accepts(self, _: &DeValue<'_>) -> bool {
        match self {
            Self::Nothing => false,
        }
    }

    /// What to write instead.
    pub(super) fn advice(self) -> String {
        match self {
            Self::Nothing => "leave it out".to_owned(),
        }
    }
}
