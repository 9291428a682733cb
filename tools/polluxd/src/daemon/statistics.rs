//! The reactors' statistics as the control interface tells them.

use super::followed::Followed;
use control_api::{
    ErrorCount, Histogram, LunName, OperationStats, Percentiles, ReactorStats, RpcError,
    SessionStats, Stats, StatsQuery, VolumeStats,
};
use reactor::ReactorReport;
use reactor::stats::{Faults, Latency, OperationStats as Recorded, Snapshot, Stage};
use shard::{Ending, Operation, Refusal};
use std::collections::BTreeMap;
use std::time::Instant;
use units::{ReactorId, VolumeId, len_u32, nanoseconds};

/// What the statistics were when a connection last asked for them.
#[derive(Debug)]
pub(crate) struct StatsMark {
    at: Instant,
    /// By reactor: one that was too busy to answer is missing.
    snapshots: BTreeMap<ReactorId, Snapshot>,
    log_lines_dropped: u64,
}

/// The answer to a query: since the start, or since the caller's last query, which `mark` keeps.
///
/// # Errors
/// The query names a volume or target that does not exist.
pub(super) fn stats(
    followed: &Followed,
    started_at: Instant,
    query: &StatsQuery,
    reports: &[&ReactorReport],
    mark: &mut Option<StatsMark>,
) -> Result<Stats, RpcError> {
    if let Some(volume) = &query.volume {
        followed.existing_volume(volume)?;
    }
    if let Some(target) = &query.target {
        followed.existing_target(target)?;
    }
    let now = Instant::now();
    let since = match mark.as_ref().filter(|_| query.since_last) {
        Some(mark) => mark.at,
        None => started_at,
    };
    let earlier = mark.as_ref().filter(|_| query.since_last);
    let snapshots: Vec<Snapshot> = reports
        .iter()
        .map(|r| match earlier.and_then(|mark| mark.snapshots.get(&r.reactor)) {
            Some(earlier) => r.snapshot.since(earlier),
            None => r.snapshot.clone(),
        })
        .collect();
    let period_ns = nanoseconds(now - since);
    let mut all = Snapshot::default();
    for snapshot in &snapshots {
        all.merge(snapshot);
    }
    let log_lines_dropped = crate::log::lines_dropped();
    let stats = Stats {
        period_ns,
        volumes: volume_stats(&all, query, |id| names_of(followed, id)),
        sessions: session_stats(&all),
        log_lines_dropped: log_lines_dropped - earlier.map_or(0, |mark| mark.log_lines_dropped),
        reactors: reports.iter().zip(&snapshots).map(|(r, s)| reactor_stats(r, s)).collect(),
    };
    if query.since_last {
        let snapshots = reports.iter().map(|r| (r.reactor, r.snapshot.clone())).collect();
        *mark = Some(StatsMark { at: now, snapshots, log_lines_dropped });
    }
    Ok(stats)
}

/// What a volume is called, by itself and as LUNs. One that is gone has only its number.
fn names_of(followed: &Followed, id: VolumeId) -> (String, Vec<LunName>) {
    match followed.catalog.volume(id) {
        Some(record) => (record.name.clone(), followed.luns_of(&record.name)),
        None => (format!("(deleted volume {})", id.0), Vec::new()),
    }
}

/// The statistics of all volumes, merged over the reactors. Volumes and kinds of command that
/// saw nothing in the period are left out.
fn volume_stats(
    all: &Snapshot,
    query: &StatsQuery,
    names: impl Fn(VolumeId) -> (String, Vec<LunName>),
) -> Vec<VolumeStats> {
    all.volumes()
        .map(|(id, volume)| (names(id), volume))
        .filter(|((name, luns), _)| is_wanted(query, name, luns))
        .map(|((name, luns), volume)| {
            let recorded =
                Operation::ALL.into_iter().filter_map(|o| Some((o, volume.operation(o)?)));
            let operations: Vec<_> = recorded
                .filter(|(_, recorded)| recorded.count() > 0)
                .map(|(operation, recorded)| operation_stats(operation, recorded, query))
                .collect();
            let errors = volume.faults().map(error_counts).unwrap_or_default();
            VolumeStats { volume: name, luns, operations, errors }
        })
        .filter(|volume| !volume.operations.is_empty() || !volume.errors.is_empty())
        .collect()
}

