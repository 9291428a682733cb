//! What one initiator can take from others, and what it keeps where it is only slow: logins,
//! sessions, immediate requests, deadlines.

use super::initiator::{Initiator, REJECT, TASK_MANAGEMENT_RESPONSE, UNASKED, read_10};
use super::sessions::login_status;
use super::world::{Place, World};
use iscsi::pdu::TaskManagementFunction as Function;
use std::time::Duration;
use units::SizeClass;

/// A Login Response of status class 3, detail 2 (RFC 7143 11.13.5).
const OUT_OF_RESOURCES: [u8; 2] = [3, 2];

const NOP_IN: u8 = 0x20;

/// A connection that logs in as one initiator more.
fn log_in_on(world: &mut World, place: Place, number: usize) -> Option<[u8; 2]> {
    let target = super::world::TARGET;
    let text = format!("host{number}\0TargetName={target}\0{UNASKED}");
    let initiator = Initiator::knock_on(world, place, &text);
    login_status(world, &initiator)
}

/// More than 16 logins of one address at the same time were reset.
#[test]
fn logins_of_one_address_that_come_all_at_once_all_succeed() {
    let mut world = World::new(1);
    let places: Vec<_> = (0..256).map(|_| world.accept(0).unwrap()).collect();
    for (number, place) in places.into_iter().enumerate() {
        assert_eq!(log_in_on(&mut world, place, number), Some([0, 0]), "login {number}");
    }
}

#[test]
fn an_address_with_too_many_logins_in_progress_is_told_so_and_no_other_is() {
    let mut world = World::new(1);
    let mut silent: Vec<_> = (0..512).map(|_| world.accept(0).unwrap()).collect();
    let surplus: Vec<_> = (0..64).map(|_| world.accept(0).unwrap()).collect();
    assert!(world.accept(0).is_none(), "what comes beyond is closed unanswered");
    assert_eq!(log_in_on(&mut world, surplus[0], 0), Some(OUT_OF_RESOURCES));
    assert!(world.is_closed(surplus[0]));
    let elsewhere = world.accept_from(0, "192.0.2.9:40000").unwrap();
    assert_eq!(log_in_on(&mut world, elsewhere, 1), Some([0, 0]));
    world.pass(Duration::from_secs(3));
    assert!(world.is_closed(surplus[1]), "it does not keep the place of one that logs in");
    world.lose(silent.pop().unwrap());
    let next = world.accept(0).unwrap();
    assert_eq!(log_in_on(&mut world, next, 2), Some([0, 0]));
}

#[test]
fn a_full_core_says_so() {
    let mut world = World::new(1);
    for host in 0..8 {
        for _ in 0..504 {
            world.accept_from(0, &format!("192.0.2.{host}:40000")).unwrap();
        }
    }
    let late = world.accept_from(0, "192.0.2.9:40000").unwrap();
    assert_eq!(log_in_on(&mut world, late, 0), Some(OUT_OF_RESOURCES));
}

/// Discovery sessions were not limited at all, and stayed on the core that accepted them.
#[test]
fn discovery_sessions_of_one_address_are_capped_and_take_nobody_elses_place() {
    let mut world = World::new(2);
    for number in 0..64 {
        let finder = Initiator::knock_for_discovery(&mut world, 0);
        assert_eq!(login_status(&mut world, &finder), Some([0, 0]), "discovery {number}");
    }
    let counts = [0, 1].map(|core| world.shard(core).sessions().len());
    assert_eq!(counts, [32, 32]);
    let refused = Initiator::knock_for_discovery(&mut world, 0);
    assert_eq!(login_status(&mut world, &refused), Some(OUT_OF_RESOURCES));
    assert!(world.is_closed(refused.place));
    let normal = Initiator::knock(&mut world, 0, "a", UNASKED);
    assert_eq!(login_status(&mut world, &normal), Some([0, 0]));
    world.pass(Duration::from_secs(31));
    let again = Initiator::knock_for_discovery(&mut world, 0);
    assert_eq!(login_status(&mut world, &again), Some([0, 0]), "the idle ones are gone");
    world.assert_at_rest();
}

#[test]
fn a_discovery_session_ends_when_it_asks_for_nothing_any_more() {
    for core in [0, 1] {
        let mut world = World::new(2);
        let _other = Initiator::log_in(&mut world, 0, "a", UNASKED);
        let mut finder = Initiator::knock_for_discovery(&mut world, core);
        finder.admitted(&mut world);
        for _ in 0..3 {
            world.pass(Duration::from_secs(15));
            finder.send_targets(&mut world);
            assert!(!world.is_closed(finder.place));
        }
        // Being alive is not enough.
        world.pass(Duration::from_secs(15));
        finder.ping(&mut world, b"alive");
        assert!(!world.is_closed(finder.place));
        world.pass(Duration::from_secs(16));
        assert!(world.is_closed(finder.place), "begun on core {core}");
        world.assert_at_rest();
    }
}

