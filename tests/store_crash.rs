//! Kills a process that commits, and cuts the power under a store, again and again.
//!
//! Has its own `main`: the test executes itself. The child commits numbered batches and says so
//! after each; the parent kills it at a random moment, opens what is left and compares.
//!
//! `cargo test --test store_crash -- [--rounds N] [--seed N]`

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tagline::iotag::{Quality, Reason, TagId, TagValue, Timestamp, Value};
use tagline::store::{Change, Commit, Recovered, SessionRecord, Store, StoreOptions};

/// Tags of the child's configuration.
const TAGS: u32 = 200;

/// Entries that the journal keeps: few, so that blocks are removed all the time.
const JOURNAL: u64 = 20_000;

fn main() {
    if let Ok(folder) = env::var("STORE_CRASH_CHILD") {
        child(Path::new(&folder));
        return;
    }
    if let Ok(folder) = env::var("STORE_CRASH_FULL") {
        child_on_a_full_disk(Path::new(&folder));
        return;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let rounds = number("--rounds").unwrap_or(30);
    let seed = number("--seed").unwrap_or_else(|| fastrand::u64(..));
    println!(
        "seed {seed}, {rounds} rounds each; repeat with: cargo test --test store_crash -- --seed {seed} --rounds {rounds}"
    );
    let mut random = fastrand::Rng::with_seed(seed);
    let killed = kill_rounds(&mut random, rounds);
    println!("killed {rounds} times: {killed} batches, all there");
    let cut = power_rounds(&mut random, rounds);
    println!("power cut {rounds} times: {cut} batches, all there");
    (0..3).for_each(|_| disk_full(&mut random));
    println!("a full disk: commits fail, and go on when there is room");
    refused_while_held();
    println!("a second process is refused while the first one lives");
}

fn options(folder: &Path) -> StoreOptions {
    StoreOptions {
        folder: folder.to_path_buf(),
        journal_entries_max: JOURNAL,
        journal_age_max: Duration::from_secs(7 * 86_400),
    }
}

fn names() -> Vec<Arc<str>> {
    (0..TAGS).map(|tag| format!("tag{tag}").into()).collect()
}

/// The batch of this number; the same in every process. Its first change is the number itself, on
/// tag 0, and its session record says the same.
fn batch(number: u64, first_seq: u64) -> Commit {
    let mut random = fastrand::Rng::with_seed(number);
    let count = match random.u8(..) {
        0..10 => random.u64(1000..4000),
        10..100 => random.u64(1..300),
        _ => random.u64(1..20),
    };
    let received = Timestamp::from_second(1_760_000_000 + (number / 100) as i64).unwrap();
    let value = |value| TagValue {
        value: Some(value),
        quality: Quality::Good,
        reason: Reason::Ok,
        time: received,
        received,
    };
    let mut changes =
        vec![Change { seq: first_seq, tag: TagId(0), value: value(Value::Integer(number.into())) }];
    for seq in first_seq + 1..first_seq + count {
        let content = if random.u16(..2000) == 0 {
            Value::Text("long ".repeat(random.usize(..20_000)).into())
        } else {
            Value::Integer(i128::from(seq) * 7)
        };
        changes.push(Change { seq, tag: TagId(random.u32(1..TAGS)), value: value(content) });
    }
    let mut sessions = vec![SessionRecord {
        line: "plant".into(),
        key: b"number".to_vec(),
        value: Some(number.to_be_bytes().to_vec()),
    }];
    for _ in 0..random.usize(..5) {
        sessions.push(SessionRecord {
            line: "plant".into(),
            key: vec![b'q', random.u8(..40)],
            value: random.bool().then(|| vec![7; random.usize(..3000)]),
        });
    }
    Commit { changes, sessions }
}

fn child(folder: &Path) {
    let (store, recovered) = Store::open(&options(folder), &names()).unwrap();
    let (mut number, mut seq) = (number_of(&recovered), recovered.last_seq);
    let mut out = std::io::stdout();
    loop {
        number += 1;
        let batch = batch(number, seq + 1);
        seq += batch.changes.len() as u64;
        store.commit(&[batch]).unwrap();
        // One write, so that a line is whole or not there.
        out.write_all(format!("{number} {seq}\n").as_bytes()).unwrap();
    }
}

fn number_of(recovered: &Recovered) -> u64 {
    match recovered.values[0].as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::Integer(number)) => u64::try_from(*number).unwrap(),
        None => 0,
        other => panic!("tag 0 is {other:?}"),
    }
}

/// What all batches up to one leave behind; kept up step by step.
#[derive(Default)]
struct Expected {
    number: u64,
    seq: u64,
    values: BTreeMap<u32, TagValue>,
    sessions: BTreeMap<Vec<u8>, Vec<u8>>,
    journal: Vec<(u64, u32, TagValue)>,
}

