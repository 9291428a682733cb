//! What was measured, over all rounds.

use super::workload::Workload;
use crate::loadgen::Report;
use serde::Serialize;
use std::collections::BTreeMap;

/// All results of one comparison, as they are written to the JSON file.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) workloads: Vec<Outcome>,
    /// IOPS of 4 KiB random reads for each target: queue depth and rate.
    pub(crate) depths: BTreeMap<String, Vec<(u16, f64)>>,
    /// IOPS of 4 KiB random reads of ours: reactors and rate.
    pub(crate) cores: Vec<(u16, f64)>,
}

/// One workload against all targets.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    #[serde(skip)]
    pub(crate) workload: Workload,
    pub(crate) targets: BTreeMap<String, Figures>,
}

/// One workload against one target: each figure of each round, and the medians.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) iops: Vec<f64>,
    pub(crate) megabytes: Vec<f64>,
    pub(crate) p50_us: Vec<f64>,
    pub(crate) p99_us: Vec<f64>,
    pub(crate) cpu_us: Vec<f64>,
    pub(crate) syscalls: Vec<f64>,
    pub(crate) load_cpu_us: Vec<f64>,
    /// The part of the time that both sides had their cores for.
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
    /// The medians' ratio of one target to another.
    pub(crate) fn ratio(&self, of: &str, to: &str) -> Option<f64> {
        let iops = |name| median(&self.targets.get(name)?.iops);
        // Pairs of the same round see the same disturbance, so their ratios vary less.
        let (ours, theirs) = (&self.targets.get(of)?.iops, &self.targets.get(to)?.iops);
        if ours.len() == theirs.len() {
            let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
            return median(&ratios);
        }
        Some(iops(of)? / iops(to)?)
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
}
