//! Tests of the store as a whole.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::engine::Fault;
use super::testing::tag_value;
use super::*;
use crate::iotag::{Quality, Reason, Timestamp, Value};

fn options(folder: &Path) -> StoreOptions {
    StoreOptions {
        folder: folder.join("data"),
        journal_entries_max: 1_000_000,
        journal_age_max: Duration::from_secs(7 * 86_400),
    }
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn text(text: &str) -> TagValue {
    let received = Timestamp::from_second(1_760_000_000).unwrap();
    TagValue {
        value: Some(Value::Text(text.into())),
        quality: Quality::Good,
        reason: Reason::Ok,
        time: received,
        received,
    }
}

fn change(seq: u64, tag: u32, value: TagValue) -> Change {
    Change { seq, tag: TagId(tag), value }
}

fn commit_of(changes: Vec<Change>) -> [Commit; 1] {
    [Commit { changes, sessions: Vec::new() }]
}

fn put(line: &str, key: &[u8], value: Option<&[u8]>) -> SessionRecord {
    SessionRecord { line: line.into(), key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path());
    let tags = names(&["a", "b", "c"]);
    let (store, recovered) = Store::open(&options, &tags).unwrap();
    assert_eq!((recovered.last_seq, recovered.values), (0, vec![None, None, None]));
    assert_eq!(store.journal_oldest().unwrap(), None);
    store
        .commit(&[Commit {
            changes: vec![change(1, 0, text("x")), change(2, 1, text("y"))],
            sessions: vec![put("plant", b"k", Some(b"v"))],
        }])
        .unwrap();
    store.commit(&commit_of(vec![change(3, 0, text("z"))])).unwrap();
    assert_eq!(store.journal_oldest().unwrap(), Some(1));
    drop(store);

    let (store, recovered) = Store::open(&options, &tags).unwrap();
    assert_eq!(recovered.last_seq, 3);
    assert_eq!(recovered.values, vec![Some(text("z")), Some(text("y")), None]);
    assert_eq!(recovered.sessions, vec![("plant".into(), b"k".to_vec(), b"v".to_vec())]);
    let journal = store.journal_after(1, 10).unwrap();
    assert_eq!(
        journal,
        vec![
            JournalEntry { seq: 2, name: "b".into(), value: text("y") },
            JournalEntry { seq: 3, name: "a".into(), value: text("z") },
        ]
    );
}

#[test]
fn names_gone_from_the_configuration_stay_in_the_journal_and_come_back() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path());
    let (store, _) = Store::open(&options, &names(&["a", "b"])).unwrap();
    store.commit(&commit_of(vec![change(1, 0, text("x")), change(2, 1, text("y"))])).unwrap();
    drop(store);
    let (store, recovered) = Store::open(&options, &names(&["new", "b"])).unwrap();
    assert_eq!(recovered.values, vec![None, Some(text("y"))]);
    assert_eq!(&*store.journal_after(0, 1).unwrap()[0].name, "a");
    store.commit(&commit_of(vec![change(3, 0, text("n"))])).unwrap();
    drop(store);
    let (_, recovered) = Store::open(&options, &names(&["b", "a", "new"])).unwrap();
    assert_eq!(recovered.values, vec![Some(text("y")), Some(text("x")), Some(text("n"))]);
}

