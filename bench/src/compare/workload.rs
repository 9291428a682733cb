//! A load and its goals, as a TOML file says them.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::Path;

/// One file of `bench/workloads`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    /// The name that tables and plots show.
    pub(crate) name: String,
    /// Bytes of a command, as `4KiB`.
    pub(crate) block: String,
    pub(crate) depth: u16,
    #[serde(default = "one")]
    pub(crate) connections: u16,
    pub(crate) read_percent: u8,
    #[serde(default = "random")]
    pub(crate) pattern: String,
    /// `copy` or `drop`: what the initiator does with the data of reads.
    #[serde(default = "copy")]
    pub(crate) payload: String,
    #[serde(default)]
    pub(crate) header_digest: bool,
    #[serde(default)]
    pub(crate) data_digest: bool,
    /// What the blocks are kept on, and with it, who takes part.
    #[serde(default)]
    pub(crate) on: On,
    /// An open loop at this share of what the same target reaches without a limit.
    pub(crate) rate_share: Option<f64>,
    /// `smoke`, `quick` or `full`: the smallest set that it belongs to.
    pub(crate) set: Set,
    #[serde(default)]
    pub(crate) goal: Goal,
}

/// What the blocks of a workload are kept on.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum On {
    /// Memory: against the floor and tgt. With digests, which the floor does not know, against
    /// the same without digests and tgt.
    #[default]
    Memory,
    /// A file: against fio on the same file.
    Disk,
}

/// Which comparisons a workload is part of: each set has those before it, too.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Set {
    Smoke,
    Quick,
    Full,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    /// Of the floor's rate.
    pub(crate) of_floor: Option<f64>,
    /// Of the floor's rate: less than this is a failure of the design.
    pub(crate) of_floor_min: Option<f64>,
    /// Times the rate of tgt.
    pub(crate) of_tgt: Option<f64>,
    /// Of the rate of the same without digests.
    pub(crate) of_plain: Option<f64>,
    /// Of the rate of fio on the file itself.
    pub(crate) of_fio: Option<f64>,
    /// Microseconds of the target's CPU per command.
    pub(crate) cpu_us: Option<f64>,
    /// System calls per command.
    pub(crate) syscalls: Option<f64>,
    /// Microseconds above the floor's median and its 99th percentile.
    pub(crate) p50_above_floor_us: Option<f64>,
    pub(crate) p99_above_floor_us: Option<f64>,
    /// Microseconds above fio's median.
    pub(crate) p50_above_fio_us: Option<f64>,
    /// Times its own median.
    pub(crate) p99_of_p50: Option<f64>,
}

impl Workload {
    /// Whether it asks for digests.
    pub(crate) const fn has_digests(&self) -> bool {
        self.header_digest || self.data_digest
    }

    /// The same without digests.
    pub(crate) fn without_digests(&self) -> Self {
        Self { header_digest: false, data_digest: false, ..self.clone() }
    }

    /// Who it is measured with, in the order of the table.
    pub(crate) fn contestants(&self) -> &'static [&'static str] {
        match (self.on, self.has_digests()) {
            (On::Memory, false) => &["ours", "floor", "tgt"],
            (On::Memory, true) => &["ours", "plain", "tgt"],
            (On::Disk, _) => &["ours", "fio"],
        }
    }

    /// The arguments of `loadgen`.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            ("--block", self.block.clone()),
            ("--depth", self.depth.to_string()),
            ("--connections", self.connections.to_string()),
            ("--read-percent", self.read_percent.to_string()),
            ("--pattern", self.pattern.clone()),
            ("--payload", self.payload.clone()),
        ]
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value])
        .collect();
        for (wanted, option) in
            [(self.header_digest, "--header-digest"), (self.data_digest, "--data-digest")]
        {
            if wanted {
                arguments.push(option.to_owned());
            }
        }
        arguments
    }
}

/// The workloads of a folder that belong to a set, in the order of their file names.
pub(crate) fn load(folder: &Path, set: Set) -> Result<Vec<Workload>> {
    let mut files = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list the workloads in {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let mut workloads = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path)?;
        let workload: Workload =
            toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        if workload.set <= set {
            workloads.push(workload);
        }
    }
    ensure!(!workloads.is_empty(), "no workload of this set in {}", folder.display());
    Ok(workloads)
}

const fn one() -> u16 {
    1
}

fn random() -> String {
    "random".to_owned()
}

fn copy() -> String {
    "copy".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_of_the_repository_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let all = load(&folder, Set::Full).unwrap();
        let files = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(all.len(), files);
        assert!(all.iter().any(|w| w.set == Set::Smoke));
    }
}
