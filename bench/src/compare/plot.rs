//! The plots of a comparison: latency of each workload, and IOPS against queue depth.

use super::results::{Outcome, Results};
use crate::plot::{Axis, Line, draw};

/// The latency distribution of one workload.
pub(crate) fn latency(outcome: &Outcome) -> String {
    let lines = outcome.targets.iter().map(|(name, figures)| Line {
        name: name.name(),
        // "Nines" would stretch the tail; the share shows the whole distribution.
        points: figures.cdf.iter().map(|&(ns, share)| (ns as f64 / 1000.0, share)).collect(),
    });
    let x = Axis { name: "latency, us", is_log: true };
    let y = Axis { name: "share of commands", is_log: false };
    let title = format!("{}, working set {}", outcome.name, outcome.working_set);
    draw(&title, x, y, &lines.collect::<Vec<_>>())
}

/// IOPS against queue depth.
pub(crate) fn depths(results: &Results) -> String {
    let lines = results.depths.iter().map(|(name, points)| Line {
        name: name.name(),
        points: points.iter().map(|&(depth, iops)| (f64::from(depth), iops)).collect(),
    });
    let x = Axis { name: "queue depth", is_log: true };
    let y = Axis { name: "IOPS, 4 KiB random read", is_log: false };
    draw("IOPS against queue depth, cold LUN", x, y, &lines.collect::<Vec<_>>())
}

/// IOPS against reactors. The load generator has its own core except in the last point.
pub(crate) fn cores(results: &Results) -> String {
    let points = results.cores.iter().map(|&(cores, iops)| (f64::from(cores), iops)).collect();
    let x = Axis { name: "reactors, one core each", is_log: false };
    let y = Axis { name: "IOPS, 4 KiB random read, QD32 x 4 per reactor", is_log: false };
    let title = format!(
        "IOPS against cores, cold LUN (the load generator shares the last of the {} cores)",
        results.cores.len()
    );
    draw(&title, x, y, &[Line { name: "polluxd", points }])
}