#[test]
fn a_text_of_sixteen_megabytes_is_stored() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path());
    let tags = names(&["a", "b"]);
    let large = text(&"ä".repeat(8 << 20));
    let (store, _) = Store::open(&options, &tags).unwrap();
    let commits: Vec<Commit> = (0..3)
        .map(|at| Commit {
            changes: vec![change(2 * at + 1, 0, large.clone()), change(2 * at + 2, 1, text("s"))],
            sessions: vec![put("plant", b"queued", Some(&[9; 5_000_000]))],
        })
        .collect();
    for commit in commits {
        store.commit(&[commit]).unwrap();
    }
    assert_eq!(store.journal_after(3, 1).unwrap()[0].value, text("s"));
    store.commit(&commit_of(vec![change(7, 0, text("small again"))])).unwrap();
    store
        .commit(&[Commit { changes: vec![], sessions: vec![put("plant", b"queued", Some(b"q"))] }])
        .unwrap();
    let blobs = fs::read_dir(options.folder.join("sled/blobs")).unwrap().count();
    assert_eq!(blobs, 0, "sled moved something into a file of its own");
    drop(store);
    let (store, recovered) = Store::open(&options, &tags).unwrap();
    assert_eq!(recovered.values, vec![Some(text("small again")), Some(text("s"))]);
    assert_eq!(recovered.sessions, vec![("plant".into(), b"queued".to_vec(), b"q".to_vec())]);
    assert_eq!(store.journal_after(4, 1).unwrap()[0].value, large);
}

#[test]
fn a_second_opening_is_refused_and_names_the_holder() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path());
    let (store, _) = Store::open(&options, &[]).unwrap();
    match Store::open(&options, &[]) {
        Err(StoreError::InUse(path, holder)) => {
            assert_eq!((path, holder), (options.folder.clone(), Some(std::process::id())));
        }
        other => panic!("{:?}", other.err()),
    }
    drop(store);
    Store::open(&options, &[]).unwrap();
}

#[test]
fn a_file_in_place_of_the_folder_is_an_error_with_its_path() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path());
    fs::write(&options.folder, "not a folder").unwrap();
    for folder in [options.folder.clone(), options.folder.join("below")] {
        match Store::open(&StoreOptions { folder: folder.clone(), ..options.clone() }, &[]) {
            Err(StoreError::Io { path, cause }) => {
                assert!(path.starts_with(&options.folder), "{path:?}: {cause}");
            }
            other => panic!("{:?}", other.err()),
        }
    }
    assert_eq!(fs::read_to_string(&options.folder).unwrap(), "not a folder");
}

#[test]
fn a_file_in_place_of_sled_is_an_error_and_stays() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path());
    fs::create_dir(&options.folder).unwrap();
    fs::write(options.folder.join("sled"), "not a folder").unwrap();
    assert!(matches!(Store::open(&options, &[]), Err(StoreError::Io { .. })));
    assert_eq!(fs::read_to_string(options.folder.join("sled")).unwrap(), "not a folder");
}

#[test]
fn a_newer_schema_is_refused_and_nothing_is_changed() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path());
    drop(Store::open(&options, &[]).unwrap());
    fs::write(options.folder.join("schema"), "7\n").unwrap();
    let before = fs::read(options.folder.join("sled/db")).unwrap();
    match Store::open(&options, &[]) {
        Err(StoreError::Newer(path, 7)) => assert_eq!(path, options.folder),
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(fs::read(options.folder.join("sled/db")).unwrap(), before);
}

#[test]
fn a_store_that_cannot_be_read_is_put_aside_and_numbers_go_on() {
    let folder = TempDir::new().unwrap();
    let options = options(folder.path());
    let tags = names(&["a"]);
    let (store, _) = Store::open(&options, &tags).unwrap();
    store.commit(&commit_of(vec![change(1, 0, text("x"))])).unwrap();
    drop(store);
    for file in fs::read_dir(options.folder.join("sled")).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() && file.file_name() != "conf" {
            fs::write(file.path(), vec![0x5a; 100_000]).unwrap();
        }
    }
    let (store, recovered) = Store::open(&options, &tags).unwrap();
    let (aside, cause) = recovered.quarantined.unwrap();
    assert_eq!(aside, options.folder.join("sled.quarantine-1"));
    assert!(aside.join("db").is_file() && !cause.is_empty());
    assert_eq!(recovered.values, vec![None]);
    assert!(recovered.last_seq >= 1, "numbers must not come again");
    store.commit(&commit_of(vec![change(recovered.last_seq + 1, 0, text("y"))])).unwrap();
    drop(store);
    let (_, again) = Store::open(&options, &tags).unwrap();
    assert_eq!(again.last_seq, recovered.last_seq + 1);
    assert!(again.quarantined.is_none());
}

