//! A driver, a link and a clock around the client; its books are compared with the broker's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tagline::mqtt::{
    BytesProgress, ChangeSeq, Client, ClientOptions, Command, ConnectProperties, Credentials,
    Delivery, Event, Input, Output, Publication, PublishOutcome, PublishToken, Session,
    SessionChange, Subscription, Version,
};
use tagline::qos::Qos;

use crate::broker::{self, Broker, FILTER, Other};
use crate::knobs::{Knobs, MILLISECOND, Micros, SECOND};
use crate::wire::{self, Packet};

/// What stops a run: a broken rule, in words.
pub(crate) type Verdict = Result<(), String>;

pub(crate) struct World {
    knobs: Knobs,
    random: fastrand::Rng,
    base: Instant,
    now: Micros,
    broker: Broker,
    link: Option<Link>,
    driver: Driver,
    next_number: u32,
    next_message: u32,
    publish_at: Micros,
    message_at: Micros,
    cut_at: Micros,
    crash_at: Micros,
    off_at: Micros,
    /// When something last stood in the way of a publish.
    busy_at: Micros,
    verbose: bool,
    pub steps: u64,
}

/// The bytes under way.
struct Link {
    up_stream: VecDeque<(Micros, Vec<u8>)>,
    down_stream: VecDeque<(Micros, Vec<u8>)>,
    /// When each side hears of the end, behind the bytes that still arrive.
    client_ends: Option<Micros>,
    broker_ends: Option<Micros>,
}

/// What stands for the daemon: it loses everything but `disk` and the books in a crash.
struct Driver {
    client: Option<Client>,
    restart_at: Option<Micros>,
    filters: Vec<String>,
    buffer: BytesMut,
    outbound: VecDeque<Bytes>,
    take_at: Micros,
    opening: Option<(Micros, bool)>,
    has_transport: bool,
    /// What the transport took, to be read as the broker will.
    tap: Vec<u8>,
    taken_here: Vec<u32>,
    commits: VecDeque<Commit>,
    committing: Option<(Micros, Vec<Commit>)>,
    held: Vec<(Micros, Commit)>,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    applied: BTreeMap<u32, u32>,
    may_repeat: BTreeSet<u32>,
    /// Publishes without an outcome and when it is due.
    pending: BTreeMap<u32, Micros>,
    outcomes: BTreeMap<u32, (u8, PublishOutcome)>,
    published: BTreeMap<u32, u8>,
    published_at: BTreeMap<u32, Micros>,
    last_handed_over: [u32; 2],
    is_up: bool,
    last_sent: Micros,
    /// Pauses announced since a connection last was stable.
    pauses: VecDeque<Duration>,
    up_since: Micros,
    /// Which session of the broker CONNACK spoke of.
    known_session: u32,
    /// What the client gave out on this connection, to be read.
    given: Vec<u8>,
    /// Epoch of this connection, once a message has shown it.
    epoch: Option<u32>,
    /// Acknowledgements of QoS 1 that were ordered and that were given out, by packet id.
    ordered_here: BTreeMap<u16, u32>,
    off_until: Option<Micros>,
}

/// What is written at once.
#[derive(Default)]
struct Commit {
    number: Option<u32>,
    change: Option<SessionChange>,
    durable: Option<ChangeSeq>,
    settles: Option<Delivery>,
}

