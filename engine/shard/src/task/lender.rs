//! Which buffers of the reactor's pool are lent, and which task gets the next one.
//!
//! Only names are kept here; the memory is the reactor's. A buffer is lent to one task at a
//! time and comes back exactly once: from the task, or from the reactor when the last PDU that
//! names it has left.
//!
//! Each session has a share of the pool ([`shares`]), and the tasks that wait are served by
//! sessions ([`queues`]), so that no session can keep the others waiting.

mod queues;
mod shares;

use crate::turn::Turn;
use crate::wake::Wake;
use queues::Queues;
use shares::{Account, Shares};
use std::collections::VecDeque;
use units::{BufId, ConnId, Instant, Key, PoolLayout, limits};

/// The free lists of a pool, one for each size class, and who holds and wants the rest.
#[derive(Debug)]
pub(crate) struct Lender {
    layout: PoolLayout,
    free: Vec<Vec<BufId>>,
    lent: Vec<Option<Loan>>,
    /// Of buffers whose bytes are on the wire: the task that may send more when they have left.
    sender: Vec<Option<Key>>,
    shares: Shares,
    queues: Queues,
    /// Tasks whose data has come and waits for a buffer, oldest first.
    unplaced: VecDeque<Key>,
    /// One bit for each class whose free buffers are kept together: a task of a session that
    /// holds none of them needs several at a time.
    kept: u32,
    /// A task is served that has waited for its turn.
    is_serving: bool,
    lent_count: u32,
    /// When a buffer came back the last time while a task waited for one.
    returned_at: Instant,
}

/// What is known of a buffer that is lent.
#[derive(Clone, Copy, Debug)]
struct Loan {
    holder: ConnId,
    is_promised: bool,
}

/// Where a task waits for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    account: Account,
    class: usize,
}

/// A session that lends.
#[derive(Clone, Copy)]
struct Borrower {
    holder: ConnId,
    account: Account,
    /// One bit for each class of which it held nothing before: it gets all that one burst needs.
    fresh: u32,
    /// The buffer is for data that the command window has promised a place.
    is_promised: bool,
}

