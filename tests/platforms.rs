//! The platforms of `examples/platforms`, each run as it is shipped against a stand-in: Debian's
//! mosquitto and, where a platform has rules that mosquitto does not know, a gate in front of it
//! that enforces them. `docs/platforms.md` says which test shows what.
//!
//! An example's files are copied; only the address of its server is replaced, and its identities come
//! from the environment and from files, as its page says.

#![allow(clippy::disallowed_methods, reason = "a test is outside: it has a clock of its own")]
#![allow(clippy::print_stderr, reason = "a failing test shows the logs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

#[allow(dead_code, unused_imports, reason = "made for the scenarios of tests/system.rs")]
#[path = "system/harness/mod.rs"]
mod harness;

#[path = "platforms/aedifion.rs"]
mod aedifion;
#[path = "platforms/akenza.rs"]
mod akenza;
#[path = "platforms/authority.rs"]
mod authority;
#[path = "platforms/broker.rs"]
mod broker;
#[path = "platforms/d2000.rs"]
mod d2000;
#[path = "platforms/discover.rs"]
mod discover;
#[path = "platforms/energydata.rs"]
mod energydata;
#[path = "platforms/gate.rs"]
mod gate;
#[path = "platforms/live_objects.rs"]
mod live_objects;
#[path = "platforms/lorawan.rs"]
mod lorawan;
#[path = "platforms/manual.rs"]
mod manual;
#[path = "platforms/messages.rs"]
mod messages;
#[path = "platforms/pixii.rs"]
mod pixii;
#[path = "platforms/powernaut.rs"]
mod powernaut;
#[path = "platforms/site.rs"]
mod site;
#[path = "platforms/wire.rs"]
mod wire;