/// Runs one seed to its end.
pub(crate) fn run(seed: u64, verbose: bool) -> Result<u64, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let knobs = Knobs::draw(&mut random);
    let mut world = World::new(seed, knobs, random, verbose);
    world.run().map_err(|rule| format!("at {} µs: {rule}", world.now))?;
    Ok(world.steps)
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "only the distance from the start is used")]
    fn new(seed: u64, knobs: Knobs, random: fastrand::Rng, verbose: bool) -> Self {
        let driver = Driver {
            client: None,
            restart_at: Some(0),
            filters: vec![FILTER.to_owned(), "extra/1".to_owned()],
            buffer: BytesMut::new(),
            outbound: VecDeque::new(),
            take_at: 0,
            opening: None,
            has_transport: false,
            tap: vec![],
            taken_here: vec![],
            commits: VecDeque::new(),
            committing: None,
            held: vec![],
            disk: BTreeMap::new(),
            applied: BTreeMap::new(),
            may_repeat: BTreeSet::new(),
            pending: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            published: BTreeMap::new(),
            published_at: BTreeMap::new(),
            last_handed_over: [0; 2],
            is_up: false,
            last_sent: 0,
            pauses: VecDeque::new(),
            up_since: 0,
            known_session: 0,
            given: vec![],
            epoch: None,
            ordered_here: BTreeMap::new(),
            off_until: None,
        };
        let mut world = Self {
            cut_at: knobs.cut_every,
            crash_at: knobs.crash_every,
            off_at: knobs.off_every,
            knobs,
            random,
            base: Instant::now(),
            now: 0,
            broker: Broker::new(seed ^ 0x5eed),
            link: None,
            driver,
            next_number: 1,
            next_message: 1,
            publish_at: 0,
            message_at: 0,
            busy_at: 0,
            verbose,
            steps: 0,
        };
        world.say(|world| format!("{:#?}", world.knobs));
        world
    }

    fn say(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.verbose {
            println!("{:>10} {}", self.now, text(self));
        }
    }

    fn instant(&self, at: Micros) -> Instant {
        self.base + Duration::from_micros(at)
    }

    fn clock(&self) -> Instant {
        self.instant(self.now)
    }

    fn micros(&self, instant: Instant) -> Micros {
        // Rounded up, so that a deadline has come when its time has.
        (instant.saturating_duration_since(self.base).as_nanos() as u64).div_ceil(1000)
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.random.u32(0..1000) < thousandths
    }

    fn run(&mut self) -> Verdict {
        let mut calm = false;
        // Long enough for every pause, deadline and queue after the last fault.
        let end = self.knobs.faults_end + 150 * SECOND;
        loop {
            let next = self.next_time();
            if !calm && next >= self.knobs.faults_end {
                calm = true;
                self.now = self.knobs.faults_end;
                self.knobs.calm();
                self.say(|_| "faults end".to_owned());
                self.cut(false);
                continue;
            }
            if next > end || calm && self.is_quiet() {
                break;
            }
            self.now = next.max(self.now);
            self.steps += 1;
            if self.steps > 400_000 {
                return Err("it does not come to rest".into());
            }
            if self.is_busy() {
                self.busy_at = self.now;
            }
            self.step()?;
        }
        self.check_end()
    }

    /// Everything that was begun has ended.
    fn is_quiet(&self) -> bool {
        let driver = &self.driver;
        driver.is_up
            && self.next_number > self.knobs.messages
            && self.next_message > self.knobs.messages
            && driver.pending.is_empty()
            && driver.commits.is_empty()
            && driver.committing.is_none()
            && driver.held.is_empty()
            && driver.outbound.is_empty()
            && self.broker.is_settled()
            && self.broker.connection.as_ref().is_some_and(|connection| connection.up)
            && self.link.as_ref().is_some_and(|link| {
                link.up_stream.is_empty()
                    && link.down_stream.is_empty()
                    && link.client_ends.is_none()
            })
            && self.has_settled_filters()
            && self.disk_is_settled()
    }

    fn has_settled_filters(&self) -> bool {
        let wanted: BTreeSet<String> = self.driver.filters.iter().cloned().collect();
        self.broker.session.as_ref().is_some_and(|session| session.filters == wanted)
    }

    fn disk_is_settled(&self) -> bool {
        // No publish is in flight, and every received message is at its end.
        self.driver.disk.iter().all(|(key, value)| match key.first() {
            Some(b'o') => false,
            Some(b'r') => value.first() == Some(&3),
            _ => true,
        })
    }

    fn next_time(&self) -> Micros {
        let driver = &self.driver;
        let mut next = Micros::MAX;
        let mut consider = |at: Option<Micros>| next = next.min(at.unwrap_or(Micros::MAX));
        if let Some(client) = &driver.client {
            consider(client.deadline().map(|due| self.micros(due)));
        }
        consider(driver.restart_at);
        consider(driver.opening.map(|(at, _)| at));
        consider((!driver.outbound.is_empty() && driver.has_transport).then_some(driver.take_at));
        consider(driver.committing.as_ref().map(|(at, _)| *at));
        consider(driver.held.iter().map(|(at, _)| *at).min());
        consider(driver.off_until);
        if let Some(link) = &self.link {
            consider(link.up_stream.front().map(|(at, _)| *at));
            consider(link.down_stream.front().map(|(at, _)| *at));
            consider(link.client_ends);
            consider(link.broker_ends);
        }
        if let Some(connection) = &self.broker.connection {
            consider(connection.outbox.iter().map(|(at, _)| *at).min());
        }
        consider((self.next_number <= self.knobs.messages).then_some(self.publish_at));
        consider((self.next_message <= self.knobs.messages).then_some(self.message_at));
        consider((self.knobs.cut_every > 0).then_some(self.cut_at));
        consider((self.knobs.crash_every > 0).then_some(self.crash_at));
        consider((self.knobs.off_every > 0).then_some(self.off_at));
        next
    }

    /// One thing that is due.
    fn step(&mut self) -> Verdict {
        self.check_silence()?;
        if self.driver.restart_at.is_some_and(|at| at <= self.now) {
            return self.start();
        }
        if self
            .driver
            .client
            .as_ref()
            .is_some_and(|client| client.deadline().is_some_and(|due| self.micros(due) <= self.now))
        {
            return self.input(Input::Timeout);
        }
        self.check_outcomes_in_time()?;
        if let Some((at, fails)) = self.driver.opening
            && at <= self.now
        {
            return self.opened(fails);
        }
        if self.driver.has_transport
            && !self.driver.outbound.is_empty()
            && self.driver.take_at <= self.now
        {
            return self.transport_takes();
        }
        if self.driver.committing.as_ref().is_some_and(|(at, _)| *at <= self.now) {
            return self.committed();
        }
        if let Some(place) = self.driver.held.iter().position(|(at, _)| *at <= self.now) {
            let (_, commit) = self.driver.held.remove(place);
            self.commit(commit);
            return Ok(());
        }
        if self.driver.off_until.is_some_and(|at| at <= self.now) {
            self.driver.off_until = None;
            return self.command(Command::Connect);
        }
        self.step_of_link()
    }

    fn step_of_link(&mut self) -> Verdict {
        if let Some(link) = &mut self.link {
            if let Some((_, bytes)) = link.up_stream.pop_front_if(|(at, _)| *at <= self.now) {
                let other =
                    Other { applied: &self.driver.applied, may_repeat: &self.driver.may_repeat };
                self.broker.receive(&bytes, &self.knobs, self.now, &other)?;
                return self.broker_hangs_up();
            }
            if let Some((_, bytes)) = link.down_stream.pop_front_if(|(at, _)| *at <= self.now) {
                return self.receive(&bytes);
            }
            if link.broker_ends.is_some_and(|at| at <= self.now) {
                link.broker_ends = None;
                self.broker.close();
                return Ok(());
            }
            if link.client_ends.is_some_and(|at| at <= self.now) {
                self.link = None;
                return self.closed();
            }
        }
        if self.broker_sends() {
            return self.broker_hangs_up();
        }
        if self.publish_at <= self.now && self.next_number <= self.knobs.messages {
            return self.publish();
        }
        if self.message_at <= self.now && self.next_message <= self.knobs.messages {
            let qos = self.random.u8(0..3);
            let number = self.next_message;
            self.next_message += 1;
            self.message_at = self.now + self.random.u64(0..=self.knobs.message_pause);
            self.say(|_| format!("broker has message {number} at QoS {qos}"));
            self.broker.message(number, qos, &self.knobs, self.now);
            return Ok(());
        }
        self.step_of_trouble()
    }

    fn step_of_trouble(&mut self) -> Verdict {
        if self.knobs.cut_every > 0 && self.cut_at <= self.now {
            self.cut_at = self.now + self.random.u64(1..=2 * self.knobs.cut_every);
            let half_open = self.chance(self.knobs.half_open);
            self.cut(half_open);
        } else if self.knobs.crash_every > 0 && self.crash_at <= self.now {
            self.crash_at = self.now + self.random.u64(1..=2 * self.knobs.crash_every);
            self.crash();
        } else if self.knobs.off_every > 0 && self.off_at <= self.now {
            self.off_at = self.now + self.random.u64(1..=2 * self.knobs.off_every);
            if self.driver.off_until.is_none() && self.driver.client.is_some() {
                self.driver.off_until = Some(self.now + self.random.u64(0..=2 * SECOND));
                self.say(|_| "line off".to_owned());
                return self.command(Command::Disconnect);
            }
        }
        Ok(())
    }

    // The daemon.

    fn start(&mut self) -> Verdict {
        self.driver.restart_at = None;
        let session = Session::restore(self.driver.disk.clone())?;
        let filters = self.driver.filters.iter();
        let subscription = |filter: &String| Subscription::new(filter.clone(), Qos::ExactlyOnce);
        let options = ClientOptions {
            version: if self.knobs.is_5 { Version::V5 } else { Version::V311 },
            client_id: "sim".to_owned(),
            clean_session: self.knobs.clean,
            keep_alive: self.knobs.keep_alive,
            ping_interval: (self.knobs.ping_interval > 0)
                .then_some(Duration::from_micros(self.knobs.ping_interval)),
            reply_timeout: Some(Duration::from_micros(self.knobs.reply_timeout)),
            will: None,
            subscriptions: filters.map(subscription).collect(),
            publish_in_flight: self.knobs.in_flight,
            maximum_packet_size: 1000,
            properties: self.properties(),
            reconnect_min: Duration::from_millis(200),
            reconnect_max: Duration::from_secs(3),
            servers: 1,
            seed: self.random.u64(..),
        };
        self.say(|world| format!("start with {} records", world.driver.disk.len()));
        self.driver.client = Some(Client::new(options, session));
        self.command(Command::Connect)
    }

    fn properties(&self) -> ConnectProperties {
        match self.knobs.is_5 {
            false => ConnectProperties::default(),
            true => ConnectProperties {
                session_expiry_s: 3600,
                receive_maximum: Some(self.knobs.broker_window as u16),
                topic_alias_maximum: self.knobs.client_aliases,
                user_properties: vec![],
            },
        }
    }

    fn crash(&mut self) {
        if self.driver.client.take().is_none() {
            return;
        }
        // A batch that was being written may be there or not.
        if let Some((_, commits)) = self.driver.committing.take()
            && self.random.bool()
        {
            self.write(commits);
        }
        self.say(|_| "crash".to_owned());
        let driver = &mut self.driver;
        driver.commits.clear();
        driver.held.clear();
        driver.pending.clear();
        driver.off_until = None;
        driver.opening = None;
        driver.pauses.clear();
        driver.restart_at = Some(self.now + self.random.u64(0..=SECOND));
        // Whether a stored publish had left is not known to the next process.
        driver.may_repeat.extend(driver.published.keys());
        if self.random.bool() {
            let extra = self.random.u8(1..4);
            self.driver.filters = vec![FILTER.to_owned(), format!("extra/{extra}")];
        }
        self.drop_transport();
    }

    fn drop_transport(&mut self) {
        let driver = &mut self.driver;
        driver.is_up = false;
        driver.has_transport = false;
        driver.buffer.clear();
        driver.outbound.clear();
        driver.tap.clear();
        driver.given.clear();
        driver.ordered_here.clear();
        driver.epoch = None;
        driver.may_repeat.extend(driver.taken_here.drain(..));
        if let Some(link) = &mut self.link {
            // The broker hears of it behind what is under way, which may be lost in part.
            let keep = self.random.usize(0..=link.up_stream.len());
            link.up_stream.truncate(keep);
            let last = link.up_stream.back().map_or(self.now, |(at, _)| *at);
            let late = self.random.u64(0..=SECOND);
            link.broker_ends = Some(last.max(self.now) + late);
            link.down_stream.clear();
            link.client_ends = None;
        }
    }

    fn cut(&mut self, half_open: bool) {
        let Some(link) = &mut self.link else { return };
        if !self.driver.has_transport {
            return;
        }
        for stream in [&mut link.up_stream, &mut link.down_stream] {
            let keep = self.random.usize(0..=stream.len());
            stream.truncate(keep);
            if let Some((_, last)) = stream.back_mut() {
                last.truncate(self.random.usize(0..=last.len()));
            }
        }
        let up = link.up_stream.back().map_or(self.now, |(at, _)| *at);
        let down = link.down_stream.back().map_or(self.now, |(at, _)| *at);
        let late = self.random.u64(0..=SECOND);
        link.broker_ends = Some(up.max(self.now) + late);
        // A half-open connection shows by its silence only, and that is watched only if so configured.
        let watched = self.knobs.keep_alive_s() > 0 || self.knobs.ping_interval > 0;
        link.client_ends = if half_open && watched {
            Some(Micros::MAX)
        } else {
            Some(down.max(self.now) + self.random.u64(0..=SECOND))
        };
        self.say(|_| format!("cut, half open: {half_open}"));
    }

    fn opened(&mut self, fails: bool) -> Verdict {
        self.driver.opening = None;
        if fails {
            return self.input(Input::ConnectFailed("unreachable".to_owned()));
        }
        // A broker that still has the old connection closes it for the new one.
        self.broker.accept();
        self.link = Some(Link {
            up_stream: VecDeque::new(),
            down_stream: VecDeque::new(),
            client_ends: None,
            broker_ends: None,
        });
        self.driver.has_transport = true;
        self.input(Input::Connected(Credentials::default()))
    }

    fn closed(&mut self) -> Verdict {
        self.drop_transport();
        self.input(Input::Closed("the link was cut".to_owned()))
    }

    fn receive(&mut self, bytes: &[u8]) -> Verdict {
        if !self.driver.has_transport {
            return Ok(());
        }
        self.driver.buffer.extend_from_slice(bytes);
        loop {
            let now = self.clock();
            let Some(client) = &mut self.driver.client else { return Ok(()) };
            let progress = client.handle_bytes(now, &mut self.driver.buffer);
            self.perform()?;
            if progress == BytesProgress::NeedMore {
                return Ok(());
            }
        }
    }

    fn transport_takes(&mut self) -> Verdict {
        let Some(bytes) = self.driver.outbound.front_mut() else { return Ok(()) };
        let count = bytes.len().min(self.random.usize(1..=self.knobs.take));
        let piece = bytes.split_to(count);
        if bytes.is_empty() {
            self.driver.outbound.pop_front();
        }
        self.driver.take_at = self.now + self.random.u64(0..=self.knobs.take_pause);
        self.send_up(&piece)?;
        self.input(Input::Transmitted(count))
    }

    fn send_up(&mut self, piece: &[u8]) -> Verdict {
        self.driver.tap.extend_from_slice(piece);
        while let Some(packet) = wire::take(&mut self.driver.tap, self.knobs.is_5)? {
            self.say(|_| format!("> {packet:?}"));
            if let Packet::Publish { payload, .. } = packet {
                self.driver.taken_here.push(broker::number(&payload)?);
            }
        }
        let latency = self.random.u64(0..=self.knobs.latency);
        let Some(link) = &mut self.link else { return Ok(()) };
        if link.broker_ends.is_none() {
            let before = link.up_stream.back().map_or(0, |(at, _)| *at);
            link.up_stream.push_back((before.max(self.now + latency), piece.to_vec()));
        }
        Ok(())
    }

    fn publish(&mut self) -> Verdict {
        self.publish_at = self.now + self.random.u64(0..=self.knobs.publish_pause);
        if self.driver.client.is_none() {
            return Ok(());
        }
        let number = self.next_number;
        self.next_number += 1;
        let level = self.random.u8(0..3);
        let due = self.now + self.random.u64(MILLISECOND..=self.knobs.deadline);
        let publication = Publication {
            topic: broker::topic(number).into(),
            payload: broker::payload(number).into(),
            qos: Qos::from_level(level).unwrap_or_default(),
            retain: false,
            properties: None,
        };
        self.say(|_| format!("publish {number} at QoS {level}"));
        self.driver.published.insert(number, level);
        self.driver.published_at.insert(number, self.now);
        self.driver.pending.insert(number, due);
        let (token, deadline) = (PublishToken(u64::from(number)), self.instant(due));
        self.command(Command::Publish { token, publication, deadline, expires: None })
    }

    fn input(&mut self, input: Input) -> Verdict {
        let now = self.clock();
        let Some(client) = &mut self.driver.client else { return Ok(()) };
        client.handle_input(now, input);
        self.perform()
    }

    fn command(&mut self, command: Command) -> Verdict {
        let now = self.clock();
        let Some(client) = &mut self.driver.client else { return Ok(()) };
        client.handle_command(now, command);
        self.perform()
    }

    /// Does what the client wants.
    fn perform(&mut self) -> Verdict {
        while let Some(output) = self.driver.client.as_mut().and_then(Client::poll_output) {
            match output {
                Output::Connect { .. } => self.open()?,
                Output::Transmit(bytes) => {
                    if !self.driver.has_transport {
                        return Err("bytes to send without a transport".into());
                    }
                    self.driver.last_sent = self.now;
                    self.check_acknowledgements(&bytes)?;
                    self.driver.outbound.push_back(bytes);
                }
                Output::Close => self.hang_up()?,
                Output::Event(event) => self.on_event(event)?,
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Verdict {
        let fails = self.chance(self.knobs.connect_fails);
        self.driver.opening = Some((self.now + self.random.u64(0..=50 * MILLISECOND), fails));
        Ok(())
    }

    /// The client closes: what it has given is sent, if the transport takes it.
    fn hang_up(&mut self) -> Verdict {
        self.say(|_| "hang up".to_owned());
        self.driver.opening = None;
        for bytes in std::mem::take(&mut self.driver.outbound) {
            self.send_up(&bytes)?;
        }
        self.drop_transport();
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Verdict {
        self.say(|_| format!("! {event:?}"));
        match event {
            Event::Up { session_present, .. } => {
                self.driver.is_up = true;
                if self.knobs.is_5 && !session_present {
                    // What goes out from here is new to this session of the broker.
                    self.driver.may_repeat.clear();
                    self.broker.on_known_lost();
                }
                self.driver.up_since = self.now;
                self.driver.known_session = self.broker.session.as_ref().map_or(0, |it| it.serial);
                self.driver.last_sent = self.now;
            }
            Event::Down { retry_in, .. } => return self.on_down(retry_in),
            Event::Session { seq, change } => {
                let commit =
                    Commit { change: Some(change), durable: Some(seq), ..Commit::default() };
                self.commit(commit);
            }
            Event::Completed { token, outcome } => {
                let number = token.0 as u32;
                if self.driver.pending.remove(&number).is_none() {
                    return Err(format!("a second outcome of publish {number}: {outcome:?}"));
                }
                let level = self.driver.published[&number];
                self.check_place(number, level, &outcome)?;
                self.driver.outcomes.insert(number, (level, outcome));
            }
            Event::Message { delivery, publication, .. } => {
                return self.on_message(delivery, &publication);
            }
            Event::Subscribed { .. } | Event::Notice(_) | Event::InFlight { .. } => {}
        }
        Ok(())
    }

    fn on_message(&mut self, delivery: Delivery, publication: &Publication) -> Verdict {
        let number = broker::number(&publication.payload)?;
        let level = publication.qos.level();
        self.driver.epoch = Some(delivery.epoch);
        if level == 0 {
            return Ok(());
        }
        let last = &mut self.driver.last_handed_over[usize::from(level) - 1];
        if number > *last {
            *last = number;
        } else if level == 2 && self.driver.held_or_applied(number) {
            return Err(format!("message {number} of QoS 2 is handed over again"));
        }
        let commit = Commit {
            number: Some(number),
            change: delivery.session_change(),
            durable: None,
            settles: Some(delivery),
        };
        if self.chance(self.knobs.hold) {
            let until = self.now + self.random.u64(0..=4 * SECOND);
            self.driver.held.push((until, commit));
        } else {
            self.commit(commit);
        }
        Ok(())
    }

    // The store.

    fn commit(&mut self, commit: Commit) {
        self.driver.commits.push_back(commit);
        self.begin_commit();
    }

    fn begin_commit(&mut self) {
        if self.driver.committing.is_none() && !self.driver.commits.is_empty() {
            let batch: Vec<Commit> = self.driver.commits.drain(..).collect();
            let done = self.now + self.random.u64(0..=self.knobs.commit_time);
            self.driver.committing = Some((done, batch));
        }
    }

    fn committed(&mut self) -> Verdict {
        let Some((_, batch)) = self.driver.committing.take() else { return Ok(()) };
        let (durable, settled) = self.write(batch);
        self.begin_commit();
        if let Some(seq) = durable {
            self.input(Input::Durable(seq))?;
        }
        for delivery in settled {
            if delivery.qos == Qos::AtLeastOnce && self.driver.epoch == Some(delivery.epoch) {
                *self.driver.ordered_here.entry(delivery.packet_id).or_default() += 1;
            }
            self.command(Command::Acknowledge(delivery))?;
        }
        Ok(())
    }

    fn write(&mut self, batch: Vec<Commit>) -> (Option<ChangeSeq>, Vec<Delivery>) {
        let mut durable = None;
        let mut settled = vec![];
        for commit in batch {
            if let Some(number) = commit.number {
                *self.driver.applied.entry(number).or_default() += 1;
            }
            match commit.change {
                Some(SessionChange { key, value: Some(value) }) => {
                    // The record of whose session it is, since when.
                    if let Some(session) = &mut self.broker.session
                        && key == b"m"
                        && session.serial == self.driver.known_session
                    {
                        session.confirmed = true;
                    }
                    self.driver.disk.insert(key, value);
                }
                Some(SessionChange { key, value: None }) if key.is_empty() => {
                    self.driver.disk.clear();
                }
                Some(SessionChange { key, value: None }) => {
                    self.driver.disk.remove(&key);
                }
                None => {}
            }
            durable = durable.max(commit.durable);
            settled.extend(commit.settles);
        }
        self.random.shuffle(&mut settled);
        (durable, settled)
    }

    // The broker's side of the link.

    /// Sends what is due, in pieces; true: there was something.
    fn broker_sends(&mut self) -> bool {
        let Some(connection) = &mut self.broker.connection else { return false };
        let due = connection.outbox.iter().enumerate().filter(|(_, (at, _))| *at <= self.now);
        let Some(place) = due.min_by_key(|(_, (at, _))| *at).map(|(place, _)| place) else {
            return false;
        };
        let (_, packet) = connection.outbox.remove(place);
        self.broker.on_leaving(&packet);
        let packet = match (&mut self.broker.connection, self.knobs.is_5) {
            (Some(connection), true) => connection.dress.dress(&packet, &mut self.random),
            _ => packet,
        };
        self.say(|_| format!("< {packet:02x?}"));
        let Some(link) = &mut self.link else { return true };
        if link.client_ends.is_some() || !self.driver.has_transport {
            return true;
        }
        for piece in packet.chunks(self.random.usize(1..=self.knobs.chunk)) {
            let latency = self.random.u64(0..=self.knobs.latency);
            let before = link.down_stream.back().map_or(0, |(at, _)| *at);
            link.down_stream.push_back((before.max(self.now + latency), piece.to_vec()));
        }
        true
    }

    /// The broker closes when it wants to, and when a run has become calm and it owes an answer.
    fn broker_hangs_up(&mut self) -> Verdict {
        let Some(connection) = &self.broker.connection else {
            return self.link_ends();
        };
        if connection.closing && connection.outbox.is_empty() {
            self.broker.close();
            return self.link_ends();
        }
        Ok(())
    }

    fn link_ends(&mut self) -> Verdict {
        if let Some(link) = &mut self.link
            && link.client_ends.is_none()
        {
            let last = link.down_stream.back().map_or(0, |(at, _)| *at);
            link.client_ends = Some(last.max(self.now + MILLISECOND));
        }
        Ok(())
    }

    // The rules.

    /// MQTT-3.1.2-23, as seen by the client's own clock.
    fn check_silence(&self) -> Verdict {
        let allowed = Micros::from(self.knobs.keep_alive_s()) * SECOND;
        if self.driver.is_up && allowed > 0 && self.now > self.driver.last_sent + allowed {
            return Err(format!("nothing sent since {} µs", self.driver.last_sent));
        }
        Ok(())
    }

    /// PUBACK goes only for what was settled as a message of this very connection.
    fn check_acknowledgements(&mut self, bytes: &[u8]) -> Verdict {
        self.driver.given.extend_from_slice(bytes);
        while let Some(packet) = wire::take(&mut self.driver.given, self.knobs.is_5)? {
            if let Packet::Puback(id) = packet {
                let ordered = self.driver.ordered_here.entry(id).or_default();
                *ordered = ordered.checked_sub(1).ok_or(format!("PUBACK {id} was not ordered"))?;
            }
        }
        Ok(())
    }

    /// A publish that has not left in time had no place in flight, or no time to get one.
    fn check_place(&self, number: u32, level: u8, outcome: &PublishOutcome) -> Verdict {
        let late = matches!(outcome, PublishOutcome::Failed(why) if why.contains("in time"));
        let idle = self.now > self.busy_at.max(self.driver.published_at[&number]) + SECOND;
        match late && level > 0 && idle {
            true => Err(format!("publish {number} has waited although nothing is in flight")),
            false => Ok(()),
        }
    }

    /// Whether there is anything that a publish may have to wait for.
    fn is_busy(&self) -> bool {
        let driver = &self.driver;
        let idle = driver.is_up
            && driver.outbound.is_empty()
            && driver.commits.is_empty()
            && driver.committing.is_none()
            && self.link.as_ref().is_some_and(|link| {
                link.up_stream.is_empty()
                    && link.down_stream.is_empty()
                    && link.client_ends.is_none()
                    && link.broker_ends.is_none()
            })
            && self.broker.connection.as_ref().is_some_and(|it| it.up && it.outbox.is_empty())
            && self.broker.has_nothing_open();
        !idle
    }

    /// Back-off: a dozen pauses in a row are not short by chance.
    fn on_down(&mut self, retry_in: Option<Duration>) -> Verdict {
        let driver = &mut self.driver;
        let was_stable = driver.is_up && self.now >= driver.up_since + 10 * SECOND;
        driver.is_up = false;
        let Some(pause) = retry_in.filter(|_| !was_stable) else {
            driver.pauses.clear();
            return Ok(());
        };
        driver.pauses.push_back(pause);
        if driver.pauses.len() > 12 {
            driver.pauses.pop_front();
            if driver.pauses.iter().sum::<Duration>() < Duration::from_secs(1) {
                return Err("a tight loop of attempts".into());
            }
        }
        Ok(())
    }

    fn check_outcomes_in_time(&self) -> Verdict {
        for (number, due) in &self.driver.pending {
            if *due + SECOND < self.now {
                return Err(format!("publish {number} has no outcome at its deadline"));
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Verdict {
        if !self.is_quiet() {
            let driver = &self.driver;
            return Err(format!(
                "it has not come to rest: up {}, broker settled {}, filters {}, disk {:?}, {} \
                 pending, {} commits",
                driver.is_up,
                self.broker.is_settled(),
                self.has_settled_filters(),
                driver.disk.keys().collect::<Vec<_>>(),
                driver.pending.len(),
                driver.commits.len()
            ));
        }
        for (number, qos) in &self.broker.owed {
            if !self.driver.applied.contains_key(number) {
                return Err(format!("message {number} of QoS {qos} is lost"));
            }
        }
        for (number, qos) in &self.broker.owed {
            if *qos == 2 && self.driver.applied[number] != 1 {
                return Err(format!("message {number} of QoS 2 is applied more than once"));
            }
        }
        self.check_publishes()
    }

    fn check_publishes(&self) -> Verdict {
        for (number, level) in &self.driver.published {
            let times = self.broker.handed_on.get(number).copied().unwrap_or(0);
            // MQTT 5.0 drops what a lost session knew, so nothing is excused there.
            let excused = self.broker.excused.contains(number) && !self.knobs.is_5;
            if *level == 2 && times > 1 && !excused {
                return Err(format!("publish {number} of QoS 2 was handed on {times} times"));
            }
            match self.driver.outcomes.get(number) {
                Some((0, PublishOutcome::Completed)) => {}
                Some((_, PublishOutcome::Completed)) if times == 0 => {
                    return Err(format!("publish {number} is complete and was not handed on"));
                }
                Some((_, PublishOutcome::Failed(reason) | PublishOutcome::Unsent(reason)))
                    if times > 0 =>
                {
                    return Err(format!("publish {number} failed ({reason}) and was handed on"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Driver {
    /// Whether a message is applied, or on its way to disk.
    fn held_or_applied(&self, number: u32) -> bool {
        let batch = self.committing.iter().flat_map(|(_, batch)| batch);
        let mut waiting =
            self.held.iter().map(|(_, commit)| commit).chain(&self.commits).chain(batch);
        waiting.any(|commit| commit.number == Some(number)) || self.applied.contains_key(&number)
    }
}
