//! The crash campaign: driver, broker, consumer and network are killed at random moments while
//! numbered messages flow both ways; then everything is counted. `docs/reliability.md` has its result.
//!
//! Has its own `main`: the program executes itself as the broker and as the consumer.
//!
//!     scripts/crash-campaign [--rounds 50] [--seed N] [--qos 1|2|both] [--mqtt 3.1.1|5.0|both]
//!                            [--broker ours|mosquitto|both] [--jobs N] [--json]
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | what happens in a round, by its seed |
//! | `round` | one round |
//! | `broker`, `wire` | a broker that loses nothing when it is killed |
//! | `plant` | the devices beyond a real mosquitto |
//! | `network` | the link that breaks |
//! | `consumer`, `writer` | the control system, both directions |
//! | `verdict` | what went in against what came out |

#![allow(clippy::disallowed_methods, reason = "a test is outside: it has a clock of its own")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program that reports")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

#[allow(dead_code, unused_imports, reason = "shared with the system tests")]
#[path = "system/harness/mod.rs"]
mod harness;

#[path = "campaign/broker.rs"]
mod broker;
#[path = "campaign/consumer.rs"]
mod consumer;
#[path = "campaign/network.rs"]
mod network;
#[path = "campaign/plan.rs"]
mod plan;
#[path = "campaign/plant.rs"]
mod plant;
#[path = "campaign/round.rs"]
mod round;
#[path = "campaign/verdict.rs"]
mod verdict;
#[path = "campaign/wire.rs"]
mod wire;
#[path = "campaign/writer.rs"]
mod writer;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use broker::Sabotage;
use plan::{Choice, Event, Plan};
use round::Kills;
use verdict::Verdict;

/// Topics of messages, and stations that take commands.
pub const TOPICS: usize = 3;

/// Their names.
pub const NAMES: [&str; TOPICS] = ["a", "b", "c"];

/// The topic of a message.
pub fn topic_of(number: usize) -> String {
    format!("plant/{}", NAMES[number % TOPICS])
}

