//! Generates load on an iSCSI target and measures its rate and latency.

use anyhow::Result;
use bench::loadgen::{Options, hold, run};
use clap::Parser;
use std::process::ExitCode;

/// Generate load on an iSCSI target and measure its rate and latency
#[derive(Parser)]
#[command(name = "loadgen", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse().options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<ExitCode> {
    if let Some(sessions) = options.idle_sessions {
        hold(options, sessions)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = run(options)?;
    match options.json.as_deref() {
        Some(path) if path.as_os_str() == "-" => println!("{}", serde_json::to_string(&report)?),
        Some(path) => {
            std::fs::write(path, serde_json::to_string(&report)?)?;
            print!("{report}");
        }
        None => print!("{report}"),
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
