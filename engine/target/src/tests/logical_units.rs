//! What changes at a logical unit while it is used.

use super::initiator::{
    Initiator, Order, SCSI_RESPONSE, UNASKED, compare_and_write, reserve, write_10,
};
use super::world::{READ_ONLY_LUN, World, catalog};
use iscsi::pdu::TaskManagementFunction as Function;

#[test]
fn what_changes_blocks_is_refused_through_a_lun_that_is_read_only() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.disks[0].fill(8);
    let list = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
    let unmap = Order::writes(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 24).with(&list);
    let same = Order::writes(&[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512).with(&[0; 512]);
    let compare = compare_and_write(0).with(&[8; 1024]);
    for order in [write_10(0, 1).with(&[1; 512]), same, compare, unmap] {
        let answer = initiator.run(&mut world, order.clone().at(READ_ONLY_LUN));
        // WRITE PROTECTED (SPC-4).
        assert_eq!(answer.sense(), (0x07, 0x27, 0x00), "{order:?}");
    }
    assert!(world.disks[0].iter().all(|&byte| byte == 8));
    world.assert_at_rest();
}
