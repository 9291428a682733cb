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

/// The jobs that a logical unit's home had taken, and the tasks that waited for a held range,
/// were forgotten with the unit: nobody ever answered them.
#[test]
fn a_volume_that_goes_answers_all_that_wait_for_it() {
    for reactors in [1, 2] {
        let mut world = World::new(reactors);
        let mut one = Initiator::log_in(&mut world, 0, "a", UNASKED);
        let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
        world.backend_is_held = true;
        let data = [[0; 512], [1; 512]].concat();
        one.start(&mut world, compare_and_write(0).at(1).with(&data));
        two.start(&mut world, write_10(0, 1).at(1).with(&[2; 512]));
        two.start(&mut world, compare_and_write(0).at(1).with(&data));
        two.start(&mut world, reserve().at(1));
        world.mail_is_held = true;
        one.start(&mut world, reserve().at(1));
        world.switch_catalog(&catalog(1));
        world.release_mail();
        world.release_backend();
        let count = |answer: super::initiator::Answer| {
            answer.opcodes().iter().filter(|&&o| o == SCSI_RESPONSE).count()
        };
        assert_eq!(count(one.answer(&mut world)), 2, "{reactors} reactors");
        assert_eq!(count(two.answer(&mut world)), 3, "{reactors} reactors");
        world.assert_at_rest();
    }
}

#[test]
fn a_volume_that_goes_keeps_no_reset_waiting() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    initiator.start(&mut world, write_10(0, 1).at(1).with(&[2; 512]));
    initiator.manage(&mut world, Function::TargetWarmReset, None);
    world.switch_catalog(&catalog(1));
    world.release_backend();
    assert!(initiator.answer(&mut world).opcodes().contains(&0x22));
    world.assert_at_rest();
}

/// The sense data of a CHECK CONDITION had the fixed format whatever D_SENSE said, which only
/// REQUEST SENSE honoured.
#[test]
fn d_sense_chooses_the_format_of_sense_data() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let sense = Order::reads(&[0x1a, 0x08, 0x0a, 0, 0xff, 0], 255);
    let mut page = initiator.run(&mut world, sense).data();
    page[..4].fill(0);
    page[4] &= 0x3f;
    page[6] |= 0x04;
    let length = u32::try_from(page.len()).unwrap();
    let cdb = [0x15, 0x10, 0, 0, u8::try_from(length).unwrap(), 0];
    let select = Order::writes(&cdb, length).with(&page);
    assert_eq!(initiator.run(&mut world, select).status(), 0);
    // INVALID COMMAND OPERATION CODE (SPC-4).
    let answer = initiator.run(&mut world, Order::none(&[0xc0]));
    assert_eq!((answer.status(), &answer.sent[0].data[2..6]), (0x02, &[0x72, 0x05, 0x20, 0][..]));
    world.assert_at_rest();
}
