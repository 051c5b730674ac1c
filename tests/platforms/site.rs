//! A shipped example at work: a copy of its folder, with the server's address replaced.

use std::fs;
use std::path::{Path, PathBuf};

use crate::authority::Authority;
use crate::harness::{Config, Driver};

/// The folder of a shipped example.
pub fn example(platform: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/platforms").join(platform)
}

/// A site that is being set up.
pub struct Site {
    pub driver: Driver,
}

impl Site {
    /// The example of a platform, copied.
    pub fn of(platform: &str) -> Self {
        let mut site = Self::empty();
        copy(&example(platform), site.driver.folder());
        // Quick to come back: a test does not wait for a second.
        site = site
            .change("[[line]]\n", "[[line]]\nreconnect = { min = \"20ms\", max = \"200ms\" }\n");
        site
    }

    /// A folder without a file.
    pub fn empty() -> Self {
        let driver = Driver::prepare(&Config::new());
        for path in ["tagline.toml", "stations/all.toml", "tags/all.csv"] {
            fs::remove_file(driver.folder().join(path)).unwrap();
        }
        Self { driver }
    }

    /// Replaces a text of `tagline.toml`, which must be there.
    #[track_caller]
    pub fn change(self, old: &str, new: &str) -> Self {
        let path = self.driver.folder().join("tagline.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "`{old}` is not in\n{text}");
        fs::write(path, text.replace(old, new)).unwrap();
        self
    }

    /// Replaces the scheme, host and port of a server.
    #[track_caller]
    pub fn server(self, shipped: &str, scheme: &str, port: u16) -> Self {
        self.change(shipped, &format!("{scheme}://localhost:{port}"))
    }

    /// Its machine believes this CA.
    pub fn believes(mut self, authority: &Authority) -> Self {
        let path = authority.path("ca.pem").display().to_string();
        self.driver.set_variable("SSL_CERT_FILE", &path);
        self
    }

    /// An environment variable with a secret.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.driver.set_variable(name, value);
        self.driver.secrets.push(value.to_owned());
        self
    }

    /// An environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.driver.set_variable(name, value);
        self
    }

    /// A file of the folder.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.driver.folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Checks the configuration, starts, and waits until these lines are up.
    #[track_caller]
    pub fn start(self, lines: &[&str]) -> Driver {
        let mut driver = self.driver;
        let checked = driver.run(["check"]);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        driver.restart();
        for line in lines {
            driver.line_is(line, "up");
        }
        driver
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
