//! What a seed decides: which troubles there are, and how many.

/// Microseconds of simulated time.
pub(crate) type Micros = u64;

pub(crate) const MILLISECOND: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000_000;

/// Options of one run. A chance is given in 1/1000.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    /// MQTT 5.0 instead of 3.1.1.
    pub is_5: bool,
    /// The broker's limits under 5.0; 0: it says nothing.
    pub receive_maximum: u16,
    pub packet_size: usize,
    pub topic_aliases: u16,
    pub server_keep_alive: u16,
    /// Topic aliases that the client takes.
    pub client_aliases: u16,
    /// A publish is refused.
    pub refuse_publish: u32,
    pub clean: bool,
    pub keep_alive: u16,
    pub ping_interval: Micros,
    pub reply_timeout: Micros,
    pub in_flight: u16,
    pub deadline: Micros,
    /// Faults stop here.
    pub faults_end: Micros,
    /// Pause between messages, each way.
    pub publish_pause: Micros,
    pub message_pause: Micros,
    /// Messages a way.
    pub messages: u32,
    pub latency: Micros,
    /// Largest piece in which bytes arrive.
    pub chunk: usize,
    /// Largest piece that the transport takes, and how long it rests in between.
    pub take: usize,
    pub take_pause: Micros,
    pub commit_time: Micros,
    /// A delivery is held back before it is committed.
    pub hold: u32,
    /// Mean time between cuts; 0: none.
    pub cut_every: Micros,
    /// A cut that the client is not told of.
    pub half_open: u32,
    pub crash_every: Micros,
    pub off_every: Micros,
    pub forget: u32,
    pub refuse: u32,
    pub silent_connack: u32,
    pub connect_fails: u32,
    pub withhold: u32,
    pub double: u32,
    pub ack_delay: Micros,
    pub illegal: u32,
    pub repeat: u32,
    pub no_pingresp: u32,
    pub refuse_filter: u32,
    pub stray: u32,
    /// The broker hands a QoS 2 message on at PUBREL instead of at PUBLISH.
    pub hand_on_at_pubrel: bool,
    /// A kept session begins exchanges again whose PUBREC it had, as mosquitto 2.0.11 does after a
    /// restart.
    pub begins_again: u32,
    pub broker_window: usize,
}

impl Knobs {
    pub(crate) fn draw(random: &mut fastrand::Rng) -> Self {
        let mut chance = |most: u32| if random.bool() { 0 } else { random.u32(1..=most) };
        let [forget, refuse, silent_connack, connect_fails, withhold, double] =
            [chance(400), chance(300), chance(200), chance(300), chance(150), chance(200)];
        let [illegal, repeat, no_pingresp, refuse_filter, stray, hold, half_open] = [
            chance(15),
            chance(100),
            chance(200),
            chance(200),
            chance(60),
            chance(600),
            chance(500),
        ];
        let begins_again = chance(500);
        let mut every = |least: Micros, most: Micros| {
            if random.u8(0..3) == 0 { 0 } else { random.u64(least..=most) }
        };
        let cut_every = every(300 * MILLISECOND, 10 * SECOND);
        let crash_every = every(2 * SECOND, 15 * SECOND);
        let off_every = every(5 * SECOND, 40 * SECOND);
        let slowest = random.u64(1..=300);
        let commit_time = random.u64(0..=slowest) * MILLISECOND;
        let is_5 = random.bool();
        let refuse_publish = if is_5 && random.bool() { random.u32(1..=250) } else { 0 };
        Self {
            is_5,
            receive_maximum: [0, 0, 1, 3][random.usize(0..4)],
            packet_size: [0, 0, 30, 45][random.usize(0..4)],
            topic_aliases: [0, 1, 2, 20][random.usize(0..4)],
            server_keep_alive: [0, 0, 1, 4][random.usize(0..4)],
            client_aliases: [0, 1, 5][random.usize(0..3)],
            refuse_publish,
            clean: random.u8(0..8) == 0,
            keep_alive: [0, 1, 2, 5][random.usize(0..4)],
            ping_interval: [0, 1, 3][random.usize(0..3)] * SECOND,
            reply_timeout: random.u64(1..=3) * SECOND,
            in_flight: [0, 1, 2, 5][random.usize(0..4)],
            // Short ones end while records are on their way to the disk.
            deadline: match random.u8(0..3) {
                0 => random.u64(2..=400) * MILLISECOND,
                _ => random.u64(1..=12) * SECOND,
            },
            faults_end: random.u64(5..=25) * SECOND,
            publish_pause: random.u64(1..=600) * MILLISECOND,
            message_pause: random.u64(1..=600) * MILLISECOND,
            messages: random.u32(5..=60),
            latency: random.u64(0..=80) * MILLISECOND,
            chunk: [1, 3, 20, 4000][random.usize(0..4)],
            take: [2, 15, 4000, 4000][random.usize(0..4)],
            take_pause: [0, 0, 1, 40][random.usize(0..4)] * MILLISECOND,
            commit_time,
            hold,
            cut_every,
            half_open,
            crash_every,
            off_every,
            forget,
            refuse,
            silent_connack,
            connect_fails,
            withhold,
            double,
            ack_delay: if random.bool() { 0 } else { random.u64(1..=400) * MILLISECOND },
            illegal,
            repeat,
            no_pingresp,
            refuse_filter,
            stray,
            hand_on_at_pubrel: random.bool(),
            begins_again,
            broker_window: random.usize(1..=12),
        }
    }

    /// Publishes of QoS 1 and 2 that may be in flight.
    pub(crate) fn in_flight_max(&self) -> usize {
        let configured = usize::from(self.in_flight);
        match (self.is_5, self.receive_maximum) {
            (true, limit) if limit > 0 && configured > 0 => configured.min(limit.into()),
            (true, limit) if limit > 0 => limit.into(),
            _ if configured > 0 => configured,
            _ => 20,
        }
    }

    /// The keep alive in force.
    pub(crate) fn keep_alive_s(&self) -> u16 {
        if self.is_5 && self.server_keep_alive > 0 {
            self.server_keep_alive
        } else {
            self.keep_alive
        }
    }

    /// The same run without troubles.
    pub(crate) fn calm(&mut self) {
        self.cut_every = 0;
        self.crash_every = 0;
        self.off_every = 0;
        for chance in [
            &mut self.half_open,
            &mut self.forget,
            &mut self.refuse,
            &mut self.silent_connack,
            &mut self.connect_fails,
            &mut self.withhold,
            &mut self.double,
            &mut self.illegal,
            &mut self.repeat,
            &mut self.no_pingresp,
            &mut self.refuse_filter,
            &mut self.stray,
            &mut self.refuse_publish,
            &mut self.begins_again,
        ] {
            *chance = 0;
        }
    }
}
