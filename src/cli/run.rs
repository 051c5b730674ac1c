//! `tagline run`.

use tokio::signal::unix::{SignalKind, signal};

use super::args::Global;
use super::check;
use super::exit::Failure;
use crate::daemon::Daemon;
use crate::logging;

/// Runs the process until it is told to stop.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let config = check::load(global)?;
    logging::start(global.log.as_deref(), &config.process.log).map_err(Failure::Configuration)?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        // Before anything starts, so that no signal falls between.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let daemon = Daemon::start_at(config, global.socket.clone()).map_err(Failure::Failed)?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: reloading the configuration");
                    daemon.reload();
                }
            }
        }
        tracing::info!("stopping; a second signal stops at once");
        tokio::select! {
            () = daemon.stop() => Ok(()),
            _ = terminate.recv() => Err(Failure::Failed("stopped at once".into())),
            _ = interrupt.recv() => Err(Failure::Failed("stopped at once".into())),
        }
    });
    // A reload or a secret on a drive that hangs must not keep it from ending.
    runtime.shutdown_background();
    done
}

/// The runtime of everything that waits.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))
}
