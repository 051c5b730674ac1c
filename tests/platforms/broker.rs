//! Debian's mosquitto with users, access lists and listeners as a platform has them, and a plain
//! listener on which the test itself may do everything.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Mosquitto, Subscriber, eventually, free_port};

pub struct Broker {
    /// Plain, for the test and for a gate.
    pub port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Broker {
    /// Everybody may do everything.
    pub fn open() -> Self {
        Self::start("")
    }

    /// As [`Self::open`], with further lines of configuration.
    pub fn start(more: &str) -> Self {
        Self::with_users(more, &[])
    }

    /// With users: name, password, and their lines of the access list. The test stays anonymous.
    pub fn with_users(more: &str, users: &[(&str, &str, &str)]) -> Self {
        let mut broker =
            Self { port: free_port(), folder: tempfile::tempdir().unwrap(), child: None };
        let folder = broker.folder.path().display().to_string();
        let mut config = format!(
            "user root\nlistener {} 127.0.0.1\nallow_anonymous true\npersistence true\n\
             persistence_location {folder}/\nautosave_interval 1800\nmax_queued_messages 0\n\
             set_tcp_nodelay true\nlog_dest stderr\nlog_type all\nconnection_messages true\n",
            broker.port
        );
        if !users.is_empty() {
            config.push_str(&format!("password_file {folder}/passwords\nacl_file {folder}/acl\n"));
            let mut acl = "topic readwrite #\n".to_owned();
            File::create(broker.path("passwords")).unwrap();
            for (user, password, rights) in users {
                broker.set_password(user, password);
                acl.push_str(&format!("user {user}\n{rights}\n"));
            }
            std::fs::write(broker.path("acl"), acl).unwrap();
        }
        config.push_str(more);
        std::fs::write(broker.path("mosquitto.conf"), config).unwrap();
        broker.run();
        broker
    }

    /// The lines of a TLS listener; also its port.
    pub fn listener(keys: &str) -> (u16, String) {
        let port = free_port();
        (port, format!("listener {port} 127.0.0.1\n{keys}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log.txt")).unwrap();
        let mut child = tool("mosquitto")
            .arg("-c")
            .arg(self.path("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mosquitto is not installed: `scripts/test` does it");
        eventually("mosquitto listens", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("mosquitto ended with {status}:\n{}", self.log());
            }
            // It listens before it would survive a SIGHUP.
            let runs = self.log().contains("running");
            TcpStream::connect(("127.0.0.1", self.port)).ok().filter(|_| runs)
        });
        self.child = Some(child);
    }

    /// Writes a password; [`Self::reload`] makes it known.
    pub fn set_password(&self, user: &str, password: &str) {
        let status = tool("mosquitto_passwd")
            .arg("-b")
            .arg(self.path("passwords"))
            .args([user, password])
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    pub fn remove_user(&self, user: &str) {
        let status =
            tool("mosquitto_passwd").arg("-D").arg(self.path("passwords")).arg(user).status();
        assert!(status.unwrap().success());
    }

    /// SIGHUP: users that are gone are disconnected.
    pub fn reload(&self) {
        let id = self.child.as_ref().unwrap().id();
        let before = self.log().matches("Reloading config").count();
        let status = Command::new("sh").args(["-c", &format!("kill -HUP {id}")]).status();
        assert!(status.unwrap().success());
        eventually("mosquitto has reloaded", || {
            (self.log().matches("Reloading config").count() > before).then_some(())
        });
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("log.txt")).unwrap_or_default())
            .into_owned()
    }

    /// Waits for a line of its log with all of these texts.
    #[track_caller]
    pub fn logs(&self, texts: &[&str]) -> String {
        eventually(&format!("mosquitto logs {texts:?}:\n{}", self.log()), || {
            let log = self.log();
            let has_all = |line: &&str| texts.iter().all(|text| line.contains(text));
            log.lines().find(has_all).map(ToOwned::to_owned)
        })
    }

    fn clients(&self) -> Mosquitto {
        Mosquitto::clients_of(self.port)
    }

    #[track_caller]
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.clients().publish(topic, payload, qos);
    }

    /// MQTT 5.0 with a Content Type.
    #[track_caller]
    pub fn publish_typed(&self, topic: &str, payload: &[u8], content_type: &str) {
        let mut child = tool("mosquitto_pub")
            .args(["-V", "mqttv5", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-q", "1"])
            .args(["-t", topic, "-D", "publish", "content-type", content_type, "-s"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(payload).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// What is published on a filter from here on.
    #[track_caller]
    pub fn subscribe(&self, filter: &str, qos: u8) -> Subscriber {
        self.clients().subscribe(filter, qos)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- log of mosquitto\n{}\n---", last.join("\n"));
        }
    }
}

fn tool(name: &str) -> Command {
    let in_sbin = Path::new("/usr/sbin").join(name);
    let known = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).exists()));
    if known || !in_sbin.exists() { Command::new(name) } else { Command::new(in_sbin) }
}
