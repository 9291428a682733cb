//! Plain transfers against the general way.

use super::fixture::logical_unit;
use crate::Plan;
use crate::{BlockRange, PlainTransfer, UnitModel};
use proptest::prelude::*;
use units::{BlockCount, Lba};

/// The same, as the general way has it.
fn general(cdb: &[u8; 16], lu: &UnitModel) -> Option<PlainTransfer> {
    let plan = crate::plan(&crate::parse(cdb).ok()?, lu);
    let found = |write, extent, fua| Some(PlainTransfer { write, extent, fua });
    if let Plan::Read { extent, fua, .. } = plan {
        found(false, extent, fua)
    } else if let Plan::Write { extent, fua, .. } = plan {
        found(true, extent, fua)
    } else {
        None
    }
}

proptest! {
    #[test]
    fn a_plain_transfer_is_what_parse_and_plan_say(
        operation_code in prop_oneof![Just(0x28), Just(0x2a), Just(0x88), Just(0x8a), 0_u8..=255],
        flags in prop_oneof![Just(0_u8), Just(0x08), Just(0x10), 0_u8..=255],
        lba in prop_oneof![0_u64..4096, 0..u64::MAX],
        blocks in prop_oneof![0_u32..300, 0..u32::MAX],
        control in prop_oneof![Just(0_u8), Just(4), 0_u8..=255],
        transfer_blocks_max in prop_oneof![Just(0_u32), Just(128)],
        read_only in any::<bool>(),
        software_write_protect in any::<bool>(),
    ) {
        let mut lu = logical_unit();
        lu.limits.transfer_blocks_max = transfer_blocks_max;
        lu.read_only = read_only;
        lu.mode.current.software_write_protect = software_write_protect;
        let mut cdb = [0; 16];
        cdb[0] = operation_code;
        cdb[1] = flags;
        if operation_code >= 0x80 {
            cdb[2..10].copy_from_slice(&lba.to_be_bytes());
            cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
            cdb[15] = control;
        } else {
            cdb[2..6].copy_from_slice(&lba.to_be_bytes()[4..]);
            cdb[7..9].copy_from_slice(&blocks.to_be_bytes()[2..]);
            cdb[9] = control;
        }
        if let Some(found) = PlainTransfer::find(&cdb, &lu) {
            prop_assert_eq!(general(&cdb, &lu), Some(found));
        } else if matches!(operation_code, 0x28 | 0x2a | 0x88 | 0x8a) {
            prop_assert_eq!(general(&cdb, &lu), None);
        }
    }
}

#[test]
fn a_read_of_eight_blocks_is_plain() {
    let cdb = [0x28, 0, 0, 0, 0, 0x10, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
    let extent = BlockRange { lba: Lba(16), blocks: BlockCount(8) };
    let found = PlainTransfer::find(&cdb, &logical_unit());
    assert_eq!(found, Some(PlainTransfer { write: false, extent, fua: false }));
}
