//! READ CAPACITY (10) and (16).

use units::{Lba, saturating_u32};

use crate::plan::truncated;
use crate::sense::Sense;
use crate::unit_model::UnitModel;

/// The 8 bytes of SBC-3, READ CAPACITY (10). An address without PMI is an error; with PMI the
/// answer is the last block of the unit, because no delay separates its blocks.
pub(crate) fn read_capacity_10(
    lba: Lba,
    partial_medium: bool,
    lu: &UnitModel,
) -> Result<Vec<u8>, Sense> {
    if lba.0 != 0 && !partial_medium {
        return Err(Sense::invalid_field_in_cdb(2, None));
    }
    if partial_medium && lba.0 > lu.last_lba().0 {
        return Err(Sense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
    }
    // FFFFFFFFh: READ CAPACITY (16) is needed.
    let mut data = saturating_u32(lu.last_lba().0).to_be_bytes().to_vec();
    data.extend_from_slice(&lu.block_size.bytes().to_be_bytes());
    Ok(data)
}

/// The 32 bytes of SBC-3, READ CAPACITY (16), cut to the allocation length. PROT_EN and P_TYPE are
/// zero: no protection information.
pub(crate) fn read_capacity_16(allocation_length: u32, lu: &UnitModel) -> Vec<u8> {
    let mut data = Vec::with_capacity(PARAMETER_DATA_BYTES);
    data.extend_from_slice(&lu.last_lba().0.to_be_bytes());
    data.extend_from_slice(&lu.block_size.bytes().to_be_bytes());
    data.extend_from_slice(&[0x00, lu.physical_block_exponent & 0x0f]);
    let provisioning =
        (u16::from(lu.thin) << 15) | (u16::from(lu.thin && lu.reads_zero_after_unmap) << 14);
    let alignment = provisioning | (lu.lowest_aligned_lba & 0x3fff);
    data.extend_from_slice(&alignment.to_be_bytes());
    data.resize(PARAMETER_DATA_BYTES, 0);
    truncated(data, allocation_length)
}

const PARAMETER_DATA_BYTES: usize = 32;
