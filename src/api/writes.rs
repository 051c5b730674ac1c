//! `tag.write`, `write.status`, and the notification that a queued write has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, watch};

use super::connection::Outgoing;
use super::protocol::{self, RpcError, WriteParam, WriteStatusParams};
use crate::hub::writes::{Finished, Finishes, StartedWrites, WriteError, WriteRequest};
use crate::hub::{Hub, WriteOutcome};

/// Longest wait for the outcome of a write, in seconds.
const WRITE_TIMEOUT_S_MAX: f64 = 86_400.0;

/// How long outcomes are waited for when the process stops; less than clients may wait for their answers.
const OUTCOME_TIMEOUT_AT_STOP: Duration = Duration::from_millis(2500);

/// Numbers in one `write.status`.
const STATUSES_MAX: usize = 65_536;

/// `timeout_s` as a duration.
pub(super) fn timeout(timeout_s: f64) -> Result<Duration, RpcError> {
    if !(0.0..=WRITE_TIMEOUT_S_MAX).contains(&timeout_s) {
        let why = format!("`timeout_s` is not between 0 and {WRITE_TIMEOUT_S_MAX}");
        return Err(RpcError::new(RpcError::INVALID_PARAMS, why));
    }
    Ok(Duration::from_secs_f64(timeout_s))
}

/// `tag.write`, begun: a request that comes later writes later.
pub(super) fn start(
    hub: &Hub,
    writes: Vec<WriteParam>,
    timeout: Duration,
    finishes: &Finishes,
) -> StartedWrites {
    let requests = writes
        .into_iter()
        .map(|write| WriteRequest { name: write.name, value: write.value })
        .collect();
    hub.start_writes(requests, timeout, finishes)
}

/// `tag.write`, answered; with the numbers of those whose end is still to come. When the process stops, a server
/// that does not answer is not waited for long.
pub(super) async fn outcomes(
    started: StartedWrites,
    mut stop: watch::Receiver<bool>,
) -> (Json, Vec<u64>) {
    let given_up = async move {
        let _ = stop.wait_for(|&stop| stop).await;
        tokio::time::sleep(OUTCOME_TIMEOUT_AT_STOP).await;
    };
    let (results, queued) = started.outcomes(given_up).await;
    let results: Vec<Json> = results
        .into_iter()
        .map(|result| {
            let (outcome, error) = words(&result.outcome);
            let mut shown = json!({
                "name": result.name,
                "outcome": outcome,
                "error": error,
                "elapsed_ms": u64::try_from(result.elapsed.as_millis()).unwrap_or(u64::MAX),
            });
            if let WriteOutcome::Queued(write) = result.outcome {
                shown["write"] = json!(write);
            }
            shown
        })
        .collect();
    (json!({ "results": results }), queued)
}

/// Tells the client how its queued writes end, in the order in which they do, each after the answer that
/// names its number: that was `announced`.
pub(super) async fn follow(
    mut announced: mpsc::UnboundedReceiver<u64>,
    mut finishes: mpsc::UnboundedReceiver<Finished>,
    outgoing: Outgoing,
) {
    let (mut known, mut early) = (BTreeSet::new(), BTreeMap::new());
    loop {
        let finished = tokio::select! {
            Some(first) = announced.recv() => match early.remove(&first) {
                Some(finished) => finished,
                None => {
                    known.insert(first);
                    continue;
                }
            },
            Some(finished) = finishes.recv() => {
                if !known.remove(&finished.first) {
                    early.insert(finished.first, finished);
                    continue;
                }
                finished
            }
            else => return,
        };
        let (outcome, error) = words(&finished.outcome);
        for (write, name) in (finished.first..).zip(&finished.names) {
            let params =
                json!({ "write": write, "name": &**name, "outcome": outcome, "error": error });
            if outgoing.send(protocol::notification("write.finished", params)).await.is_err() {
                return;
            }
        }
    }
}

/// `write.status`.
pub(super) fn status(hub: &Hub, params: &WriteStatusParams) -> Result<Json, RpcError> {
    if params.writes.len() > STATUSES_MAX {
        let why = format!("more than {STATUSES_MAX} numbers");
        return Err(RpcError::new(RpcError::INVALID_PARAMS, why));
    }
    let show = |&write: &u64| match hub.write_status(write) {
        None => {
            let why = format!("no queued write has the number {write}, or it ended over a day ago");
            let error = RpcError::new(RpcError::NO_SUCH_WRITE, why);
            json!({ "write": write, "error": error })
        }
        Some(status) => {
            let (outcome, error) = match &status.end {
                None => ("queued", None),
                Some(outcome) => words(outcome),
            };
            json!({ "write": write, "name": &*status.name, "outcome": outcome, "error": error })
        }
    };
    Ok(json!({ "results": params.writes.iter().map(show).collect::<Vec<_>>() }))
}

fn words(outcome: &WriteOutcome) -> (&'static str, Option<Json>) {
    let shown = |WriteError { code, message }: &WriteError| {
        Some(json!({ "code": code, "message": message }))
    };
    match outcome {
        WriteOutcome::Completed => ("completed", None),
        WriteOutcome::Queued(_) => ("queued", None),
        WriteOutcome::Failed(error) => ("failed", shown(error)),
        WriteOutcome::Uncertain(error) => ("uncertain", shown(error)),
    }
}
