//! From the bytes of a CDB to a [`Command`].
//!
//! Each function here reads one CDB layout; the table in `operations` says which bytes belong
//! to which. Reserved and ignored fields are not looked at. What no logical unit of ours could
//! do (protection information, third-party reservations, ...) is refused already here.

use units::{BlockCount, Lba};

use crate::atomic_update::{AtomicUpdate, UpdateKind};
use crate::command::{
    BlockRange, Command, Inquiry, MediumAccess, ModeSelect, ModeSense, OperationCodesReport,
    PageControl, PowerCondition, ReportingOptions, StartStopUnit, VerifyBytes, WriteSame,
};
use crate::operations;
use crate::sense::Sense;

/// The command in `cdb`; a shorter CDB is filled up with zeros.
///
/// # Errors
/// INVALID COMMAND OPERATION CODE for a command that there is not, INVALID FIELD IN CDB for a
/// service action that there is not, for NACA (SAM-5, CONTROL byte) and for what no logical unit
/// can do.
pub fn parse(cdb: &[u8; 16]) -> Result<Command, Sense> {
    let operations = operations::with_operation_code(cdb[0]);
    let Some(first) = operations.first() else {
        return Err(Sense::INVALID_COMMAND_OPERATION_CODE);
    };
    let operation = match first.service_action {
        None => first,
        Some(_) => operations
            .iter()
            .find(|operation| operation.service_action == Some(cdb[1] & 0x1f))
            .ok_or(Sense::invalid_field_in_cdb(1, Some(4)))?,
    };
    // CONTROL is the last byte of the CDB.
    let control_at = operation.usage().len() - 1;
    if cdb.get(control_at).is_some_and(|control| control & NACA != 0) {
        let byte = units::len_u16(control_at);
        return Err(Sense::invalid_field_in_cdb(byte, Some(2)));
    }
    (operation.parse)(cdb)
}

type Parsed = Result<Command, Sense>;

pub(crate) fn test_unit_ready(_: &[u8; 16]) -> Parsed {
    Ok(Command::TestUnitReady)
}

pub(crate) fn request_sense(cdb: &[u8; 16]) -> Parsed {
    let descriptor_format = bit(cdb[1], 0);
    Ok(Command::RequestSense { descriptor_format, allocation_length: cdb[4] })
}

/// SPC-4, INQUIRY. CMDDT is obsolete, and a page code without EVPD an error.
pub(crate) fn inquiry(cdb: &[u8; 16]) -> Parsed {
    if bit(cdb[1], 1) {
        return Err(Sense::invalid_field_in_cdb(1, Some(1)));
    }
    let page = if bit(cdb[1], 0) { Some(cdb[2]) } else { None };
    if page.is_none() && cdb[2] != 0 {
        return Err(Sense::invalid_field_in_cdb(2, None));
    }
    Ok(Command::Inquiry(Inquiry { page, allocation_length: be16(cdb[3], cdb[4]) }))
}

pub(crate) fn mode_select_6(cdb: &[u8; 16]) -> Parsed {
    mode_select(cdb, false, cdb[4].into())
}

pub(crate) fn mode_select_10(cdb: &[u8; 16]) -> Parsed {
    mode_select(cdb, true, be16(cdb[7], cdb[8]))
}

/// SPC-4, MODE SELECT. Without PF the list has a vendor specific form, which we have not; RTD and
/// SP need saved parameters.
fn mode_select(cdb: &[u8; 16], ten_byte: bool, parameter_list_length: u16) -> Parsed {
    if parameter_list_length != 0 && !bit(cdb[1], 4) {
        return Err(Sense::invalid_field_in_cdb(1, Some(4)));
    }
    refuse_bits(cdb, 1, &[1, 0])?;
    Ok(Command::ModeSelect(ModeSelect { ten_byte, parameter_list_length }))
}

pub(crate) fn mode_sense_6(cdb: &[u8; 16]) -> Parsed {
    mode_sense(cdb, false, cdb[4].into())
}

pub(crate) fn mode_sense_10(cdb: &[u8; 16]) -> Parsed {
    mode_sense(cdb, true, be16(cdb[7], cdb[8]))
}

fn mode_sense(cdb: &[u8; 16], ten_byte: bool, allocation_length: u16) -> Parsed {
    let page_control = match cdb[2] >> 6 {
        0 => PageControl::Current,
        1 => PageControl::Changeable,
        2 => PageControl::Default,
        _ => PageControl::Saved,
    };
    Ok(Command::ModeSense(ModeSense {
        ten_byte,
        long_lba_accepted: ten_byte && bit(cdb[1], 4),
        disable_block_descriptors: bit(cdb[1], 3),
        page_control,
        page: cdb[2] & 0x3f,
        subpage: cdb[3],
        allocation_length,
    }))
}

