//! One file per PDU (RFC 7143 section 11).
//!
//! A PDU type is a checked value: `parse` reads it from a [`Bhs`] and `emit` lays it into 48
//! bytes, every one of which it writes. Both directions exist for every PDU, so that a target,
//! an initiator that makes load, and round-trip tests share one codec. Reserved fields are
//! ignored when read and zero when written (RFC 7143 11.1). AHS and data segments are not part
//! of these types; the fields that count them are.

mod async_message;
mod data_in;
mod data_out;
mod login_request;
mod login_response;
mod logout_request;
mod logout_response;
mod nop_in;
mod nop_out;
mod ready_to_transfer;
mod reject;
mod residual;
mod scsi_command;
mod scsi_response;
mod snack_request;
mod task_management_request;
mod task_management_response;
mod text_request;
mod text_response;

pub use async_message::{AsyncEvent, AsyncMessage};
pub use data_in::{DataIn, DataInStatus};
pub use data_out::DataOut;
pub use login_request::{LoginRequest, Stage};
pub use login_response::{LoginResponse, LoginStatus};
pub use logout_request::{LogoutReason, LogoutRequest};
pub use logout_response::{LogoutOutcome, LogoutResponse};
pub use nop_in::NopIn;
pub use nop_out::NopOut;
pub use ready_to_transfer::ReadyToTransfer;
pub use reject::{Reject, RejectReason};
pub use residual::Residual;
pub use scsi_command::{ScsiCommand, TaskAttribute};
pub use scsi_response::{ScsiResponse, ServiceResponse};
pub use snack_request::{SnackKind, SnackRequest};
pub use task_management_request::{TaskManagementFunction, TaskManagementRequest};
pub use task_management_response::{TaskManagementOutcome, TaskManagementResponse};
pub use text_request::TextRequest;
pub use text_response::TextResponse;

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bhs::{Bhs, Opcode};

/// Why a header is not the PDU that it was taken for. The peer is at fault, except for
/// [`PduFault::OpcodeUnexpected`], which a caller avoids by looking at the opcode first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PduFault {
    /// C: more text follows. F: no more text follows (RFC 7143 11.10.2).
    ContinueWithFinal,
    /// The initiator task tag is the value that names no task (RFC 7143 11.2.1.8).
    InitiatorTaskTagReserved,
    /// A NOP-Out that asks for no answer must be immediate (RFC 7143 11.18.1).
    NopOutNotImmediate,
    /// F is clear, so that unsolicited data follows, but W is clear too (RFC 7143 11.3.1).
    NotFinalWithoutWrite,
    /// The header begins another PDU.
    OpcodeUnexpected {
        /// The opcode that was found.
        found: Opcode,
    },
    /// Both overflow and underflow are flagged (RFC 7143 11.4.1).
    ResidualBothWays,
    /// Status comes with the last Data-In of a sequence or not at all (RFC 7143 11.7.3).
    StatusWithoutFinal,
}

impl PduFault {
    /// The reason that a Reject for such a PDU carries (RFC 7143 11.17.1).
    pub const fn reject_reason(self) -> RejectReason {
        match self {
            Self::ContinueWithFinal
            | Self::InitiatorTaskTagReserved
            | Self::NopOutNotImmediate
            | Self::NotFinalWithoutWrite
            | Self::ResidualBothWays
            | Self::StatusWithoutFinal => RejectReason::InvalidPduField,
            Self::OpcodeUnexpected { .. } => RejectReason::ProtocolError,
        }
    }
}

impl fmt::Display for PduFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContinueWithFinal => write!(f, "PDU has both C and F bits set"),
            Self::InitiatorTaskTagReserved => {
                write!(f, "request has the reserved initiator task tag ffffffff")
            }
            Self::NopOutNotImmediate => {
                write!(f, "NOP-Out without a task tag is not marked for immediate delivery")
            }
            Self::NotFinalWithoutWrite => {
                write!(f, "SCSI Command announces unsolicited data but is not a write (F=0, W=0)")
            }
            Self::OpcodeUnexpected { found } => write!(f, "unexpected PDU {found:?}"),
            Self::ResidualBothWays => {
                write!(f, "PDU has both residual overflow and underflow set")
            }
            Self::StatusWithoutFinal => write!(f, "Data-In has its S bit set without its F bit"),
        }
    }
}

impl std::error::Error for PduFault {}

/// F, and the bit that is always set where there is no F (bit 0 of byte 1 in the standard).
const FINAL: u8 = 0x80;
/// C of text and login PDUs.
const CONTINUE: u8 = 0x40;

/// The three bytes of DataSegmentLength (RFC 7143 11.2.1.6).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
struct DataSegmentLength([u8; 3]);

impl DataSegmentLength {
    /// # Panics
    /// When 24 bits do not hold `bytes`: whoever sends data cuts it at the receiver's limit,
    /// which is below that.
    fn of(bytes: u32) -> Self {
        let [high, rest @ ..] = bytes.to_be_bytes();
        assert!(high == 0, "a data segment of {bytes} bytes has no length field");
        Self(rest)
    }

    fn bytes(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_be_bytes([0, a, b, c])
    }
}

fn expect_opcode(bhs: &Bhs, expected: Opcode) -> Result<(), PduFault> {
    if bhs.is(expected) { Ok(()) } else { Err(PduFault::OpcodeUnexpected { found: bhs.opcode() }) }
}

/// Proves beside each layout that it covers a header exactly, whatever its address.
macro_rules! assert_covers_a_header {
    ($layout:ty) => {
        const _: () = assert!(size_of::<$layout>() == crate::bhs::BHS_BYTES);
        const _: () = assert!(align_of::<$layout>() == 1);
    };
}
use assert_covers_a_header;

#[cfg(test)]
mod codec_facts;
