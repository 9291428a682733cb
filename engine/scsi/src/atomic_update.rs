//! Commands that read blocks, combine them with data-out and write the result as one uninterrupted
//! series: nobody sees or changes the blocks in between.
//!
//! They have one plan. What sets them apart is the [`UpdateKind`], which has all of it here.

use units::{BlockCount, limits};

use crate::block_plan::{check_range, check_writable, unless_empty};
use crate::command::MediumAccess;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::unit_model::UnitModel;

/// The fields of a command that updates blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtomicUpdate {
    /// Which command it is.
    pub kind: UpdateKind,
    /// The blocks.
    pub access: MediumAccess,
}

/// How blocks are updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateKind {
    /// COMPARE AND WRITE (SBC-3): data-out is what to compare with and what to write. A difference
    /// is [`Sense::miscompare`].
    CompareAndWrite,
    /// ORWRITE (16) (SBC-3): data-out is ORed into the blocks.
    OrWrite,
}

impl UpdateKind {
    /// Bytes of data-out for blocks of `bytes` bytes.
    pub const fn data_out_bytes(self, bytes: u64) -> u64 {
        match self {
            Self::CompareAndWrite => bytes.saturating_mul(2),
            Self::OrWrite => bytes,
        }
    }

    /// The most blocks of one command. Zero means that the unit does not have the command (SBC-3,
    /// Block Limits VPD page, MAXIMUM COMPARE AND WRITE LENGTH).
    fn blocks_max(self, lu: &UnitModel) -> BlockCount {
        match self {
            Self::CompareAndWrite => BlockCount(lu.limits.compare_and_write_blocks_max.into()),
            // One buffer, and less than MAXIMUM TRANSFER LENGTH: who holds a range must not wait
            // for further buffers, because those who have them may wait for the range.
            Self::OrWrite => lu.block_size.blocks_in(limits::BURST_LENGTH_MAX.into()),
        }
    }

    /// The byte of the CDB where the count of blocks begins.
    const fn length_at(self) -> u16 {
        match self {
            Self::CompareAndWrite => 13,
            Self::OrWrite => 10,
        }
    }
}

pub(crate) fn plan(update: AtomicUpdate, lu: &UnitModel) -> Result<Plan, Sense> {
    let AtomicUpdate { kind, access: MediumAccess { extent, fua, dpo } } = update;
    let blocks_max = kind.blocks_max(lu);
    if blocks_max.0 == 0 {
        return Err(Sense::INVALID_COMMAND_OPERATION_CODE);
    }
    check_writable(lu)?;
    check_range(extent, lu)?;
    if extent.blocks.0 > blocks_max.0 {
        return Err(Sense::invalid_field_in_cdb(kind.length_at(), None));
    }
    Ok(unless_empty(extent, Plan::AtomicUpdate { kind, extent, fua, dpo }))
}
