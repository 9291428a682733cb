//! Shares of the pool: no session can keep the others waiting, whatever it does not do.

use super::initiator::{Initiator, Part, REJECT, UNASKED, read_10, test_unit_ready, write_10};
use super::world::{TARGET, World};
use std::time::Duration;
use units::SizeClass;

/// The large buffers of the default pool, and some small ones.
fn default_pool() -> World {
    let classes =
        vec![SizeClass { bytes: 4096, count: 256 }, SizeClass { bytes: 262_144, count: 144 }];
    World::with_pool(1, classes)
}

/// A session of a host with that number. Any number of them log in.
fn host(world: &mut World, number: usize) -> Initiator {
    session_of(world, number, number)
}

/// A session with that number, of a host.
fn session_of(world: &mut World, host: usize, number: usize) -> Initiator {
    let address = format!("10.0.{}.{}:40000", host / 250, host % 250 + 1);
    let place = world.accept_from(0, &address).unwrap();
    let text = format!("h{number}\0TargetName={TARGET}\0{UNASKED}");
    let mut initiator = Initiator::knock_on(world, place, &text);
    initiator.admitted(world);
    initiator.run(world, test_unit_ready());
    initiator
}

/// A host that has just come reads and writes little and much.
fn assert_that_a_newcomer_is_served(world: &mut World) {
    let mut newcomer = host(world, 1000);
    for order in [read_10(0, 8), read_10(0, 512), write_10(0, 8).with(&[7; 4096])] {
        let answer = newcomer.run(world, order.clone());
        assert!(!answer.sent.is_empty(), "{order:?} waits");
        assert_eq!(answer.status(), 0, "{order:?}");
    }
}

/// 36 reads of 1 MiB held every large buffer of a reactor until their peer read them.
#[test]
fn a_session_that_does_not_read_leaves_buffers_for_others() {
    let mut world = default_pool();
    let mut deaf = host(&mut world, 0);
    world.wire_is_held = true;
    for _ in 0..128 {
        deaf.start(&mut world, read_10(0, 2048));
    }
    assert_eq!(world.shard(0).buffers_in_use(), 4);
    assert_that_a_newcomer_is_served(&mut world);
}

/// 26 such sessions stopped every read of 4 KiB.
#[test]
fn writes_whose_data_never_comes_leave_buffers_for_others() {
    // Those of 4 KiB take large buffers too when the small ones are gone.
    for (blocks, held) in [(2048, 104), (8, 312)] {
        let mut world = default_pool();
        for number in 0..26 {
            let mut mute = host(&mut world, number);
            for _ in 0..120 {
                mute.start(&mut world, write_10(0, blocks));
            }
        }
        assert_eq!(world.shard(0).buffers_in_use(), held);
        assert_that_a_newcomer_is_served(&mut world);
    }
}

/// The reads of a host with a slow link raised those of another one from 0.3 to 1019 ms.
#[test]
fn a_slow_host_that_reads_leaves_half_of_the_pool() {
    let mut world = default_pool();
    let mut slow = host(&mut world, 0);
    world.wire_is_held = true;
    for _ in 0..128 {
        slow.start(&mut world, read_10(0, 2048));
    }
    for _ in 0..400 {
        world.take_one_off_wire(0);
        assert!(world.shard(0).buffers_in_use() <= 72);
    }
    assert_eq!(world.shard(0).buffers_in_use(), 72);
    assert_that_a_newcomer_is_served(&mut world);
}

/// It waited behind all that others had asked for before.
#[test]
fn a_session_waits_for_one_buffer_and_not_for_the_queue_of_another() {
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 1 }]);
    let mut busy = host(&mut world, 0);
    let mut other = host(&mut world, 1);
    world.wire_is_held = true;
    for _ in 0..100 {
        busy.start(&mut world, read_10(0, 1));
    }
    other.start(&mut world, read_10(0, 1));
    // The one that waits longer is first, and then the other.
    for _ in 0..2 {
        assert_eq!(other.answer(&mut world).sent.len(), 0);
        world.take_one_off_wire(0);
    }
    assert_eq!(other.answer(&mut world).status(), 0);
    world.release_wire();
    assert_eq!(busy.answer(&mut world).sent.len(), 100);
    world.assert_at_rest();
}

/// Time goes by for a session that answers pings.
fn pass(world: &mut World, initiator: &mut Initiator, seconds: u64) {
    for _ in 0..seconds {
        initiator.ping(world, &[]);
        world.pass(Duration::from_secs(1));
    }
}

