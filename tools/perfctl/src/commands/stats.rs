//! `perfctl stats`.

use super::lun_names;
use crate::client::Client;
use crate::distribution::{Interval, log_of, plot};
use crate::failure::Failure;
use crate::format::{bytes, lines, per_second, percent, table, time};
use crate::output::Output;
use clap::Args;
use control_api::{
    ErrorCount, OperationStats, Percentiles, ReactorStats, SessionStats, Stats, StatsQuery,
    StatusQuery,
};
use hdrhistogram::serialization::V2DeflateSerializer;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Selection and output of statistics.
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Show statistics per interval of this length, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    watch: Option<u32>,
    /// Stop after this number of intervals
    #[arg(long, value_name = "N", requires = "watch")]
    count: Option<u64>,
    /// Show only this volume
    #[arg(long, value_name = "NAME")]
    volume: Option<String>,
    /// Show only the volumes that are mapped to this target
    #[arg(long, value_name = "IQN")]
    target: Option<String>,
    /// Also write command latency, from header received to response sent, to this file as an
    /// HdrHistogram interval log (format 1.3, V2 compressed histograms, nanoseconds). It has one
    /// histogram per volume, operation and interval, tagged VOLUME/OPERATION, and can be read by
    /// HistogramLogProcessor and HistogramLogAnalyzer
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Also plot the cumulative latency distribution to this SVG file; with --watch, of the last
    /// interval
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl StatsArgs {
    fn query(&self, since_last: bool) -> StatsQuery {
        StatsQuery {
            since_last,
            histograms: self.hdr.is_some() || self.svg.is_some(),
            volume: self.volume.clone(),
            target: self.target.clone(),
        }
    }
}

/// Requests and prints statistics once, or at each interval.
pub(crate) fn run(
    args: &StatsArgs,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let Some(path) = &args.hdr else { return ask(args, client, output, |_, _| Ok(())) };
    // Created before the first request, so that a bad path is reported immediately.
    let mut file = File::create(path).map_err(|e| file_failure(path, e))?;
    let mut serializer = V2DeflateSerializer::new();
    // Without --watch the statistics cover the time since the daemon started.
    let past = match args.watch {
        Some(_) => Duration::ZERO,
        None => Duration::from_secs(client.call(StatusQuery {})?.uptime_s),
    };
    let started = SystemTime::now() - past;
    let mut log = log_of(&mut file, &mut serializer, started).map_err(|e| file_failure(path, e))?;
    ask(args, client, output, |stats, interval| {
        interval.append(stats, &mut log).map_err(|e| file_failure(path, e))
    })
}

fn file_failure(path: &Path, source: std::io::Error) -> Failure {
    Failure::File { path: path.to_owned(), source }
}

/// Prints each result and passes it to `keep`.
fn ask(
    args: &StatsArgs,
    client: &mut Client,
    output: &mut Output,
    mut keep: impl FnMut(&Stats, Interval) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut shown = 0;
    let mut interval = Interval::default();
    let mut take = |stats: &Stats, interval: &mut Interval| {
        interval.take(stats.period_ns);
        keep(stats, *interval)?;
        let Some(path) = &args.svg else { return Ok(()) };
        std::fs::write(path, plot(stats)).map_err(|e| file_failure(path, e))
    };
    let Some(seconds) = args.watch else {
        let stats = client.call(args.query(false))?;
        output.answer(&stats, render)?;
        return take(&stats, &mut interval);
    };
    // The first difference covers the time since the daemon started: only a baseline.
    client.call(StatsQuery { histograms: false, ..args.query(true) })?;
    while args.count.is_none_or(|count| shown < count) {
        client.wait(Duration::from_secs(seconds.into()))?;
        let stats = client.call(args.query(true))?;
        output.next_screen()?;
        output.answer(&stats, render)?;
        take(&stats, &mut interval)?;
        shown += 1;
    }
    Ok(())
}

fn render(stats: &Stats) -> String {
    let mut text = format!("interval {}\n", time(stats.period_ns));
    if stats.volumes.is_empty() {
        text += "\nno commands\n";
    }
    for volume in &stats.volumes {
        text += &format!("\nvolume {}: {}\n", volume.volume, lun_names(&volume.luns));
        if !volume.operations.is_empty() {
            text += &operations(&volume.operations, stats.period_ns);
        }
        if !volume.errors.is_empty() {
            text += &errors(&volume.errors);
        }
    }
    text += "\nreactors:\n";
    text += &reactors(&stats.reactors, stats.period_ns);
    text += &sessions(&stats.sessions);
    if stats.log_lines_dropped > 0 {
        text += &format!("\nlog: {} lines dropped\n", stats.log_lines_dropped);
    }
    text
}

/// Commands that did not end with GOOD.
fn errors(errors: &[ErrorCount]) -> String {
    let mut table = table(["operation", "error", "commands"], 2);
    for e in errors {
        table.add_row([e.operation.clone(), e.error.replace('-', " "), e.count.to_string()]);
    }
    lines(&table)
}

/// What happened to sessions, if anything did.
fn sessions(sessions: &SessionStats) -> String {
    if *sessions == SessionStats::default() {
        return String::new();
    }
    let mut text = format!("\nsessions: logins {}\n", sessions.logins);
    for (what, counts) in [("ended", &sessions.ended), ("refused", &sessions.refused)] {
        let counts: Vec<_> = counts.iter().map(|(why, n)| format!("{why} {n}")).collect();
        if !counts.is_empty() {
            text += &format!("{what}: {}\n", counts.join(", "));
        }
    }
    if sessions.connections_refused > 0 {
        text += &format!("connections refused: {}\n", sessions.connections_refused);
    }
    text
}

