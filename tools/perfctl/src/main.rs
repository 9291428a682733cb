//! The command-line client of Pollux: sends requests to a running polluxd and prints the results.

mod cli;
mod client;
mod commands;
mod distribution;
mod failure;
mod format;
mod output;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                eprintln!("perfctl: {message}");
            }
            failure.exit_code()
        }
    }
}
