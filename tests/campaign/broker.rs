//! A broker that may be killed at any moment: every step of its one session is in a file before
//! anybody hears of it. It is a process of its own, so that SIGKILL is what it says.
//!
//! Brokers in use write their sessions down now and then and lose what came since when they are
//! killed; what is measured with them would be theirs. This one loses nothing, so that whatever is
//! lost or doubled is the driver's doing.
//!
//! One line of the file is one step, written at once:
//!
//! ```text
//! q 40              messages up to 40 wait to be sent
//! s 3 17            message 17 is in flight as 3
//! r 3               PUBREC for it
//! d 3               it is done
//! c 9 2 cmd/a 5     a command came as 9 at QoS 2: topic, payload
//! x 9               PUBREL for it
//! e / u / n         the session exists / has subscribed / was thrown away before that
//! v …               the client broke a rule
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::wire::{self, Inbound};
use super::{TOPICS, topic_of};

/// Messages in flight towards the client at most.
const WINDOW: usize = 20;

/// Set for the process that is the broker: its parameters.
pub const VARIABLE: &str = "CAMPAIGN_BROKER";

/// What the broker is told to do wrong, to prove that it would be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A message is never sent.
    Lose,
    /// A message is sent twice, as two.
    Double,
    /// Two messages of a topic change places.
    Swap,
    /// A command is acknowledged and forgotten.
    LoseCommand,
    /// A command is taken twice.
    DoubleCommand,
}

impl Sabotage {
    pub const ALL: [Self; 5] =
        [Self::Lose, Self::Double, Self::Swap, Self::LoseCommand, Self::DoubleCommand];
}

/// The process.
pub struct Broker {
    pub port: u16,
    file: PathBuf,
    parameters: String,
    child: Option<Child>,
}

impl Broker {
    /// Starts it. It sends `messages` numbered messages within about `flow`.
    pub fn start(
        folder: &Path,
        port: u16,
        qos: u8,
        messages: usize,
        flow: Duration,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let file = folder.join("broker.txt");
        let sabotage = sabotage.map_or(9, |sabotage| sabotage as usize);
        let flow = flow.as_millis();
        let parameters = format!("{port} {qos} {messages} {flow} {sabotage} {}", file.display());
        let mut broker = Self { port, file, parameters, child: None };
        broker.start_again();
        broker
    }

