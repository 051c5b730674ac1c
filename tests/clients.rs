//! The example clients against the real program: killed, and the driver killed under them, they see
//! every change.

#![allow(clippy::disallowed_methods, reason = "a test is outside: it has a clock of its own")]
#![allow(clippy::print_stderr, reason = "a failing test shows the logs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

#[allow(dead_code, unused_imports, reason = "shared with the system tests")]
#[path = "system/harness/mod.rs"]
mod harness;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value as Json;

use harness::{Config, Driver, ModelBroker, Random, eventually};

/// Messages of a test.
const MESSAGES: usize = 1200;

/// A client that may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Python,
    Rust,
}

impl Kind {
    /// The command with what it wants for watching or writing.
    fn command(self, driver: &Driver, words: &[&str], state: Option<&Path>) -> Command {
        let socket = driver.socket_path();
        match self {
            Self::Python => {
                let mut command = Command::new("python3");
                let script = "examples/clients/python/tagline_client.py";
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
                command.arg("--socket").arg(socket).args(words);
                if let Some(state) = state {
                    command.arg("--state").arg(state);
                }
                command
            }
            Self::Rust => {
                let mut command = Command::new(rust_client());
                command.arg(socket).arg(words[0]);
                command.args(state).args(&words[1..]);
                command
            }
        }
    }
}

/// The Rust client, built as a user does; it is there already after `cargo test`.
fn rust_client() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let deps = std::env::current_exe().unwrap();
        let profile = deps.parent().unwrap().parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "--quiet", "--example", "client"]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the example builds");
        profile.join("examples/client")
    })
}

/// A client that watches, its output in a file.
struct Watcher {
    kind: Kind,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Watcher {
    fn new(kind: Kind) -> Self {
        Self { kind, folder: tempfile::tempdir().unwrap(), child: None }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn start(&mut self, driver: &Driver) {
        let file = |name: &str| {
            let path = self.folder.path().join(name);
            File::options().create(true).append(true).open(path).unwrap()
        };
        let mut command = self.kind.command(driver, &["watch", "text.*"], Some(&self.state()));
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("errors"));
        let child = command.spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What it has printed; a line that a kill has cut off is none.
    fn changes(&self) -> Vec<Json> {
        let out = std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default();
        out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- errors of the client\n{}---", self.errors());
        }
    }
}

fn plant(broker: &ModelBroker, journal: &str) -> Config {
    let keys = "subscribe_qos = 2\npublish_qos = 2\ntopic_filter = \"plant/#\"\n\
                reconnect = { min = \"5ms\", max = \"20ms\" }";
    Config::new()
        .top(journal)
        .line(broker.port, keys)
        .station("text", "plant/text", "out_topic = \"cmd/text\"")
        .tags("text.data,text,TxtI,IN_DATA\ntext.out,text,Co,OUT_VALUE")
}

fn values(changes: &[Json]) -> Vec<usize> {
    let good = changes.iter().filter(|it| it["name"] == "text.data" && it["reason"] == "ok");
    good.map(|change| change["value"].as_str().unwrap().parse().unwrap()).collect()
}

/// Each change once, in the order in which they came.
fn distinct(changes: Vec<Json>) -> Vec<Json> {
    let mut last = 0;
    let mut distinct = Vec::new();
    for change in changes {
        let seq = change["seq"].as_u64().unwrap();
        if seq > last {
            last = seq;
            distinct.push(change);
        }
    }
    distinct
}

fn killed_again_and_again(kind: Kind, seed: u64) {
    let broker = ModelBroker::start(1 << 30, seed);
    let mut driver = Driver::start(&plant(&broker, ""));
    let mut watcher = Watcher::new(kind);
    watcher.start(&driver);
    let mut random = Random::new(seed);
    let mut sent = 0;
    for round in 0..12 {
        let until = sent + MESSAGES / 12;
        (sent + 1..=until).for_each(|number| broker.publish(number.to_string(), 2));
        sent = until;
        // Somewhere in the middle of it.
        let goal = sent - random.below(MESSAGES / 12);
        eventually("the client goes on", || {
            let last = values(&watcher.changes()).last().copied();
            last.is_some_and(|last| last >= goal).then_some(())
        });
        std::thread::sleep(Duration::from_millis(random.below(20) as u64));
        if round % 3 != 1 {
            watcher.kill();
        }
        if round % 3 != 0 {
            driver.kill();
            driver.restart();
        }
        if watcher.child.is_none() {
            watcher.start(&driver);
        }
    }
    eventually("the client has the last message", || {
        values(&watcher.changes()).contains(&MESSAGES).then_some(())
    });
    let changes = distinct(watcher.changes());
    assert!(changes.iter().all(|change| change["durable"] == true));
    let mut values = values(&changes);
    // A tag that takes its quality back after a restart is a change with the same value.
    values.dedup();
    assert_eq!(values, (1..=MESSAGES).collect::<Vec<_>>(), "{kind:?}");
}

fn told_of_a_gap(kind: Kind) {
    let broker = ModelBroker::start(1 << 30, 1);
    let driver = Driver::start(&plant(&broker, "[journal]\nmax_entries = 100"));
    let mut watcher = Watcher::new(kind);
    broker.publish("1", 2);
    watcher.start(&driver);
    eventually("the token is stored", || {
        (watcher.state().exists() && values(&watcher.changes()) == [1]).then_some(())
    });
    watcher.kill();
    (2..=1000).for_each(|number| broker.publish(number.to_string(), 2));
    driver.has("text.data", "1000", "ok");
    driver.durable();
    watcher.start(&driver);
    eventually("the client goes on with what there is", || {
        values(&watcher.changes()).contains(&1000).then_some(())
    });
    assert!(watcher.errors().contains("changes are missing"), "{}", watcher.errors());
    let values = values(&distinct(watcher.changes()));
    assert!(values.len() <= 101, "{}", values.len());
    assert!(values[1..].windows(2).all(|pair| pair[1] == pair[0] + 1), "{values:?}");
}

fn outcomes_of_writes(kind: Kind) {
    let broker = ModelBroker::start(1 << 30, 2);
    let mut driver = Driver::start(&plant(&broker, ""));
    driver.up();
    let write = |driver: &Driver, name: &str, value: &str| -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } =
            kind.command(driver, &["write", name, value], None).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    };
    assert_eq!(write(&driver, "text.out", "17"), (Some(0), "completed\n".into(), String::new()));
    assert_eq!(broker.commands(), ["17"]);
    let (code, out, _) = write(&driver, "text.out", "1.5");
    assert_eq!(code, Some(1));
    assert!(out.starts_with("failed: "), "{out}");
    driver.kill();
    let (code, _, error) = write(&driver, "text.out", "18");
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("error: "), "{error}");
}

