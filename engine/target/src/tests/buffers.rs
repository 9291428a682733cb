//! The pool: who holds how much of it, and that nobody waits for ever.

use super::initiator::{Initiator, Order, UNASKED, read_10, write_10};
use super::world::World;
use units::SizeClass;

fn two_buffers() -> World {
    World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 2 }])
}

#[test]
fn reads_that_find_no_buffer_are_served_in_their_turn() {
    let mut world = two_buffers();
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    let tags: Vec<u32> = (0..6).map(|n| initiator.start(&mut world, read_10(n, 1))).collect();
    assert_eq!(world.operations(), 2);
    world.release_backend();
    let answer = initiator.answer(&mut world);
    let answered: Vec<u32> = answer.sent.iter().map(|s| s.word(16)).collect();
    assert_eq!(answered, tags);
    world.assert_at_rest();
}

#[test]
fn data_that_nobody_asked_for_and_that_finds_no_buffer_is_refused() {
    let mut world = two_buffers();
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    for lba in 0..3 {
        initiator.start(&mut world, write_10(lba, 1).with(&[1; 512]));
    }
    // TASK SET FULL (SAM-5).
    assert_eq!(initiator.answer(&mut world).status(), 0x28);
    world.release_backend();
    world.assert_at_rest();
}

/// A burst was forgotten when it was handed to the connection. So one long read, and a peer
/// that did not take its data, lent the whole pool.
#[test]
fn a_long_read_holds_four_bursts_however_slow_its_peer_is() {
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 32 }]);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.wire_is_held = true;
    initiator.start(&mut world, read_10(0, 8192));
    assert_eq!(world.shard(0).buffers_in_use(), 4);
    let mut received = initiator.answer(&mut world).data().len();
    world.take_one_off_wire(0);
    assert_eq!(world.shard(0).buffers_in_use(), 4);
    world.release_wire();
    received += initiator.answer(&mut world).data().len();
    assert_eq!(received, 4 << 20);
    world.assert_at_rest();
}

#[test]
fn a_read_that_is_aborted_while_its_data_is_on_the_wire_gives_every_buffer_back_once() {
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 32 }]);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.wire_is_held = true;
    let tag = initiator.start(&mut world, read_10(0, 8192));
    initiator.manage(&mut world, iscsi::pdu::TaskManagementFunction::AbortTask, Some(tag));
    initiator.start(&mut world, read_10(0, 8192));
    world.release_wire();
    assert_eq!(initiator.answer(&mut world).status(), 0);
    world.assert_at_rest();
}
