//! The plots of a comparison: latency of each workload, and IOPS against queue depth.

use super::results::{Outcome, Results};
use crate::plot::{Axis, Line, draw};

/// The latency distribution of one workload.
pub(crate) fn latency(outcome: &Outcome) -> String {
    let lines = outcome.targets.iter().map(|(name, figures)| Line {
        name,
        // "Nines" would stretch the tail; the share itself shows the whole distribution.
        points: figures.cdf.iter().map(|&(ns, share)| (ns as f64 / 1000.0, share)).collect(),
    });
    let x = Axis { name: "latency, us", is_log: true };
    let y = Axis { name: "share of commands", is_log: false };
    draw(&outcome.name, x, y, &lines.collect::<Vec<_>>())
}

/// IOPS against queue depth.
pub(crate) fn depths(results: &Results) -> String {
    let lines = results.depths.iter().map(|(name, points)| Line {
        name,
        points: points.iter().map(|&(depth, iops)| (f64::from(depth), iops)).collect(),
    });
    let x = Axis { name: "queue depth", is_log: true };
    let y = Axis { name: "IOPS, 4 KiB random read", is_log: false };
    draw("IOPS against queue depth", x, y, &lines.collect::<Vec<_>>())
}

/// IOPS against reactors. The load generator has a core of its own only while one is left.
pub(crate) fn cores(results: &Results) -> String {
    let points = results.cores.iter().map(|&(cores, iops)| (f64::from(cores), iops)).collect();
    let x = Axis { name: "reactors, one core each", is_log: false };
    let y = Axis { name: "IOPS, 4 KiB random read, QD32 x 4 for each reactor", is_log: false };
    let title = format!(
        "IOPS against cores (load generator on one of this machine's {}, shared by the last point)",
        results.cores.len()
    );
    draw(&title, x, y, &[Line { name: "ours", points }])
}
