//! Who gets a buffer, and who waits for one.

use super::*;
use crate::tests::parts::{Queues as Turns, key, two_volumes};
use std::net::{IpAddr, Ipv4Addr};
use units::SizeClass;

fn lender() -> Lender {
    pool(1, 8)
}

fn pool(small: u32, large: u32) -> Lender {
    let classes = [(4096, small), (65536, large)];
    with_sessions(classes.map(|(bytes, count)| SizeClass { bytes, count }).into())
}

/// With ten sessions, each of a host of its own.
fn with_sessions(classes: Vec<SizeClass>) -> Lender {
    let mut lender = Lender::new(&PoolLayout::new(classes));
    (0..10).for_each(|number| lender.enter(session(number), host(number)));
    lender
}

const fn host(number: u32) -> Source {
    Source::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

/// What a task of a session needs that has no volume.
const fn need(slot: u32) -> Need {
    of(session(slot))
}

const fn of(holder: ConnId) -> Need {
    Need { holder, volume: None }
}

const fn session(slot: u32) -> ConnId {
    ConnId(key(slot))
}

/// Serves one task, which takes `wants` large buffers or waits again.
fn serve(lender: &mut Lender, holder: ConnId, wants: usize) -> Option<(Key, Vec<BufId>)> {
    let served = lender.next_hungry(1)?;
    let mut got = Vec::new();
    if wants == 1 {
        got.extend(lender.lend(65536, of(holder)));
    } else if let Some(lent) = lender.lend_all([Some(65536), Some(65536)], of(holder), false) {
        got.extend(lent.into_iter().flatten());
    }
    if got.is_empty() {
        let waiting = lender.wait(served, of(holder), 65536);
        lender.keep_place(waiting, false);
    }
    lender.end_serving();
    lender.self_check();
    Some((served, got))
}

#[test]
fn an_empty_class_borrows_from_the_next_larger() {
    let mut lender = lender();
    assert_eq!(lender.lend(512, need(0)), Some(BufId(0)));
    assert_eq!(lender.lend(512, need(0)), Some(BufId(1)));
    lender.put_back(BufId(1));
    assert_eq!(lender.lent_count(), 1);
    assert_eq!(lender.lend(4097, need(0)), Some(BufId(1)));
}

#[test]
fn a_class_that_is_half_lent_or_a_quarter_to_one_session_has_nothing_to_spare() {
    let layout = [(4096, 32), (65_536, 32)].map(|(bytes, count)| SizeClass { bytes, count });
    let mut lender = with_sessions(layout.into());
    let other = session(9);
    assert!(lender.has_spare(512, 1, other) && lender.has_spare(65_536, 1, other));
    assert!(!lender.has_spare(65_537, 1, other));
    (0..8).for_each(|_| assert!(lender.lend_promised(512, need(0)).is_some()));
    assert!(!lender.has_spare(512, 1, session(0)));
    assert!(lender.has_spare(512, 1, other));
    (0..8).for_each(|_| assert!(lender.lend_promised(512, need(1)).is_some()));
    assert!(!lender.has_spare(512, 1, other));
    assert!(lender.has_spare(4097, 1, other), "the next larger class is free");
}

#[test]
fn all_buffers_are_lent_or_none() {
    let mut lender = pool(1, 2);
    let three = [Some(65536), Some(65536), Some(65536)];
    assert_eq!(lender.lend_all(three, need(0), false), None);
    assert_eq!(lender.lent_count(), 0);
    let lent = lender.lend_all([Some(65536), None, Some(65536)], need(0), false);
    assert_eq!(lent, Some([Some(BufId(1)), None, Some(BufId(2))]));
}

#[test]
#[should_panic(expected = "given back twice")]
fn a_buffer_that_comes_back_twice_is_a_mistake_of_ours() {
    let mut lender = lender();
    let buf = lender.lend(1, need(0)).unwrap();
    lender.put_back(buf);
    lender.put_back(buf);
}

#[test]
fn a_returned_buffer_wakes_only_where_a_task_waits() {
    let (mut lender, mut turns) = (lender(), Turns::new(0, 1));
    let [first, second] = [0, 1].map(|_| lender.lend(1, need(0)).unwrap());
    lender.give_back(first, &mut turns.turn());
    assert_eq!(turns.wakes().len(), 0);
    lender.wait(key(1), need(0), 1);
    lender.give_back(second, &mut turns.turn());
    assert!(matches!(turns.wakes()[..], [Wake::BufferFree]));
}

#[test]
fn a_session_waits_where_it_holds_its_share_and_others_do_not() {
    let mut lender = lender();
    let held: Vec<BufId> = std::iter::from_fn(|| lender.lend(65536, need(0))).collect();
    assert_eq!(held.len(), 4);
    assert!(lender.lend(65536, need(1)).is_some());
}

#[test]
fn the_tasks_of_a_session_are_served_oldest_first_and_never_without_a_buffer() {
    let mut lender = pool(0, 1);
    let buf = lender.lend(65536, need(9)).unwrap();
    for task in [5, 3, 4] {
        lender.wait(key(task), need(0), 65536);
    }
    assert_eq!(lender.next_hungry(1), None, "no buffer is free");
    lender.put_back(buf);
    for task in [5, 3, 4] {
        let (served, got) = serve(&mut lender, session(0), 1).unwrap();
        assert_eq!(served, key(task));
        lender.put_back(got[0]);
    }
    assert!(!lender.has_hungry());
}

#[test]
fn the_session_that_holds_least_is_served_first_and_equal_ones_by_turns() {
    let (mut lender, mut turns) = (pool(0, 9), Turns::new(0, 1));
    let mut taken = Vec::new();
    for slot in [0, 1, 2, 3, 0, 1, 2, 3] {
        taken.push(lender.lend(65536, need(slot)).unwrap());
    }
    for number in 0..3 {
        for slot in [0, 1, 5] {
            lender.wait(key(slot * 10 + number), need(slot), 65536);
        }
    }
    let mut order = Vec::new();
    // One buffer is free; then what sessions 2, 3 and 0 held comes back.
    for returned in [None, Some(2), Some(3), Some(6), Some(7), Some(0)] {
        if let Some(place) = returned {
            let buf: BufId = taken[place];
            lender.give_back(buf, &mut turns.turn());
        }
        while let Some(next) = lender.next_hungry(1) {
            lender.lend(65536, need(next.index / 10)).unwrap();
            lender.end_serving();
            order.push(next.index);
        }
    }
    assert_eq!(order, [50, 51, 0, 10]);
}

#[test]
fn a_task_that_needs_two_buffers_gets_them_before_newcomers_take_one_by_one() {
    let (mut lender, mut turns) = (pool(0, 2), Turns::new(0, 1));
    let first = lender.lend(65536, need(0)).unwrap();
    lender.wait(key(1), need(1), 65536);
    assert_eq!(serve(&mut lender, session(1), 2), Some((key(1), vec![])));
    assert_eq!(lender.lend(65536, need(2)), None, "it is kept");
    lender.give_back(first, &mut turns.turn());
    lender.begin_serving();
    let (served, got) = serve(&mut lender, session(1), 2).unwrap();
    assert_eq!((served, got.len()), (key(1), 2));
}

#[test]
fn small_needs_are_met_by_a_larger_buffer() {
    let mut lender = pool(1, 1);
    let [_, large] = [0, 1].map(|_| lender.lend(1, need(0)).unwrap());
    lender.wait(key(1), need(1), 512);
    lender.put_back(large);
    assert_eq!(lender.next_hungry(1), None, "it waits in the class of small ones");
    assert_eq!(lender.next_hungry(0), Some(key(1)));
}

#[test]
fn a_task_that_has_ended_is_forgotten() {
    let (mut lender, mut turns) = (lender(), Turns::new(0, 1));
    let first = lender.wait(key(1), need(0), 512);
    let second = lender.wait(key(2), need(0), 65536);
    lender.wait(key(3), need(0), 65536);
    lender.forget(key(2), second, &mut turns.turn());
    assert_eq!(lender.next_hungry(1), Some(key(3)));
    lender.forget(key(1), first, &mut turns.turn());
    assert!(!lender.has_hungry());
    assert_eq!(lender.next_hungry(0), None);
    lender.self_check();
}

#[test]
fn a_task_that_waits_again_keeps_its_place_in_its_session() {
    let mut lender = lender();
    for task in [1, 2] {
        lender.wait(key(task), need(0), 65536);
    }
    assert_eq!(lender.next_hungry(1), Some(key(1)));
    let waiting = lender.wait(key(1), need(0), 65536);
    lender.keep_place(waiting, true);
    assert_eq!(lender.next_hungry(1), Some(key(1)));
}

#[test]
fn a_buffer_on_the_wire_names_its_sender_once() {
    let mut lender = lender();
    let mut turns = Turns::new(0, 1);
    let buf = lender.lend(1, need(0)).unwrap();
    lender.put_on_wire(buf, key(1));
    assert_eq!(lender.give_back(buf, &mut turns.turn()), Some(key(1)));
    assert_eq!(lender.lend(1, need(0)), Some(buf));
    assert_eq!(lender.give_back(buf, &mut turns.turn()), None);
}

/// The large buffers of the default pool, and two volumes.
fn with_volumes() -> Lender {
    let mut lender = Lender::new(&PoolLayout::new(vec![SizeClass { bytes: 262_144, count: 144 }]));
    lender.follow(&two_volumes());
    lender
}

/// Lends a session all that it gets for data that nobody has asked for. It waits for the volume.
fn fill(lender: &mut Lender, holder: ConnId, volume: u32) -> usize {
    let volume = VolumeId(volume);
    let need = Need { holder, volume: Some(volume) };
    let lent = std::iter::from_fn(|| {
        let buf = lender.lend_promised(262_144, need)?;
        lender.wait_for_medium(buf, volume);
        Some(buf)
    });
    let count = lent.count();
    lender.self_check();
    count
}

/// They held all buffers before.
#[test]
fn nine_sessions_whose_medium_stands_still_leave_two_thirds_to_others() {
    let mut lender = with_volumes();
    let counts = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|number| {
        lender.enter(session(number), host(number));
        fill(&mut lender, session(number), 0)
    });
    assert_eq!(counts, [48, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Another disk, also of a host that waits for the first one.
    assert_eq!(fill(&mut lender, session(0), 1), 24);
    assert_eq!(fill(&mut lender, session(1), 1), 8);
}

/// What dead sessions had was charged to nobody.
#[test]
fn a_host_that_comes_back_nine_times_gets_no_more() {
    let mut lender = with_volumes();
    let counts = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|generation| {
        let conn = ConnId(Key { index: 0, generation });
        lender.enter(conn, host(1));
        let count = fill(&mut lender, conn, 0);
        lender.leave(conn);
        count
    });
    assert_eq!(counts, [48, 0, 0, 0, 0, 0, 0, 0, 0]);
    lender.enter(session(0), host(1));
    assert_eq!(fill(&mut lender, session(0), 1), 24);
    // Its sessions are gone, and 72 buffers are still its own.
    lender.leave(session(0));
    lender.enter(session(1), host(2));
    assert_eq!(fill(&mut lender, session(1), 1), 8);
}

/// Each of them may hold one where any is free, as far as it depends on the session.
#[test]
fn all_sessions_of_a_host_together_leave_half_of_a_class() {
    for sessions in [44, 150] {
        let mut lender = with_volumes();
        let mut held = 0;
        for number in 0..sessions {
            lender.enter(session(number), host(1));
            let need = Need { holder: session(number), volume: Some(VolumeId(0)) };
            held += std::iter::from_fn(|| lender.lend(262_144, need)).count();
        }
        assert_eq!(held, 72);
        lender.enter(session(200), host(2));
        let need = Need { holder: session(200), volume: Some(VolumeId(0)) };
        assert_eq!(std::iter::from_fn(|| lender.lend(262_144, need)).count(), 4);
    }
}

/// Several of them come together to more than a half.
#[test]
fn data_that_nobody_asked_for_leaves_a_quarter_to_sessions_that_hold_none() {
    let mut lender = with_volumes();
    let counts = [0, 1, 2].map(|number| {
        lender.enter(session(number), host(number));
        let need = Need { holder: session(number), volume: Some(VolumeId(0)) };
        std::iter::from_fn(|| lender.lend_promised(262_144, need)).count()
    });
    assert_eq!(counts, [72, 36, 1]);
}

#[test]
fn a_task_whose_medium_is_full_holds_up_no_other_and_nobody_counts_as_starved_for_it() {
    let mut lender = with_volumes();
    for number in 0..2 {
        lender.enter(session(number), host(number));
    }
    assert_eq!(fill(&mut lender, session(0), 0), 48);
    for (task, holder, volume) in [(1, 1, 0), (2, 1, 1), (3, 0, 0)] {
        let need = Need { holder: session(holder), volume: Some(VolumeId(volume)) };
        lender.wait(key(task), need, 262_144);
    }
    assert_eq!(lender.next_hungry(0), Some(key(2)));
    lender.end_serving();
    assert_eq!(lender.next_hungry(0), None);
    assert!(!lender.is_starved(Instant(0)));
    lender.self_check();
}

/// Each of them put the other back among those that may get a buffer, for ever.
#[test]
fn two_tasks_of_a_session_that_need_more_than_there_is_are_tried_once() {
    let mut lender = Lender::new(&PoolLayout::new(vec![SizeClass { bytes: 262_144, count: 4 }]));
    lender.follow(&two_volumes());
    for number in 0..2 {
        lender.enter(session(number), host(number));
        lender.lend(262_144, need(number)).unwrap();
    }
    let on = |volume| Need { holder: session(0), volume: Some(VolumeId(volume)) };
    for volume in 0..2 {
        lender.wait(key(volume), on(volume), 262_144);
    }
    lender.begin_serving();
    for volume in 0..2 {
        assert_eq!(lender.next_hungry(0), Some(key(volume)));
        assert_eq!(lender.lend_all([Some(262_144), Some(262_144)], on(volume), false), None);
        let waiting = lender.wait(key(volume), on(volume), 262_144);
        lender.keep_place(waiting, false);
        lender.end_serving();
    }
    assert_eq!(lender.next_hungry(0), None);
    lender.self_check();
}

#[test]
fn data_for_a_full_medium_hopes_for_what_that_returns() {
    let (mut lender, mut turns) = (with_volumes(), Turns::new(0, 1));
    for number in 0..3 {
        lender.enter(session(number), host(number));
    }
    assert_eq!(fill(&mut lender, session(0), 0), 48);
    let on = |holder, volume| Need { holder: session(holder), volume: Some(VolumeId(volume)) };
    lender.wait(key(1), on(1, 0), 262_144);
    let other = lender.lend(262_144, on(2, 1)).unwrap();
    lender.give_back(other, &mut turns.turn());
    assert_eq!(lender.last_return_to(on(1, 0), 262_144), Instant(0));
    assert_eq!(lender.last_return_to(on(1, 1), 262_144), turns.now);
}
