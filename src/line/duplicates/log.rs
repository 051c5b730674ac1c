//! PURE: the pairing on disk, so that a copy is known over a restart.
//!
//! What a batch does to the pairing is one record, a block, that is committed with its values. A
//! block is deleted once all blocks before it are, nothing in it awaits its copy, and enough
//! messages were taken since that a server will hardly send one of it again.
//!
//! A block: wall time in nanoseconds (8), then notes; numbers are big-endian.
//!
//! | note | what |
//! |---|---|
//! | 1, path, packet id (2), number (8), print (16) | applied, and not paired |
//! | 2, path, packet id (2), number (8) | its copy came over this path |
//! | 3, number (8) | its copy is not awaited any more |

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Note, Print};
use crate::hub::bounds::DUPLICATE_NOTES_LOGGED_MIN;
use crate::hub::status::PathId;
use crate::iotag::Timestamp;
use crate::store::SessionRecord;

const APPLIED: u8 = 1;
const PAIRED: u8 = 2;
const DROPPED: u8 = 3;

/// Blocks that one batch deletes at most: after a long outage there are many.
const DELETED_AT_A_TIME: usize = 256;

/// Notes after which a batch is made for them alone: messages that change nothing make none.
const NOTES_IN_A_BATCH: usize = 1024;

/// What is on disk, or about to be.
pub(in crate::line) struct Log {
    /// What its records are stored under.
    name: Arc<str>,
    open: Vec<u8>,
    open_notes: usize,
    /// Messages of the open block that await their copies.
    open_live: usize,
    blocks: VecDeque<Block>,
    last_block: u64,
    /// Notes in all blocks.
    notes: usize,
    /// Block of each message that awaits its copy.
    block_of: BTreeMap<u64, u64>,
}

struct Block {
    number: u64,
    notes: usize,
    live: usize,
}

impl Log {
    /// What the log of a line is stored under. No line has this name: it begins with a control
    /// character.
    pub(in crate::line) fn name(line: &str) -> Arc<str> {
        format!("\u{3}{line}").into()
    }

    /// A log that continues a stored one, and its notes with their ages, in order.
    pub(in crate::line) fn restore(
        line: &str,
        mut records: Vec<(Vec<u8>, Vec<u8>)>,
        now: Timestamp,
    ) -> (Self, Vec<(Duration, Note)>) {
        let mut log = Self {
            name: Self::name(line),
            open: Vec::new(),
            open_notes: 0,
            open_live: 0,
            blocks: VecDeque::new(),
            last_block: 0,
            notes: 0,
            block_of: BTreeMap::new(),
        };
        records.sort_unstable();
        let mut restored = Vec::new();
        for (key, value) in records {
            let Some(number) = key.as_slice().try_into().ok().map(u64::from_be_bytes) else {
                continue;
            };
            let before = restored.len();
            read_block(&value, now, &mut restored);
            log.last_block = number;
            log.blocks.push_back(Block { number, notes: restored.len() - before, live: 0 });
            log.notes += restored.len() - before;
            for (_, note) in &restored[before..] {
                log.account(*note, number);
            }
        }
        (log, restored)
    }

    /// Something that the batch being filled does.
    pub(in crate::line) fn note(&mut self, note: Note) {
        let open = &mut self.open;
        match note {
            Note::Applied { number, path, packet_id, print } => {
                open.extend_from_slice(&[APPLIED, path.0]);
                open.extend_from_slice(&packet_id.to_be_bytes());
                open.extend_from_slice(&number.to_be_bytes());
                open.extend_from_slice(&print);
            }
            Note::Paired { number, path, packet_id } => {
                open.extend_from_slice(&[PAIRED, path.0]);
                open.extend_from_slice(&packet_id.to_be_bytes());
                open.extend_from_slice(&number.to_be_bytes());
            }
            Note::Dropped { number } => {
                open.push(DROPPED);
                open.extend_from_slice(&number.to_be_bytes());
            }
        }
        self.open_notes += 1;
        self.account(note, self.last_block + 1);
    }

    fn account(&mut self, note: Note, block: u64) {
        match note {
            Note::Applied { number, .. } => {
                self.block_of.insert(number, block);
                if let Some(live) = self.live(block) {
                    *live += 1;
                }
            }
            Note::Paired { number, .. } | Note::Dropped { number } => {
                if let Some(block) = self.block_of.remove(&number)
                    && let Some(live) = self.live(block)
                {
                    *live = live.saturating_sub(1);
                }
            }
        }
    }

    fn live(&mut self, block: u64) -> Option<&mut usize> {
        if block > self.last_block {
            return Some(&mut self.open_live);
        }
        let position = self.blocks.binary_search_by_key(&block, |block| block.number).ok()?;
        Some(&mut self.blocks[position].live)
    }

    /// Whether a batch is to be made even if there is nothing else for it.
    pub(in crate::line) fn is_due(&self) -> bool {
        self.open_notes >= NOTES_IN_A_BATCH
    }

    /// The records that go with the batch.
    pub(in crate::line) fn take_records(&mut self, now: Timestamp) -> Vec<SessionRecord> {
        let mut records = Vec::new();
        if self.open_notes > 0 {
            self.last_block += 1;
            let wall = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
            let mut value = wall.to_be_bytes().to_vec();
            value.append(&mut self.open);
            records.push(self.record(self.last_block, Some(value)));
            let notes = std::mem::take(&mut self.open_notes);
            let live = std::mem::take(&mut self.open_live);
            self.blocks.push_back(Block { number: self.last_block, notes, live });
            self.notes += notes;
        }
        while let Some(first) = self.blocks.front()
            && first.live == 0
            && self.notes - first.notes >= DUPLICATE_NOTES_LOGGED_MIN
            && records.len() < DELETED_AT_A_TIME
        {
            self.notes -= first.notes;
            records.push(self.record(first.number, None));
            self.blocks.pop_front();
        }
        records
    }

    fn record(&self, block: u64, value: Option<Vec<u8>>) -> SessionRecord {
        SessionRecord { line: Arc::clone(&self.name), key: block.to_be_bytes().to_vec(), value }
    }
}

/// Appends the notes of a block, as far as they can be read.
fn read_block(value: &[u8], now: Timestamp, notes: &mut Vec<(Duration, Note)>) {
    let Some((wall, mut rest)) = value.split_first_chunk() else { return };
    let passed = now.as_nanosecond() - i128::from(i64::from_be_bytes(*wall));
    let age = Duration::from_nanos(u64::try_from(passed).unwrap_or(0));
    while let Some((note, behind)) = read_note(rest) {
        notes.push((age, note));
        rest = behind;
    }
}

fn read_note(bytes: &[u8]) -> Option<(Note, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    if kind == DROPPED {
        let (number, rest) = rest.split_first_chunk()?;
        return Some((Note::Dropped { number: u64::from_be_bytes(*number) }, rest));
    }
    let (&path, rest) = rest.split_first()?;
    let (packet_id, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let path = PathId::all().into_iter().find(|known| known.0 == path)?;
    let packet_id = u16::from_be_bytes(*packet_id);
    let number = u64::from_be_bytes(*number);
    match kind {
        APPLIED => {
            let (print, rest): (&Print, _) = rest.split_first_chunk()?;
            Some((Note::Applied { number, path, packet_id, print: *print }, rest))
        }
        PAIRED => Some((Note::Paired { number, path, packet_id }, rest)),
        _ => None,
    }
}
