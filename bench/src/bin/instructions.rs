//! Counts the instructions of one read and one write; `bench/instructions` builds and runs it.

use bench::instructions::{Options, run};
use clap::Parser;
use std::process::ExitCode;

/// Counts the instructions that polluxd executes for one 4 KiB read and one 4 KiB write.
#[derive(Parser)]
#[command(name = "instructions", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}
