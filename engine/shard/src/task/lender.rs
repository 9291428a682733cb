//! Which buffers of the reactor's pool are lent, and which task gets the next one.
//!
//! Only names are kept here; the memory is the reactor's. A buffer is lent to one task at a
//! time and comes back exactly once: from the task, or from the reactor when the last PDU that
//! names it has left.

use crate::turn::Turn;
use crate::wake::Wake;
use std::collections::VecDeque;
use units::{BufId, Key, Mutant, PoolLayout};

/// The free lists of a pool, one for each size class.
#[derive(Debug)]
pub(crate) struct Lender {
    layout: PoolLayout,
    free: Vec<Vec<BufId>>,
    lent: Vec<bool>,
    /// Of buffers whose bytes are on the wire: the task that may send more when they have left.
    sender: Vec<Option<Key>>,
    /// Tasks that wait for a buffer, by the class that they need, oldest first.
    hungry: Vec<VecDeque<Key>>,
    hungry_count: usize,
    lent_count: u32,
}

/// A pool with more buffers than this is not checked after every call of a debug build.
const CHECKED_BUFFERS_MAX: usize = 512;

impl Lender {
    /// All buffers free.
    pub(crate) fn new(layout: PoolLayout) -> Self {
        let mut free = Vec::with_capacity(layout.classes().len());
        let mut first = 0;
        for class in layout.classes() {
            // Low names are lent first, so that a lightly loaded pool stays in the cache.
            free.push((first..first + class.count).rev().map(BufId).collect());
            first += class.count;
        }
        let lent = vec![false; first as usize];
        let sender = vec![None; first as usize];
        let hungry = vec![VecDeque::new(); free.len()];
        Self { layout, free, lent, sender, hungry, hungry_count: 0, lent_count: 0 }
    }

    /// Lends a buffer of at least `bytes`, of the smallest class that has one free.
    #[inline]
    pub(crate) fn lend(&mut self, bytes: u32) -> Option<BufId> {
        let smallest = self.layout.class_for(bytes)?;
        let buf = self.free[smallest..].iter_mut().find_map(Vec::pop)?;
        debug_assert!(!self.lent[buf.0 as usize], "a free buffer is not lent");
        self.lent[buf.0 as usize] = true;
        self.lent_count += 1;
        Some(buf)
    }

    /// Whether a buffer of at least `bytes` would be lent of a class that is mostly free: those who
    /// take buffers only then cannot hold more than half of any class.
    pub(crate) fn has_spare(&self, bytes: u32) -> bool {
        let Some(smallest) = self.layout.class_for(bytes) else { return false };
        let classes = self.free.iter().zip(self.layout.classes()).skip(smallest);
        let mut with_free = classes.filter(|(free, _)| !free.is_empty());
        with_free.next().is_some_and(|(free, class)| free.len() > class.count as usize / 2)
    }

    /// Lends buffers of at least these lengths, or none of them: a task that held one
    /// while it waited for another could wait forever, for others that do the same.
    pub(crate) fn lend_all<const N: usize>(
        &mut self,
        lengths: [Option<u32>; N],
    ) -> Option<[Option<BufId>; N]> {
        let lent = lengths.map(|bytes| bytes.and_then(|bytes| self.lend(bytes)));
        let asked = lengths.iter().flatten().count();
        if lent.iter().flatten().count() == asked {
            return Some(lent);
        }
        for buf in lent.into_iter().rev().flatten() {
            self.put_back(buf);
        }
        None
    }

    /// Takes a buffer back, and wakes the tasks that wait for one.
    #[inline]
    pub(crate) fn give_back(&mut self, buf: BufId, turn: &mut Turn<'_>) {
        self.put_back(buf);
        if self.hungry_count > 0 {
            turn.wake(Wake::BufferFree);
        }
    }

    /// Takes a buffer back that nobody waits for, because it has just been lent.
    #[inline]
    pub(crate) fn put_back(&mut self, buf: BufId) {
        let lent = &mut self.lent[buf.0 as usize];
        assert!(*lent, "{buf:?} was given back twice");
        *lent = false;
        self.lent_count -= 1;
        let Some((class, _)) = self.layout.locate(buf) else {
            unreachable!("{buf:?} is none of this pool")
        };
        self.free[class].push(buf);
    }

    /// A task waits for a buffer of at least `bytes`.
    pub(crate) fn wait(&mut self, key: Key, bytes: u32) {
        let class = self.layout.class_for(bytes).unwrap_or(self.free.len() - 1);
        debug_assert!(!self.hungry.iter().any(|queue| queue.contains(&key)), "it waits already");
        self.hungry[class].push_back(key);
        self.hungry_count += 1;
    }

