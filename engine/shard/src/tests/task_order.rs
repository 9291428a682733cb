//! Task attributes: who waits for whom.

use super::initiator::{
    Initiator, Order, Part, SCSI_RESPONSE, TASK_MANAGEMENT_RESPONSE, UNASKED, read_10,
    test_unit_ready, write_10,
};
use super::world::World;
use iscsi::pdu::{TaskAttribute, TaskManagementFunction as Function};
use units::SizeClass;

const TASK_SET_FULL: u8 = 0x28;
const LARGE: SizeClass = SizeClass { bytes: 262_144, count: 8 };

fn session() -> (World, Initiator) {
    // Enough of them are free all the time.
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 4096, count: 32 }, LARGE]);
    let initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    (world, initiator)
}

fn fill(lba: u8, byte: u8) -> Order {
    write_10(lba, 1).with(&[byte; 512])
}

/// The tags of the responses that have come, in their order.
fn answered(world: &mut World, initiator: &Initiator) -> Vec<u32> {
    initiator.answer(world).sent.iter().map(|sent| sent.word(16)).collect()
}

/// It was run like a SIMPLE one, together with whatever was under way.
#[test]
fn an_ordered_task_waits_for_all_before_it_and_all_behind_it_wait_for_it() {
    let (mut world, mut initiator) = session();
    world.backend_is_held = true;
    let orders = [
        fill(0, 1),
        fill(1, 1),
        fill(0, 2).ordered(),
        fill(0, 3),
        read_10(0, 1),
        fill(0, 4).ordered(),
        test_unit_ready(),
    ];
    let tags = orders.map(|order| initiator.start(&mut world, order));
    assert_eq!(world.operations(), 2, "the two simple writes in front");
    world.end_one(0, 1, None);
    assert_eq!(answered(&mut world, &initiator), [tags[1]]);
    assert_eq!(world.operations(), 1);
    world.end_one(0, 0, None);
    assert_eq!(answered(&mut world, &initiator), [tags[0]]);
    assert_eq!(world.operations(), 1, "the first ordered write");
    world.end_one(0, 0, None);
    assert_eq!(answered(&mut world, &initiator), [tags[2]]);
    assert_eq!(world.operations(), 2, "the tasks between the ordered ones");
    world.end_one(0, 0, None);
    world.end_one(0, 0, None);
    let between = initiator.answer(&mut world);
    assert_eq!(between.sent.iter().map(|sent| sent.word(16)).collect::<Vec<_>>(), tags[3..5]);
    assert_eq!(world.operations(), 1, "the second ordered write");
    world.release_backend();
    assert_eq!(answered(&mut world, &initiator), tags[5..]);
    assert_eq!(world.disks[0][0], 4);
    world.assert_at_rest();
}

#[test]
fn a_task_at_the_head_of_the_queue_waits_for_nothing() {
    let (mut world, mut initiator) = session();
    world.backend_is_held = true;
    initiator.start(&mut world, fill(0, 1));
    initiator.start(&mut world, fill(0, 2).ordered());
    let head = test_unit_ready().with_attribute(TaskAttribute::HeadOfQueue);
    let tag = initiator.start(&mut world, head);
    assert_eq!(answered(&mut world, &initiator), [tag]);
    // An ordered one waits for it like for any other.
    let head = read_10(0, 1).with_attribute(TaskAttribute::HeadOfQueue);
    initiator.start(&mut world, head);
    initiator.start(&mut world, test_unit_ready().ordered());
    assert_eq!(answered(&mut world, &initiator), []);
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).sent.len(), 4);
    world.assert_at_rest();
}

#[test]
fn other_sessions_and_other_logical_units_wait_for_nobody() {
    let (mut world, mut one) = session();
    let mut two = Initiator::log_in(&mut world, 0, "b", UNASKED);
    world.backend_is_held = true;
    one.start(&mut world, fill(0, 1));
    one.start(&mut world, fill(0, 2).ordered());
    let elsewhere = one.start(&mut world, test_unit_ready().at(1));
    assert_eq!(answered(&mut world, &one), [elsewhere]);
    let other = two.start(&mut world, test_unit_ready().ordered());
    assert_eq!(answered(&mut world, &two), [other]);
    world.release_backend();
    assert_eq!(one.answer(&mut world).opcodes(), [SCSI_RESPONSE; 2]);
    world.assert_at_rest();
}

#[test]
fn an_ordered_task_waits_for_data_that_an_earlier_one_has_yet_to_get() {
    let (mut world, mut initiator) = session();
    let write = initiator.start(&mut world, write_10(0, 1));
    let (transfer, ..) = initiator.answer(&mut world).r2ts()[0];
    let ordered = initiator.start(&mut world, fill(0, 2).ordered());
    // It asks for no data of its own.
    let behind = initiator.start(&mut world, write_10(0, 1));
    assert_eq!(initiator.answer(&mut world).opcodes(), []);
    let part = Part { offset: 0, data_sn: 0, is_final: true, data: &[1; 512] };
    initiator.data_out(&mut world, write, transfer, &part);
    let answer = initiator.answer(&mut world);
    assert_eq!(
        answer.sent.iter().map(|s| s.word(16)).collect::<Vec<_>>(),
        [write, ordered, behind]
    );
    let (transfer, ..) = answer.r2ts()[0];
    assert_eq!(world.disks[0][0], 2);
    let part = Part { data: &[3; 512], ..part };
    initiator.data_out(&mut world, behind, transfer, &part);
    assert_eq!((answered(&mut world, &initiator), world.disks[0][0]), (vec![behind], 3));
    world.assert_at_rest();
}

