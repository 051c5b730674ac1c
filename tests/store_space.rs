//! How much disk a store takes in the long run: weeks of changes, in fast motion.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "the figures are of interest")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tagline::iotag::{Quality, Reason, TagId, TagValue, Timestamp, Value};
use tagline::store::{Change, Commit, SessionRecord, Store, StoreOptions};

const TAGS: u64 = 500;
const DAY_S: u64 = 86_400;
/// Commits of a simulated day.
const COMMITS: u64 = 40;
const MIB: u64 = 1 << 20;

/// What happens in a plant: numbers, now and then a text or a long one, and QoS 2 identifiers that come
/// and go.
struct Plant {
    random: fastrand::Rng,
    seq: u64,
    second: u64,
    commits: u64,
}

impl Plant {
    fn commit(&mut self, changes: u64) -> Commit {
        self.second += DAY_S / COMMITS;
        self.commits += 1;
        let received = Timestamp::from_second(1_760_000_000 + self.second as i64).unwrap();
        let changes = (0..changes).map(|_| {
            self.seq += 1;
            let value = match self.random.u16(..) {
                0..20 => Value::Text("long ".repeat(self.random.usize(..8000)).into()),
                20..2000 => Value::Text("x".repeat(self.random.usize(..60)).into()),
                other => Value::Real(f64::from(other) / 16.0),
            };
            let value = TagValue {
                value: Some(value),
                quality: Quality::Good,
                reason: Reason::Ok,
                time: received,
                received,
            };
            let tag = TagId(u32::try_from(self.random.u64(..TAGS)).unwrap());
            Change { seq: self.seq, tag, value }
        });
        let changes = changes.collect();
        let records = |commit: u64| {
            (0..30_u64).map(move |record| format!("r{:08}", commit * 30 + record).into_bytes())
        };
        let put = records(self.commits).map(|key| (key, Some(vec![7; 40])));
        let deleted = records(self.commits - 1).map(|key| (key, None));
        let record = |(key, value)| SessionRecord { line: "plant".into(), key, value };
        Commit { changes, sessions: put.chain(deleted).map(record).collect() }
    }
}

/// The most disk in each week; the store is opened anew every day.
fn weeks(folder: &Path, entries_max: u64, age_max: Duration, changes: u64) -> Vec<u64> {
    let names: Vec<Arc<str>> = (0..TAGS).map(|tag| format!("site/tag{tag}").into()).collect();
    let options = StoreOptions {
        folder: folder.join("data"),
        journal_entries_max: entries_max,
        journal_age_max: age_max,
    };
    let mut plant = Plant { random: fastrand::Rng::with_seed(3), seq: 0, second: 0, commits: 0 };
    let mut weeks = Vec::new();
    for _ in 0..4 {
        let mut most = 0;
        for _ in 0..7 {
            let (store, recovered) = Store::open(&options, &names).unwrap();
            assert_eq!(recovered.last_seq, plant.seq);
            assert!(recovered.sessions.len() <= 30, "{} records", recovered.sessions.len());
            for _ in 0..COMMITS {
                store.commit(&[plant.commit(changes)]).unwrap();
                most = most.max(bytes(&options.folder));
            }
        }
        weeks.push(most);
    }
    println!(
        "the most of each week: {:?} MiB",
        weeks.iter().map(|it| it / MIB).collect::<Vec<_>>()
    );
    weeks
}

fn bytes(folder: &Path) -> u64 {
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    fs::read_dir(folder).unwrap().map(|entry| size(entry.unwrap())).sum()
}

/// From the second week on it takes no more, but for a few segments.
#[track_caller]
fn assert_level(weeks: &[u64], limit: u64) {
    // sled takes its file in segments of 2 MiB.
    let level = weeks[1] + 6 * MIB;
    assert!(weeks[2..].iter().all(|week| *week <= level), "still growing: {weeks:?}");
    assert!(weeks.iter().all(|week| *week <= limit), "more than {limit} bytes: {weeks:?}");
}

#[test]
fn a_journal_bounded_by_entries_takes_no_more_disk_after_weeks() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // A week is ten times what the journal holds.
    let week = weeks(folder.path(), 28_000, Duration::from_secs(7 * DAY_S), 1000);
    assert_level(&week, 48 * MIB);
}

#[test]
fn a_journal_bounded_by_age_takes_no_more_disk_after_weeks() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let week = weeks(folder.path(), u64::MAX, Duration::from_secs(DAY_S), 1000);
    assert_level(&week, 64 * MIB);
}
