//! The rounds: start the targets, run each workload against each in turn, write what came out.

use super::results::{Figures, Outcome, Results, median};
use super::targets::{IQN, Place, Target, find_tgtd};
use super::workload::{Set, Workload, load};
use super::{plot, table};
use crate::loadgen::Report;
use anyhow::{Context, Result, ensure};
use clap::Args;
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
    /// Folder of the workloads
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads"))]
    workloads: PathBuf,
    /// Folder for results.json and the plots
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Folder of polluxd, perfctl, loadgen and floor; that of this program without it
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Core of the targets
    #[arg(long, default_value_t = 0)]
    target_core: usize,
    /// Core of the load generator
    #[arg(long, default_value_t = 1)]
    load_core: usize,
}

struct Comparison {
    loadgen: PathBuf,
    load_core: usize,
    seconds: f64,
    attempts: u32,
    targets: Vec<Target>,
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
    let mut workloads = load(&options.workloads, set)?;
    if let Some(text) = &options.only {
        workloads.retain(|w| w.name.contains(text));
        ensure!(!workloads.is_empty(), "no workload has '{text}' in its name");
    }
    let work = Work::new()?;
    let comparison = Comparison::start(options, &work.0, seconds)?;
    let outcomes = comparison.measure(&workloads, rounds)?;
    let (machine, commit, workloads) = (machine(), commit(), outcomes);
    let depths = BTreeMap::new();
    let mut results = Results { machine, commit, rounds, seconds, workloads, depths };
    print!("{}", table::text(&results));
    // Before the rest, so that nothing that fails later takes the results with it.
    write(&results, &options.out)?;
    if options.only.is_none() && set != Set::Smoke {
        results.depths = comparison.sweep()?;
        write(&results, &options.out)?;
    }
    eprintln!("compare: results and plots are in {}", options.out.display());
    check(&results)
}

impl Comparison {
    fn start(options: &Options, work: &Path, seconds: f64) -> Result<Self> {
        let own = std::env::current_exe()?;
        let programs = options.programs.clone().or_else(|| Some(own.parent()?.to_owned()));
        let programs = programs.context("--programs is needed")?;
        let work = work.to_owned();
        let loadgen = programs.join("loadgen");
        let place = Place { programs, work, core: options.target_core, size: 512 << 20 };
        let mut targets = Vec::new();
        let mut add = |target: Result<Target>| -> Result<()> {
            let target = target?;
            target.pause()?;
            targets.push(target);
            Ok(())
        };
        add(Target::ours(&place))?;
        add(Target::floor(&place))?;
        match find_tgtd().filter(|_| !options.no_tgt) {
            Some(program) => add(Target::tgt(&place, &program))?,
            None => eprintln!("compare: without tgt (the Debian package tgt has it)"),
        }
        let comparison = Self {
            loadgen,
            load_core: options.load_core,
            seconds,
            attempts: options.attempts.max(1),
            targets,
        };
        comparison.fill()?;
        Ok(comparison)
    }

    /// Writes every block of ours once: pages that nobody has written are one page of zeros to
    /// reads, which makes them too fast, and a page fault to writes, which makes them too slow.
    /// tgt's file is written where it is made, and the floor does not keep data.
    fn fill(&self) -> Result<()> {
        for target in self.targets.iter().filter(|target| target.name == "ours") {
            target.resume()?;
            let load = ["--block", "256KiB", "--depth", "4", "--read-percent", "0"];
            let order = ["--pattern", "sequential", "--count", "2048"];
            let arguments: Vec<String> = load.into_iter().chain(order).map(str::to_owned).collect();
            let mut filling = self.command(target);
            filling.args(["--duration", "300", "--warmup", "0"]).args(&arguments);
            self.report_of(filling, target)?;
            target.pause()?;
        }
        Ok(())
    }