/// SPC-2, RESERVE (6): no third party, no extents.
pub(crate) fn reserve_6(cdb: &[u8; 16]) -> Parsed {
    refuse_bits(cdb, 1, &[4, 0])?;
    Ok(Command::Reserve)
}

/// SPC-2, RELEASE (6).
pub(crate) fn release_6(cdb: &[u8; 16]) -> Parsed {
    refuse_bits(cdb, 1, &[4, 0])?;
    Ok(Command::Release)
}

/// SPC-2, RESERVE (10): LONGID goes with a third party.
pub(crate) fn reserve_10(cdb: &[u8; 16]) -> Parsed {
    refuse_bits(cdb, 1, &[4, 1, 0])?;
    Ok(Command::Reserve)
}

/// SPC-2, RELEASE (10).
pub(crate) fn release_10(cdb: &[u8; 16]) -> Parsed {
    refuse_bits(cdb, 1, &[4, 1, 0])?;
    Ok(Command::Release)
}

/// SBC-3, START STOP UNIT.
pub(crate) fn start_stop_unit(cdb: &[u8; 16]) -> Parsed {
    let power_condition = match cdb[4] >> 4 {
        0x0 => PowerCondition::StartValid,
        0x1 => PowerCondition::Active,
        0x2 => PowerCondition::Idle,
        0x3 => PowerCondition::Standby,
        0x7 => PowerCondition::LogicalUnitControl,
        0xa => PowerCondition::ForceIdle,
        0xb => PowerCondition::ForceStandby,
        _ => return Err(Sense::invalid_field_in_cdb(4, Some(7))),
    };
    Ok(Command::StartStopUnit(StartStopUnit {
        immediate: bit(cdb[1], 0),
        power_condition,
        no_flush: bit(cdb[4], 2),
        load_eject: bit(cdb[4], 1),
        start: bit(cdb[4], 0),
    }))
}

/// SPC-4, SEND DIAGNOSTIC: only the default self-test, which has nothing to find, and no parameter
/// list.
pub(crate) fn send_diagnostic(cdb: &[u8; 16]) -> Parsed {
    if cdb[1] & 0xe0 != 0 {
        return Err(Sense::invalid_field_in_cdb(1, Some(7)));
    }
    if be16(cdb[3], cdb[4]) != 0 {
        return Err(Sense::invalid_field_in_cdb(3, None));
    }
    Ok(Command::SendDiagnostic)
}

pub(crate) fn read_capacity_10(cdb: &[u8; 16]) -> Parsed {
    let lba = Lba(be32([cdb[2], cdb[3], cdb[4], cdb[5]]).into());
    Ok(Command::ReadCapacity10 { lba, partial_medium: bit(cdb[8], 0) })
}

pub(crate) fn read_capacity_16(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::ReadCapacity16 { allocation_length: be32([cdb[10], cdb[11], cdb[12], cdb[13]]) })
}

/// SBC-4, GET LBA STATUS: of the report types only 00h, all of the blocks.
pub(crate) fn get_lba_status(cdb: &[u8; 16]) -> Parsed {
    if cdb[14] != 0 {
        return Err(Sense::invalid_field_in_cdb(14, None));
    }
    let BlockRange { lba, blocks: _ } = extent_16(cdb);
    let allocation_length = be32([cdb[10], cdb[11], cdb[12], cdb[13]]);
    Ok(Command::GetLbaStatus { lba, allocation_length })
}

pub(crate) fn read_6(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::Read(MediumAccess { extent: extent_6(cdb), fua: false, dpo: false }))
}

pub(crate) fn read_10(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::Read(medium_access(cdb, extent_10(cdb))?))
}

pub(crate) fn read_12(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::Read(medium_access(cdb, extent_12(cdb))?))
}

pub(crate) fn read_16(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::Read(medium_access(cdb, extent_16(cdb))?))
}

pub(crate) fn write_6(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::Write(MediumAccess { extent: extent_6(cdb), fua: false, dpo: false }))
}

pub(crate) fn write_10(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::Write(medium_access(cdb, extent_10(cdb))?))
}

pub(crate) fn write_12(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::Write(medium_access(cdb, extent_12(cdb))?))
}

pub(crate) fn write_16(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::Write(medium_access(cdb, extent_16(cdb))?))
}

