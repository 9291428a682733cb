//! Commands that read, combine and write blocks as one uninterrupted series.

use super::initiator::{
    Initiator, Order, Part, SCSI_RESPONSE, UNASKED, compare_and_write, read_10, reserve, write_10,
};
use super::task_management::{COMPLETE, outcome};
use super::world::{READ_ONLY_LUN, World};
use iscsi::pdu::TaskManagementFunction as Function;

/// ORWRITE (16).
fn or_write(lba: u8, blocks: u16) -> Order {
    let [high, low] = blocks.to_be_bytes();
    let cdb = [0x8b, 0, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, high, low, 0, 0];
    Order::writes(&cdb, u32::from(blocks) * 512)
}

/// Two sessions on two cores.
fn on_two_cores() -> (World, [Initiator; 2]) {
    let mut world = World::new(2);
    let one = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    assert_eq!([one, two].map(|i| world.locate(i.place).0), [0, 1]);
    (world, [one, two])
}

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

#[test]
fn or_write_sets_the_bits_of_its_data_in_its_blocks_only() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.disks[0][..2048].fill(0x35);
    let answer = initiator.run(&mut world, or_write(1, 2).with(&[0x8c; 1024]));
    assert_eq!((answer.opcodes(), answer.status()), (vec![SCSI_RESPONSE], 0));
    assert_eq!(world.disks[0][..512], [0x35; 512]);
    assert_eq!(world.disks[0][512..1536], [0xbd; 1024]);
    assert_eq!(world.disks[0][1536..2048], [0x35; 512]);
    let answer = initiator.run(&mut world, or_write(1, 0));
    assert_eq!((answer.opcodes(), answer.status()), (vec![SCSI_RESPONSE], 0));
    world.assert_at_rest();
}

#[test]
fn or_write_takes_a_whole_burst_by_r2t() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", "InitialR2T=Yes\0ImmediateData=No\0");
    world.disks[0][..524_288].fill(0x01);
    let tag = initiator.start(&mut world, or_write(0, 512));
    let r2ts = initiator.answer(&mut world).r2ts();
    assert_eq!((r2ts.len(), r2ts[0].1, r2ts[0].2), (1, 0, 262_144));
    let part = Part { offset: 0, data_sn: 0, is_final: true, data: &[0x10; 262_144] };
    initiator.data_out(&mut world, tag, r2ts[0].0, &part);
    assert_eq!(initiator.answer(&mut world).status(), 0);
    assert!(world.disks[0][..262_144].iter().all(|&byte| byte == 0x11));
    assert!(world.disks[0][262_144..524_288].iter().all(|&byte| byte == 0x01));
    // One block more than a burst.
    let answer = initiator.run(&mut world, or_write(0, 513));
    assert_eq!(answer.sense(), (0x05, 0x24, 0x00));
    world.assert_at_rest();
}

#[test]
fn or_writes_of_two_cores_to_one_block_lose_no_bit() {
    let (mut world, [mut one, mut two]) = on_two_cores();
    world.backend_is_held = true;
    for bit in 0..4 {
        one.start(&mut world, or_write(3, 1).with(&[1 << bit; 512]));
        two.start(&mut world, or_write(3, 1).with(&[0x10 << bit; 512]));
    }
    assert_eq!(world.operations(), 1, "one has the range, and all others wait");
    world.release_backend();
    for initiator in [one, two] {
        let sent = initiator.answer(&mut world).sent;
        let statuses: Vec<_> = sent.iter().map(|sent| (sent.opcode(), sent.header[3])).collect();
        assert_eq!(statuses, [(SCSI_RESPONSE, 0); 4]);
    }
    assert_eq!(world.disks[0][3 * 512..4 * 512], [0xff; 512]);
    world.assert_at_rest();
}

#[test]
fn an_or_write_that_is_aborted_while_it_waits_changes_nothing_and_keeps_no_range() {
    let (mut world, [mut one, mut two]) = on_two_cores();
    world.backend_is_held = true;
    one.start(&mut world, or_write(0, 1).with(&[0x01; 512]));
    let tag = two.start(&mut world, or_write(0, 1).with(&[0x02; 512]));
    two.manage(&mut world, Function::AbortTask, Some(tag));
    world.release_backend();
    assert_eq!(one.answer(&mut world).status(), 0);
    assert_eq!(outcome(&mut world, &two), Some(COMPLETE));
    assert_eq!(world.disks[0][..512], [0x01; 512]);
    let answer = two.run(&mut world, or_write(0, 1).with(&[0x04; 512]));
    assert_eq!((answer.opcodes(), answer.status()), (vec![SCSI_RESPONSE], 0));
    assert_eq!(world.disks[0][..512], [0x05; 512]);
    world.assert_at_rest();
}

#[test]
fn or_write_has_all_of_its_data_and_the_right_to_write_or_changes_nothing() {
    let (mut world, [mut one, mut two]) = on_two_cores();
    let order = or_write(0, 2).with(&[0xff; 1024]);
    for (expected, len) in [(512, 512), (1536, 1536), (0, 0)] {
        let order = Order { expected, ..order.clone().with(&vec![0xff; len]) };
        // INVALID FIELD IN CDB (SPC-4).
        assert_eq!(one.run(&mut world, order).sense(), (0x05, 0x24, 0x00), "{expected}");
    }
    // WRITE PROTECTED (SPC-4).
    let answer = one.run(&mut world, order.clone().at(READ_ONLY_LUN));
    assert_eq!(answer.sense(), (0x07, 0x27, 0x00));
    assert_eq!(two.run(&mut world, reserve()).status(), 0);
    // RESERVATION CONFLICT (SAM-5).
    assert_eq!(one.run(&mut world, order).status(), 0x18);
    assert!(world.disks[0].iter().all(|&byte| byte == 0));
    world.assert_at_rest();
}
