//! What is compared, and for how long.

use super::workload::Set;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// The command line.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The most important workloads, in about 4 minutes, or 6 with --baseline
    #[arg(long, conflicts_with = "smoke")]
    pub(crate) quick: bool,
    /// A check, in under 20 seconds, that everything runs and that the ratios are plausible. The
    /// figures mean nothing, and without --baseline polluxd is compared with itself
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Measure 1000 sessions and 256 logical units instead
    #[arg(long, conflicts_with_all = ["smoke", "quick", "baseline"])]
    pub(crate) scale: bool,
    /// Another build of polluxd to compare with, in the same rounds. It runs as two processes, so
    /// that the noise is known. Workloads in which the new build is slower get twice the rounds
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) baseline: Option<PathBuf>,
    /// How often each workload runs against each target
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// Seconds per measurement
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Repeat a measurement up to this many times while it is disturbed: while other work takes
    /// more than 3 % of the time of the core of the target or of the load generator
    #[arg(long, default_value_t = 1, value_name = "TIMES")]
    pub(crate) attempts: u32,
    /// Only workloads with this text in their title, for example "hot:" or "write 64 KiB"; may be
    /// repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Vec<String>,
    /// Print the titles of the chosen workloads and exit
    #[arg(long, conflicts_with = "scale")]
    pub(crate) list: bool,
    /// Skip tgt
    #[arg(long)]
    pub(crate) no_tgt: bool,
    /// Folder on the disk that is compared with fio; fio must be installed
    #[arg(long, default_value = "target/bench", value_name = "FOLDER")]
    pub(crate) disk: PathBuf,
    /// Size of each file on that disk
    #[arg(long, default_value = "1GiB", value_parser = control_api::parse_size)]
    pub(crate) disk_size: u64,
    /// How the reactor waits while the disk works: see docs/TUNING.md
    #[arg(long, value_enum, default_value_t = Poll::Adaptive)]
    pub(crate) disk_poll: Poll,
    /// Folder of the workloads
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads"))]
    pub(crate) workloads: PathBuf,
    /// Folder for results.json, table.txt and the plots
    #[arg(long, default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Folder of polluxd, perfctl, loadgen and floor [default: that of this program]
    #[arg(long)]
    pub(crate) programs: Option<PathBuf>,
    /// Core of the targets [default: the first that this process may use]
    #[arg(long)]
    pub(crate) target_core: Option<usize>,
    /// Core of the load generator [default: the second]
    #[arg(long)]
    pub(crate) load_core: Option<usize>,
}

/// How a reactor waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Poll {
    Busy,
    Adaptive,
    Interrupt,
}

impl Poll {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Adaptive => "adaptive",
            Self::Interrupt => "interrupt",
        }
    }
}

impl Options {
    /// The workloads that are run.
    pub(crate) const fn set(&self) -> Set {
        match (self.smoke, self.quick) {
            (true, _) => Set::Smoke,
            (_, true) => Set::Quick,
            (false, false) => Set::Full,
        }
    }

    /// Rounds: many short ones rather than a few long ones, because ratios are taken within one.
    pub(crate) fn rounds(&self) -> usize {
        let default = match self.set() {
            Set::Smoke => 2,
            Set::Quick => 5,
            Set::Full => 15,
        };
        self.rounds.unwrap_or(default).max(1)
    }

    /// Seconds per measurement.
    pub(crate) fn seconds(&self) -> f64 {
        let default = match self.set() {
            Set::Smoke => 0.15,
            Set::Quick => 0.25,
            Set::Full => 1.0,
        };
        self.seconds.unwrap_or(default)
    }

    /// Bytes of a memory LUN. A smoke test also has to run where little memory is free.
    pub(crate) const fn lun_bytes(&self) -> u64 {
        if self.smoke { 64 << 20 } else { 512 << 20 }
    }
}
