//! The command line of the load generator.

use anyhow::{Result, ensure};
use clap::{Args, FromArgMatches, ValueEnum};
use std::path::PathBuf;

/// The order of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// Every block equally likely.
    Random,
    /// One block after the other, from the start again at the end.
    Sequential,
    /// Few blocks often, many rarely.
    Zipf,
}

/// How the data of reads is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// It is copied to this process, as in every real initiator.
    Copy,
    /// The kernel drops it, so that the target is the limit and not this process. Requires pure
    /// reads and a target that answers them in order.
    Drop,
}

/// The load.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Address of the portal
    #[arg(long, value_name = "HOST:PORT")]
    pub target: String,
    /// Name of the target
    #[arg(long, value_name = "IQN")]
    pub iqn: String,
    /// Logical unit
    #[arg(long, default_value_t = 0)]
    pub lun: u16,
    /// Name of this initiator; each connection is a session of its own
    #[arg(long, value_name = "IQN", default_value = "iqn.2026-11.local.pollux:loadgen")]
    pub initiator: String,
    /// Sessions, of one connection each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Instead of load: log in this many sessions, print how long that took, and answer pings
    /// until the end of standard input
    #[arg(long, value_name = "SESSIONS")]
    pub idle_sessions: Option<u16>,
    /// Commands in flight on each connection
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub depth: u16,
    /// Bytes of each read and write
    #[arg(long, default_value = "4KiB", value_parser = control_api::parse_size)]
    pub block: u64,
    /// Percentage of reads
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub read_percent: u8,
    /// Order of addresses
    #[arg(long, value_enum, default_value_t = Pattern::Random)]
    pub pattern: Pattern,
    /// Skew of the zipf pattern, above 0 and below 1
    #[arg(long, default_value_t = 0.99)]
    pub zipf_theta: f64,
    /// Working set: bytes from the start of the logical unit [default: all of it]
    #[arg(long, value_parser = control_api::parse_size)]
    pub size: Option<u64>,
    /// Seconds to measure
    #[arg(long, default_value_t = 5.0)]
    pub duration: f64,
    /// Seconds of load before the measurement
    #[arg(long, default_value_t = 0.5)]
    pub warmup: f64,
    /// End after this many commands
    #[arg(long)]
    pub count: Option<u64>,
    /// Open loop: start this many commands per second, whether or not earlier ones have ended,
    /// and measure latency from the time at which a command should have started
    #[arg(long)]
    pub rate: Option<f64>,
    /// Send data of writes only after an R2T: no immediate and no unsolicited data
    #[arg(long)]
    pub r2t: bool,
    /// Negotiate header digests (CRC32C)
    #[arg(long)]
    pub header_digest: bool,
    /// Negotiate data digests (CRC32C)
    #[arg(long)]
    pub data_digest: bool,
    /// How the data of reads is received
    #[arg(long, value_enum, default_value_t = Payload::Copy)]
    pub payload: Payload,
    /// Write self-identifying blocks, and check the data of reads
    #[arg(long)]
    pub verify: bool,
    /// Core to run on
    #[arg(long)]
    pub core: Option<usize>,
    /// Sleep while idle instead of spinning
    #[arg(long)]
    pub sleep: bool,
    /// Process whose CPU time during the measurement is reported
    #[arg(long, value_name = "PID")]
    pub target_pid: Option<u32>,
    /// Seed for addresses and data
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the result as JSON to this file, - for standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the latency distribution as HdrHistogram text to this file
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
}

impl Options {
    /// The defaults of the command line, against LUN 0 of this target at this portal.
    pub fn new(target: &str, iqn: &str) -> Self {
        let words = ["loadgen", &format!("--target={target}"), &format!("--iqn={iqn}")];
        let matches = Self::augment_args(clap::Command::new("loadgen")).get_matches_from(words);
        // Every argument has a default or is given, and any text is valid for those two.
        Self::from_arg_matches(&matches).expect("the defaults are valid")
    }

    /// Rejects invalid combinations.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.block.is_multiple_of(512) && self.block > 0 && self.block <= BLOCK_BYTES_MAX,
            "--block must be a multiple of 512 bytes up to 16 MiB"
        );
        ensure!(
            self.zipf_theta > 0.0 && self.zipf_theta < 1.0,
            "--zipf-theta must be above 0 and below 1"
        );
        ensure!(
            self.duration > 0.0 && self.duration <= SECONDS_MAX && self.warmup >= 0.0,
            "--duration must be above 0 and at most a day, --warmup not below 0"
        );
        ensure!(self.warmup <= SECONDS_MAX, "--warmup must be at most a day");
        ensure!(
            self.rate.is_none_or(|r| (1.0..=1e9).contains(&r)),
            "--rate must be at least 1 command per second"
        );
        if self.payload == Payload::Drop {
            ensure!(
                self.read_percent == 100
                    && !self.verify
                    && !self.header_digest
                    && !self.data_digest,
                "--payload drop requires --read-percent 100, no digests and no --verify"
            );
        }
        Ok(())
    }

    /// Whether any command writes.
    pub const fn writes(&self) -> bool {
        self.read_percent < 100
    }
}

/// One command: what fits in the data segment length of its PDUs taken together.
const BLOCK_BYTES_MAX: u64 = 16 << 20;

const SECONDS_MAX: f64 = 86_400.0;
