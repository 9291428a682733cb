//! The pool: who holds how much of it, and that nobody waits for ever.

use super::initiator::{Initiator, Order, UNASKED, read_10};
use super::world::World;
use crate::Closing;
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
    // The other buffer is for a session that has none.
    assert_eq!(world.operations(), 1);
    world.release_backend();
    let answer = initiator.answer(&mut world);
    let answered: Vec<u32> = answer.sent.iter().map(|s| s.word(16)).collect();
    assert_eq!(answered, tags);
    world.assert_at_rest();
}

/// Commands that compare need a second buffer. They took it when the first was full, and once
/// such commands had all buffers of the pool, each waited for one of another.
#[test]
fn commands_that_need_two_buffers_do_not_wait_for_each_other() {
    let verify = Order::writes(&[0x2f, 0x02, 0, 0, 0, 0, 0, 0, 1, 0], 512);
    let verify_one = Order::writes(&[0x2f, 0x06, 0, 0, 0, 0, 0, 0, 1, 0], 512);
    let write_and_verify = Order::writes(&[0x2e, 0x02, 0, 0, 0, 0, 0, 0, 1, 0], 512);
    let compare = super::initiator::compare_and_write(0);
    let same = Order::writes(&[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512);
    for (count, order) in
        [(2, verify), (3, verify_one), (2, write_and_verify), (2, compare), (2, same)]
    {
        let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count }]);
        let keys = "InitialR2T=Yes\0ImmediateData=No\0";
        let mut initiator = Initiator::log_in(&mut world, 0, "a", keys);
        let mut tags = Vec::new();
        for _ in 0..4 {
            tags.push(initiator.start(&mut world, order.clone()));
        }
        let mut answered = 0;
        for _ in 0..8 {
            for sent in initiator.answer(&mut world).sent {
                if sent.opcode() == super::initiator::R2T {
                    let data = vec![0; sent.word(44) as usize];
                    let part = super::initiator::Part {
                        offset: 0,
                        data_sn: 0,
                        is_final: true,
                        data: &data,
                    };
                    initiator.data_out(&mut world, sent.word(16), sent.word(20), &part);
                } else {
                    answered += 1;
                }
            }
        }
        assert_eq!(answered, 4, "{order:?}");
        world.assert_at_rest();
    }
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

#[test]
fn small_needs_are_met_while_large_ones_wait() {
    let classes = vec![SizeClass { bytes: 4096, count: 1 }, SizeClass { bytes: 262_144, count: 1 }];
    let mut world = World::with_pool(1, classes);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.wire_is_held = true;
    initiator.start(&mut world, read_10(0, 512));
    initiator.start(&mut world, read_10(0, 1));
    let large = initiator.start(&mut world, read_10(0, 512));
    let small = initiator.start(&mut world, read_10(0, 1));
    initiator.answer(&mut world);
    world.take_one_off_wire(0);
    assert_eq!(initiator.answer(&mut world).sent[0].word(16), large);
    world.take_one_off_wire(0);
    assert_eq!(initiator.answer(&mut world).sent[0].word(16), small);
    world.release_wire();
    world.assert_at_rest();
}

/// Every buffer that came back woke every task that waited, and each looked through the whole
/// queue before it joined it again.
#[test]
fn a_buffer_wakes_as_many_tasks_as_it_can_serve() {
    let mut world = two_buffers();
    let mut sessions = Vec::new();
    world.backend_is_held = true;
    for number in 0..30 {
        let mut initiator = Initiator::knock(&mut world, 0, &format!("h{number}"), UNASKED);
        initiator.admitted(&mut world);
        initiator.run(&mut world, super::initiator::test_unit_ready());
        for lba in 0..120 {
            initiator.start(&mut world, read_10(lba, 1));
        }
        sessions.push(initiator);
    }
    world.release_backend();
    for initiator in &sessions {
        assert_eq!(initiator.answer(&mut world).sent.len(), 120);
    }
    world.assert_at_rest();
}

/// A task that got one buffer and could use another queued up behind all others: reads that came
/// together went on by turns, and the first ended hardly before the last.
#[test]
fn reads_end_in_the_order_in_which_they_came() {
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 3 }]);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    world.wire_is_held = true;
    for _ in 0..5 {
        initiator.start(&mut world, read_10(0, 2048));
    }
    world.release_backend();
    for _ in 0..20 {
        world.take_one_off_wire(0);
    }
    let answer = initiator.answer(&mut world);
    let tags: Vec<u32> = answer.sent.iter().map(|s| s.word(16)).collect();
    assert!(tags.is_sorted(), "{tags:?}");
    assert_eq!(answer.data().len(), 5 << 20);
    world.assert_at_rest();
}

/// A read whose last burst is short waits for a smaller buffer than before. It was looked for in
/// the queue that it had left, and where that was empty the shard panicked.
#[test]
fn a_task_may_come_to_need_a_smaller_buffer_while_it_waits() {
    let classes = vec![SizeClass { bytes: 4096, count: 1 }, SizeClass { bytes: 262_144, count: 2 }];
    let mut world = World::with_pool(1, classes);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.wire_is_held = true;
    for blocks in [512, 512, 1, 513] {
        initiator.start(&mut world, read_10(0, blocks));
    }
    world.take_one_off_wire(0);
    world.release_wire();
    assert_eq!(initiator.answer(&mut world).data().len(), 1538 * 512);
    world.assert_at_rest();
}

/// What was queued for a session that was dropped waited for its peer, with all of its buffers.
#[test]
fn a_session_that_is_dropped_or_displaced_is_abandoned_with_what_is_queued_for_it() {
    for displaced in [false, true] {
        let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 32 }]);
        let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
        world.wire_is_held = true;
        initiator.start(&mut world, read_10(0, 8192));
        assert_eq!(world.shard(0).buffers_in_use(), 4);
        if displaced {
            Initiator::knock(&mut world, 0, "a", UNASKED).admitted(&mut world);
        } else {
            world.lose(initiator.place);
        }
        assert_eq!(world.closings, [Closing::Abandon]);
        assert_eq!(world.shard(0).buffers_in_use(), 0);
        world.assert_at_rest();
    }
}

#[test]
fn a_logout_response_leaves_before_its_connection_is_closed() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    initiator.log_out(&mut world);
    assert_eq!(world.closings, [Closing::Drain]);
}