#[test]
fn numbers_that_were_used_and_tags_that_are_not_there_are_refused() {
    let folder = TempDir::new().unwrap();
    let (store, _) = Store::open(&options(folder.path()), &names(&["a"])).unwrap();
    for changes in [
        vec![change(1, 1, text("no such tag"))],
        vec![change(0, 0, text("zero"))],
        vec![change(2, 0, text("x")), change(2, 0, text("twice"))],
    ] {
        assert!(store.commit(&commit_of(changes)).is_err());
    }
    store.commit(&commit_of(vec![change(1, 0, text("x"))])).unwrap();
    assert_eq!(store.journal_after(0, 9).unwrap().len(), 1);
}

#[test]
fn the_journal_shows_at_most_its_entries_and_its_age() {
    let folder = TempDir::new().unwrap();
    let tags = names(&["a"]);
    let options = StoreOptions { journal_entries_max: 10, ..options(folder.path()) };
    let (store, _) = Store::open(&options, &tags).unwrap();
    let changes = |seqs: std::ops::RangeInclusive<u64>| {
        commit_of(seqs.map(|seq| change(seq, 0, text("x"))).collect())
    };
    store.commit(&changes(1..=4)).unwrap();
    assert_eq!(store.journal_oldest().unwrap(), Some(1));
    store.commit(&changes(5..=25)).unwrap();
    assert_eq!(store.journal_oldest().unwrap(), Some(16));
    let seqs: Vec<u64> =
        store.journal_after(0, 100).unwrap().iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (16..=25).collect::<Vec<_>>());
    drop(store);

    let options = StoreOptions { journal_entries_max: 0, ..options };
    let (store, recovered) = Store::open(&options, &tags).unwrap();
    assert_eq!((store.journal_oldest().unwrap(), recovered.last_seq), (None, 25));
    assert_eq!(store.journal_after(0, 100).unwrap(), vec![]);
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Vec<(u32, TagValue)>>, Vec<SessionRecord>),
    Skip(u64),
    Reopen(u32),
    /// Tags of another configuration beside those that there are; a name may come again.
    Add(u32),
}