    pub fn start_again(&mut self) {
        let child = Command::new(std::env::current_exe().unwrap())
            .env(VARIABLE, &self.parameters)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it has written down.
    pub fn record(&self) -> Record {
        Record::read(&self.file)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the file says.
#[derive(Default)]
pub struct Record {
    exists: bool,
    subscribed: bool,
    queued: usize,
    sent: usize,
    in_flight: VecDeque<InFlight>,
    received: BTreeMap<u16, String>,
    /// Topic and payload of each command, in order.
    pub commands: Vec<(String, String)>,
    /// Messages that the client has acknowledged.
    pub done: usize,
    /// Rules that the client broke.
    pub violations: Vec<String>,
}

struct InFlight {
    id: u16,
    number: usize,
    released: bool,
}

impl Record {
    fn read(file: &Path) -> Self {
        let mut record = Self::default();
        let text = std::fs::read_to_string(file).unwrap_or_default();
        // What has no line end was being written when the process was killed.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole.lines().for_each(|line| record.take(line));
        record
    }

    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<usize>().unwrap();
        let id = || words[1].parse::<u16>().unwrap();
        match words[0] {
            "e" => self.exists = true,
            "n" => self.exists = false,
            "u" => self.subscribed = true,
            "q" => self.queued = number(1),
            "s" => {
                self.sent += 1;
                self.in_flight.push_back(InFlight { id: id(), number: number(2), released: false });
            }
            "r" => {
                let id = id();
                if let Some(message) = self.in_flight.iter_mut().find(|message| message.id == id) {
                    message.released = true;
                }
            }
            "d" => {
                let (id, before) = (id(), self.in_flight.len());
                self.in_flight.retain(|message| message.id != id);
                self.done += before - self.in_flight.len();
            }
            "c" => {
                if words[2] == "2" {
                    self.received.insert(id(), words[4].to_owned());
                }
                self.commands.push((words[3].to_owned(), words[4].to_owned()));
            }
            "x" => drop(self.received.remove(&id())),
            "v" => self.violations.push(line[2..].to_owned()),
            _ => {}
        }
    }
}

/// Runs as the broker until killed.
pub fn main(parameters: &str) {
    let words: Vec<&str> = parameters.splitn(6, ' ').collect();
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    let port = u16::try_from(number(0)).unwrap();
    // The port may take a moment to be free after the process before was killed.
    let listener = loop {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => break listener,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    listener.set_nonblocking(true).unwrap();
    let path = Path::new(words[5]);
    let record = Record::read(path);
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    let whole = std::fs::read(path).unwrap();
    let end = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    file.set_len(end as u64).unwrap();
    let sabotage = Sabotage::ALL.get(number(4)).copied();
    let mut process = Process {
        record,
        file: &mut file,
        qos: u8::try_from(number(1)).unwrap(),
        order: order(number(2), sabotage),
        sabotage,
        last_id: 0,
        connections: Vec::new(),
        current: 0,
    };
    let flow = Duration::from_millis(number(3) as u64);
    let (begun, before) = (Instant::now(), process.record.queued);
    loop {
        let share = begun.elapsed().as_secs_f64() / flow.as_secs_f64();
        let due = before + (share * process.order.len() as f64) as usize;
        let due = due.min(process.order.len());
        if due > process.record.queued {
            process.step(&format!("q {due}"));
        }
        if !process.turn(&listener) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The numbers in the order in which they are sent; message N goes to topic N modulo [`TOPICS`].
fn order(messages: usize, sabotage: Option<Sabotage>) -> Vec<usize> {
    let mut order: Vec<usize> = (1..=messages).collect();
    let middle = messages / 2;
    match sabotage {
        Some(Sabotage::Lose) => drop(order.remove(middle)),
        Some(Sabotage::Double) => order.insert(middle, middle),
        Some(Sabotage::Swap) => order.swap(middle, middle + TOPICS),
        _ => {}
    }
    order
}

struct Process<'a> {
    record: Record,
    file: &'a mut File,
    qos: u8,
    order: Vec<usize>,
    sabotage: Option<Sabotage>,
    last_id: u16,
    connections: Vec<Connection>,
    /// Number of the connection that has the session.
    current: usize,
}

struct Connection {
    stream: TcpStream,
    number: usize,
    version: u8,
    aliases: BTreeMap<u16, String>,
    /// Packets that this connection has been told of, so that nothing goes out twice on it.
    buffer: Vec<u8>,
    out: Vec<u8>,
    over: bool,
    pending: BTreeSet<u16>,
}

impl Process<'_> {
    /// Writes a step down, then takes it.
    fn step(&mut self, line: &str) {
        self.file.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.record.take(line);
    }

    /// Does what can be done; false: nothing.
    fn turn(&mut self, listener: &TcpListener) -> bool {
        let mut busy = false;
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            let _ = stream.set_nodelay(true);
            self.current += 1;
            self.connections.push(Connection {
                stream,
                number: self.current,
                version: 0,
                aliases: BTreeMap::new(),
                buffer: Vec::new(),
                out: Vec::new(),
                over: false,
                pending: BTreeSet::new(),
            });
            busy = true;
        }
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            busy |= self.serve(connection);
        }
        // Only one connection has the session: the last that said CONNECT.
        let newest = connections.iter().filter(|c| c.version > 0).map(|c| c.number).max();
        connections.retain(|connection| {
            !connection.over && (connection.version == 0 || Some(connection.number) == newest)
        });
        self.connections = connections;
        busy
    }

    fn serve(&mut self, connection: &mut Connection) -> bool {
        let mut busy = false;
        let mut chunk = [0; 4096];
        match connection.stream.read(&mut chunk) {
            Ok(0) => connection.over = true,
            Ok(count) => {
                connection.buffer.extend_from_slice(&chunk[..count]);
                busy = true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => connection.over = true,
        }
        while !connection.over {
            let packet = match wire::split(&connection.buffer) {
                Ok(None) => break,
                Ok(Some((first, from, to))) => {
                    let bytes: Vec<u8> = connection.buffer.drain(..to).collect();
                    wire::decode(first, &bytes[from..], connection.version)
                }
                Err(why) => Err(why),
            };
            if let Err(why) = packet.and_then(|packet| self.take(connection, packet)) {
                self.step(&format!("v {why}"));
                connection.over = true;
            }
        }
        if connection.version > 0 && self.record.subscribed && connection.out.len() < 4096 {
            self.pump(connection);
        }
        while !connection.out.is_empty() && !connection.over {
            match connection.stream.write(&connection.out) {
                Ok(count) => {
                    connection.out.drain(..count);
                    busy = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => connection.over = true,
            }
        }
        busy
    }

    fn take(&mut self, connection: &mut Connection, packet: Inbound) -> Result<(), String> {
        let version = connection.version;
        if version == 0 && !matches!(packet, Inbound::Connect { .. }) {
            return Err(format!("{packet:?} before CONNECT"));
        }
        match packet {
            Inbound::Connect { version, clean } => {
                // A 5.0 client that was killed before it knew of its session has to begin a new one.
                if clean && self.record.subscribed {
                    return Err("a session with subscriptions is thrown away".into());
                }
                if clean {
                    self.step("n");
                }
                connection.version = version;
                // Later connections that have not said anything do not count.
                self.current += 1;
                connection.number = self.current;
                let present = self.record.exists;
                if !present {
                    self.step("e");
                }
                // Every second connection has topic aliases.
                let aliases = if connection.number.is_multiple_of(2) { 4 } else { 0 };
                connection.out.extend(wire::connack(version, present, aliases, 50));
                for message in &self.record.in_flight {
                    connection.out.extend(if message.released {
                        wire::answer(6, message.id)
                    } else {
                        let payload = message.number.to_string();
                        let topic = topic_of(message.number);
                        wire::publish(version, &topic, &payload, self.qos, message.id, true)
                    });
                }
            }
            Inbound::Publish(mut publish) => {
                if let Some(alias) = publish.alias {
                    if publish.topic.is_empty() {
                        let known = connection.aliases.get(&alias);
                        publish.topic = known.ok_or("an alias that was never set")?.clone();
                    } else {
                        connection.aliases.insert(alias, publish.topic.clone());
                    }
                }
                self.command(connection, &publish)?;
            }
            Inbound::Puback(id) => self.acknowledged(id, 1)?,
            Inbound::Pubcomp(id) => self.acknowledged(id, 2)?,
            Inbound::Pubrec { id, refused } => {
                if refused {
                    return Err(format!("PUBREC {id} refuses"));
                }
                self.step(&format!("r {id}"));
                connection.out.extend(wire::answer(6, id));
            }
            Inbound::Pubrel(id) => {
                self.step(&format!("x {id}"));
                connection.pending.remove(&id);
                connection.out.extend(wire::answer(7, id));
            }
            Inbound::Subscribe { id, qos } => {
                self.step("u");
                connection.out.extend(wire::granted(version, 9, id, &qos));
            }
            Inbound::Unsubscribe { id, filters } => {
                connection.out.extend(wire::granted(version, 11, id, &vec![0; filters]));
            }
            Inbound::Pingreq => connection.out.extend(wire::frame(0xD0, &[])),
            Inbound::Disconnect => connection.over = true,
        }
        Ok(())
    }

    fn acknowledged(&mut self, id: u16, qos: u8) -> Result<(), String> {
        let message = self.record.in_flight.iter().find(|message| message.id == id);
        match message {
            Some(_) if self.qos != qos => return Err(format!("{id} is of another QoS")),
            Some(message) if qos == 2 && !message.released => {
                return Err(format!("PUBCOMP {id} before PUBREC"));
            }
            _ => {}
        }
        self.step(&format!("d {id}"));
        Ok(())
    }

    fn command(
        &mut self,
        connection: &mut Connection,
        publish: &wire::Publish,
    ) -> Result<(), String> {
        let &wire::Publish { id, qos, ref topic, ref payload, dup, .. } = publish;
        if topic.is_empty() || topic.contains(' ') || payload.contains([' ', '\n']) {
            return Err(format!("a command on `{topic}` with `{payload}`"));
        }
        match self.record.received.get(&id).filter(|_| qos == 2) {
            Some(before) if before != payload => {
                return Err(format!("{id} is {before} and is given to {payload}"));
            }
            Some(_) if !dup => return Err(format!("{id} comes again without DUP")),
            Some(_) => {}
            None => {
                let sabotage = self.sabotage.filter(|_| self.record.commands.len() == 20);
                if sabotage == Some(Sabotage::LoseCommand) {
                    // The record must not be as long again.
                    self.step(&format!("c {id} {qos} elsewhere {payload}"));
                } else {
                    self.step(&format!("c {id} {qos} {topic} {payload}"));
                }
                if sabotage == Some(Sabotage::DoubleCommand) {
                    self.step(&format!("c {id} {qos} {topic} {payload}"));
                }
            }
        }
        match qos {
            0 => {}
            1 => connection.out.extend(wire::answer(4, id)),
            _ => connection.out.extend(wire::answer(5, id)),
        }
        Ok(())
    }

    /// Sends what waits, as far as the window allows.
    fn pump(&mut self, connection: &mut Connection) {
        while self.record.in_flight.len() < WINDOW && self.record.sent < self.record.queued {
            let number = self.order[self.record.sent];
            // Few identifiers, so that each is used again and again.
            let id = (1..=60)
                .map(|step| (self.last_id + step - 1) % 60 + 1)
                .find(|id| self.record.in_flight.iter().all(|message| message.id != *id))
                .unwrap();
            self.last_id = id;
            self.step(&format!("s {id} {number}"));
            let (topic, payload) = (topic_of(number), number.to_string());
            let packet = wire::publish(connection.version, &topic, &payload, self.qos, id, false);
            connection.out.extend(packet);
        }
    }
}
