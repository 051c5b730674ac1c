//! Debian's mosquitto and its two clients.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::driver::send_signal;
use super::{eventually, free_port};

/// A broker on a port of its own.
pub struct Mosquitto {
    pub port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
    login: Option<(String, String)>,
}

impl Mosquitto {
    /// Starts a broker that lets everybody in and keeps sessions.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with("allow_anonymous true\n", None)
    }

    /// As [`Self::start`]; it sends this many messages before the first has to be acknowledged.
    #[track_caller]
    pub fn start_with_window(messages: u16) -> Self {
        let window = format!("allow_anonymous true\nmax_inflight_messages {messages}\n");
        Self::start_with(&window, None)
    }

    /// Starts a broker that knows one user, who may do what `acl` says.
    #[track_caller]
    pub fn start_for(user: &str, password: &str, acl: &str) -> Self {
        Self::start_with("allow_anonymous false\n", Some((user, password, acl)))
    }

    /// Starts a broker with these lines about access, and further listeners, in its configuration.
    #[track_caller]
    pub fn start_with(access: &str, login: Option<(&str, &str, &str)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut config = format!(
            "user root\nlistener {port} 127.0.0.1\n{access}persistence true\n\
             persistence_location {}/\nautosave_interval 1800\nmax_queued_messages 0\n\
             set_tcp_nodelay true\nlog_dest stderr\nlog_type all\nconnection_messages true\n",
            folder.path().display()
        );
        if let Some((user, password, acl)) = login {
            std::fs::write(path("acl"), format!("user {user}\n{acl}\n")).unwrap();
            let status = tool("mosquitto_passwd")
                .args(["-b", "-c", &path("passwords"), user, password])
                .status();
            assert!(installed(status, "mosquitto_passwd").success(), "mosquitto_passwd failed");
            config.push_str(&format!(
                "password_file {}\nacl_file {}\n",
                path("passwords"),
                path("acl")
            ));
        }
        std::fs::write(path("mosquitto.conf"), config).unwrap();
        let login = login.map(|(user, password, _)| (user.to_owned(), password.to_owned()));
        let mut broker = Self { port, folder, child: None, login };
        broker.start_again();
        broker
    }

    /// Debian's clients for a broker of another make, which listens on this port.
    #[allow(dead_code, reason = "the interoperability matrix has a second broker")]
    pub fn clients_of(port: u16) -> Self {
        Self { port, folder: tempfile::tempdir().unwrap(), child: None, login: None }
    }

    /// Starts it on its old port, with what it has kept.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = tool("mosquitto")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let mut child = installed(child, "mosquitto");
        eventually("mosquitto listens", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("mosquitto ended with {status}:\n{}", self.log());
            }
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.child = Some(child);
    }

    /// Stops it in order: it writes its sessions down.
    #[track_caller]
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        send_signal(child.id(), "TERM");
        eventually("mosquitto ends", || child.try_wait().unwrap());
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log.txt")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Waits until the driver has completed so many QoS 2 exchanges. A mosquitto 2.0.11 that is
    /// stopped, or cut off twice, between PUBREC and PUBCOMP sends the message again.
    #[track_caller]
    pub fn completed(&self, count: usize) {
        eventually("the QoS 2 exchanges are complete", || {
            let completed = self.log().matches("Received PUBCOMP from tagline").count();
            (completed >= count).then_some(())
        });
    }

    /// Waits until the driver has acknowledged so many QoS 1 messages.
    #[track_caller]
    pub fn acknowledged(&self, count: usize) {
        eventually("the QoS 1 messages are acknowledged", || {
            let acknowledged = self.log().matches("Received PUBACK from tagline").count();
            (acknowledged >= count).then_some(())
        });
    }

    fn client(&self, name: &str) -> Command {
        let mut command = tool(name);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some((user, password)) = &self.login {
            command.args(["-u", user, "-P", password]);
        }
        command
    }

    /// Publishes one message with mosquitto_pub.
    #[track_caller]
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.publish_with(topic, payload.as_ref(), qos, &[]);
    }

    /// Publishes one retained message.
    #[track_caller]
    pub fn publish_retained(&self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.publish_with(topic, payload.as_ref(), qos, &["-r"]);
    }

    #[track_caller]
    fn publish_with(&self, topic: &str, payload: &[u8], qos: u8, more: &[&str]) {
        let mut command = self.client("mosquitto_pub");
        command.args(["-t", topic, "-q", &qos.to_string()]).args(more);
        command.arg(if payload.is_empty() { "-n" } else { "-s" });
        feed(command, payload);
    }

    /// Publishes each line as a message of its own, on one connection, in order.
    #[track_caller]
    pub fn publish_lines(&self, topic: &str, lines: &str, qos: u8) {
        let mut command = self.client("mosquitto_pub");
        command.args(["-t", topic, "-q", &qos.to_string(), "-l"]);
        feed(command, lines.as_bytes());
    }

    /// Subscribes with mosquitto_sub and waits until the broker has agreed.
    #[track_caller]
    pub fn subscribe(&self, filter: &str, qos: u8) -> Subscriber {
        let mut command = Command::new("stdbuf");
        let client = self.client("mosquitto_sub");
        command.arg("-oL").arg(client.get_program()).args(client.get_args());
        command.args(["-d", "-t", filter, "-q", &qos.to_string(), "-F", "MSG|%q|%r|%t|%p"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = installed(command.spawn(), "mosquitto_sub");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let sink = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let subscriber = Subscriber { child, lines };
        eventually("mosquitto_sub is subscribed", || {
            let lines = subscriber.lines.lock().unwrap();
            lines.iter().any(|line| line.starts_with("Subscribed")).then_some(())
        });
        subscriber
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(4000)..];
            eprintln!("--- log of mosquitto\n{}\n---", last.join("\n"));
        }
    }
}

/// A message as mosquitto_sub got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub qos: u8,
    pub retain: bool,
    pub topic: String,
    pub payload: String,
}

/// A running mosquitto_sub.
pub struct Subscriber {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Subscriber {
    /// What it has received so far.
    pub fn received(&self) -> Vec<Received> {
        let lines = self.lines.lock().unwrap();
        let messages = lines.iter().filter_map(|line| line.strip_prefix("MSG|"));
        messages
            .map(|line| {
                let fields: Vec<&str> = line.splitn(4, '|').collect();
                Received {
                    qos: fields[0].parse().unwrap(),
                    retain: fields[1] == "1",
                    topic: fields[2].to_owned(),
                    payload: fields[3].to_owned(),
                }
            })
            .collect()
    }

    /// Waits for so many messages.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(&format!("mosquitto_sub receives {count} messages"), || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn feed(mut command: Command, input: &[u8]) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = installed(child, "mosquitto_pub");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "mosquitto_pub: {status}");
}

/// A tool of Debian's packages `mosquitto` and `mosquitto-clients`.
fn tool(name: &str) -> Command {
    let in_sbin = Path::new("/usr/sbin").join(name);
    let known = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).exists()));
    if known || !in_sbin.exists() { Command::new(name) } else { Command::new(in_sbin) }
}

#[track_caller]
fn installed<T>(result: std::io::Result<T>, name: &str) -> T {
    result.unwrap_or_else(|error| {
        panic!("`{name}` cannot be run ({error}): apt-get install mosquitto mosquitto-clients")
    })
}
