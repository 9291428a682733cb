//! Compares Pollux with the floor and with tgt; `bench/compare` builds it and runs it.

use bench::compare::{Options, run};
use clap::Parser;
use std::process::ExitCode;

/// Runs Pollux, the floor and tgt in turns under the same load, and prints how they compare.
#[derive(Parser)]
#[command(name = "compare", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}
