//! How the load generator runs against a target.

use super::targets::{IQN, Place, Target};
use crate::loadgen::Report;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// The load generator, and what all measurements have in common.
#[derive(Clone, Debug)]
pub(crate) struct Loads {
    pub(crate) loadgen: PathBuf,
    pub(crate) load_core: usize,
    pub(crate) seconds: f64,
    /// How often a disturbed measurement is repeated.
    pub(crate) attempts: u32,
    pub(crate) place: Place,
}

impl Loads {
    /// One measurement.
    pub(crate) fn load(&self, target: &Target, arguments: &[String]) -> Result<Report> {
        // Dropping payloads requires reads that are answered in order. tgt does not do that, and
        // is far too slow for the initiator to be the limit.
        let arguments = arguments.iter().map(|argument| match argument.as_str() {
            "drop" if !target.is_in_order => "copy",
            other => other,
        });
        // Of a short measurement, a fifth.
        let warmup = (self.seconds / 5.0).clamp(0.05, 0.2);
        let mut command = self.command(target);
        command
            .args(["--duration", &self.seconds.to_string(), "--warmup", &warmup.to_string()])
            .args(["--target-pid", &target.pid().to_string()])
            .args(arguments);
        self.report_of(command, target)
    }

    /// The load generator with the arguments that name the target.
    pub(crate) fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.loadgen);
        command
            .args(["--target", &format!("127.0.0.1:{}", target.port)])
            .args(["--iqn", IQN, "--lun", &target.lun.to_string()])
            .args(["--core", &self.load_core.to_string(), "--json", "-"]);
        if self.load_core == self.place.core {
            // Two processes that spin on one core only wait for each other.
            command.arg("--sleep");
        }
        command
    }

    pub(crate) fn report_of(&self, mut command: Command, target: &Target) -> Result<Report> {
        let output =
            command.output().with_context(|| format!("cannot run {}", self.loadgen.display()))?;
        // A run with errors fails, but prints its report.
        serde_json::from_slice(&output.stdout).with_context(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("{command:?} against {} printed no report: {errors}", target.name)
        })
    }

    /// Writes every block of a polluxd once: unwritten pages are one page of zeros to reads, which
    /// makes them too fast, and a page fault to writes, which makes them too slow. tgt's file is
    /// written when it is made, and so is the memory of the floor.
    pub(crate) fn fill(&self, target: &Target) -> Result<()> {
        let count = self.place.size >> 18;
        let mut filling = self.command(target);
        filling
            .args(["--block", "256KiB", "--depth", "4", "--read-percent", "0"])
            .args(["--pattern", "sequential", "--count", &count.to_string()])
            .args(["--duration", "300", "--warmup", "0"]);
        let report = self.report_of(filling, target)?;
        let errors = report.first_error.unwrap_or_default();
        ensure!(report.errors == 0, "cannot fill the LUN of {}: {errors}", target.name);
        Ok(())
    }
}