fn session_record() -> impl Strategy<Value = SessionRecord> {
    let key = prop_oneof![1 => Just(Vec::new()), 4 => prop::collection::vec(0_u8..3, 1..3)];
    let value = prop::option::weighted(
        0.7,
        prop_oneof![
            9 => prop::collection::vec(any::<u8>(), 0..20),
            1 => (0_usize..70_000).prop_map(|len| vec![b'v'; len]),
        ],
    );
    ("[lm]", key, value).prop_map(|(line, key, value)| SessionRecord {
        line: line.into(),
        key,
        value,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        20 => tag_value(),
        1 => (0_usize..60_000).prop_map(|len| text(&"t".repeat(len / 20_000 * 20_000))),
    ];
    let commits = prop::collection::vec(prop::collection::vec((0_u32..60, value), 0..40), 1..4);
    prop_oneof![
        8 => (commits, prop::collection::vec(session_record(), 0..4))
            .prop_map(|(commits, sessions)| Step::Commit(commits, sessions)),
        1 => (1_u64..5).prop_map(Step::Skip),
        2 => (0_u32..3).prop_map(Step::Reopen),
        1 => (0_u32..3).prop_map(Step::Add),
    ]
}

/// What the store should hold.
#[derive(Default)]
struct Model {
    journal: Vec<JournalEntry>,
    sessions: BTreeMap<(String, Vec<u8>), Vec<u8>>,
    last_seq: u64,
}

impl Model {
    fn value(&self, name: &str) -> Option<TagValue> {
        self.journal
            .iter()
            .rev()
            .find(|entry| &*entry.name == name)
            .map(|entry| entry.value.clone())
    }

    fn apply(&mut self, record: &SessionRecord) {
        let key = (record.line.to_string(), record.key.clone());
        match &record.value {
            Some(value) => drop(self.sessions.insert(key, value.clone())),
            None if record.key.is_empty() => self.sessions.retain(|(line, _), _| *line != key.0),
            None => drop(self.sessions.remove(&key)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_store_is_what_a_map_and_a_list_would_be(
        steps in prop::collection::vec(step(), 1..25),
        entries_max in prop_oneof![Just(30_u64), Just(1_000_000)],
        window_changes in prop_oneof![1_u64..100, Just(1_000_000)],
        portion_values in 1_usize..5,
    ) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("data");
        let limits = Limits {
            window_changes,
            portion_values,
            ..Limits::new(entries_max, Duration::from_secs(u64::MAX), 6)
        };
        // Configurations that share some names, in another order.
        let configurations: Vec<Vec<Arc<str>>> = (0..3)
            .map(|turn| (0..6).map(|at| format!("t{}", (at + 2 * turn) % 9).into()).collect())
            .collect();
        let mut tags = configurations[0].clone();
        let mut store = Store::open_limited(&path, &tags, limits).unwrap().0;
        let mut model = Model::default();
        let mut seq = 0;
        for step in &steps {
            match step {
                Step::Skip(count) => seq += count,
                Step::Commit(parts, sessions) => {
                    let mut commits = Vec::new();
                    for part in parts {
                        let mut commit = Commit::default();
                        for (tag, value) in part {
                            seq += 1;
                            let tag = tag % tags.len() as u32;
                            commit.changes.push(change(seq, tag, value.clone()));
                            let name = Arc::clone(&tags[tag as usize]);
                            model.journal.push(JournalEntry { seq, name, value: value.clone() });
                            model.last_seq = seq;
                        }
                        commits.push(commit);
                    }
                    commits[0].sessions.clone_from(sessions);
                    sessions.iter().for_each(|record| model.apply(record));
                    store.commit(&commits).unwrap();
                }
                Step::Reopen(configuration) => {
                    drop(store);
                    tags = configurations[*configuration as usize].clone();
                    let (reopened, recovered) = Store::open_limited(&path, &tags, limits).unwrap();
                    store = reopened;
                    prop_assert!(recovered.quarantined.is_none());
                    prop_assert_eq!(recovered.last_seq, model.last_seq);
                    let values: Vec<_> = tags.iter().map(|name| model.value(name)).collect();
                    prop_assert_eq!(recovered.values, values);
                    let sessions: Vec<_> = model
                        .sessions
                        .iter()
                        .map(|((line, key), value)| (line.as_str().into(), key.clone(), value.clone()))
                        .collect();
                    prop_assert_eq!(recovered.sessions, sessions);
                }
                Step::Add(configuration) => {
                    let known = tags.len();
                    tags.extend(configurations[*configuration as usize].iter().cloned());
                    let added = store.add_tags(&tags).unwrap();
                    let values: Vec<_> =
                        added.into_iter().map(|stored| stored.map(|(_, value)| value)).collect();
                    let wanted: Vec<_> =
                        tags[known..].iter().map(|name| model.value(name)).collect();
                    prop_assert_eq!(values, wanted);
                    prop_assert!(store.add_tags(&tags).unwrap().is_empty());
                }
            }
            for line in ["l", "m"] {
                let own = model.sessions.iter().filter(|((owner, _), _)| owner == line);
                let own: Vec<_> = own.map(|((_, key), value)| (key.clone(), value.clone())).collect();
                prop_assert_eq!(store.session(line).unwrap(), own);
            }
            let hidden = model.journal.len().saturating_sub(entries_max as usize);
            let shown = model.journal[hidden..].to_vec();
            // Where numbers were skipped, the oldest may be one of those.
            let oldest = store.journal_oldest().unwrap();
            let before = shown.first().and_then(|first| {
                model.journal.iter().rev().map(|entry| entry.seq).find(|seq| *seq < first.seq)
            });
            prop_assert!(oldest <= shown.first().map(|entry| entry.seq));
            prop_assert!(oldest.is_some() != shown.is_empty());
            prop_assert!(oldest.is_none() || oldest > before);
            let middle = shown.get(shown.len() / 2).map_or(0, |entry| entry.seq);
            for after in [0, middle, model.last_seq] {
                let wanted: Vec<_> =
                    shown.iter().filter(|entry| entry.seq > after).cloned().collect();
                prop_assert_eq!(store.journal_after(after, usize::MAX).unwrap(), wanted);
                let few = store.journal_after(after, 1).unwrap();
                prop_assert_eq!(few.first().map(|entry| entry.seq), shown.iter().map(|entry| entry.seq).find(|seq| *seq > after));
            }
        }
    }
}

#[test]
fn space_stays_bounded_under_churn() {
    let folder = TempDir::new().unwrap();
    let tags: Vec<Arc<str>> = (0..100).map(|tag| format!("tag{tag}").into()).collect();
    let options = StoreOptions { journal_entries_max: 1000, ..options(folder.path()) };
    let (store, _) = Store::open(&options, &tags).unwrap();
    let (mut seq, mut record) = (0, 0_u64);
    let mut sizes = Vec::new();
    for _ in 0..50 {
        let mut commit = Commit::default();
        for _ in 0..100 {
            seq += 1;
            commit.changes.push(change(seq, (seq % 100) as u32, text("some text of some length")));
        }
        for _ in 0..1000 {
            record += 1;
            commit.sessions.push(put("plant", &record.to_be_bytes(), Some(&[1; 40])));
            commit.sessions.push(put("plant", &record.saturating_sub(1500).to_be_bytes(), None));
        }
        store.commit(&[commit]).unwrap();
        sizes.push(fs::metadata(options.folder.join("sled/db")).unwrap().len() >> 20);
    }
    // Without its collector turned, sled's file has 30 MiB by then, and grows on.
    assert!(sizes.iter().all(|mebibytes| *mebibytes <= 16), "{sizes:?}");
}

#[test]
fn a_commit_that_failed_may_come_again_whether_it_reached_the_disk_or_not() {
    for fault in [Fault::BeforeWriting, Fault::AfterSyncing] {
        let folder = TempDir::new().unwrap();
        let options = options(folder.path());
        let tags = names(&["a", "b"]);
        let (store, _) = Store::open(&options, &tags).unwrap();
        store.commit(&commit_of(vec![change(1, 0, text("1"))])).unwrap();
        let again = Commit {
            changes: vec![change(2, 1, text("2")), change(3, 0, text("3"))],
            sessions: vec![put("plant", b"k", Some(b"v"))],
        };
        store
            .with_engine(|engine| {
                engine.fail_next(fault);
                Ok(())
            })
            .unwrap();
        assert!(matches!(store.commit(std::slice::from_ref(&again)), Err(StoreError::Io { .. })));
        let shown = store.journal_after(0, 10).unwrap();
        assert_eq!(shown.len(), 1, "what was not acknowledged is not shown");
        let more = Commit { changes: vec![change(4, 1, text("4"))], sessions: Vec::new() };
        store.commit(&[again, more]).unwrap();
        let journal: Vec<_> =
            store.journal_after(0, 10).unwrap().into_iter().map(|entry| entry.value).collect();
        assert_eq!(journal, ["1", "2", "3", "4"].map(text));
        drop(store);
        let (_, recovered) = Store::open(&options, &tags).unwrap();
        assert_eq!(recovered.values, vec![Some(text("3")), Some(text("4"))]);
        assert_eq!((recovered.last_seq, recovered.sessions.len()), (4, 1));
    }
}

#[test]
fn the_journal_has_no_hole_while_it_is_read_and_removed() {
    let folder = TempDir::new().unwrap();
    let tags = names(&["a"]);
    let options = StoreOptions { journal_entries_max: 300, ..options(folder.path()) };
    let limits = Limits {
        window_changes: 50,
        ..Limits::new(options.journal_entries_max, options.journal_age_max, 1)
    };
    let (store, _) = Store::open_limited(&options.folder, &tags, limits).unwrap();
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| {
            for at in 0..400 {
                let changes = (at * 20 + 1..=at * 20 + 20).map(|seq| change(seq, 0, text("x")));
                store.commit(&commit_of(changes.collect())).unwrap();
            }
        });
        let mut read = 0;
        while !committing.is_finished() {
            let oldest = store.journal_oldest().unwrap().unwrap_or(0);
            let entries = store.journal_after(oldest.saturating_sub(1), usize::MAX).unwrap();
            for pair in entries.windows(2) {
                assert_eq!(pair[0].seq + 1, pair[1].seq);
            }
            read += entries.len();
        }
        assert!(read > 0);
    });
}

