//! Task management functions, and what they wait for.

use super::initiator::{
    Initiator, Order, Part, R2T, TASK_MANAGEMENT_RESPONSE, UNASKED, read_10, reserve,
    test_unit_ready, write_10,
};
use super::world::World;
use iscsi::pdu::TaskManagementFunction as Function;

/// The responses of task management functions (RFC 7143 11.6.1).
pub(super) const COMPLETE: u8 = 0;
const TASK_DOES_NOT_EXIST: u8 = 1;
const LUN_DOES_NOT_EXIST: u8 = 2;

fn session(reactors: u8) -> (World, Initiator) {
    let mut world = World::new(reactors);
    let initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    (world, initiator)
}

/// RELEASE (6).
fn release() -> Order {
    Order::none(&[0x17, 0, 0, 0, 0, 0])
}

/// The one answer that has come is that of a task management function.
pub(super) fn outcome(world: &mut World, initiator: &Initiator) -> Option<u8> {
    let answer = initiator.answer(world);
    assert!(answer.sent.len() <= 1, "{answer:?}");
    let response = answer.sent.first()?;
    assert_eq!(response.opcode(), TASK_MANAGEMENT_RESPONSE);
    Some(response.header[2])
}

#[test]
fn an_aborted_write_is_answered_for_only_when_the_backend_is_done_with_it() {
    let (mut world, mut initiator) = session(1);
    world.backend_is_held = true;
    let tag = initiator.start(&mut world, write_10(0, 1).with(&[1; 512]));
    initiator.manage(&mut world, Function::AbortTask, Some(tag));
    assert_eq!(outcome(&mut world, &initiator), None);
    world.release_backend();
    assert_eq!(outcome(&mut world, &initiator), Some(COMPLETE));
    world.assert_at_rest();
}

#[test]
fn an_aborted_write_whose_data_is_still_coming_frees_its_buffer_at_the_end_of_the_pdu() {
    let (mut world, mut initiator) = session(1);
    let tag = initiator.start(&mut world, write_10(0, 8).goes_on());
    let part = Part { offset: 0, data_sn: 0, is_final: true, data: &[1; 4096] };
    let placement = initiator.begin_data_out(&mut world, tag, 0xffff_ffff, &part);
    let mut other = Initiator::log_in(&mut world, 0, "b", UNASKED);
    other.manage(&mut world, Function::LogicalUnitReset, None);
    assert_eq!(outcome(&mut world, &other), Some(COMPLETE));
    assert_eq!(world.shard(0).buffers_in_use(), 1, "the socket still writes into it");
    world.receive_data(initiator.place, placement, part.data, true);
    assert_eq!(initiator.answer(&mut world).opcodes(), []);
    world.assert_at_rest();
}

#[test]
fn a_task_that_is_not_there_cannot_be_aborted() {
    let (mut world, mut initiator) = session(1);
    initiator.manage(&mut world, Function::AbortTask, Some(0x77));
    assert_eq!(outcome(&mut world, &initiator), Some(TASK_DOES_NOT_EXIST));
    world.assert_at_rest();
}

#[test]
fn a_function_for_a_lun_that_is_not_there_says_so() {
    let (mut world, mut initiator) = session(1);
    let mut luns = (*super::world::catalog(2)).clone();
    assert!(luns.target(super::world::TARGET).is_some());
    let mut target = luns.targets()[0].clone();
    target.luns.remove(&0);
    luns = volume::Catalog::new(
        2,
        luns.volumes().cloned().map(Some).collect(),
        vec![target],
        Vec::new(),
    )
    .unwrap();
    world.switch_catalog(&std::sync::Arc::new(luns));
    initiator.manage(&mut world, Function::LogicalUnitReset, None);
    assert_eq!(outcome(&mut world, &initiator), Some(LUN_DOES_NOT_EXIST));
}

