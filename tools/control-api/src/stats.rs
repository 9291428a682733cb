//! `stats`: commands by volume, operation and stage, and the utilization of reactors.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsQuery {
    /// Only what happened since the last `stats` call on the same connection. The first such
    /// call covers the time since the daemon's start.
    #[serde(default)]
    pub since_last: bool,
    /// With [`OperationStats::histogram`]: some 10 KiB more for each volume and operation.
    #[serde(default, skip_serializing_if = "is_false")]
    pub histograms: bool,
    /// Only this volume, and all reactors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Only volumes that are mapped to this target, and all reactors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The answer to `stats`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The time that the numbers cover, in nanoseconds.
    pub period_ns: u64,
    /// Volumes that saw a command, in the order of their ids.
    pub volumes: Vec<VolumeStats>,
    /// The reactors in the order of `--cores`.
    pub reactors: Vec<ReactorStats>,
    /// Sessions that began, ended or were refused.
    #[serde(default)]
    pub sessions: SessionStats,
    /// Lines of the daemon's log that did not reach its reader.
    #[serde(default)]
    pub log_lines_dropped: u64,
}

/// Sessions that began, ended or were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStats {
    /// Logins, discovery included.
    pub logins: u64,
    /// Ends of sessions by reason: `logout`, `connection-lost`, `reinstated` and others.
    pub ended: BTreeMap<String, u64>,
    /// Refused logins by reason: `authentication-failed`, `target-not-found` and others.
    pub refused: BTreeMap<String, u64>,
    /// Connections that were closed as soon as they were accepted, for lack of room.
    pub connections_refused: u64,
}

/// Statistics of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VolumeStats {
    /// The volume.
    pub volume: String,
    /// The LUNs through which initiators reach it.
    pub luns: Vec<LunName>,
    /// Statistics by kind of command: those that ended with GOOD.
    pub operations: Vec<OperationStats>,
    /// The other commands.
    #[serde(default)]
    pub errors: Vec<ErrorCount>,
}

/// Commands of one kind that failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    /// `read`, `write`, `flush`, `space`, `compare` or `other`.
    pub operation: String,
    /// The sense key (`medium-error`, `data-protect`, `illegal-request`, ...), or the status
    /// `reservation-conflict` or `task-set-full`.
    pub error: String,
    /// Number of commands.
    pub count: u64,
}

/// One LUN of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunName {
    /// The target's iSCSI name.
    pub target: String,
    /// The LUN.
    pub lun: u16,
}

/// Statistics of one kind of command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationStats {
    /// `read`, `write`, `flush`, `space`, `compare` or `other`.
    pub operation: String,
    /// Number of commands that ended with GOOD.
    pub count: u64,
    /// Bytes transferred.
    pub bytes: u64,
    /// From the header of the command to the response accepted by the kernel.
    pub total: Percentiles,
    /// From the header to the first backend operation.
    pub receive_to_submit: Percentiles,
    /// From there to the end of the last backend operation.
    pub device: Percentiles,
    /// From there to the response accepted by the kernel.
    pub send: Percentiles,
    /// The distribution of `total`, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Histogram>,
}

/// A whole distribution of times, as an HdrHistogram of these bounds counts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Smallest distinguishable time, in nanoseconds.
    pub lowest_ns: u64,
    /// Largest recorded time, in nanoseconds; longer times are counted as this.
    pub highest_ns: u64,
    /// Significant decimal digits of a time.
    pub significant_digits: u8,
    /// The buckets that are not empty, in ascending order: their longest time in nanoseconds,
    /// and how many there were.
    pub buckets: Vec<(u64, u64)>,
}

/// A distribution of times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Number of samples.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 90 % took no longer.
    pub p90_ns: u64,
    /// 99 % took no longer.
    pub p99_ns: u64,
    /// 99.9 % took no longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Statistics and resources of a reactor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactorStats {
    /// The reactor, counted from 0.
    pub reactor: u16,
    /// The core it is pinned to.
    pub core: u32,
    /// Nanoseconds in event loop turns with work.
    pub busy_ns: u64,
    /// Nanoseconds in event loop turns without work, including sleep.
    pub idle_ns: u64,
    /// Payload bytes that were copied.
    pub bytes_copied: u64,
    /// Bytes received from initiators.
    pub recv_bytes: u64,
    /// Bytes sent to initiators.
    pub send_bytes: u64,
    /// PDUs received.
    pub pdus_received: u64,
    /// PDUs sent.
    pub pdus_sent: u64,
    /// Number of `io_uring_enter` calls.
    pub syscalls: u64,
    /// Connections now.
    pub connections: u32,
    /// Buffers in use now.
    pub buffers_in_use: u32,
    /// Buffers of the pool.
    pub buffers_total: u32,
    /// Commands in flight now, over all sessions.
    pub commands_in_flight: u32,
    /// Total size of the CmdSN windows of all sessions.
    pub command_window: u32,
}
