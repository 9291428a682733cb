//! Who takes part in a comparison, and the names that tables, plots and JSON use.

use serde::{Serialize, Serializer};

/// A party that is measured. The order is that of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    /// polluxd, the build under test.
    Polluxd,
    /// polluxd, the build that `--baseline` names.
    Baseline,
    /// A second process of the baseline: what two runs of one build differ by is noise.
    BaselineAgain,
    /// polluxd without the digests of the workload.
    NoDigests,
    /// The floor that resends a cached buffer.
    FloorCached,
    /// The floor that reads and writes the same memory as a target does.
    FloorMemory,
    Tgt,
    /// fio, on the file itself.
    Fio,
}

impl Contestant {
    /// The name in tables, plots and JSON. Both floors say which floor they are.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Polluxd => "polluxd",
            Self::Baseline => "baseline",
            Self::BaselineAgain => "baseline again",
            Self::NoDigests => "no digests",
            Self::FloorCached => "floor, cached buffer",
            Self::FloorMemory => "floor, same memory",
            Self::Tgt => "tgt",
            Self::Fio => "fio",
        }
    }

    /// The name of its configuration, state and log.
    pub(crate) fn file_name(self) -> String {
        self.name().replace(", ", "-").replace(' ', "-")
    }

    /// Whether it is a build of polluxd that runs as a process of its own.
    pub(crate) const fn is_daemon(self) -> bool {
        match self {
            Self::Polluxd | Self::Baseline | Self::BaselineAgain => true,
            Self::NoDigests | Self::FloorCached | Self::FloorMemory | Self::Tgt | Self::Fio => {
                false
            }
        }
    }

    /// Whether it is a process of the build that `--baseline` names.
    pub(crate) const fn is_baseline(self) -> bool {
        self.is_daemon() && !matches!(self, Self::Polluxd)
    }
}

impl Serialize for Contestant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_have_no_spaces() {
        assert_eq!(Contestant::FloorMemory.file_name(), "floor-same-memory");
        assert_eq!(Contestant::BaselineAgain.file_name(), "baseline-again");
    }
}
