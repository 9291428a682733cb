//! IOPS against queue depth, and against the number of reactors.

use super::comparison::Comparison;
use super::contestant::Contestant;
use super::daemon::Daemon;
use super::targets::Target;
use anyhow::Result;
use std::collections::BTreeMap;

impl Comparison {
    /// IOPS of 4 KiB reads of a cold LUN at several queue depths.
    pub(crate) fn depths(&self) -> Result<BTreeMap<Contestant, Vec<(u16, f64)>>> {
        let mut depths: BTreeMap<Contestant, Vec<(u16, f64)>> = BTreeMap::new();
        eprintln!("compare: queue depths");
        for depth in [1, 2, 4, 8, 16, 32, 64, 128] {
            for (party, target) in &self.targets {
                target.resume()?;
                let arguments = ["--payload", "drop", "--depth", &depth.to_string()];
                let report = self.loads.load(target, &arguments.map(str::to_owned))?;
                target.pause()?;
                depths.entry(*party).or_default().push((depth, report.iops));
            }
        }
        Ok(depths)
    }

    /// IOPS of 4 KiB reads of a cold LUN with 1, 2, ... reactors, the core of the load generator
    /// last. The reactors are adaptive: one that spins would take that core from it.
    pub(crate) fn cores(&self) -> Result<Vec<(u16, f64)>> {
        let loads = &self.loads;
        let mut cores = uring::affinity::cores();
        // First the core of the target, then the others.
        cores.sort_by_key(|&c| (c == loads.load_core, c != loads.place.core, c));
        let mut points = Vec::new();
        for count in (1..=cores.len()).take(REACTORS_MAX) {
            eprintln!("compare: {count} of {} cores", cores.len());
            let daemon = Daemon {
                name: "cores".to_owned(),
                cores: cores[..count].to_vec(),
                poll: "adaptive",
                ..Daemon::spinning(loads.place.core, loads.place.size)
            };
            let target = Target::polluxd(&loads.place, &daemon)?;
            loads.fill(&target)?;
            let connections = (4 * count).to_string();
            let arguments = ["--payload", "drop", "--connections", &connections];
            let report = loads.load(&target, &arguments.map(str::to_owned))?;
            points.push((u16::try_from(count)?, report.iops));
        }
        Ok(points)
    }
}

/// Reactors of the last point, at most.
const REACTORS_MAX: usize = 16;
