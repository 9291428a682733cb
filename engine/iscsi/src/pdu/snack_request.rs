//! SNACK Request (RFC 7143 11.16).

use units::{Lun, Serial32};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, TargetTransferTag, request_byte};
use crate::wire_codes::wire_codes;

/// A request to send PDUs again, or to forget them. It belongs to error recovery level 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnackRequest {
    /// What is requested.
    pub kind: SnackKind,
    /// The LUN of a Data-In with the A bit, for DataACK.
    pub lun: Lun,
    /// The task that is meant; reserved for status and DataACK.
    pub initiator_task_tag: InitiatorTaskTag,
    /// Of the Data-In for DataACK; the SNACK tag for R-Data; else reserved.
    pub target_transfer_tag: TargetTransferTag,
    /// The next StatSN that the initiator expects.
    pub exp_stat_sn: Serial32,
    /// The first number that is missing (11.16.6).
    pub beg_run: Serial32,
    /// How many are missing; 0 for all from the first on (11.16.7).
    pub run_length: u32,
}

impl SnackRequest {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::SnackRequest)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            kind: SnackKind::from_code(wire.kind & KIND),
            lun: Lun(wire.lun.get()),
            initiator_task_tag: bhs.initiator_task_tag(),
            target_transfer_tag: TargetTransferTag(wire.target_transfer_tag.get()),
            exp_stat_sn: Serial32(wire.exp_stat_sn.get()),
            beg_run: Serial32(wire.beg_run.get()),
            run_length: wire.run_length.get(),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: request_byte(Opcode::SnackRequest, false),
            kind: FINAL | self.kind.code() & KIND,
            lun: self.lun.0.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            target_transfer_tag: self.target_transfer_tag.0.into(),
            exp_stat_sn: self.exp_stat_sn.0.into(),
            beg_run: self.beg_run.0.into(),
            run_length: self.run_length.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// What a SNACK asks for (RFC 7143 11.16.1).
    SnackKind: u8 {
        /// Data-In or R2T PDUs again, unchanged.
        DataOrR2t = 0,
        /// Responses again.
        Status = 1,
        /// It acknowledges received Data-In PDUs.
        DataAck = 2,
        /// Data-In PDUs again, perhaps cut otherwise.
        RData = 3,
        ;
        /// A value that the standard reserves.
        Reserved
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    kind: u8,
    _reserved_2: [u8; 2],
    _lengths: [u8; 4],
    lun: U64,
    initiator_task_tag: U32,
    target_transfer_tag: U32,
    _reserved_24: [u8; 4],
    exp_stat_sn: U32,
    _reserved_32: [u8; 8],
    beg_run: U32,
    run_length: U32,
}
assert_covers_a_header!(Layout);

const KIND: u8 = 0x0f;

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn status_again() {
        let value = SnackRequest {
            kind: SnackKind::Status,
            lun: Lun(0),
            initiator_task_tag: InitiatorTaskTag::RESERVED,
            target_transfer_tag: TargetTransferTag::RESERVED,
            exp_stat_sn: Serial32(0x20),
            beg_run: Serial32(0x20),
            run_length: 2,
        };
        Sample {
            bytes: "10810000 00000000 00000000 00000000 ffffffff ffffffff 00000000 00000020
                00000000 00000000 00000020 00000002",
            value,
            ignored: "c0f0ffff ffffffff 00000000 00000000 00000000 00000000 ffffffff 00000000
                ffffffff ffffffff 00000000 00000000",
            parse: SnackRequest::parse,
            emit: SnackRequest::emit,
        }
        .check();
    }
}