#[test]
fn a_reset_on_one_core_ends_the_tasks_of_all_cores_and_tells_every_nexus() {
    let mut world = World::new(2);
    let mut one = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    assert_ne!(world.locate(one.place).0, world.locate(two.place).0, "logins are spread");
    world.backend_is_held = true;
    two.start(&mut world, write_10(0, 1).with(&[1; 512]));
    one.manage(&mut world, Function::LogicalUnitReset, None);
    assert_eq!(outcome(&mut world, &one), None);
    world.release_backend();
    assert_eq!(outcome(&mut world, &one), Some(COMPLETE));
    assert_eq!(two.answer(&mut world).opcodes(), []);
    // BUS DEVICE RESET FUNCTION OCCURRED (SPC-4).
    assert_eq!(two.run(&mut world, test_unit_ready()).sense(), (0x06, 0x29, 0x03));
    world.assert_at_rest();
}

/// The Control mode page says that each nexus has a task set of its own (TST 001b), which is what
/// ORDERED tasks rely on; CLEAR TASK SET ended the tasks of all nexuses.
#[test]
fn clear_task_set_ends_the_tasks_of_its_own_nexus() {
    let (mut world, mut one) = session(1);
    let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    let control = one.run(&mut world, Order::reads(&[0x1a, 0x08, 0x0a, 0, 255, 0], 255)).data();
    assert_eq!(control[4..7], [0x0a, 0x0a, 0x22]);
    world.backend_is_held = true;
    for session in [&mut one, &mut two] {
        session.start(&mut world, write_10(0, 1).with(&[1; 512]));
    }
    one.manage(&mut world, Function::ClearTaskSet, None);
    assert_eq!(outcome(&mut world, &one), None, "its write is at the medium");
    world.release_backend();
    assert_eq!(outcome(&mut world, &one), Some(COMPLETE));
    assert_eq!(two.answer(&mut world).status(), 0);
    assert_eq!(two.run(&mut world, test_unit_ready()).status(), 0, "nobody cleared its commands");
    world.assert_at_rest();
}

/// An initiator whose ABORT TASK takes too long goes on to LOGICAL UNIT RESET. The reset knew
/// only tasks that had not been aborted, and so it was answered while the write was at the disk.
#[test]
fn a_reset_waits_for_a_write_that_was_aborted_before_it() {
    let (mut world, mut initiator) = session(1);
    world.backend_is_held = true;
    let tag = initiator.start(&mut world, write_10(0, 1).with(&[1; 512]));
    initiator.manage(&mut world, Function::AbortTask, Some(tag));
    for function in [
        Function::LogicalUnitReset,
        Function::ClearTaskSet,
        Function::TargetWarmReset,
        Function::AbortTaskSet,
    ] {
        initiator.manage(&mut world, function, None);
    }
    initiator.manage(&mut world, Function::AbortTask, Some(tag));
    assert_eq!(initiator.answer(&mut world).opcodes(), []);
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).opcodes(), [TASK_MANAGEMENT_RESPONSE; 6]);
    world.assert_at_rest();
}

/// A job that ends within the call that starts it began the next one inside of itself. With one
/// reactor, a long queue behind a slow write then ran out of stack.
#[test]
fn a_thousand_jobs_behind_a_slow_write_need_no_stack() {
    let (mut world, mut initiator) = session(1);
    world.backend_is_held = true;
    let tag = initiator.start(&mut world, write_10(0, 1).with(&[1; 512]));
    initiator.manage(&mut world, Function::AbortTask, Some(tag));
    initiator.manage(&mut world, Function::LogicalUnitReset, None);
    let mut sessions: Vec<Initiator> = Vec::new();
    for number in 0..40 {
        let mut initiator = Initiator::knock(&mut world, 0, &format!("h{number}"), UNASKED);
        initiator.admitted(&mut world);
        initiator.run(&mut world, test_unit_ready());
        sessions.push(initiator);
    }
    for initiator in &mut sessions {
        for _ in 0..100 {
            initiator.start(&mut world, release());
        }
    }
    world.release_backend();
    for initiator in &sessions {
        assert_eq!(initiator.answer(&mut world).sent.len(), 100);
    }
    world.assert_at_rest();
}

#[test]
fn a_reservation_keeps_others_out_until_its_nexus_is_gone() {
    let mut world = World::new(2);
    let mut one = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    assert_eq!(one.run(&mut world, reserve()).status(), 0);
    // RESERVATION CONFLICT (SAM-5).
    assert_eq!(two.run(&mut world, read_10(0, 1)).status(), 0x18);
    assert_eq!(two.run(&mut world, reserve()).status(), 0x18);
    assert_eq!(two.run(&mut world, release()).status(), 0);
    world.lose(one.place);
    assert_eq!(two.run(&mut world, read_10(0, 1)).status(), 0);
    world.assert_at_rest();
}

