//! `perfctl bench`: makes load on a LUN of the running daemon, and shows how it answers.

mod place;
mod result;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use bench::loadgen::{Options, Pattern, Report};
use clap::Args;
use control_api::{SessionList, Status, StatusQuery, TargetList};
use place::{Place, check_writes, find};
use std::path::PathBuf;

/// The load.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// The LUN: a volume's name, TARGET/LUN, or a target's name for its first LUN [default: the
    /// only LUN that there is]
    #[arg(value_name = "VOLUME|TARGET/LUN")]
    what: Option<String>,
    /// Commands in flight on each connection: 1 shows latency, 32 and more throughput
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: u16,
    /// Connections, each a session of its own; reactors share them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Bytes of each command
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = bench::size::parse)]
    block: u64,
    /// Of 100 commands, how many are reads [default: 100, with --write 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    read_percent: Option<u8>,
    /// Order of addresses
    #[arg(long, value_enum, default_value_t = Pattern::Random)]
    pattern: Pattern,
    /// Use only so much of the LUN, from its start; what fits caches is faster
    #[arg(long, value_name = "SIZE", value_parser = bench::size::parse)]
    size: Option<u64>,
    /// Seconds to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    duration: f64,
    /// Start this many commands a second, whether or not earlier ones have ended; latency then
    /// counts from when a command should have started
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Write, which DESTROYS what is stored on the LUN
    #[arg(long)]
    write: bool,
    /// Write even where other initiators are logged in
    #[arg(long, requires = "write")]
    force: bool,
    /// Ask for CRC32C of headers and data
    #[arg(long)]
    digests: bool,
    /// Core of the load generator [default: one that no reactor uses]
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Name to log in with; what the target's list of initiators must have
    #[arg(long, value_name = "IQN", default_value = INITIATOR)]
    initiator: String,
    /// Connect here instead of to the target's first portal
    #[arg(long, value_name = "HOST:PORT")]
    portal: Option<String>,
    /// Write the latency distribution to this file, as HdrHistogram percentiles (.hgrm)
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
}

const INITIATOR: &str = "iqn.2026-11.local.pollux:perfctl";

/// Looks the LUN up, makes the load and prints what was measured.
pub(crate) fn run(
    args: &BenchArgs,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let reads = read_percent(args).map_err(Failure::Usage)?;
    let status = client.call(StatusQuery {})?;
    let targets = client.call(TargetList {})?.targets;
    let place = find(args.what.as_deref(), &targets, &status).map_err(Failure::Load)?;
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

/// How many of 100 commands read; writes need to be asked for by name.
fn read_percent(args: &BenchArgs) -> Result<u8, String> {
    match (args.read_percent, args.write) {
        (None, write) => Ok(if write { 0 } else { 100 }),
        (Some(100), true) => Err("--read-percent 100 writes nothing; leave --write out".into()),
        (Some(..100), false) => {
            Err("a load with less than 100 % reads destroys what is stored on \
                                     the LUN; say --write if that is meant"
                .into())
        }
        (Some(percent), _) => Ok(percent),
    }
}

/// The load generator's options, and what is worth knowing about them.
fn options(
    args: &BenchArgs,
    place: &Place<'_>,
    status: &Status,
    read_percent: u8,
) -> (Options, Option<String>) {
    let portal = args.portal.clone().unwrap_or_else(|| place.portal.clone());
    let mut options = Options::new(&portal, &place.target.name);
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
    // Spinning on a reactor's own core would measure the spinning.
    options.sleep = is_shared;
    let note = is_shared.then(|| {
        "the load generator shares a core with a reactor, so both are slower than they could be; \
         give them cores of their own, or run bench/loadgen on another machine"
            .to_owned()
    });
    (options, note)
}

fn allowed_cores() -> Vec<usize> {
    // Where the kernel does not say, no core is chosen.
    let allowed = rustix::thread::sched_getaffinity(None).ok();
    let all = 0..rustix::thread::CpuSet::MAX_CPU;
    allowed.map_or_else(Vec::new, |set| all.filter(|&core| set.is_set(core)).collect())
}

/// The last core that no reactor has: the first ones serve interrupts on many machines.
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
        Some(first) => format!("{} commands failed; the first: {first}", report.errors),
        None => "no command ended in the time measured; is --duration long enough?".into(),
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
    fn writes_have_to_be_asked_for() {
        assert_eq!(percent(""), Ok(100));
        assert_eq!(percent("--write"), Ok(0));
        assert_eq!(percent("--write --read-percent 70"), Ok(70));
        assert!(percent("--read-percent 70").unwrap_err().contains("say --write"));
        assert!(percent("--read-percent 100 --write").is_err());
    }

    #[test]
    fn the_load_generator_keeps_off_the_cores_of_reactors() {
        assert_eq!(free_core(&[0, 1, 2, 3], &[0, 1]), Some(3));
        assert_eq!(free_core(&[0, 1, 2, 3], &[3, 2]), Some(1));
        assert_eq!(free_core(&[0, 1], &[0, 1]), None);
        assert_eq!(free_core(&[], &[0]), None);
    }
}
