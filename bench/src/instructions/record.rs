//! The recorded figures, and their comparison with new ones.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The cost of one command.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figures {
    /// Instructions of the reactor's thread, without the loops that copy.
    pub(crate) instructions: u64,
    /// Bytes that string instructions moved.
    pub(crate) string_bytes: u64,
}

/// The file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The compiler of the build, as printed by `rustc --version`.
    pub(crate) rustc: String,
    pub(crate) read_4k: Figures,
    pub(crate) write_4k: Figures,
}

/// How far a figure may be from the recorded one, as a share of it.
pub(crate) const DEVIATION_MAX: f64 = 0.05;

impl Record {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read {}; run bench/instructions --record to create it", path.display())
        })?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A sentence for each figure that differs by more than the limit.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (command, old, new) in
            [("read", self.read_4k, now.read_4k), ("write", self.write_4k, now.write_4k)]
        {
            for (what, old, new) in [
                ("instructions", old.instructions, new.instructions),
                ("bytes moved by string instructions", old.string_bytes, new.string_bytes),
            ] {
                let (before, after) = (old as f64, new as f64);
                if (after - before).abs() > (before * DEVIATION_MAX).max(FEW) {
                    let change = 100.0 * (after - before) / before.max(1.0);
                    found.push(format!(
                        "a 4 KiB {command} takes {new} {what}: {change:+.1} % from the recorded \
                         {old}"
                    ));
                }
            }
        }
        if !found.is_empty() && self.rustc != now.rustc {
            found.push(format!(
                "the compiler differs, which may be the reason: {} now, {} recorded",
                now.rustc, self.rustc
            ));
        }
        found
    }
}

/// A difference this small is no change, whatever its share of the figure.
const FEW: f64 = 16.0;

const HEAD: &str = "\
# Instructions of polluxd for one command at queue depth 32, counted by callgrind: see
# docs/TESTING.md. A difference of more than 5 % fails tests/run. `bench/instructions --record`
# rewrites this file; explain the change in the commit.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn record(instructions: u64, string_bytes: u64) -> Record {
        let read_4k = Figures { instructions, string_bytes };
        let write_4k = Figures { instructions: 2000, string_bytes: 4096 };
        Record { rustc: "rustc 1.95.0".to_owned(), read_4k, write_4k }
    }

    #[test]
    fn a_figure_within_five_percent_is_the_same() {
        let old = record(1000, 4096);
        assert!(old.differences(&record(1050, 4100)).is_empty());
        assert!(old.differences(&record(950, 4096)).is_empty());
    }

    #[test]
    fn a_gain_is_reported_like_a_loss() {
        let old = record(1000, 4096);
        assert_eq!(
            old.differences(&record(940, 4096)),
            ["a 4 KiB read takes 940 instructions: -6.0 % from the recorded 1000"]
        );
        assert_eq!(old.differences(&record(1060, 0)).len(), 2);
    }

    #[test]
    fn another_compiler_is_reported_only_if_a_figure_differs() {
        let mut old = record(1000, 0);
        old.rustc = "rustc 1.94.0".to_owned();
        assert!(old.differences(&record(1000, 8)).is_empty());
        assert!(old.differences(&record(1100, 0))[1].contains("rustc 1.94.0 recorded"));
    }

    #[test]
    fn a_written_record_is_read_back() {
        let folder = std::env::temp_dir().join(format!("pollux-record-{}", std::process::id()));
        record(1000, 4096).write(&folder).unwrap();
        let read = Record::read(&folder);
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(read.unwrap(), record(1000, 4096));
    }
}
