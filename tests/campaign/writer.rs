//! Who writes numbered commands, several at a time, and remembers what it was told of each.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{NAMES, TOPICS};
use crate::harness::Random;

/// Commands under way for one station.
const UNDER_WAY: usize = 4;

/// Commands for one station at most.
const COMMANDS: usize = 4000;

/// What the writer was told of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Completed,
    Failed,
    Uncertain,
    /// The driver was killed before it said anything.
    Nothing,
}

/// By station, from command 1 on.
pub type Outcomes = [Vec<Told>; TOPICS];

/// The thread that writes.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcomes>,
}

impl Writer {
    pub fn start(socket: &Path, seed: u64) -> Self {
        let (stop, socket) = (Arc::new(AtomicBool::new(false)), socket.to_owned());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || write(&socket, &stopped, seed));
        Self { stop, thread }
    }

    /// Waits for what is under way.
    pub fn stop(self) -> Outcomes {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn write(socket: &PathBuf, stop: &AtomicBool, seed: u64) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let mut random = Random::new(seed);
    while !stop.load(Ordering::Relaxed) {
        match UnixStream::connect(socket) {
            Ok(stream) => converse(stream, stop, &mut outcomes, &mut random),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    outcomes
}

/// Writes until the connection ends, or until told to stop and everything is answered.
fn converse(
    mut stream: UnixStream,
    stop: &AtomicBool,
    outcomes: &mut Outcomes,
    random: &mut Random,
) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(3)));
    let mut under_way: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    let (mut buffer, mut chunk) = (Vec::new(), [0; 16_384]);
    let mut failed = false;
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && under_way.is_empty() {
            return;
        }
        for station in 0..TOPICS {
            let busy = under_way.values().filter(|(of, _)| *of == station).count();
            if stopping || failed || busy >= UNDER_WAY || outcomes[station].len() >= COMMANDS {
                continue;
            }
            outcomes[station].push(Told::Nothing);
            let command = outcomes[station].len();
            let id = (command * TOPICS + station) as u64;
            under_way.insert(id, (station, command));
            let name = format!("{}.out", NAMES[station]);
            let timeout = [0.05, 1.0, 10.0][random.below(3)];
            let params =
                json!({ "writes": [{ "name": name, "value": command }], "timeout_s": timeout });
            let request =
                json!({ "jsonrpc": "2.0", "id": id, "method": "tag.write", "params": params });
            if stream.write_all(format!("{request}\n").as_bytes()).is_err() {
                return;
            }
        }
        failed = false;
        match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let answer: Json = serde_json::from_slice(&line).expect("the driver speaks JSON");
            let Some((station, command)) =
                answer["id"].as_u64().and_then(|id| under_way.remove(&id))
            else {
                continue;
            };
            let told = match answer["result"]["results"][0]["outcome"].as_str() {
                Some("completed") => Told::Completed,
                Some("uncertain") => Told::Uncertain,
                // An error in place of a result means that nothing happened.
                Some("failed") | None => Told::Failed,
                Some(other) => panic!("outcome {other}"),
            };
            failed |= told == Told::Failed;
            outcomes[station][command - 1] = told;
        }
    }
}
