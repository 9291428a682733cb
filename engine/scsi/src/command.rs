//! Every command that Pollux carries out, as one closed enum.
//!
//! Variants join the CDB sizes of one command: what matters is the meaning, not the width of
//! the fields. Nothing in a `Command` has been checked against a logical unit.

use units::{BlockCount, BlockSize, Lba};

use crate::atomic_update::AtomicUpdate;

/// A run of consecutive logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The first block.
    pub lba: Lba,
    /// How many blocks, zero included.
    pub blocks: BlockCount,
}

/// One command, ready to be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// COMPARE AND WRITE and its like (SBC-3): the kind tells which.
    AtomicUpdate(AtomicUpdate),
    /// GET LBA STATUS (SBC-3).
    GetLbaStatus {
        /// The first block to report.
        lba: Lba,
        /// ALLOCATION LENGTH in bytes.
        allocation_length: u32,
    },
    /// INQUIRY (SPC-4).
    Inquiry(Inquiry),
    /// MODE SELECT (6) and (10) (SPC-4).
    ModeSelect(ModeSelect),
    /// MODE SENSE (6) and (10) (SPC-4).
    ModeSense(ModeSense),
    /// PRE-FETCH (10) and (16) (SBC-3).
    PreFetch {
        /// The blocks; none means up to the last one.
        extent: BlockRange,
        /// IMMED.
        immediate: bool,
    },
    /// READ (6), (10), (12) and (16) (SBC-3; the 6-byte form SBC-2).
    Read(MediumAccess),
    /// READ CAPACITY (10) (SBC-3), with PMI and its LOGICAL BLOCK ADDRESS.
    ReadCapacity10 {
        /// LOGICAL BLOCK ADDRESS, which is zero unless PMI is set.
        lba: Lba,
        /// PMI: partial medium indicator.
        partial_medium: bool,
    },
    /// READ CAPACITY (16) (SBC-3), in which PMI and LOGICAL BLOCK ADDRESS are obsolete.
    ReadCapacity16 {
        /// ALLOCATION LENGTH in bytes.
        allocation_length: u32,
    },
    /// RELEASE (6) and (10) of the whole logical unit (SPC-2).
    Release,
    /// REPORT LUNS (SPC-4).
    ReportLuns {
        /// SELECT REPORT.
        select_report: u8,
        /// ALLOCATION LENGTH in bytes.
        allocation_length: u32,
    },
    /// REPORT SUPPORTED OPERATION CODES (SPC-4).
    ReportSupportedOperationCodes(OperationCodesReport),
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4).
    ReportSupportedTaskManagementFunctions {
        /// REPD: the extended parameter data.
        extended: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation_length: u32,
    },
    /// REQUEST SENSE (SPC-4).
    RequestSense {
        /// DESC: descriptor format instead of fixed format.
        descriptor_format: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation_length: u8,
    },
    /// RESERVE (6) and (10) of the whole logical unit (SPC-2).
    Reserve,
    /// SEND DIAGNOSTIC with the default self-test, or with nothing to do (SPC-4).
    SendDiagnostic,
    /// START STOP UNIT (SBC-3).
    StartStopUnit(StartStopUnit),
    /// SYNCHRONIZE CACHE (10) and (16) (SBC-3).
    SynchronizeCache {
        /// The blocks; none means up to the last one.
        extent: BlockRange,
        /// IMMED: status before the flush has ended.
        immediate: bool,
    },
    /// TEST UNIT READY (SPC-4).
    TestUnitReady,
    /// UNMAP (SBC-3).
    Unmap {
        /// ANCHOR.
        anchor: bool,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_list_length: u16,
    },
    /// VERIFY (10), (12) and (16) (SBC-3).
    Verify {
        /// The blocks.
        extent: BlockRange,
        /// BYTCHK: what they are compared with.
        bytes: VerifyBytes,
        /// DPO: do not keep the blocks in a cache.
        dpo: bool,
    },
    /// WRITE (6), (10), (12) and (16) (SBC-3; the 6-byte form SBC-2).
    Write(MediumAccess),
    /// WRITE AND VERIFY (10), (12) and (16) (SBC-3).
    WriteAndVerify {
        /// The blocks.
        extent: BlockRange,
        /// BYTCHK: what is compared after the write; never `CompareOneBlock`.
        bytes: VerifyBytes,
        /// DPO: do not keep the blocks in a cache.
        dpo: bool,
    },
    /// WRITE SAME (10) and (16) (SBC-3).
    WriteSame(WriteSame),
}

