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
    /// `None`: its end was told.
    publish: Option<Publish>,
    /// Paths that have not said how it ended.
    awaited: Vec<PathId>,
    /// The worst that a path has said.
    worst: Option<PublishOutcome>,
}

impl Publishing {
    /// The token of the publication that begins next.
    pub(super) fn next_token(&self) -> PublishToken {
        PublishToken(self.last_token + 1)
    }

    /// A publication begins on these paths.
    pub(super) fn begin(&mut self, publish: Publish, paths: &[PathId]) -> PublishToken {
        self.last_token += 1;
        let token = PublishToken(self.last_token);
        self.open
            .insert(token, Open { publish: Some(publish), awaited: paths.to_vec(), worst: None });
        token
    }

    /// A publication that has not ended.
    pub(super) fn get(&self, token: PublishToken) -> Option<&Publish> {
        self.open.get(&token)?.publish.as_ref()
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
        let is_last = open.awaited.is_empty();
        let outcome = match (outcome, open.worst.take()) {
            (PublishOutcome::Completed, _) => PublishOutcome::Completed,
            (_, Some(worst @ (PublishOutcome::Completed | PublishOutcome::Uncertain(_)))) => worst,
            (uncertain @ PublishOutcome::Uncertain(_), _) => uncertain,
            // What was not taken may be tried again.
            (unsent @ PublishOutcome::Unsent(_), _) => unsent,
            (_, Some(first)) => first,
            (failed, None) => failed,
        };
        let has_ended = is_last || outcome == PublishOutcome::Completed;
        let publish = if has_ended { open.publish.take() } else { None };
        if is_last {
            self.open.remove(&token);
        } else {
            open.worst = Some(outcome.clone());
        }
        publish.map(|publish| (publish, outcome))
    }

    /// Publications of which a path has not said how they ended.
    pub(super) fn awaited_on(&self, path: PathId) -> Vec<PublishToken> {
        let awaited = self.open.iter().filter(|(_, open)| open.awaited.contains(&path));
        awaited.map(|(token, _)| *token).collect()
    }

    /// Whether nobody waits for an outcome.
    pub(super) fn is_empty(&self) -> bool {
        self.open.values().all(|open| open.publish.is_none())
    }

    /// Gives up all, in order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Publish> + use<> {
        std::mem::take(&mut self.open).into_values().filter_map(|open| open.publish)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::iotag::StationId;
    use crate::qos::Qos;

    fn publish() -> Publish {
        Publish {
            station: StationId(0),
            number: 1,
            cyclic: false,
            topic: "t".into(),
            payload: "p".into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            content_type: None,
            deadline: crate::clock::now() + Duration::from_secs(1),
            expires: None,
            queues: false,
        }
    }

    fn failed() -> PublishOutcome {
        PublishOutcome::Failed("it did not leave".into())
    }

    fn uncertain() -> PublishOutcome {
        PublishOutcome::Uncertain("no answer".into())
    }

    /// What becomes of one publication when its paths say this, in this order; and whether nobody
    /// waits after each.
    fn whole(said: &[(PathId, PublishOutcome)]) -> (Option<PublishOutcome>, Vec<bool>) {
        let mut publishing = Publishing::default();
        let token = publishing.begin(publish(), &PathId::all());
        let mut told = Vec::new();
        let mut empty = Vec::new();
        for (path, outcome) in said {
            told.extend(publishing.ended(*path, token, outcome.clone()));
            empty.push(publishing.is_empty());
        }
        assert!(told.len() <= 1, "the end is told once");
        (told.pop().map(|(_, outcome)| outcome), empty)
    }

    #[test]
    fn one_path_that_completes_it_is_enough() {
        use PublishOutcome::Completed;
        let [one, two] = PathId::all();
        for bad in [failed(), uncertain()] {
            let (outcome, empty) = whole(&[(one, Completed), (two, bad.clone())]);
            assert_eq!((outcome, empty), (Some(Completed), vec![true, true]));
            let (outcome, empty) = whole(&[(two, bad), (one, Completed)]);
            assert_eq!((outcome, empty), (Some(Completed), vec![false, true]));
        }
        assert_eq!(whole(&[(one, Completed), (two, Completed)]).0, Some(Completed));
    }

    #[test]
    fn it_failed_only_if_it_happened_on_neither() {
        let [one, two] = PathId::all();
        assert_eq!(whole(&[(one, failed()), (two, failed())]).0, Some(failed()));
        assert_eq!(whole(&[(one, failed()), (two, uncertain())]).0, Some(uncertain()));
        assert_eq!(whole(&[(one, uncertain()), (two, failed())]).0, Some(uncertain()));
        assert_eq!(whole(&[(one, failed())]).0, None, "the other path has not said anything");
    }

    #[test]
    fn what_a_path_still_has_can_be_named_though_its_end_was_told() {
        let [one, two] = PathId::all();
        let mut publishing = Publishing::default();
        let token = publishing.begin(publish(), &PathId::all());
        assert!(publishing.ended(one, token, PublishOutcome::Completed).is_some());
        assert!(publishing.is_empty());
        assert_eq!(publishing.awaited_on(one), []);
        assert_eq!(publishing.awaited_on(two), [token]);
        assert!(publishing.ended(two, token, failed()).is_none());
        assert_eq!(publishing.awaited_on(two), []);
        assert_eq!(publishing.drain().count(), 0);
    }
}
