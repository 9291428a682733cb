//! What is compared, and what is written of it.

use super::comparison::{Comparison, Loads};
use super::disk::Disk;
use super::results::{Outcome, Results, highest};
use super::scale;
use super::targets::{Place, find_program};
use super::workload::{On, Set, Workload, load};
use super::{plot, table};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is compared, and for how long.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The most important workloads, in under 5 minutes
    #[arg(long, conflicts_with = "smoke")]
    quick: bool,
    /// A minute that checks that all of it works and the ratios are sane; no figures to quote
    #[arg(long)]
    smoke: bool,
    /// Instead of the table: 1000 sessions and 256 logical units
    #[arg(long, conflicts_with_all = ["smoke", "quick"])]
    scale: bool,
    /// How often each workload runs against each target
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement
    #[arg(long)]
    seconds: Option<f64>,
    /// Measure again, up to so many times, while something else takes the cores: a measurement
    /// counts as undisturbed when target and load generator had them for 97 % of the time
    #[arg(long, default_value_t = 1, value_name = "TIMES")]
    attempts: u32,
    /// Only workloads whose name has this in it
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Leave tgt out
    #[arg(long)]
    no_tgt: bool,
    /// Folder on the disk that is compared with fio, which must be installed
    #[arg(long, default_value = "target/bench", value_name = "FOLDER")]
    disk: PathBuf,
    /// Bytes of the file on it
    #[arg(long, default_value = "1GiB", value_parser = crate::size::parse)]
    disk_size: u64,
    /// What the reactor does while the disk works: see docs/TUNING.md
    #[arg(long, value_enum, default_value_t = Poll::Adaptive)]
    disk_poll: Poll,
    /// Folder of the workloads
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads"))]
    workloads: PathBuf,
    /// Folder for results.json and the plots
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Folder of polluxd, perfctl, loadgen and floor; that of this program without it
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Core of the targets; the first one that this process may use, without it
    #[arg(long)]
    target_core: Option<usize>,
    /// Core of the load generator; the second one, without it
    #[arg(long)]
    load_core: Option<usize>,
}

/// A reactor's way to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Poll {
    Busy,
    Adaptive,
    Interrupt,
}

impl Poll {
    const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Adaptive => "adaptive",
            Self::Interrupt => "interrupt",
        }
    }
}

/// Compares, prints the table, and writes the results.
pub fn run(options: &Options) -> Result<()> {
    let (set, rounds, seconds) = match (options.smoke, options.quick) {
        (true, _) => (Set::Smoke, 2, 0.5),
        (_, true) => (Set::Quick, 3, 1.0),
        (false, false) => (Set::Full, 5, 3.0),
    };
    let rounds = options.rounds.unwrap_or(rounds).max(1);
    let seconds = options.seconds.unwrap_or(seconds);
    // A smoke test also has to run where little memory is free.
    let size = if options.smoke { 64 << 20 } else { 512 << 20 };
    let work = Work::new(2 * size)?;
    let loads = loads(options, &work.0, seconds, size)?;
    if options.scale {
        return scale::run(&loads, rounds, &options.out);
    }
    let mut workloads = load(&options.workloads, set)?;
    if let Some(text) = &options.only {
        workloads.retain(|w| w.name.contains(text));
        ensure!(!workloads.is_empty(), "no workload has '{text}' in its name");
    }
    let mut disk = None;
    if workloads.iter().any(|w| w.on == On::Disk) {
        disk = start_disk(options, &loads.place)?;
        workloads.retain(|w| w.on == On::Memory || disk.is_some());
    }
    let has_memory = workloads.iter().any(|w| w.on == On::Memory);
    let comparison = Comparison::start(loads, disk, has_memory, !options.no_tgt)?;
    let mut results = Results {
        machine: machine(),
        commit: commit(),
        rounds,
        seconds,
        workloads: comparison.measure(&workloads, rounds)?,
        depths: BTreeMap::new(),
        cores: Vec::new(),
    };
    print!("{}", table::text(&results));
    // Before the rest, so that nothing that fails later takes the results with it.
    write(&results, &options.out)?;
    if options.only.is_none() && set != Set::Smoke {
        results.depths = comparison.depths()?;
        results.cores = comparison.cores()?;
        write(&results, &options.out)?;
    }
    eprintln!("compare: results and plots are in {}", options.out.display());
    check(&results, &comparison, &workloads)?;
    check_files(&results, &options.out)
}

/// How load is made on this machine.
fn loads(options: &Options, work: &Path, seconds: f64, size: u64) -> Result<Loads> {
    let own = std::env::current_exe()?;
    let programs = options.programs.clone().or_else(|| Some(own.parent()?.to_owned()));
    let programs = programs.context("--programs is needed")?;
    let cores = uring::affinity::cores();
    let core = options.target_core.or_else(|| cores.first().copied()).context("no core")?;
    let other = cores.iter().copied().find(|&other| other != core);
    if other.is_none() && options.load_core.is_none() {
        eprintln!("compare: only one core may be used, so nothing but ratios can be looked at");
    }
    Ok(Loads {
        loadgen: programs.join("loadgen"),
        load_core: options.load_core.or(other).unwrap_or(core),
        seconds,
        attempts: options.attempts.max(1),
        place: Place { programs, work: work.to_owned(), core, size },
    })
}

