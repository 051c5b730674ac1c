//! {3.1.1, 5.0} × {TCP, TLS, mutual TLS, WebSocket, WebSocket over TLS} × QoS {0, 1, 2} × {clean,
//! resumed} with the real binary: every combination is a line of one driver process. In each, a
//! message comes in, a command goes out, and the driver is away while another message is published.
//!
//! The brokers are Debian's mosquitto, which `scripts/test` installs, and rumqttd in this process.
//! The tables are written past the test runner, which would keep them for itself.

#![allow(clippy::disallowed_methods, reason = "a test is outside: it has a clock of its own")]
#![allow(clippy::print_stderr, reason = "a failing test shows the logs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

#[allow(dead_code, unused_imports, reason = "made for the scenarios of tests/system.rs")]
#[path = "system/harness/mod.rs"]
mod harness;

#[path = "interop/cell.rs"]
mod cell;
#[path = "interop/mosquitto.rs"]
mod mosquitto;
#[path = "interop/peer.rs"]
mod peer;
#[cfg(feature = "demo")]
#[path = "interop/rumqttd.rs"]
mod rumqttd;
#[path = "interop/run.rs"]
mod run;
#[path = "interop/table.rs"]
mod table;
