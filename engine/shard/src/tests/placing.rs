//! Data that nobody asked for: the command window has promised a place for it.

use super::initiator::{Initiator, UNASKED, write_10};
use super::world::World;
use std::time::Duration;
use units::SizeClass;

fn world(count: u32) -> World {
    World::with_pool(1, vec![SizeClass { bytes: 262_144, count }])
}

/// It was answered with TASK SET FULL, at which some initiators give up.
#[test]
fn data_that_finds_no_buffer_waits_for_one_and_so_does_what_comes_behind_it() {
    let mut world = world(2);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    for lba in 0..20 {
        initiator.start(&mut world, write_10(lba, 1).with(&[lba + 1; 512]));
    }
    initiator.ping(&mut world, b"behind");
    assert_eq!((world.operations(), initiator.answer(&mut world).sent.len()), (1, 0));
    world.release_backend();
    let answer = initiator.answer(&mut world);
    let statuses: Vec<u8> = answer.sent.iter().map(|sent| sent.header[3]).collect();
    assert_eq!(statuses, [0; 21]);
    assert_eq!(answer.sent[20].data, b"behind");
    assert!((0..20).all(|lba| world.disks[0][usize::from(lba) * 512] == lba + 1));
    world.assert_at_rest();
}

/// The abort of what hangs must be heard.
#[test]
fn data_that_has_waited_for_a_second_is_refused() {
    let mut world = world(2);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    for lba in 0..20 {
        initiator.start(&mut world, write_10(lba, 1).with(&[1; 512]));
    }
    initiator.ping(&mut world, b"behind");
    world.pass(Duration::from_secs(2));
    let answer = initiator.answer(&mut world);
    // TASK SET FULL (SAM-5) for all that came behind, and the answer to the ping.
    let statuses: Vec<u8> = answer.sent.iter().map(|sent| sent.header[3]).collect();
    assert_eq!(statuses, [vec![0x28; 19], vec![0]].concat());
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).status(), 0);
    let waits_again = initiator.run(&mut world, write_10(0, 1).with(&[1; 512]));
    assert_eq!(waits_again.status(), 0);
    world.assert_at_rest();
}

#[test]
fn a_session_that_ends_while_its_data_waits_leaves_nothing() {
    let mut world = world(2);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    for lba in 0..3 {
        initiator.start(&mut world, write_10(lba, 1).with(&[1; 512]));
    }
    world.lose(initiator.place);
    world.release_backend();
    world.assert_at_rest();
}

/// What resets a logical unit comes from another session, because its own is not looked at.
#[test]
fn a_reset_ends_a_task_whose_data_waits_and_its_connection_goes_on() {
    let mut world = world(2);
    let mut waiting = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let mut other = Initiator::log_in(&mut world, 0, "b", UNASKED);
    world.backend_is_held = true;
    for lba in 0..2 {
        waiting.start(&mut world, write_10(lba, 1).with(&[1; 512]));
    }
    waiting.ping(&mut world, b"behind");
    let reset = iscsi::pdu::TaskManagementFunction::LogicalUnitReset;
    other.manage(&mut world, reset, None);
    assert_eq!(waiting.answer(&mut world).sent[0].data, b"behind");
    world.release_backend();
    world.assert_at_rest();
}

/// Its buffer waited for the rest of the data, which stood behind other immediate data.
#[test]
fn immediate_data_is_written_while_the_rest_is_asked_for() {
    let mut world = world(32);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    for _ in 0..100 {
        initiator.start(&mut world, write_10(0, 256).with(&[7; 65536]));
    }
    // Those that have been asked for the rest.
    assert_eq!(world.shard(0).buffers_in_use(), 4);
    assert_eq!(world.disks[0][..65536], [7; 65536]);
    let (_, offset, len) = initiator.answer(&mut world).r2ts()[0];
    assert_eq!((offset, len), (65536, 65536));
}
