//! The parameter data of GET LBA STATUS (SBC-3).

use units::{len_u32, saturating_u32};

use crate::command::BlockRange;
use crate::plan::truncated;

/// A run of blocks with the same provisioning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LbaStatus {
    /// The blocks, at most 2^32 - 1; a longer run is reported cut off there.
    pub extent: BlockRange,
    /// What lies behind them.
    pub provisioning: Provisioning,
}

/// PROVISIONING STATUS (SBC-3, LBA status descriptor).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Provisioning {
    /// The blocks have space of their own, or it is not known that they have none.
    Mapped = 0,
    /// Nothing is stored for the blocks.
    Deallocated = 1,
}

/// How many descriptors fit into `allocation_length` bytes: no more have to be found. It is at
/// least one, and never more than one answer of 4 KiB holds, because an initiator that wants to
/// know more asks again from the last block on.
pub fn lba_status_descriptors_max(allocation_length: u32) -> usize {
    let bytes = allocation_length.min(ANSWER_BYTES_MAX).saturating_sub(HEADER_BYTES);
    bytes.div_ceil(DESCRIPTOR_BYTES).max(1) as usize
}

/// The parameter data for consecutive runs, the first of which starts with the block that the
/// command asked for; cut to the allocation length.
pub fn lba_status_data(runs: &[LbaStatus], allocation_length: u32) -> Vec<u8> {
    let runs = runs.get(..lba_status_descriptors_max(allocation_length)).unwrap_or(runs);
    let mut descriptors = Vec::with_capacity(runs.len() * DESCRIPTOR_BYTES as usize);
    for run in runs {
        let blocks = saturating_u32(run.extent.blocks.0);
        descriptors.extend_from_slice(&run.extent.lba.0.to_be_bytes());
        descriptors.extend_from_slice(&blocks.to_be_bytes());
        descriptors.extend_from_slice(&[run.provisioning as u8, 0, 0, 0]);
        if u64::from(blocks) < run.extent.blocks.0 {
            // The next run does not follow on the part that was reported.
            break;
        }
    }
    // PARAMETER DATA LENGTH counts what follows it: 4 reserved bytes and the descriptors,
    // which are bounded by ANSWER_BYTES_MAX.
    let length = len_u32(descriptors.len() + 4);
    let mut data = length.to_be_bytes().to_vec();
    data.extend_from_slice(&[0; 4]);
    data.append(&mut descriptors);
    truncated(data, allocation_length)
}

const HEADER_BYTES: u32 = 8;
const DESCRIPTOR_BYTES: u32 = 16;
const ANSWER_BYTES_MAX: u32 = 4096;
