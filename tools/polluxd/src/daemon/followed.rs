//! What the daemon follows: the configuration and what has become of it. It is replaced as a
//! whole, so that a worker can build the next one while the control thread answers from this one.

use super::absent::absent;
use super::catalog;
use super::start::keep_ports;
use crate::config::{Config, TargetConfig};
use crate::settings::Loaded;
use crate::start_fault::StartFault;
use crate::state::{StateDir, TargetPorts};
use crate::storage::{Planned, Volume, VolumeTable};
use control_api::{LunName, RpcError};
use reactor::Store;
use std::path::PathBuf;
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
    /// The node and the portals as they were configured at the start: they run until the end.
    pub(super) started: Config,
}

impl Ground {
    /// What a daemon stands on that starts with a configuration.
    pub(super) fn new(state: StateDir, portals: Vec<Portal>, config: &Config) -> Self {
        let started = Config {
            node: config.node.clone(),
            portals: config.portals.clone(),
            volumes: Vec::new(),
            targets: Vec::new(),
            discovery_chap: None,
        };
        Self { state, portals, started }
    }
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
        let Planned { table: volumes, stores, warnings, creations: _ } = planned;
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

    /// The volume of a name.
    ///
    /// # Errors
    /// There is none; with the names that are near.
    pub(super) fn existing_volume(&self, name: &str) -> Result<&Volume, RpcError> {
        let names = self.volumes.iter().map(|volume| volume.config.name.as_str());
        self.volumes.find(name).ok_or_else(|| absent("volume", name, names))
    }

    /// The target of a name.
    ///
    /// # Errors
    /// There is none; with the names that are near.
    pub(super) fn existing_target(&self, name: &str) -> Result<&TargetConfig, RpcError> {
        let names = self.loaded.config.targets.iter().map(|target| target.name.as_str());
        self.target(name).ok_or_else(|| absent("target", name, names))
    }

    /// A path as the catalog means it: relative ones are relative to its directory.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.loaded.file.with_file_name("").join(path)
    }

    /// The target of a name.
    pub(super) fn target(&self, name: &str) -> Option<&TargetConfig> {
        self.loaded.config.targets.iter().find(|t| t.name.eq_ignore_ascii_case(name))
    }
}
