//! Every limit of the client machine, each with its reason.

use std::time::Duration;

/// PUBLISH packets taken in one call of `handle_bytes`, so that writes get their turn in between.
pub const PUBLISHES_PER_TURN: usize = 10;

/// Other packets taken in one call: they are cheap, yet a flood of them must not keep the caller.
pub const PACKETS_PER_TURN: usize = 250;

/// Publishes of QoS 1 and 2 in flight when neither the configuration nor the server says less.
/// A broker in wide use takes 20 at QoS 2, answers the 21st of an MQTT 3.1.1 client with a PUBREC
/// whose error code only 5.0 can say, and loses it. Still 400 a second at 50 ms.
pub const IN_FLIGHT_MAX: usize = 20;

/// Publishes in flight when the server says that it takes as many or more: their payloads are held
/// in memory.
pub const IN_FLIGHT_SERVER_MAX: usize = 1024;

/// Publishes that wait for a place in flight; one more fails at once.
pub const WAITING_MAX: usize = 10_000;

/// Payload and topic bytes of those that wait.
pub const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes given to the transport that it has not taken: with more, publishes of QoS 0 fail at once
/// and those of QoS 1 and 2 wait.
pub const UNSENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Messages of one QoS that may wait for their acknowledgement: as many as there are packet ids.
pub const UNACKNOWLEDGED_MAX: usize = 65_535;

/// Filters in one SUBSCRIBE or UNSUBSCRIBE; a large hosted broker takes no more than eight.
pub const FILTERS_PER_PACKET: usize = 8;

/// Largest remaining length, MQTT 3.1.1 section 2.2.3.
pub const BODY_BYTES_MAX: usize = 268_435_455;

/// Topics remembered to share their text; a power of two.
pub const TOPICS_REMEMBERED: usize = 1024;

/// Longer topics are not remembered, so that the memory of it stays below a megabyte.
pub const TOPIC_REMEMBERED_BYTES_MAX: usize = 512;

/// Topic aliases towards the server, whatever more it takes.
pub const TOPIC_ALIASES_MAX: u16 = 256;

/// Topics whose uses are counted to decide which of them get an alias.
pub const TOPICS_COUNTED: usize = 1024;

/// Shorter topics have no alias: one takes up to four bytes.
pub const ALIASED_TOPIC_BYTES_MIN: usize = 5;

/// Servers taken from one Server Reference.
pub const REFERRED_MAX: usize = 16;

/// How long the outcome of a publish that was taken back waits for its record to be removed.
pub const REMOVAL_TIME: Duration = Duration::from_secs(1);

/// Smallest bound of the pause before a new attempt, whatever is configured: no tight loop.
pub const RECONNECT_BOUND_MIN: Duration = Duration::from_millis(100);

/// How long SUBSCRIBE waits for its records: inputs matter more than a filter that a later
/// configuration might fail to take back.
pub const SUBSCRIBE_GATE_TIME: Duration = Duration::from_secs(2);

/// A connection that lived this long counts as stable: back-off starts anew.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Connections in a row that the server closed before they were stable: another client with the
/// same id is the likely cause.
pub const TAKEN_OVER_TIMES: u32 = 3;

/// Connections in a row that the server closed before they were stable, with one and the same
/// publish unanswered: it is given up, unless somebody still waits for its outcome.
pub const FATAL_TIMES: u8 = 20;

/// While a server sends other packets, its answer may take this many times the reply timeout: it
/// stands behind them in the stream.
pub const REPLY_GRACE_FACTOR: u32 = 3;

const _: () = assert!(TOPICS_REMEMBERED.is_power_of_two());
const _: () = assert!(IN_FLIGHT_MAX < UNACKNOWLEDGED_MAX);
const _: () = assert!(TOPICS_COUNTED > TOPIC_ALIASES_MAX as usize);
