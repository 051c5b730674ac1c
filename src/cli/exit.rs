//! Exit codes and the last words of a command.

use std::process::ExitCode;

use crate::api::client::ClientError;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed, or something asked for is missing: 1. The text is empty when all is said.
    Failed(String),
    /// Wrong usage or configuration: 2. The text is empty when all is said.
    Configuration(String),
    /// The process cannot be reached: 3.
    Unreachable(String),
    /// Who read our output has gone, as `head` does: no failure.
    OutputClosed,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. } => Self::Unreachable(error.to_string()),
            ClientError::Closed(_) | ClientError::Refused { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// 0 done, 1 failed or missing, 2 usage or configuration, 3 unreachable.
#[expect(clippy::print_stderr, reason = "the last words of a command")]
pub(super) fn code(done: Result<(), Failure>) -> ExitCode {
    let (code, text) = match done {
        Ok(()) | Err(Failure::OutputClosed) => return ExitCode::SUCCESS,
        Err(Failure::Failed(text)) => (1, text),
        Err(Failure::Configuration(text)) => (2, text),
        Err(Failure::Unreachable(text)) => (
            3,
            format!(
                "{text}\nhint: start it with `tagline run`, or name its socket with `--socket`"
            ),
        ),
    };
    if !text.is_empty() {
        eprintln!("error: {text}");
    }
    ExitCode::from(code)
}
