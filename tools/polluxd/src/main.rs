//! The Pollux daemon: configuration, storage set-up and the control thread around the reactors.

mod config;
mod control;
mod daemon;
mod files;
mod flags;
mod greeting;
mod listen;
mod log;
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
    let result = run::run(&flags);
    log::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            log::print_last(&format!("polluxd: {fault}\n"));
            ExitCode::FAILURE
        }
    }
}