impl Expected {
    fn advance(&mut self, number: u64) {
        while self.number < number {
            self.number += 1;
            let batch = batch(self.number, self.seq + 1);
            self.seq += batch.changes.len() as u64;
            for change in batch.changes {
                self.values.insert(change.tag.0, change.value.clone());
                self.journal.push((change.seq, change.tag.0, change.value));
            }
            for record in batch.sessions {
                match record.value {
                    Some(value) => drop(self.sessions.insert(record.key, value)),
                    None => drop(self.sessions.remove(&record.key)),
                }
            }
        }
        let beyond = self.journal.len().saturating_sub(JOURNAL as usize);
        self.journal.drain(..beyond);
    }

    /// Opens what is left and compares all of it. At least batch `least` must be there.
    fn verify(&mut self, folder: &Path, least: u64) {
        let (store, recovered) = Store::open(&options(folder), &names()).unwrap();
        assert!(recovered.quarantined.is_none(), "put aside: {:?}", recovered.quarantined);
        let number = number_of(&recovered);
        assert!(number >= least, "batch {least} was committed, {number} is the last one there");
        self.advance(number);
        assert_eq!(recovered.last_seq, self.seq, "batch {number} is not whole");
        for (tag, value) in recovered.values.iter().enumerate() {
            let wanted = self.values.get(&u32::try_from(tag).unwrap());
            assert_eq!(value.as_ref(), wanted, "tag {tag} after batch {number}");
        }
        let sessions: BTreeMap<Vec<u8>, Vec<u8>> =
            recovered.sessions.into_iter().map(|(_, key, value)| (key, value)).collect();
        assert!(sessions == self.sessions, "session after batch {number}");
        let mut journal = store.journal_after(0, usize::MAX).unwrap();
        while let Some(last) = journal.last().map(|entry| entry.seq).filter(|seq| *seq < self.seq) {
            journal.extend(store.journal_after(last, usize::MAX).unwrap());
        }
        assert_eq!(journal.len(), self.journal.len(), "journal after batch {number}");
        for (entry, (seq, tag, value)) in journal.iter().zip(&self.journal) {
            let same = (entry.seq, &*entry.name) == (*seq, format!("tag{tag}").as_str());
            assert!(same && entry.value == *value, "entry {seq}: {entry:?}");
        }
    }
}

fn kill_rounds(random: &mut fastrand::Rng, rounds: u64) -> u64 {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = folder.path().join("data");
    let mut expected = Expected::default();
    for _ in 0..rounds {
        let mut child = Running::start(&data);
        let said = child.let_run(random.u64(..400));
        drop(child);
        expected.verify(&data, said.max(expected.number));
    }
    expected.number
}

/// A power cut, as a disk could leave it: what the file held when the last commit returned is
/// there; of what was written since, each sector may be there or not.
fn power_rounds(random: &mut fastrand::Rng, rounds: u64) -> u64 {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, cut) = (folder.path().join("data"), folder.path().join("cut"));
    let mut expected = Expected::default();
    let names = names();
    for _ in 0..rounds {
        let before = Files::read_if_there(&data);
        let (store, recovered) = Store::open(&options(&data), &names).unwrap();
        assert!(recovered.quarantined.is_none(), "put aside: {:?}", recovered.quarantined);
        let mut number = number_of(&recovered);
        if let Some(before) = before.filter(|_| random.u8(..4) == 0) {
            // The power goes while the store is opened.
            drop(store);
            before.cut(&Files::read(&data), random).write(&cut);
            expected.verify(&cut, number);
            fs::remove_dir_all(&data).unwrap();
            fs::rename(&cut, &data).unwrap();
            continue;
        }
        let mut seq = recovered.last_seq;
        for _ in 0..random.u64(1..60) {
            number += 1;
            let batch = batch(number, seq + 1);
            seq += batch.changes.len() as u64;
            store.commit(&[batch]).unwrap();
        }
        let synced = Files::read(&data);
        let later = std::thread::scope(|scope| {
            let committing = scope.spawn(|| {
                for next in number + 1..number + 1 + random.u64(1..3) {
                    let batch = batch(next, seq + 1);
                    seq += batch.changes.len() as u64;
                    store.commit(&[batch]).unwrap();
                }
            });
            // Read while it is written: any mixture of before and after.
            let mut later = Vec::new();
            while !committing.is_finished() {
                later.push(Files::read(&data));
            }
            later.push(Files::read(&data));
            later
        });
        drop(store);
        let later = &later[random.usize(..later.len())];
        synced.cut(later, random).write(&cut);
        expected.verify(&cut, number);
        // The next round goes on from the cut.
        fs::remove_dir_all(&data).unwrap();
        fs::rename(&cut, &data).unwrap();
    }
    expected.number
}

