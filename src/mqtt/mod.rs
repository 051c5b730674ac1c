//! PURE: the MQTT client as a state machine.
//!
//! No socket, no clock, no task, no randomness of its own: bytes and `now` come in, outputs go out,
//! so the whole client is simulated, fuzzed and replayed by seed. Only [`codec`] knows the version.

pub mod bounds;
pub mod client;
pub mod codec;
mod connection;
pub mod error;
pub mod frame;
pub mod packet;
pub mod planted;
mod reconnect;
pub mod session;
mod timer;

pub use client::{
    BytesProgress, Client, ClientOptions, Command, Credentials, Delivery, Event, Input, Output,
    PublishOutcome, PublishToken, Version,
};
pub use packet::{Publication, Subscription, Will};
pub use session::{ChangeSeq, Session, SessionChange, Unfinished};
