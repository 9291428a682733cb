//! UNMAP: its CDB and its parameter list (SBC-3, UNMAP).

use units::{BlockCount, Lba, limits};

use crate::block_plan::{check_range, check_writable};
use crate::command::BlockRange;
use crate::plan::{ParameterKind, Plan};
use crate::sense::Sense;
use crate::unit_model::UnitModel;

/// What the CDB means. A unit that is not thinly provisioned does not have the command.
pub(crate) fn plan(
    anchor: bool,
    parameter_list_length: u16,
    lu: &UnitModel,
) -> Result<Plan, Sense> {
    if !lu.thin {
        return Err(Sense::INVALID_COMMAND_OPERATION_CODE);
    }
    check_writable(lu)?;
    if anchor {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)));
    }
    match u32::from(parameter_list_length) {
        0 => Ok(Plan::Good),
        // Less than the header of the list.
        1..8 => Err(Sense::PARAMETER_LIST_LENGTH_ERROR),
        length if length > limits::PARAMETER_LIST_BYTES_MAX => {
            Err(Sense::invalid_field_in_cdb(7, None))
        }
        length => Ok(Plan::Parameters { length, kind: ParameterKind::Unmap }),
    }
}

/// The extents of a parameter list, in its order, without the empty ones.
///
/// A truncated descriptor is ignored, as required by SBC-3.
///
/// # Errors
/// The list is shorter than its header; there are more descriptors or blocks than the unit
/// takes; a descriptor reaches past the last block.
pub(crate) fn extents(list: &[u8], lu: &UnitModel) -> Result<Vec<BlockRange>, Sense> {
    let Some((header, descriptors)) = list.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    };
    let announced = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let descriptors = descriptors.get(..announced).unwrap_or(descriptors);
    let (descriptors, _cut_off) = descriptors.as_chunks::<DESCRIPTOR_BYTES>();
    if descriptors.len() as u64 > u64::from(lu.limits.unmap_descriptors_max) {
        return Err(Sense::invalid_field_in_parameter_list(2, None));
    }
    let mut extents = Vec::with_capacity(descriptors.len());
    let mut blocks_total = 0_u64;
    for descriptor in descriptors {
        let extent = extent(descriptor);
        check_range(extent, lu)?;
        // At most 2^16 / 16 descriptors of 32 bits each: the sum cannot overflow.
        blocks_total += extent.blocks.0;
        if blocks_total > u64::from(lu.limits.unmap_blocks_max) {
            return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST);
        }
        if extent.blocks.0 != 0 {
            extents.push(extent);
        }
    }
    Ok(extents)
}

/// One UNMAP block descriptor (SBC-3).
fn extent(descriptor: &[u8; DESCRIPTOR_BYTES]) -> BlockRange {
    let [l0, l1, l2, l3, l4, l5, l6, l7, b0, b1, b2, b3, ..] = *descriptor;
    BlockRange {
        lba: Lba(u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7])),
        blocks: BlockCount(u32::from_be_bytes([b0, b1, b2, b3]).into()),
    }
}

const HEADER_BYTES: usize = 8;
const DESCRIPTOR_BYTES: usize = 16;
