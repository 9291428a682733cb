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
use units::{BufId, ConnId, Instant, Key, PoolLayout, SizeClass, len_u32, limits};

/// The free lists of a pool, one for each size class, and who holds and wants the rest.
#[derive(Debug)]
pub(crate) struct Lender {
    classes: Vec<Class>,
    /// By buffer.
    lent: Vec<Option<Loan>>,
    shares: Shares,
    queues: Queues,
    /// Tasks whose data has come and waits for a buffer, oldest first.
    unplaced: VecDeque<Key>,
    /// One bit for each class whose free buffers are kept together: a task of a session that
    /// holds none of them needs several at a time.
    kept: u32,
    /// A task is served that has waited for its turn.
    is_serving: bool,
    /// When a buffer came back the last time while a task waited for one.
    returned_at: Instant,
    /// So long after data has come for which its session found no buffer.
    starved_until: Instant,
}

/// The buffers of one size.
#[derive(Debug)]
struct Class {
    /// Bytes of each.
    bytes: u32,
    /// How many there are.
    count: u32,
    /// Those that are not lent. The last one goes first.
    free: Vec<BufId>,
}

/// What is known of a buffer that is lent.
#[derive(Clone, Copy, Debug)]
struct Loan {
    holder: ConnId,
    /// Its bytes are on the wire: the task that may send more when they have left.
    sender: Option<Key>,
    class: u8,
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

impl Borrower {
    /// Free buffers of a class with so many that it leaves to sessions which hold none, if it is for
    /// data that nobody asked for: disks that hang may keep all others.
    #[inline]
    const fn leaves(&self, count: u32) -> usize {
        if self.is_promised { (count / limits::PLACES_KEPT_PARTS) as usize } else { 0 }
    }
}

/// A pool with more buffers than this is not checked after every call of a debug build.
const CHECKED_BUFFERS_MAX: usize = 512;

impl Lender {
    /// All buffers free.
    pub(crate) fn new(layout: &PoolLayout) -> Self {
        let mut classes = Vec::with_capacity(layout.classes().len());
        let mut first = 0;
        for &SizeClass { bytes, count } in layout.classes() {
            // Low names are lent first, so that a lightly loaded pool stays in the cache.
            let free = (first..first + count).rev().map(BufId).collect();
            classes.push(Class { bytes, count, free });
            first += count;
        }
        assert!(classes.len() <= u32::BITS as usize, "each class has a bit");
        Self {
            lent: vec![None; first as usize],
            shares: Shares::new(layout),
            queues: Queues::new(classes.len()),
            unplaced: VecDeque::new(),
            kept: 0,
            is_serving: false,
            returned_at: Instant(0),
            starved_until: Instant(0),
            classes,
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

    #[inline(always)]
    fn lend_one(&mut self, bytes: u32, borrower: Borrower) -> Option<BufId> {
        let smallest = self.smallest_class(bytes)?;
        // Most often nobody waits, and the smallest class has enough.
        if !self.has_hungry() {
            let Class { free, count, .. } = &mut self.classes[smallest];
            let share = self.shares.share_mut(borrower.account, smallest);
            if free.len() > borrower.leaves(*count)
                && share.may_hold(free.len())
                && let Some(buf) = free.pop()
            {
                share.take(borrower.is_promised);
                self.note_loan(buf, smallest, borrower);
                return Some(buf);
            }
        }
        self.lend_of_any_class(smallest, borrower)
    }

    #[cold]
    fn lend_of_any_class(&mut self, smallest: usize, borrower: Borrower) -> Option<BufId> {
        let account = borrower.account;
        let class = (smallest..self.classes.len()).find(|&class| self.has_for(borrower, class))?;
        let buf = self.classes[class].free.pop()?;
        self.shares.share_mut(account, class).take(borrower.is_promised);
        self.note_loan(buf, class, borrower);
        self.rank(account, class);
        Some(buf)
    }

    #[inline]
    fn note_loan(&mut self, buf: BufId, class: usize, borrower: Borrower) {
        let Borrower { holder, is_promised, .. } = borrower;
        let loan = &mut self.lent[buf.0 as usize];
        debug_assert!(loan.is_none(), "a free buffer is not lent");
        // `new` has counted the classes.
        #[expect(clippy::cast_possible_truncation, reason = "at most 32")]
        let class = class as u8;
        *loan = Some(Loan { holder, sender: None, class, is_promised });
    }

    /// The smallest class whose buffers hold `bytes`.
    #[inline]
    fn smallest_class(&self, bytes: u32) -> Option<usize> {
        self.classes.iter().position(|class| class.bytes >= bytes)
    }

    /// Whether a buffer of at least `bytes` would be lent of a class that is mostly free: those who
    /// take buffers only then cannot hold more than half of any class.
    pub(crate) fn has_spare(&self, bytes: u32) -> bool {
        let mut classes = self.classes.iter().filter(|class| class.bytes >= bytes);
        let with_free = classes.find(|class| !class.free.is_empty());
        with_free.is_some_and(|class| class.free.len() > class.count as usize / 2)
    }

    /// Whether a session gets a buffer of a class now.
    fn has_for(&self, borrower: Borrower, class: usize) -> bool {
        let Borrower { account, fresh, is_promised, .. } = borrower;
        let Class { count, ref free, .. } = self.classes[class];
        let free = free.len();
        let share = self.shares.share(account, class);
        let is_new = share.held() == 0 || fresh & (1 << class) != 0;
        let may = is_new
            || free > borrower.leaves(count)
                && (share.may_hold(free) || (is_promised && share.leaves_as_many(free)));
        free > 0 && may && (!self.has_hungry() || self.is_next(borrower, class))
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
        let is_fresh = |&class: &usize| self.shares.share(account, class).held() == 0;
        let fresh = (0..self.classes()).filter(is_fresh).fold(0, |bits, class| bits | 1 << class);
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

    /// Takes a buffer back, and wakes the tasks that wait for one. Returns the task that may send
    /// more, if the bytes of the buffer were on the wire.
    #[inline]
    pub(crate) fn give_back(&mut self, buf: BufId, turn: &mut Turn<'_>) -> Option<Key> {
        let loan = self.release(buf);
        if let Some(share) = self.shares.share_of(loan.holder, loan.class.into()) {
            share.give_back(loan.is_promised);
        }
        if self.has_hungry() {
            self.returned_at = turn.now;
            if let Some(account) = self.shares.account_of(loan.holder) {
                self.shares.note_return(account, turn.now);
                self.rank(account, loan.class.into());
            }
            turn.wake(Wake::BufferFree);
        }
        loan.sender
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
        let loan = self.release(buf);
        if let Some(share) = self.shares.share_of(loan.holder, loan.class.into()) {
            share.undo(loan.is_promised);
        }
        self.rank_holder(&loan);
    }

    #[inline]
    fn release(&mut self, buf: BufId) -> Loan {
        let Some(loan) = self.lent[buf.0 as usize].take() else {
            panic!("{buf:?} was given back twice")
        };
        self.classes[usize::from(loan.class)].free.push(buf);
        loan
    }

    /// Who held a buffer holds less.
    #[cold]
    fn rank_holder(&mut self, loan: &Loan) {
        if let Some(account) = self.shares.account_of(loan.holder) {
            self.rank(account, loan.class.into());
        }
    }

    /// Puts a session where it belongs among those that wait for a buffer of `class` or a smaller
    /// one: what it holds has changed.
    fn rank(&mut self, account: Account, class: usize) {
        for waited in 0..=class {
            if self.queues.has(account, waited) {
                let mut classes = waited..self.classes();
                let may = classes.any(|class| {
                    let share = self.shares.share(account, class);
                    share.held() == 0 || share.has_room()
                });
                self.queues.rank(account, waited, self.held(account, waited), may);
            }
        }
    }

    /// A task of a session waits for a buffer of at least `bytes`.
    pub(crate) fn wait(&mut self, key: Key, holder: ConnId, bytes: u32) -> Waiting {
        let account = self.shares.account(holder);
        let class = self.smallest_class(bytes).unwrap_or_else(|| self.classes() - 1);
        self.queues.push(account, class, key);
        self.rank(account, class);
        Waiting { account, class }
    }

    /// A task that waits for a buffer has ended. What was kept for it is free for others.
    #[cold]
    pub(crate) fn forget(&mut self, key: Key, waiting: Waiting, turn: &mut Turn<'_>) {
        let Waiting { account, class } = waiting;
        self.queues.remove(account, class, key);
        self.queues.rank(account, class, self.held(account, class), true);
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
        if self.classes[class..].iter().all(|class| class.free.is_empty()) {
            return None;
        }
        let rank = self.queues.ranked(class).find(|rank| {
            (class..self.classes()).any(|class| {
                let free = self.classes[class].free.len();
                let is_kept = self.kept & (1 << class) != 0;
                free > 0 && !is_kept && self.shares.share(rank.account(), class).may_hold(free)
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
        let mut larger = self.classes[class..].iter();
        let may_come_back = larger.any(|class| class.free.len() < class.count as usize);
        let held = self.held(account, class);
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

    /// Data of a session has come that finds no buffer of at least `bytes`.
    pub(crate) fn note_want(&mut self, bytes: u32, holder: ConnId, now: Instant) {
        let account = self.shares.account(holder);
        let smallest = self.smallest_class(bytes).unwrap_or_else(|| self.classes() - 1);
        if (smallest..self.classes()).all(|class| self.held(account, class) == 0) {
            self.starved_until = now.after(limits::WANT_REMEMBERED);
        }
    }

    /// Whether a session that holds no buffer of the size that it needs waits for one, or its data
    /// found none a moment ago: if that is refused, the initiator sends it again.
    pub(crate) fn is_starved(&self, now: Instant) -> bool {
        if now < self.starved_until {
            return true;
        }
        let mut first = (0..self.classes()).filter_map(|class| self.queues.ranked(class).next());
        first.any(|rank| rank.held == 0)
    }

    /// How many buffers a session holds.
    pub(crate) fn held_by(&self, holder: ConnId) -> u32 {
        let account = self.shares.account_of(holder);
        account
            .map_or(0, |account| (0..self.classes()).map(|class| self.held(account, class)).sum())
    }

    /// How many buffers of a class a session holds.
    fn held(&self, account: Account, class: usize) -> u32 {
        self.shares.share(account, class).held()
    }

    /// A period of the shares ends: [`Shares::end_period`].
    pub(crate) fn end_period(&mut self) {
        self.shares.end_period();
    }

    /// How many classes there are.
    pub(crate) const fn classes(&self) -> usize {
        self.classes.len()
    }

    /// The bytes of a buffer are on the wire for a task that has more to send.
    pub(crate) fn put_on_wire(&mut self, buf: BufId, sender: Key) {
        let Some(loan) = &mut self.lent[buf.0 as usize] else {
            unreachable!("only a lent buffer is sent")
        };
        assert!(loan.sender.is_none(), "a buffer is on the wire once");
        loan.sender = Some(sender);
    }

    /// Whether a lent buffer has room for so many bytes.
    pub(crate) fn has_room(&self, buf: BufId, bytes: u32) -> bool {
        let loan = self.lent[buf.0 as usize].as_ref();
        loan.is_some_and(|loan| self.classes[usize::from(loan.class)].bytes >= bytes)
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
        assert_eq!(lent, self.lent_count() as usize, "a buffer is free or lent");
        let is_free = |buf: &BufId| self.lent[buf.0 as usize].is_none();
        let mut free = self.classes.iter().flat_map(|class| &class.free);
        assert!(free.all(is_free), "a lent buffer is in a free list");
        assert!(self.shares.held_count() <= self.lent_count(), "what a session holds is lent");
        self.queues.self_check();
    }

    /// How many buffers are lent.
    pub(crate) fn lent_count(&self) -> u32 {
        self.classes.iter().map(|class| class.count - len_u32(class.free.len())).sum()
    }
}

#[cfg(test)]
mod tests;
