//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// SCADA communication driver: MQTT brokers to typed I/O tags with time and quality, and back.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "\
Examples:
  tagline demo                                   see it at work: broker and plant included
  tagline --config /etc/tagline check            find all mistakes of all files
  tagline --config /etc/tagline run              the process
  tagline --config /etc/tagline read 'pump*'     current values
  tagline --config /etc/tagline write pump1.speed 40

Exit status: 0 done, 1 it failed or something asked for is missing, 2 wrong usage or
configuration, 3 the process cannot be reached."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Folder that holds tagline.toml, or that file [default: the working directory]
    #[arg(long, short = 'c', global = true, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    /// Socket of the process, instead of the configured one
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Log filter, for instance `debug` or `tagline::line=debug` (overrides TAGLINE_LOG)
    #[arg(long, global = true, value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the process until SIGTERM or Ctrl-C
    Run,
    /// Show everything at work: embedded broker, simulated plant, the shipped configuration
    #[cfg(feature = "demo")]
    #[command(after_help = "\
Examples:
  tagline demo              until Ctrl-C
  tagline demo --for 20s    for twenty seconds
  tagline --json demo --for 5s | tail -1")]
    Demo(Demo),
    /// Check the configuration: all mistakes of all files, with their places
    #[command(after_help = "\
Examples:
  tagline check
  tagline --config /etc/tagline check
  tagline --json check | jq -r '.diagnostics[].message'
  tagline check --topic site/pump1/data                       which station takes it, and why
  tagline check --topic site/pump1/data --payload message.json  and what its tags become")]
    Check(Check),
    /// Print current values
    #[command(after_help = "\
Examples:
  tagline read pump1.flow pump1.pressure
  tagline read 'pump*'
  tagline --json read '*' | jq '.values[] | select(.quality != \"good\")'")]
    Read(Names),
    /// Write an output tag and print the outcome
    #[command(after_help = "\
The outcome is `completed` (QoS 0 sent, QoS 1 PUBACK, QoS 2 PUBCOMP), `failed` (it did not
happen) or `uncertain` (it left, and no answer came in time: it may have happened).

Examples:
  tagline write pump1.speed 40
  tagline write --timeout 2 valve.command open
  tagline write setpoint -5")]
    Write(Write),
    /// Print values as they change
    #[command(after_help = "\
Examples:
  tagline watch 'pump*'
  tagline --json watch '*' | jq -c .changes[]
  tagline watch --for 10s pump1.flow")]
    Watch(Watch),
    /// Say where a tag's value comes from: message, bytes, rule, conversion, time, quality
    #[command(after_help = "\
Examples:
  tagline explain pump1.flow
  tagline --json explain pump1.flow | jq .message")]
    Explain(Explain),
    /// List tags with their types and addresses
    #[command(after_help = "\
Examples:
  tagline browse
  tagline browse 'pump*' --station pump1
  tagline --json browse")]
    Browse(Browse),
    /// Print the state of the process, its lines and its stations
    Status,
}

/// Names of tags.
#[derive(Debug, Args)]
pub(super) struct Names {
    /// Names of tags; `*` and `?` are wildcards
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
}

/// `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Say which station takes a message of this topic, without a broker
    #[arg(long, value_name = "TOPIC")]
    pub(super) topic: Option<String>,
    /// File with its payload (`-`: standard input): say what every tag would become
    #[arg(long, value_name = "FILE", requires = "topic")]
    pub(super) payload: Option<PathBuf>,
    /// On this line only
    #[arg(long, value_name = "NAME", requires = "topic")]
    pub(super) line: Option<String>,
    /// Its QoS
    #[arg(long, value_name = "0-2", default_value_t = 0, requires = "topic",
        value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(super) qos: u8,
    /// It is retained
    #[arg(long, requires = "topic")]
    pub(super) retain: bool,
    /// Its MQTT 5.0 Content Type
    #[arg(long, value_name = "TYPE", requires = "topic")]
    pub(super) content_type: Option<String>,
}

/// `explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Name of the tag
    #[arg(value_name = "NAME")]
    pub(super) name: String,
}

/// `write`.
#[derive(Debug, Args)]
pub(super) struct Write {
    /// Name of the tag
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// New value
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub(super) value: String,
    /// Seconds to wait for the outcome
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub(super) timeout: f64,
}

/// `watch`.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Names of tags; `*` and `?` are wildcards
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// Stop after this long, for instance `10s`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) duration: Option<std::time::Duration>,
}

/// `browse`.
#[derive(Debug, Args)]
pub(super) struct Browse {
    /// Names of tags; `*` and `?` are wildcards
    #[arg(value_name = "PATTERN")]
    pub(super) pattern: Option<String>,
    /// Tags of this line only
    #[arg(long, value_name = "NAME")]
    pub(super) line: Option<String>,
    /// Tags of this station only
    #[arg(long, value_name = "NAME")]
    pub(super) station: Option<String>,
}

/// `demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Stop after this long, for instance `20s`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) duration: Option<std::time::Duration>,
}

/// `250ms`, `4s`, `5m`, `1h`, `7d`, or seconds.
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    crate::config::parse_duration(text)
}