/// All files of a folder.
#[derive(Clone, Default)]
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn read_if_there(folder: &Path) -> Option<Self> {
        folder.is_dir().then(|| Self::read(folder))
    }

    fn read(folder: &Path) -> Self {
        let mut files = Self::default();
        files.read_below(folder, Path::new(""));
        files
    }

    fn read_below(&mut self, folder: &Path, below: &Path) {
        for entry in fs::read_dir(folder.join(below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.read_below(folder, &path);
            } else if let Ok(bytes) = fs::read(entry.path()) {
                self.0.insert(path, bytes);
            }
        }
    }

    /// The synced state with some sectors of the later one.
    fn cut(mut self, later: &Self, random: &mut fastrand::Rng) -> Self {
        let share = [0.0, 0.1, 0.5, 0.9, 1.0][random.usize(..5)];
        // sled writes a snapshot, syncs and renames it, then removes the one before.
        let is_snapshot = |path: &PathBuf| path.to_string_lossy().contains("snap.");
        let snapshots = |files: &Self| -> Vec<_> {
            let files = files.0.iter().filter(|(path, _)| is_snapshot(path));
            files.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
        };
        let (old, new) = (snapshots(&self), snapshots(later));
        let draft = new.first().filter(|_| random.bool()).map(|(path, bytes)| {
            (path.with_extension("FFFF.generating"), bytes[..random.usize(..bytes.len())].to_vec())
        });
        self.0.retain(|path, _| !is_snapshot(path));
        let stage = random.u8(..3);
        self.0.extend(old.into_iter().filter(|_| stage < 2));
        self.0.extend(new.into_iter().filter(|_| stage > 0));
        self.0.extend(draft);
        for (path, new) in later.0.iter().filter(|(path, _)| !is_snapshot(path)) {
            let bytes = self.0.entry(path.clone()).or_default();
            if random.bool() && bytes.len() < new.len() {
                bytes.resize(new.len(), 0);
            }
            let len = bytes.len().min(new.len());
            for (old, new) in bytes[..len].chunks_mut(512).zip(new[..len].chunks(512)) {
                if random.f64() < share {
                    old.copy_from_slice(new);
                }
            }
        }
        self
    }

    fn write(&self, folder: &Path) {
        for (path, bytes) in &self.0 {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        fs::create_dir_all(folder.join("sled/blobs")).unwrap();
    }
}

/// A limit on the size of files stands in for a full disk: it needs no mount. The child commits until
/// that fails, says so, and goes on after the limit was lifted.
fn disk_full(random: &mut fastrand::Rng) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = folder.path().join("data");
    let blocks = random.u32(5000..30_000);
    let mut child = Command::new("sh")
        .args(["-c", &format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\"")])
        .arg(env::current_exe().unwrap())
        .env("STORE_CRASH_FULL", &data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let failed = said.find(|line| line.starts_with("failed")).expect("the child never failed");
    assert!(failed.contains("data") && failed.contains("File too large"), "{failed}");
    let unlimited = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(unlimited.success());
    assert_eq!(said.find(|line| !line.starts_with("failed")).as_deref(), Some("healed"));
    assert!(child.wait().unwrap().success());
    Expected::default().verify(&data, 1);
}

fn child_on_a_full_disk(folder: &Path) {
    let (store, _) = Store::open(&options(folder), &names()).unwrap();
    let (mut number, mut seq, mut failures) = (0, 0, 0_u32);
    let mut goal = u64::MAX;
    let mut said = String::new();
    while number < goal {
        let batch = batch(number + 1, seq + 1);
        let count = batch.changes.len() as u64;
        match store.commit(&[batch]) {
            Ok(()) => {
                (number, seq) = (number + 1, seq + count);
                if failures > 0 && goal == u64::MAX {
                    println!("healed");
                    goal = number + 50;
                }
            }
            Err(error) => {
                failures += 1;
                let error = error.to_string();
                if error != said {
                    println!("failed {error}");
                    said = error;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert!(number < 1_000_000, "the limit was never met");
    }
}

fn refused_while_held() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut child = Running::start(folder.path());
    child.let_run(0);
    let refused = Store::open(&options(folder.path()), &names()).err().unwrap().to_string();
    let holder = format!("is in use by another process (process {})", child.process.id());
    assert!(refused.contains(&holder), "{refused}");
    drop(child);
    Store::open(&options(folder.path()), &names()).unwrap();
}

/// A child that commits; killed when dropped.
struct Running {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .env("STORE_CRASH_CHILD", folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    /// Lets it say so many lines and one more, kills it wherever it is, and answers with the last
    /// batch that it said was committed.
    fn let_run(&mut self, lines: u64) -> u64 {
        let mut last = 0;
        let mut line = String::new();
        for _ in 0..=lines {
            line.clear();
            self.said.read_line(&mut line).unwrap();
            last = parse(&line).unwrap_or_else(|| panic!("the child said {line:?}"));
        }
        if lines > 0 {
            self.process.kill().unwrap();
            // What it had said before it died counts as well.
            for line in (&mut self.said).lines() {
                last = parse(&line.unwrap()).unwrap_or(last);
            }
        }
        last
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn parse(line: &str) -> Option<u64> {
    line.split_once(' ')?.0.parse().ok()
}
