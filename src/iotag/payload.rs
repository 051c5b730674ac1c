//! Payloads: from bytes to the data that stand at the addresses of a station's tags.

pub(super) mod json;

use std::borrow::Cow;

/// What stands at a place in a message, before it is converted to the type of a tag.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum<'a> {
    /// JSON `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number as it is written.
    Number(Cow<'a, str>),
    /// A text.
    Text(Cow<'a, str>),
    /// A JSON object or array, as it is written.
    Compound(&'a str),
}
