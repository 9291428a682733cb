//! Runs seeds of the simulator, and replays one with a trace.

use clap::Parser;
use simulator::Report;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Drives whole shards through seeded worlds of faults.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this one seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Tell everything that happens.
    #[arg(long)]
    trace: bool,
    /// Run the seeds A..B.
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: std::ops::Range<u64>,
    /// Run seeds from the first one on for so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Go on after a seed that fails.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let outcome = run(seed, arguments.trace);
        println!("{outcome:?}");
        return if outcome.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let until = arguments.seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let mut seeds = arguments.seeds.clone();
    if until.is_some() {
        seeds.end = u64::MAX;
    }
    let (mut total, mut count, mut failed) = (Report::default(), 0_u64, 0_u64);
    for seed in seeds {
        match run(seed, arguments.trace) {
            Some(report) => total += report,
            None => failed += 1,
        }
        count += 1;
        let stops = failed > 0 && !arguments.keep_going;
        if stops || until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
    }
    println!("{count} seeds, {failed} failed; {total:?}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(seed: u64, trace: bool) -> Option<Report> {
    let text = match catch_unwind(|| simulator::run(seed, None, trace)) {
        Ok(Ok(report)) => return Some(report),
        Ok(Err(text)) => text,
        Err(_) => "the shard panicked, see above".into(),
    };
    println!("seed {seed} fails: {text}");
    println!("replay: cargo run -p simulator -- --seed {seed} --trace");
    None
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let bounds = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (start, end) = bounds.ok_or("expected A..B, two numbers")?;
    Ok(start..end)
}
