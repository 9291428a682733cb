//! The rounds: start the targets, and run each workload against each in turn.

use super::daemon::{Daemon, Volume};
use super::disk::Disk;
use super::results::{Figures, Outcome};
use super::targets::{IQN, Place, Target, find_program};
use super::workload::{On, Workload};
use crate::loadgen::Report;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// How load is made.
#[derive(Clone, Debug)]
pub(crate) struct Loads {
    pub(crate) loadgen: PathBuf,
    pub(crate) load_core: usize,
    pub(crate) seconds: f64,
    /// How often it is tried to have the cores alone.
    pub(crate) attempts: u32,
    pub(crate) place: Place,
}

/// All targets, stopped until their turn comes.
#[derive(Debug)]
pub(crate) struct Comparison {
    loads: Loads,
    targets: Vec<Target>,
    disk: Option<Disk>,
}

impl Loads {
    /// One measurement.
    pub(crate) fn load(&self, target: &Target, arguments: &[String]) -> Result<Report> {
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
    pub(crate) fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.loadgen);
        command
            .args(["--target", &format!("127.0.0.1:{}", target.port)])
            .args(["--iqn", IQN, "--lun", &target.lun.to_string()])
            .args(["--core", &self.load_core.to_string(), "--json", "-"]);
        if self.load_core == self.place.core {
            // Two that spin on one core only wait for each other.
            command.arg("--sleep");
        }
        command
    }

    pub(crate) fn report_of(&self, mut command: Command, target: &Target) -> Result<Report> {
        let output =
            command.output().with_context(|| format!("cannot run {}", self.loadgen.display()))?;
        // A run with errors ends with a failure but has its report all the same.
        serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{command:?} against {}: {said}", target.name)
        })
    }

    /// Writes every block of ours once: pages that nobody has written are one page of zeros to
    /// reads, which makes them too fast, and a page fault to writes, which makes them too slow.
    /// tgt's file is written where it is made, and the floor does not keep data.
    pub(crate) fn fill(&self, target: &Target) -> Result<()> {
        let count = (self.place.size >> 18).to_string();
        let mut filling = self.command(target);
        filling
            .args(["--block", "256KiB", "--depth", "4", "--read-percent", "0"])
            .args(["--pattern", "sequential", "--count", &count])
            .args(["--duration", "300", "--warmup", "0"]);
        self.report_of(filling, target).map(|_| ())
    }
}

impl Comparison {
    /// Starts all that take part.
    pub(crate) fn start(
        loads: Loads,
        disk: Option<Disk>,
        has_memory: bool,
        has_tgt: bool,
    ) -> Result<Self> {
        let mut targets = Vec::new();
        if has_memory {
            let place = &loads.place;
            let ours = Target::ours(place, &Daemon::spinning(place.core, place.size))?;
            loads.fill(&ours)?;
            targets.push(paused(ours)?);
            targets.push(paused(Target::floor(place)?)?);
            targets.extend(tgt(place, has_tgt).map(paused).transpose()?);
        }
        Ok(Self { loads, targets, disk })
    }

