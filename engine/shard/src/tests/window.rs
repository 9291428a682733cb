//! The command window follows the buffers: MaxCmdSN while data waits for them, and afterwards.

use super::initiator::{Initiator, Order, UNASKED, read_10, test_unit_ready, write_10};
use super::world::{Sent, World};
use iscsi::pdu::TaskManagementFunction as Function;
use std::time::Duration;
use units::SizeClass;

/// The CmdSN of the first command of a session.
const FIRST: u32 = 0xffff_fff0;

const NOP_IN: u8 = 0x20;
const GOOD: u8 = 0x00;
const TASK_SET_FULL: u8 = 0x28;

fn world(count: u32) -> World {
    World::with_pool(1, vec![SizeClass { bytes: 262_144, count }])
}

/// A session that has sent three commands, so that MaxCmdSN is 130 more than the first CmdSN.
fn log_in(world: &mut World, name: &str) -> Initiator {
    Initiator::log_in(world, 0, name, UNASKED)
}

/// A WRITE whose data comes with it.
fn write_of(lba: u8) -> Order {
    write_10(lba, 1).with(&[lba; 512])
}

/// ExpCmdSN and MaxCmdSN of a PDU, counted from the first CmdSN.
fn window_of(sent: &Sent) -> (u32, u32) {
    (sent.word(28).wrapping_sub(FIRST), sent.word(32).wrapping_sub(FIRST))
}

/// MaxCmdSN of each PDU that has come.
fn max_cmd_sns(initiator: &Initiator, world: &mut World) -> Vec<u32> {
    initiator.answer(world).sent.iter().map(|sent| window_of(sent).1).collect()
}

fn statuses(initiator: &Initiator, world: &mut World) -> Vec<u8> {
    initiator.answer(world).sent.iter().map(|sent| sent.header[3]).collect()
}

/// The window was always 128, however few buffers there were.
#[test]
fn the_window_does_not_open_while_data_waits_and_opens_gradually_afterwards() {
    let mut world = world(2);
    let mut initiator = log_in(&mut world, "a");
    world.backend_is_held = true;
    for lba in 0..20 {
        initiator.start(&mut world, write_of(lba));
    }
    assert_eq!(world.shard(0).sessions()[0].window, 1);
    world.release_backend();
    assert_eq!(max_cmd_sns(&initiator, &mut world), [130; 20]);
    // What was granted before is used up, and then each command grants one more.
    for _ in 23..130 {
        initiator.start(&mut world, test_unit_ready());
    }
    assert_eq!(max_cmd_sns(&initiator, &mut world), [130; 107]);
    for max in [132, 134, 136] {
        initiator.start(&mut world, write_of(0));
        assert_eq!(max_cmd_sns(&initiator, &mut world), [max]);
    }
    for _ in 4..=127 {
        initiator.start(&mut world, test_unit_ready());
    }
    assert_eq!(max_cmd_sns(&initiator, &mut world).last(), Some(&384));
    assert_eq!(world.shard(0).sessions()[0].window, 128);
    initiator.start(&mut world, test_unit_ready());
    assert_eq!(max_cmd_sns(&initiator, &mut world), [385]);
    world.assert_at_rest();
}

/// It sends as many WRITEs as it may, and the disk takes its time for each.
#[test]
fn an_initiator_that_fills_its_window_comes_to_send_what_finds_buffers() {
    let mut world = world(16);
    let mut initiator = log_in(&mut world, "a");
    world.backend_is_held = true;
    let (mut max_cmd_sn, mut in_flight) = (130, 0);
    let mut depths = Vec::new();
    for _ in 0..400 {
        while initiator.cmd_sn.wrapping_sub(FIRST) <= max_cmd_sn {
            initiator.start(&mut world, write_of(0));
            in_flight += 1;
        }
        depths.push(in_flight);
        world.end_one(0, 0, None);
        let sent = initiator.answer(&mut world).sent;
        assert_eq!(sent.iter().map(|sent| sent.header[3]).collect::<Vec<u8>>(), [GOOD]);
        max_cmd_sn = window_of(&sent[0]).1;
        in_flight -= 1;
    }
    assert_eq!(depths[0], 128);
    let settled = &depths[200..];
    // Six find buffers: the others are for other disks.
    assert_eq!((settled.iter().min(), settled.iter().max()), (Some(&3), Some(&7)));
    world.release_backend();
    world.assert_at_rest();
}

#[test]
fn commands_without_unsolicited_data_keep_the_whole_window() {
    let mut world = world(2);
    let mut initiator = log_in(&mut world, "a");
    world.backend_is_held = true;
    for _ in 0..64 {
        initiator.start(&mut world, read_10(0, 8));
        initiator.start(&mut world, write_10(0, 8));
    }
    assert_eq!(world.shard(0).sessions()[0].window, 128);
}

/// Each buffer that came back was a second in which the others were refused.
#[test]
fn data_is_not_refused_while_buffers_of_its_session_come_back() {
    let mut world = world(8);
    let mut initiator = log_in(&mut world, "a");
    world.backend_is_held = true;
    for lba in 0..20 {
        initiator.start(&mut world, write_of(lba));
    }
    for _ in 0..17 {
        world.pass(Duration::from_millis(900));
        assert!(!statuses(&initiator, &mut world).contains(&TASK_SET_FULL));
        world.end_one(0, 0, None);
    }
    assert!(!world.is_waiting(initiator.place));
    world.release_backend();
    world.assert_at_rest();
}