fn is_wanted(query: &StatsQuery, volume: &str, luns: &[LunName]) -> bool {
    let is_mapped = |target: &String| luns.iter().any(|l| l.target.eq_ignore_ascii_case(target));
    query.volume.as_ref().is_none_or(|wanted| wanted == volume)
        && query.target.as_ref().is_none_or(is_mapped)
}

fn error_counts(faults: &Faults) -> Vec<ErrorCount> {
    let count = |(operation, fault, count): (Operation, shard::CommandFault, u64)| ErrorCount {
        operation: operation.name().into(),
        error: fault.name().into(),
        count,
    };
    faults.iter().map(count).collect()
}

/// Reasons that did not occur are left out.
fn session_stats(all: &Snapshot) -> SessionStats {
    let sessions = all.sessions();
    let ended = Ending::ALL.into_iter().map(|ending| (ending.name(), sessions.ended(ending)));
    let refused = Refusal::ALL.into_iter().map(|why| (why.name(), sessions.refused(why)));
    let occurred = |name: &str, count| (count > 0).then(|| (name.to_owned(), count));
    SessionStats {
        logins: sessions.logins(),
        ended: ended.filter_map(|(name, count)| occurred(name, count)).collect(),
        refused: refused.filter_map(|(name, count)| occurred(name, count)).collect(),
        connections_refused: sessions.connections_refused,
    }
}

fn operation_stats(
    operation: Operation,
    recorded: &Recorded,
    query: &StatsQuery,
) -> OperationStats {
    let total = recorded.stage(Stage::Total);
    OperationStats {
        operation: operation.name().into(),
        count: recorded.count(),
        bytes: recorded.bytes(),
        total: percentiles(total),
        receive_to_submit: percentiles(recorded.stage(Stage::ReceiveToSubmit)),
        device: percentiles(recorded.stage(Stage::Device)),
        send: percentiles(recorded.stage(Stage::Send)),
        histogram: query.histograms.then(|| histogram(total)),
    }
}

fn histogram(latency: &Latency) -> Histogram {
    Histogram {
        lowest_ns: Latency::SHORTEST_NS,
        highest_ns: Latency::LONGEST_NS,
        significant_digits: Latency::SIGNIFICANT_DIGITS,
        buckets: latency.buckets().collect(),
    }
}

fn percentiles(latency: &Latency) -> Percentiles {
    Percentiles {
        count: latency.count(),
        sum_ns: latency.sum_ns(),
        p50_ns: latency.quantile_ns(0.5),
        p90_ns: latency.quantile_ns(0.9),
        p99_ns: latency.quantile_ns(0.99),
        p999_ns: latency.quantile_ns(0.999),
        max_ns: latency.max_ns(),
    }
}

