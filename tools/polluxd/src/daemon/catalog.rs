//! The catalog that configuration and volumes lead to.

use crate::config::{Config, TargetConfig};
use crate::state::TargetPorts;
use crate::storage::VolumeTable;
use volume::{Catalog, CatalogFault, LunMapping, Portal, TargetRecord};

/// Builds and checks a catalog. LUNs of volumes that are not served are left out; targets get
/// their identifiers in `ports`.
///
/// # Errors
/// The first rule of the catalog that the parts break.
pub(super) fn build(
    generation: u64,
    config: &Config,
    volumes: &VolumeTable,
    portals: &[Portal],
    ports: &mut TargetPorts,
) -> Result<Catalog, CatalogFault> {
    let mut targets = Vec::with_capacity(config.targets.len());
    for target in &config.targets {
        let port = ports.of(&target.name).ok_or(CatalogFault::TooManyTargets)?;
        targets.push(record(target, volumes, port));
    }
    let catalog = Catalog::new(generation, volumes.places(), targets, portals.to_vec())?;
    Ok(catalog.with_discovery_chap(config.discovery_chap.clone()))
}

fn record(target: &TargetConfig, volumes: &VolumeTable, relative_port: u16) -> TargetRecord {
    let luns = target.luns.iter().filter_map(|(&lun, mapping)| {
        let volume = volumes.find(&mapping.volume)?.served.as_ref().ok()?.id;
        Some((lun, LunMapping { volume, read_only: mapping.read_only }))
    });
    TargetRecord {
        name: target.name.clone(),
        alias: target.alias.clone(),
        portal_group_tag: target.portal_group,
        relative_port,
        luns: luns.collect(),
        access: target.access.clone(),
        chap: target.chap.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::load_text;
    use crate::state::StateDir;
    use crate::storage::Identity;
    use std::path::Path;
    use units::VolumeId;

    #[test]
    fn a_lun_whose_volume_failed_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let text = "
            [[volume]]
            name = \"gone\"
            kind = \"block\"
            path = \"/dev/pollux-none\"
            [[volume]]
            name = \"zero\"
            kind = \"null\"
            size = \"1MiB\"
            [[target]]
            name = \"iqn.2026-11.t\"
            luns = { 0 = \"gone\", 5 = { volume = \"zero\", read_only = true } }
        ";
        let config = load_text(Path::new("/p.toml"), true, text).unwrap().config;
        let identity = Identity { naa_oui: None, random: &|_| Ok(()) };
        let planned = VolumeTable::default().plan(&config.volumes, &state, identity);
        let mut ports = TargetPorts::default();
        let catalog = build(3, &config, &planned.table, &[], &mut ports).unwrap();
        assert_eq!(catalog.generation(), 3);
        let target = catalog.target("iqn.2026-11.t").unwrap();
        assert_eq!(target.relative_port, 1);
        let luns: Vec<_> = target.luns.iter().collect();
        assert_eq!(luns, [(&5, &LunMapping { volume: VolumeId(0), read_only: true })]);
        assert_eq!(catalog.volumes().count(), 1);
    }
}
