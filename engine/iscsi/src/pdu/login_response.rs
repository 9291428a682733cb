//! Login Response (RFC 7143 11.13).

use units::Serial32;
use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::login_request::{STAGE, stage_flags};
use super::{
    CONTINUE, DataSegmentLength, FINAL, PduFault, Stage, assert_covers_a_header, expect_opcode,
};
use crate::bhs::{Bhs, InitiatorTaskTag, Opcode};
use crate::wire_codes::wire_codes;

/// The answer to one step of a login. Its text is in the data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginResponse {
    /// The T bit: the target goes to the next stage too.
    pub transit: bool,
    /// The C bit: the text goes on in the next response.
    pub continues: bool,
    /// CSG: the stage of the request.
    pub current_stage: Stage,
    /// NSG: the stage that is next; it counts only with `transit`.
    pub next_stage: Stage,
    /// The highest version that the target speaks.
    pub version_max: u8,
    /// The version that is spoken.
    pub version_active: u8,
    /// Bytes of text.
    pub data_segment_length: u32,
    /// As in the request.
    pub isid: [u8; 6],
    /// The target's part of the session identifier; in the last response it is never 0
    /// (11.13.3).
    pub tsih: u16,
    /// As in the request.
    pub initiator_task_tag: InitiatorTaskTag,
    /// The response's number on its connection.
    pub stat_sn: Serial32,
    /// The next CmdSN that the target expects.
    pub exp_cmd_sn: Serial32,
    /// The last CmdSN that the target accepts.
    pub max_cmd_sn: Serial32,
    /// Success, or why the login failed.
    pub status: LoginStatus,
}

impl LoginResponse {
    /// Reads the PDU from its header.
    pub fn parse(bhs: &Bhs) -> Result<Self, PduFault> {
        expect_opcode(bhs, Opcode::LoginResponse)?;
        let wire: Layout = transmute!(*bhs.raw());
        Ok(Self {
            transit: wire.flags & FINAL != 0,
            continues: wire.flags & CONTINUE != 0,
            current_stage: Stage::from_code(wire.flags >> 2 & STAGE),
            next_stage: Stage::from_code(wire.flags & STAGE),
            version_max: wire.version_max,
            version_active: wire.version_active,
            data_segment_length: wire.data_segment_length.bytes(),
            isid: wire.isid,
            tsih: wire.tsih.get(),
            initiator_task_tag: bhs.initiator_task_tag(),
            stat_sn: Serial32(wire.stat_sn.get()),
            exp_cmd_sn: Serial32(wire.exp_cmd_sn.get()),
            max_cmd_sn: Serial32(wire.max_cmd_sn.get()),
            status: LoginStatus::from_code(wire.status.get()),
        })
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; 48]) {
        *out = transmute!(Layout {
            opcode: Opcode::LoginResponse.code(),
            flags: stage_flags(self.transit, self.continues, self.current_stage, self.next_stage),
            version_max: self.version_max,
            version_active: self.version_active,
            data_segment_length: DataSegmentLength::of(self.data_segment_length),
            isid: self.isid,
            tsih: self.tsih.into(),
            initiator_task_tag: self.initiator_task_tag.0.into(),
            stat_sn: self.stat_sn.0.into(),
            exp_cmd_sn: self.exp_cmd_sn.0.into(),
            max_cmd_sn: self.max_cmd_sn.0.into(),
            status: self.status.code().into(),
            ..Layout::new_zeroed()
        });
    }
}

wire_codes! {
    /// Status class and detail in one (RFC 7143 11.13.5).
    LoginStatus: u16 {
        /// The login goes on, or is complete.
        Success = 0x0000,
        /// The target is at another address for now.
        TargetMovedTemporarily = 0x0101,
        /// The target is at another address for good.
        TargetMovedPermanently = 0x0102,
        /// The initiator made an error that has no detail of its own.
        InitiatorError = 0x0200,
        /// The initiator did not prove who it is, or the target did not.
        AuthenticationFailure = 0x0201,
        /// The initiator may not use the target.
        AuthorizationFailure = 0x0202,
        /// Target not found.
        NotFound = 0x0203,
        /// The target is gone and will not come back.
        TargetRemoved = 0x0204,
        /// The version range has none that the target speaks.
        UnsupportedVersion = 0x0205,
        /// The session has as many connections as it may.
        TooManyConnections = 0x0206,
        /// A key that the login needs is missing.
        MissingParameter = 0x0207,
        /// The connection cannot join the session.
        CannotIncludeInSession = 0x0208,
        /// The target does not do this type of session.
        SessionTypeNotSupported = 0x0209,
        /// No session has the TSIH.
        SessionDoesNotExist = 0x020a,
        /// The request is invalid during login.
        InvalidDuringLogin = 0x020b,
        /// The target has a hardware or software error.
        TargetError = 0x0300,
        /// The target is not in service now.
        ServiceUnavailable = 0x0301,
        /// The target has no room for a session.
        OutOfResources = 0x0302,
        ;
        /// A class and detail that the standard does not define.
        Unknown
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    opcode: u8,
    flags: u8,
    version_max: u8,
    version_active: u8,
    _total_ahs_length: u8,
    data_segment_length: DataSegmentLength,
    isid: [u8; 6],
    tsih: U16,
    initiator_task_tag: U32,
    _reserved_20: [u8; 4],
    stat_sn: U32,
    exp_cmd_sn: U32,
    max_cmd_sn: U32,
    status: U16,
    _reserved_38: [u8; 10],
}
assert_covers_a_header!(Layout);

#[cfg(test)]
mod tests {
    use super::super::codec_facts::Sample;
    use super::*;

    #[test]
    fn last_response_of_a_login() {
        let value = LoginResponse {
            transit: true,
            continues: false,
            current_stage: Stage::LoginOperationalNegotiation,
            next_stage: Stage::FullFeaturePhase,
            version_max: 0,
            version_active: 0,
            data_segment_length: 0x28,
            isid: [0x00, 0x02, 0x3d, 0x01, 0x00, 0x00],
            tsih: 0x0102,
            initiator_task_tag: InitiatorTaskTag(0x0a0b_0c0d),
            stat_sn: Serial32(2),
            exp_cmd_sn: Serial32(1),
            max_cmd_sn: Serial32(0x80),
            status: LoginStatus::Success,
        };
        Sample {
            bytes: "23870000 00000028 00023d01 00000102 0a0b0c0d 00000000 00000002 00000001
                00000080 00000000 00000000 00000000",
            value,
            ignored: "c0300000 ff000000 00000000 00000000 00000000 ffffffff 00000000 00000000
                00000000 0000ffff ffffffff ffffffff",
            parse: LoginResponse::parse,
            emit: LoginResponse::emit,
        }
        .check();
    }

    #[test]
    fn class_and_detail_make_the_status() {
        assert_eq!(LoginStatus::from_code(0x0203), LoginStatus::NotFound);
        assert_eq!(LoginStatus::TargetMovedTemporarily.code(), 0x0101);
        assert_eq!(LoginStatus::from_code(0x0400), LoginStatus::Unknown(0x0400));
    }
}
