//! Commands that read, combine and write blocks as one uninterrupted series.

use super::initiator::{Initiator, SCSI_RESPONSE, UNASKED, compare_and_write, read_10, write_10};
use super::task_management::{COMPLETE, outcome};
use super::world::World;
use iscsi::pdu::TaskManagementFunction as Function;

#[test]
fn compare_and_write_writes_only_what_compares() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let data = [[0; 512], [1; 512]].concat();
    let answer = initiator.run(&mut world, compare_and_write(5).with(&data));
    assert_eq!((answer.status(), world.disks[0][5 * 512]), (0, 1));
    let answer = initiator.run(&mut world, compare_and_write(5).with(&data));
    assert_eq!(answer.sense(), (0x0e, 0x1d, 0x00));
    world.assert_at_rest();
}

#[test]
fn an_aborted_compare_and_write_does_not_keep_its_range() {
    let mut world = World::new(2);
    let mut one = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    world.mail_is_held = true;
    let data = [[0; 512], [1; 512]].concat();
    for initiator in [&mut one, &mut two] {
        let tag = initiator.start(&mut world, compare_and_write(0).with(&data));
        initiator.manage(&mut world, Function::AbortTask, Some(tag));
    }
    world.release_mail();
    assert_eq!(outcome(&mut world, &one), Some(COMPLETE));
    assert_eq!(outcome(&mut world, &two), Some(COMPLETE));
    assert_eq!(world.disks[0][0], 0);
    world.assert_at_rest();
    for initiator in [&mut one, &mut two] {
        let answer = initiator.run(&mut world, write_10(0, 1).with(&[5; 512]));
        assert_eq!((answer.opcodes(), answer.status()), (vec![SCSI_RESPONSE], 0));
    }
    world.assert_at_rest();
}

#[test]
fn a_write_waits_for_the_range_of_a_compare_and_write() {
    let mut world = World::new(2);
    let mut one = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    world.backend_is_held = true;
    let data = [[0; 512], [1; 512]].concat();
    one.start(&mut world, compare_and_write(0).with(&data));
    assert_eq!(world.operations(), 1);
    two.start(&mut world, write_10(0, 1).with(&[5; 512]));
    two.start(&mut world, read_10(0, 1));
    assert_eq!(world.operations(), 1, "the write and the read wait");
    world.release_backend();
    assert_eq!(one.answer(&mut world).status(), 0);
    assert_eq!(two.answer(&mut world).sent.len(), 2);
    assert_eq!(world.disks[0][0], 5);
    world.assert_at_rest();
}
