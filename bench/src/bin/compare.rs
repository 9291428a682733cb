//! Compares polluxd with the floor, tgt, fio and another build; run it as `bench/compare`.

use bench::compare::{Conclusion, Options, run};
use clap::Parser;
use std::process::ExitCode;

/// Compare polluxd with the floor, tgt, fio and another build of polluxd
///
/// All of them run in turn, in rounds, under the same load. The floor is a server that moves the
/// same bytes and does nothing else. Ratios are medians of the ratios within a round.
#[derive(Parser)]
#[command(name = "compare", version, after_help = EXIT)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

const EXIT: &str = "Exit status: 0 success, 1 failure, 2 usage error, 3 a workload is SLOWER than \
--baseline: by more than 3 % and by more than the baseline differs from itself";

fn main() -> ExitCode {
    match run(&Arguments::parse().options) {
        Ok(Conclusion::Good) => ExitCode::SUCCESS,
        Ok(Conclusion::Slower) => ExitCode::from(3),
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}
