//! The parameter data of REPORT LUNS (SPC-4).

use units::{Lun, len_u32};

use crate::plan::truncated;
use crate::sense::Sense;

/// The LUN list for `select_report`, cut to the allocation length. `luns` are those that the
/// nexus may see; none of them is a well known, administrative or subsidiary logical unit.
///
/// # Errors
/// INVALID FIELD IN CDB for a reserved `select_report`.
pub fn report_luns(
    select_report: u8,
    luns: &[Lun],
    allocation_length: u32,
) -> Result<Vec<u8>, Sense> {
    let luns = match select_report {
        // Without well known logical units, all of them, and all outside of conglomerates.
        0x00 | 0x02 | 0x11 => luns,
        // Only well known, only administrative, only subsidiary.
        0x01 | 0x10 | 0x12 => &[],
        _ => return Err(Sense::invalid_field_in_cdb(2, None)),
    };
    // The callers' tables are bounded by LUNS_PER_TARGET_MAX.
    let length = len_u32(luns.len() * 8);
    let mut data = Vec::with_capacity(8 + luns.len() * 8);
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(&[0; 4]);
    for lun in luns {
        data.extend_from_slice(&lun.0.to_be_bytes());
    }
    Ok(truncated(data, allocation_length))
}