    /// All rounds of all workloads.
    fn measure(&self, workloads: &[Workload], rounds: usize) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = workloads
            .iter()
            .map(|workload| Outcome {
                name: workload.name.clone(),
                workload: workload.clone(),
                targets: BTreeMap::new(),
            })
            .collect();
        for round in 1..=rounds {
            for outcome in &mut outcomes {
                eprintln!("compare: round {round} of {rounds}: {}", outcome.name);
                for target in &self.targets {
                    if target.name == "floor" && !outcome.workload.floor {
                        continue;
                    }
                    let figures = outcome.targets.entry(target.name.to_owned()).or_default();
                    self.one(target, &outcome.workload, figures)?;
                }
            }
        }
        Ok(outcomes)
    }

    /// One workload against one target, once.
    fn one(&self, target: &Target, workload: &Workload, figures: &mut Figures) -> Result<()> {
        let mut arguments = workload.arguments();
        target.resume()?;
        if let Some(share) = workload.rate_share {
            // What it reaches now, on the machine as it is now.
            let saturated = self.load(target, &arguments)?;
            arguments.extend(["--rate".to_owned(), format!("{:.0}", saturated.iops * share)]);
        }
        let (mut report, mut before, mut after);
        let mut attempt = 0;
        loop {
            before = target.syscalls();
            report = self.load(target, &arguments)?;
            after = self.settled_syscalls(target, before);
            attempt += 1;
            if attempt >= self.attempts || share(target, &report) >= UNDISTURBED_SHARE {
                break;
            }
        }
        target.pause()?;
        figures.shares.push(share(target, &report));
        let total = report.commands_total.max(1) as f64;
        let syscalls = match (before, after) {
            (Some(before), Some(after)) => Some((after - before) as f64 / total),
            // The floor has told nothing before its first connection ended.
            (None, Some(after)) => Some(after as f64 / total),
            (_, None) => None,
        };
        figures.add(&report, syscalls);
        Ok(())
    }

    /// The count after a run; the floor tells it a moment after the last connection has ended.
    fn settled_syscalls(&self, target: &Target, before: Option<u64>) -> Option<u64> {
        for _ in 0..20 {
            let after = target.syscalls();
            if after.is_some() && after != before {
                return after;
            }
            if target.name == "tgt" {
                return None;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        None
    }

    fn load(&self, target: &Target, arguments: &[String]) -> Result<Report> {
        // tgt answers out of order, and it is far too slow for the initiator to be the limit.
        let copies = target.name == "tgt" && arguments.iter().any(|a| a == "drop");
        let dropped =
            |a: &String| if copies && a == "drop" { "copy".to_owned() } else { a.clone() };
        let arguments: Vec<String> = arguments.iter().map(dropped).collect();
        let mut command = self.command(target);
        command
            .args(["--duration", &self.seconds.to_string(), "--warmup", WARMUP_SECONDS])
            .args(["--target-pid", &target.pid().to_string()])
            .args(arguments);
        self.report_of(command, target)
    }

    /// The load generator, told where the target is.
    fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.loadgen);
        command
            .args(["--target", &format!("127.0.0.1:{}", target.port)])
            .args(["--iqn", IQN, "--lun", &target.lun.to_string()])
            .args(["--core", &self.load_core.to_string(), "--json", "-"]);
        command
    }

    fn report_of(&self, mut command: Command, target: &Target) -> Result<Report> {
        let output =
            command.output().with_context(|| format!("cannot run {}", self.loadgen.display()))?;
        // A run with errors ends with a failure but has its report all the same.
        serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{command:?} against {}: {said}", target.name)
        })
    }

    /// IOPS of 4 KiB reads at several queue depths.
    fn sweep(&self) -> Result<BTreeMap<String, Vec<(u16, f64)>>> {
        let mut depths: BTreeMap<String, Vec<(u16, f64)>> = BTreeMap::new();
        eprintln!("compare: queue depths");
        for depth in [1, 2, 4, 8, 16, 32, 64, 128] {
            for target in &self.targets {
                target.resume()?;
                let arguments = ["--payload", "drop", "--depth", &depth.to_string()];
                let report = self.load(target, &arguments.map(str::to_owned))?;
                target.pause()?;
                depths.entry(target.name.to_owned()).or_default().push((depth, report.iops));
            }
        }
        Ok(depths)
    }
}

/// The part of the time that target and load generator had their cores for. Both spin, so it is
/// all of it where nothing else runs; tgt sleeps, so its part says nothing.
fn share(target: &Target, report: &Report) -> f64 {
    let commands = report.commands as f64;
    let of = |us: f64| us * commands / 1e6 / report.seconds;
    let own = of(report.own_cpu_us);
    if target.name == "tgt" { own } else { report.target_cpu_us.map_or(own, |us| own.min(of(us))) }
}

/// A folder for state and logs that is gone afterwards.
struct Work(PathBuf);

impl Work {
    fn new() -> Result<Self> {
        // tgt's file belongs in memory, because a disk would be measured otherwise.
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
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
    Ok(())
}

/// Whether the ratios can be: a comparison that says more than that is for people.
fn check(results: &Results) -> Result<()> {
    for outcome in &results.workloads {
        let name = &outcome.name;
        for (target, figures) in &outcome.targets {
            ensure!(figures.errors == 0, "{name}: {target} had {} errors", figures.errors);
            let iops = median(&figures.iops).unwrap_or(0.0);
            ensure!(iops > 0.0, "{name}: {target} did nothing");
        }
        if outcome.workload.rate_share.is_some() {
            continue;
        }
        let floor = outcome.ratio("ours", "floor").unwrap_or(0.5);
        ensure!((0.02..3.0).contains(&floor), "{name}: ours/floor is {floor:.3}");
        let tgt = outcome.ratio("ours", "tgt").unwrap_or(1.0);
        ensure!(tgt > 0.3, "{name}: ours/tgt is {tgt:.3}");
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

/// What counts as undisturbed.
const UNDISTURBED_SHARE: f64 = 0.97;

const WARMUP_SECONDS: &str = "0.2";
