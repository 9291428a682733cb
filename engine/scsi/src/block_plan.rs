//! Plans of the commands that work on logical blocks (SBC-3).
//!
//! The order of the checks is the same everywhere: may the unit be written, is the range inside
//! of it, is the length within its limits. Only then does an empty extent end with GOOD.

use units::{BlockCount, Lba};

use crate::command::{
    BlockRange, MediumAccess, PowerCondition, StartStopUnit, VerifyBytes, WriteSame,
};
use crate::plan::Plan;
use crate::sense::Sense;
use crate::unit_model::UnitModel;

/// SBC-3, READ.
pub(crate) fn read(access: MediumAccess, lu: &UnitModel) -> Result<Plan, Sense> {
    let MediumAccess { extent, fua, dpo } = access;
    check_transfer(extent, lu)?;
    Ok(unless_empty(extent, Plan::Read { extent, fua, dpo }))
}

/// SBC-3, WRITE.
pub(crate) fn write(access: MediumAccess, lu: &UnitModel) -> Result<Plan, Sense> {
    let MediumAccess { extent, fua, dpo } = access;
    check_writable(lu)?;
    check_transfer(extent, lu)?;
    Ok(unless_empty(extent, Plan::Write { extent, fua, dpo }))
}

/// SBC-3, VERIFY.
pub(crate) fn verify(
    extent: BlockRange,
    bytes: VerifyBytes,
    dpo: bool,
    lu: &UnitModel,
) -> Result<Plan, Sense> {
    check_transfer(extent, lu)?;
    Ok(unless_empty(extent, Plan::Verify { extent, bytes, dpo }))
}

/// SBC-3, WRITE AND VERIFY.
pub(crate) fn write_and_verify(
    extent: BlockRange,
    bytes: VerifyBytes,
    dpo: bool,
    lu: &UnitModel,
) -> Result<Plan, Sense> {
    check_writable(lu)?;
    check_transfer(extent, lu)?;
    Ok(unless_empty(extent, Plan::WriteAndVerify { extent, bytes, dpo }))
}

/// SBC-3, WRITE SAME.
pub(crate) fn write_same(request: WriteSame, lu: &UnitModel) -> Result<Plan, Sense> {
    check_writable(lu)?;
    // ANCHOR needs UNMAP and ANC_SUP, and no backend anchors blocks (SBC-3).
    if request.anchor {
        return Err(Sense::invalid_field_in_cdb(1, Some(4)));
    }
    if request.unmap && !lu.thin {
        return Err(Sense::invalid_field_in_cdb(1, Some(3)));
    }
    check_range(request.extent, lu)?;
    if request.extent.blocks.0 == 0 && lu.limits.write_same_needs_length {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    }
    let extent = to_the_end_if_empty(request.extent, lu);
    let blocks_max = lu.limits.write_same_blocks_max;
    if blocks_max != 0 && extent.blocks.0 > blocks_max {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    }
    let plan = Plan::WriteSame { extent, unmap: request.unmap, no_data_out: request.no_data_out };
    Ok(unless_empty(extent, plan))
}

/// SBC-3, SYNCHRONIZE CACHE.
pub(crate) fn synchronize_cache(
    extent: BlockRange,
    immediate: bool,
    lu: &UnitModel,
) -> Result<Plan, Sense> {
    check_range(extent, lu)?;
    let extent = to_the_end_if_empty(extent, lu);
    Ok(unless_empty(extent, Plan::SynchronizeCache { extent, immediate }))
}

/// SBC-3, PRE-FETCH: GOOD says that the blocks did not all fit into the cache, which is true of a
/// cache that is not ours to fill; CONDITION MET would promise that they did.
pub(crate) fn pre_fetch(extent: BlockRange, lu: &UnitModel) -> Result<Plan, Sense> {
    check_range(extent, lu)?;
    Ok(Plan::Good)
}

/// SBC-3, GET LBA STATUS: the starting address must be the address of a block.
pub(crate) fn lba_status(lba: Lba, allocation_length: u32, lu: &UnitModel) -> Result<Plan, Sense> {
    check_range(BlockRange { lba, blocks: BlockCount(1) }, lu)?;
    Ok(Plan::GetLbaStatus { lba, allocation_length })
}

/// SBC-3, START STOP UNIT. A unit that many hosts share is always active: stopping it flushes its
/// cache, and no more. Power conditions that it does not have are refused.
pub(crate) fn start_stop(request: StartStopUnit, lu: &UnitModel) -> Result<Plan, Sense> {
    match request.power_condition {
        PowerCondition::StartValid => {}
        // Both leave it where it is; START and LOEJ are ignored with them.
        PowerCondition::Active | PowerCondition::LogicalUnitControl => return Ok(Plan::Good),
        PowerCondition::Idle
        | PowerCondition::Standby
        | PowerCondition::ForceIdle
        | PowerCondition::ForceStandby => return Err(Sense::invalid_field_in_cdb(4, Some(7))),
    }
    if request.load_eject {
        return Err(Sense::invalid_field_in_cdb(4, Some(1)));
    }
    if request.start || request.no_flush {
        return Ok(Plan::Good);
    }
    let whole = BlockRange { lba: Lba(0), blocks: lu.blocks };
    synchronize_cache(whole, request.immediate, lu)
}

/// Whether anything may be written (SWP: SPC-4, Control mode page).
pub(crate) fn check_writable(lu: &UnitModel) -> Result<(), Sense> {
    if lu.read_only {
        Err(Sense::WRITE_PROTECTED)
    } else if lu.mode.current.software_write_protect {
        Err(Sense::LOGICAL_UNIT_SOFTWARE_WRITE_PROTECTED)
    } else {
        Ok(())
    }
}

pub(crate) fn check_range(extent: BlockRange, lu: &UnitModel) -> Result<(), Sense> {
    if lu.contains(extent) { Ok(()) } else { Err(Sense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE) }
}

/// The range, and MAXIMUM TRANSFER LENGTH (SBC-3, Block Limits VPD page).
fn check_transfer(extent: BlockRange, lu: &UnitModel) -> Result<(), Sense> {
    check_range(extent, lu)?;
    let blocks_max = u64::from(lu.limits.transfer_blocks_max);
    if blocks_max != 0 && extent.blocks.0 > blocks_max {
        return Err(Sense::INVALID_FIELD_IN_CDB);
    }
    Ok(())
}

/// Zero blocks mean "up to the last one" for the commands that say so. The extent has passed
/// `check_range`, so its address is at most the capacity.
fn to_the_end_if_empty(extent: BlockRange, lu: &UnitModel) -> BlockRange {
    if extent.blocks.0 != 0 {
        return extent;
    }
    BlockRange { lba: extent.lba, blocks: BlockCount(lu.blocks.0.saturating_sub(extent.lba.0)) }
}

pub(crate) fn unless_empty(extent: BlockRange, plan: Plan) -> Plan {
    if extent.blocks.0 == 0 { Plan::Good } else { plan }
}
