//! Who gets a buffer, and who waits for one.

use super::*;
use crate::tests::parts::{Queues as Turns, key};
use units::SizeClass;

fn lender() -> Lender {
    pool(1, 8)
}

fn pool(small: u32, large: u32) -> Lender {
    Lender::new(&PoolLayout::new(vec![
        SizeClass { bytes: 4096, count: small },
        SizeClass { bytes: 65536, count: large },
    ]))
}

const fn session(slot: u32) -> ConnId {
    ConnId(key(slot))
}

/// Serves one task, which takes `wants` large buffers or waits again.
fn serve(lender: &mut Lender, holder: ConnId, wants: usize) -> Option<(Key, Vec<BufId>)> {
    let served = lender.next_hungry(1)?;
    let mut got = Vec::new();
    if wants == 1 {
        got.extend(lender.lend(65536, holder));
    } else if let Some(lent) = lender.lend_all([Some(65536), Some(65536)], holder, false) {
        got.extend(lent.into_iter().flatten());
    }
    if got.is_empty() {
        let waiting = lender.wait(served, holder, 65536);
        lender.keep_place(waiting, false);
    }
    lender.end_serving();
    lender.self_check();
    Some((served, got))
}

#[test]
fn an_empty_class_borrows_from_the_next_larger() {
    let mut lender = lender();
    assert_eq!(lender.lend(512, session(0)), Some(BufId(0)));
    assert_eq!(lender.lend(512, session(0)), Some(BufId(1)));
    lender.put_back(BufId(1));
    assert_eq!(lender.lent_count(), 1);
    assert_eq!(lender.lend(4097, session(0)), Some(BufId(1)));
}

#[test]
fn a_class_that_is_half_lent_has_nothing_to_spare() {
    let layout = [(4096, 4), (65_536, 4)].map(|(bytes, count)| SizeClass { bytes, count });
    let mut lender = Lender::new(&PoolLayout::new(layout.into()));
    assert!(lender.has_spare(512) && lender.has_spare(65_536));
    assert!(!lender.has_spare(65_537));
    assert!(lender.lend(512, session(0)).is_some());
    assert!(lender.has_spare(512));
    assert!(lender.lend(512, session(1)).is_some());
    assert!(!lender.has_spare(512));
    assert!(lender.has_spare(4097), "the next larger class is free");
}

#[test]
fn all_buffers_are_lent_or_none() {
    let mut lender = pool(1, 2);
    let three = [Some(65536), Some(65536), Some(65536)];
    assert_eq!(lender.lend_all(three, session(0), false), None);
    assert_eq!(lender.lent_count(), 0);
    let lent = lender.lend_all([Some(65536), None, Some(65536)], session(0), false);
    assert_eq!(lent, Some([Some(BufId(1)), None, Some(BufId(2))]));
}

#[test]
#[should_panic(expected = "given back twice")]
fn a_buffer_that_comes_back_twice_is_a_mistake_of_ours() {
    let mut lender = lender();
    let buf = lender.lend(1, session(0)).unwrap();
    lender.put_back(buf);
    lender.put_back(buf);
}

#[test]
fn a_returned_buffer_wakes_only_where_a_task_waits() {
    let (mut lender, mut turns) = (lender(), Turns::new(0, 1));
    let [first, second] = [0, 1].map(|_| lender.lend(1, session(0)).unwrap());
    lender.give_back(first, &mut turns.turn());
    assert_eq!(turns.wakes().len(), 0);
    lender.wait(key(1), session(0), 1);
    lender.give_back(second, &mut turns.turn());
    assert!(matches!(turns.wakes()[..], [Wake::BufferFree]));
}

#[test]
fn a_session_waits_where_it_holds_its_share_and_others_do_not() {
    let mut lender = lender();
    let held: Vec<BufId> = std::iter::from_fn(|| lender.lend(65536, session(0))).collect();
    assert_eq!(held.len(), 4);
    assert!(lender.lend(65536, session(1)).is_some());
}

#[test]
fn the_tasks_of_a_session_are_served_oldest_first_and_never_without_a_buffer() {
    let mut lender = pool(0, 1);
    let buf = lender.lend(65536, session(9)).unwrap();
    for task in [5, 3, 4] {
        lender.wait(key(task), session(0), 65536);
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
        taken.push(lender.lend(65536, session(slot)).unwrap());
    }
    for number in 0..3 {
        for slot in [0, 1, 5] {
            lender.wait(key(slot * 10 + number), session(slot), 65536);
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
            lender.lend(65536, session(next.index / 10)).unwrap();
            lender.end_serving();
            order.push(next.index);
        }
    }
    assert_eq!(order, [50, 51, 0, 10]);
}

#[test]
fn a_task_that_needs_two_buffers_gets_them_before_newcomers_take_one_by_one() {
    let (mut lender, mut turns) = (pool(0, 2), Turns::new(0, 1));
    let first = lender.lend(65536, session(0)).unwrap();
    lender.wait(key(1), session(1), 65536);
    assert_eq!(serve(&mut lender, session(1), 2), Some((key(1), vec![])));
    assert_eq!(lender.lend(65536, session(2)), None, "it is kept");
    lender.give_back(first, &mut turns.turn());
    lender.begin_serving();
    let (served, got) = serve(&mut lender, session(1), 2).unwrap();
    assert_eq!((served, got.len()), (key(1), 2));
}

#[test]
fn small_needs_are_met_by_a_larger_buffer() {
    let mut lender = pool(1, 1);
    let [_, large] = [0, 1].map(|_| lender.lend(1, session(0)).unwrap());
    lender.wait(key(1), session(1), 512);
    lender.put_back(large);
    assert_eq!(lender.next_hungry(1), None, "it waits in the class of small ones");
    assert_eq!(lender.next_hungry(0), Some(key(1)));
}

#[test]
fn a_task_that_has_ended_is_forgotten() {
    let (mut lender, mut turns) = (lender(), Turns::new(0, 1));
    let first = lender.wait(key(1), session(0), 512);
    let second = lender.wait(key(2), session(0), 65536);
    lender.wait(key(3), session(0), 65536);
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
        lender.wait(key(task), session(0), 65536);
    }
    assert_eq!(lender.next_hungry(1), Some(key(1)));
    let waiting = lender.wait(key(1), session(0), 65536);
    lender.keep_place(waiting, true);
    assert_eq!(lender.next_hungry(1), Some(key(1)));
}

#[test]
fn a_buffer_on_the_wire_names_its_sender_once() {
    let mut lender = lender();
    let mut turns = Turns::new(0, 1);
    let buf = lender.lend(1, session(0)).unwrap();
    lender.put_on_wire(buf, key(1));
    assert_eq!(lender.give_back(buf, &mut turns.turn()), Some(key(1)));
    assert_eq!(lender.lend(1, session(0)), Some(buf));
    assert_eq!(lender.give_back(buf, &mut turns.turn()), None);
}
