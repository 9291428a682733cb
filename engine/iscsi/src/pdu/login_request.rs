//! Login Request (RFC 7143 11.12).

use units::Serial32;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{CONTINUE, DataSegmentLength, FINAL, PduFault, assert_covers_a_header, expect_opcode};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode, request_byte};
use crate::wire_codes::wire_codes;

/// One step of a login. Its text is in the data segment.
///
/// What may be wrong with it beyond the opcode is answered with a login response, not with a
/// Reject; so `parse` takes all else as it is, and the login judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// The T bit: the initiator wants to go to the next stage.
    pub transit: bool,
    /// The C bit: the text goes on in the next request.
    pub continues: bool,
    /// CSG: the stage that the initiator is in.
    pub current_stage: Stage,
    /// NSG: the stage that it wants to go to; it counts only with `transit`.
    pub next_stage: Stage,
    /// The highest version that the initiator speaks.
    pub version_max: u8,
    /// The lowest version that the initiator speaks.
    pub version_min: u8,
    /// Bytes of text.
    pub data_segment_length: u32,
    /// The initiator's part of the session identifier (11.12.5).
    pub isid: [u8; 6],
    /// The target's part: 0 for a new session (11.12.6).
    pub tsih: u16,
    /// The name of this login: the same in all its requests.
    pub initiator_task_tag: InitiatorTaskTag,
    /// The connection within the session (11.12.7).
    pub cid: u16,
    /// Where the session's commands begin, in its leading login (11.12.8).
    pub cmd_sn: Serial32,
    /// The next StatSN that the initiator expects.
    pub exp_stat_sn: Serial32,
}

impl LoginRequest {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::LoginRequest)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            transit: wire.flags & FINAL != 0,
            continues: wire.flags & CONTINUE != 0,
            current_stage: Stage::from_code(wire.flags >> 2 & STAGE),
            next_stage: Stage::from_code(wire.flags & STAGE),
            version_max: wire.version_max,
            version_min: wire.version_min,
            data_segment_length: wire.data_segment_length.bytes(),
            isid: wire.isid,
            tsih: wire.tsih.get(),
            initiator_task_tag: bhs.initiator_task_tag(),
            cid: wire.cid.get(),
            cmd_sn: Serial32(wire.cmd_sn.get()),
            exp_stat_sn: Serial32(wire.exp_stat_sn.get()),
        })
    }

    /// Writes the header. Login requests are always immediate (11.12).
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: request_byte(Opcode::LoginRequest, true),
            flags: stage_flags(self.transit, self.continues, self.current_stage, self.next_stage),
            version_max: self.version_max,
            version_min: self.version_min,
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            isid: self.isid,
            tsih: self.tsih.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            cid: self.cid.into(),
            cmd_sn: self.cmd_sn.0.into(),
            exp_stat_sn: self.exp_stat_sn.0.into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// A stage of the login phase, or what follows it (RFC 7143 11.12.3).
    Stage: u8 {
        /// SecurityNegotiation.
        SecurityNegotiation = 0,
        /// LoginOperationalNegotiation.
        LoginOperationalNegotiation = 1,
        /// FullFeaturePhase.
        FullFeaturePhase = 3,
        ;
        /// The value 2, which the standard leaves out.
        Reserved
    }
}

/// T, C, CSG and NSG as byte 1 has them.
pub(super) fn stage_flags(transit: bool, continues: bool, current: Stage, next: Stage) -> u8 {
    let transit = if transit { FINAL } else { 0 };
    let continues = if continues { CONTINUE } else { 0 };
    transit | continues | (current.code() & STAGE) << 2 | next.code() & STAGE
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    flags: u8,
    version_max: u8,
    version_min: u8,
    _total_ahs_length: u8,
    data_segment_length: DataSegmentLength,
    isid: [u8; 6],
    tsih: U16,
    initiator_task_tag: U32,
    cid: U16,
    _reserved_22: [u8; 2],
    cmd_sn: U32,
    exp_stat_sn: U32,
    _reserved_32: [u8; 16],
}
assert_covers_a_header!(Layout);

/// The two bits of a stage.
pub(super) const STAGE: u8 = 0x03;

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn security_stage_that_wants_to_go_on() {
        let value = LoginRequest {
            transit: true,
            continues: false,
            current_stage: Stage::SecurityNegotiation,
            next_stage: Stage::LoginOperationalNegotiation,
            version_max: 0,
            version_min: 0,
            data_segment_length: 0x1d5,
            isid: [0x00, 0x02, 0x3d, 0x01, 0x00, 0x00],
            tsih: 0x0102,
            initiator_task_tag: InitiatorTaskTag(0x0a0b_0c0d),
            cid: 3,
            cmd_sn: Serial32(1),
            exp_stat_sn: Serial32(2),
        };
        Sample {
            bytes: "43810000 000001d5 00023d01 00000102 0a0b0c0d 00030000 00000001 00000002
                00000000 00000000 00000000 00000000",
            value,
            ignored: "c0300000 ff000000 00000000 00000000 00000000 0000ffff 00000000 00000000
                ffffffff ffffffff ffffffff ffffffff",
            parse: LoginRequest::parse,
            emit: LoginRequest::emit,
        }
        .check();
    }
}
