//! `perfctl bench`: benchmarks a LUN of the running daemon.

mod place;
mod result;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use bench::loadgen::{Options, Pattern, Report};
use clap::Args;
use control_api::{SessionList, Status, StatusQuery, TargetList, parse_size};
use place::{Place, check_writes, find};
use std::path::PathBuf;

/// The workload.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// LUN to benchmark: a volume name, TARGET/LUN, or a target name for its first LUN
    /// [default: the only LUN]
    #[arg(value_name = "VOLUME|TARGET/LUN")]
    what: Option<String>,
    /// Queue depth of each connection: use 1 to measure latency, 32 or more for throughput
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: u16,
    /// Number of connections, one session each, distributed over the reactors
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Block size of each command, such as 4KiB
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = parse_size)]
    block: u64,
    /// Percentage of reads [default: 100, or 0 with --write]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    read_percent: Option<u8>,
    /// Access pattern
    #[arg(long, value_enum, default_value_t = Pattern::Random)]
    pattern: Pattern,
    /// Working set: use only this much of the LUN, from its start
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// Duration of the measurement in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    duration: f64,
    /// Open loop: start this number of commands per second, regardless of completions. Latency
    /// is then measured from the scheduled start of each command
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Allow writes. DESTROYS the data on the LUN
    #[arg(long)]
    write: bool,
    /// Write even if other initiators are logged in
    #[arg(long, requires = "write")]
    force: bool,
    /// Negotiate CRC32C header and data digests
    #[arg(long)]
    digests: bool,
    /// CPU core of the load generator [default: a core not used by a reactor]
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Initiator name used to log in; the target must permit it
    #[arg(long, value_name = "IQN", default_value = INITIATOR)]
    initiator: String,
    /// Portal to connect to [default: the target's first portal]
    #[arg(long, value_name = "HOST:PORT")]
    portal: Option<String>,
    /// Write the latency distribution to this file as HdrHistogram percentiles (.hgrm)
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
}

const INITIATOR: &str = "iqn.2026-11.local.pollux:perfctl";

/// Looks up the LUN, runs the workload and prints the result.
pub(crate) fn run(
    args: &BenchArgs,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let reads = read_percent(args).map_err(Failure::Usage)?;
    let status = client.call(StatusQuery {})?;
    let targets = client.call(TargetList {})?.targets;
    let portal = args.portal.as_deref();
    let place = find(args.what.as_deref(), &targets, &status, portal).map_err(Failure::Load)?;
    place.check_login(&args.initiator).map_err(Failure::Load)?;
    if reads < 100 {
        let sessions = client.call(SessionList {})?.sessions;
        check_writes(&place, &targets, &sessions, args.force).map_err(Failure::Load)?;
    }
    let (options, note) = options(args, &place, &status, reads);
    options.check().map_err(|e| Failure::Usage(e.to_string()))?;
    let report = bench::loadgen::run(&options).map_err(|e| Failure::Load(format!("{e:#}")))?;
    output.answer(&report, |report| result::render(report, &place, note.as_deref()))?;
    complaint(&report).map_or(Ok(()), |sentence| Err(Failure::Load(sentence)))
}

/// The percentage of reads. Writes require an explicit --write.
fn read_percent(args: &BenchArgs) -> Result<u8, String> {
    match (args.read_percent, args.write) {
        (None, write) => Ok(if write { 0 } else { 100 }),
        (Some(100), true) => {
            Err("--read-percent 100 conflicts with --write: remove one of them".into())
        }
        (Some(percent @ ..100), false) => Err(format!(
            "--read-percent {percent} includes writes, which destroy the data on the LUN; add \
             --write to confirm"
        )),
        (Some(percent), _) => Ok(percent),
    }
}

/// The options of the load generator, and a note for the user if there is one.
fn options(
    args: &BenchArgs,
    place: &Place<'_>,
    status: &Status,
    read_percent: u8,
) -> (Options, Option<String>) {
    let mut options = Options::new(&place.portal, &place.target.name);
    options.lun = place.lun.lun;
    options.initiator.clone_from(&args.initiator);
    options.connections = args.connections;
    options.depth = args.depth;
    options.block = args.block;
    options.read_percent = read_percent;
    options.pattern = args.pattern;
    options.size = args.size;
    options.duration = args.duration;
    options.rate = args.rate;
    options.header_digest = args.digests;
    options.data_digest = args.digests;
    options.target_pid = Some(status.pid);
    options.hdr.clone_from(&args.hdr);
    let cores = allowed_cores();
    options.core = args.core.or_else(|| free_core(&cores, &status.cores));
    let is_shared = options.core.is_none_or(|core| taken(&status.cores, core));
    // Spinning on a reactor's core would distort the measurement.
    options.sleep = is_shared;
    let note = is_shared.then(|| {
        "the load generator shares a core with a reactor, which slows both down; use separate \
         cores, or run bench/loadgen on another machine"
            .to_owned()
    });
    (options, note)
}

fn allowed_cores() -> Vec<usize> {
    // If the kernel does not report the affinity, no core is chosen.
    let allowed = rustix::thread::sched_getaffinity(None).ok();
    let all = 0..rustix::thread::CpuSet::MAX_CPU;
    allowed.map_or_else(Vec::new, |set| all.filter(|&core| set.is_set(core)).collect())
}

/// The last core without a reactor: on many machines the first ones handle interrupts.
fn free_core(allowed: &[usize], reactors: &[u32]) -> Option<usize> {
    allowed.iter().rev().copied().find(|&core| !taken(reactors, core))
}

fn taken(reactors: &[u32], core: usize) -> bool {
    reactors.iter().any(|&other| usize::try_from(other) == Ok(core))
}

fn complaint(report: &Report) -> Option<String> {
    if report.is_good() {
        return None;
    }
    Some(match &report.first_error {
        Some(first) => format!("{} commands failed; first error: {first}", report.errors),
        None => "no command completed during the measurement; increase --duration".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn percent(words: &str) -> Result<u8, String> {
        let line = Line::try_parse_from(format!("bench {words}").split_whitespace()).unwrap();
        read_percent(&line.bench)
    }

    #[test]
    fn writes_require_an_explicit_flag() {
        assert_eq!(percent(""), Ok(100));
        assert_eq!(percent("--write"), Ok(0));
        assert_eq!(percent("--write --read-percent 70"), Ok(70));
        assert!(percent("--read-percent 70").unwrap_err().contains("add --write"));
        assert!(percent("--read-percent 100 --write").is_err());
    }

    #[test]
    fn the_load_generator_avoids_the_cores_of_reactors() {
        assert_eq!(free_core(&[0, 1, 2, 3], &[0, 1]), Some(3));
        assert_eq!(free_core(&[0, 1, 2, 3], &[3, 2]), Some(1));
        assert_eq!(free_core(&[0, 1], &[0, 1]), None);
        assert_eq!(free_core(&[], &[0]), None);
    }
}