/// Connections that are lost while their registrar is asked must not stay counted.
#[test]
fn discovery_logins_that_are_lost_on_their_way_leave_their_places() {
    let mut world = World::new(2);
    for _ in 0..100 {
        world.mail_is_held = true;
        let finder = Initiator::knock_for_discovery(&mut world, 0);
        world.lose(finder.place);
        world.release_mail();
    }
    let finder = Initiator::knock_for_discovery(&mut world, 0);
    assert_eq!(login_status(&mut world, &finder), Some([0, 0]));
    world.assert_at_rest();
}

/// Sixteen immediate requests were the quota of all kinds: on a disk that hangs, aborts and pings
/// were rejected, and initiators dropped the session.
#[test]
fn aborts_and_pings_find_places_beside_immediate_commands_of_a_hung_disk() {
    // The first share of a session is a 32nd.
    let classes = vec![SizeClass { bytes: 4096, count: 512 }];
    let mut world = World::with_pool(1, classes);
    let mut initiator = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.backend_is_held = true;
    let order = read_10(0, 1);
    let tags: Vec<_> = (0..64).map(|_| initiator.start_immediate(&mut world, &order)).collect();
    assert_eq!(world.operations(), 16);
    assert_eq!(initiator.answer(&mut world).opcodes(), [REJECT; 48]);
    for &tag in &tags[..16] {
        initiator.manage(&mut world, Function::AbortTask, Some(tag));
    }
    assert_eq!(initiator.answer(&mut world).opcodes(), [], "they wait for the disk");
    initiator.manage(&mut world, Function::AbortTask, Some(0x7777));
    initiator.ping(&mut world, b"alive");
    let answers = initiator.answer(&mut world).opcodes();
    assert_eq!(answers, [TASK_MANAGEMENT_RESPONSE, NOP_IN]);
    // An aborted command has left its place to them.
    for _ in 16..82 {
        initiator.manage(&mut world, Function::AbortTask, Some(tags[0]));
    }
    assert_eq!(initiator.answer(&mut world).opcodes(), [REJECT; 2]);
    initiator.ping(&mut world, b"alive");
    assert_eq!(initiator.answer(&mut world).opcodes(), [NOP_IN]);
    world.release_backend();
    assert_eq!(initiator.answer(&mut world).opcodes(), [TASK_MANAGEMENT_RESPONSE; 80]);
    world.assert_at_rest();
}

/// After a stall of the daemon the deadlines came before the bytes that had arrived meanwhile.
#[test]
fn a_tick_that_comes_late_lets_what_has_arrived_count_first() {
    let mut world = World::new(1);
    let mut alive = Initiator::log_in(&mut world, 0, "a", UNASKED);
    let silent = Initiator::log_in(&mut world, 0, "b", UNASKED);
    let half_open = world.accept(0).unwrap();
    world.pass(Duration::from_secs(11));
    let pings = alive.answer(&mut world);
    assert_eq!(pings.opcodes(), [NOP_IN]);
    world.now = world.now.after(Duration::from_secs(60));
    world.pass(Duration::ZERO);
    for place in [alive.place, silent.place, half_open] {
        assert!(!world.is_closed(place));
    }
    alive.answer_ping(&mut world, pings.sent[0].word(20));
    assert_eq!(log_in_on(&mut world, half_open, 0), Some([0, 0]));
    world.pass(Duration::from_secs(1));
    assert!(!world.is_closed(alive.place));
    assert!(world.is_closed(silent.place), "the next tick judges");
    alive.ping(&mut world, b"alive");
    world.assert_at_rest();
}

#[test]
fn a_core_that_is_always_late_still_has_deadlines() {
    let mut world = World::new(1);
    let silent = world.accept(0).unwrap();
    for _ in 0..16 {
        world.now = world.now.after(Duration::from_millis(1200));
        world.pass(Duration::ZERO);
    }
    assert!(world.is_closed(silent));
}

/// Its ping was behind all that it had yet to read, and it was dropped after 42 s.
#[test]
fn an_initiator_that_takes_bytes_lives_however_slowly() {
    let mut world = World::new(1);
    let slow = Initiator::log_in(&mut world, 0, "a", UNASKED);
    world.sockets_move = true;
    world.pass(Duration::from_secs(300));
    assert!(!world.is_closed(slow.place));
    world.sockets_move = false;
    world.pass(Duration::from_secs(19));
    assert!(!world.is_closed(slow.place));
    world.pass(Duration::from_secs(2));
    assert!(world.is_closed(slow.place));
}