#[test]
fn data_of_a_session_without_buffers_waits_while_those_of_others_come_back() {
    let mut world = world(4);
    let mut holders: Vec<Initiator> =
        (0..4).map(|number| log_in(&mut world, &format!("h{number}"))).collect();
    let mut waiting: Vec<Initiator> =
        (0..4).map(|number| log_in(&mut world, &format!("w{number}"))).collect();
    world.backend_is_held = true;
    for holder in &mut holders {
        holder.start(&mut world, write_of(0));
    }
    for waiter in &mut waiting {
        waiter.start(&mut world, write_of(0));
        assert!(world.is_waiting(waiter.place));
    }
    for _ in 0..4 {
        world.pass(Duration::from_millis(900));
        world.end_one(0, 0, None);
    }
    world.release_backend();
    for waiter in &waiting {
        assert_eq!(statuses(waiter, &mut world), [GOOD]);
    }
    world.assert_at_rest();
}

/// Buffers that others return are no hope for a session that holds its share.
#[test]
fn data_is_refused_where_only_buffers_of_others_come_back() {
    let mut world = world(8);
    let mut hanging = log_in(&mut world, "a");
    let mut other = log_in(&mut world, "b");
    world.backend_is_held = true;
    for lba in 0..5 {
        hanging.start(&mut world, write_of(lba));
    }
    assert!(world.is_waiting(hanging.place));
    for _ in 0..3 {
        other.start(&mut world, write_of(0).at(1));
        let last = world.operations() - 1;
        world.pass(Duration::from_millis(600));
        world.end_one(0, last, None);
    }
    assert_eq!(statuses(&other, &mut world), [GOOD; 3]);
    assert_eq!(statuses(&hanging, &mut world), [TASK_SET_FULL; 2]);
    world.release_backend();
    world.assert_at_rest();
}

/// Once it was refused, it was refused at once until data found a buffer again.
#[test]
fn data_waits_again_once_a_buffer_of_its_session_has_come_back() {
    let mut world = world(4);
    let mut initiator = log_in(&mut world, "a");
    let mut other = log_in(&mut world, "b");
    world.backend_is_held = true;
    for lba in 0..3 {
        initiator.start(&mut world, write_of(lba));
    }
    world.pass(Duration::from_secs(2));
    assert_eq!(statuses(&initiator, &mut world), [TASK_SET_FULL]);
    initiator.start(&mut world, write_of(3));
    assert_eq!(statuses(&initiator, &mut world), [TASK_SET_FULL]);
    // Its two are at the medium; the others go to another session before one comes back.
    for _ in 0..2 {
        other.start(&mut world, read_10(0, 1));
    }
    world.end_one(0, 0, None);
    assert_eq!(statuses(&initiator, &mut world), [GOOD]);
    other.start(&mut world, read_10(0, 1));
    initiator.start(&mut world, write_of(4));
    assert!(world.is_waiting(initiator.place));
    world.release_backend();
    assert_eq!(statuses(&initiator, &mut world), [GOOD; 2]);
    world.assert_at_rest();
}

/// A session with two disks goes on with the one that works.
#[test]
fn a_disk_that_hangs_does_not_close_the_window() {
    let mut world = world(2);
    let mut initiator = log_in(&mut world, "a");
    world.backend_is_held = true;
    for _ in 0..128 {
        initiator.start(&mut world, write_of(0));
    }
    world.pass(Duration::from_secs(2));
    let answer = initiator.answer(&mut world);
    assert_eq!(answer.sent.len(), 127);
    assert!(answer.sent.iter().all(|sent| sent.header[3] == TASK_SET_FULL));
    // One hangs, and two may follow; each that ends well widens the window again.
    assert_eq!(answer.sent.last().map(window_of), Some((131, 132)));
    for max in [134, 136, 138] {
        initiator.start(&mut world, test_unit_ready().at(1));
        assert_eq!(max_cmd_sns(&initiator, &mut world), [max]);
    }
    world.release_backend();
    assert_eq!(statuses(&initiator, &mut world), [GOOD]);
    world.assert_at_rest();
}

/// The initiator waited for a response that never came.
#[test]
fn a_window_that_is_opened_without_a_response_is_announced() {
    let mut world = world(2);
    let mut full = log_in(&mut world, "a");
    let mut other = log_in(&mut world, "b");
    world.backend_is_held = true;
    for _ in 0..128 {
        full.start(&mut world, read_10(0, 1));
    }
    other.manage(&mut world, Function::LogicalUnitReset, None);
    let announced = full.answer(&mut world).sent;
    assert_eq!(announced.len(), 1);
    let (header, window) = (announced[0].header, window_of(&announced[0]));
    assert_eq!((header[0], &header[16..24], window), (NOP_IN, &[0xff; 8][..], (131, 131)));
    world.release_backend();
    // The next command shows the rest.
    assert_eq!(full.run(&mut world, test_unit_ready()).status(), 0x02);
    world.assert_at_rest();
}

/// Eight sessions held all large buffers, because each may hold as many as are free.
#[test]
fn immediate_data_for_a_disk_that_hangs_leaves_buffers_to_newcomers() {
    let mut world = world(144);
    let mut hanging: Vec<Initiator> =
        (0..12).map(|number| log_in(&mut world, &format!("h{number}"))).collect();
    world.backend_is_held = true;
    for session in &mut hanging {
        for _ in 0..128 {
            session.start(&mut world, write_of(0));
        }
    }
    assert_eq!(world.shard(0).buffers_in_use(), 48);
    let mut newcomer = log_in(&mut world, "n");
    newcomer.start(&mut world, write_of(0).at(1));
    assert!(!world.is_waiting(newcomer.place));
}
