//! The table of fuzz targets.

use std::process::exit;

use iscsi::Opcode;
use iscsi::pdu::{
    AsyncMessage, DataIn, DataOut, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse,
    NopIn, NopOut, ReadyToTransfer, Reject, ScsiCommand, ScsiResponse, SnackRequest,
    TaskManagementRequest, TaskManagementResponse, TextRequest, TextResponse,
};

use crate::{cdb, deframer, login, pdu, text};

/// A target: its name, and what it does with one input.
type Target = (&'static str, fn(&[u8]));

/// One target for each PDU: the name of its file below engine/iscsi/src/pdu, then its type,
/// which has the name of its opcode.
macro_rules! pdu_targets {
    ($($file:ident: $pdu:ident,)+) => {
        const PDUS: &[Target] = &[$((
            concat!("pdu_", stringify!($file)),
            |data| pdu::check(data, Opcode::$pdu, $pdu::parse, $pdu::emit),
        ),)+];
    };
}

pdu_targets! {
    async_message: AsyncMessage,
    data_in: DataIn,
    data_out: DataOut,
    login_request: LoginRequest,
    login_response: LoginResponse,
    logout_request: LogoutRequest,
    logout_response: LogoutResponse,
    nop_in: NopIn,
    nop_out: NopOut,
    ready_to_transfer: ReadyToTransfer,
    reject: Reject,
    scsi_command: ScsiCommand,
    scsi_response: ScsiResponse,
    snack_request: SnackRequest,
    task_management_request: TaskManagementRequest,
    task_management_response: TaskManagementResponse,
    text_request: TextRequest,
    text_response: TextResponse,
}

const OTHERS: &[Target] = &[
    ("ahs", pdu::ahs),
    ("cdb", cdb::plans),
    ("deframer", deframer::splits),
    ("login", login::requests),
    ("negotiation", text::negotiation),
    ("parameters", cdb::parameter_lists),
    ("text", text::pairs),
];

fn all() -> impl Iterator<Item = &'static Target> {
    PDUS.iter().chain(OTHERS)
}

/// The target that POLLUX_FUZZ_TARGET names; without such a name, prints all of them and ends.
pub(crate) fn chosen() -> fn(&[u8]) {
    let name = std::env::var("POLLUX_FUZZ_TARGET").unwrap_or_default();
    match all().find(|(known, _)| *known == name) {
        Some((_, run)) => *run,
        None => {
            for (known, _) in all() {
                println!("{known}");
            }
            exit(2)
        }
    }
}
