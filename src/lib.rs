//! Tagline: a SCADA communication driver.
//!
//! A process that stands beside a control system, talks MQTT to brokers, routes every message to a
//! *station*, maps its payload to typed *I/O tags* with time and quality, keeps them in an embedded
//! store and serves them on a local socket.
//!
//! The parts, from the pure ones to the ones that touch the world:
//!
//! | module | what it is |
//! |---|---|
//! | [`qos`], [`topic`] | the two words of MQTT that everybody speaks |
//! | [`mqtt`] | PURE: the MQTT client as a state machine |
//! | [`iotag`] | PURE: payloads to tag values and back |
//! | [`config`] | files to a checked configuration, all mistakes at once |
//! | [`discover`] | messages that were heard to station and tag files |
//! | [`store`] | values, journal and MQTT sessions on disk, one atomic batch at a time |
//! | [`hub`] | current values, settlement of batches, subscribers, writes |
//! | [`transport`] | bytes to and from a broker |
//! | [`mod@line`] | one task per connection; where `mqtt` and `iotag` meet |
//! | [`api`] | the local socket: JSON-RPC 2.0, one object per line |
//! | [`daemon`] | start, run and stop, in that order and its reverse |
//! | [`cli`] | commands, rendering, exit codes |
//!
//! Imports point one way; `tests/layers.rs` holds that. Read `docs/architecture.md` first.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod discover;
pub mod hub;
pub mod iotag;
pub mod line;
pub mod logging;
pub mod mqtt;
pub mod qos;
pub mod store;
pub mod topic;
pub mod transport;
