//! The `tagline` program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tagline::cli::main()
}