/// The file and its daemon, if fio is there to compare them with.
fn start_disk(options: &Options, place: &Place) -> Result<Option<Disk>> {
    let Some(fio) = find_program("fio") else {
        eprintln!("compare: without the file on a disk (the Debian package fio is missing)");
        return Ok(None);
    };
    let poll = options.disk_poll.name();
    let disk = Disk::start(place, &options.disk, options.disk_size, poll, fio)?;
    disk.target.pause()?;
    Ok(Some(disk))
}

/// A folder for state and logs that is gone afterwards.
struct Work(PathBuf);

impl Work {
    fn new(bytes: u64) -> Result<Self> {
        // tgt's file belongs in memory, because a disk would be measured otherwise.
        let memory = Path::new("/dev/shm");
        let free = rustix::fs::statvfs(memory).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        let base = if free >= bytes { memory.to_owned() } else { std::env::temp_dir() };
        let folder = base.join(format!("pollux-compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What is left in /dev/shm is memory, but nothing more can be done about it here.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

fn write(results: &Results, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(results)?)?;
    std::fs::write(folder.join("table.txt"), table::text(results))?;
    for (index, outcome) in results.workloads.iter().enumerate() {
        std::fs::write(folder.join(format!("latency-{index:02}.svg")), plot::latency(outcome))?;
    }
    if !results.depths.is_empty() {
        std::fs::write(folder.join("depths.svg"), plot::depths(results))?;
    }
    if !results.cores.is_empty() {
        std::fs::write(folder.join("cores.svg"), plot::cores(results))?;
    }
    Ok(())
}

/// Whether the results can be: a comparison that says more than that is for people. A ratio
/// that cannot be is measured once more, because other work may have had the cores.
fn check(results: &Results, comparison: &Comparison, workloads: &[Workload]) -> Result<()> {
    let mut again = Vec::new();
    for (outcome, workload) in results.workloads.iter().zip(workloads) {
        if let Err(error) = check_one(outcome) {
            eprintln!("compare: {error}; measuring it again");
            again.push(workload.clone());
        }
    }
    for _ in 0..SANE_ATTEMPTS {
        if again.is_empty() {
            return Ok(());
        }
        let outcomes = comparison.measure(&again, results.rounds)?;
        again.retain(|w| outcomes.iter().any(|o| o.name == w.name && check_one(o).is_err()));
        if let Some(error) = outcomes.iter().find_map(|o| check_one(o).err()) {
            eprintln!("compare: {error}");
        }
    }
    let names: Vec<&str> = again.iter().map(|w| w.name.as_str()).collect();
    ensure!(again.is_empty(), "results that cannot be, again and again: {}", names.join("; "));
    Ok(())
}

fn check_one(outcome: &Outcome) -> Result<()> {
    let name = &outcome.name;
    for &target in outcome.workload.contestants() {
        let Some(figures) = outcome.targets.get(target) else {
            ensure!(target == "tgt", "{name}: {target} was not measured");
            continue;
        };
        ensure!(figures.errors == 0, "{name}: {target} had {} errors", figures.errors);
        ensure!(highest(&figures.iops) > 0.0, "{name}: {target} did nothing");
    }
    if outcome.workload.rate_share.is_some() {
        return Ok(());
    }
    // Of the best rounds: what disturbs one round is no mistake of a program.
    let best = |target| outcome.targets.get(target).map(|figures| highest(&figures.iops));
    let ours = best("ours").unwrap_or(0.0);
    for (to, low, high) in [
        ("floor", 0.05, 3.0),
        ("plain", 0.05, 3.0),
        ("fio", 0.02, 20.0),
        ("tgt", 0.3, f64::INFINITY),
    ] {
        let ratio = best(to).map(|theirs| ours / theirs);
        let can_be = ratio.is_none_or(|ratio| (low..high).contains(&ratio));
        ensure!(can_be, "{name}: ours/{to} is {:.3}", ratio.unwrap_or(0.0));
    }
    Ok(())
}

/// Whether what was written can be read by others.
fn check_files(results: &Results, folder: &Path) -> Result<()> {
    let json = std::fs::read_to_string(folder.join("results.json"))?;
    let json: serde_json::Value = serde_json::from_str(&json).context("results.json")?;
    let rows = json.get("workloads").and_then(|w| w.as_array()).map_or(0, Vec::len);
    ensure!(rows == results.workloads.len(), "results.json has {rows} workloads");
    for index in 0..rows {
        let path = folder.join(format!("latency-{index:02}.svg"));
        let svg = std::fs::read_to_string(&path)?;
        let is_whole = svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>");
        ensure!(is_whole && !svg.contains("NaN"), "{} is no plot", path.display());
    }
    Ok(())
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let congestion =
        std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    format!(
        "Linux {}, {}, {}, load average {load}",
        kernel.trim(),
        model.unwrap_or("unknown processor").trim(),
        congestion.trim()
    )
}

fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    match git.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

/// How often a result that cannot be is measured again.
const SANE_ATTEMPTS: usize = 3;
