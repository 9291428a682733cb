//! What the daemon follows: the configuration and what has become of it. It is replaced as a
//! whole, so that a worker can build the next one while the control thread answers from this one.

use super::catalog;
use super::start::keep_ports;
use crate::config::TargetConfig;
use crate::settings::Loaded;
use crate::start_fault::StartFault;
use crate::state::{StateDir, TargetPorts};
use crate::storage::{Planned, VolumeTable};
use control_api::LunName;
use reactor::Store;
use std::sync::Arc;
use units::VolumeId;
use volume::{Catalog, CatalogFault, Portal};

/// A configuration in force.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) loaded: Loaded,
    pub(super) volumes: VolumeTable,
    pub(super) ports: TargetPorts,
    pub(super) catalog: Arc<Catalog>,
    /// What is less than it could be.
    pub(super) warnings: Vec<String>,
}

/// What no operation changes.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) state: StateDir,
    pub(super) portals: Vec<Portal>,
}

impl Followed {
    /// What a configuration with these volumes leads to; with the new volumes for the reactors.
    ///
    /// # Errors
    /// The first rule of the catalog that it breaks.
    pub(super) fn new(
        generation: u64,
        loaded: Loaded,
        planned: Planned,
        mut ports: TargetPorts,
        ground: &Ground,
    ) -> Result<(Self, Vec<(VolumeId, Store)>), CatalogFault> {
        let Planned { table: volumes, stores, warnings } = planned;
        let config = &loaded.config;
        let built = catalog::build(generation, config, &volumes, &ground.portals, &mut ports)?;
        let catalog = Arc::new(built);
        Ok((Self { loaded, volumes, ports, catalog, warnings }, stores))
    }

    /// Writes what must survive besides the catalog.
    ///
    /// # Errors
    /// What cannot be written.
    pub(super) fn keep_ports(&self, ground: &Ground) -> Result<(), StartFault> {
        keep_ports(&ground.state, &self.ports)
    }

    /// The LUNs that a volume is configured to be.
    pub(super) fn luns_of(&self, volume: &str) -> Vec<LunName> {
        let targets = self.loaded.config.targets.iter();
        targets
            .flat_map(|t| t.luns.iter().map(move |(lun, mapping)| (t, *lun, mapping)))
            .filter(|(_, _, mapping)| mapping.volume == volume)
            .map(|(t, lun, _)| LunName { target: t.name.clone(), lun })
            .collect()
    }

    /// The volumes behind a target, or behind one of its LUNs.
    pub(super) fn volumes_of(&self, target: &str, lun: Option<u16>) -> impl Iterator<Item = &str> {
        let luns = self.target(target).into_iter().flat_map(|t| &t.luns);
        let wanted = luns.filter(move |(at, _)| lun.is_none_or(|lun| lun == **at));
        wanted.map(|(_, mapping)| mapping.volume.as_str())
    }

    /// The target of a name.
    pub(super) fn target(&self, name: &str) -> Option<&TargetConfig> {
        self.loaded.config.targets.iter().find(|t| t.name.eq_ignore_ascii_case(name))
    }
}
