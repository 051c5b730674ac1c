//! Writes: from what a client asks for to one publication per station, and its outcome.
//!
//! An outcome never blurs "it did not happen" (`failed`) and "it may have happened" (`uncertain`).

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::Hub;
use super::explain::Explained;
use super::setup::LineLink;
use super::status::StationMode;
use crate::clock;
use crate::iotag::{
    LineId, Quality, Reason, StationId, TagAddress, TagId, TagUpdate, Timestamp, Value, output,
};
use crate::qos::Qos;

/// How much longer than its deadline a write waits for the line to say how it ended.
const OUTCOME_GRACE: Duration = Duration::from_secs(2);

/// One tag to be written.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// Name of the tag.
    pub name: String,
    /// New value, as it came in.
    pub value: serde_json::Value,
}

/// How one write ended.
#[derive(Clone, Debug)]
pub struct WriteResult {
    /// Name of the tag.
    pub name: String,
    /// How it ended.
    pub outcome: WriteOutcome,
    /// How long it took.
    pub elapsed: Duration,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// QoS 0 sent to the socket, QoS 1 PUBACK, QoS 2 PUBCOMP.
    Completed,
    /// It is in the store under this number, and goes out when it can. Of several writes that are published
    /// together, this is the number of the first; the others follow.
    Queued(u64),
    /// It did not happen.
    Failed(WriteError),
    /// It left, and no answer came in time or the session was lost: it may have happened.
    Uncertain(WriteError),
}

/// Why a write was not completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteError {
    /// The contract's error code, section 5.
    pub code: i32,
    /// In words.
    pub message: String,
}

impl WriteError {
    /// No such tag.
    pub const NO_SUCH_TAG: i32 = -32001;
    /// Not writable.
    pub const NOT_WRITABLE: i32 = -32002;
    /// Refused value.
    pub const REFUSED: i32 = -32003;
    /// Line down.
    pub const LINE_DOWN: i32 = -32004;
    /// Busy.
    pub const BUSY: i32 = -32005;
    /// The publication failed, or nobody knows how it ended.
    pub const PUBLICATION: i32 = -32006;

    /// An error of this code.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What a line is asked to do.
#[derive(Debug)]
pub enum LineCommand {
    /// Publish, and say how it ended.
    Publish(Publish),
    /// The control system has confirmed a message.
    Confirm(Confirm),
    /// Say where a tag's value comes from.
    Explain {
        /// Which tag.
        tag: TagId,
        /// Who waits.
        reply: oneshot::Sender<Explained>,
    },
    /// Switch a station on or off, or simulate it.
    Mode {
        /// Which station.
        station: StationId,
        /// From now on.
        mode: StationMode,
        /// Who waits.
        reply: oneshot::Sender<()>,
    },
}

/// A packet identifier that was written to an ACK_ID tag.
#[derive(Debug)]
pub struct Confirm {
    /// Whose message.
    pub station: StationId,
    /// The ACK_ID tag.
    pub tag: TagId,
    /// What was written; a Co.
    pub packet_id: Value,
    /// Who waits.
    pub reply: oneshot::Sender<WriteOutcome>,
}

/// A publication. What hangs on it is the hub's matter: [`Hub::publication_ended`].
#[derive(Clone, Debug)]
pub struct Publish {
    /// Whose outputs.
    pub station: StationId,
    /// Its number among the publications of its station.
    pub number: u64,
    /// Whether nobody wrote it: it is one of `publish_every`.
    pub cyclic: bool,
    /// Topic name; checked.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
    /// MQTT 5.0 Content Type of the payload.
    pub content_type: Option<Arc<str>>,
    /// When its outcome is wanted at the latest.
    pub deadline: Instant,
    /// When it must not leave any more; `None`: it may at any time.
    pub expires: Option<Instant>,
    /// Whether it is put back to its station's queue if the connection does not take it.
    pub queues: bool,
}

/// A write that is on its way, or has ended already.
enum Started {
    Ended(WriteOutcome, Duration),
    /// One of these receivers hears how it ended; among the writes that are published with it, it has this
    /// position.
    Waiting(usize, usize),
}

/// Queued writes of one request that were published together have ended, and that is on disk.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Number of the first.
    pub first: u64,
    /// Names of their tags; each has the next number.
    pub names: Vec<Arc<str>>,
    /// How they ended.
    pub outcome: WriteOutcome,
}

/// Where a client hears of its queued writes; there are no more than it has queued.
pub type Finishes = mpsc::UnboundedSender<Finished>;

/// Writes that are on their way to their lines, in the order of the requests.
pub struct StartedWrites {
    begun: Instant,
    deadline: Instant,
    writes: Vec<(String, Option<Started>)>,
    waiting: Vec<oneshot::Receiver<WriteOutcome>>,
}

