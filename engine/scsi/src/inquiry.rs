//! INQUIRY: the standard data (SPC-4, standard INQUIRY data) and the way to the VPD pages.

use crate::command::Inquiry;
use crate::plan::truncated;
use crate::sense::Sense;
use crate::unit_model::UnitModel;
use crate::vpd;

/// The answer to INQUIRY, cut to the allocation length. Without a logical unit at the LUN the
/// peripheral qualifier says so, and that is not an error (SPC-4, INQUIRY).
///
/// # Errors
/// INVALID FIELD IN CDB for a vital product data page that there is not.
pub fn inquiry(request: &Inquiry, lu: Option<&UnitModel>) -> Result<Vec<u8>, Sense> {
    let data = match (request.page, lu) {
        (None, lu) => standard_data(lu),
        (Some(page), Some(lu)) => vpd::page(page, lu)?,
        (Some(page), None) => vpd::page_without_logical_unit(page)?,
    };
    Ok(truncated(data, request.allocation_length.into()))
}

/// The 96 bytes of SPC-4, standard INQUIRY data format.
fn standard_data(lu: Option<&UnitModel>) -> Vec<u8> {
    let peripheral = if lu.is_some() { DIRECT_ACCESS_BLOCK_DEVICE } else { NO_DEVICE };
    let mut data = vec![
        peripheral, 0x00, // RMB: not removable
        0x06, // VERSION: SPC-4
        0x12, // HISUP, RESPONSE DATA FORMAT 2
        91,   // ADDITIONAL LENGTH: what follows byte 4
        0x00, // SCCS, TPGS, 3PC and PROTECT: none of them
        0x00, // ENCSERV, MULTIP: neither
        0x02, // CMDQUE: commands are queued
    ];
    match lu {
        Some(lu) => {
            data.extend_from_slice(&lu.identity.vendor);
            data.extend_from_slice(&lu.identity.product);
            data.extend_from_slice(&lu.identity.revision);
        }
        None => data.extend_from_slice(&[b' '; 28]),
    }
    data.resize(VERSION_DESCRIPTORS_AT, 0);
    for version in VERSION_DESCRIPTORS {
        data.extend_from_slice(&version.to_be_bytes());
    }
    data.resize(STANDARD_DATA_BYTES, 0);
    data
}

/// PERIPHERAL QUALIFIER 000b and device type 00h.
pub(crate) const DIRECT_ACCESS_BLOCK_DEVICE: u8 = 0x00;

/// PERIPHERAL QUALIFIER 011b and device type 1Fh: there can be no device at this LUN.
pub(crate) const NO_DEVICE: u8 = 0x7f;

/// SAM-5, iSCSI, SPC-4 and SBC-3, no version claimed (SPC-4, version descriptor values).
const VERSION_DESCRIPTORS: [u16; 4] = [0x00a0, 0x0960, 0x0460, 0x04c0];

const VERSION_DESCRIPTORS_AT: usize = 58;
const STANDARD_DATA_BYTES: usize = 96;
