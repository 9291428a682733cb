//! What a run has measured.

use super::histogram::Summary;
use super::options::Options;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The result of one run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// The load in short.
    pub load: String,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Commands that ended in that time.
    pub commands: u64,
    /// Commands a second.
    pub iops: f64,
    /// Bytes of data a second.
    pub bytes_per_second: f64,
    /// Reads and writes together.
    pub all: Summary,
    /// Reads.
    pub reads: Summary,
    /// Writes.
    pub writes: Summary,
    /// Commands that failed, from the first one on.
    pub errors: u64,
    /// Blocks that were not what had been written.
    pub mismatches: u64,
    /// The first error or mismatch in words.
    pub first_error: Option<String>,
    /// Commands of an open loop that could not start in time, because all slots were taken.
    pub late: u64,
    /// Commands of all, the warm-up included.
    pub commands_total: u64,
    /// Microseconds that the target's threads ran for each command, where a process was given.
    pub target_cpu_us: Option<f64>,
    /// Context switches of the target's threads for each command.
    pub target_switches: Option<f64>,
    /// Microseconds of this process for each command, spinning included.
    pub own_cpu_us: f64,
    /// System calls of this process for each command.
    pub own_syscalls: f64,
    /// PDUs that left in one send, on average.
    pub pdus_per_send: f64,
}

impl Report {
    /// Whether the target did what it was asked to.
    pub const fn is_good(&self) -> bool {
        self.errors == 0 && self.mismatches == 0 && self.commands > 0
    }
}

/// The load of these options in short.
pub(crate) fn describe(options: &Options) -> String {
    let kind = match options.read_percent {
        100 => "read".to_owned(),
        0 => "write".to_owned(),
        percent => format!("{percent}/{} mix", 100 - percent),
    };
    let pattern = format!("{:?}", options.pattern).to_lowercase();
    let block = crate::size::text(options.block);
    let mut text = format!("{block} {pattern} {kind}, QD{}", options.depth);
    if options.connections > 1 {
        text += &format!(" x {}", options.connections);
    }
    if let Some(rate) = options.rate {
        text += &format!(", {rate:.0}/s");
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {:.0} IOPS, {:.1} MB/s in {:.2} s",
            self.load,
            self.iops,
            self.bytes_per_second / 1e6,
            self.seconds
        )?;
        for (name, summary) in [("reads", &self.reads), ("writes", &self.writes)] {
            if summary.count == 0 {
                continue;
            }
            let us = |ns: u64| ns as f64 / 1000.0;
            writeln!(
                f,
                "  {name}: {}, p50 {:.1} us, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
                summary.count,
                us(summary.p50_ns),
                us(summary.p90_ns),
                us(summary.p99_ns),
                us(summary.p999_ns),
                us(summary.max_ns)
            )?;
        }
        if let Some(us) = self.target_cpu_us {
            writeln!(f, "  target: {us:.2} us of CPU per command")?;
        }
        writeln!(
            f,
            "  here: {:.2} us of CPU and {:.3} system calls per command, {:.1} PDUs per send",
            self.own_cpu_us, self.own_syscalls, self.pdus_per_send
        )?;
        if self.late > 0 {
            writeln!(f, "  {} commands started late: the target does not keep up", self.late)?;
        }
        if let Some(error) = &self.first_error {
            writeln!(f, "  {} errors, {} mismatches: {error}", self.errors, self.mismatches)?;
        }
        Ok(())
    }
}
