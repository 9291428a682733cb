//! Runs seeds of the simulator, and replays one with a trace.

use clap::Parser;
use simulator::{Campaign, Report, Settings, attempt};
use std::num::NonZero;
use std::ops::{ControlFlow, Range};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// Drive whole shards through seeded worlds of faults
#[derive(Debug, Parser)]
struct Arguments {
    /// Run this one seed
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens; with --seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run the seeds A..B
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Run seeds from A on for this many seconds, whatever B is
    #[arg(long)]
    seconds: Option<u64>,
    /// Go on after a seed that fails
    #[arg(long)]
    keep_going: bool,
    /// Run this many seeds at a time [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let failed = match arguments.seed {
        Some(seed) => {
            let outcome = attempt(seed, Settings { canary: None, trace: arguments.trace });
            match &outcome {
                Ok(report) => println!("{report:?}"),
                Err(text) => tell(seed, text),
            }
            u64::from(outcome.is_err())
        }
        None => run(&arguments),
    };
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs many seeds; returns how many failed.
fn run(arguments: &Arguments) -> u64 {
    let begin = Instant::now();
    let mut seeds = arguments.seeds.clone();
    let until = arguments.seconds.map(|seconds| begin + Duration::from_secs(seconds));
    if until.is_some() {
        seeds.end = u64::MAX;
    }
    let jobs = arguments.jobs.or_else(|| available_parallelism().ok()).map_or(1, NonZero::get);
    let (mut total, mut count, mut failed) = (Report::default(), 0_u64, 0_u64);
    Campaign { seeds, jobs, until, mutant: None }.run(|seed, outcome| {
        count += 1;
        match outcome {
            Ok(report) => total += report,
            Err(text) => {
                failed += 1;
                tell(seed, &text);
            }
        }
        if failed > 0 && !arguments.keep_going {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let elapsed = begin.elapsed();
    println!("{total:#?}");
    println!(
        "{count} seeds in {:.1} s on {jobs} threads, {} per second; {failed} failed",
        elapsed.as_secs_f64(),
        u128::from(count) * 1000 / elapsed.as_millis().max(1)
    );
    failed
}

fn tell(seed: u64, text: &str) {
    println!("seed {seed} fails: {text}");
    println!("replay: cargo run -p simulator -- --seed {seed} --trace");
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let bounds = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let (start, end) = bounds.ok_or("expected A..B, two numbers")?;
    Ok(start..end)
}
