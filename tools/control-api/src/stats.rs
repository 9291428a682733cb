//! `stats`: what the node did, by volume and operation and stage, and how busy its cores were.

use serde::{Deserialize, Serialize};

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
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The answer to `stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The time that the numbers cover, in nanoseconds.
    pub period_ns: u64,
    /// Volumes that saw a command, in the order of their ids.
    pub volumes: Vec<VolumeStats>,
    /// The reactors in the order of `--cores`.
    pub reactors: Vec<ReactorStats>,
}

/// What was done on one volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeStats {
    /// The volume.
    pub volume: String,
    /// The LUNs through which initiators reach it.
    pub luns: Vec<LunName>,
    /// What was done, by kind of command.
    pub operations: Vec<OperationStats>,
}

/// One LUN of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunName {
    /// The target's iSCSI name.
    pub target: String,
    /// The LUN.
    pub lun: u16,
}

/// What one kind of command did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationStats {
    /// `read`, `write`, `flush`, `space`, `compare` or `other`.
    pub operation: String,
    /// How many commands ended.
    pub count: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// From the command's header to the answer handed to the kernel.
    pub total: Percentiles,
    /// From the header to the first backend operation.
    pub receive_to_submit: Percentiles,
    /// From there to the end of the last backend operation.
    pub device: Percentiles,
    /// From there to the answer handed to the kernel.
    pub send: Percentiles,
    /// The distribution of `total`, where the query asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Histogram>,
}

/// A whole distribution of times, as an HdrHistogram of these bounds counts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Times below this are told apart no further, in nanoseconds.
    pub lowest_ns: u64,
    /// Times above this are counted as this, in nanoseconds.
    pub highest_ns: u64,
    /// Digits to which a time is kept.
    pub significant_digits: u8,
    /// The buckets that are not empty, in ascending order: their longest time in nanoseconds,
    /// and how many there were.
    pub buckets: Vec<(u64, u64)>,
}

/// A distribution of times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// What they took together.
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

/// What one reactor did, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactorStats {
    /// The reactor, counted from 0.
    pub reactor: u16,
    /// The core it is pinned to.
    pub core: u32,
    /// Nanoseconds in turns that found something to do.
    pub busy_ns: u64,
    /// Nanoseconds in turns that found nothing, sleep included.
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
    /// Times that the ring was entered.
    pub syscalls: u64,
    /// Connections now.
    pub connections: u32,
    /// Buffers lent now.
    pub buffers_in_use: u32,
    /// Buffers of the pool.
    pub buffers_total: u32,
    /// Commands in flight now, over all sessions.
    pub commands_in_flight: u32,
    /// Commands that the CmdSN windows of all sessions have room for.
    pub command_window: u32,
}
