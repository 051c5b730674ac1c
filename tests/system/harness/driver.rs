//! The program as a child process.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Changes, Config, SECRET_PASSWORD, SECRET_USER, Socket, eventually};

/// `tagline run` with a folder of its own, and what it said.
pub struct Driver {
    folder: tempfile::TempDir,
    child: Option<Child>,
    variables: Vec<(String, String)>,
    starts: usize,
    /// Largest size of a file that the process may write, in KiB.
    pub file_limit: Option<u64>,
    /// Texts that must not be in the log, beside the usual secrets.
    pub secrets: Vec<String>,
}

impl Driver {
    /// Starts it and waits until its socket answers.
    #[track_caller]
    pub fn start(config: &Config) -> Self {
        let mut driver = Self::prepare(config);
        driver.restart();
        driver
    }

    /// Its folder, without the process.
    pub fn prepare(config: &Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        config.write(folder.path());
        Self {
            folder,
            child: None,
            variables: Vec::new(),
            starts: 0,
            file_limit: None,
            secrets: Vec::new(),
        }
    }

    /// An environment variable of the process.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    /// The folder that holds `tagline.toml`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket_path(&self) -> PathBuf {
        self.folder().join("run/tagline.sock")
    }

    /// Starts the process again, in the same folder, and waits until its socket answers.
    #[track_caller]
    pub fn restart(&mut self) {
        self.spawn();
        eventually("the process answers on its socket", || {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the process ended with {status}:\n{}", self.log());
            }
            let mut socket = Socket::connect(&self.socket_path()).ok()?;
            socket.try_call("process.status", json!({})).ok()
        });
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.starts += 1;
        let log = File::create(self.log_path(self.starts)).unwrap();
        let mut command = match self.file_limit {
            None => self.command(["run"]),
            Some(limit) => {
                // A write beyond the limit fails, as on a full disk, instead of killing.
                let script = format!("trap '' XFSZ; ulimit -S -f {limit}; exec \"$0\" \"$@\"");
                let run = self.command(["run"]);
                let mut command = Command::new("bash");
                command.args(["-c", &script]).arg(run.get_program()).args(run.get_args());
                command
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// The process may write files of any size from now on.
    #[track_caller]
    pub fn lift_file_limit(&mut self) {
        self.file_limit = None;
        self.prlimit("--fsize=unlimited:");
    }

    /// The process, started with a larger limit, may write no further than this in any file.
    #[track_caller]
    pub fn limit_files(&self, bytes: u64) {
        assert!(self.file_limit.is_some(), "it would be killed at the limit");
        self.prlimit(&format!("--fsize={bytes}:"));
    }

    #[track_caller]
    fn prlimit(&self, limit: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("prlimit").args(["--pid", &id, limit]).status();
        assert!(status.expect("`prlimit` of util-linux runs").success());
    }

    fn log_path(&self, start: usize) -> PathBuf {
        self.folder().join(format!("log-{start}.txt"))
    }

    /// Everything that all starts have logged.
    pub fn log(&self) -> String {
        let read = |start| std::fs::read(self.log_path(start)).unwrap_or_default();
        (1..=self.starts).map(|start| String::from_utf8_lossy(&read(start)).into_owned()).collect()
    }

    /// Waits until the log holds all of these texts in one line, and gives the line.
    #[track_caller]
    pub fn logs(&self, texts: &[&str]) -> String {
        eventually(&format!("a log line with {texts:?} in\n{}", self.log()), || {
            let log = self.log();
            let has_all = |line: &&str| texts.iter().all(|text| line.contains(text));
            log.lines().find(has_all).map(ToOwned::to_owned)
        })
    }

    /// How many log lines hold this text.
    pub fn count_logged(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        // Another build, or the one that was installed, may be put to the test.
        let binary = std::env::var_os("TAGLINE_BINARY");
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_tagline").into());
        let mut command = Command::new(binary);
        command.arg("--config").arg(self.folder()).args(arguments).env_remove("TAGLINE_LOG");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs another command of the program with the same folder.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts another command of the program with the same folder; its output is piped.
    pub fn spawn_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        send_signal(id, name);
    }

    /// Does something while the process stands still.
    pub fn frozen<T>(&self, during: impl FnOnce() -> T) -> T {
        self.signal("STOP");
        let done = during();
        self.signal("CONT");
        done
    }

    /// SIGTERM; how it ended.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        eventually("the process ends", || child.try_wait().unwrap())
    }

    /// Its end, if it has come.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().expect("it runs").try_wait().unwrap()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let id = self.child.as_ref().expect("it runs").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        let id = self.child.as_ref().expect("it runs").id();
        std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
    }

    /// A connection of its own to the socket.
    #[track_caller]
    pub fn socket(&self) -> Socket {
        Socket::connect(&self.socket_path()).unwrap()
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn call(&self, method: &str, params: Json) -> Json {
        self.socket().call(method, params)
    }

    /// A tag as it is.
    #[track_caller]
    pub fn read(&self, name: &str) -> Json {
        self.call("tag.read", json!({ "names": [name] }))["values"][0].take()
    }

    /// Waits until a tag has this value and quality.
    #[track_caller]
    pub fn has(&self, name: &str, value: impl Into<Json>, reason: &str) -> Json {
        let value = value.into();
        let mut last = Json::Null;
        let mut socket = self.socket();
        let end = std::time::Instant::now() + super::PATIENCE;
        while std::time::Instant::now() < end {
            last = socket.call("tag.read", json!({ "names": [name] }))["values"][0].take();
            if same(&last["value"], &value) && last["reason"] == reason {
                return last;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("`{name}` is not {value} {reason} but {last}; log:\n{}", self.log());
    }

    /// Waits until all that has happened so far is on disk.
    #[track_caller]
    pub fn durable(&self) {
        let mut socket = self.socket();
        let status = socket.call("process.status", json!({}))["store"].clone();
        eventually("everything is on disk", || {
            let now = socket.call("process.status", json!({}))["store"].clone();
            (now["durable_seq"].as_u64() >= status["last_seq"].as_u64()).then_some(())
        });
    }

    /// Writes one tag: its result.
    #[track_caller]
    pub fn write(&self, name: &str, value: impl Into<Json>) -> Json {
        let writes = json!([{ "name": name, "value": value.into() }]);
        self.call("tag.write", json!({ "writes": writes, "timeout_s": 10 }))["results"][0].take()
    }

    /// Subscribes on a connection of its own.
    #[track_caller]
    pub fn subscribe(&self, names: &[&str], after: impl Into<Json>) -> Changes {
        self.socket().subscribe(names, after.into())
    }

    /// A line as `line.list` shows it.
    #[track_caller]
    pub fn line(&self, name: &str) -> Json {
        named(&self.call("line.list", json!({}))["lines"], name)
    }

    /// A station as `station.list` shows it.
    #[track_caller]
    pub fn station(&self, name: &str) -> Json {
        named(&self.call("station.list", json!({}))["stations"], name)
    }

    /// Waits until line `plant` is connected and its filters are answered.
    #[track_caller]
    pub fn up(&self) {
        self.line_is("plant", "up");
    }

    /// Waits until a line is in this state; `up` includes that the filters are answered.
    #[track_caller]
    pub fn line_is(&self, name: &str, state: &str) -> Json {
        eventually(&format!("line {name} is {state}; log:\n{}", self.log()), || {
            let line = self.line(name);
            let answered = line["subscriptions"].as_array().is_some_and(|list| !list.is_empty());
            (line["state"] == state && (state != "up" || answered)).then_some(line)
        })
    }

    /// Whether any text of the log is a secret.
    fn check_log(&self) {
        let log = self.log();
        for line in log.lines() {
            assert!(!line.contains("panicked"), "the process panicked:\n{log}");
        }
        let usual = [SECRET_USER, SECRET_PASSWORD].map(str::to_owned);
        for secret in usual.iter().chain(&self.secrets) {
            assert!(!log.contains(secret.as_str()), "`{secret}` is in the log:\n{log}");
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the process\n{}---", tail(&self.log(), 60));
        } else {
            self.check_log();
        }
    }
}

/// The last lines of a text, long ones cut.
fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(count);
    let cut = |line: &&str| line.chars().take(400).chain(['\n']).collect::<String>();
    lines[first..].iter().map(cut).collect()
}

fn named(list: &Json, name: &str) -> Json {
    let found = list.as_array().unwrap().iter().find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("no `{name}` in {list}")).clone()
}

/// Numbers are compared as numbers: 3 is 3.0.
fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) if left.is_f64() || right.is_f64() => {
            left.as_f64() == right.as_f64()
        }
        _ => left == right,
    }
}

/// Sends a signal to a process that this test started.
pub(super) fn send_signal(process: u32, name: &str) {
    let script = format!("kill -{name} {process}");
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{script}: {status}");
}
