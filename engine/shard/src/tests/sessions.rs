//! How sessions end: logout, lost connections, reinstatement, shutdown.

use super::initiator::{
    Initiator, LOGIN_RESPONSE, LOGOUT_RESPONSE, Part, UNASKED, read_10, test_unit_ready, write_10,
};
use super::world::World;
use iscsi::pdu::TaskManagementFunction as Function;
use std::time::Duration;

/// The status of the login response that has come, if one has.
pub(super) fn login_status(world: &mut World, initiator: &Initiator) -> Option<[u8; 2]> {
    let answer = initiator.answer(world);
    let response = answer.sent.first()?;
    assert_eq!(response.opcode(), LOGIN_RESPONSE);
    Some(response.header[36..38].try_into().unwrap())
}

#[test]
fn a_logout_is_answered_when_the_backend_is_done_with_the_session() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    initiator.start(&mut world, write_10(0, 1).with(&[1; 512]));
    initiator.log_out(&mut world);
    assert_eq!(initiator.answer(&mut world).opcodes(), []);
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).opcodes(), [LOGOUT_RESPONSE]);
    assert!(world.is_closed(initiator.place));
    world.assert_at_rest();
}

/// Commands that came between a logout and its answer were carried out, and those that waited
/// for data kept their buffers for ever.
#[test]
fn nothing_that_comes_after_a_logout_is_begun() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    initiator.start(&mut world, write_10(0, 1).with(&[1; 512]));
    initiator.log_out(&mut world);
    initiator.start(&mut world, write_10(8, 8));
    initiator.start(&mut world, write_10(16, 8).with(&[1; 512]).goes_on());
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).opcodes(), [LOGOUT_RESPONSE]);
    world.assert_at_rest();
}

/// The second logout found no tasks any more, because the first had aborted them; it was
/// answered, and the nexus was free for a new session, while a write was at the disk.
#[test]
fn a_second_logout_does_not_overtake_the_first() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    initiator.start(&mut world, write_10(0, 1).with(&[1; 512]));
    initiator.log_out(&mut world);
    initiator.log_out(&mut world);
    assert_eq!(initiator.answer(&mut world).opcodes(), []);
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).opcodes(), [LOGOUT_RESPONSE]);
    world.assert_at_rest();
}

#[test]
fn a_new_session_begins_when_the_backend_is_done_with_the_old_one() {
    for reactors in [1, 2] {
        let mut world = World::new(reactors);
        let mut old = Initiator::log_in(&mut world, 0, "a", UNASKED);
        world.backend_is_held = true;
        old.start(&mut world, write_10(0, 1).with(&[1; 512]));
        let new = Initiator::knock(&mut world, 0, "a", UNASKED);
        assert!(world.is_closed(old.place));
        assert_eq!(login_status(&mut world, &new), None);
        world.release_backend();
        assert_eq!(login_status(&mut world, &new), Some([0, 0]));
        world.assert_at_rest();
    }
}

/// What hosts do when a disk is slow: ABORT TASK, and when that is not answered in time, a new
/// connection. The end of the session counted only tasks that had not been aborted, so that the
/// new one began while the old write could still land on top of its writes.
#[test]
fn a_new_session_waits_for_writes_that_the_old_one_had_aborted() {
    for logs_out in [false, true] {
        let mut world = World::new(2);
        let mut old = Initiator::log_in(&mut world, 0, "a", UNASKED);
        world.backend_is_held = true;
        let tag = old.start(&mut world, write_10(0, 1).with(&[1; 512]));
        old.manage(&mut world, Function::AbortTask, Some(tag));
        if logs_out {
            old.log_out(&mut world);
        }
        world.lose(old.place);
        let new = Initiator::knock(&mut world, 0, "a", UNASKED);
        assert_eq!(login_status(&mut world, &new), None, "logs out: {logs_out}");
        world.release_backend();
        assert_eq!(login_status(&mut world, &new), Some([0, 0]));
        world.assert_at_rest();
    }
}

#[test]
fn a_connection_may_be_lost_at_any_moment_of_a_write() {
    let mut world = World::new(1);
    for moment in 0..5 {
        let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
        world.backend_is_held = true;
        let tag = initiator.start(&mut world, write_10(0, 512).with(&[1; 512]).goes_on());
        let part = Part { offset: 512, data_sn: 0, is_final: true, data: &[1; 65_024] };
        if moment >= 1 {
            initiator.begin_data_out(&mut world, tag, 0xffff_ffff, &part);
        }
        if moment >= 2 {
            let slice = crate::Placement::Discard;
            world.receive_data(initiator.place, slice, part.data, moment != 4);
        }
        if moment == 3 {
            let (transfer, offset, len) = initiator.answer(&mut world).r2ts()[0];
            let data = vec![2; len as usize];
            let part = Part { offset, data_sn: 0, is_final: true, data: &data };
            initiator.data_out(&mut world, tag, transfer, &part);
            assert_eq!(world.operations(), 1);
        }
        world.lose(initiator.place);
        world.release_backend();
        world.assert_at_rest();
    }
}

