//! MODE SENSE (SPC-4).

use units::{len_u8, len_u16, saturating_u32};

use crate::command::{ModeSense, PageControl};
use crate::mode::pages::Page;
use crate::plan::truncated;
use crate::sense::Sense;
use crate::unit_model::UnitModel;

/// The mode parameters that `request` asks for, cut to its allocation length.
///
/// # Errors
/// SAVING PARAMETERS NOT SUPPORTED for saved values; INVALID FIELD IN CDB for a page or subpage
/// that there is not.
pub(crate) fn sense(request: &ModeSense, lu: &UnitModel) -> Result<Vec<u8>, Sense> {
    let pages = pages(request, lu)?;
    let descriptor = block_descriptor(request, lu);
    let long_lba = descriptor.len() == 16;
    let mut data = if request.ten_byte {
        // MODE DATA LENGTH counts what follows it. All pages together have 56 bytes, so that
        // neither header's length field can overflow.
        let length = len_u16(6 + descriptor.len() + pages.len());
        let [high, low] = length.to_be_bytes();
        let descriptor_length = u8::from(!descriptor.is_empty()) * if long_lba { 16 } else { 8 };
        let parameter = device_specific_parameter(lu);
        vec![high, low, MEDIUM_TYPE, parameter, u8::from(long_lba), 0, 0, descriptor_length]
    } else {
        let length = len_u8(3 + descriptor.len() + pages.len());
        let descriptor_length = u8::from(!descriptor.is_empty()) * 8;
        vec![length, MEDIUM_TYPE, device_specific_parameter(lu), descriptor_length]
    };
    data.extend_from_slice(&descriptor);
    data.extend_from_slice(&pages);
    Ok(truncated(data, request.allocation_length.into()))
}

/// The pages that the request names, one after the other.
fn pages(request: &ModeSense, lu: &UnitModel) -> Result<Vec<u8>, Sense> {
    // Only "all subpages" means something where no page has subpages.
    if !matches!(request.subpage, NO_SUBPAGES | ALL_SUBPAGES) {
        return Err(Sense::invalid_field_in_cdb(3, None));
    }
    let bytes = |page: Page| match request.page_control {
        PageControl::Current => Ok(page.bytes(&lu.mode.current)),
        PageControl::Default => Ok(page.bytes(&lu.mode.default)),
        PageControl::Changeable => Ok(page.mask(&lu.mode.changeable())),
        PageControl::Saved => Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED),
    };
    if request.page == ALL_PAGES {
        return Ok(Page::ALL.into_iter().map(bytes).collect::<Result<Vec<_>, _>>()?.concat());
    }
    match Page::from_code(request.page) {
        Some(page) => bytes(page),
        None => Err(Sense::invalid_field_in_cdb(2, Some(5))),
    }
}

/// The device-specific parameter of block devices (SBC-3): WP and DPOFUA.
fn device_specific_parameter(lu: &UnitModel) -> u8 {
    let write_protected = lu.read_only || lu.mode.current.software_write_protect;
    (u8::from(write_protected) << 7) | 0x10
}

/// The block descriptor, empty if the initiator wants none: the long form if it takes it, else the
/// short one, in which a capacity that does not fit is FFFFFFFFh (SBC-3).
fn block_descriptor(request: &ModeSense, lu: &UnitModel) -> Vec<u8> {
    if request.disable_block_descriptors {
        return Vec::new();
    }
    if request.long_lba_accepted {
        return long_descriptor(lu).to_vec();
    }
    short_descriptor(lu).to_vec()
}

/// SBC-3, short LBA mode parameter block descriptor.
pub(super) fn short_descriptor(lu: &UnitModel) -> [u8; 8] {
    let [b0, b1, b2, b3] = saturating_u32(lu.blocks.0).to_be_bytes();
    // A logical block has at most 4096 bytes: 24 bits hold its length.
    let [_, l1, l2, l3] = lu.block_size.bytes().to_be_bytes();
    [b0, b1, b2, b3, 0, l1, l2, l3]
}

/// SBC-3, long LBA mode parameter block descriptor.
pub(super) fn long_descriptor(lu: &UnitModel) -> [u8; 16] {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = lu.blocks.0.to_be_bytes();
    let [l0, l1, l2, l3] = lu.block_size.bytes().to_be_bytes();
    [b0, b1, b2, b3, b4, b5, b6, b7, 0, 0, 0, 0, l0, l1, l2, l3]
}

/// MEDIUM TYPE of all block devices (SBC-3).
pub(super) const MEDIUM_TYPE: u8 = 0x00;
const ALL_PAGES: u8 = 0x3f;
const NO_SUBPAGES: u8 = 0x00;
const ALL_SUBPAGES: u8 = 0xff;
