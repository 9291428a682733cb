//! The model of one logical unit: what the device server needs to know to answer for it.
//!
//! A `UnitModel` is immutable: whoever owns it replaces it by the next generation when a
//! volume is resized or a mode page changes.

use units::{BlockCount, BlockSize, Lba, limits, saturating_u32};

use crate::command::BlockRange;
use crate::mode::ModePages;
use crate::sense::SenseFormat;

/// The model of one logical unit, as seen through one target port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitModel {
    /// Who it is, for INQUIRY.
    pub identity: Identity,
    /// The size of a logical block.
    pub block_size: BlockSize,
    /// How many logical blocks it has.
    pub blocks: BlockCount,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT, at most 15.
    pub physical_block_exponent: u8,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS, at most 14 bits.
    pub lowest_aligned_lba: u16,
    /// What one command may ask for.
    pub limits: Limits,
    /// LBPME: thinly provisioned, so UNMAP works.
    pub thin: bool,
    /// LBPRZ: deallocated blocks read as zeros, on every member of a mirror.
    pub reads_zero_after_unmap: bool,
    /// What the medium is, for the Block Device Characteristics page.
    pub rotation: Rotation,
    /// The administrator allows no writes.
    pub read_only: bool,
    /// Mode parameters: those in force and those after a reset.
    pub mode: ModePages,
    /// The port through which the initiator sees the logical unit.
    pub target_port: TargetPort,
}

/// What identifies a logical unit. It never changes in the life of a volume: not by a rename,
/// a resize, a restart or a fail-over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION, ASCII, filled up with spaces.
    pub vendor: [u8; 8],
    /// PRODUCT IDENTIFICATION, ASCII, filled up with spaces.
    pub product: [u8; 16],
    /// PRODUCT REVISION LEVEL, ASCII, filled up with spaces.
    pub revision: [u8; 4],
    /// PRODUCT SERIAL NUMBER, ASCII; what is beyond 220 characters is not reported.
    pub serial: String,
    /// The world wide name by which multipath software recognises the logical unit.
    pub naa: NaaDesignator,
}

/// A designator in one of the formats of the Network Address Authority (SPC-4, NAA designator
/// format).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NaaDesignator {
    /// NAA 3h, locally assigned: unique within one site. The first four bits are always
    /// reported as 3h.
    LocallyAssigned([u8; 8]),
    /// NAA 6h, IEEE registered extended: unique in the world. The first four bits are always
    /// reported as 6h.
    RegisteredExtended([u8; 16]),
}

/// What one command may ask for, in logical blocks: the Block Limits VPD page (SBC-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// OPTIMAL TRANSFER LENGTH GRANULARITY, zero for not reported.
    pub optimal_transfer_granularity: u16,
    /// MAXIMUM TRANSFER LENGTH, zero for no limit.
    pub transfer_blocks_max: u32,
    /// OPTIMAL TRANSFER LENGTH, zero for not reported.
    pub optimal_transfer_blocks: u32,
    /// MAXIMUM UNMAP LBA COUNT: the blocks of all descriptors together.
    pub unmap_blocks_max: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
    pub unmap_descriptors_max: u32,
    /// OPTIMAL UNMAP GRANULARITY, zero for not reported.
    pub unmap_granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT, `None` for not valid.
    pub unmap_alignment: Option<u32>,
    /// MAXIMUM WRITE SAME LENGTH, zero for no limit.
    pub write_same_blocks_max: u64,
    /// WSNZ: WRITE SAME of zero blocks is an error instead of "up to the last block".
    pub write_same_needs_length: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH, zero for not supported.
    pub compare_and_write_blocks_max: u8,
}

/// What the medium is (MEDIUM ROTATION RATE, SBC-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// 0001h: a medium that does not rotate.
    NonRotating,
    /// 0000h.
    NotReported,
    /// Revolutions per minute, 0401h to FFFEh.
    PerMinute(u16),
}

/// A target port, for the designators of the Device Identification VPD page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPort {
    /// The SCSI device name of the target, UTF-8.
    pub device_name: String,
    /// The SCSI name of the port, UTF-8, such as `iqn.2020-01.example:disk,t,0x0001`.
    pub name: String,
    /// RELATIVE TARGET PORT IDENTIFIER, not zero, unique over all nodes that serve the unit.
    pub relative_port: u16,
    /// TARGET PORT GROUP.
    pub port_group: u16,
}

impl UnitModel {
    /// Whether `extent` is inside of the logical unit. An empty extent may lie just behind the
    /// last block.
    pub fn contains(&self, extent: BlockRange) -> bool {
        match extent.lba.0.checked_add(extent.blocks.0) {
            Some(end) => end <= self.blocks.0,
            None => false,
        }
    }

    /// The address of the last block; zero also for a unit without blocks.
    pub fn last_lba(&self) -> Lba {
        Lba(self.blocks.0.saturating_sub(1))
    }

    /// The format of sense data that go with a CHECK CONDITION status (D_SENSE of the Control mode
    /// page, SPC-4).
    pub fn sense_format(&self) -> SenseFormat {
        if self.mode.current.descriptor_sense {
            SenseFormat::Descriptor
        } else {
            SenseFormat::Fixed
        }
    }
}

impl Limits {
    /// The limits that `units::limits` sets, for blocks of this size.
    ///
    /// `physical_block_exponent` gives the granularities: a transfer or an unmap of less than a
    /// physical block costs the medium a read first.
    pub fn new(block_size: BlockSize, physical_block_exponent: u8) -> Self {
        let blocks = |bytes: u64| block_size.blocks_in(bytes).0;
        let physical_blocks = 1_u16.checked_shl(physical_block_exponent.into()).unwrap_or(0);
        let compare_and_write_blocks = blocks(limits::COMPARE_AND_WRITE_BYTES_MAX.into());
        // The field is one byte wide, so blocks of 512 bytes reach it before our own limit.
        let compare_and_write_blocks = u8::try_from(compare_and_write_blocks).unwrap_or(u8::MAX);
        Self {
            optimal_transfer_granularity: physical_blocks,
            transfer_blocks_max: saturating_u32(blocks(limits::TRANSFER_BYTES_MAX)),
            optimal_transfer_blocks: saturating_u32(blocks(limits::BURST_LENGTH_MAX.into())),
            unmap_blocks_max: saturating_u32(blocks(limits::UNMAP_BYTES_MAX)),
            unmap_descriptors_max: limits::UNMAP_DESCRIPTORS_MAX,
            unmap_granularity: physical_blocks.into(),
            unmap_alignment: None,
            write_same_blocks_max: blocks(limits::WRITE_SAME_BYTES_MAX),
            write_same_needs_length: true,
            compare_and_write_blocks_max: compare_and_write_blocks,
        }
    }
}
