//! The only place that asks what time it is.
//!
//! Monotonic time drives timers; wall time stamps messages as they arrive. Everything below the
//! daemon gets both as arguments, so that it can be simulated and replayed.

use std::time::Instant;

use crate::iotag::Timestamp;

/// Monotonic time, for timers only.
#[expect(clippy::disallowed_methods, reason = "the clock is read here and nowhere else")]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall time, for the time stamps of values.
#[expect(clippy::disallowed_methods, reason = "the clock is read here and nowhere else")]
pub fn wall() -> Timestamp {
    Timestamp::now()
}
