//! Results as tables for people: measurements, ratios, goals, and the verdict on the baseline.

use super::comparison::UNDISTURBED_SHARE;
use super::contestant::Contestant;
use super::results::{Figures, Outcome, Results, Spread, median};
use super::verdict::{CHANCE_MAX, LOSS_MAX};
use std::fmt::Write;

/// All tables as text.
pub(crate) fn text(results: &Results) -> String {
    let mut text = format!(
        "{}, commit {}, {} rounds of {} s, medians\n{LUNS}\n",
        results.machine, results.commit, results.rounds, results.seconds
    );
    text += &measurements(results);
    text += &ratios(results);
    text += &goals(results);
    if let Some(program) = &results.baseline {
        text += &format!("\nBaseline: {}\n", program.display());
        text += &baseline(results);
    }
    text
}

fn measurements(results: &Results) -> String {
    let mut out = format!(
        "{:<40} {:>11} {:<20} {:>9} {:>17} {:>8} {:>8} {:>9} {:>7} {:>8} {:>7} {:>6}\n",
        "workload",
        "working set",
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
        for (target, figures) in &outcome.targets {
            out += &line(outcome, *target, figures);
        }
    }
    out
}

fn line(outcome: &Outcome, target: Contestant, figures: &Figures) -> String {
    let m = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    let optional =
        |values: &[f64]| median(values).map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
    let range = Spread::of(&figures.iops)
        .map_or_else(String::new, |iops| format!("{:.0}-{:.0}", iops.low, iops.high));
    let errors =
        if figures.errors > 0 { format!("  {} ERRORS", figures.errors) } else { String::new() };
    format!(
        "{:<40} {:>11} {:<20} {:>9.0} {range:>17} {:>8.1} {:>8.1} {:>9.1} {:>7} {:>8} {:>7.2} \
         {:>6}{errors}\n",
        outcome.name,
        outcome.working_set,
        target.name(),
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

/// A column for each target that is no build of polluxd.
fn ratios(results: &Results) -> String {
    const COLUMNS: [Contestant; 5] = [
        Contestant::FloorCached,
        Contestant::FloorMemory,
        Contestant::NoDigests,
        Contestant::Tgt,
        Contestant::Fio,
    ];
    let mut out = format!(
        "\nIOPS of polluxd, as a multiple of those of (lowest..highest ratio of a round)\n{:<40} \
         {:>11}",
        "workload", "working set"
    );
    for column in COLUMNS {
        // Writing to a string cannot fail.
        let _head = write!(out, " {:>20}", column.name());
    }
    out += "\n";
    for outcome in &results.workloads {
        let _row = write!(out, "{:<40} {:>11}", outcome.name, outcome.working_set);
        for column in COLUMNS {
            let found = outcome.ratios.iter().find(|ratio| ratio.to == column);
            let cell = found.map_or_else(|| "-".to_owned(), |ratio| spread(ratio.ratio, 2));
            let _cell = write!(out, " {cell:>20}");
        }
        out += "\n";
    }
    out
}

/// The goals of all workloads, with the figures that were reached.
fn goals(results: &Results) -> String {
    let lines: String = results.workloads.iter().map(goals_of).collect();
    if lines.is_empty() { lines } else { format!("\nGoals\n{lines}") }
}

fn goals_of(outcome: &Outcome) -> String {
    let goal = &outcome.workload.goal;
    let of = |party| outcome.targets.get(&party).cloned().unwrap_or_default();
    let (own, floor, fio) =
        (of(Contestant::Polluxd), of(Contestant::FloorCached), of(Contestant::Fio));
    let mut lines = String::new();
    let mut judge = |name: &str, value: Option<f64>, limit: Option<f64>, at_least: bool| {
        let (Some(value), Some(limit)) = (value, limit) else { return };
        let met = if at_least { value >= limit } else { value <= limit };
        let (sign, word) = (if at_least { ">=" } else { "<=" }, if met { "met" } else { "missed" });
        // Writing to a string cannot fail.
        let _line = writeln!(
            lines,
            "{:<40} {name:<34} {value:>7.2} {sign} {limit:<5} {word}",
            outcome.name
        );
    };
    for (to, least) in [
        (Contestant::FloorCached, goal.of_floor_cached),
        (Contestant::FloorCached, goal.of_floor_cached_min),
        (Contestant::FloorMemory, goal.of_floor_memory),
        (Contestant::NoDigests, goal.of_no_digests),
        (Contestant::Fio, goal.of_fio),
        (Contestant::Tgt, goal.of_tgt),
    ] {
        let ratio = outcome.ratio(to).map(|ratio| ratio.median);
        judge(&format!("IOPS / {}", to.name()), ratio, least, true);
    }
    let above = |a: &[f64], b: &[f64]| Some(median(a)? - median(b)?);
    let p50_above_floor = above(&own.p50_us, &floor.p50_us);
    let p99_above_floor = above(&own.p99_us, &floor.p99_us);
    let p99_of_p50 = median(&own.p99_us).zip(median(&own.p50_us)).map(|(a, b)| a / b);
    for (name, value, most) in [
        ("CPU us per I/O", median(&own.cpu_us), goal.cpu_us),
        ("system calls per I/O", median(&own.syscalls), goal.syscalls),
        ("p50 us above floor, cached buffer", p50_above_floor, goal.p50_above_floor_cached_us),
        ("p99 us above floor, cached buffer", p99_above_floor, goal.p99_above_floor_cached_us),
        ("p50 us above fio", above(&own.p50_us, &fio.p50_us), goal.p50_above_fio_us),
        ("p99 / p50", p99_of_p50, goal.p99_of_p50),
    ] {
        judge(name, value, most, false);
    }
    lines
}

/// The build under test against the baseline, and the baseline against itself.
fn baseline(results: &Results) -> String {
    let mut out = format!(
        "new/old: IOPS by those of the baseline; old/old: a second process of the baseline by the \
         first.\nRatios are taken within a round: median (lowest..highest). \
         Noise: median difference between both processes of the \
         baseline.\nSLOWER: by more than {:.0} % \
         and by more than the noise, in more rounds than chance explains (sign test, {:.0} %); \
         slower?: not proven, add rounds;\ndisturbed: other work had the cores, see the column \
         cores and --attempts.\n\
         {:<40} {:>11} {:>22} {:>22} {:>7} {:>13}  verdict\n",
        LOSS_MAX * 100.0,
        CHANCE_MAX * 100.0,
        "workload",
        "working set",
        "new/old",
        "old/old",
        "noise",
        "rounds slower"
    );
    for outcome in &results.workloads {
        let Some(found) = &outcome.against_baseline else { continue };
        out += &format!(
            "{:<40} {:>11} {:>22} {:>22} {:>5.1} % {:>13}  {}{}\n",
            outcome.name,
            outcome.working_set,
            spread(found.new_to_old, 3),
            spread(found.old_to_old, 3),
            found.self_difference * 100.0,
            format!("{}/{}", found.rounds_slower, found.rounds),
            found.verdict.name(),
            if is_disturbed(outcome) { " (disturbed)" } else { "" }
        );
    }
    out
}

/// Whether other work had the cores in half of the rounds of a build.
fn is_disturbed(outcome: &Outcome) -> bool {
    let builds = outcome.targets.iter().filter(|(party, _)| party.is_daemon());
    let mut shares = builds.filter_map(|(_, figures)| median(&figures.shares));
    shares.any(|share| share < UNDISTURBED_SHARE)
}

fn spread(spread: Spread, digits: usize) -> String {
    let Spread { median, low, high } = spread;
    format!("{median:.digits$} ({low:.digits$}..{high:.digits$})")
}

/// What the first word of a workload means.
const LUNS: &str = "cold: the load touches the whole memory LUN; hot: only a working set that the \
cache holds; disk: a file\n";