fn main() -> ExitCode {
    if let Ok(parameters) = std::env::var(broker::VARIABLE) {
        broker::main(&parameters);
    }
    if let Ok(parameters) = std::env::var(consumer::VARIABLE) {
        consumer::main(&parameters);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Options::read(&arguments) {
        Ok(Some(options)) => campaign(&options),
        Ok(None) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

struct Options {
    rounds: usize,
    seed: u64,
    choice: Choice,
    jobs: usize,
    json: bool,
}

impl Options {
    /// `None`: the test runner asks for other tests.
    fn read(arguments: &[String]) -> Result<Option<Self>, String> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let mut options = Self {
            rounds: 50,
            seed: fastrand::u64(1..1_000_000_000),
            choice: Choice { qos: None, version: None, mosquitto: None },
            jobs: 2 * cores + 2,
            json: false,
        };
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("`{argument}` wants a value"));
            let number = |text: &str| {
                text.parse::<u64>().map_err(|_| format!("`{text}` is no number ({argument})"))
            };
            match argument {
                "--rounds" => options.rounds = number(value()?)? as usize,
                "--seed" => options.seed = number(value()?)?,
                "--jobs" => options.jobs = number(value()?)?.max(1) as usize,
                "--json" => options.json = true,
                "--qos" => {
                    options.choice.qos = match value()? {
                        "1" => Some(1),
                        "2" => Some(2),
                        "both" => None,
                        other => return Err(format!("`--qos` is 1, 2 or both, not `{other}`")),
                    }
                }
                "--mqtt" => {
                    options.choice.version = match value()? {
                        "3.1.1" => Some("3.1.1"),
                        "5.0" => Some("5.0"),
                        "both" => None,
                        other => {
                            return Err(format!("`--mqtt` is 3.1.1, 5.0 or both, not `{other}`"));
                        }
                    }
                }
                "--broker" => {
                    options.choice.mosquitto = match value()? {
                        "ours" => Some(false),
                        "mosquitto" => Some(true),
                        "both" => None,
                        other => {
                            return Err(format!(
                                "`--broker` is ours, mosquitto or both, not `{other}`"
                            ));
                        }
                    }
                }
                "--list" | "--ignored" => return Ok(None),
                "--nocapture" | "--no-capture" | "--show-output" | "-q" | "--quiet" => {}
                other if other.starts_with('-') => return Err(format!("`{other}` is unknown")),
                filter if "campaign".contains(filter) => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(options))
    }
}

/// A round and how it went.
type Played = (Plan, Verdict, Kills);

fn campaign(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let blind = proof(options);
    let plans: Vec<Plan> = (0..options.rounds as u64)
        .map(|round| Plan::new(options.seed.wrapping_add(round), &options.choice))
        .collect();
    let live = Mutex::new(Progress::new(options.rounds));
    let played = play(&plans, options.jobs, |verdict, kills| {
        live.lock().unwrap().show(verdict, kills);
    });
    let mut total = Verdict::default();
    let mut kills = Kills::new();
    let mut groups: BTreeMap<String, (usize, Verdict)> = BTreeMap::new();
    for (plan, verdict, own) in &played {
        for (kind, count) in own {
            *kills.entry(kind).or_default() += count;
        }
        let broker = if plan.mosquitto { "mosquitto" } else { "ours" };
        let group = format!("{} QoS {} {broker}", plan.version, plan.qos);
        let group = groups.entry(group).or_default();
        group.0 += 1;
        group.1 += verdict.clone();
        total += verdict.clone();
    }
    let clean = total.is_clean() && blind.is_empty();
    if options.json {
        let report = report(options, &groups, &total, &kills, clean, begun.elapsed());
        println!("{report:#}");
    } else {
        table(&groups, &total, &kills);
    }
    for (plan, verdict, _) in played.iter().filter(|(_, verdict, _)| !verdict.is_clean()) {
        println!(
            "seed {} ({} QoS {} {}):",
            plan.seed,
            plan.version,
            plan.qos,
            if plan.mosquitto { "mosquitto" } else { "ours" }
        );
        verdict.findings.iter().for_each(|finding| println!("  {finding}"));
    }
    blind.iter().for_each(|sabotage| println!("a broker told to {sabotage:?} was not noticed"));
    if !options.json {
        println!(
            "{} rounds in {:.0} s, seeds {} to {}: {}",
            options.rounds,
            begun.elapsed().as_secs_f64(),
            options.seed,
            options.seed.wrapping_add(options.rounds.saturating_sub(1) as u64),
            if clean { "nothing lost, nothing doubled, nothing out of order" } else { "FAILED" }
        );
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Rounds against a broker that does wrong: those that find nothing.
fn proof(options: &Options) -> Vec<Sabotage> {
    let choice = Choice { qos: Some(2), version: None, mosquitto: Some(false) };
    let plans: Vec<Plan> = Sabotage::ALL
        .into_iter()
        .map(|sabotage| {
            let mut plan = Plan::new(options.seed, &choice);
            // Kills of consumer and link only: enough to run, and quick.
            plan.events.retain(|(_, event)| {
                matches!(event, Event::KillConsumer(_) | Event::Network(network::Trouble::Cut))
            });
            plan.sabotage = Some(sabotage);
            plan.flow = Duration::from_millis(500);
            plan.bytes = 1_000_000;
            plan
        })
        .collect();
    let noticed = |(plan, verdict, _): Played| {
        let (lost, doubled, disorder) = (verdict.lost, verdict.doubled, verdict.disorder);
        let right = match plan.sabotage {
            Some(Sabotage::Lose | Sabotage::LoseCommand) => lost == 1 && doubled == 0,
            Some(Sabotage::Double | Sabotage::DoubleCommand) => doubled == 1 && lost == 0,
            Some(Sabotage::Swap) => disorder == 1 && lost + doubled == 0,
            None => false,
        };
        plan.sabotage.filter(|_| !right)
    };
    play(&plans, options.jobs, |_, _| {}).into_iter().filter_map(noticed).collect()
}

/// Plays rounds, several at a time.
fn play(plans: &[Plan], jobs: usize, done: impl Fn(&Verdict, &Kills) + Sync) -> Vec<Played> {
    let next = AtomicUsize::new(0);
    let played = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(plans.len()) {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = catch_unwind(AssertUnwindSafe(|| round::run(plan)));
                    let (verdict, kills) = result.unwrap_or_else(|panic| {
                        let mut verdict = Verdict::default();
                        let text = panic
                            .downcast_ref::<String>()
                            .map(String::as_str)
                            .or_else(|| panic.downcast_ref::<&str>().copied());
                        verdict.finding(format!("the round broke off: {}", text.unwrap_or("?")));
                        (verdict, Kills::new())
                    });
                    done(&verdict, &kills);
                    played.lock().unwrap().push((plan.clone(), verdict, kills));
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap();
    played.sort_by_key(|(plan, ..)| plan.seed);
    played
}

/// The line that tells how far it is.
struct Progress {
    rounds: usize,
    done: usize,
    total: Verdict,
    kills: usize,
}

impl Progress {
    fn new(rounds: usize) -> Self {
        Self { rounds, done: 0, total: Verdict::default(), kills: 0 }
    }

    fn show(&mut self, verdict: &Verdict, kills: &Kills) {
        self.done += 1;
        self.kills += kills.values().sum::<usize>();
        self.total += verdict.clone();
        let Verdict { messages, writes, lost, doubled, disorder, .. } = self.total;
        let live = std::io::stderr().is_terminal();
        if !live && !self.done.is_multiple_of(self.rounds.div_ceil(10).max(1)) {
            return;
        }
        let line = format!(
            "round {}/{}  {messages} messages  {writes} writes  {} kills and cuts  \
             {lost} lost  {doubled} doubled  {disorder} out of order",
            self.done, self.rounds, self.kills
        );
        if live {
            eprint!("\r{line}\x1b[K{}", if self.done == self.rounds { "\n" } else { "" });
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
}

fn table(groups: &BTreeMap<String, (usize, Verdict)>, total: &Verdict, kills: &Kills) {
    let head = ["rounds", "messages", "writes", "lost", "doubled", "disorder"];
    println!("{:26}{}", "", head.map(|word| format!("{word:>10}")).concat());
    let all = groups.values().map(|(rounds, _)| rounds).sum();
    let rows = groups.iter().map(|(name, (rounds, verdict))| (name.as_str(), *rounds, verdict));
    for (name, rounds, verdict) in rows.chain([("all", all, total)]) {
        let Verdict { messages, writes, lost, doubled, disorder, .. } = verdict;
        let numbers = [&rounds, messages, writes, lost, doubled, disorder];
        println!("{name:26}{}", numbers.map(|number| format!("{number:>10}")).concat());
    }
    println!(
        "writes: {} completed, {} failed, {} uncertain, {} whose writer lost the driver",
        total.completed, total.failed, total.uncertain, total.untold
    );
    let kinds: Vec<String> = kills.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("{}", kinds.join(", "));
    if total.repeated_by_broker > 0 {
        println!(
            "mosquitto itself sent {} QoS 2 messages again that had been acknowledged (not counted)",
            total.repeated_by_broker
        );
    }
}

fn report(
    options: &Options,
    groups: &BTreeMap<String, (usize, Verdict)>,
    total: &Verdict,
    kills: &Kills,
    clean: bool,
    took: Duration,
) -> serde_json::Value {
    let numbers = |verdict: &Verdict| {
        json!({
            "messages": verdict.messages, "writes": verdict.writes,
            "completed": verdict.completed, "failed": verdict.failed,
            "uncertain": verdict.uncertain, "untold": verdict.untold,
            "lost": verdict.lost, "doubled": verdict.doubled, "disorder": verdict.disorder,
            "repeated_by_broker": verdict.repeated_by_broker, "findings": verdict.findings,
        })
    };
    let groups: BTreeMap<&str, _> = groups
        .iter()
        .map(|(name, (rounds, verdict))| {
            let mut value = numbers(verdict);
            value["rounds"] = json!(rounds);
            (name.as_str(), value)
        })
        .collect();
    json!({
        "rounds": options.rounds, "seed": options.seed, "clean": clean,
        "seconds": took.as_secs(), "kills": kills, "groups": groups, "total": numbers(total),
    })
}