pub(crate) fn compare_and_write(cdb: &[u8; 16]) -> Parsed {
    let BlockRange { lba, blocks: _ } = extent_16(cdb);
    let extent = BlockRange { lba, blocks: BlockCount(cdb[13].into()) };
    atomic_update(UpdateKind::CompareAndWrite, cdb, extent)
}

pub(crate) fn or_write(cdb: &[u8; 16]) -> Parsed {
    atomic_update(UpdateKind::OrWrite, cdb, extent_16(cdb))
}

fn atomic_update(kind: UpdateKind, cdb: &[u8; 16], extent: BlockRange) -> Parsed {
    let access = medium_access(cdb, extent)?;
    Ok(Command::AtomicUpdate(AtomicUpdate { kind, access }))
}

pub(crate) fn verify_10(cdb: &[u8; 16]) -> Parsed {
    verify(cdb, extent_10(cdb))
}

pub(crate) fn verify_12(cdb: &[u8; 16]) -> Parsed {
    verify(cdb, extent_12(cdb))
}

pub(crate) fn verify_16(cdb: &[u8; 16]) -> Parsed {
    verify(cdb, extent_16(cdb))
}

/// SBC-3, VERIFY: BYTCHK 10b is reserved.
fn verify(cdb: &[u8; 16], extent: BlockRange) -> Parsed {
    refuse_protection(cdb)?;
    let bytes = match byte_check(cdb) {
        0 => VerifyBytes::None,
        1 => VerifyBytes::Compare,
        3 => VerifyBytes::CompareOneBlock,
        _ => return Err(Sense::invalid_field_in_cdb(1, Some(2))),
    };
    Ok(Command::Verify { extent, bytes, dpo: bit(cdb[1], 4) })
}

pub(crate) fn write_and_verify_10(cdb: &[u8; 16]) -> Parsed {
    write_and_verify(cdb, extent_10(cdb))
}

pub(crate) fn write_and_verify_12(cdb: &[u8; 16]) -> Parsed {
    write_and_verify(cdb, extent_12(cdb))
}

pub(crate) fn write_and_verify_16(cdb: &[u8; 16]) -> Parsed {
    write_and_verify(cdb, extent_16(cdb))
}

/// SBC-3, WRITE AND VERIFY: BYTCHK 10b and 11b are reserved.
fn write_and_verify(cdb: &[u8; 16], extent: BlockRange) -> Parsed {
    refuse_protection(cdb)?;
    let bytes = match byte_check(cdb) {
        0 => VerifyBytes::None,
        1 => VerifyBytes::Compare,
        _ => return Err(Sense::invalid_field_in_cdb(1, Some(2))),
    };
    Ok(Command::WriteAndVerify { extent, bytes, dpo: bit(cdb[1], 4) })
}

pub(crate) fn pre_fetch_10(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::PreFetch { extent: extent_10(cdb), immediate: bit(cdb[1], 1) })
}

pub(crate) fn pre_fetch_16(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::PreFetch { extent: extent_16(cdb), immediate: bit(cdb[1], 1) })
}

pub(crate) fn synchronize_cache_10(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::SynchronizeCache { extent: extent_10(cdb), immediate: bit(cdb[1], 1) })
}

pub(crate) fn synchronize_cache_16(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::SynchronizeCache { extent: extent_16(cdb), immediate: bit(cdb[1], 1) })
}

pub(crate) fn write_same_10(cdb: &[u8; 16]) -> Parsed {
    write_same(cdb, extent_10(cdb), false)
}

pub(crate) fn write_same_16(cdb: &[u8; 16]) -> Parsed {
    write_same(cdb, extent_16(cdb), bit(cdb[1], 0))
}

/// SBC-3, WRITE SAME. PBDATA and LBDATA are obsolete, but who sets them wants other data on the
/// medium than the block, so they are refused rather than ignored.
fn write_same(cdb: &[u8; 16], extent: BlockRange, no_data_out: bool) -> Parsed {
    refuse_protection(cdb)?;
    refuse_bits(cdb, 1, &[2, 1])?;
    let (anchor, unmap) = (bit(cdb[1], 4), bit(cdb[1], 3));
    Ok(Command::WriteSame(WriteSame { extent, unmap, anchor, no_data_out }))
}

pub(crate) fn unmap(cdb: &[u8; 16]) -> Parsed {
    let parameter_list_length = be16(cdb[7], cdb[8]);
    Ok(Command::Unmap { anchor: bit(cdb[1], 0), parameter_list_length })
}

