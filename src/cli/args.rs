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
    #[command(after_help = "\
SIGTERM and Ctrl-C end it in order, SIGHUP loads the configuration again.

Examples:
  tagline run
  tagline --config /etc/tagline run
  tagline --log debug run")]
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
The outcome is `completed` (QoS 0 sent, QoS 1 PUBACK, QoS 2 PUBCOMP), `queued` (it is kept until its
line takes it), `failed` (it did not happen) or `uncertain` (it left, and no answer came in time: it
may have happened). With --wait a queued write is waited for, and its end is the outcome.

Examples:
  tagline write pump1.speed 40
  tagline write --timeout 2 valve.command open
  tagline write --wait 1h valve.command open
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
    /// Listen on a line or a server for a while, then write station and tag files
    #[command(after_help = "\
It is a client of its own and leaves nothing behind at the broker. What it writes was tried with the
messages that it heard: run it unchanged, or keep what you like of it. Identities are written as
references, never as texts.

Examples:
  tagline discover --line plant --for 5m --out found
  tagline discover --server mqtt://10.0.0.5 --out site1
  tagline discover --server mqtts://broker.example --user-env MQTT_USER --password-env MQTT_PASSWORD \\
      --topic 'site1/#' --out site1
  tagline --json discover --line plant --out found | jq '.stations[].name'")]
    Discover(Box<Discover>),
    /// Make a configuration of another system's address list
    #[command(
        subcommand,
        after_help = "\
Examples:
  tagline import d2000 --help"
    )]
    Import(Import),
    /// Print the state of the process, its lines and its stations
    #[command(after_help = "\
Examples:
  tagline status
  tagline --json status | jq '.lines[] | {name, state}'")]
    Status,
    /// Load the configuration again and put it in force, while everything runs
    #[command(after_help = "\
Only what changed is changed: lines whose connection stays described as it was keep it. A configuration
with mistakes changes nothing; all mistakes are printed, and the exit status is 2.
SIGHUP to the process does the same.

Examples:
  tagline reload
  tagline reload --check             only say what it would change
  tagline --json reload | jq .tags.counts")]
    Reload(Reload),
    /// Print the messages of brokers as they come
    #[command(after_help = "\
Every message that a line receives, also those that no station takes (`-`). What the terminal
cannot take in time is left out and counted.

Examples:
  tagline tap
  tagline tap --topic 'site/+/data'
  tagline tap --line plant --count 10
  tagline tap --station pump1 --for 1m
  tagline --json tap | jq -c '[.topic, .payload]'")]
    Tap(Tap),
}

/// `reload`.
#[derive(Debug, Args)]
pub(super) struct Reload {
    /// Change nothing: say what a reload would change, or what is wrong
    #[arg(long)]
    pub(super) check: bool,
}

/// `tap`.
#[derive(Debug, Args)]
pub(super) struct Tap {
    /// Messages of this line only
    #[arg(long, value_name = "NAME")]
    pub(super) line: Option<String>,
    /// Messages that this station takes only
    #[arg(long, value_name = "NAME")]
    pub(super) station: Option<String>,
    /// Messages that this topic filter (`+`, `#`) matches only
    #[arg(long, value_name = "FILTER")]
    pub(super) topic: Option<String>,
    /// Stop after this long, for instance `10s`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) duration: Option<std::time::Duration>,
    /// Stop after this many messages
    #[arg(long, value_name = "NUMBER")]
    pub(super) count: Option<u64>,
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
    /// If it is queued, wait so long for its end, for instance `1h`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) wait: Option<std::time::Duration>,
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

/// `import`.
#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// Of D2000 KOM: a CSV file with the columns `Station address`, `Tag name`, `Type`, `Address`, and
    /// the parameters of lines and stations by their names in D2000
    #[command(
        name = "d2000",
        after_help = "\
Examples:
  tagline import d2000 addresses.csv --out site1
  tagline --config site1 check"
    )]
    D2000(ImportD2000),
}

/// `import d2000`.
#[derive(Debug, Args)]
pub(super) struct ImportD2000 {
    /// The list
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Folder for tagline.toml, stations/ and tags/
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) out: PathBuf,
    /// Overwrite files that are there
    #[arg(long)]
    pub(super) force: bool,
}

/// `discover`.
#[derive(Debug, Args)]
pub(super) struct Discover {
    /// Line of the configuration [default: the only one]
    #[arg(long, value_name = "NAME", conflicts_with = "server")]
    pub(super) line: Option<String>,
    /// A server instead, for instance `mqtt://10.0.0.5:1883`; then tagline.toml is written too
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,
    /// How long to listen, for instance `5m`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub(super) duration: std::time::Duration,
    /// Folder for the files
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// Topic filter, also several times [default: the line's, or `#`]
    #[arg(long, value_name = "FILTER")]
    pub(super) topic: Vec<String>,
    /// QoS of the subscription
    #[arg(long, value_name = "0-1", default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(super) qos: u8,
    /// Client id, for servers that know their clients by it [default: one of its own]
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// Version of MQTT, 3.1.1 or 5.0
    #[arg(long, value_name = "VERSION", default_value = "3.1.1", requires = "server")]
    pub(super) mqtt_version: String,
    /// User name; what is written is `{ env = "TAGLINE_USER" }`
    #[arg(long, value_name = "NAME", requires = "server", conflicts_with = "user_env")]
    pub(super) user: Option<String>,
    /// Environment variable with the user name
    #[arg(long, value_name = "VARIABLE", requires = "server")]
    pub(super) user_env: Option<String>,
    /// Environment variable with the password
    #[arg(long, value_name = "VARIABLE", requires = "server", conflicts_with = "password_file")]
    pub(super) password_env: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(super) password_file: Option<PathBuf>,
    /// CA certificates to believe [default: the machine's]
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(super) ca_file: Option<PathBuf>,
    /// The client's certificate
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(super) cert_file: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(super) key_file: Option<PathBuf>,
    /// Write the user name into tagline.toml as it is
    #[arg(long, requires = "user")]
    pub(super) write_secrets: bool,
    /// Also topics that a station takes already
    #[arg(long, conflicts_with = "server")]
    pub(super) all: bool,
    /// Overwrite files that are there
    #[arg(long)]
    pub(super) force: bool,
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
