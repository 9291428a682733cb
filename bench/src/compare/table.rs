//! Results as a table for people, with the goals and whether they are met.

use super::results::{Figures, Outcome, Results, median};
use std::fmt::Write;

/// The whole table as text.
pub(crate) fn text(results: &Results) -> String {
    let mut out = format!(
        "{}, commit {}, {} rounds of {} s, medians\n\n",
        results.machine, results.commit, results.rounds, results.seconds
    );
    // Writing to a string cannot fail.
    let _head = writeln!(
        out,
        "{:<34} {:>6} {:>9} {:>17} {:>9} {:>8} {:>9} {:>7} {:>8} {:>7} {:>6}",
        "workload",
        "target",
        "IOPS",
        "lowest-highest",
        "MB/s",
        "p50 us",
        "p99 us",
        "CPU us",
        "calls/IO",
        "load us",
        "cores"
    );
    for outcome in &results.workloads {
        for &name in outcome.workload.contestants() {
            if let Some(figures) = outcome.targets.get(name) {
                out += &line(&outcome.name, name, figures);
            }
        }
        out += &ratios(outcome);
    }
    out
}

fn line(workload: &str, target: &str, figures: &Figures) -> String {
    let m = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    let optional =
        |values: &[f64]| median(values).map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    let low = figures.iops.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iops.iter().copied().fold(0.0, f64::max);
    let range = format!("{low:.0}-{high:.0}");
    let errors =
        if figures.errors > 0 { format!("  {} ERRORS", figures.errors) } else { String::new() };
    format!(
        "{workload:<34} {target:>6} {:>9.0} {range:>17} {:>9.1} {:>8.1} {:>9.1} {:>7} {:>8} \
         {:>7.2} {:>6}{errors}\n",
        m(&figures.iops),
        m(&figures.megabytes),
        m(&figures.p50_us),
        m(&figures.p99_us),
        optional(&figures.cpu_us),
        optional(&figures.syscalls),
        m(&figures.load_cpu_us),
        optional(&figures.shares),
    )
}

/// The goals of a workload, with what was reached.
fn ratios(outcome: &Outcome) -> String {
    let goal = &outcome.workload.goal;
    let ours = outcome.targets.get("ours").cloned().unwrap_or_default();
    let floor = outcome.targets.get("floor").cloned().unwrap_or_default();
    let fio = outcome.targets.get("fio").cloned().unwrap_or_default();
    let mut parts = Vec::new();
    for (to, least) in [
        ("floor", goal.of_floor),
        ("plain", goal.of_plain),
        ("fio", goal.of_fio),
        ("tgt", goal.of_tgt),
    ] {
        if let Some(ratio) = outcome.ratio("ours", to) {
            parts.push(judged(&format!("ours/{to}"), ratio, least, true));
        }
    }
    let floor_ratio = outcome.ratio("ours", "floor");
    if let (Some(ratio), Some(least)) = (floor_ratio, goal.of_floor_min)
        && ratio < least
    {
        parts.push(format!("below {least}, which speaks against the design"));
    }
    let above = |a: &[f64], b: &[f64]| Some(median(a)? - median(b)?);
    let p99_of_p50 = median(&ours.p99_us).zip(median(&ours.p50_us)).map(|(a, b)| a / b);
    for (name, value, most) in [
        ("CPU us", median(&ours.cpu_us), goal.cpu_us),
        ("calls/IO", median(&ours.syscalls), goal.syscalls),
        ("p50 above floor us", above(&ours.p50_us, &floor.p50_us), goal.p50_above_floor_us),
        ("p99 above floor us", above(&ours.p99_us, &floor.p99_us), goal.p99_above_floor_us),
        ("p50 above fio us", above(&ours.p50_us, &fio.p50_us), goal.p50_above_fio_us),
        ("p99/p50", p99_of_p50, goal.p99_of_p50),
    ] {
        if let (Some(value), Some(most)) = (value, most) {
            parts.push(judged(name, value, Some(most), false));
        }
    }
    format!("{:<34} {}\n\n", "", parts.join(", "))
}

fn judged(name: &str, value: f64, limit: Option<f64>, at_least: bool) -> String {
    let Some(limit) = limit else { return format!("{name} {value:.2}") };
    let met = if at_least { value >= limit } else { value <= limit };
    let (sign, word) = (if at_least { ">=" } else { "<=" }, if met { "met" } else { "MISSED" });
    format!("{name} {value:.2} (goal {sign} {limit}: {word})")
}
