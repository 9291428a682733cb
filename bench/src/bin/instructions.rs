//! Counts the instructions of one read and one write; run it as `bench/instructions`.

use bench::instructions::{Options, run};
use clap::Parser;
use std::process::ExitCode;

/// Count the instructions that polluxd executes for one read and one write
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