impl StartedWrites {
    /// Waits for all outcomes; the results are in the order of the requests. Those that are queued have an
    /// end still to come: the numbers by which [`Finished`] names them. What has not ended when `given_up` ends is
    /// uncertain.
    pub async fn outcomes(
        self,
        given_up: impl Future<Output = ()>,
    ) -> (Vec<WriteResult>, Vec<u64>) {
        let Self { begun, deadline, writes, waiting } = self;
        let mut ended = Vec::with_capacity(waiting.len());
        let mut queued = Vec::new();
        let mut given_up = pin!(given_up);
        let mut is_given_up = false;
        for mut receiver in waiting {
            let stopped = || uncertain("the process stopped before the outcome was known");
            let outcome = if is_given_up {
                receiver.try_recv().unwrap_or_else(|_| stopped())
            } else {
                tokio::select! {
                    biased;
                    outcome = await_outcome(receiver, deadline + OUTCOME_GRACE) => outcome,
                    () = &mut given_up => {
                        is_given_up = true;
                        stopped()
                    }
                }
            };
            if let WriteOutcome::Queued(first) = outcome {
                queued.push(first);
            }
            ended.push((outcome, clock::now() - begun));
        }
        let result = |(name, started): (String, Option<Started>)| {
            let (outcome, elapsed) = match started {
                Some(Started::Ended(outcome, elapsed)) => (outcome, elapsed),
                Some(Started::Waiting(index, position)) => {
                    let (mut outcome, elapsed) = ended[index].clone();
                    if let WriteOutcome::Queued(number) = &mut outcome {
                        *number += position as u64;
                    }
                    (outcome, elapsed)
                }
                None => {
                    let error = WriteError::new(WriteError::NOT_WRITABLE, "nothing to write");
                    (WriteOutcome::Failed(error), clock::now() - begun)
                }
            };
            WriteResult { name, outcome, elapsed }
        };
        let results = writes.into_iter().map(result).collect();
        (results, queued)
    }
}

/// What becomes of one write of a request.
enum Step {
    /// It has ended.
    Ended(WriteOutcome),
    /// A message is confirmed.
    Confirming(oneshot::Receiver<WriteOutcome>),
    /// It is published, with others of its station.
    Publish(StationId, TagId, Option<Value>),
}

/// Writes of one request that are published together.
struct Group {
    station: StationId,
    values: Vec<(TagId, Option<Value>)>,
    /// Positions in the request.
    writes: Vec<usize>,
}

impl Hub {
    /// Starts writes. They are in their lines' queues when this returns, so that who calls it again
    /// writes after them.
    pub fn start_writes(
        &self,
        requests: Vec<WriteRequest>,
        timeout: Duration,
        finishes: &Finishes,
    ) -> StartedWrites {
        let begun = clock::now();
        let deadline = begun + timeout;
        let mut started: Vec<Option<Started>> = requests.iter().map(|_| None).collect();
        let mut waiting = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        // Topics first, whatever the order: a value written together with a topic goes out on it.
        for topics in [true, false] {
            for (position, request) in requests.iter().enumerate() {
                if started[position].is_some() {
                    continue;
                }
                started[position] = match self.start(request, topics) {
                    None => None,
                    Some(Step::Ended(outcome)) => {
                        Some(Started::Ended(outcome, clock::now() - begun))
                    }
                    Some(Step::Confirming(receiver)) => {
                        waiting.push(receiver);
                        Some(Started::Waiting(waiting.len() - 1, 0))
                    }
                    Some(Step::Publish(station, tag, value)) => {
                        self.gather(&mut groups, station, (tag, value), position);
                        None
                    }
                }
            }
        }
        for Group { station, values, writes } in groups {
            let published = self.publish(station, values, deadline, finishes);
            let elapsed = clock::now() - begun;
            let index = waiting.len();
            let error = match published {
                Ok(receiver) => {
                    waiting.extend(receiver);
                    None
                }
                Err(error) => Some(error),
            };
            for (place, position) in writes.into_iter().enumerate() {
                started[position] = Some(match &error {
                    Some(error) => Started::Ended(WriteOutcome::Failed(error.clone()), elapsed),
                    None if waiting.len() > index => Started::Waiting(index, place),
                    // It only sets values.
                    None => Started::Ended(WriteOutcome::Completed, elapsed),
                });
            }
        }
        let writes = requests.into_iter().map(|request| request.name).zip(started).collect();
        StartedWrites { begun, deadline, writes, waiting }
    }

    /// Puts a write to the others that it is published with. OUT_VALUE is a publication of its own,
    /// and a tag that is written twice is published twice.
    fn gather(
        &self,
        groups: &mut Vec<Group>,
        station: StationId,
        (tag, value): (TagId, Option<Value>),
        position: usize,
    ) {
        let alone = |tag: TagId| self.config().tags[tag.0 as usize].address == TagAddress::OutValue;
        let last = groups.iter_mut().rfind(|group| group.station == station);
        match last {
            Some(group)
                if !alone(tag)
                    && group.values.iter().all(|(other, _)| *other != tag && !alone(*other)) =>
            {
                group.values.push((tag, value));
                group.writes.push(position);
            }
            _ => {
                groups.push(Group { station, values: vec![(tag, value)], writes: vec![position] });
            }
        }
    }

