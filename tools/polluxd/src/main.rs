//! The Pollux daemon: configuration, storage set-up and the control thread around the reactors.

mod config;
mod control;
mod daemon;
mod flags;
mod greeting;
mod listen;
mod operation;
mod run;
mod settings;
mod start_fault;
mod state;
mod storage;
mod workers;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let flags = flags::Flags::parse();
    match run::run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("polluxd: {fault}");
            ExitCode::FAILURE
        }
    }
}