/// The fields that reads and writes of blocks share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediumAccess {
    /// The blocks.
    pub extent: BlockRange,
    /// FUA: the medium itself, not a volatile cache.
    pub fua: bool,
    /// DPO: do not keep the blocks in a cache.
    pub dpo: bool,
}

/// The fields of INQUIRY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// The vital product data page that EVPD asks for; `None` is the standard data.
    pub page: Option<u8>,
    /// ALLOCATION LENGTH in bytes.
    pub allocation_length: u16,
}

/// The fields of MODE SENSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSense {
    /// Whether it is the 10-byte form, which has the longer header.
    pub ten_byte: bool,
    /// LLBAA: the initiator takes the long block descriptor. Only in the 10-byte form.
    pub long_lba_accepted: bool,
    /// DBD: no block descriptor.
    pub disable_block_descriptors: bool,
    /// PC: which values.
    pub page_control: PageControl,
    /// PAGE CODE, 3Fh for all.
    pub page: u8,
    /// SUBPAGE CODE, FFh for all.
    pub subpage: u8,
    /// ALLOCATION LENGTH in bytes.
    pub allocation_length: u16,
}

/// Which values of its mode parameters MODE SENSE asks for (PC, SPC-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageControl {
    /// The values in force.
    Current,
    /// A mask of the bits that MODE SELECT may change.
    Changeable,
    /// The values after a reset.
    Default,
    /// The values that survive a restart.
    Saved,
}

/// The fields of MODE SELECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSelect {
    /// Whether it is the 10-byte form, which has the longer header.
    pub ten_byte: bool,
    /// PARAMETER LIST LENGTH in bytes.
    pub parameter_list_length: u16,
}

/// The fields of REPORT SUPPORTED OPERATION CODES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationCodesReport {
    /// RCTD: with command timeouts descriptors.
    pub timeouts: bool,
    /// REPORTING OPTIONS.
    pub options: ReportingOptions,
    /// REQUESTED OPERATION CODE.
    pub operation_code: u8,
    /// REQUESTED SERVICE ACTION.
    pub service_action: u16,
    /// ALLOCATION LENGTH in bytes.
    pub allocation_length: u32,
}

/// What REPORT SUPPORTED OPERATION CODES reports (REPORTING OPTIONS, SPC-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportingOptions {
    /// 000b: every command.
    All,
    /// 001b: one command that has no service actions.
    OperationCode,
    /// 010b: one service action of a command that has them.
    ServiceAction,
    /// 011b: one command, with or without service action.
    Either,
}

/// The fields of START STOP UNIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartStopUnit {
    /// IMMED: status before the change is complete.
    pub immediate: bool,
    /// POWER CONDITION.
    pub power_condition: PowerCondition,
    /// NO_FLUSH: leave the cache as it is.
    pub no_flush: bool,
    /// LOEJ: load or eject the medium.
    pub load_eject: bool,
    /// START.
    pub start: bool,
}

/// The POWER CONDITION of START STOP UNIT (SBC-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCondition {
    /// 0h: START and LOEJ say what to do.
    StartValid,
    /// 1h.
    Active,
    /// 2h.
    Idle,
    /// 3h.
    Standby,
    /// 7h: the logical unit decides.
    LogicalUnitControl,
    /// Ah.
    ForceIdle,
    /// Bh.
    ForceStandby,
}

/// What VERIFY compares the blocks with (BYTCHK, SBC-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyBytes {
    /// 00b: with nothing; they must be readable.
    None,
    /// 01b: with as many blocks of data-out.
    Compare,
    /// 11b: each with one block of data-out.
    CompareOneBlock,
}