/// They never did, and their buffers were gone for as long as the session lived.
#[test]
fn an_r2t_that_is_not_answered_times_out() {
    let mut world = default_pool();
    let mut mute = host(&mut world, 0);
    let tag = mute.start(&mut world, write_10(0, 2048));
    let r2ts = mute.answer(&mut world).r2ts();
    pass(&mut world, &mut mute, 29);
    assert_eq!(world.shard(0).buffers_in_use(), 1);
    pass(&mut world, &mut mute, 2);
    world.assert_at_rest();
    let answer = mute.answer(&mut world);
    let failed = answer.sent.iter().find(|sent| sent.word(16) == tag).unwrap();
    // CHECK CONDITION, ABORTED COMMAND, INITIATOR RESPONSE TIMEOUT.
    assert_eq!((failed.header[3], failed.data[4], &failed.data[14..16]), (2, 11, &[0x4b, 6][..]));
    // What comes now is dropped without a word.
    let part = Part { offset: 0, data_sn: 0, is_final: true, data: &[1; 512] };
    mute.data_out(&mut world, tag, r2ts[0].0, &part);
    assert!(!mute.answer(&mut world).opcodes().contains(&REJECT));
    assert_eq!(mute.run(&mut world, read_10(0, 1)).data(), [0; 512]);
}

#[test]
fn unsolicited_data_that_does_not_come_times_out() {
    let mut world = default_pool();
    let mut mute = host(&mut world, 0);
    mute.start(&mut world, write_10(0, 16).with(&[1; 512]).goes_on());
    pass(&mut world, &mut mute, 31);
    world.assert_at_rest();
}

#[test]
fn an_initiator_that_brings_its_data_slowly_is_waited_for() {
    let mut world = default_pool();
    let mut slow = host(&mut world, 0);
    let tag = slow.start(&mut world, write_10(0, 8));
    let other = slow.start(&mut world, write_10(0, 8));
    let r2ts = slow.answer(&mut world).r2ts();
    for data_sn in 0..8 {
        pass(&mut world, &mut slow, 20);
        let offset = data_sn * 512;
        let part = Part { offset, data_sn, is_final: data_sn == 7, data: &[1; 512] };
        slow.data_out(&mut world, tag, r2ts[0].0, &part);
    }
    pass(&mut world, &mut slow, 20);
    let part = Part { offset: 0, data_sn: 0, is_final: true, data: &[1; 4096] };
    slow.data_out(&mut world, other, r2ts[1].0, &part);
    let answer = slow.answer(&mut world);
    let statuses: Vec<u8> =
        answer.sent.iter().filter(|s| s.opcode() == 0x21).map(|s| s.header[3]).collect();
    assert_eq!(statuses, [0, 0]);
    world.assert_at_rest();
}

/// An initiator that brings data for later tasks passes the R2T over.
#[test]
fn an_r2t_that_is_passed_over_times_out() {
    let mut world = default_pool();
    let mut host = host(&mut world, 0);
    let passed_over = host.start(&mut world, write_10(0, 512));
    host.answer(&mut world);
    let mut sent = Vec::new();
    for _ in 0..4 {
        pass(&mut world, &mut host, 8);
        let tag = host.start(&mut world, write_10(0, 8));
        let answer = host.answer(&mut world);
        let Some(&(transfer, ..)) = answer.r2ts().last() else { panic!("no R2T") };
        sent.extend(answer.sent);
        let part = Part { offset: 0, data_sn: 0, is_final: true, data: &[1; 4096] };
        host.data_out(&mut world, tag, transfer, &part);
    }
    let failed = sent.iter().find(|sent| sent.word(16) == passed_over).unwrap();
    assert_eq!((failed.header[3], failed.data[4], &failed.data[14..16]), (2, 11, &[0x4b, 6][..]));
    world.assert_at_rest();
}

/// What brings nothing that was asked for is no answer to an R2T.
#[test]
fn data_that_nobody_asked_for_does_not_keep_an_r2t_open() {
    let stray = |tag, transfer| (tag, transfer, &[][..]);
    for is_stray in [false, true] {
        let mut world = default_pool();
        let mut host = host(&mut world, 0);
        let tag = host.start(&mut world, write_10(0, 512));
        let r2ts = host.answer(&mut world).r2ts();
        for data_sn in 0..16 {
            pass(&mut world, &mut host, 2);
            // Of a task that there is not, or for the R2T, but empty.
            let (tag, transfer, data) =
                if is_stray { stray(0x7fff_fff0, 0x99) } else { stray(tag, r2ts[0].0) };
            let data_sn = if is_stray { 0 } else { data_sn };
            let part = Part { offset: 0, data_sn, is_final: false, data };
            host.data_out(&mut world, tag, transfer, &part);
        }
        assert_eq!(world.shard(0).buffers_in_use(), 0, "stray: {is_stray}");
    }
}

/// Single bytes kept a buffer that others wanted for as long as their sender liked.
#[test]
fn data_that_drips_is_not_waited_for_while_others_want_its_buffer() {
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 1 }]);
    let mut dripping = host(&mut world, 0);
    let mut other = host(&mut world, 1);
    let tag = dripping.start(&mut world, write_10(0, 512));
    let r2ts = dripping.answer(&mut world).r2ts();
    other.start(&mut world, read_10(0, 1));
    for offset in 0..8 {
        let part = Part { offset, data_sn: offset, is_final: false, data: &[1] };
        dripping.data_out(&mut world, tag, r2ts[0].0, &part);
        pass(&mut world, &mut dripping, 1);
    }
    assert_eq!(other.answer(&mut world).data(), [0; 512]);
}

