//! PURE: publications on their way, each on every path that was up when it began.
//!
//! One is completed as soon as one path has completed it. It failed if it happened on none, and
//! nobody knows if it may have happened on any.

use std::collections::BTreeMap;

use crate::hub::Publish;
use crate::hub::status::PathId;
use crate::mqtt::{PublishOutcome, PublishToken};

/// All whose end is not known yet.
#[derive(Default)]
pub(super) struct Publishing {
    last_token: u64,
    open: BTreeMap<PublishToken, Open>,
}

struct Open {
    publish: Publish,
    /// Paths that have not said how it ended.
    awaited: Vec<PathId>,
    /// The worst that a path has said.
    worst: Option<PublishOutcome>,
}

impl Publishing {
    /// A publication begins on these paths.
    pub(super) fn begin(&mut self, publish: Publish, paths: &[PathId]) -> PublishToken {
        self.last_token += 1;
        let token = PublishToken(self.last_token);
        self.open.insert(token, Open { publish, awaited: paths.to_vec(), worst: None });
        token
    }

    /// A path says how one ended there. Gives it back when that is its end as a whole; what a path
    /// says later, and of a publication that an earlier process began, is nobody's concern.
    pub(super) fn ended(
        &mut self,
        path: PathId,
        token: PublishToken,
        outcome: PublishOutcome,
    ) -> Option<(Publish, PublishOutcome)> {
        let open = self.open.get_mut(&token)?;
        open.awaited.retain(|awaited| *awaited != path);
        let outcome = match (outcome, open.worst.take()) {
            (PublishOutcome::Completed, _) => PublishOutcome::Completed,
            (_, Some(worst @ PublishOutcome::Uncertain(_))) => worst,
            (uncertain @ PublishOutcome::Uncertain(_), _) => uncertain,
            (_, Some(first)) => first,
            (failed, None) => failed,
        };
        if outcome != PublishOutcome::Completed && !open.awaited.is_empty() {
            open.worst = Some(outcome);
            return None;
        }
        self.open.remove(&token).map(|open| (open.publish, outcome))
    }

    /// Whether nobody waits for an outcome.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Gives up all, in order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Publish> + use<> {
        std::mem::take(&mut self.open).into_values().map(|open| open.publish)
    }
}