    /// Starts one write; `None`: its turn comes in the other pass.
    fn start(&self, request: &WriteRequest, topics: bool) -> Option<Step> {
        let fail = |code, message: String| {
            Some(Step::Ended(WriteOutcome::Failed(WriteError::new(code, message))))
        };
        let Some(id) = self.tag_named(&request.name) else {
            return fail(WriteError::NO_SUCH_TAG, format!("there is no tag `{}`", request.name));
        };
        let config = self.config();
        let tag = &config.tags[id.0 as usize];
        if !tag.tag_type.is_output() {
            return fail(
                WriteError::NOT_WRITABLE,
                format!(
                    "`{}` is an input ({}) and cannot be written",
                    tag.name,
                    tag.tag_type.as_str()
                ),
            );
        }
        if topics != (tag.address == TagAddress::OutTopic) {
            return None;
        }
        let station = &config.stations[tag.station.0 as usize];
        let value = match output::accept_nullable_write(tag, station, &request.value) {
            Ok(value) => value,
            Err(why) => return fail(WriteError::REFUSED, format!("`{}`: {why}", tag.name)),
        };
        if tag.address == TagAddress::OutTopic {
            self.submit_unsettled(vec![written(id, value, clock::wall())]);
            return Some(Step::Ended(WriteOutcome::Completed));
        }
        if let (TagAddress::AckId, Some(packet_id)) = (&tag.address, &value) {
            return Some(match self.confirm(id, packet_id.clone()) {
                Ok(receiver) => Step::Confirming(receiver),
                Err(error) => Step::Ended(WriteOutcome::Failed(error)),
            });
        }
        match self.station_mode(tag.station) {
            StationMode::On => Some(Step::Publish(tag.station, id, value)),
            StationMode::Off => {
                let why = format!("station `{}` is switched off", station.name);
                fail(WriteError::REFUSED, why)
            }
            StationMode::Simulate => {
                if let Some(value) = value {
                    self.simulate_write(id, value, clock::wall());
                }
                Some(Step::Ended(WriteOutcome::Completed))
            }
        }
    }

    /// Confirms a message; not a matter of the line's connection.
    fn confirm(
        &self,
        tag: TagId,
        packet_id: Value,
    ) -> Result<oneshot::Receiver<WriteOutcome>, WriteError> {
        let config = self.config();
        let station = config.tags[tag.0 as usize].station;
        let link = self.link(config.stations[station.0 as usize].line);
        let (reply, receiver) = oneshot::channel();
        let confirm = Confirm { station, tag, packet_id, reply };
        link.commands.try_send(LineCommand::Confirm(confirm)).map_err(|error| match error {
            TrySendError::Full(_) => {
                WriteError::new(WriteError::BUSY, "too many writes wait for this line")
            }
            TrySendError::Closed(_) => {
                WriteError::new(WriteError::LINE_DOWN, "the process is stopping")
            }
        })?;
        Ok(receiver)
    }

    /// Asks the line where a tag's value comes from.
    pub fn start_explain(&self, tag: TagId) -> Result<oneshot::Receiver<Explained>, WriteError> {
        let config = self.config();
        let station = config.tags[tag.0 as usize].station;
        let link = self.link(config.stations[station.0 as usize].line);
        let (reply, receiver) = oneshot::channel();
        link.commands.try_send(LineCommand::Explain { tag, reply }).map_err(
            |error| match error {
                TrySendError::Full(_) => {
                    WriteError::new(WriteError::BUSY, "too many requests wait for this line")
                }
                TrySendError::Closed(_) => {
                    WriteError::new(WriteError::LINE_DOWN, "the process is stopping")
                }
            },
        )?;
        Ok(receiver)
    }

    pub(super) fn link(&self, line: LineId) -> Arc<LineLink> {
        Arc::clone(&self.setup().lines[line.0 as usize])
    }
}

/// An output tag has this value from now on; `None` is a written null.
pub fn written(tag: TagId, value: Option<Value>, now: Timestamp) -> TagUpdate {
    TagUpdate { tag, value, quality: Quality::Good, reason: Reason::Ok, time: now, received: now }
}

async fn await_outcome(receiver: oneshot::Receiver<WriteOutcome>, until: Instant) -> WriteOutcome {
    match tokio::time::timeout_at(until.into(), receiver).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => uncertain("the line was stopped before the outcome was known"),
        Err(_) => uncertain("the line did not say in time how it ended"),
    }
}

fn uncertain(message: &str) -> WriteOutcome {
    WriteOutcome::Uncertain(WriteError::new(WriteError::PUBLICATION, message))
}