/// An aborted task stays until the PDU that fills its buffer is over. Where the connection ended
/// first, nobody came back to it.
#[test]
fn a_connection_may_be_lost_while_the_data_of_an_aborted_write_comes_in() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let mut other = Initiator::log_in(&mut world, 0, "b", UNASKED);
    let tag = initiator.start(&mut world, write_10(0, 8).goes_on());
    let part = Part { offset: 0, data_sn: 0, is_final: true, data: &[1; 4096] };
    initiator.begin_data_out(&mut world, tag, 0xffff_ffff, &part);
    other.manage(&mut world, Function::LogicalUnitReset, None);
    world.lose(initiator.place);
    world.assert_at_rest();
}

#[test]
fn a_connection_may_be_lost_while_a_read_is_at_the_disk_or_on_the_wire() {
    let mut world = World::new(1);
    for at_disk in [false, true] {
        let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
        world.backend_is_held = at_disk;
        world.wire_is_held = true;
        initiator.start(&mut world, read_10(0, 2048));
        world.lose(initiator.place);
        world.release_backend();
        world.release_wire();
        world.assert_at_rest();
    }
}

#[test]
fn a_session_lives_on_the_core_that_it_was_handed_to() {
    let mut world = World::new(2);
    let mut one = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    assert_eq!(world.locate(one.place).0, 0);
    assert_eq!(world.locate(two.place).0, 1);
    for initiator in [&mut one, &mut two] {
        assert_eq!(initiator.run(&mut world, test_unit_ready()).status(), 0);
    }
    assert_eq!((world.shard(0).sessions().len(), world.shard(1).sessions().len()), (1, 1));
    world.lose(two.place);
    let three = Initiator::log_in(&mut world, 0, "c", UNASKED);
    assert_eq!(world.locate(three.place).0, 1);
    world.assert_at_rest();
}

#[test]
fn a_session_that_is_displaced_on_its_way_to_another_core_ends_there() {
    let mut world = World::new(2);
    let _first = Initiator::log_in(&mut world, 0, "z", UNASKED);
    world.mail_is_held = true;
    let old = Initiator::knock(&mut world, 0, "a", UNASKED);
    let new = Initiator::knock(&mut world, 0, "a", UNASKED);
    world.release_mail();
    assert_eq!(login_status(&mut world, &new), Some([0, 0]));
    assert!(world.is_closed(old.place));
    world.assert_at_rest();
    assert_eq!(world.shard(0).half_open_logins(), 0);
}

#[test]
fn logins_that_end_in_whatever_way_are_not_half_open_any_more() {
    let mut world = World::new(1);
    for _ in 0..40 {
        let silent = world.accept(0).unwrap();
        world.lose(silent);
        let overdue = world.accept(0).unwrap();
        world.pass(Duration::from_secs(20));
        assert!(world.is_closed(overdue));
        let initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
        world.lose(initiator.place);
    }
    assert_eq!(world.shard(0).half_open_logins(), 0);
    world.assert_at_rest();
}

#[test]
fn a_silent_initiator_is_pinged_and_then_dropped() {
    let mut world = World::new(1);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.pass(Duration::from_secs(11));
    let pings = initiator.answer(&mut world);
    assert_eq!((pings.opcodes(), pings.sent[0].word(16)), (vec![0x20], 0xffff_ffff));
    initiator.ping(&mut world, b"hello");
    assert_eq!(initiator.answer(&mut world).sent[0].data, b"hello");
    world.pass(Duration::from_secs(19));
    assert!(!world.is_closed(initiator.place));
    world.pass(Duration::from_secs(10));
    assert!(world.is_closed(initiator.place));
    world.assert_at_rest();
}

#[test]
fn a_shutdown_asks_for_logouts_and_then_drops_who_stays() {
    let mut world = World::new(2);
    let mut one = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    world.shut_down();
    // Async message, event 1 (RFC 7143 11.9.1).
    let asked = one.answer(&mut world);
    assert_eq!((asked.opcodes(), asked.sent[0].header[36]), (vec![0x32], 1));
    one.log_out(&mut world);
    assert_eq!(one.answer(&mut world).opcodes(), [LOGOUT_RESPONSE]);
    assert!(world.accept(0).is_none());
    world.pass(Duration::from_secs(4));
    assert!(world.is_closed(two.place));
    assert!(world.shard(0).is_idle() && world.shard(1).is_idle());
    world.assert_at_rest();
}
