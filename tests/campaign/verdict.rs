//! What went in against what came out.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::TOPICS;
use super::writer::{Outcomes, Told};

/// What a round showed; sums of rounds, too.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Different messages that reached the consumer.
    pub messages: usize,
    /// Commands that were written.
    pub writes: usize,
    pub completed: usize,
    pub failed: usize,
    pub uncertain: usize,
    /// The driver was killed before it said anything.
    pub untold: usize,
    /// Messages and commands that are missing.
    pub lost: usize,
    /// At QoS 2, messages and commands that came more than once; failed commands that came.
    pub doubled: usize,
    /// Messages and commands that came after a later one of their topic.
    pub disorder: usize,
    /// Repeated by the broker, as its own record says.
    pub repeated_by_broker: usize,
    /// In words.
    pub findings: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.disorder == 0 && self.findings.is_empty()
    }

    /// Messages of one topic: `sent` are the numbers that must come, `came` those that did.
    /// `excused` repetitions are the broker's doing.
    pub fn messages(
        &mut self,
        topic: &str,
        sent: impl Iterator<Item = usize>,
        came: &[usize],
        qos: u8,
        excused: usize,
    ) {
        let first = self.arrivals(topic, came, qos, excused);
        self.messages += first.len();
        for number in sent {
            if !first.contains_key(&number) {
                self.lost += 1;
                self.finding(format!("{topic}: message {number} is missing"));
            }
        }
    }

    /// Commands of one station: what the writer was told of them, and which came.
    pub fn commands(&mut self, station: &str, told: &[Told], came: &[usize], qos: u8) {
        let arrived = self.arrivals(station, came, qos, 0);
        for (number, told) in (1..).zip(told) {
            self.writes += 1;
            let came = arrived.contains_key(&number);
            match told {
                Told::Completed => self.completed += 1,
                Told::Failed => self.failed += 1,
                Told::Uncertain => self.uncertain += 1,
                Told::Nothing => self.untold += 1,
            }
            if *told == Told::Completed && !came {
                self.lost += 1;
                self.finding(format!("{station}: command {number} was completed and never came"));
            }
            if *told == Told::Failed && came {
                self.doubled += 1;
                self.finding(format!("{station}: command {number} failed and came"));
            }
        }
        for number in arrived.keys().filter(|number| **number > told.len()) {
            self.finding(format!("{station}: command {number} was never written"));
        }
    }

    /// How often each number came. Order is that of first arrivals at QoS 1, where repetitions are
    /// allowed, and of all at QoS 2.
    fn arrivals(
        &mut self,
        topic: &str,
        came: &[usize],
        qos: u8,
        mut excused: usize,
    ) -> BTreeMap<usize, usize> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let mut highest = 0;
        for &number in came {
            let count = counts.entry(number).or_default();
            *count += 1;
            if *count > 1 {
                if qos < 2 {
                    continue;
                }
                if excused > 0 {
                    excused -= 1;
                    self.repeated_by_broker += 1;
                    continue;
                }
                self.doubled += 1;
                self.finding(format!("{topic}: {number} came {count} times"));
            } else if number < highest {
                self.disorder += 1;
                self.finding(format!("{topic}: {number} came after {highest}"));
            }
            highest = highest.max(number);
        }
        counts
    }

    pub fn finding(&mut self, text: String) {
        if self.findings.len() < 20 {
            self.findings.push(text);
        }
    }
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.writes += other.writes;
        self.completed += other.completed;
        self.failed += other.failed;
        self.uncertain += other.uncertain;
        self.untold += other.untold;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disorder += other.disorder;
        self.repeated_by_broker += other.repeated_by_broker;
        self.findings.extend(other.findings);
    }
}

/// The numbers that a topic gets of so many messages.
pub fn numbers_of(topic: usize, messages: usize) -> impl Iterator<Item = usize> {
    (1..=messages).filter(move |number| number % TOPICS == topic)
}

/// Both directions of a round.
pub fn judge(
    names: [&str; TOPICS],
    messages: usize,
    seen: &[Vec<usize>; TOPICS],
    outcomes: &Outcomes,
    commands: &[(String, String)],
    qos: u8,
    excused: usize,
) -> Verdict {
    let mut verdict = Verdict::default();
    for (topic, name) in names.iter().enumerate() {
        let left = excused.saturating_sub(verdict.repeated_by_broker);
        verdict.messages(
            &format!("plant/{name}"),
            numbers_of(topic, messages),
            &seen[topic],
            qos,
            left,
        );
        let own = format!("cmd/{name}");
        let came = commands.iter().filter(|(topic, payload)| *topic == own && payload != "-1");
        let came: Vec<usize> = came.map(|(_, payload)| payload.parse().unwrap()).collect();
        verdict.commands(&own, &outcomes[topic], &came, qos);
    }
    verdict
}
