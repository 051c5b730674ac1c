//! PURE: which numbers the journal's changes have. A restart skips some, so that counting entries
//! is not subtracting numbers.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Runs of numbers without a gap, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    runs: VecDeque<RangeInclusive<u64>>,
}

impl Numbers {
    /// A block of changes behind all others.
    pub(super) fn push(&mut self, first: u64, changes: u64) {
        let Some(more) = changes.checked_sub(1) else { return };
        let last = first.saturating_add(more);
        match self.runs.back_mut() {
            Some(run) if run.end().checked_add(1) == Some(first) => *run = *run.start()..=last,
            _ => self.runs.push_back(first..=last),
        }
    }

    /// These numbers and all above are gone.
    pub(super) fn cut_from(&mut self, number: u64) {
        while let Some(run) = self.runs.back_mut() {
            if *run.end() < number {
                break;
            }
            if *run.start() < number {
                *run = *run.start()..=number - 1;
                break;
            }
            self.runs.pop_back();
        }
    }

    /// All below this number are gone.
    pub(super) fn cut_before(&mut self, number: u64) {
        while let Some(run) = self.runs.front_mut() {
            if *run.start() >= number {
                break;
            }
            if *run.end() >= number {
                *run = number..=*run.end();
                break;
            }
            self.runs.pop_front();
        }
    }

    /// Number of the first of the last `count` changes; behind the last one if that is none.
    pub(super) fn first_of_last(&self, count: u64, last_seq: u64) -> u64 {
        let mut left = count;
        let mut first = last_seq.saturating_add(1);
        for run in self.runs.iter().rev() {
            if left == 0 {
                break;
            }
            let changes = (run.end() - run.start()).saturating_add(1);
            first = if changes >= left { run.end() - (left - 1) } else { *run.start() };
            left = left.saturating_sub(changes);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Numbers {
        let mut numbers = Numbers::default();
        for (first, changes) in [(1, 3), (4, 2), (1 << 32, 10), (1 << 33, 1), ((1 << 33) + 1, 4)] {
            numbers.push(first, changes);
        }
        numbers
    }

    #[test]
    fn skipped_numbers_are_no_entries() {
        let numbers = numbers();
        let last = (1 << 33) + 4;
        assert_eq!(numbers.runs.len(), 3);
        assert_eq!(numbers.first_of_last(0, last), last + 1);
        assert_eq!(numbers.first_of_last(5, last), 1 << 33);
        assert_eq!(numbers.first_of_last(6, last), (1 << 32) + 9);
        assert_eq!(numbers.first_of_last(16, last), 5);
        assert_eq!(numbers.first_of_last(1000, last), 1);
        assert_eq!(Numbers::default().first_of_last(10, 7), 8);
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut both = numbers();
        both.cut_before(3);
        both.cut_from((1 << 33) + 1);
        assert_eq!(both.first_of_last(1000, 1 << 33), 3);
        assert_eq!(both.first_of_last(1, 1 << 33), 1 << 33);
        both.cut_from(1 << 32);
        both.cut_before(5);
        assert_eq!(both.runs, [5..=5]);
        both.cut_before(6);
        assert!(both.runs.is_empty());
    }
}