#[test]
fn the_python_client_sees_no_gap_over_kills_of_either_side() {
    killed_again_and_again(Kind::Python, 1);
}

#[test]
fn the_rust_client_sees_no_gap_over_kills_of_either_side() {
    killed_again_and_again(Kind::Rust, 2);
}

#[test]
fn the_python_client_says_when_it_was_away_for_too_long() {
    told_of_a_gap(Kind::Python);
}

#[test]
fn the_rust_client_says_when_it_was_away_for_too_long() {
    told_of_a_gap(Kind::Rust);
}

#[test]
fn the_python_client_writes_and_tells_the_outcome() {
    outcomes_of_writes(Kind::Python);
}

#[test]
fn the_rust_client_writes_and_tells_the_outcome() {
    outcomes_of_writes(Kind::Rust);
}

/// The commands of the manual that need no client, as they stand there.
#[test]
fn the_one_liners_of_the_manual_work() {
    let broker = ModelBroker::start(1 << 30, 3);
    let driver = Driver::start(&plant(&broker, ""));
    broker.publish("5", 2);
    driver.has("text.data", "5", "ok");
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/local-socket.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let is_command = |line: &&str| line.trim().starts_with("$ ") && line.contains("tagline.sock");
    let lines: Vec<&str> = manual.lines().filter(is_command).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in lines {
        let script = line.trim().trim_start_matches("$ ").replace("pump1.*", "text.*");
        // One that watches does not end by itself.
        let script = format!("set -o pipefail; {script}");
        let output = Command::new("timeout")
            .args(["-s", "INT", "3", "bash", "-c", &script])
            .current_dir(driver.folder())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("\"text.data\""), "{script}: {text}{error}");
        assert!(text.contains("\"value\":\"5\""), "{script}: {text}{error}");
    }
}