fn reactor_stats(report: &ReactorReport, snapshot: &Snapshot) -> ReactorStats {
    let counters = snapshot.counters();
    ReactorStats {
        reactor: u16::from(report.reactor.0),
        core: len_u32(report.core),
        busy_ns: counters.busy_ns,
        idle_ns: counters.idle_ns,
        bytes_copied: counters.bytes_copied,
        recv_bytes: counters.recv_bytes,
        send_bytes: counters.send_bytes,
        pdus_received: counters.pdus_received,
        pdus_sent: counters.pdus_sent,
        syscalls: counters.syscalls,
        connections: report.connections,
        buffers_in_use: report.buffers_in_use,
        buffers_total: report.buffers_total,
        commands_in_flight: report.sessions.iter().map(|s| s.commands).sum(),
        command_window: report.sessions.iter().map(|s| s.window).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reactor::stats::Recorder;
    use shard::Sample;

    #[test]
    fn reactors_are_merged_and_silence_is_left_out() {
        let sample = |volume, operation| Sample {
            volume: VolumeId(volume),
            operation,
            bytes: 4096,
            fault: None,
            received_at: units::Instant(1_000),
            submitted_at: units::Instant(3_000),
            completed_at: units::Instant(83_000),
        };
        let (mut a, mut b) = (Recorder::new(), Recorder::new());
        a.record(&sample(2, Operation::Read), 1, units::Instant(88_000));
        b.record(&sample(2, Operation::Read), 1, units::Instant(88_000));
        b.record(&sample(0, Operation::Write), 1, units::Instant(88_000));
        let before = b.snapshot();
        b.record(&sample(2, Operation::Flush), 1, units::Instant(88_000));
        let mut period = a.snapshot();
        period.merge(&b.snapshot().since(&before));
        let names = |id: VolumeId| (format!("v{}", id.0), vec![]);
        let stats = volume_stats(&period, &StatsQuery::default(), names);
        let shown: Vec<_> = stats
            .iter()
            .flat_map(|v| v.operations.iter().map(|o| (&*v.volume, &*o.operation, o.count)))
            .collect();
        assert_eq!(shown, [("v2", "read", 1), ("v2", "flush", 1)]);
        let read = &stats[0].operations[0];
        assert_eq!(read.bytes, 4096);
        assert_eq!(read.total.sum_ns, 87_000);
        assert_eq!(read.receive_to_submit.sum_ns, 2_000);
        assert_eq!(read.device.sum_ns, 80_000);
        assert_eq!(read.send.sum_ns, 5_000);
        assert_eq!(read.device.count, 1);
        assert!(read.device.p999_ns.abs_diff(80_000) <= 800);
        assert_eq!(read.histogram, None);
    }

    #[test]
    fn failed_commands_and_sessions_are_shown_by_reason() {
        let mut recorder = Recorder::new();
        let sample = Sample {
            volume: VolumeId(1),
            operation: Operation::Write,
            bytes: 0,
            fault: Some(shard::CommandFault::MediumError),
            received_at: units::Instant(0),
            submitted_at: units::Instant(0),
            completed_at: units::Instant(0),
        };
        recorder.record(&sample, 7, units::Instant(10));
        recorder.sessions.add(shard::SessionChange::LoggedIn);
        recorder.sessions.add(shard::SessionChange::Ended(Ending::NoAnswer));
        recorder.sessions.add(shard::SessionChange::Refused(Refusal::TargetNotFound));
        let names = |id: VolumeId| (format!("v{}", id.0), vec![]);
        let volumes = volume_stats(&recorder.snapshot(), &StatsQuery::default(), names);
        assert_eq!(volumes[0].operations, []);
        let expected =
            ErrorCount { operation: "write".into(), error: "medium-error".into(), count: 7 };
        assert_eq!(volumes[0].errors, [expected]);
        let sessions = session_stats(&recorder.snapshot());
        assert_eq!(sessions.logins, 1);
        assert_eq!(sessions.ended, [("no-answer".to_owned(), 1)].into());
        assert_eq!(sessions.refused, [("target-not-found".to_owned(), 1)].into());
    }

    #[test]
    fn histograms_of_one_volume_come_on_request() {
        let mut recorder = Recorder::new();
        for volume in [0, 1] {
            let sample = Sample {
                volume: VolumeId(volume),
                operation: Operation::Read,
                bytes: 512,
                fault: None,
                received_at: units::Instant(0),
                submitted_at: units::Instant(0),
                completed_at: units::Instant(0),
            };
            recorder.record(&sample, 1, units::Instant(10_000));
            recorder.record(&sample, 1, units::Instant(10_001));
            recorder.record(&sample, 1, units::Instant(1_000_000));
        }
        let query =
            StatsQuery { histograms: true, volume: Some("v1".into()), ..StatsQuery::default() };
        let names = |id: VolumeId| (format!("v{}", id.0), vec![]);
        let stats = volume_stats(&recorder.snapshot(), &query, names);
        assert_eq!(stats.len(), 1);
        assert_eq!(stats[0].volume, "v1");
        let histogram = stats[0].operations[0].histogram.as_ref().unwrap();
        // Two digits: 64 ns wide at 10 us, 4096 ns wide at 1 ms.
        assert_eq!(histogram.buckets, [(10_047, 2), (1_003_519, 1)]);
    }
}
