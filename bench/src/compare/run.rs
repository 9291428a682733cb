//! One comparison from start to end.

use super::comparison::Comparison;
use super::contestant::Contestant;
use super::disk::{Disk, DiskOptions};
use super::loads::Loads;
use super::machine::{Work, commit, machine};
use super::options::Options;
use super::results::Results;
use super::sanity;
use super::scale;
use super::targets::{Place, find_program};
use super::verdict::Verdict;
use super::workload::{On, Set, Workload, load};
use super::{plot, table};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// All was measured, and nothing is slower than the baseline, if there is one.
    Good,
    /// Something is slower than the baseline.
    Slower,
}

/// Compares, prints the tables, and writes the results.
pub fn run(options: &Options) -> Result<Conclusion> {
    let size = options.lun_bytes();
    let work = Work::new(2 * size)?;
    let loads = loads(options, &work.0, size)?;
    if options.scale {
        scale::run(&loads, options.rounds(), &options.out)?;
        return Ok(Conclusion::Good);
    }
    let mut workloads = chosen(options)?;
    if options.list {
        workloads.iter().for_each(|workload| println!("{}", workload.title()));
        return Ok(Conclusion::Good);
    }
    let mut disk = None;
    if workloads.iter().any(|w| w.on == On::Disk) {
        let parties = parties(&workloads, On::Disk, loads.place.baseline.is_some());
        disk = start_disk(options, &loads.place, &parties)?;
        workloads.retain(|w| w.on == On::Memory || disk.is_some());
    }
    let mut memory = parties(&workloads, On::Memory, loads.place.baseline.is_some());
    if options.no_tgt {
        memory.remove(&Contestant::Tgt);
    }
    let baseline = loads.place.baseline.clone();
    let comparison = Comparison::start(loads, disk, &memory)?;
    let mut results = Results {
        machine: machine(),
        commit: commit(),
        baseline,
        rounds: options.rounds(),
        seconds: options.seconds(),
        workloads: comparison.measure(&workloads, options.rounds())?,
        depths: BTreeMap::new(),
        cores: Vec::new(),
    };
    if options.set() != Set::Smoke {
        confirm(&mut results, &comparison)?;
    }
    print!("{}", table::text(&results));
    // Before the rest, so that a later failure does not lose the results.
    write(&results, &options.out)?;
    if options.only.is_empty() && options.set() != Set::Smoke {
        results.depths = comparison.depths()?;
        results.cores = comparison.cores()?;
        write(&results, &options.out)?;
    }
    eprintln!("compare: results and plots are in {}", options.out.display());
    sanity::check(&results, &comparison)?;
    sanity::check_files(&results, &options.out)?;
    // Nothing can be concluded from the short runs of a smoke test.
    let is_slower = options.set() != Set::Smoke
        && with_verdict(&results, |verdict| verdict == Verdict::Slower).next().is_some();
    Ok(if is_slower { Conclusion::Slower } else { Conclusion::Good })
}

/// The workloads that the options choose.
fn chosen(options: &Options) -> Result<Vec<Workload>> {
    let mut workloads = load(&options.workloads, options.set())?;
    if !options.only.is_empty() {
        workloads.retain(|w| options.only.iter().any(|text| w.title().contains(text)));
        let texts = options.only.join("\", \"");
        ensure!(!workloads.is_empty(), "no workload matches \"{texts}\"; --list prints all titles");
    }
    Ok(workloads)
}

/// Who takes part in any of the workloads on this backing store.
fn parties(workloads: &[Workload], on: On, has_baseline: bool) -> BTreeSet<Contestant> {
    let workloads = workloads.iter().filter(|workload| workload.on == on);
    let mut parties: BTreeSet<Contestant> =
        workloads.flat_map(|workload| workload.contestants(has_baseline)).collect();
    if on == On::Disk {
        parties.retain(|party| party.is_daemon());
    }
    parties
}

/// Titles of the workloads with these verdicts.
fn with_verdict(
    results: &Results,
    matches: impl Fn(Verdict) -> bool,
) -> impl Iterator<Item = String> {
    let found = results.workloads.iter().filter(move |outcome| {
        outcome.against_baseline.as_ref().is_some_and(|found| matches(found.verdict))
    });
    found.map(|outcome| outcome.name.clone())
}

/// Measures each loss against the baseline for as many rounds again: of many workloads, some are
/// slower by chance. No round is dropped.
fn confirm(results: &mut Results, comparison: &Comparison) -> Result<()> {
    let losses: Vec<String> = with_verdict(results, Verdict::is_loss).collect();
    if losses.is_empty() {
        return Ok(());
    }
    eprintln!("compare: more rounds for losses against the baseline");
    let outcomes = results.workloads.iter_mut().filter(|o| losses.contains(&o.name)).collect();
    comparison.add_rounds(outcomes, results.rounds)
}

/// How load is made on this machine.
fn loads(options: &Options, work: &Path, size: u64) -> Result<Loads> {
    let own = std::env::current_exe()?;
    let programs = options.programs.clone().or_else(|| Some(own.parent()?.to_owned()));
    let programs = programs.context("cannot find the folder of the programs: pass --programs")?;
    let cores = uring::affinity::cores();
    let core = options.target_core.or_else(|| cores.first().copied());
    let core = core.context("cannot find a core for the targets: pass --target-core")?;
    let other = cores.iter().copied().find(|&other| other != core);
    if other.is_none() && options.load_core.is_none() {
        eprintln!("compare: only one core is available: only ratios mean anything");
    }
    let mut baseline = options.baseline.clone();
    if let Some(program) = &baseline {
        ensure!(program.is_file(), "--baseline {}: no such file", program.display());
    }
    if options.smoke && baseline.is_none() {
        baseline = Some(programs.join("polluxd"));
    }
    Ok(Loads {
        loadgen: programs.join("loadgen"),
        load_core: options.load_core.or(other).unwrap_or(core),
        seconds: options.seconds(),
        attempts: options.attempts.max(1),
        place: Place { programs, baseline, work: work.to_owned(), core, size },
    })
}

/// The files and their daemons, if fio is installed.
fn start_disk(
    options: &Options,
    place: &Place,
    parties: &BTreeSet<Contestant>,
) -> Result<Option<Disk>> {
    let Some(fio) = find_program("fio") else {
        eprintln!("compare: skipping disk workloads: install the Debian package fio to run them");
        return Ok(None);
    };
    let options = DiskOptions {
        folder: options.disk.clone(),
        bytes: options.disk_size,
        poll: options.disk_poll.name(),
        fio,
    };
    Disk::start(place, options, parties).map(Some)
}

fn write(results: &Results, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    let file = |name: &str, text: String| -> Result<()> {
        let path: PathBuf = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    file("results.json", serde_json::to_string_pretty(results)?)?;
    file("table.txt", table::text(results))?;
    for (index, outcome) in results.workloads.iter().enumerate() {
        file(&format!("latency-{index:02}.svg"), plot::latency(outcome))?;
    }
    if !results.depths.is_empty() {
        file("depths.svg", plot::depths(results))?;
    }
    if !results.cores.is_empty() {
        file("cores.svg", plot::cores(results))?;
    }
    Ok(())
}
