//! Every queue between the lines, the store and the socket: how long it may get, and what then.

/// Writes that wait for a line's task. Full: the write fails at once, `busy`; nothing happened.
pub const LINE_COMMANDS_MAX: usize = 1024;

/// Tag changes that a line may have applied but not yet on disk. Full: the line stops reading its
/// socket until the store has caught up; the broker feels it by missing acknowledgements.
pub const UNSETTLED_CHANGES_MAX: usize = 65_536;

/// Payload bytes that a line may have applied but not yet on disk; as above.
pub const UNSETTLED_BYTES_MAX: usize = 32 << 20;

/// Numbers of changes that a restart skips, so that a number which was shown before the crash but
/// had not reached the disk is never given to another change. More than all lines together can
/// have unsettled.
pub const SEQ_SKIPPED_AT_START: u64 = 1 << 32;

/// Durable changes kept in memory for subscribers. A subscriber that falls behind is served from
/// the journal on disk.
pub const FEED_CHANGES_MAX: usize = 65_536;

/// Bytes of text that those changes may hold.
pub const FEED_BYTES_MAX: usize = 16 << 20;

/// Changes that one group commit takes at most, unless a single batch has more.
pub const COMMIT_CHANGES_MAX: usize = 32_768;

/// Bytes of text and session records that one group commit takes at most, unless a single batch
/// has more.
pub const COMMIT_BYTES_MAX: usize = 16 << 20;

/// Changes that a subscriber is handed at a time.
pub const FEED_READ_MAX: usize = 4096;
