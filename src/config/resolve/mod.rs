//! As written to right: every check, every mistake, never stopping at the first one.
//!
//! Each part reports what is wrong to [`Problems`] and yields what it can, so that references to a
//! thing that has a mistake of its own are still good references.

pub(super) mod line;
mod mqtt5;
pub(super) mod names;
mod out_topic;
pub(super) mod outputs;
pub(super) mod process;
mod secret;
mod server;
mod settings;
pub(super) mod station;
pub(super) mod tag;
mod tls;

use super::document::Written;
use super::problems::Problems;
use super::source::Sources;

/// What every step reads and adds to.
#[derive(Default)]
pub(super) struct Work {
    pub(super) sources: Sources,
    pub(super) problems: Problems,
}

/// Longest name in bytes: names are keys of the store and words of the socket.
const NAME_BYTES_MAX: usize = 1024;

/// Reports a name that nobody could type or see.
fn check_name(what: &str, name: Written<&str>, problems: &mut Problems) {
    let text = name.value;
    let complaint = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > NAME_BYTES_MAX {
        format!("is longer than {NAME_BYTES_MAX} bytes")
    } else if text.trim() != text {
        "begins or ends with a blank".to_owned()
    } else if text.chars().any(char::is_control) {
        "contains a control character".to_owned()
    } else {
        return;
    };
    problems.wrong(name.place, format!("the name of this {what} {complaint}"));
}