    /// A task that waits for a buffer has ended.
    #[cold]
    pub(crate) fn forget(&mut self, key: Key) {
        self.hungry.iter_mut().for_each(|queue| queue.retain(|&waiting| waiting != key));
        self.hungry_count -= 1;
        let waiting: usize = self.hungry.iter().map(VecDeque::len).sum();
        assert_eq!(waiting, self.hungry_count, "a task waits once");
    }

    /// The task of a class that waits longest, if a buffer could be lent to it.
    pub(crate) fn next_hungry(&mut self, class: usize) -> Option<Key> {
        if self.free[class..].iter().all(Vec::is_empty) {
            return None;
        }
        let key = self.hungry[class].pop_front()?;
        debug_assert!(self.hungry_count > 0, "waiting tasks are counted");
        self.hungry_count -= 1;
        if Mutant::HungryForgotten.is_active() && self.hungry[class].pop_back().is_some() {
            self.hungry_count -= 1;
        }
        Some(key)
    }

    /// Whether a task waits for a buffer.
    #[inline]
    pub(crate) const fn has_hungry(&self) -> bool {
        self.hungry_count > 0
    }

    /// A task that has just joined a queue again goes to its front: it has waited before. The
    /// queue may be another one, because the task needs a buffer of another size by now.
    pub(crate) fn keep_place(&mut self, key: Key) {
        if let Some(queue) = self.hungry.iter_mut().find(|queue| queue.back() == Some(&key)) {
            queue.rotate_right(1);
        }
    }

    /// How many classes there are.
    pub(crate) const fn classes(&self) -> usize {
        self.free.len()
    }

    /// The bytes of a buffer are on the wire for a task that has more to send.
    pub(crate) fn put_on_wire(&mut self, buf: BufId, sender: Key) {
        debug_assert!(self.lent[buf.0 as usize], "only a lent buffer is sent");
        assert!(self.sender[buf.0 as usize].is_none(), "a buffer is on the wire once");
        self.sender[buf.0 as usize] = Some(sender);
    }

    /// The bytes of a buffer have left, if they were on the wire: the task that sent them.
    pub(crate) fn take_off_wire(&mut self, buf: BufId) -> Option<Key> {
        self.sender[buf.0 as usize].take()
    }

    /// Whether a buffer has room for so many bytes.
    pub(crate) fn has_room(&self, buf: BufId, bytes: u32) -> bool {
        self.layout
            .locate(buf)
            .is_some_and(|(class, _)| self.layout.classes()[class].bytes >= bytes)
    }

    /// Whether a task waits in one of the queues.
    pub(crate) fn is_waiting(&self, key: Key) -> bool {
        self.hungry.iter().any(|queue| queue.contains(&key))
    }

    /// Asserts that every buffer is either free or lent, and that the counts agree: for debug
    /// builds and tests. It looks at every buffer, so it leaves large pools alone.
    pub(crate) fn self_check(&self) {
        if self.lent.len() > CHECKED_BUFFERS_MAX {
            return;
        }
        let lent = self.lent.iter().filter(|&&lent| lent).count();
        assert_eq!(lent, self.lent_count as usize, "lent buffers are counted");
        let free: usize = self.free.iter().map(Vec::len).sum();
        assert_eq!(free + lent, self.lent.len(), "a buffer is free or lent");
        let is_free = |buf: &BufId| !self.lent[buf.0 as usize];
        assert!(self.free.iter().flatten().all(is_free), "a lent buffer is in a free list");
        let waiting: usize = self.hungry.iter().map(VecDeque::len).sum();
        assert_eq!(waiting, self.hungry_count, "tasks that wait are counted");
        let mut senders = self.sender.iter().zip(&self.lent);
        assert!(senders.all(|(sender, lent)| sender.is_none() || *lent), "a free buffer is sent");
    }

