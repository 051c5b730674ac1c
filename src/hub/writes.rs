//! Writes: from what a client asks for to one publication per station, and its outcome.
//!
//! An outcome never blurs "it did not happen" (`failed`) and "it may have happened" (`uncertain`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::status::{LineState, StationMode};
use super::{Hub, LineLink};
use crate::clock;
use crate::iotag::{
    LineId, Quality, Reason, StationId, TagAddress, TagId, TagUpdate, Timestamp, Value, output,
};
use crate::qos::Qos;
use crate::topic;

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
    /// Publish, then set the tags behind it and say how it ended.
    Publish(Publish),
    /// The control system has confirmed a message.
    Confirm(Confirm),
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

/// A publication and what hangs on it.
#[derive(Debug)]
pub struct Publish {
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
    /// Tags that have these values once it has left.
    pub tags: Vec<(TagId, Value)>,
    /// Who waits.
    pub reply: oneshot::Sender<WriteOutcome>,
}

/// A write that is on its way, or has ended already.
enum Started {
    Ended(WriteOutcome, Duration),
    Waiting(oneshot::Receiver<WriteOutcome>),
}

/// Writes that are on their way to their lines, in the order of the requests.
pub struct StartedWrites {
    begun: Instant,
    deadline: Instant,
    writes: Vec<(String, Option<Started>)>,
}

impl StartedWrites {
    /// Waits for all outcomes; the results are in the order of the requests.
    pub async fn outcomes(self) -> Vec<WriteResult> {
        let Self { begun, deadline, writes } = self;
        let mut results = Vec::with_capacity(writes.len());
        for (name, started) in writes {
            let (outcome, elapsed) = match started {
                Some(Started::Ended(outcome, elapsed)) => (outcome, elapsed),
                Some(Started::Waiting(receiver)) => {
                    let outcome = await_outcome(receiver, deadline + OUTCOME_GRACE).await;
                    (outcome, clock::now() - begun)
                }
                None => {
                    let error = WriteError::new(WriteError::NOT_WRITABLE, "nothing to write");
                    (WriteOutcome::Failed(error), clock::now() - begun)
                }
            };
            results.push(WriteResult { name, outcome, elapsed });
        }
        results
    }
}

impl Hub {
    /// Starts writes. They are in their lines' queues when this returns, so that who calls it again
    /// writes after them.
    pub fn start_writes(&self, requests: Vec<WriteRequest>, timeout: Duration) -> StartedWrites {
        let begun = clock::now();
        let deadline = begun + timeout;
        let mut started: Vec<Option<Started>> = requests.iter().map(|_| None).collect();
        // Topics first, whatever the order: a value written together with a topic goes out on it.
        for topics in [true, false] {
            for (request, slot) in requests.iter().zip(&mut started) {
                if slot.is_none() {
                    *slot = self.start(request, topics, deadline).map(|start| match start {
                        Ok(receiver) => Started::Waiting(receiver),
                        Err(outcome) => Started::Ended(outcome, clock::now() - begun),
                    });
                }
            }
        }
        let writes = requests.into_iter().map(|request| request.name).zip(started).collect();
        StartedWrites { begun, deadline, writes }
    }

    /// Starts one write; `None`: its turn comes in the other pass.
    fn start(
        &self,
        request: &WriteRequest,
        topics: bool,
        deadline: Instant,
    ) -> Option<Result<oneshot::Receiver<WriteOutcome>, WriteOutcome>> {
        let fail =
            |code, message: String| Some(Err(WriteOutcome::Failed(WriteError::new(code, message))));
        let Some(id) = self.tag_named(&request.name) else {
            return fail(WriteError::NO_SUCH_TAG, format!("there is no tag `{}`", request.name));
        };
        let tag = &self.config().tags[id.0 as usize];
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
        let station = &self.config().stations[tag.station.0 as usize];
        let value = match output::accept_write(tag, station, &request.value) {
            Ok(value) => value,
            Err(why) => return fail(WriteError::REFUSED, format!("`{}`: {why}", tag.name)),
        };
        if tag.address == TagAddress::OutTopic {
            self.submit_unsettled(vec![written(id, value, clock::wall())]);
            return Some(Err(WriteOutcome::Completed));
        }
        if tag.address == TagAddress::AckId {
            return Some(self.confirm(id, value).map_err(WriteOutcome::Failed));
        }
        match self.station_mode(tag.station) {
            StationMode::On => {}
            StationMode::Off => {
                let why = format!("station `{}` is switched off", station.name);
                return fail(WriteError::REFUSED, why);
            }
            StationMode::Simulate => {
                self.simulate_write(id, value, clock::wall());
                return Some(Err(WriteOutcome::Completed));
            }
        }
        Some(self.publish(tag.station, vec![(id, value)], deadline).map_err(WriteOutcome::Failed))
    }

