use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn real(value: f64) -> Option<Value> {
    Some(Value::Real(value))
}

/// A publication that writes some tags of a document that carries others too.
fn add(
    outputs: &mut StationOutputs,
    values: &[(u32, f64)],
    carries: &[u32],
) -> (u64, oneshot::Receiver<WriteOutcome>) {
    let (reply, receiver) = oneshot::channel();
    let number = outputs.under_way.back().map_or(1, |last| last.number + 1);
    outputs.under_way.push_back(UnderWay {
        number,
        cyclic: false,
        values: values.iter().map(|(tag, value)| (TagId(*tag), real(*value))).collect(),
        carries: carries.iter().map(|tag| TagId(*tag)).collect(),
        waiters: vec![Waiter {
            reply: Some(reply),
            finishes: None,
            first: 0,
            names: vec!["tag".into()],
            failed: None,
        }],
        carried: None,
        kept: Kept::No,
        message: None,
    });
    (number, receiver)
}

/// Ends a publication; the values that tags have then.
fn end(
    outputs: &mut StationOutputs,
    number: u64,
    outcome: WriteOutcome,
) -> Vec<(u32, f64, Quality)> {
    let Ended { updates, told, .. } = outputs.end(number, &outcome, NOW).unwrap();
    outputs.under_way.retain(|one| one.number != number);
    for (waiter, outcome) in told {
        waiter.reply.unwrap().send(outcome).unwrap();
    }
    let shown = |update: TagUpdate| match update.value {
        Some(Value::Real(value)) => (update.tag.0, value, update.quality),
        _ => panic!("{update:?}"),
    };
    updates.into_iter().map(shown).collect()
}

fn failed(why: &str) -> WriteOutcome {
    WriteOutcome::Failed(WriteError::new(WriteError::PUBLICATION, why))
}

fn uncertain() -> WriteOutcome {
    WriteOutcome::Uncertain(WriteError::new(WriteError::PUBLICATION, "lost"))
}

#[test]
fn a_completed_publication_sets_its_tags_and_an_uncertain_one_doubts_them() {
    let mut outputs = StationOutputs::default();
    let (one, mut first) = add(&mut outputs, &[(1, 10.0), (2, 20.0)], &[1, 2]);
    let (two, mut second) = add(&mut outputs, &[(1, 11.0)], &[1, 2]);
    let set = end(&mut outputs, one, WriteOutcome::Completed);
    assert_eq!(set, [(1, 10.0, Quality::Good), (2, 20.0, Quality::Good)]);
    assert_eq!(first.try_recv(), Ok(WriteOutcome::Completed));
    assert_eq!(end(&mut outputs, two, uncertain()), [(1, 11.0, Quality::Uncertain)]);
    assert_eq!(second.try_recv(), Ok(uncertain()));
    assert!(outputs.end(two, &WriteOutcome::Completed, NOW).is_none());
}

#[test]
fn a_value_whose_publication_failed_lives_on_in_a_later_document_that_carries_it() {
    for (last, set) in [
        (WriteOutcome::Completed, vec![(2, 20.0, Quality::Good), (1, 10.0, Quality::Good)]),
        (uncertain(), vec![(2, 20.0, Quality::Uncertain), (1, 10.0, Quality::Uncertain)]),
        (failed("second"), vec![]),
    ] {
        let mut outputs = StationOutputs::default();
        let (one, mut first) = add(&mut outputs, &[(1, 10.0)], &[1]);
        let (two, mut second) = add(&mut outputs, &[(2, 20.0)], &[1, 2]);
        assert_eq!(end(&mut outputs, one, failed("first")), []);
        assert!(first.try_recv().is_err(), "nobody knows yet");
        assert_eq!(end(&mut outputs, two, last.clone()), set);
        assert_eq!(second.try_recv(), Ok(last.clone()));
        let expected = if set.is_empty() { failed("first") } else { last };
        assert_eq!(first.try_recv(), Ok(expected), "the error is its own");
    }
}

#[test]
fn a_value_that_a_later_write_replaced_or_that_nothing_carries_failed_at_once() {
    let mut outputs = StationOutputs::default();
    let (one, mut first) = add(&mut outputs, &[(1, 10.0)], &[1]);
    let (two, _second) = add(&mut outputs, &[(1, 11.0)], &[1]);
    let (three, _third) = add(&mut outputs, &[(3, 30.0)], &[1, 3]);
    assert_eq!(end(&mut outputs, one, failed("first")), []);
    assert_eq!(first.try_recv(), Ok(failed("first")));
    assert_eq!(end(&mut outputs, two, WriteOutcome::Completed), [(1, 11.0, Quality::Good)]);
    assert_eq!(end(&mut outputs, three, WriteOutcome::Completed), [(3, 30.0, Quality::Good)]);
}

#[test]
fn what_left_with_a_later_document_has_happened_whatever_its_own_publication_does() {
    let mut outputs = StationOutputs::default();
    let (one, mut first) = add(&mut outputs, &[(1, 10.0)], &[1]);
    let (two, _second) = add(&mut outputs, &[(2, 20.0)], &[1, 2]);
    let set = end(&mut outputs, two, WriteOutcome::Completed);
    assert_eq!(set, [(1, 10.0, Quality::Good), (2, 20.0, Quality::Good)]);
    assert_eq!(end(&mut outputs, one, failed("first")), []);
    assert_eq!(first.try_recv(), Ok(WriteOutcome::Completed));
}

#[test]
fn a_publication_that_ends_after_a_later_one_does_not_bring_its_value_back() {
    for last in [WriteOutcome::Completed, uncertain()] {
        let mut outputs = StationOutputs::default();
        let (one, mut first) = add(&mut outputs, &[(1, 10.0), (2, 20.0)], &[1, 2]);
        let (two, _second) = add(&mut outputs, &[(1, 11.0)], &[1, 2]);
        end(&mut outputs, two, last);
        let set = end(&mut outputs, one, WriteOutcome::Completed);
        assert!(set.iter().all(|(tag, ..)| *tag != 1), "{set:?}");
        assert_eq!(first.try_recv(), Ok(WriteOutcome::Completed));
    }
}