/// A connection that was lost while its RESERVE was on its way to the home left a reservation
/// behind that nobody held.
#[test]
fn a_reservation_that_comes_after_its_session_has_ended_ends_too() {
    for lost_on in [0, 1] {
        let mut world = World::new(2);
        let one = Initiator::log_in(&mut world, 0, "a", UNASKED);
        let two = Initiator::log_in(&mut world, 0, "b", UNASKED);
        let (mut lost, mut left) = if lost_on == 0 { (one, two) } else { (two, one) };
        world.mail_is_held = true;
        lost.start(&mut world, reserve());
        world.lose(lost.place);
        world.release_mail();
        assert_eq!(left.run(&mut world, read_10(0, 1)).status(), 0, "lost {lost_on}");
        world.assert_at_rest();
    }
}

/// A reset waits for its turn at the home of the unit. It ended what its own session had sent
/// behind it, without a word, although the initiator meant that to be carried out.
#[test]
fn a_reset_spares_what_its_session_sends_behind_it() {
    let (mut world, mut initiator) = session(1);
    world.backend_is_held = true;
    initiator.start(&mut world, write_10(0, 1).with(&[1; 512]));
    initiator.manage(&mut world, Function::LogicalUnitReset, None);
    initiator.manage(&mut world, Function::LogicalUnitReset, None);
    initiator.start(&mut world, read_10(8, 1));
    world.release_backend();
    let answer = initiator.answer(&mut world);
    let resets = answer.opcodes().iter().filter(|&&o| o == TASK_MANAGEMENT_RESPONSE).count();
    assert_eq!((resets, answer.sent.len()), (2, 3), "{answer:?}");
    world.assert_at_rest();
}

/// A RESERVE that was aborted while it waited for its turn at the home was carried out all the
/// same, behind the answer that it was gone, and kept everybody else out.
#[test]
fn an_aborted_reserve_that_has_not_begun_never_does() {
    let (mut world, mut one) = session(1);
    let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    world.backend_is_held = true;
    one.start(&mut world, write_10(0, 1).with(&[1; 512]));
    two.manage(&mut world, Function::LogicalUnitReset, None);
    // The reset has told this nexus already.
    assert_eq!(one.run(&mut world, test_unit_ready()).status(), 0x02);
    let tag = one.start(&mut world, reserve());
    one.manage(&mut world, Function::AbortTask, Some(tag));
    assert_eq!(outcome(&mut world, &one), Some(COMPLETE));
    world.release_backend();
    assert_eq!(outcome(&mut world, &two), Some(COMPLETE));
    two.run(&mut world, test_unit_ready());
    assert_eq!(two.run(&mut world, read_10(0, 1)).status(), 0);
    world.assert_at_rest();
}

/// The LUN was taken away while data for it came in. The reset found no logical unit to reset, was
/// answered as done, and the write asked for more data behind that answer.
#[test]
fn a_target_reset_ends_tasks_whose_lun_is_not_mapped_any_more() {
    for reactors in [1, 2] {
        let mut world = World::new(reactors);
        let mut initiator =
            Initiator::log_in(&mut world, 0, "a", "MaxBurstLength=512\0MaxOutstandingR2T=1\0");
        let tag = initiator.start(&mut world, write_10(0, 4));
        let asked = initiator.answer(&mut world).sent;
        assert_eq!((asked.len(), asked[0].opcode()), (1, R2T));
        world.switch_catalog(&super::world::catalog_with(2, false));
        initiator.answer(&mut world);
        initiator.manage(&mut world, Function::TargetWarmReset, None);
        assert_eq!(outcome(&mut world, &initiator), Some(COMPLETE));
        let data = Part { offset: 0, data_sn: 0, is_final: true, data: &[1; 512] };
        initiator.data_out(&mut world, tag, asked[0].word(20), &data);
        assert_eq!(initiator.answer(&mut world).opcodes(), []);
        world.assert_at_rest();
    }
}