/// The fields of WRITE SAME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteSame {
    /// The blocks; none means up to the last one, where that is allowed.
    pub extent: BlockRange,
    /// UNMAP: deallocate where possible.
    pub unmap: bool,
    /// ANCHOR.
    pub anchor: bool,
    /// NDOB: no data-out; the block is all zeros. Only in the 16-byte form.
    pub no_data_out: bool,
}

/// The data of a command, by direction, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Neither direction.
    None,
    /// To the initiator: for block data exactly this much, for parameter data at most.
    In(u64),
    /// From the initiator: exactly this much.
    Out(u64),
}

impl Command {
    /// The data that the CDB asks for, on a logical unit of this block size.
    ///
    /// It compares with the expected data transfer length of the transport, before the plan is
    /// known. Parameter data may turn out shorter: then the length of [`crate::Plan::DataIn`] is
    /// the one that counts for the residual.
    pub fn transfer(&self, block_size: BlockSize) -> Transfer {
        // At most 2^32 - 1 blocks of at most 4096 bytes, twice: far below 64 bits.
        let bytes = |blocks: BlockCount| blocks.0.saturating_mul(u64::from(block_size.bytes()));
        match *self {
            Self::AtomicUpdate(AtomicUpdate { kind, access }) => {
                Transfer::data_out(kind.data_out_bytes(bytes(access.extent.blocks)))
            }
            Self::Read(access) => Transfer::data_in(bytes(access.extent.blocks)),
            Self::Write(access) => Transfer::data_out(bytes(access.extent.blocks)),
            Self::WriteAndVerify { extent, .. } => Transfer::data_out(bytes(extent.blocks)),
            Self::WriteSame(WriteSame { no_data_out: true, .. }) => Transfer::None,
            Self::WriteSame(_) => Transfer::Out(bytes(BlockCount(1))),
            Self::Verify { extent, bytes: check, .. } => match check {
                VerifyBytes::None => Transfer::None,
                VerifyBytes::Compare => Transfer::data_out(bytes(extent.blocks)),
                VerifyBytes::CompareOneBlock => {
                    Transfer::data_out(bytes(BlockCount(extent.blocks.0.min(1))))
                }
            },
            Self::ModeSelect(select) => Transfer::data_out(select.parameter_list_length.into()),
            Self::Unmap { parameter_list_length, .. } => {
                Transfer::data_out(parameter_list_length.into())
            }
            Self::GetLbaStatus { allocation_length, .. }
            | Self::ReadCapacity16 { allocation_length, .. }
            | Self::ReportLuns { allocation_length, .. }
            | Self::ReportSupportedTaskManagementFunctions { allocation_length, .. } => {
                Transfer::data_in(allocation_length.into())
            }
            Self::ReportSupportedOperationCodes(report) => {
                Transfer::data_in(report.allocation_length.into())
            }
            Self::Inquiry(inquiry) => Transfer::data_in(inquiry.allocation_length.into()),
            Self::ModeSense(sense) => Transfer::data_in(sense.allocation_length.into()),
            Self::RequestSense { allocation_length, .. } => {
                Transfer::data_in(allocation_length.into())
            }
            Self::ReadCapacity10 { .. } => Transfer::In(READ_CAPACITY_10_BYTES),
            Self::PreFetch { .. }
            | Self::Release
            | Self::Reserve
            | Self::SendDiagnostic
            | Self::StartStopUnit(_)
            | Self::SynchronizeCache { .. }
            | Self::TestUnitReady => Transfer::None,
        }
    }
}

impl Transfer {
    /// To the initiator, where zero bytes are no transfer at all.
    const fn data_in(bytes: u64) -> Self {
        if bytes == 0 { Self::None } else { Self::In(bytes) }
    }

    /// From the initiator, where zero bytes are no transfer at all.
    const fn data_out(bytes: u64) -> Self {
        if bytes == 0 { Self::None } else { Self::Out(bytes) }
    }
}

/// READ CAPACITY (10) has no allocation length: its parameter data are always 8 bytes.
const READ_CAPACITY_10_BYTES: u64 = 8;
