//! The measurements of all rounds, and the ratios between them.

use super::contestant::Contestant;
use super::verdict::AgainstBaseline;
use super::workload::Workload;
use crate::loadgen::Report;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// All results of one comparison, as written to the JSON file.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) commit: String,
    /// The program of the baseline.
    pub(crate) baseline: Option<PathBuf>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) workloads: Vec<Outcome>,
    /// IOPS of 4 KiB random reads of a cold LUN for each target: queue depth and rate.
    pub(crate) depths: BTreeMap<Contestant, Vec<(u16, f64)>>,
    /// IOPS of 4 KiB random reads of polluxd on a cold LUN: reactors and rate.
    pub(crate) cores: Vec<(u16, f64)>,
}

/// One workload against all targets.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Whether the LUN is hot, cold or a disk, and the name of the workload.
    pub(crate) name: String,
    /// Bytes of the LUN that the load touches.
    pub(crate) working_set: String,
    #[serde(skip)]
    pub(crate) workload: Workload,
    pub(crate) targets: BTreeMap<Contestant, Figures>,
    /// IOPS of polluxd by those of each other target that is no build of polluxd.
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) against_baseline: Option<AgainstBaseline>,
}

/// The ratio of two targets' IOPS.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) of: Contestant,
    pub(crate) to: Contestant,
    pub(crate) ratio: Spread,
}

/// The median of some rounds, and the lowest and the highest one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// One workload against one target: the figures of each round.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) iops: Vec<f64>,
    pub(crate) megabytes: Vec<f64>,
    pub(crate) p50_us: Vec<f64>,
    pub(crate) p99_us: Vec<f64>,
    pub(crate) cpu_us: Vec<f64>,
    pub(crate) syscalls: Vec<f64>,
    pub(crate) load_cpu_us: Vec<f64>,
    /// The share of the time that both sides had their cores for.
    pub(crate) shares: Vec<f64>,
    pub(crate) errors: u64,
    /// The latency distribution of the last round.
    pub(crate) cdf: Vec<(u64, f64)>,
}

impl Figures {
    pub(crate) fn add(&mut self, report: &Report, syscalls: Option<f64>) {
        self.iops.push(report.iops);
        self.megabytes.push(report.bytes_per_second / 1e6);
        self.p50_us.push(report.all.p50_ns as f64 / 1000.0);
        self.p99_us.push(report.all.p99_ns as f64 / 1000.0);
        self.cpu_us.extend(report.target_cpu_us);
        self.syscalls.extend(syscalls);
        self.load_cpu_us.push(report.own_cpu_us);
        self.errors += report.errors + report.mismatches;
        report.all.cdf.clone_into(&mut self.cdf);
    }
}

impl Outcome {
    /// No measurements yet.
    pub(crate) fn new(workload: &Workload, working_set: u64) -> Self {
        Self {
            name: workload.title(),
            working_set: crate::size::text(working_set),
            workload: workload.clone(),
            targets: BTreeMap::new(),
            ratios: Vec::new(),
            against_baseline: None,
        }
    }

    /// Computes the ratios from all rounds so far.
    pub(crate) fn conclude(&mut self) {
        self.against_baseline = AgainstBaseline::of(self);
        let others = self.targets.keys().filter(|party| !party.is_daemon());
        let ratios = others.filter_map(|&to| {
            let ratio = self.ratio(to)?;
            Some(Ratio { of: Contestant::Polluxd, to, ratio })
        });
        self.ratios = ratios.collect();
    }

    /// IOPS of polluxd by those of another target. Runs of one round see the same disturbance, so
    /// the ratio is taken in each round.
    pub(crate) fn ratio(&self, to: Contestant) -> Option<Spread> {
        let iops = |party| Some(&self.targets.get(&party)?.iops);
        let pairs = iops(Contestant::Polluxd)?.iter().zip(iops(to)?);
        Spread::of(&pairs.map(|(a, b)| a / b).collect::<Vec<_>>())
    }
}

impl Spread {
    /// `None` where there are no values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        Some(Self { median: median(values)?, low, high: highest(values) })
    }
}

/// The highest value.
pub(crate) fn highest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// The middle value; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(middle).copied();
    }
    Some(f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, *sorted.get(middle)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_says_which_floor_it_is_of() {
        let ratio = Ratio {
            of: Contestant::Polluxd,
            to: Contestant::FloorMemory,
            ratio: Spread { median: 0.8, low: 0.7, high: 0.9 },
        };
        assert_eq!(
            serde_json::to_string(&ratio).unwrap(),
            concat!(
                r#"{"of":"polluxd","to":"floor, same memory","#,
                r#""ratio":{"median":0.8,"low":0.7,"high":0.9}}"#
            )
        );
    }
}
