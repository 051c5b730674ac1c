//! How many changes a second the store makes durable, against an append-only file with fdatasync.
//!
//! `cargo bench --bench store -- [changes per commit] [tags] [commits] [session records per commit]`
//!
//! Session records are put by one commit and deleted by the next, as QoS 2 does with its ids.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tagline::iotag::{Quality, Reason, TagId, TagValue, Timestamp, Value};
use tagline::store::{Change, Commit, SessionRecord, Store, StoreOptions};

fn main() {
    let numbers: Vec<u64> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if numbers.is_empty() {
        run(1, 1000, 5_000, 0);
        run(100, 1000, 5_000, 0);
        run(1000, 1000, 5_000, 0);
        run(10_000, 1000, 1000, 0);
        run(1000, 1000, 5_000, 100);
    } else {
        let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
        let changes = number(0, 1000);
        let commits = number(2, (5_000_000 / changes.max(1)).min(20_000));
        run(changes, number(1, 1000), commits, number(3, 0));
    }
}

fn run(changes: u64, tags: u64, commits: u64, sessions: u64) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let names: Vec<Arc<str>> = (0..tags).map(|tag| format!("site/tag{tag}").into()).collect();
    let options = StoreOptions {
        folder: folder.path().join("data"),
        journal_entries_max: 1_000_000,
        journal_age_max: Duration::from_secs(7 * 86_400),
    };
    let (store, _) = Store::open(&options, &names).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut latencies = Vec::new();
    let (mut seq, mut rss_max, mut disk_max) = (0, 0, 0);
    let cpu = cpu_seconds();
    for at in 0..commits {
        let mut commit = commit(&mut random, &mut seq, changes, tags);
        let records = (0..sessions).flat_map(|record| {
            let key = |commit: u64| format!("r{:08}", commit * sessions + record).into_bytes();
            let put = (key(at), Some(vec![1; 20]));
            [Some(put), at.checked_sub(1).map(|before| (key(before), None))]
        });
        commit.sessions.extend(records.flatten().map(|(key, value)| SessionRecord {
            line: "plant".into(),
            key,
            value,
        }));
        let start = Instant::now();
        store.commit(&[commit]).unwrap();
        latencies.push(start.elapsed());
        if at % 100 == 0 {
            rss_max = rss_max.max(resident_kib());
            disk_max = disk_max.max(disk_bytes(&options.folder));
        }
    }
    let cpu = cpu_seconds() - cpu;
    let busy: Duration = latencies.iter().sum();
    let ours = (changes * commits) as f64 / busy.as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    drop(store);
    let start = Instant::now();
    let (store, recovered) = Store::open(&options, &names).unwrap();
    let reopened = start.elapsed();
    assert_eq!(recovered.last_seq, seq);
    drop(store);

    let bytes_a_commit = usize::try_from(changes * 17 + sessions * 64).unwrap() + 32;
    let log = append(folder.path(), commits, bytes_a_commit);
    let log = (changes * commits) as f64 / log.as_secs_f64();
    println!(
        "{changes:>6} a commit, {tags} tags, {sessions} session records: {ours:>9.0} changes/s {:>6.0} commits/s, p50 {:?} p99 {:?} max {:?}",
        commits as f64 / busy.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
    );
    println!(
        "       cpu {cpu:.1} s of {:.1} s, resident {} MiB, disk {} MiB (at most {}), reopened in {reopened:?}",
        busy.as_secs_f64(),
        rss_max / 1024,
        disk_bytes(&options.folder) >> 20,
        disk_max >> 20,
    );
    println!("       append-only file: {log:>9.0} changes/s, store / file = {:.2}", ours / log);
}

fn commit(random: &mut fastrand::Rng, seq: &mut u64, changes: u64, tags: u64) -> Commit {
    let received = 1_760_000_000_000_000_000 + i128::from(*seq) * 2_000;
    let received = Timestamp::from_nanosecond(received).unwrap();
    let source = Timestamp::from_second(received.as_second()).unwrap();
    let changes = (0..changes).map(|_| {
        *seq += 1;
        let value = TagValue {
            value: Some(Value::Real(f64::from(random.u16(..)) / 16.0)),
            quality: Quality::Good,
            reason: Reason::Ok,
            time: source,
            received,
        };
        Change { seq: *seq, tag: TagId(u32::try_from(*seq % tags).unwrap()), value }
    });
    Commit { changes: changes.collect(), sessions: Vec::new() }
}

fn append(folder: &Path, commits: u64, bytes: usize) -> Duration {
    let mut file = File::create(folder.join("log")).unwrap();
    let block = vec![0x5a; bytes];
    let start = Instant::now();
    for _ in 0..commits {
        file.write_all(&block).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed()
}

fn disk_bytes(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            }
        })
        .sum()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
