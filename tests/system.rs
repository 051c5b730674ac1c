//! The whole program from outside: the real binary between real or scripted brokers and its socket.
//!
//! Everything here knows the outer contract only. One test binary, so that linking is paid once.
//! Each test has ports and folders of its own, and waits for conditions, never for time to pass.
//!
//! | module | what it shows |
//! |---|---|
//! | `from_broker`, `writes`, `recovery` | values in, commands out, and both over crashes; Debian's mosquitto |
//! | `mapping`, `routing` | payloads to values, topics to stations, as the contract's section 7 says |
//! | `connection`, `duties`, `exactly_once` | the MQTT client under the eyes of a strict, scripted broker |
//! | `queued_writes` | writes that wait for their line, over restarts of everything |
//! | `outputs` | JSON documents and line protocol composed of output tags, cyclic publication |
//! | `explain` | where a value comes from; what a message would do |
//! | `hostile` | what brokers and payloads must not be able to do |
//! | `certificates`, `flood` | wrong certificates and what is said of them; 100,000 messages |
//! | `life`, `confirmation` | what is wrong with stations, off and simulated ones; ACK_ID |
//! | `local_socket`, `command_line` | the socket, the commands, their exit codes |
//! | `consumers`, `disk_full` | consumers that stop reading; a disk that takes nothing for a while |
//! | `campaign` | random cuts and kills while numbered messages flow both ways |
//! | `reload`, `tap` | another configuration while everything runs; messages as they come |
//! | `scenarios` | hundreds of scenarios: both versions, every transport, under a strict broker |
//! | `hunt` | random sessions over broken connections, in both versions and over every transport |
//! | `secrets` | where secrets may be seen: nowhere |

#![allow(clippy::disallowed_methods, reason = "a test is outside: it has a clock of its own")]
#![allow(clippy::print_stderr, reason = "a failing test shows the logs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

#[path = "system/harness/mod.rs"]
mod harness;

#[path = "system/strict/mod.rs"]
mod strict;

#[path = "system/campaign.rs"]
mod campaign;
#[path = "system/certificates.rs"]
mod certificates;
#[path = "system/command_line.rs"]
mod command_line;
#[path = "system/confirmation.rs"]
mod confirmation;
#[path = "system/connection.rs"]
mod connection;
#[path = "system/consumers.rs"]
mod consumers;
#[path = "system/disk_full.rs"]
mod disk_full;
#[path = "system/duties.rs"]
mod duties;
#[path = "system/exactly_once.rs"]
mod exactly_once;
#[path = "system/explain.rs"]
mod explain;
#[path = "system/flood.rs"]
mod flood;
#[path = "system/from_broker.rs"]
mod from_broker;
#[path = "system/hostile.rs"]
mod hostile;
#[path = "system/hunt.rs"]
mod hunt;
#[path = "system/life.rs"]
mod life;
#[path = "system/local_socket.rs"]
mod local_socket;
#[path = "system/mapping.rs"]
mod mapping;
#[path = "system/outputs.rs"]
mod outputs;
#[path = "system/queued_writes.rs"]
mod queued_writes;
#[path = "system/recovery.rs"]
mod recovery;
#[path = "system/redundant.rs"]
mod redundant;
#[path = "system/reload.rs"]
mod reload;
#[path = "system/routing.rs"]
mod routing;
#[path = "system/scenarios/mod.rs"]
mod scenarios;
#[path = "system/secrets.rs"]
mod secrets;
#[path = "system/tap.rs"]
mod tap;
#[path = "system/writes.rs"]
mod writes;