    /// How many buffers are lent.
    pub(crate) const fn lent_count(&self) -> u32 {
        self.lent_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::parts::{Queues, key};
    use units::SizeClass;

    fn lender() -> Lender {
        Lender::new(PoolLayout::new(vec![
            SizeClass { bytes: 4096, count: 1 },
            SizeClass { bytes: 65536, count: 2 },
        ]))
    }

    #[test]
    fn an_empty_class_borrows_from_the_next_larger() {
        let mut lender = lender();
        assert_eq!(lender.lend(512), Some(BufId(0)));
        assert_eq!(lender.lend(512), Some(BufId(1)));
        assert_eq!(lender.lend(65536), Some(BufId(2)));
        assert_eq!(lender.lend(512), None);
        lender.put_back(BufId(1));
        assert_eq!(lender.lent_count(), 2);
        assert_eq!(lender.lend(4097), Some(BufId(1)));
    }

    #[test]
    fn a_class_that_is_half_lent_has_nothing_to_spare() {
        let layout = [(4096, 4), (65_536, 4)].map(|(bytes, count)| SizeClass { bytes, count });
        let mut lender = Lender::new(PoolLayout::new(layout.into()));
        assert!(lender.has_spare(512) && lender.has_spare(65_536));
        assert!(!lender.has_spare(65_537));
        lender.lend(512);
        assert!(lender.has_spare(512));
        lender.lend(512);
        assert!(!lender.has_spare(512));
        lender.lend(512);
        lender.lend(512);
        assert!(lender.has_spare(512), "the next larger class is free");
        lender.lend(65_536);
        lender.lend(65_536);
        assert!(!lender.has_spare(512));
    }

    #[test]
    fn all_buffers_are_lent_or_none() {
        let mut lender = lender();
        assert_eq!(lender.lend_all([Some(65536), None, Some(4096), Some(65536), Some(1)]), None);
        assert_eq!(lender.lent_count(), 0);
        let lent = lender.lend_all([Some(4096), None, Some(65536)]);
        assert_eq!(lent, Some([Some(BufId(0)), None, Some(BufId(1))]));
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn a_buffer_that_comes_back_twice_is_a_mistake_of_ours() {
        let mut lender = lender();
        let buf = lender.lend(1).unwrap();
        lender.put_back(buf);
        lender.put_back(buf);
    }

    #[test]
    fn a_returned_buffer_wakes_only_where_a_task_waits() {
        let (mut lender, mut queues) = (lender(), Queues::new(0, 1));
        let (first, second) = (lender.lend(1).unwrap(), lender.lend(1).unwrap());
        lender.give_back(first, &mut queues.turn());
        assert_eq!(queues.wakes().len(), 0);
        lender.wait(key(1), 1);
        lender.give_back(second, &mut queues.turn());
        assert!(matches!(queues.wakes()[..], [Wake::BufferFree]));
    }

    #[test]
    fn tasks_that_wait_are_served_oldest_first_and_never_without_a_buffer() {
        let mut lender = lender();
        let bufs: Vec<BufId> = (0..3).map(|_| lender.lend(1).unwrap()).collect();
        for task in [5, 3, 4] {
            lender.wait(key(task), 65536);
        }
        assert_eq!(lender.next_hungry(1), None, "no buffer is free");
        lender.put_back(bufs[0]);
        assert_eq!(lender.next_hungry(1), None, "the free one is too small");
        lender.put_back(bufs[1]);
        for task in [5, 3, 4] {
            assert_eq!(lender.next_hungry(1), Some(key(task)));
        }
        assert_eq!(lender.next_hungry(1), None);
        assert!(!lender.has_hungry());
    }

    #[test]
    fn small_needs_are_met_by_a_larger_buffer() {
        let mut lender = lender();
        let bufs: Vec<BufId> = (0..3).map(|_| lender.lend(1).unwrap()).collect();
        lender.wait(key(1), 512);
        lender.put_back(bufs[2]);
        assert_eq!(lender.next_hungry(1), None, "it waits in the class of small ones");
        assert_eq!(lender.next_hungry(0), Some(key(1)));
    }

    #[test]
    fn a_task_that_has_ended_is_forgotten_wherever_it_waits() {
        let mut lender = lender();
        lender.wait(key(1), 512);
        lender.wait(key(2), 65536);
        lender.wait(key(3), 65536);
        lender.forget(key(2));
        assert_eq!(lender.next_hungry(1), Some(key(3)));
        lender.forget(key(1));
        assert!(!lender.has_hungry());
        assert_eq!(lender.next_hungry(0), None);
    }

    #[test]
    fn a_task_that_waits_again_keeps_its_place() {
        let mut lender = lender();
        for task in [1, 2, 3] {
            lender.wait(key(task), 65536);
        }
        assert_eq!(lender.next_hungry(1), Some(key(1)));
        lender.wait(key(1), 65536);
        lender.keep_place(key(1));
        assert_eq!(lender.next_hungry(1), Some(key(1)));
        // By now it needs a small one, and waits in that queue.
        lender.wait(key(1), 512);
        lender.keep_place(key(1));
        let order = [lender.next_hungry(1), lender.next_hungry(1), lender.next_hungry(0)];
        assert_eq!(order, [Some(key(2)), Some(key(3)), Some(key(1))]);
    }

    #[test]
    fn a_buffer_on_the_wire_names_its_sender_once() {
        let mut lender = lender();
        let buf = lender.lend(1).unwrap();
        lender.put_on_wire(buf, key(1));
        assert_eq!(lender.take_off_wire(buf), Some(key(1)));
        assert_eq!(lender.take_off_wire(buf), None);
    }
}
