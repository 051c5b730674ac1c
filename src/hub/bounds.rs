//! Every queue between the lines, the store and the socket: how long it may get, and what then.

/// Writes that wait for a line's task: as many as may wait in its client for a place in flight, so that
/// one request may write that many. Full: the write fails at once, `busy`; nothing happened.
pub const LINE_COMMANDS_MAX: usize = 10_000;

/// Tag changes that a line may have applied but not yet on disk. Full: the line stops reading its
/// socket until the store has caught up; the broker feels it by missing acknowledgements. While the
/// store takes nothing, only what may not leave the journal counts.
pub const UNSETTLED_CHANGES_MAX: usize = 65_536;

/// Payload bytes that a line may have applied but not yet on disk; as above.
pub const UNSETTLED_BYTES_MAX: usize = 32 << 20;

/// Changes of all lines that wait while the store takes nothing, before those of QoS 0 leave the journal:
/// of the older half, only the last one of each tag stays. Where more stays, half as many again.
pub const BACKLOG_CHANGES_MAX: usize = 65_536;

/// Bytes of text and session records that wait then; as above.
pub const BACKLOG_BYTES_MAX: usize = 32 << 20;

/// At so many times that, the lines stop reading until it is less.
pub const BACKLOG_READING_FACTOR: usize = 4;

/// Gaps in the journal that are known one by one. More: the two oldest become one, with what lies between.
pub const GAPS_MAX: usize = 64;

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

/// Publications of one station that wait for its line, when it queues writes. Full: the write fails at once,
/// `busy`; nothing happened.
pub const QUEUED_WRITES_MAX: usize = 10_000;

/// Topic and payload bytes of those; as above. They are in memory, too.
pub const QUEUED_BYTES_MAX: usize = 16 << 20;

/// The same of all stations of a line.
pub const QUEUED_BYTES_LINE_MAX: usize = 64 << 20;

/// Queued writes that a line takes out in one turn.
pub const QUEUED_PER_TURN: usize = 64;

/// Queued writes that may be taken out to be sent and are not sent yet, where no session remembers them: a
/// crash leaves so many uncertain at most.
pub const QUEUED_TAKEN_MAX: usize = 8;

/// Ends of queued writes that are remembered; the oldest go first.
pub const WRITE_STATUSES_MAX: usize = 65_536;

/// Changes that a subscriber is handed at a time.
pub const FEED_READ_MAX: usize = 4096;

/// Messages that a redundant line keeps of each path until their copies come over the other one.
/// Full: the oldest goes, and its copy, should it still come, passes for another message.
pub const DUPLICATES_KEPT_MAX: usize = 131_072;

/// How long they are kept at most, while the other path is away; as above.
pub const DUPLICATES_KEPT_AGE_MAX: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Topics of which a redundant line knows whether a retained message is news. Full: the one that
/// was first seen goes, and its retained message, should it be replayed, is taken again.
pub const DUPLICATES_TOPICS_MAX: usize = 131_072;

/// QoS 1 messages that a redundant line knows of each path by their packet identifiers, should the
/// server send them again. Full: the oldest goes, and its repetition passes for another message.
pub const REDELIVERIES_KNOWN_MAX: usize = 4096;

/// Messages that the store knows of a redundant line at least, paired or not: those that a server
/// may send again after a restart because it has not seen our PUBACK.
pub const DUPLICATE_NOTES_LOGGED_MIN: usize = 1024;

/// Bytes of messages that wait for one `message.tap`, unless a single message has more. Full: messages
/// are lost for that client, and counted.
pub const TAP_BYTES_MAX: usize = 4 << 20;
