//! READ and WRITE without anything special, recognised at a glance.
//!
//! Nearly all commands are these. [`crate::parse()`] and [`crate::plan()`] say what they mean; what
//! is found here is the same, only sooner, and whatever is not found here goes their way.

use crate::block_plan::check_writable;
use crate::command::BlockRange;
use crate::unit_model::UnitModel;
use units::{BlockCount, Lba};

/// A READ or WRITE that the logical unit can carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainTransfer {
    /// WRITE, not READ.
    pub write: bool,
    /// The blocks: at least one, inside of the logical unit and within its limits.
    pub extent: BlockRange,
    /// Of a WRITE: durable before status.
    pub fua: bool,
}

impl PlainTransfer {
    /// Finds READ and WRITE of 10 and 16 bytes (SBC-3 5.8, 5.10, 5.33, 5.35) without protection
    /// information, that `lu` takes.
    #[inline]
    pub fn find(cdb: &[u8; 16], lu: &UnitModel) -> Option<Self> {
        let (lba, blocks, control) = match cdb[0] {
            READ_10 | WRITE_10 => (
                u32::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5]]).into(),
                u16::from_be_bytes([cdb[7], cdb[8]]).into(),
                cdb[9],
            ),
            READ_16 | WRITE_16 => (
                u64::from_be_bytes([
                    cdb[2], cdb[3], cdb[4], cdb[5], cdb[6], cdb[7], cdb[8], cdb[9],
                ]),
                u32::from_be_bytes([cdb[10], cdb[11], cdb[12], cdb[13]]).into(),
                cdb[15],
            ),
            _ => return None,
        };
        let write = matches!(cdb[0], WRITE_10 | WRITE_16);
        let blocks_max = match lu.limits.transfer_blocks_max {
            0 => u64::MAX,
            max => max.into(),
        };
        let is_plain = cdb[1] & PROTECT == 0 && control & NACA == 0;
        let is_inside = lu.blocks.0.checked_sub(lba).is_some_and(|left| blocks <= left);
        let is_within = blocks != 0 && blocks <= blocks_max;
        if !is_plain || !is_inside || !is_within || (write && check_writable(lu).is_err()) {
            return None;
        }
        let extent = BlockRange { lba: Lba(lba), blocks: BlockCount(blocks) };
        Some(Self { write, extent, fua: cdb[1] & FUA != 0 })
    }
}

const READ_10: u8 = 0x28;
const WRITE_10: u8 = 0x2a;
const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;

/// RDPROTECT and WRPROTECT.
const PROTECT: u8 = 0xe0;
const FUA: u8 = 0x08;
/// In the CONTROL byte (SAM-5 5.2).
const NACA: u8 = 0x04;