    /// Confirms a message; not a matter of the line's connection.
    fn confirm(
        &self,
        tag: TagId,
        packet_id: Value,
    ) -> Result<oneshot::Receiver<WriteOutcome>, WriteError> {
        let station = self.config().tags[tag.0 as usize].station;
        let link = self.link(self.config().stations[station.0 as usize].line);
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

    fn publish(
        &self,
        station_id: StationId,
        tags: Vec<(TagId, Value)>,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<WriteOutcome>, WriteError> {
        let station = &self.config().stations[station_id.0 as usize];
        let topic = self.publish_topic(station_id)?;
        let (id, value) = &tags[0];
        let payload = output::compose_text(&self.config().tags[id.0 as usize], station, value)
            .and_then(|payload| output::finished(payload, station.publish_content_type.as_deref()))
            .map_err(|why| WriteError::new(WriteError::REFUSED, why))?;
        let link = self.link(station.line);
        let down = || {
            let name = &self.config().lines[station.line.0 as usize].name;
            WriteError::new(WriteError::LINE_DOWN, format!("line `{name}` is not connected"))
        };
        if !matches!(super::lock(&link.status).state, LineState::Up | LineState::Error) {
            return Err(down());
        }
        let (reply, receiver) = oneshot::channel();
        let publish = Publish {
            topic,
            payload: payload.into(),
            qos: station.publish_qos,
            retain: station.publish_retain,
            content_type: station.publish_content_type.clone(),
            deadline,
            tags,
            reply,
        };
        match link.commands.try_send(LineCommand::Publish(publish)) {
            Ok(()) => Ok(receiver),
            Err(TrySendError::Full(_)) => {
                Err(WriteError::new(WriteError::BUSY, "too many writes wait for this line"))
            }
            Err(TrySendError::Closed(_)) => Err(down()),
        }
    }

    /// The topic that OUT_VALUE of a station publishes on.
    fn publish_topic(&self, station_id: StationId) -> Result<String, WriteError> {
        let station = &self.config().stations[station_id.0 as usize];
        let chosen = match &station.out_topic {
            Some(topic) => Some(topic.to_string()),
            None => self.out_topic_tag(station_id).and_then(|tag| {
                match self.read(&[tag]).pop()?.value.value? {
                    Value::Text(topic) => Some(topic.to_string()),
                    _ => None,
                }
            }),
        };
        let Some(chosen) = chosen else {
            return Err(WriteError::new(
                WriteError::REFUSED,
                format!(
                    "station `{}` has no topic yet: write its OUT_TOPIC tag first",
                    station.name
                ),
            ));
        };
        topic::check_name(&chosen).map_err(|why| {
            WriteError::new(
                WriteError::REFUSED,
                format!("`{chosen}` is no topic to publish on: {why}"),
            )
        })?;
        Ok(chosen)
    }

    fn out_topic_tag(&self, station: StationId) -> Option<TagId> {
        self.out_topics[station.0 as usize]
    }

    fn link(&self, line: LineId) -> &LineLink {
        &self.lines[line.0 as usize]
    }
}

/// An output tag has this value from now on.
pub fn written(tag: TagId, value: Value, now: Timestamp) -> TagUpdate {
    TagUpdate {
        tag,
        value: Some(value),
        quality: Quality::Good,
        reason: Reason::Ok,
        time: now,
        received: now,
    }
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
