//! The administrator: makes volumes smaller and larger, takes LUNs away and gives them back.

use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::run::Run;
use std::collections::BTreeMap;
use std::sync::Arc;
use units::{BlockSize, VolumeId};
use volume::{
    Access, Capabilities, Catalog, Geometry, LunMapping, Naa, Portal, TargetRecord, VolumeRecord,
    Wwid,
};

/// The name of the one target.
pub(crate) const TARGET_NAME: &str = "iqn.2025-01.example:simulated";

/// What the administrator has configured.
#[derive(Debug)]
pub(crate) struct Admin {
    generation: u64,
    volumes: Vec<Configured>,
    /// Seats that have yet to get a generation of the catalog.
    missing: BTreeMap<u64, usize>,
}

#[derive(Clone, Debug)]
struct Configured {
    record: VolumeRecord,
    mapped: bool,
    read_only: bool,
    /// It is gone for good.
    removed: bool,
}

impl Admin {
    pub(crate) fn new(plan: &Plan) -> Self {
        let record = |(place, volume): (u16, &crate::plan::VolumePlan)| {
            let block_size = BlockSize::from_bytes(volume.block_bytes).unwrap_or(BlockSize::B512);
            let bytes = volume.sectors * crate::sectors::SECTOR_BYTES;
            let geometry = Geometry::of_bytes(bytes, block_size, 4096)?;
            let [low, high] = place.to_le_bytes();
            Some(Configured {
                record: VolumeRecord {
                    id: VolumeId(place.into()),
                    name: format!("volume{place}"),
                    wwid: Wwid {
                        naa: Naa::LocallyAssigned([0x30, 0, 0, 0, 0, 0, high, low]),
                        serial: format!("serial{place}"),
                    },
                    geometry,
                    capabilities: Capabilities {
                        volatile_write_cache: volume.volatile,
                        unmap: volume.unmap,
                        reads_zero_after_unmap: volume.unmap,
                        unmap_granularity_bytes: volume.block_bytes,
                        rotational: false,
                    },
                    device: None,
                    read_only: false,
                },
                mapped: true,
                read_only: volume.read_only,
                removed: false,
            })
        };
        let volumes = (0_u16..).zip(&plan.volumes).filter_map(record).collect();
        Self { generation: 1, volumes, missing: BTreeMap::new() }
    }

    /// The catalog as it is configured now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        let volumes = self.volumes.iter().map(|v| (!v.removed).then(|| v.record.clone())).collect();
        let luns = (0_u16..).zip(&self.volumes).filter(|(_, v)| v.mapped && !v.removed);
        let target = TargetRecord {
            name: TARGET_NAME.into(),
            alias: None,
            portal_group_tag: 1,
            relative_port: 1,
            luns: luns
                .map(|(lun, v)| (lun, LunMapping { volume: v.record.id, read_only: v.read_only }))
                .collect(),
            access: Access::Any,
            chap: None,
        };
        let portal = Portal { address: ([10, 0, 1, 1], 3260).into(), portal_group_tag: 1 };
        let catalog = Catalog::new(self.generation, volumes, vec![target], vec![portal]);
        Arc::new(catalog.expect("the target maps only volumes that are there"))
    }

    /// Every seat has begun with the present catalog.
    pub(crate) fn settle(&mut self) {
        self.missing.clear();
    }

    /// Whether the volume is one that initiators see.
    pub(crate) fn is_mapped(&self, volume: usize) -> bool {
        self.volumes[volume].mapped && !self.volumes[volume].removed
    }

    /// Sectors that initiators see.
    pub(crate) fn sectors(&self, volume: usize) -> u64 {
        self.volumes[volume].record.geometry.bytes() / crate::sectors::SECTOR_BYTES
    }
}

/// What the administrator has changed.
pub(crate) struct Change {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) generation: u64,
}

impl Admin {
    /// The administrator changes one thing; `seats` will each get the new catalog.
    pub(crate) fn change(&mut self, seats: usize, run: &mut Run, ledger: &mut Ledger) -> Change {
        let volume = run.rng.place(run.plan.volumes.len());
        let choice = run.rng.below(4);
        let configured = &mut self.volumes[volume];
        match choice {
            0 | 1 => {
                let plan = run.plan.volumes[volume];
                let blocks = plan.sectors / plan.sectors_per_block();
                let blocks = run.rng.pick(&[blocks, blocks / 2, blocks - 1]);
                configured.record.geometry.blocks = units::BlockCount(blocks);
            }
            2 => configured.mapped = !configured.mapped,
            _ => {
                if volume > 0 {
                    configured.removed = true;
                }
            }
        }
        self.generation += 1;
        run.trace(|| {
            let sectors = self.sectors(volume);
            format!("volume {volume}: mapped {}, {sectors} sectors", self.is_mapped(volume))
        });
        for unit in &mut ledger.units {
            unit.mapped.begin();
            unit.sectors.begin();
            unit.write_cache.begin();
            unit.holder.begin();
        }
        self.missing.insert(self.generation, seats);
        Change { catalog: self.catalog(), generation: self.generation }
    }

    /// The catalog that a seat gets when that of a generation is due: never an older one than it
    /// has.
    pub(crate) fn latest(&self, catalog: Arc<Catalog>, generation: u64) -> Arc<Catalog> {
        if generation == self.generation { catalog } else { self.catalog() }
    }

    /// A seat serves the catalog of a generation, or a newer one.
    pub(crate) fn is_served(&mut self, generation: u64, ledger: &mut Ledger) {
        let Some(missing) = self.missing.get_mut(&generation) else { return };
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        self.missing.remove(&generation);
        for (volume, unit) in ledger.units.iter_mut().enumerate() {
            unit.mapped.end(Some(self.is_mapped(volume)));
            unit.sectors.end(Some(self.sectors(volume)));
            unit.write_cache.end(None);
            unit.holder.end(None);
        }
    }
}

/// A LUN as initiators name it.
pub(crate) fn lun_of(volume: usize) -> units::Lun {
    let number = u16::try_from(volume).expect("a plan has a handful of volumes");
    units::Lun::from_number(number).expect("so has a target")
}