/// Damages a store in many ways; each must open, as it was or put aside, and must go on.
#[test]
fn damage_of_any_kind_puts_the_store_aside_and_never_panics() {
    let folder = TempDir::new().unwrap();
    let whole = options(&folder.path().join("whole"));
    let tags: Vec<Arc<str>> = (0..50).map(|tag| format!("tag{tag}").into()).collect();
    let (store, _) = Store::open(&whole, &tags).unwrap();
    let mut seq = 0;
    for _ in 0..60 {
        let changes = (0..200).map(|at| change(seq + 1 + at, (at % 50) as u32, text("some text")));
        store.commit(&commit_of(changes.collect())).unwrap();
        seq += 200;
    }
    drop(store);
    drop(Store::open(&whole, &tags).unwrap());
    let files: Vec<_> = fs::read_dir(whole.folder.join("sled"))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
        .collect();
    assert!(files.len() >= 3, "db, conf and a snapshot");

    let mut random = fastrand::Rng::with_seed(5);
    let mut aside = 0;
    for round in 0..60 {
        let damaged = options(&folder.path().join(round.to_string()));
        let sled = damaged.folder.join("sled");
        fs::create_dir_all(sled.join("blobs")).unwrap();
        for name in ["schema", "sequence"] {
            fs::copy(whole.folder.join(name), damaged.folder.join(name)).unwrap();
        }
        let victim = random.usize(..files.len());
        for (at, (name, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if at == victim {
                damage(&mut bytes, &mut random);
            }
            fs::write(sled.join(name), bytes).unwrap();
        }
        let (store, recovered) = Store::open(&damaged, &tags).unwrap();
        aside += u32::from(recovered.quarantined.is_some());
        if let Some((path, cause)) = &recovered.quarantined {
            assert!(path.join("db").is_file() && !cause.is_empty());
            assert!(recovered.last_seq >= seq, "numbers must not come again");
        }
        let next = recovered.last_seq + 1;
        store.commit(&commit_of(vec![change(next, 0, text("goes on"))])).unwrap();
        assert_eq!(store.journal_after(next - 1, 1).unwrap()[0].value, text("goes on"));
        drop(store);
        fs::remove_dir_all(damaged.folder).unwrap();
    }
    assert!(aside > 15, "only {aside} of 60 were noticed");
}

fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let at = random.usize(..bytes.len());
    match random.u8(..4) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << random.u8(..8),
        2 => {
            let end = (at + random.usize(..5000)).min(bytes.len());
            bytes[at..end].fill(random.u8(..));
        }
        _ => {
            let end = (at + random.usize(..500)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
}
