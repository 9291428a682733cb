//! Whether results are plausible: no more than that is checked, because the rest needs judgement.

use super::comparison::Comparison;
use super::contestant::Contestant;
use super::results::{Outcome, Results, highest};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Checks all rows. An implausible one is measured again, because other work may have had the
/// cores.
pub(crate) fn check(results: &Results, comparison: &Comparison) -> Result<()> {
    let mut again = Vec::new();
    for outcome in &results.workloads {
        if let Err(error) = check_one(outcome) {
            eprintln!("compare: {error}; measuring it again");
            again.push(outcome.workload.clone());
        }
    }
    for _ in 0..ATTEMPTS {
        if again.is_empty() {
            return Ok(());
        }
        let outcomes = comparison.measure(&again, results.rounds)?;
        again.clear();
        for outcome in outcomes {
            if let Err(error) = check_one(&outcome) {
                eprintln!("compare: {error}");
                again.push(outcome.workload);
            }
        }
    }
    let names: Vec<String> = again.iter().map(|workload| workload.title()).collect();
    ensure!(again.is_empty(), "implausible results in every attempt: {}", names.join("; "));
    Ok(())
}

fn check_one(outcome: &Outcome) -> Result<()> {
    let name = &outcome.name;
    for target in outcome.workload.contestants(outcome.against_baseline.is_some()) {
        let Some(figures) = outcome.targets.get(&target) else {
            ensure!(target == Contestant::Tgt, "{name}: {} was not measured", target.name());
            continue;
        };
        ensure!(figures.errors == 0, "{name}: {} had {} errors", target.name(), figures.errors);
        ensure!(highest(&figures.iops) > 0.0, "{name}: {} had no IOPS", target.name());
    }
    if outcome.workload.rate_share.is_some() {
        return Ok(());
    }
    // Of the best rounds: a disturbed round is no fault of a program.
    let best = |target| outcome.targets.get(&target).map(|figures| highest(&figures.iops));
    let own = best(Contestant::Polluxd).unwrap_or(0.0);
    for (&to, figures) in &outcome.targets {
        let ratio = own / highest(&figures.iops);
        let (low, high) = plausible(to);
        ensure!((low..high).contains(&ratio), "{name}: polluxd / {} is {ratio:.3}", to.name());
    }
    Ok(())
}

/// What the ratio of polluxd to another target can be on any machine.
const fn plausible(to: Contestant) -> (f64, f64) {
    match to {
        Contestant::Polluxd => (1.0, 1.1),
        Contestant::Baseline | Contestant::BaselineAgain => (0.1, 10.0),
        Contestant::NoDigests | Contestant::FloorCached | Contestant::FloorMemory => (0.05, 3.0),
        Contestant::Fio => (0.02, 20.0),
        Contestant::Tgt => (0.3, f64::INFINITY),
    }
}

/// Checks that other programs can read the files.
pub(crate) fn check_files(results: &Results, folder: &Path) -> Result<()> {
    let json = std::fs::read_to_string(folder.join("results.json"))?;
    let json: serde_json::Value = serde_json::from_str(&json).context("results.json")?;
    let rows = json.get("workloads").and_then(|w| w.as_array()).context("no workloads in JSON")?;
    ensure!(rows.len() == results.workloads.len(), "results.json has {} workloads", rows.len());
    for row in rows {
        let is_missing = row.pointer("/against_baseline/verdict").is_none();
        ensure!(results.baseline.is_none() || !is_missing, "results.json has no verdict: {row}");
    }
    for index in 0..rows.len() {
        let path = folder.join(format!("latency-{index:02}.svg"));
        let svg = std::fs::read_to_string(&path)?;
        let is_whole = svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>");
        ensure!(is_whole && !svg.contains("NaN"), "{} is not a valid plot", path.display());
    }
    Ok(())
}

/// How often an implausible result is measured again.
const ATTEMPTS: usize = 3;
