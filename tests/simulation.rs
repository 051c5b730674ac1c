//! Seeded simulation of the MQTT client: a strict broker, a link that fails, a driver that crashes.
//!
//! `cargo test --test simulation` runs 2,000 seeds. One seed with all that happens:
//! `SIMULATION_SEED=17 cargo test --test simulation one_seed -- --nocapture`. More of them:
//! `SIMULATION_SEEDS=100000 cargo test --test simulation`. The mistakes that must be found are planted
//! by `cargo test --features planted-bugs --test simulation`.

#![expect(clippy::print_stdout, reason = "the seed that failed and how to repeat it")]

#[path = "simulation/broker.rs"]
mod broker;
#[path = "simulation/knobs.rs"]
mod knobs;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/wire5.rs"]
mod wire5;
#[path = "simulation/world.rs"]
mod world;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on all processors; the smallest one that fails.
fn first_failure(seeds: std::ops::Range<u64>) -> (u64, Option<(u64, String)>) {
    let workers = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let results: Vec<(u64, Option<(u64, String)>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let mut steps = 0;
                    for seed in seeds.skip(worker as usize).step_by(workers as usize) {
                        match world::run(seed, false) {
                            Ok(taken) => steps += taken,
                            Err(rule) => return (steps, Some((seed, rule))),
                        }
                    }
                    (steps, None)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker panicked")).collect()
    });
    let steps = results.iter().map(|(steps, _)| steps).sum();
    let failure = results.into_iter().filter_map(|(_, failure)| failure).min();
    (steps, failure)
}

#[test]
fn many_seeds() {
    let count = number_from_environment("SIMULATION_SEEDS").unwrap_or(2_000);
    let (steps, failure) = first_failure(0..count);
    println!("{count} seeds, {steps} steps");
    if let Some((seed, rule)) = failure {
        panic!(
            "seed {seed}: {rule}\nrepeat: SIMULATION_SEED={seed} cargo test --test simulation \
             one_seed -- --nocapture"
        );
    }
}

#[test]
fn one_seed() {
    let seed = number_from_environment("SIMULATION_SEED");
    if let Err(rule) = world::run(seed.unwrap_or(0), seed.is_some()) {
        panic!("seed {}: {rule}", seed.unwrap_or(0));
    }
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use tagline::mqtt::planted::{Bug, plant};

    use super::world;

    const SEEDS: u64 = 2_000;

    const BUGS: [Bug; 32] = [
        Bug::ForgetReceivedOnDisconnect,
        Bug::KeepReceivedOfLostSession,
        Bug::IdsWrapEarly,
        Bug::ResendInIdOrder,
        Bug::IgnoreInFlightLimit,
        Bug::NoPubrelOnResume,
        Bug::ResendWithoutDup,
        Bug::DupOnFirstSend,
        Bug::NeverPing,
        Bug::HandOverTwice,
        Bug::AcknowledgeAcrossConnections,
        Bug::AcknowledgeOutOfOrder,
        Bug::AcknowledgeUnsettled,
        Bug::PublishBeforeDurable,
        Bug::PubrelBeforeDurable,
        Bug::PubcompBeforeDurable,
        Bug::DropPartialPacket,
        Bug::CompleteAtPubrec,
        Bug::NoBackOff,
        Bug::SubscribeOnce,
        Bug::DropInFlightOnDisconnect,
        Bug::NoUnsubscribe,
        Bug::ForgetEndedExchanges,
        Bug::ResendAfterLostSession,
        Bug::ResubmitAfterLostSession,
        Bug::ReleaseRefused,
        Bug::KeepAliases,
        Bug::ResendWithAlias,
        Bug::LeakPlace,
        Bug::CompleteRefused,
        Bug::IgnoreServerKeepAlive,
        Bug::IgnorePacketSize,
    ];

    /// The first seed that notices a mistake, and by which rule.
    fn noticed(bug: Bug) -> Option<(u64, String)> {
        plant(Some(bug));
        let found = (0..SEEDS).find_map(|seed| {
            let result = std::panic::catch_unwind(|| world::run(seed, false));
            match result {
                Ok(Ok(_)) => None,
                Ok(Err(rule)) => Some((seed, rule)),
                Err(_) => Some((seed, "the client panicked".to_owned())),
            }
        });
        plant(None);
        found
    }

    #[test]
    fn every_planted_bug_is_found() {
        let mut missed = vec![];
        for bug in BUGS {
            match noticed(bug) {
                Some((seed, rule)) => println!("{bug:?}: seed {seed}: {rule}"),
                None => missed.push(bug),
            }
        }
        assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
    }
}