/// A buffer that is free again.
struct Released {
    class: usize,
    /// The session that held it, if it still lives.
    account: Option<Account>,
    was_promised: bool,
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
        assert!(free.len() <= u32::BITS as usize, "each class has a bit");
        Self {
            lent: vec![None; first as usize],
            sender: vec![None; first as usize],
            shares: Shares::new(&layout),
            queues: Queues::new(free.len()),
            unplaced: VecDeque::new(),
            kept: 0,
            is_serving: false,
            lent_count: 0,
            returned_at: Instant(0),
            layout,
            free,
        }
    }

    /// Lends a session a buffer of at least `bytes`, of the smallest class that has one for it.
    #[inline]
    pub(crate) fn lend(&mut self, bytes: u32, holder: ConnId) -> Option<BufId> {
        let account = self.shares.account(holder);
        self.lend_one(bytes, Borrower { holder, account, fresh: 0, is_promised: false })
    }

    /// Lends a session a buffer for data that has come unasked within its command window: even if
    /// it holds more than it returns, while more than it holds are free.
    #[inline]
    pub(crate) fn lend_promised(&mut self, bytes: u32, holder: ConnId) -> Option<BufId> {
        let account = self.shares.account(holder);
        self.lend_one(bytes, Borrower { holder, account, fresh: 0, is_promised: true })
    }

    #[inline]
    fn lend_one(&mut self, bytes: u32, borrower: Borrower) -> Option<BufId> {
        let smallest = self.layout.class_for(bytes)?;
        // Most often nobody waits, and the smallest class has enough.
        let free = self.free[smallest].len();
        let may = free > self.kept_for_newcomers(borrower, smallest)
            && self.shares.may_hold(borrower.account, smallest, free);
        let class =
            if may && !self.has_hungry() { smallest } else { self.class_for(borrower, smallest)? };
        let buf = self.free[class].pop()?;
        debug_assert!(self.lent[buf.0 as usize].is_none(), "a free buffer is not lent");
        let Borrower { holder, account, is_promised, .. } = borrower;
        self.lent[buf.0 as usize] = Some(Loan { holder, is_promised });
        self.lent_count += 1;
        self.shares.take(account, class, is_promised);
        if self.has_hungry() {
            self.rank(account, class);
        }
        Some(buf)
    }

    /// The smallest class from `smallest` on that has a buffer for a session.
    #[cold]
    fn class_for(&self, borrower: Borrower, smallest: usize) -> Option<usize> {
        (smallest..self.free.len()).find(|&class| self.has_for(borrower, class))
    }

    /// Whether a dormant task of a session may have one of `wanted` buffers, of at least `bytes`:
    /// more than half of the class are free, and the session holds so few of it that the tasks in
    /// front get what they need beside it.
    pub(crate) fn has_spare(&self, bytes: u32, wanted: usize, holder: ConnId) -> bool {
        let Some(smallest) = self.layout.class_for(bytes) else { return false };
        let Some(class) = (smallest..self.free.len()).find(|&class| !self.free[class].is_empty())
        else {
            return false;
        };
        let account = self.shares.account_of(holder);
        let held = account.map_or(0, |account| self.shares.held(account, class)) as usize;
        let (free, all) = (self.free[class].len(), self.layout.classes()[class].count as usize);
        // A session gets buffers while it holds fewer than are free, and a command may need three.
        let margin = 2 * (wanted + limits::BUFFERS_PER_COMMAND as usize - 1);
        free > all / 2 && held < all / 4 && free > held + margin
    }

    /// Whether a session gets a buffer of a class now.
    fn has_for(&self, borrower: Borrower, class: usize) -> bool {
        let Borrower { account, fresh, is_promised, .. } = borrower;
        let free = self.free[class].len();
        let is_new = self.shares.held(account, class) == 0 || fresh & (1 << class) != 0;
        let may = is_new
            || free > self.kept_for_newcomers(borrower, class)
                && (self.shares.may_hold(account, class, free)
                    || (is_promised && self.shares.leaves_as_many(account, class, free)));
        free > 0 && may && (!self.has_hungry() || self.is_next(borrower, class))
    }

    /// Free buffers of a class that data which nobody asked for leaves to sessions that hold none:
    /// disks that hang may keep all others.
    #[inline]
    fn kept_for_newcomers(&self, borrower: Borrower, class: usize) -> usize {
        if !borrower.is_promised {
            return 0;
        }
        (self.layout.classes()[class].count / limits::PLACES_KEPT_PARTS) as usize
    }

    /// Whether a session may take a buffer while tasks wait: none that is kept for another one,
    /// nor one that a task of its own has waited for.
    #[cold]
    fn is_next(&self, borrower: Borrower, class: usize) -> bool {
        let is_ahead = self.is_serving || borrower.is_promised;
        let is_kept = self.kept & (1 << class) != 0;
        !is_kept && (is_ahead || !self.queues.has(borrower.account, class))
    }

    /// Lends buffers of at least these lengths, or none of them: a task that held one
    /// while it waited for another could wait forever, for others that do the same. They may be
    /// promised as in [`Self::lend_promised`].
    pub(crate) fn lend_all<const N: usize>(
        &mut self,
        lengths: [Option<u32>; N],
        holder: ConnId,
        is_promised: bool,
    ) -> Option<[Option<BufId>; N]> {
        let account = self.shares.account(holder);
        let is_fresh = |&class: &usize| self.shares.held(account, class) == 0;
        let fresh = (0..self.free.len()).filter(is_fresh).fold(0, |bits, class| bits | 1 << class);
        let borrower = Borrower { holder, account, fresh, is_promised };
        let lent = lengths.map(|bytes| bytes.and_then(|bytes| self.lend_one(bytes, borrower)));
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
        let Released { class, account, was_promised } = self.release(buf);
        if let Some(account) = account {
            self.shares.give_back(account, class, was_promised);
        }
        if self.has_hungry() {
            self.returned_at = turn.now;
            if let Some(account) = account {
                self.shares.note_return(account, turn.now);
                self.rank(account, class);
            }
            turn.wake(Wake::BufferFree);
        }
    }

    /// When a buffer came back the last time, while tasks waited, that a session could hope for:
    /// one of its own, or any where it holds none.
    pub(crate) fn last_return_to(&self, holder: ConnId) -> Instant {
        match self.shares.account_of(holder).filter(|_| self.held_by(holder) > 0) {
            Some(account) => self.shares.returned_at(account),
            None => self.returned_at,
        }
    }

    /// Takes a buffer back that nobody waits for, because it has just been lent.
    pub(crate) fn put_back(&mut self, buf: BufId) {
        let Released { class, account, was_promised } = self.release(buf);
        if let Some(account) = account {
            self.shares.undo(account, class, was_promised);
            self.rank(account, class);
        }
    }

    #[inline]
    fn release(&mut self, buf: BufId) -> Released {
        let Some(Loan { holder, is_promised }) = self.lent[buf.0 as usize].take() else {
            panic!("{buf:?} was given back twice")
        };
        self.lent_count -= 1;
        let Some((class, _)) = self.layout.locate(buf) else {
            unreachable!("{buf:?} is none of this pool")
        };
        self.free[class].push(buf);
        let account = self.shares.account_of(holder);
        Released { class, account, was_promised: is_promised }
    }

    /// Puts a session where it belongs among those that wait for a buffer of `class` or a smaller
    /// one: what it holds has changed.
    fn rank(&mut self, account: Account, class: usize) {
        for waited in 0..=class {
            if self.queues.has(account, waited) {
                let mut classes = waited..self.free.len();
                let may = classes.any(|class| {
                    self.shares.held(account, class) == 0 || self.shares.has_room(account, class)
                });
                self.queues.rank(account, waited, self.shares.held(account, waited), may);
            }
        }
    }

    /// A task of a session waits for a buffer of at least `bytes`.
    pub(crate) fn wait(&mut self, key: Key, holder: ConnId, bytes: u32) -> Waiting {
        let account = self.shares.account(holder);
        let class = self.layout.class_for(bytes).unwrap_or(self.free.len() - 1);
        self.queues.push(account, class, key);
        self.rank(account, class);
        Waiting { account, class }
    }

    /// A task that waits for a buffer has ended. What was kept for it is free for others.
    #[cold]
    pub(crate) fn forget(&mut self, key: Key, waiting: Waiting, turn: &mut Turn<'_>) {
        let Waiting { account, class } = waiting;
        self.queues.remove(account, class, key);
        self.queues.rank(account, class, self.shares.held(account, class), true);
        if self.has_hungry() {
            turn.wake(Wake::BufferFree);
        } else {
            self.kept = 0;
        }
    }

    /// Begins to serve the tasks that wait: what was kept for one of them is free until it is
    /// seen again that it is needed.
    pub(crate) const fn begin_serving(&mut self) {
        self.kept = 0;
    }

    /// The task of a class that gets the next buffer, if there is one for it. It does not wait
    /// any more.
    pub(crate) fn next_hungry(&mut self, class: usize) -> Option<Key> {
        if self.free[class..].iter().all(Vec::is_empty) {
            return None;
        }
        let rank = self.queues.ranked(class).find(|rank| {
            (class..self.free.len()).any(|class| {
                let free = self.free[class].len();
                let is_kept = self.kept & (1 << class) != 0;
                free > 0 && !is_kept && self.shares.may_hold(rank.account(), class, free)
            })
        })?;
        let key = self.queues.pop(rank.account(), class)?;
        self.is_serving = true;
        self.queues.rank(rank.account(), class, rank.held, true);
        Some(key)
    }

    /// The task that was served waits again, and keeps its place: nobody of its session overtakes
    /// it. Where it got nothing, it needs several buffers at a time: a session that holds none gets
    /// them as soon as they are free, and one that holds some when those have come back.
    pub(crate) fn keep_place(&mut self, waiting: Waiting, got_some: bool) {
        let Waiting { account, class } = waiting;
        self.queues.requeue_first(account, class);
        if got_some {
            return;
        }
        let mut larger = self.layout.classes()[class..].iter().zip(&self.free[class..]);
        let may_come_back = larger.any(|(all, free)| free.len() < all.count as usize);
        let held = self.shares.held(account, class);
        if held == 0 && may_come_back {
            self.kept |= u32::MAX << class;
        } else {
            self.queues.rank(account, class, held, false);
        }
    }

    /// The data of a task has come and waits for a buffer.
    pub(crate) fn wait_for_place(&mut self, key: Key) {
        self.unplaced.push_back(key);
    }

    /// How many tasks wait so.
    pub(crate) fn waiting_for_place(&self) -> usize {
        self.unplaced.len()
    }

    /// Those tasks, oldest first.
    pub(crate) fn places_waited_for(&self) -> impl Iterator<Item = Key> {
        self.unplaced.iter().copied()
    }

    /// The one whose turn it is. It does not wait any more.
    pub(crate) fn next_to_place(&mut self) -> Option<Key> {
        self.unplaced.pop_front()
    }

    /// The data of a task is not wanted any more.
    pub(crate) fn stop_waiting_for_place(&mut self, key: Key) {
        let before = self.unplaced.len();
        self.unplaced.retain(|&waiting| waiting != key);
        assert_eq!(self.unplaced.len() + 1, before, "data waits once");
    }

    /// The task that [`Self::next_hungry`] has named has been served.
    pub(crate) const fn end_serving(&mut self) {
        self.is_serving = false;
    }

    /// Whether a task waits for a buffer.
    #[inline]
    pub(crate) fn has_hungry(&self) -> bool {
        self.queues.count() > 0 || !self.unplaced.is_empty()
    }

    /// Whether a session that holds no buffer of the size that it needs waits for one.
    pub(crate) fn is_starved(&self) -> bool {
        let mut first = (0..self.free.len()).filter_map(|class| self.queues.ranked(class).next());
        first.any(|rank| rank.held == 0)
    }

    /// How many buffers a session holds.
    pub(crate) fn held_by(&self, holder: ConnId) -> u32 {
        let account = self.shares.account_of(holder);
        account.map_or(0, |account| {
            (0..self.free.len()).map(|class| self.shares.held(account, class)).sum()
        })
    }

    /// A period of the shares ends: [`Shares::end_period`].
    pub(crate) fn end_period(&mut self) {
        self.shares.end_period();
    }

    /// How many classes there are.
    pub(crate) const fn classes(&self) -> usize {
        self.free.len()
    }

    /// The bytes of a buffer are on the wire for a task that has more to send.
    pub(crate) fn put_on_wire(&mut self, buf: BufId, sender: Key) {
        debug_assert!(self.lent[buf.0 as usize].is_some(), "only a lent buffer is sent");
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

    /// Whether a task waits in its queue.
    pub(crate) fn is_waiting(&self, key: Key, waiting: Waiting) -> bool {
        self.queues.contains(waiting.account, waiting.class, key)
    }

    /// How many tasks wait.
    pub(crate) const fn waiting_count(&self) -> usize {
        self.queues.count()
    }

    /// Asserts that every buffer is either free or lent, and that the counts agree: for debug
    /// builds and tests. It looks at every buffer, so it leaves large pools alone.
    pub(crate) fn self_check(&self) {
        if self.lent.len() > CHECKED_BUFFERS_MAX {
            return;
        }
        let lent = self.lent.iter().flatten().count();
        assert_eq!(lent, self.lent_count as usize, "lent buffers are counted");
        let free: usize = self.free.iter().map(Vec::len).sum();
        assert_eq!(free + lent, self.lent.len(), "a buffer is free or lent");
        let is_free = |buf: &BufId| self.lent[buf.0 as usize].is_none();
        assert!(self.free.iter().flatten().all(is_free), "a lent buffer is in a free list");
        assert!(self.shares.held_count() <= self.lent_count, "what a session holds is lent");
        self.queues.self_check();
        let mut senders = self.sender.iter().zip(&self.lent);
        let is_sound =
            |(sender, lent): (&Option<Key>, &Option<Loan>)| sender.is_none() || lent.is_some();
        assert!(senders.all(is_sound), "a free buffer is sent");
    }

    /// How many buffers are lent.
    pub(crate) const fn lent_count(&self) -> u32 {
        self.lent_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::parts::{Queues as Turns, key};
    use units::SizeClass;

    fn lender() -> Lender {
        pool(1, 8)
    }

    fn pool(small: u32, large: u32) -> Lender {
        Lender::new(PoolLayout::new(vec![
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
    fn a_class_that_is_half_lent_or_a_quarter_to_one_session_has_nothing_to_spare() {
        let layout = [(4096, 32), (65_536, 32)].map(|(bytes, count)| SizeClass { bytes, count });
        let mut lender = Lender::new(PoolLayout::new(layout.into()));
        let other = session(9);
        assert!(lender.has_spare(512, 1, other) && lender.has_spare(65_536, 1, other));
        assert!(!lender.has_spare(65_537, 1, other));
        (0..8).for_each(|_| assert!(lender.lend_promised(512, session(0)).is_some()));
        assert!(!lender.has_spare(512, 1, session(0)));
        assert!(lender.has_spare(512, 1, other));
        (0..8).for_each(|_| assert!(lender.lend_promised(512, session(1)).is_some()));
        assert!(!lender.has_spare(512, 1, other));
        assert!(lender.has_spare(4097, 1, other), "the next larger class is free");
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
        let buf = lender.lend(1, session(0)).unwrap();
        lender.put_on_wire(buf, key(1));
        assert_eq!(lender.take_off_wire(buf), Some(key(1)));
        assert_eq!(lender.take_off_wire(buf), None);
    }
}
