//! A load and its goals, read from a TOML file.

use super::contestant::Contestant;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::Path;

/// One file of `bench/workloads`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workload {
    /// The name in tables and plots; see [`Workload::title`].
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
    /// The backing store of the LUN, which decides who takes part.
    #[serde(default)]
    pub(crate) on: On,
    /// Bytes from the start of the LUN that the load touches, as `1MiB`: few enough for the cache,
    /// so that the LUN is hot. Without it the load touches the whole LUN, which is cold.
    pub(crate) working_set: Option<String>,
    /// An open loop at this share of the rate that the same target reaches without a limit.
    pub(crate) rate_share: Option<f64>,
    /// `smoke`, `quick` or `full`: the smallest set that it belongs to.
    pub(crate) set: Set,
    #[serde(default)]
    pub(crate) goal: Goal,
}

/// The backing store of a workload's LUN.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum On {
    /// Memory: against both floors and, where the LUN is cold, tgt. With digests, which the floor
    /// does not support: against polluxd without digests, and tgt.
    #[default]
    Memory,
    /// A file: against fio on the same file.
    Disk,
}

/// Which comparisons a workload is part of: each set includes those before it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Set {
    Smoke,
    Quick,
    Full,
}

/// The figures that polluxd should reach.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    /// Share of the IOPS of "floor, cached buffer".
    pub(crate) of_floor_cached: Option<f64>,
    /// The same; less than this is a failure of the design.
    pub(crate) of_floor_cached_min: Option<f64>,
    /// Share of the IOPS of "floor, same memory".
    pub(crate) of_floor_memory: Option<f64>,
    /// Times the IOPS of tgt.
    pub(crate) of_tgt: Option<f64>,
    /// Share of the IOPS without digests.
    pub(crate) of_no_digests: Option<f64>,
    /// Share of the IOPS of fio on the file itself.
    pub(crate) of_fio: Option<f64>,
    /// Microseconds of the target's CPU per command.
    pub(crate) cpu_us: Option<f64>,
    /// System calls per command.
    pub(crate) syscalls: Option<f64>,
    /// Microseconds above the median and the 99th percentile of "floor, cached buffer".
    pub(crate) p50_above_floor_cached_us: Option<f64>,
    pub(crate) p99_above_floor_cached_us: Option<f64>,
    /// Microseconds above fio's median.
    pub(crate) p50_above_fio_us: Option<f64>,
    /// The 99th percentile, in multiples of the median.
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

    /// Whether the LUN is hot, cold or a disk, and the name.
    pub(crate) fn title(&self) -> String {
        let lun = match (self.on, &self.working_set) {
            (On::Disk, _) => "disk",
            (On::Memory, Some(_)) => "hot",
            (On::Memory, None) => "cold",
        };
        format!("{lun}: {}", self.name)
    }

    /// Bytes of the working set on a LUN of this size.
    pub(crate) fn working_set_bytes(&self, lun_bytes: u64) -> Result<u64> {
        let Some(text) = &self.working_set else { return Ok(lun_bytes) };
        let bytes = control_api::parse_size(text)?;
        ensure!(bytes <= lun_bytes, "{}: the working set is larger than the LUN", self.title());
        Ok(bytes)
    }

    /// Who is measured, builds of polluxd first.
    pub(crate) fn contestants(&self, has_baseline: bool) -> Vec<Contestant> {
        use Contestant::{Baseline, BaselineAgain, Fio, FloorCached, FloorMemory, NoDigests};
        use Contestant::{Polluxd, Tgt};
        let mut parties = vec![Baseline, Polluxd, BaselineAgain];
        if !has_baseline {
            parties.retain(|party| !party.is_baseline());
        }
        match (self.on, self.has_digests()) {
            (On::Memory, false) => parties.extend([FloorCached, FloorMemory]),
            (On::Memory, true) => parties.push(NoDigests),
            (On::Disk, _) => parties.push(Fio),
        }
        // tgt is so slow that the cache makes no difference to it.
        if self.on == On::Memory && self.working_set.is_none() {
            parties.push(Tgt);
        }
        parties
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
        if let Some(bytes) = &self.working_set {
            arguments.extend(["--size".to_owned(), bytes.clone()]);
        }
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
        // The size of the LUN is not known here; whether the text is a size, is.
        workload.working_set_bytes(u64::MAX).with_context(|| format!("in {}", path.display()))?;
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
    use std::collections::BTreeSet;

    fn all() -> Vec<Workload> {
        load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads"), Set::Full).unwrap()
    }

    #[test]
    fn every_workload_of_the_repository_can_be_read() {
        let all = all();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let files = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(all.len(), files);
        assert!(all.iter().any(|w| w.set == Set::Smoke));
    }

    #[test]
    fn titles_are_unique() {
        let titles: BTreeSet<String> = all().iter().map(Workload::title).collect();
        assert_eq!(titles.len(), all().len());
    }

    #[test]
    fn every_hot_workload_has_a_cold_one_and_a_cached_working_set() {
        let all = all();
        let hot: Vec<_> = all.iter().filter(|w| w.working_set.is_some()).collect();
        assert!(hot.len() >= 8);
        for workload in hot {
            let title = format!("cold: {}", workload.name);
            assert!(all.iter().any(|other| other.title() == title), "{title}");
            assert!(workload.working_set_bytes(512 << 20).unwrap() <= 8 << 20, "{title}");
        }
    }

    #[test]
    fn a_hot_lun_is_measured_against_both_floors_and_the_baseline() {
        let all = all();
        let hot = all.iter().find(|w| w.working_set.is_some()).unwrap();
        let names = |has_baseline| {
            hot.contestants(has_baseline).into_iter().map(Contestant::name).collect::<Vec<_>>()
        };
        let floors = ["floor, cached buffer", "floor, same memory"];
        assert_eq!(names(false), [&["polluxd"][..], &floors].concat());
        let builds = ["baseline", "polluxd", "baseline again"];
        assert_eq!(names(true), [&builds[..], &floors].concat());
    }
}
