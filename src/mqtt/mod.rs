//! PURE: the MQTT client as a state machine.
//!
//! No socket, no clock, no task, no randomness of its own: bytes and `now` come in, outputs go out,
//! so the whole client is simulated, fuzzed and replayed by seed. Only [`codec`] knows the version.

mod alias;
pub mod authenticator;
pub mod bounds;
pub mod client;
pub mod codec;
mod connection;
pub mod error;
pub mod frame;
pub mod packet;
pub mod planted;
pub mod reason;
mod reconnect;
mod repeats;
pub mod scram;
pub mod session;
mod timer;

pub use authenticator::Authenticator;
pub use client::{
    BytesProgress, Client, ClientOptions, Command, Credentials, Delivery, Event, Input, Output,
    PublishOutcome, PublishToken, Version,
};
pub use packet::{
    ConnectProperties, Publication, PublishProperties, RetainHandling, SubscribeOptions,
    Subscription, Will,
};
pub use reconnect::{Endpoint, Referred};
pub use session::{ChangeSeq, Session, SessionChange, Unconfirmed, Unfinished};
