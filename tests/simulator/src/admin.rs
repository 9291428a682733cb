//! The administrator: makes volumes smaller and larger, takes LUNs away and gives them back.

use crate::plan::Plan;
use crate::units_state::UnitState;
use crate::world::{Event, Stage, World};
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
                    id: VolumeId(place),
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
                    read_only: false,
                },
                mapped: true,
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
                .map(|(lun, v)| (lun, LunMapping { volume: v.record.id, read_only: false }))
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

impl World {
    /// The administrator changes one thing.
    pub(crate) fn administer(&mut self) {
        if self.stage != Stage::Chaos {
            return;
        }
        let volume = self.rng.place(self.plan.volumes.len());
        let choice = self.rng.below(4);
        let configured = &mut self.admin.volumes[volume];
        match choice {
            0 | 1 => {
                let plan = self.plan.volumes[volume];
                let blocks = plan.sectors / plan.sectors_per_block();
                let blocks = self.rng.pick(&[blocks, blocks / 2, blocks - 1]);
                configured.record.geometry.blocks = units::BlockCount(blocks);
            }
            2 => configured.mapped = !configured.mapped,
            _ => {
                if volume > 0 {
                    configured.removed = true;
                }
            }
        }
        self.admin.generation += 1;
        self.trace(|w| {
            let sectors = w.admin.sectors(volume);
            format!("volume {volume}: mapped {}, {sectors} sectors", w.admin.is_mapped(volume))
        });
        for unit in &mut self.units {
            unit.mapped.begin();
            unit.sectors.begin();
            unit.write_cache.begin();
            unit.holder.begin();
        }
        let generation = self.admin.generation;
        self.admin.missing.insert(generation, self.seats.len());
        let catalog = self.admin.catalog();
        for seat in 0..self.seats.len() {
            let delay = self.rng.below(300_000);
            let catalog = Arc::clone(&catalog);
            self.after(delay, Event::Catalog { seat, catalog, generation });
        }
    }

    /// A seat gets a catalog; never an older one than it has.
    pub(crate) fn catalog_arrives(&mut self, seat: usize, catalog: Arc<Catalog>, number: u64) {
        let catalog = if number == self.admin.generation { catalog } else { self.admin.catalog() };
        self.shard(seat, |shard, now, actions| shard.handle_catalog(now, catalog, actions));
        let Some(missing) = self.admin.missing.get_mut(&number) else { return };
        *missing -= 1;
        if *missing > 0 {
            return;
        }
        self.admin.missing.remove(&number);
        for volume in 0..self.units.len() {
            let UnitState { mapped, sectors, write_cache, holder } = &mut self.units[volume];
            mapped.end(Some(self.admin.is_mapped(volume)));
            sectors.end(Some(self.admin.sectors(volume)));
            write_cache.end(None);
            holder.end(None);
        }
    }

    /// A LUN as initiators name it.
    pub(crate) fn lun_of(volume: usize) -> units::Lun {
        units::Lun::from_number(units::len_u16(volume)).unwrap_or_default()
    }
}
