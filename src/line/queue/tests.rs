//! Writes through the whole of hub, store, line and machine, against a model of a broker, with cuts and
//! crashes at every step: before and after each commit, with any part of the wire delivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::*;
use crate::config::{self, Config};
use crate::hub::Hub;
use crate::hub::writes::{Finishes, WriteRequest, WriteResult};
use crate::iotag::LineId;
use crate::line::StoredRecords;
use crate::line::link::Link;
use crate::mqtt::{BytesProgress, Credentials, Input};
use crate::store::{Store, StoreOptions};

/// A broker that keeps the session of its one client.
#[derive(Default)]
struct Broker {
    session: bool,
    released_later: BTreeSet<u16>,
    /// What it handed on, in order.
    commands: Vec<i64>,
}

impl Broker {
    /// Takes one packet; its answer.
    fn take(&mut self, first: u8, body: &[u8]) -> Vec<u8> {
        let id = |at: usize| [body[at], body[at + 1]];
        match first >> 4 {
            1 => {
                let clean = body[7] & 2 != 0;
                if clean {
                    self.released_later.clear();
                }
                let present = std::mem::replace(&mut self.session, !clean) && !clean;
                vec![0x20, 2, u8::from(present), 0]
            }
            3 => {
                let qos = first >> 1 & 3;
                let topic = usize::from(u16::from_be_bytes(id(0))) + 2;
                let payload = &body[topic + if qos > 0 { 2 } else { 0 }..];
                let number = std::str::from_utf8(payload).unwrap().parse().unwrap();
                let known = qos == 2 && !self.released_later.insert(u16::from_be_bytes(id(topic)));
                if !known {
                    self.commands.push(number);
                }
                match qos {
                    0 => vec![],
                    qos => [&[0x30 + (qos << 4), 2][..], &id(topic)].concat(),
                }
            }
            6 => {
                self.released_later.remove(&u16::from_be_bytes(id(0)));
                [&[0x70, 2][..], &id(0)].concat()
            }
            8 => [&[0x90, 3][..], &id(0), &[1]].concat(),
            12 => vec![0xd0, 0],
            14 => vec![],
            other => panic!("packet type {other}"),
        }
    }
}

/// Takes a whole packet off the front.
fn packet(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *buffer.get(at)?;
        length |= usize::from(byte & 127) << (7 * (at - 1));
        at += 1;
        if byte < 128 {
            break;
        }
    }
    if buffer.len() < at + length {
        return None;
    }
    let whole: Vec<u8> = buffer.drain(..at + length).collect();
    Some((whole[0], whole[at..].to_vec()))
}

type Pending = Pin<Box<dyn Future<Output = (Vec<WriteResult>, Vec<u64>)>>>;

/// A process at work, without tasks and threads.
struct Process {
    hub: Arc<Hub>,
    port: LinePort,
    task: LineTask,
    pending: Vec<(i64, Pending)>,
    finishes: Finishes,
}

