//! The rounds: start the targets, and run each workload against each of them in turn.

use super::contestant::Contestant;
use super::daemon::Daemon;
use super::disk::Disk;
use super::loads::Loads;
use super::results::{Figures, Outcome};
use super::targets::{Place, Target, find_program};
use super::workload::{On, Workload};
use crate::floor::Source;
use crate::loadgen::Report;
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// All targets, each stopped while another one is measured.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) loads: Loads,
    /// With a memory LUN.
    pub(crate) targets: Vec<(Contestant, Target)>,
    disk: Option<Disk>,
}

impl Comparison {
    /// Starts the targets with memory LUNs.
    pub(crate) fn start(
        loads: Loads,
        disk: Option<Disk>,
        parties: &BTreeSet<Contestant>,
    ) -> Result<Self> {
        let mut targets = Vec::new();
        for &party in parties {
            if let Some(target) = start(&loads, party)? {
                target.pause()?;
                targets.push((party, target));
            }
        }
        Ok(Self { loads, targets, disk })
    }

    /// All rounds of all workloads.
    pub(crate) fn measure(&self, workloads: &[Workload], rounds: usize) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for workload in workloads {
            let lun_bytes = match (workload.on, &self.disk) {
                (On::Disk, Some(disk)) => disk.options.bytes,
                (On::Disk, None) | (On::Memory, _) => self.loads.place.size,
            };
            outcomes.push(Outcome::new(workload, workload.working_set_bytes(lun_bytes)?));
        }
        self.add_rounds(outcomes.iter_mut().collect(), rounds)?;
        Ok(outcomes)
    }

    /// More rounds of these workloads.
    pub(crate) fn add_rounds(&self, mut outcomes: Vec<&mut Outcome>, rounds: usize) -> Result<()> {
        for round in 1..=rounds {
            for outcome in &mut outcomes {
                eprintln!("compare: round {round} of {rounds}: {}", outcome.name);
                self.round(outcome, round)?;
            }
        }
        for outcome in outcomes {
            outcome.conclude();
        }
        Ok(())
    }

    /// One workload against each party in turn. The order rotates, so that no party is always
    /// measured first, or after the same other one.
    fn round(&self, outcome: &mut Outcome, round: usize) -> Result<()> {
        let workload = outcome.workload.clone();
        let mut parties = workload.contestants(self.loads.place.baseline.is_some());
        let builds = parties.iter().filter(|party| party.is_daemon()).count();
        parties[..builds].rotate_left(round % builds);
        if round.is_multiple_of(2) {
            parties.reverse();
        }
        for party in parties {
            let load = match party {
                Contestant::NoDigests => workload.without_digests(),
                Contestant::Polluxd
                | Contestant::Baseline
                | Contestant::BaselineAgain
                | Contestant::FloorCached
                | Contestant::FloorMemory
                | Contestant::Tgt
                | Contestant::Fio => workload.clone(),
            };
            if party == Contestant::Fio {
                let disk = self.disk.as_ref().context("a workload of a disk without a disk")?;
                let report = disk.raw(&load, self.loads.seconds)?;
                outcome.targets.entry(party).or_default().add(&report, None);
            } else if let Some(target) = self.target(workload.on, party) {
                self.one(target, &load, outcome.targets.entry(party).or_default())?;
            }
            // Otherwise tgt is not installed, and has no figures.
        }
        Ok(())
    }

    fn target(&self, on: On, party: Contestant) -> Option<&Target> {
        let party = if party == Contestant::NoDigests { Contestant::Polluxd } else { party };
        let targets = match on {
            On::Memory => &self.targets,
            On::Disk => &self.disk.as_ref()?.targets,
        };
        targets.iter().find(|(of, _)| *of == party).map(|(_, target)| target)
    }

    /// One workload against one target, once.
    fn one(&self, target: &Target, workload: &Workload, figures: &mut Figures) -> Result<()> {
        let mut arguments = workload.arguments();
        target.resume()?;
        if let Some(share) = workload.rate_share {
            // The rate that it reaches now, on the machine as it is now.
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
            after = target.settled_syscalls(before);
            attempt += 1;
            if attempt >= self.loads.attempts || share(target, &report) >= UNDISTURBED_SHARE {
                break;
            }
        }
        target.pause()?;
        figures.shares.push(share(target, &report));
        let total = report.commands_total.max(1) as f64;
        let syscalls = after.zip(before).map(|(after, before)| (after - before) as f64 / total);
        figures.add(&report, syscalls);
        Ok(())
    }
}

/// The process of a party with a memory LUN. `None` for one that has none of its own, and for tgt
/// where it does not run.
fn start(loads: &Loads, party: Contestant) -> Result<Option<Target>> {
    let place = &loads.place;
    let target = match party {
        Contestant::Polluxd | Contestant::Baseline | Contestant::BaselineAgain => {
            let daemon = Daemon {
                name: party.file_name(),
                program: place.program(party),
                ..Daemon::spinning(place.core, place.size)
            };
            let target = Target::polluxd(place, &daemon)?;
            loads.fill(&target)?;
            target
        }
        Contestant::FloorCached => Target::floor(place, &party.file_name(), Source::Cache)?,
        Contestant::FloorMemory => Target::floor(place, &party.file_name(), Source::Memory)?,
        Contestant::Tgt => return Ok(tgt(place)),
        Contestant::NoDigests | Contestant::Fio => return Ok(None),
    };
    Ok(Some(target))
}

/// tgt, if it is installed and starts.
fn tgt(place: &Place) -> Option<Target> {
    let Some(program) = find_program("tgtd") else {
        eprintln!("compare: skipping tgt: install the Debian package tgt to include it");
        return None;
    };
    match Target::tgt(place, &program) {
        Ok(target) => Some(target),
        Err(error) => {
            eprintln!("compare: skipping tgt, which requires root: {error:#}");
            None
        }
    }
}

/// The share of the time that target and load generator had their cores for. The load generator
/// spins, so its share is 1 where nothing else runs; that of a target that sleeps says nothing.
fn share(target: &Target, report: &Report) -> f64 {
    let commands = report.commands as f64;
    let of = |us: f64| us * commands / 1e6 / report.seconds;
    let own = of(report.own_cpu_us);
    if target.spins { report.target_cpu_us.map_or(own, |us| own.min(of(us))) } else { own }
}

/// A measurement with at least this share is undisturbed.
pub(crate) const UNDISTURBED_SHARE: f64 = 0.97;
