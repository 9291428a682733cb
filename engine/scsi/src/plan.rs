//! From a command and a logical unit to what has to be done.
//!
//! Everything that can be refused without touching the medium is refused here, before a buffer
//! is lent or data are asked for.

use units::{Lba, limits};

use crate::atomic_update::{self, UpdateKind};
use crate::block_plan;
use crate::capacity;
use crate::command::{BlockRange, Command, ModeSelect, VerifyBytes};
use crate::inquiry::inquiry;
use crate::mode::{self, ModeParameters};
use crate::operation_codes;
use crate::sense::{Sense, SenseFormat, request_sense};
use crate::unit_model::UnitModel;
use crate::unmap;

/// What the executor has to do. Every extent is inside of the logical unit, within its limits
/// and not empty: a transfer of zero blocks is [`Plan::Good`] at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Read the blocks, combine them with data-out and write the result, as one uninterrupted
    /// series.
    AtomicUpdate {
        /// How to combine them.
        kind: UpdateKind,
        /// The blocks.
        extent: BlockRange,
        /// Durable before status.
        fua: bool,
        /// Do not keep the blocks in a cache.
        dpo: bool,
    },
    /// Status CHECK CONDITION with this sense, before any data.
    CheckCondition(Sense),
    /// Parameter data, cut to the allocation length already; then status GOOD.
    DataIn(Vec<u8>),
    /// Find the allocation of the blocks from `lba` on, then answer with
    /// [`crate::lba_status_data`].
    GetLbaStatus {
        /// The first block.
        lba: Lba,
        /// ALLOCATION LENGTH in bytes.
        allocation_length: u32,
    },
    /// Status GOOD without data.
    Good,
    /// The new mode parameters of the logical unit. Every other nexus gets the unit attention
    /// [`Sense::MODE_PARAMETERS_CHANGED`]. If the write cache went off, flush it before status.
    ModeChange(ModeParameters),
    /// The command has a parameter list of `length` bytes: when it is here, call
    /// [`parameters`] with it.
    Parameters {
        /// PARAMETER LIST LENGTH in bytes: at least 1, at most
        /// [`limits::PARAMETER_LIST_BYTES_MAX`].
        length: u32,
        /// How to read it.
        kind: ParameterKind,
    },
    /// Read the extent.
    Read {
        /// The blocks.
        extent: BlockRange,
        /// From the medium, not from a volatile cache.
        fua: bool,
        /// Do not keep the blocks in a cache.
        dpo: bool,
    },
    /// End the reservation of this nexus, if it holds one; GOOD in any case (SPC-2, RELEASE).
    Release,
    /// Answer with [`crate::report_luns`] and the LUNs that this nexus may see.
    ReportLuns {
        /// SELECT REPORT.
        select_report: u8,
        /// ALLOCATION LENGTH in bytes.
        allocation_length: u32,
    },
    /// Answer with [`request_sense`] and what is pending for this nexus.
    RequestSense {
        /// The format that DESC asks for.
        format: SenseFormat,
        /// ALLOCATION LENGTH in bytes.
        allocation_length: u8,
    },
    /// Reserve the logical unit for this nexus (SPC-2, RESERVE).
    Reserve,
    /// Flush what is volatile. The extent is inside of the unit; flushing more is allowed.
    SynchronizeCache {
        /// The blocks.
        extent: BlockRange,
        /// Status before the flush has ended.
        immediate: bool,
    },
    /// Deallocate the extents. Blocks may stay allocated, but then they
    /// read as zeros if the logical unit reports LBPRZ.
    Unmap(Vec<BlockRange>),
    /// Check the blocks on the medium.
    Verify {
        /// The blocks.
        extent: BlockRange,
        /// What to compare them with.
        bytes: VerifyBytes,
        /// Do not keep the blocks in a cache.
        dpo: bool,
    },
    /// Write the extent.
    Write {
        /// The blocks.
        extent: BlockRange,
        /// Durable before status.
        fua: bool,
        /// Do not keep the blocks in a cache.
        dpo: bool,
    },
    /// Write the extent, make it durable and check it on the medium.
    WriteAndVerify {
        /// The blocks.
        extent: BlockRange,
        /// `Compare` reads the blocks back and compares them with what was written.
        bytes: VerifyBytes,
        /// Do not keep the blocks in a cache.
        dpo: bool,
    },
    /// Write one block, or zeros, to every block of the extent.
    WriteSame {
        /// The blocks.
        extent: BlockRange,
        /// Deallocate instead, if the block is all zeros and the medium can (SBC-3, WRITE SAME).
        unmap: bool,
        /// No data-out; the block is all zeros.
        no_data_out: bool,
    },
}

/// How to read a parameter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Mode parameters.
    ModeSelect(ModeSelect),
    /// UNMAP block descriptors.
    Unmap,
}

/// What `command` means for `lu`.
pub fn plan(command: &Command, lu: &UnitModel) -> Plan {
    checked_plan(command, lu).unwrap_or_else(Plan::CheckCondition)
}

