//! When a working connection must be made again: before its token ends, and after its certificate
//! files were renewed.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::LineTask;
use super::link::Link;
use super::path::Path;
use crate::clock;
use crate::mqtt::Command;
use crate::transport::{FilesState, TlsFiles, TlsStatus};

/// How often the certificate files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long renewed files must lie still: certificate and key are rarely written in one stroke.
const SETTLE: Duration = Duration::from_secs(2);

/// How long a planned reconnect waits for the outcomes of publications on their way.
const RENEW_PATIENCE: Duration = Duration::from_secs(5);

/// How long a planned reconnect may take before the tags are told that the line is down.
const RENEW_TIMEOUT: Duration = Duration::from_secs(10);

/// From when on a certificate that ends is worth a warning at every connect.
const EXPIRY_WARNING_DAYS: i64 = 14;

/// Ends, with the reason, when the connection is to be made again.
pub(super) type Renewal = Pin<Box<dyn Future<Output = String> + Send>>;

/// What makes a connection end of age.
pub(super) struct Watched {
    pub(super) line: String,
    /// The files that it was made with.
    pub(super) files: Option<TlsFiles>,
    /// When the token is to be replaced.
    pub(super) token: Option<Instant>,
}

impl Watched {
    /// `None` if the connection may last for ever.
    pub(super) fn start(self) -> Option<Renewal> {
        if self.files.is_none() && self.token.is_none() {
            return None;
        }
        Some(Box::pin(self.wait(LOOK_EVERY, SETTLE)))
    }

    async fn wait(self, look_every: Duration, settle: Duration) -> String {
        let Self { line, files, token } = self;
        let token = async {
            match token {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = token => "the token ends soon".to_owned(),
            why = renewed(&line, files, look_every, settle) => why,
        }
    }
}

async fn renewed(
    line: &str,
    files: Option<TlsFiles>,
    look_every: Duration,
    settle: Duration,
) -> String {
    let Some(files) = files else { return std::future::pending().await };
    let mut told = None;
    let mut pause = look_every;
    let mut seen = false;
    loop {
        tokio::time::sleep(pause).await;
        pause = look_every;
        let looked = files.clone();
        // The files may lie on a network drive that hangs.
        let state = tokio::task::spawn_blocking(move || looked.changed()).await;
        match state.unwrap_or(FilesState::Same) {
            FilesState::Same => {
                seen = false;
                told = None;
            }
            FilesState::Renewed(path) if seen => {
                return format!("{} was renewed", path.display());
            }
            FilesState::Renewed(_) => {
                seen = true;
                pause = settle;
            }
            FilesState::Unusable(why) => {
                seen = false;
                if told.as_ref() != Some(&why) {
                    tracing::warn!(
                        line,
                        "certificate files were changed, but cannot be used; the connection stays \
                         as it is: {why}"
                    );
                    told = Some(why);
                }
            }
        }
    }
}

/// Waits for the end of a renewal, if there is one. Cancel-safe.
pub(super) async fn due(renewal: &mut Option<Renewal>) -> String {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}

/// A planned reconnect.
pub(super) enum Renew {
    /// None.
    No,
    /// As soon as no publication is on its way and all that came is on disk, or in due time.
    Wanted(String, Instant),
    /// DISCONNECT was given to the transport.
    Leaving,
    /// What there was of a connection is given up, to begin anew.
    Resetting,
    /// The way back; if it takes too long the line is down like any other.
    Returning(Instant),
}

impl Renew {
    /// To be done soon.
    pub(super) fn wanted(why: String, now: Instant) -> Self {
        Self::Wanted(why, now + RENEW_PATIENCE)
    }
}

/// What became of the next step of a planned reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// None was due.
    None,
    /// Done.
    Done,
    /// The tags were spared the planned interruption; it has become one that they must show.
    Failed,
}

impl LineTask {
    /// The next steps of planned reconnects, if they are due.
    pub(super) fn renew(&mut self, now: Instant) -> bool {
        let idle = self.publishing.is_empty() && self.settlement.is_settled();
        let mut done = false;
        for index in 0..self.paths.len() {
            match self.paths[index].renew(now, idle) {
                Step::None => continue,
                Step::Done => {}
                Step::Failed => self.path_lost(),
            }
            done = true;
        }
        done
    }
}

impl Path {
    /// The next step of a planned reconnect, if it is due. `idle`: no publication is on its way, and
    /// all that came is on disk.
    fn renew(&mut self, now: Instant, idle: bool) -> Step {
        match &self.renew {
            Renew::Wanted(why, until) => {
                if !self.is_up() && self.is_outdated() {
                    self.reset(now);
                } else if !self.is_up() {
                    // It has come about by itself.
                    self.renew = Renew::No;
                } else if idle || *until <= now {
                    tracing::info!(line = %self.config.name, "connecting again as planned: {why}");
                    self.renew = Renew::Leaving;
                    self.command(now, Command::Disconnect);
                } else {
                    return Step::None;
                }
            }
            Renew::Leaving if matches!(self.link, Link::Closed) => {
                self.renew = Renew::Returning(now + RENEW_TIMEOUT);
                self.connect(now);
            }
            Renew::Resetting if self.is_closed() => {
                self.renew = Renew::No;
                self.connect(now);
            }
            Renew::Returning(until) if *until <= now => {
                self.renew = Renew::No;
                return Step::Failed;
            }
            Renew::No | Renew::Leaving | Renew::Resetting | Renew::Returning(_) => {
                return Step::None;
            }
        }
        Step::Done
    }

    /// Says it at every connect, early enough to be heard.
    pub(super) fn warn_of_expiry(&self, tls: Option<&TlsStatus>) {
        let Some(tls) = tls else { return };
        for (whose, end) in [("server", tls.server_expires), ("client", tls.client_expires)] {
            let Some(end) = end else { continue };
            let days = end.duration_since(clock::wall()).as_hours().div_euclid(24);
            if days < EXPIRY_WARNING_DAYS {
                let when = if days < 0 { "has ended" } else { "ends soon" };
                tracing::warn!(
                    line = %self.config.name, %end, days,
                    "the certificate of the {whose} {when}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
