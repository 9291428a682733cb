//! The one command-line tool of Pollux: it asks a running daemon, and prints what it answers.

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
            if let Some(sentence) = failure.sentence() {
                eprintln!("perfctl: {sentence}");
            }
            failure.exit_code()
        }
    }
}
