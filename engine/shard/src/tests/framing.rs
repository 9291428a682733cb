//! What a peer may send that no initiator should.

use super::initiator::{Initiator, Part, REJECT, UNASKED, test_unit_ready, write_10};
use super::world::World;

/// The room that was left for unsolicited data was counted below zero.
#[test]
fn data_out_behind_too_much_immediate_data_is_survived() {
    let mut world = World::new(1);
    let keys = "InitialR2T=No\0ImmediateData=Yes\0FirstBurstLength=512\0";
    let mut initiator = Initiator::log_in(&mut world, 0, "a", keys);
    let tag = initiator.start(&mut world, write_10(0, 8).with(&[1; 1024]).goes_on());
    let part = Part { offset: 1024, data_sn: 0, is_final: true, data: &[1; 512] };
    initiator.data_out(&mut world, tag, 0xffff_ffff, &part);
    assert_eq!(initiator.answer(&mut world).status(), 0x02);
    world.assert_at_rest();
}

#[test]
fn a_tag_that_is_in_use_is_rejected_and_takes_its_cmd_sn() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let tag = initiator.start(&mut world, write_10(0, 8));
    initiator.answer(&mut world);
    let (_, mut header) = initiator.header(&write_10(0, 8));
    header[16..20].copy_from_slice(&tag.to_be_bytes());
    world.receive(initiator.place, header, &[]);
    assert_eq!(initiator.answer(&mut world).opcodes(), [REJECT]);
    assert_eq!(initiator.run(&mut world, test_unit_ready()).status(), 0);
}

/// A command with F and W both clear was rejected before its CmdSN was counted: the session waited
/// for that number for ever, and ignored all that followed.
#[test]
fn a_malformed_command_is_rejected_and_takes_its_cmd_sn() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let (_, mut header) = initiator.header(&test_unit_ready());
    header[1] = 0;
    world.receive(initiator.place, header, &[]);
    assert_eq!(initiator.answer(&mut world).opcodes(), [REJECT]);
    assert_eq!(initiator.run(&mut world, test_unit_ready()).status(), 0);
}
