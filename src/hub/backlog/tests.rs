//! A disk that is mounted read-only under the process, and mended.

use std::io::ErrorKind;
use std::thread::JoinHandle;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::hub::feed::FeedRead;
use crate::hub::writes::written;
use crate::hub::{Batch, LinePort, writer};
use crate::iotag::{LineId, TagId, Value};
use crate::store::{Store, StoreOptions};
use crate::{clock, config};

const PLANT: LineId = LineId(0);
const FLOOD: TagId = TagId(0);
const QUIET: TagId = TagId(1);
const OWED: TagId = TagId(2);

struct Process {
    store: Arc<Store>,
    hub: Arc<Hub>,
    port: LinePort,
    thread: JoinHandle<()>,
}

impl Process {
    fn start(folder: &TempDir) -> Self {
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("tagline.toml", "[[line]]\nname = \"plant\"\nservers = [\"mqtt://127.0.0.1\"]\n");
        write(
            "stations/all.toml",
            "[[station]]\nname = \"s\"\nline = \"plant\"\naddress = \"a\"\npayload_type = \"json\"\n",
        );
        let rows = "flood,s,Ci,JA=a\nquiet,s,Ci,JA=b\nowed,s,Ci,JA=c\n";
        write("tags/all.csv", &format!("name,station,type,address\n{rows}"));
        let config = Arc::new(config::load(folder.path()).unwrap());
        let names: Vec<Arc<str>> = config.tags.iter().map(|tag| Arc::clone(&tag.name)).collect();
        let options = StoreOptions {
            folder: folder.path().join("store"),
            journal_entries_max: 1_000_000,
            journal_age_max: Duration::from_secs(1 << 30),
        };
        let (store, recovered) = Store::open(&options, &names).unwrap();
        let store = Arc::new(store);
        let (hub, mut ports) = Hub::new(config, Arc::clone(&store), &recovered, clock::wall());
        let thread = writer::spawn(&hub).unwrap();
        Self { store, hub, port: ports.remove(0), thread }
    }

    fn submit(&self, tag: TagId, values: std::ops::Range<i64>, passing: bool) -> BatchId {
        let update = |value: i64| written(tag, Some(Value::Integer(value.into())), clock::wall());
        let updates = values.map(update).collect();
        self.hub.submit(PLANT, Batch { updates, passing, ..Batch::default() })
    }

    async fn settled(&mut self, batch: BatchId) {
        let settled = self.port.settled.wait_for(|settled| *settled >= batch);
        tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap().unwrap();
    }

    /// Waits until something is true that subscribers are woken for.
    async fn until(&self, condition: impl Fn(&Hub) -> bool) {
        let mut watch = self.hub.feed().watch();
        let wait = async {
            while !condition(&self.hub) {
                watch.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
    }

    fn stop(self) {
        self.hub.stop_writing();
        self.thread.join().unwrap();
    }
}

#[tokio::test]
async fn on_a_read_only_disk_the_last_values_and_what_is_owed_stay_and_the_rest_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(&folder);
    let batch = process.submit(FLOOD, 0..1, true);
    process.settled(batch).await;
    let before = process.hub.feed().durable_seq();

    process.store.refuse(Some(ErrorKind::ReadOnlyFilesystem));
    let first = process.submit(FLOOD, 1..2, true);
    process.until(|hub| hub.is_store_failing() && hub.feed().shown_seq() > before).await;
    let error = process.hub.store_status().error.unwrap();
    assert!(error.contains("read-only"), "{error}");
    process.submit(QUIET, 1..2, true);
    process.submit(OWED, 0..3, false);
    let (mut last, mut value) = (BatchId(0), 2);
    let total = 3 * BACKLOG_CHANGES_MAX as i64;
    while value < total {
        last = process.submit(FLOOD, value..value + 512, true);
        value += 512;
        let seq = process.hub.last_seq();
        process.until(|hub| hub.feed().shown_seq() >= seq).await;
    }
    process.until(|hub| hub.waiting_changes() < BACKLOG_CHANGES_MAX + 512).await;
    assert!(*process.port.settled.borrow() < first, "nothing is settled");
    assert!(!process.hub.is_backlog_full());
    let lost = process.hub.store_status().lost;
    // One is with the attempt to write, and four are not of the flood.
    assert_eq!(lost + process.hub.waiting_changes() as u64 + 1, value as u64 - 1 + 4);
    let gap = process.hub.feed().gap_after(before).unwrap();
    // Who has not seen it hears of it, and who has seen it does not.
    let read = |seen| process.hub.feed().read_after(before, seen, 1);
    assert!(matches!(read(gap.last - 1), FeedRead::Missing(last) if last == gap.last));
    assert!(matches!(read(gap.last), FeedRead::Provisional(_)));

    process.store.refuse(None);
    process.settled(last).await;
    assert!(!process.hub.is_store_failing());
    let newest = process.hub.last_seq();
    process.stop();

    let process = Process::start(&folder);
    assert_eq!(process.hub.feed().gaps(), [gap]);
    let values: Vec<_> = process.hub.read(&[FLOOD, QUIET, OWED]);
    let integers: Vec<_> = values.iter().map(|it| it.value.value.clone().unwrap()).collect();
    assert_eq!(integers, [value - 1, 1, 2].map(|value| Value::Integer(value.into())));
    let (mut seq, mut entries) = (before, Vec::new());
    while seq < newest {
        entries.extend(process.hub.journal_after(seq, 10_000).unwrap());
        seq = entries.last().unwrap().seq;
    }
    let of = |name: &str| entries.iter().filter(|entry| &*entry.name == name).count();
    assert_eq!((of("quiet"), of("owed")), (1, 3));
    let missing = newest - before - entries.len() as u64;
    assert_eq!(missing, lost);
    let behind = entries.iter().filter(|entry| entry.seq > gap.last);
    assert!(
        behind.map(|entry| entry.seq).eq(gap.last + 1..=newest),
        "nothing is missing behind it"
    );
    process.stop();
}

proptest! {
    #[test]
    fn gaps_stay_in_order_and_few_and_none_is_forgotten(
        steps in prop::collection::vec((1_u64..5, 0_u64..9, any::<bool>()), 1..200),
    ) {
        let (mut gaps, mut all, mut seq, mut durable) = (Vec::new(), Vec::new(), 10, 0);
        for (space, length, heals) in steps {
            let gap = Gap { first: seq + space, last: seq + space + length };
            seq = gap.last + 1;
            let grown = add_gap(&mut gaps, gap, durable, None);
            prop_assert!(grown.first <= gap.first && grown.last >= gap.last);
            all.push(gap);
            if heals {
                durable = seq;
            }
            prop_assert!(gaps.len() <= GAPS_MAX);
            prop_assert!(gaps.windows(2).all(|pair| pair[0].last < pair[1].first));
            let covers = |gap: &Gap| {
                gaps.iter().any(|it| it.first <= gap.first && it.last >= gap.last)
            };
            prop_assert!(all.iter().all(covers));
        }
        let SessionRecord { line, key, value } = record(&gaps);
        let sessions = vec![(line, key, value.unwrap())];
        let recovered = Recovered { sessions, ..Recovered::default() };
        prop_assert_eq!(stored_gaps(&recovered), gaps);
    }
}
