//! A logical unit as one core sees it: its model for the device server, what stands in the way of
//! commands, and the door to its medium.

pub(crate) mod home;
pub(crate) mod jobs;
pub(crate) mod medium;
pub(crate) mod obstacles;
pub(crate) mod units;

use ::units::VolumeId;
use home::Home;
use medium::Medium;
use obstacles::Standing;
use scsi::{Identity, Limits, ModePages, ModeParameters, NaaDesignator, Rotation, TargetPort};
use volume::{Capabilities, Geometry, Naa, TargetRecord, VolumeRecord};

/// A logical unit on this core. All cores have the same, but for the moments in which a job
/// ([`crate::message::Job`]) is on its way.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) volume: VolumeId,
    pub(crate) geometry: Geometry,
    capabilities: Capabilities,
    /// What the device server knows. Its target port is a placeholder: INQUIRY shows that of the
    /// session's target.
    pub(crate) model: scsi::UnitModel,
    pub(crate) standing: Standing,
    pub(crate) medium: Medium,
    /// The jobs, where this core is the unit's home.
    pub(crate) home: Home,
}

impl Unit {
    /// The logical unit of a volume, as after a power on.
    pub(crate) fn new(record: &VolumeRecord) -> Self {
        Self {
            volume: record.id,
            geometry: record.geometry,
            capabilities: record.capabilities,
            model: model_of(record),
            standing: Standing::default(),
            medium: Medium::new(record.id),
            home: Home::default(),
        }
    }

    /// Applies what the administrator changed; returns whether the capacity did.
    pub(crate) fn refresh(&mut self, record: &VolumeRecord) -> bool {
        assert_eq!(self.volume, record.id, "a record of another volume");
        let resized = self.geometry != record.geometry;
        let mode = self.model.mode;
        self.geometry = record.geometry;
        self.capabilities = record.capabilities;
        self.model = model_of(record);
        self.model.mode = mode;
        resized
    }

    /// Whether writes must be durable one by one: the write cache is switched off (WCE=0), though
    /// the backing store has one.
    pub(crate) const fn writes_through(&self) -> bool {
        self.capabilities.volatile_write_cache && !self.model.mode.current.write_cache
    }

    /// LOGICAL UNIT RESET (SAM-5 6.3.3): the reservation and the mode parameters go back to their
    /// defaults.
    pub(crate) fn reset(&mut self) {
        self.standing.reset();
        self.model.mode.current = self.model.mode.default;
    }
}

/// What the SCSI device server needs to know about a volume.
fn model_of(record: &VolumeRecord) -> scsi::UnitModel {
    let geometry = record.geometry;
    let capabilities = record.capabilities;
    let mut limits = Limits::new(geometry.block_size, geometry.physical_block_exponent);
    let granularity = capabilities.unmap_granularity_bytes >> geometry.block_size.shift();
    if granularity > 0 {
        limits.unmap_granularity = granularity;
    }
    if !capabilities.unmap {
        limits.unmap_blocks_max = 0;
        limits.unmap_descriptors_max = 0;
    }
    let default = ModeParameters {
        write_cache: capabilities.volatile_write_cache,
        descriptor_sense: false,
        software_write_protect: false,
    };
    scsi::UnitModel {
        identity: Identity {
            vendor: *b"POLLUX  ",
            product: *b"Virtual Disk    ",
            revision: REVISION,
            serial: record.wwid.serial.clone(),
            naa: match record.wwid.naa {
                Naa::LocallyAssigned(b) => NaaDesignator::LocallyAssigned(b),
                Naa::RegisteredExtended(b) => NaaDesignator::RegisteredExtended(b),
            },
        },
        block_size: geometry.block_size,
        blocks: geometry.blocks,
        physical_block_exponent: geometry.physical_block_exponent,
        lowest_aligned_lba: 0,
        limits,
        thin: capabilities.unmap,
        reads_zero_after_unmap: capabilities.reads_zero_after_unmap,
        rotation: if capabilities.rotational {
            Rotation::NotReported
        } else {
            Rotation::NonRotating
        },
        read_only: record.read_only,
        mode: ModePages {
            current: default,
            default,
            write_cache_changeable: capabilities.volatile_write_cache,
        },
        target_port: TargetPort {
            device_name: String::new(),
            name: String::new(),
            relative_port: 1,
            port_group: 1,
        },
    }
}

/// The port through which sessions of `target` see its logical units.
pub(crate) fn target_port(target: &TargetRecord) -> TargetPort {
    TargetPort {
        device_name: target.name.clone(),
        name: format!("{},t,0x{:04x}", target.name, target.portal_group_tag),
        relative_port: target.relative_port,
        port_group: target.portal_group_tag,
    }
}

/// PRODUCT REVISION LEVEL: the first two numbers of the version.
const REVISION: [u8; 4] = *b"0.1 ";