const OPERATIONS_HEAD: [&str; 10] =
    ["operation", "stage", "IOPS", "MiB/s", "mean", "p50", "p90", "p99", "p99.9", "max"];

fn operations(operations: &[OperationStats], period_ns: u64) -> String {
    let mut table = table(OPERATIONS_HEAD, 2);
    for o in operations {
        let bandwidth = per_second(o.bytes.saturating_mul(10) >> 20, period_ns);
        let rates = [
            per_second(o.count, period_ns).to_string(),
            format!("{}.{}", bandwidth / 10, bandwidth % 10),
        ];
        table.add_row(row([&o.operation, "total"], rates, &o.total));
        for (stage, times) in
            [("receive-to-submit", &o.receive_to_submit), ("device", &o.device), ("send", &o.send)]
        {
            table.add_row(row(["", stage], [String::new(), String::new()], times));
        }
    }
    lines(&table)
}

fn row(names: [&str; 2], rates: [String; 2], times: &Percentiles) -> Vec<String> {
    let mean = times.sum_ns.checked_div(times.count).unwrap_or(0);
    let times = [mean, times.p50_ns, times.p90_ns, times.p99_ns, times.p999_ns, times.max_ns];
    names.map(str::to_owned).into_iter().chain(rates).chain(times.map(time)).collect()
}

const REACTORS_HEAD: [&str; 10] = [
    "reactor",
    "core",
    "busy",
    "conns",
    "commands",
    "buffers",
    "copied",
    "received",
    "sent",
    "syscalls/s",
];

fn reactors(reactors: &[ReactorStats], period_ns: u64) -> String {
    let mut table = table(REACTORS_HEAD, 0);
    for r in reactors {
        table.add_row([
            r.reactor.to_string(),
            r.core.to_string(),
            percent(r.busy_ns, r.busy_ns.saturating_add(r.idle_ns)),
            r.connections.to_string(),
            // In use of the total: of the CmdSN windows of all sessions, and of the pool.
            format!("{}/{}", r.commands_in_flight, r.command_window),
            format!("{}/{}", r.buffers_in_use, r.buffers_total),
            bytes(r.bytes_copied),
            bytes(r.recv_bytes),
            bytes(r.send_bytes),
            per_second(r.syscalls, period_ns).to_string(),
        ]);
    }
    lines(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::{LunName, VolumeStats};

    fn times(scale: u64) -> Percentiles {
        Percentiles {
            count: 20_000,
            sum_ns: 20_000 * 90_000 * scale,
            p50_ns: 87_000 * scale,
            p90_ns: 120_000 * scale,
            p99_ns: 250_000 * scale,
            p999_ns: 1_500_000 * scale,
            max_ns: 2_500_000 * scale,
        }
    }

    fn some_sessions() -> SessionStats {
        SessionStats {
            logins: 12,
            ended: [("connection-lost".into(), 1), ("logout".into(), 9)].into(),
            refused: [("target-not-found".into(), 3)].into(),
            connections_refused: 2,
        }
    }

    #[test]
    fn the_tables_show_rates_stages_and_reactors() {
        let stats = Stats {
            period_ns: 2_000_000_000,
            volumes: vec![VolumeStats {
                volume: "demo".into(),
                luns: vec![LunName { target: "iqn.2026-11.local.pollux:demo".into(), lun: 0 }],
                operations: vec![OperationStats {
                    operation: "read".into(),
                    count: 20_000,
                    bytes: 20_000 * 4096,
                    total: times(1),
                    receive_to_submit: Percentiles::default(),
                    device: times(1),
                    send: Percentiles::default(),
                    histogram: None,
                }],
                errors: vec![ErrorCount {
                    operation: "write".into(),
                    error: "medium-error".into(),
                    count: 4711,
                }],
            }],
            reactors: vec![ReactorStats {
                reactor: 0,
                core: 1,
                busy_ns: 373,
                idle_ns: 627,
                bytes_copied: 4096,
                recv_bytes: 960_000,
                send_bytes: 82_000_000,
                syscalls: 30_000,
                connections: 4,
                buffers_in_use: 7,
                buffers_total: 4608,
                commands_in_flight: 7,
                command_window: 512,
                ..ReactorStats::default()
            }],
            sessions: some_sessions(),
            log_lines_dropped: 5,
        };
        assert_eq!(
            render(&stats),
            "\
interval 2.00s

volume demo: iqn.2026-11.local.pollux:demo LUN 0
operation  stage               IOPS  MiB/s    mean     p50      p90      p99   p99.9     max
read       total              10000   39.0  90.0us  87.0us  120.0us  250.0us  1.50ms  2.50ms
           receive-to-submit                 0.0us   0.0us    0.0us    0.0us   0.0us   0.0us
           device                           90.0us  87.0us  120.0us  250.0us  1.50ms  2.50ms
           send                              0.0us   0.0us    0.0us    0.0us   0.0us   0.0us
operation  error         commands
write      medium error      4711

reactors:
reactor  core   busy  conns  commands  buffers   copied   received      sent  syscalls/s
      0     1  37.3%      4     7/512   7/4608  4.00KiB  937.50KiB  78.20MiB       15000

sessions: logins 12
ended: connection-lost 1, logout 9
refused: target-not-found 3
connections refused: 2

log: 5 lines dropped
"
        );
    }

    #[test]
    fn an_idle_node_reports_no_commands() {
        let text = render(&Stats::default());
        assert!(text.contains("\nno commands\n") && !text.contains("sessions"), "{text}");
    }
}