    /// All rounds of all workloads.
    pub(crate) fn measure(&self, workloads: &[Workload], rounds: usize) -> Result<Vec<Outcome>> {
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
                self.round(outcome)?;
            }
        }
        Ok(outcomes)
    }

    /// One workload against each contestant in turn.
    fn round(&self, outcome: &mut Outcome) -> Result<()> {
        let workload = &outcome.workload;
        for &name in workload.contestants() {
            let plain;
            let (target, load) = match (workload.on, name) {
                (On::Memory, "plain") => {
                    plain = workload.without_digests();
                    (self.target("ours"), &plain)
                }
                (On::Memory, _) => (self.target(name), workload),
                (On::Disk, "fio") => (None, workload),
                (On::Disk, _) => (self.disk.as_ref().map(|disk| &disk.target), workload),
            };
            let figures = outcome.targets.entry(name.to_owned()).or_default();
            match (target, &self.disk) {
                (Some(target), _) => self.one(target, load, figures)?,
                (None, Some(disk)) if name == "fio" => {
                    figures.add(&disk.raw(workload, self.loads.seconds)?, None);
                }
                // Who does not take part has no figures.
                (None, _) => _ = outcome.targets.remove(name),
            }
        }
        Ok(())
    }

    fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// One workload against one target, once.
    fn one(&self, target: &Target, workload: &Workload, figures: &mut Figures) -> Result<()> {
        let mut arguments = workload.arguments();
        target.resume()?;
        if let Some(share) = workload.rate_share {
            // What it reaches now, on the machine as it is now.
            let saturated = self.loads.load(target, &arguments)?;
            // A target that hardly got its core still has to be given some load.
            let rate = (saturated.iops * share).max(1.0);
            arguments.extend(["--rate".to_owned(), format!("{rate:.0}")]);
        }
        let (mut report, mut before, mut after);
        let mut attempt = 0;
        loop {
            before = target.syscalls();
            report = self.loads.load(target, &arguments)?;
            after = settled_syscalls(target, before);
            attempt += 1;
            if attempt >= self.loads.attempts || share(target, &report) >= UNDISTURBED_SHARE {
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

    /// IOPS of 4 KiB reads at several queue depths.
    pub(crate) fn depths(&self) -> Result<BTreeMap<String, Vec<(u16, f64)>>> {
        let mut depths: BTreeMap<String, Vec<(u16, f64)>> = BTreeMap::new();
        eprintln!("compare: queue depths");
        for depth in [1, 2, 4, 8, 16, 32, 64, 128] {
            for target in &self.targets {
                target.resume()?;
                let arguments = ["--payload", "drop", "--depth", &depth.to_string()];
                let report = self.loads.load(target, &arguments.map(str::to_owned))?;
                target.pause()?;
                depths.entry(target.name.to_owned()).or_default().push((depth, report.iops));
            }
        }
        Ok(depths)
    }

    /// IOPS of 4 KiB reads of ours with 1, 2, ... reactors, the core of the load generator last.
    /// The reactors are adaptive: one that spins on that core would only take it away.
    pub(crate) fn cores(&self) -> Result<Vec<(u16, f64)>> {
        let loads = &self.loads;
        let mut cores = uring::affinity::cores();
        // First the target's, then the others.
        cores.sort_by_key(|&c| (c == loads.load_core, c != loads.place.core, c));
        let mut points = Vec::new();
        for count in (1..=cores.len()).take(REACTORS_MAX) {
            eprintln!("compare: {count} of {} cores", cores.len());
            let daemon = Daemon {
                name: "cores",
                cores: cores[..count].to_vec(),
                poll: "adaptive",
                volumes: vec![Volume::Memory(loads.place.size)],
                under: Vec::new(),
            };
            let target = Target::ours(&loads.place, &daemon)?;
            loads.fill(&target)?;
            let connections = (4 * count).to_string();
            let arguments = ["--payload", "drop", "--connections", &connections];
            let report = loads.load(&target, &arguments.map(str::to_owned))?;
            points.push((u16::try_from(count)?, report.iops));
        }
        Ok(points)
    }
}

fn paused(target: Target) -> Result<Target> {
    target.pause()?;
    Ok(target)
}

/// tgt, if it is wanted and there, and can be started.
fn tgt(place: &Place, is_wanted: bool) -> Option<Target> {
    if !is_wanted {
        return None;
    }
    let Some(program) = find_program("tgtd") else {
        eprintln!("compare: without tgt (the Debian package tgt has it)");
        return None;
    };
    match Target::tgt(place, &program) {
        Ok(target) => Some(target),
        Err(error) => {
            eprintln!("compare: without tgt, which needs root: {error:#}");
            None
        }
    }
}

/// The count after a run; the floor tells it a moment after the last connection has ended.
fn settled_syscalls(target: &Target, before: Option<u64>) -> Option<u64> {
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

/// The part of the time that target and load generator had their cores for. The load generator
/// spins, so it is all of it where nothing else runs; a target that sleeps says nothing.
fn share(target: &Target, report: &Report) -> f64 {
    let commands = report.commands as f64;
    let of = |us: f64| us * commands / 1e6 / report.seconds;
    let own = of(report.own_cpu_us);
    if target.spins { report.target_cpu_us.map_or(own, |us| own.min(of(us))) } else { own }
}

/// What counts as undisturbed.
const UNDISTURBED_SHARE: f64 = 0.97;

/// Of the plot against cores.
const REACTORS_MAX: usize = 16;

pub(crate) const WARMUP_SECONDS: &str = "0.2";