pub(crate) fn report_luns(cdb: &[u8; 16]) -> Parsed {
    let allocation_length = be32([cdb[6], cdb[7], cdb[8], cdb[9]]);
    Ok(Command::ReportLuns { select_report: cdb[2], allocation_length })
}

/// SPC-4, REPORT SUPPORTED OPERATION CODES.
pub(crate) fn report_supported_operation_codes(cdb: &[u8; 16]) -> Parsed {
    let options = match cdb[2] & 0x07 {
        0 => ReportingOptions::All,
        1 => ReportingOptions::OperationCode,
        2 => ReportingOptions::ServiceAction,
        3 => ReportingOptions::Either,
        _ => return Err(Sense::invalid_field_in_cdb(2, Some(2))),
    };
    Ok(Command::ReportSupportedOperationCodes(OperationCodesReport {
        timeouts: bit(cdb[2], 7),
        options,
        operation_code: cdb[3],
        service_action: be16(cdb[4], cdb[5]),
        allocation_length: be32([cdb[6], cdb[7], cdb[8], cdb[9]]),
    }))
}

pub(crate) fn report_supported_task_management_functions(cdb: &[u8; 16]) -> Parsed {
    Ok(Command::ReportSupportedTaskManagementFunctions {
        extended: bit(cdb[2], 7),
        allocation_length: be32([cdb[6], cdb[7], cdb[8], cdb[9]]),
    })
}

/// FUA and DPO, in the same place in all CDBs of 10 bytes and more.
fn medium_access(cdb: &[u8; 16], extent: BlockRange) -> Result<MediumAccess, Sense> {
    refuse_protection(cdb)?;
    Ok(MediumAccess { extent, fua: bit(cdb[1], 3), dpo: bit(cdb[1], 4) })
}

/// RDPROTECT, WRPROTECT, ORPROTECT or VRPROTECT: no unit is formatted with protection
/// information, so only zero is right (SBC-3, protection types).
fn refuse_protection(cdb: &[u8; 16]) -> Result<(), Sense> {
    if cdb[1] & 0xe0 == 0 { Ok(()) } else { Err(Sense::invalid_field_in_cdb(1, Some(7))) }
}

/// Refuses the first of these bits of byte `at` that is set.
fn refuse_bits(cdb: &[u8; 16], at: u16, bits: &[u8]) -> Result<(), Sense> {
    let byte = cdb.get(usize::from(at)).copied().unwrap_or(0);
    match bits.iter().find(|&&number| bit(byte, number)) {
        Some(&number) => Err(Sense::invalid_field_in_cdb(at, Some(number))),
        None => Ok(()),
    }
}

/// BYTCHK.
fn byte_check(cdb: &[u8; 16]) -> u8 {
    (cdb[1] >> 1) & 0x03
}

/// 21 bits of address; a TRANSFER LENGTH of zero is 256 blocks (SBC-2, READ (6)).
fn extent_6(cdb: &[u8; 16]) -> BlockRange {
    let lba = be32([0, cdb[1] & 0x1f, cdb[2], cdb[3]]);
    let blocks = if cdb[4] == 0 { 256 } else { cdb[4].into() };
    BlockRange { lba: Lba(lba.into()), blocks: BlockCount(blocks) }
}

fn extent_10(cdb: &[u8; 16]) -> BlockRange {
    let lba = be32([cdb[2], cdb[3], cdb[4], cdb[5]]);
    BlockRange { lba: Lba(lba.into()), blocks: BlockCount(be16(cdb[7], cdb[8]).into()) }
}

fn extent_12(cdb: &[u8; 16]) -> BlockRange {
    let lba = be32([cdb[2], cdb[3], cdb[4], cdb[5]]);
    let blocks = be32([cdb[6], cdb[7], cdb[8], cdb[9]]);
    BlockRange { lba: Lba(lba.into()), blocks: BlockCount(blocks.into()) }
}

fn extent_16(cdb: &[u8; 16]) -> BlockRange {
    let lba = [cdb[2], cdb[3], cdb[4], cdb[5], cdb[6], cdb[7], cdb[8], cdb[9]];
    let blocks = be32([cdb[10], cdb[11], cdb[12], cdb[13]]);
    BlockRange { lba: Lba(u64::from_be_bytes(lba)), blocks: BlockCount(blocks.into()) }
}

const fn bit(byte: u8, number: u8) -> bool {
    byte & (1 << number) != 0
}

const fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

const fn be32(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

/// Normal ACA, in the CONTROL byte (SAM-5): auto contingent allegiance is not supported.
const NACA: u8 = 0x04;