fn checked_plan(command: &Command, lu: &UnitModel) -> Result<Plan, Sense> {
    match *command {
        Command::AtomicUpdate(update) => atomic_update::plan(update, lu),
        Command::GetLbaStatus { lba, allocation_length } => {
            block_plan::lba_status(lba, allocation_length, lu)
        }
        Command::Inquiry(request) => inquiry(&request, Some(lu)).map(Plan::DataIn),
        Command::ModeSelect(select) => mode_select(select),
        Command::ModeSense(request) => mode::sense(&request, lu).map(Plan::DataIn),
        Command::PreFetch { extent, .. } => block_plan::pre_fetch(extent, lu),
        Command::Read(access) => block_plan::read(access, lu),
        Command::ReadCapacity10 { lba, partial_medium } => {
            capacity::read_capacity_10(lba, partial_medium, lu).map(Plan::DataIn)
        }
        Command::ReadCapacity16 { allocation_length } => {
            Ok(Plan::DataIn(capacity::read_capacity_16(allocation_length, lu)))
        }
        Command::Release => Ok(Plan::Release),
        Command::ReportLuns { select_report, allocation_length } => {
            Ok(Plan::ReportLuns { select_report, allocation_length })
        }
        Command::ReportSupportedOperationCodes(report) => {
            operation_codes::report(&report, lu).map(Plan::DataIn)
        }
        Command::ReportSupportedTaskManagementFunctions { extended, allocation_length } => Ok(
            Plan::DataIn(operation_codes::task_management_functions(extended, allocation_length)),
        ),
        Command::RequestSense { descriptor_format, allocation_length } => {
            let format = request_format(descriptor_format);
            Ok(Plan::RequestSense { format, allocation_length })
        }
        Command::Reserve => Ok(Plan::Reserve),
        Command::SendDiagnostic | Command::TestUnitReady => Ok(Plan::Good),
        Command::StartStopUnit(request) => block_plan::start_stop(request, lu),
        Command::SynchronizeCache { extent, immediate } => {
            block_plan::synchronize_cache(extent, immediate, lu)
        }
        Command::Unmap { anchor, parameter_list_length } => {
            unmap::plan(anchor, parameter_list_length, lu)
        }
        Command::Verify { extent, bytes, dpo } => block_plan::verify(extent, bytes, dpo, lu),
        Command::Write(access) => block_plan::write(access, lu),
        Command::WriteAndVerify { extent, bytes, dpo } => {
            block_plan::write_and_verify(extent, bytes, dpo, lu)
        }
        Command::WriteSame(request) => block_plan::write_same(request, lu),
    }
}

/// What `command` means at a LUN without a logical unit (SAM-5 and SPC-4, INQUIRY): INQUIRY,
/// REPORT LUNS and REQUEST SENSE are answered, all others refused.
pub fn plan_without_logical_unit(command: &Command) -> Plan {
    match *command {
        Command::Inquiry(request) => {
            inquiry(&request, None).map_or_else(Plan::CheckCondition, Plan::DataIn)
        }
        Command::ReportLuns { select_report, allocation_length } => {
            Plan::ReportLuns { select_report, allocation_length }
        }
        Command::RequestSense { descriptor_format, allocation_length } => {
            let absent = Some(Sense::LOGICAL_UNIT_NOT_SUPPORTED);
            let format = request_format(descriptor_format);
            Plan::DataIn(request_sense(format, absent, allocation_length))
        }
        Command::AtomicUpdate(_)
        | Command::GetLbaStatus { .. }
        | Command::ModeSelect(_)
        | Command::ModeSense(_)
        | Command::PreFetch { .. }
        | Command::Read(_)
        | Command::ReadCapacity10 { .. }
        | Command::ReadCapacity16 { .. }
        | Command::Release
        | Command::ReportSupportedOperationCodes(_)
        | Command::ReportSupportedTaskManagementFunctions { .. }
        | Command::Reserve
        | Command::SendDiagnostic
        | Command::StartStopUnit(_)
        | Command::SynchronizeCache { .. }
        | Command::TestUnitReady
        | Command::Unmap { .. }
        | Command::Verify { .. }
        | Command::Write(_)
        | Command::WriteAndVerify { .. }
        | Command::WriteSame(_) => Plan::CheckCondition(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
    }
}

/// What the parameter list of a [`Plan::Parameters`] means.
///
/// `list` is what arrived, which may be less than was asked for: a structure that it cuts off
/// is an error where the standard says so.
pub fn parameters(kind: &ParameterKind, list: &[u8], lu: &UnitModel) -> Plan {
    match kind {
        ParameterKind::ModeSelect(select) => match mode::select(select, list, lu) {
            Ok(parameters) if parameters == lu.mode.current => Plan::Good,
            Ok(parameters) => Plan::ModeChange(parameters),
            Err(sense) => Plan::CheckCondition(sense),
        },
        ParameterKind::Unmap => match unmap::extents(list, lu) {
            Ok(extents) if extents.is_empty() => Plan::Good,
            Ok(extents) => Plan::Unmap(extents),
            Err(sense) => Plan::CheckCondition(sense),
        },
    }
}

/// MODE SELECT without parameters changes nothing, and is not an error (SPC-4, MODE SELECT).
fn mode_select(select: ModeSelect) -> Result<Plan, Sense> {
    match u32::from(select.parameter_list_length) {
        0 => Ok(Plan::Good),
        // Only the 10-byte form has a length field that reaches so far: bytes 7 and 8.
        length if length > limits::PARAMETER_LIST_BYTES_MAX => {
            Err(Sense::invalid_field_in_cdb(7, None))
        }
        length => Ok(Plan::Parameters { length, kind: ParameterKind::ModeSelect(select) }),
    }
}

const fn request_format(descriptor_format: bool) -> SenseFormat {
    if descriptor_format { SenseFormat::Descriptor } else { SenseFormat::Fixed }
}

/// Truncates parameter data to the allocation length; not an error (SPC-4, allocation length).
pub(crate) fn truncated(mut data: Vec<u8>, allocation_length: u32) -> Vec<u8> {
    data.truncate(units::len_usize(allocation_length));
    data
}
