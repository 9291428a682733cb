//! The floor: a server that moves the bytes of an iSCSI target and does nothing else.

use bench::floor::{Options, run};
use clap::Parser;
use std::process::ExitCode;

/// Move the bytes of an iSCSI target and do nothing else: the bound that no target can beat
#[derive(Parser)]
#[command(name = "floor", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error:#}");
            ExitCode::FAILURE
        }
    }
}