/// Twelve sessions with unsolicited data to come held all buffers.
#[test]
fn unsolicited_data_that_never_comes_leaves_buffers_for_others() {
    let mut world = default_pool();
    for number in 0..12 {
        let mut mute = host(&mut world, number);
        for _ in 0..20 {
            mute.start(&mut world, write_10(0, 512).with(&[1; 4096]).goes_on());
            mute.start(&mut world, write_10(0, 512).with(&[1; 512]).goes_on());
        }
    }
    // What is here is written where it is whole blocks. A quarter is left of each size.
    assert_eq!(world.shard(0).buffers_in_use(), 114);
    assert_that_a_newcomer_is_served(&mut world);
}

#[test]
fn an_r2t_times_out_sooner_where_a_session_without_buffers_waits() {
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 1 }]);
    let mut mute = host(&mut world, 0);
    let mut other = host(&mut world, 1);
    mute.start(&mut world, write_10(0, 512));
    pass(&mut world, &mut mute, 4);
    other.start(&mut world, read_10(0, 1));
    assert_eq!(other.answer(&mut world).sent.len(), 0);
    pass(&mut world, &mut mute, 2);
    assert_eq!(other.answer(&mut world).status(), 0);
    world.assert_at_rest();
}

/// Sessions that hold all buffers and do not read, and one that has none.
fn starved() -> (World, Vec<Initiator>, Initiator) {
    let mut world = World::with_pool(1, vec![SizeClass { bytes: 262_144, count: 36 }]);
    world.wire_is_held = true;
    let mut deaf: Vec<Initiator> = (0..36).map(|number| host(&mut world, number)).collect();
    for session in &mut deaf {
        session.start(&mut world, read_10(0, 512));
        session.answer(&mut world);
    }
    let mut other = host(&mut world, 1000);
    other.start(&mut world, read_10(0, 512));
    assert_eq!(other.answer(&mut world).sent.len(), 0);
    (world, deaf, other)
}

#[test]
fn sessions_that_move_nothing_are_dropped_where_one_without_buffers_waits() {
    let (mut world, deaf, other) = starved();
    world.pass(Duration::from_secs(12));
    assert!(deaf.iter().any(|session| world.is_closed(session.place)));
    assert_eq!(other.answer(&mut world).status(), 0);
}

#[test]
fn sessions_that_move_little_keep_their_connections() {
    let (mut world, deaf, _other) = starved();
    for _ in 0..9 {
        world.pass(Duration::from_secs(2));
        world.moved_bytes += 10_000;
    }
    assert!(deaf.iter().all(|session| !world.is_closed(session.place)));
}

#[test]
fn sessions_that_move_single_bytes_are_dropped_where_one_without_buffers_waits() {
    let (mut world, deaf, other) = starved();
    for _ in 0..18 {
        world.pass(Duration::from_secs(2));
        world.moved_bytes += 1;
    }
    assert!(deaf.iter().any(|session| world.is_closed(session.place)));
    assert_eq!(other.answer(&mut world).status(), 0);
}

/// Each of its sessions had one buffer, until there was none.
#[test]
fn the_sessions_of_one_host_leave_half_of_the_pool() {
    for sessions in [44, 150] {
        let mut world = default_pool();
        for number in 0..sessions {
            let mut mute = session_of(&mut world, 0, number);
            for _ in 0..40 {
                mute.start(&mut world, write_10(0, 2048));
            }
        }
        assert_eq!(world.shard(0).buffers_in_use(), 72);
        assert_that_a_newcomer_is_served(&mut world);
    }
}

/// They held all large buffers, and a read of a disk that was well had no answer.
#[test]
fn hosts_whose_disk_stands_still_leave_buffers_for_other_disks() {
    let mut world = default_pool();
    world.backend_is_held = true;
    for number in 0..9 {
        let mut hung = host(&mut world, number);
        for _ in 0..60 {
            hung.start(&mut world, write_10(0, 128).with(&[7; 65536]));
        }
    }
    assert_eq!(world.shard(0).buffers_in_use(), 48);
    let mut other = host(&mut world, 1000);
    other.run(&mut world, test_unit_ready().at(1));
    other.start(&mut world, read_10(0, 512).at(1));
    other.start(&mut world, write_10(0, 128).with(&[7; 65536]).at(1));
    assert_eq!(world.operations(), 50);
    world.release_backend();
    world.assert_at_rest();
}

/// What a session leaves at a disk that stands still was charged to nobody.
#[test]
fn a_host_that_comes_back_again_and_again_gets_no_more() {
    let mut world = default_pool();
    world.backend_is_held = true;
    for number in 0..9 {
        let mut hung = session_of(&mut world, 0, number);
        for _ in 0..60 {
            hung.start(&mut world, write_10(0, 128).with(&[7; 65536]));
        }
        world.lose(hung.place);
    }
    assert_eq!(world.shard(0).buffers_in_use(), 48);
    world.release_backend();
    world.assert_at_rest();
}
