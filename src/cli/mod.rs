//! The command line: commands, rendering, exit codes. Contract, section 6.

mod args;
mod check;
mod contest;
#[cfg(feature = "demo")]
mod demo;
mod discover;
mod exit;
mod explain;
mod files;
mod import;
mod query;
mod reload;
mod run;
mod table;
mod tap;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    let done = match command {
        Command::Run => run::run(&global),
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::demo(&global, &options),
        Command::Check(wanted) => match &wanted.topic {
            None => check::check(&global),
            Some(topic) => contest::contest(&global, &wanted, topic),
        },
        Command::Explain(wanted) => explain::explain(&global, &wanted),
        Command::Read(names) => query::read(&global, &names),
        Command::Write(write) => query::write(&global, &write),
        Command::Watch(names) => query::watch(&global, &names),
        Command::Browse(browse) => query::browse(&global, &browse),
        Command::Discover(wanted) => discover::discover(&global, &wanted),
        Command::Import(wanted) => import::import(&global, &wanted),
        Command::Status => query::status(&global),
        Command::Reload(wanted) => reload::reload(&global, &wanted),
        Command::Tap(wanted) => tap::tap(&global, &wanted),
    };
    exit::code(done)
}