struct World {
    config: Arc<Config>,
    random: fastrand::Rng,
    broker: Broker,
    process: Option<Process>,
    /// On its way to the broker, and back.
    wire: Vec<u8>,
    back: Vec<u8>,
    last: i64,
    told: BTreeMap<i64, WriteOutcome>,
    crashes: usize,
    /// Publications that a crash left to the session.
    left_behind: usize,
    qos: u8,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(seed: u64, qos: u8, keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "tagline.toml",
            &format!(
                "[[line]]\nname = \"plant\"\nservers = [\"mqtt://127.0.0.1\"]\npublish_qos = {qos}\n\
                 ping_interval = \"1h\"\nreconnect = {{ min = \"100ms\", max = \"100ms\" }}\n{keys}\n"
            ),
        );
        write(
            "stations/all.toml",
            "[[station]]\nname = \"valve\"\nline = \"plant\"\naddress = \"a\"\n\
             out_topic = \"cmd\"\nwrite_when_offline = \"queue\"\n",
        );
        write("tags/all.csv", "name,station,type,address\nvalve.value,valve,Co,OUT_VALUE\n");
        let config = Arc::new(config::load(folder.path()).unwrap());
        let mut world = Self {
            config,
            random: fastrand::Rng::with_seed(seed),
            broker: Broker::default(),
            process: None,
            wire: Vec::new(),
            back: Vec::new(),
            last: 0,
            told: BTreeMap::new(),
            crashes: 0,
            left_behind: 0,
            qos,
            _folder: folder,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let options = StoreOptions {
            folder: self.config.process.data_dir.clone(),
            journal_entries_max: 1000,
            journal_age_max: Duration::from_secs(1000),
        };
        let names: Vec<Arc<str>> =
            self.config.tags.iter().map(|tag| Arc::clone(&tag.name)).collect();
        let (store, recovered) = Store::open(&options, &names).unwrap();
        let now = clock::wall();
        let (hub, mut ports) = Hub::new(Arc::clone(&self.config), Arc::new(store), &recovered, now);
        let records = recovered.sessions;
        let is_left = |record: &&(Arc<str>, Vec<u8>, Vec<u8>)| {
            &*record.0 == "plant" && record.1.first() == Some(&b'o')
        };
        self.left_behind += records.iter().filter(is_left).count();
        let stored = StoredRecords::new(records).take(&self.config.lines[0]);
        let mut task = LineTask::new(LineId(0), Arc::clone(&hub), stored);
        task.begin(clock::now());
        task.connect(clock::now());
        task.perform();
        let port = ports.remove(0);
        let (finishes, _) = mpsc::unbounded_channel();
        self.process = Some(Process { hub, port, task, pending: Vec::new(), finishes });
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// What clients have heard by now.
    fn listen(&mut self) {
        let Self { process, told, .. } = self;
        let Some(process) = process else { return };
        let mut context = Context::from_waker(Waker::noop());
        process.pending.retain_mut(|(value, pending)| match pending.as_mut().poll(&mut context) {
            Poll::Pending => true,
            Poll::Ready((results, _)) => {
                told.insert(*value, results[0].outcome.clone());
                false
            }
        });
    }

    fn step(&mut self) {
        match self.random.u32(0..200) {
            0..24 => self.write(),
            24..60 => self.turn(),
            60..90 => {
                let most = self.random.usize(1..4);
                self.process().hub.commit_pending(most);
            }
            90..120 => self.transmit(),
            120..145 => {
                let most = self.random.usize(1..4);
                self.arrive(most);
            }
            145..170 => self.receive(),
            170..180 => self.connect(),
            180..192 => self.work(),
            192..196 => self.cut(),
            196.. => self.crash(),
        }
        self.listen();
    }

    fn write(&mut self) {
        self.last += 1;
        let value = self.last;
        let request = WriteRequest { name: "valve.value".into(), value: value.into() };
        let patience = Duration::from_secs(if self.random.bool() { 1000 } else { 0 });
        let process = self.process();
        let started = process.hub.start_writes(vec![request], patience, &process.finishes);
        process.pending.push((value, Box::pin(started.outcomes(std::future::pending()))));
    }

    /// All goes well for a while.
    fn work(&mut self) {
        for _ in 0..4 {
            self.connect();
            self.process().hub.commit_pending(usize::MAX);
            self.turn();
            self.transmit();
            self.arrive(usize::MAX);
            self.receive();
        }
    }

    /// A turn of the line's loop.
    fn turn(&mut self) {
        let process = self.process();
        let Process { port, task, .. } = process;
        let settled = *port.settled.borrow_and_update();
        task.on_settled(settled);
        while let Ok(command) = port.commands.try_recv() {
            task.on_command(command);
        }
        task.serve_queue(port);
        task.perform();
    }

    fn connect(&mut self) {
        let process = self.process();
        let task = &mut process.task;
        // The pause before the next attempt is over.
        let later = clock::now() + Duration::from_millis(150);
        task.paths[0].client.handle_input(later, Input::Timeout);
        task.perform();
        if matches!(task.paths[0].link, Link::Opening(_)) {
            task.paths[0].link = Link::Closed;
            task.paths[0]
                .client
                .handle_input(clock::now(), Input::Connected(Credentials::default()));
            task.perform();
            self.wire.clear();
            self.back.clear();
        }
    }

    /// The transport takes bytes: all, or some of them.
    fn transmit(&mut self) {
        let all = self.random.u32(0..4) > 0;
        let part = self.random.usize(0..40);
        let Self { process: Some(Process { task, .. }), wire, .. } = self else { return };
        let queued: Vec<u8> = task.paths[0].outbound.iter().flatten().copied().collect();
        let count = if all { queued.len() } else { part.min(queued.len()) };
        wire.extend_from_slice(&queued[..count]);
        task.paths[0].outbound = VecDeque::from([queued[count..].to_vec().into()]);
        if count > 0 {
            task.paths[0].client.handle_input(clock::now(), Input::Transmitted(count));
            task.perform();
        }
    }

    /// Packets arrive at the broker.
    fn arrive(&mut self, most: usize) {
        for _ in 0..most {
            let Some((first, body)) = packet(&mut self.wire) else { return };
            let answer = self.broker.take(first, &body);
            self.back.extend(answer);
        }
    }

    fn receive(&mut self) {
        let mut buffer = BytesMut::from(&std::mem::take(&mut self.back)[..]);
        let task = &mut self.process().task;
        while task.paths[0].client.handle_bytes(clock::now(), &mut buffer) == BytesProgress::More {
            task.perform();
        }
        task.perform();
        self.back = buffer.to_vec();
    }

    /// The connection ends; some of what was under way still arrives at the broker.
    fn cut(&mut self) {
        let some = self.random.usize(0..6);
        self.arrive(some);
        self.wire.clear();
        self.back.clear();
        let task = &mut self.process().task;
        task.paths[0].drop_link();
        task.paths[0].client.handle_input(clock::now(), Input::Closed("cut".into()));
        task.perform();
    }

    /// The process dies; some of what it had sent still arrives.
    fn crash(&mut self) {
        self.crashes += 1;
        let most = self.random.usize(0..3);
        self.process().hub.commit_pending(most);
        self.listen();
        let process = self.process.take().unwrap();
        for (value, _) in process.pending {
            // Nobody hears of it any more.
            self.told.insert(value, uncertain());
        }
        drop((process.task, process.port, process.hub));
        let some = self.random.usize(0..6);
        self.arrive(some);
        self.wire.clear();
        self.back.clear();
        self.start();
    }

    /// No more trouble: everything goes out.
    fn settle(&mut self) {
        for _ in 0..2000 {
            self.process().hub.commit_pending(usize::MAX);
            self.turn();
            self.connect();
            let Self { process: Some(Process { task, hub, .. }), wire, .. } = self else { return };
            let bytes: Vec<u8> = task.paths[0].outbound.drain(..).flatten().collect();
            wire.extend_from_slice(&bytes);
            let quiet = bytes.is_empty()
                && task.paths[0].client.is_up()
                && hub.queued_writes(crate::iotag::StationId(0)) == 0
                && task.publishing.is_empty()
                && task.settlement.is_settled();
            task.paths[0].client.handle_input(clock::now(), Input::Transmitted(bytes.len()));
            task.perform();
            self.arrive(usize::MAX);
            self.receive();
            self.listen();
            if quiet && self.process().pending.is_empty() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn check(mut self) {
        let hub = Arc::clone(&self.process().hub);
        let mut numbers = BTreeSet::new();
        let mut queued = 0;
        for outcome in self.told.values_mut() {
            if let WriteOutcome::Queued(write) = *outcome {
                assert!(numbers.insert(write), "number {write} was given twice");
                queued += 1;
                let status = hub.write_status(write).expect("it is known");
                *outcome = status.end.expect("it has ended");
                let clean = self.config.lines[0].clean_session;
                let may_be_uncertain = clean || self.qos == 0 && self.crashes > 0;
                let is_uncertain = matches!(outcome, WriteOutcome::Uncertain(_));
                assert!(!is_uncertain || may_be_uncertain, "write {write}: {outcome:?}");
            }
        }
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        let mut firsts = Vec::new();
        for &value in &self.broker.commands {
            let count = counts.entry(value).or_default();
            *count += 1;
            if *count == 1 {
                firsts.push(value);
            }
        }
        assert!(firsts.is_sorted(), "out of order: {:?}", self.broker.commands);
        for (value, outcome) in &self.told {
            let count = counts.get(value).copied().unwrap_or(0);
            match outcome {
                // At QoS 0 what the transport took may be lost with the connection.
                WriteOutcome::Completed => assert!(count >= 1 || self.qos == 0, "{value} is lost"),
                WriteOutcome::Failed(why) => assert_eq!(count, 0, "{value} failed: {why:?}"),
                WriteOutcome::Uncertain(_) => {}
                WriteOutcome::Queued(_) => unreachable!(),
            }
            let once = self.qos != 1 || self.config.lines[0].clean_session;
            assert!(!once || count <= 1, "{value} arrived {count} times");
        }
        assert_eq!(self.told.len(), self.last as usize);
        // The tag has what was completed last, unless something later may have happened.
        let last = self.told.iter().rev().find(|(_, outcome)| {
            matches!(outcome, WriteOutcome::Completed | WriteOutcome::Uncertain(_))
        });
        if let Some((value, WriteOutcome::Completed)) = last {
            let tag = hub.tag_named("valve.value").unwrap();
            let shown = hub.read(&[tag])[0].value.value.clone();
            assert_eq!(shown, Some(crate::iotag::Value::Integer(i128::from(*value))));
        }
        assert!(queued > 0 || self.last < 5, "nothing was queued");
    }
}

fn uncertain() -> WriteOutcome {
    WriteOutcome::Uncertain(WriteError::new(WriteError::PUBLICATION, "nobody heard"))
}

/// `QUEUE_SEEDS` multiplies the seeds. The answer is how many publications crashes left to the session.
fn run(seeds: std::ops::Range<u64>, qos: u8, keys: &str) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let times = std::env::var("QUEUE_SEEDS").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let first = seeds.start * 1000;
    let seeds = first..first + (seeds.end - seeds.start) * times;
    let mut left_behind = 0;
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, qos, keys);
            let steps = world.random.usize(100..400);
            (0..steps).for_each(|_| world.step());
            world.settle();
            let left_behind = world.left_behind;
            world.check();
            left_behind
        });
        match result {
            Ok(count) => left_behind += count,
            Err(_) => panic!("seed {seed} at QoS {qos} with `{keys}`"),
        }
    }
    left_behind
}

#[test]
fn crashes_at_any_step_lose_and_double_nothing_at_qos_0() {
    run(0..15, 0, "");
}

#[test]
fn crashes_at_any_step_lose_nothing_at_qos_1() {
    assert!(run(100..115, 1, "") > 10);
}

#[test]
fn crashes_at_any_step_lose_and_double_nothing_at_qos_2() {
    assert!(run(200..215, 2, "") > 10);
}

#[test]
fn crashes_at_any_step_double_nothing_without_a_session() {
    run(300..308, 1, "clean_session = true");
    run(320..328, 2, "clean_session = true");
}

#[test]
fn crashes_at_any_step_lose_and_double_nothing_one_after_the_other() {
    assert!(run(400..408, 2, "publish_in_flight = 1") > 2);
}
