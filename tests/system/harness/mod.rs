//! What the scenarios are made of.

mod config;
mod driver;
mod fake_broker;
mod model_broker;
mod monitor;
mod mosquitto;
pub mod packet;
mod proxy;
mod socket;
mod wait;

pub use config::Config;
pub use driver::Driver;
pub use fake_broker::{FakeBroker, Link, Next};
pub use model_broker::ModelBroker;
pub use mosquitto::Mosquitto;
#[allow(unused_imports, reason = "each of the test programs names what it needs")]
pub use mosquitto::{Received, Subscriber};
pub use proxy::{Proxy, Random};
pub use socket::{Changes, Socket};
pub use wait::{PATIENCE, eventually, free_port};

/// A user name that every driver is given; it must appear nowhere.
pub const SECRET_USER: &str = "user-7c1e-whisper";

/// A password that every driver is given; it must appear nowhere.
pub const SECRET_PASSWORD: &str = "hunter2-93ab-whisper";
