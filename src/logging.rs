//! Log lines to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable that overrides the configured filter.
pub const LOG_VARIABLE: &str = "TAGLINE_LOG";

/// Starts logging. The command line's filter wins over the environment's, that over the file's.
pub fn start(command_line: Option<&str>, configured: &str) -> Result<(), String> {
    let environment = std::env::var(LOG_VARIABLE).ok().filter(|filter| !filter.is_empty());
    let (source, filter) = match (command_line, &environment) {
        (Some(filter), _) => ("--log", filter),
        (None, Some(filter)) => (LOG_VARIABLE, filter.as_str()),
        (None, None) => ("`log` in [process]", configured),
    };
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| format!("{source}: `{filter}` is no log filter: {error}"))?;
    // A second subscriber in one process is a test's doing and changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        // A log that cannot be written, on the disk that is full, must not stop who wanted to log.
        .log_internal_errors(false)
        .try_init();
    Ok(())
}
