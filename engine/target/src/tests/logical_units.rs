//! What changes at a logical unit while it is used.

use super::initiator::{
    Initiator, Order, SCSI_RESPONSE, UNASKED, compare_and_write, reserve, write_10,
};
use super::world::{READ_ONLY_LUN, World, catalog};
use iscsi::pdu::TaskManagementFunction as Function;