#[test]
fn who_waits_for_an_aborted_task_waits_for_the_ordered_one_in_front_of_it() {
    let (mut world, mut initiator) = session();
    world.backend_is_held = true;
    initiator.start(&mut world, fill(0, 1));
    initiator.start(&mut world, fill(0, 2).ordered());
    let aborted = initiator.start(&mut world, fill(0, 3).ordered());
    let last = initiator.start(&mut world, test_unit_ready());
    initiator.manage(&mut world, Function::AbortTask, Some(aborted));
    assert_eq!(initiator.answer(&mut world).opcodes(), [TASK_MANAGEMENT_RESPONSE]);
    world.end_one(0, 0, None);
    assert_eq!(initiator.answer(&mut world).sent.len(), 1);
    world.end_one(0, 0, None);
    assert_eq!(answered(&mut world, &initiator).last(), Some(&last));
    assert_eq!(world.disks[0][0], 2);
    world.assert_at_rest();
}

#[test]
fn a_reset_and_the_end_of_a_session_end_tasks_that_wait() {
    let (mut world, mut initiator) = session();
    world.backend_is_held = true;
    for order in [fill(0, 1), fill(0, 2).ordered(), fill(0, 3), test_unit_ready().ordered()] {
        initiator.start(&mut world, order);
    }
    initiator.manage(&mut world, Function::LogicalUnitReset, None);
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).opcodes(), [TASK_MANAGEMENT_RESPONSE]);
    assert_eq!(world.disks[0][0], 1);
    initiator.run(&mut world, test_unit_ready());
    world.backend_is_held = true;
    for order in [fill(0, 4), fill(0, 5).ordered(), fill(0, 6)] {
        initiator.start(&mut world, order);
    }
    world.lose(initiator.place);
    world.release_backend();
    assert_eq!(world.disks[0][0], 4);
    world.assert_at_rest();
}

#[test]
fn attributes_that_the_unit_does_not_have_are_refused() {
    let (mut world, mut initiator) = session();
    for attribute in [TaskAttribute::Aca, TaskAttribute::Reserved(6)] {
        let order = fill(0, 1).with_attribute(attribute);
        let answer = initiator.run(&mut world, order);
        // INVALID FIELD IN COMMAND INFORMATION UNIT (SPC-4).
        assert_eq!(answer.sense(), (0x05, 0x0e, 0x03), "{attribute:?}");
    }
    assert_eq!(world.disks[0][0], 0);
    world.assert_at_rest();
}

/// What waits behind an ordered task holds the data that came with it, and what is in front of it
/// may need buffers to end.
#[test]
fn tasks_that_wait_leave_most_of_the_buffers_to_those_in_front() {
    let mut world = World::with_pool(1, vec![SizeClass { count: 32, ..LARGE }]);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    // Of 256 KiB, but it has one buffer until its data comes.
    let front = initiator.start(&mut world, write_10(0, 512));
    let (transfer, ..) = initiator.answer(&mut world).r2ts()[0];
    initiator.start(&mut world, fill(0, 9).ordered());
    let mut refused = 0;
    for lba in 0..10 {
        initiator.start(&mut world, fill(lba, 5));
        refused += initiator.answer(&mut world).sent.len();
    }
    // Six of them and the ordered one have a buffer.
    assert_eq!(refused, 4);
    assert_eq!(world.shard(0).buffers_in_use(), 8);
    let data = vec![1; 262_144];
    let part = Part { offset: 0, data_sn: 0, is_final: true, data: &data };
    initiator.data_out(&mut world, front, transfer, &part);
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).opcodes(), [SCSI_RESPONSE; 8]);
    let full = initiator.run(&mut world, fill(0, 7));
    assert_ne!(full.status(), TASK_SET_FULL);
    world.assert_at_rest();
}

/// The buffers of dormant tasks counted as those of their session, which then held too many to get
/// one for the tasks in front: all of them waited without end.
#[test]
fn tasks_in_front_find_buffers_beside_the_data_of_dormant_ones() {
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 32 }]);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    let front = initiator.start(&mut world, read_10(0, 4096));
    initiator.start(&mut world, test_unit_ready().ordered());
    for lba in 0..24 {
        initiator.start(&mut world, write_10(lba, 1).with(&[7; 512]));
    }
    initiator.answer(&mut world);
    world.release_backend();
    let answer = initiator.answer(&mut world);
    assert!(answer.sent.iter().any(|sent| sent.word(16) == front && sent.header[1] & 1 == 1));
    world.assert_at_rest();
}
