//! How much of a pool each session holds, and how much it may hold.
//!
//! A session may hold as many buffers of a class as it has returned in the last moments, so that
//! who lets go of them soon gets all that the others leave. It never holds more than are still
//! free: its share shrinks as others need more, and a newcomer finds buffers. One where any is
//! free is everybody's right.

use super::parties::PartyId;
use units::{ConnId, Instant, PoolLayout, limits};

/// What the sessions hold of each class.
#[derive(Debug)]
pub(super) struct Shares {
    /// Of each class, the share of a session that begins.
    first: Vec<Share>,
    /// The session of each slot of connections, by its generation.
    generations: Vec<u32>,
    /// Its host.
    hosts: Vec<PartyId>,
    /// Of each slot, a share for each class.
    shares: Vec<Share>,
    /// Of each slot, when a buffer came back the last time while a task waited for one.
    returned_at: Vec<Instant>,
}

/// The generation of a slot without a session: no connection is the 2^32nd in its slot.
const NO_SESSION: u32 = u32::MAX;

/// What one session holds of one class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// What it may hold if it has returned nothing lately.
    first: u32,
    held: u32,
    /// Those of them that were promised: nobody asked for their data.
    promised: u32,
    /// Buffers that have come back since the period began.
    returned: u32,
    /// Those of the period before.
    returned_before: u32,
}

/// Where the shares of a session are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Account(u32);

impl Account {
    /// The slot of the session's connection.
    pub(super) const fn slot(self) -> usize {
        self.0 as usize
    }

    /// The number of that slot.
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// The account in a slot.
    pub(super) const fn in_slot(slot: u32) -> Self {
        Self(slot)
    }
}

impl Shares {
    /// Nobody holds anything.
    pub(super) fn new(layout: &PoolLayout) -> Self {
        Self {
            first: layout.classes().iter().map(|class| Share::first(class.count)).collect(),
            generations: Vec::new(),
            hosts: Vec::new(),
            shares: Vec::new(),
            returned_at: Vec::new(),
        }
    }

    /// The account of a session that lends.
    #[inline]
    pub(super) fn account(&self, holder: ConnId) -> Account {
        match self.account_of(holder) {
            Some(account) => account,
            None => unreachable!("a session has an account from its begin to its end"),
        }
    }

    /// The host of a session.
    #[inline]
    pub(super) fn host(&self, account: Account) -> PartyId {
        self.hosts[account.slot()]
    }

    /// A session begins. What the one before it in its slot has not returned yet is not charged to
    /// it.
    #[cold]
    pub(super) fn open(&mut self, holder: ConnId, host: PartyId) {
        let slot = holder.0.index as usize;
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, NO_SESSION);
            self.hosts.resize(slot + 1, host);
            for _ in self.shares.len() / self.first.len()..=slot {
                self.shares.extend_from_slice(&self.first);
            }
            self.returned_at.resize(slot + 1, Instant(0));
        }
        self.hosts[slot] = host;
        self.generations[slot] = holder.0.generation;
        self.reset(Account(holder.0.index));
    }

    /// A session ends.
    pub(super) fn close(&mut self, account: Account) {
        self.generations[account.slot()] = NO_SESSION;
        self.reset(account);
    }

    /// All shares of a slot are those of a session that begins.
    fn reset(&mut self, account: Account) {
        let base = account.slot() * self.first.len();
        self.shares[base..base + self.first.len()].copy_from_slice(&self.first);
    }

    /// The account of a session; `None` where it is gone.
    #[inline]
    pub(super) fn account_of(&self, holder: ConnId) -> Option<Account> {
        let slot = holder.0.index as usize;
        let is_here = self.generations.get(slot) == Some(&holder.0.generation);
        is_here.then_some(Account(holder.0.index))
    }

    /// What a session holds of a class.
    #[inline]
    pub(super) fn share(&self, account: Account, class: usize) -> &Share {
        &self.shares[account.slot() * self.first.len() + class]
    }

    /// The same, to change it.
    #[inline]
    pub(super) fn share_mut(&mut self, account: Account, class: usize) -> &mut Share {
        &mut self.shares[account.slot() * self.first.len() + class]
    }

    /// What a session that has lent a buffer holds of a class; `None` where it is gone.
    #[inline]
    pub(super) fn share_of(&mut self, holder: ConnId, class: usize) -> Option<&mut Share> {
        let account = self.account_of(holder)?;
        Some(self.share_mut(account, class))
    }

    /// A buffer of a session came back while a task waited for one.
    #[cold]
    pub(super) fn note_return(&mut self, account: Account, now: Instant) {
        self.returned_at[account.slot()] = now;
    }

    /// When that happened the last time.
    pub(super) fn returned_at(&self, account: Account) -> Instant {
        self.returned_at[account.slot()]
    }

    /// A period ends.
    pub(super) fn end_period(&mut self) {
        for share in &mut self.shares {
            share.returned_before = std::mem::take(&mut share.returned);
        }
    }

    /// How many buffers the sessions hold.
    pub(super) fn held_count(&self) -> u32 {
        self.shares.iter().map(|share| share.held).sum()
    }
}

impl Share {
    /// That of a session which begins, of a class with so many buffers.
    fn first(count: u32) -> Self {
        let first = (count / limits::FIRST_SHARE_PARTS).max(FIRST_SHARE_MIN);
        Self { first, held: 0, promised: 0, returned: 0, returned_before: 0 }
    }

    /// How many buffers the session holds.
    #[inline]
    pub(super) const fn held(&self) -> u32 {
        self.held
    }

    /// Whether the session may hold one more buffer, as far as it depends on itself.
    #[inline]
    pub(super) const fn has_room(&self) -> bool {
        let held = self.held - self.promised;
        held < self.first || held < self.returned / 2 || held < self.returned_before / 2
    }

    /// Whether the session holds less than are free.
    #[inline]
    pub(super) const fn leaves_as_many(&self, free: usize) -> bool {
        (self.held as usize) < free
    }

    /// Whether the session may hold one more buffer of its class, of which so many are free.
    #[inline]
    pub(super) const fn may_hold(&self, free: usize) -> bool {
        self.held == 0 || (self.leaves_as_many(free) && self.has_room())
    }

    /// The session got a buffer.
    #[inline]
    pub(super) fn take(&mut self, is_promised: bool) {
        self.held += 1;
        self.promised += u32::from(is_promised);
    }

    /// The session gave a buffer back as it got it.
    #[inline]
    pub(super) fn undo(&mut self, was_promised: bool) {
        assert!(self.held > 0, "a session returns what it holds");
        self.held -= 1;
        self.promised -= u32::from(was_promised);
    }

    /// A buffer of the session came back. One that was promised says nothing about the session: it
    /// waited for the medium only.
    #[inline]
    pub(super) fn give_back(&mut self, was_promised: bool) {
        self.undo(was_promised);
        self.returned += u32::from(!was_promised);
    }
}

/// One task may keep all of its bursts at work.
#[expect(clippy::cast_possible_truncation, reason = "four")]
const FIRST_SHARE_MIN: u32 = limits::BURSTS_PER_TASK_MAX as u32;

#[cfg(test)]
mod tests {
    use super::super::parties::Sides;
    use super::*;
    use crate::tests::parts::key;
    use units::SizeClass;

    fn shares(count: u32) -> Shares {
        let mut shares = Shares::new(&PoolLayout::new(vec![SizeClass { bytes: 4096, count }]));
        (0..26).for_each(|slot| shares.open(ConnId(key(slot)), Sides::FIRST.host));
        shares
    }

    /// How many buffers a session gets that lends as many as it can.
    fn fill(shares: &mut Shares, holder: ConnId, free: &mut usize) -> usize {
        let account = shares.account(holder);
        let before = *free;
        while *free > 0 && shares.share(account, 0).may_hold(*free) {
            shares.share_mut(account, 0).take(false);
            *free -= 1;
        }
        before - *free
    }

    #[test]
    fn sessions_that_return_nothing_leave_buffers_for_a_newcomer() {
        let (mut shares, mut free) = (shares(144), 144);
        for session in 0..26 {
            assert_eq!(fill(&mut shares, ConnId(key(session)), &mut free), 4);
        }
        assert_eq!(free, 40);
    }

    #[test]
    fn a_session_that_returns_what_it_gets_comes_to_hold_as_many_as_are_free() {
        let (mut shares, mut free) = (shares(144), 144);
        let session = ConnId(key(0));
        let account = shares.account(session);
        let mut held = Vec::new();
        for _ in 0..8 {
            let filled = fill(&mut shares, session, &mut free);
            held.push(filled);
            for _ in 0..filled {
                shares.share_mut(account, 0).give_back(false);
                free += 1;
            }
        }
        assert_eq!(held, [4, 4, 4, 6, 9, 13, 20, 30]);
        for _ in 0..100 {
            shares.share_mut(account, 0).take(false);
            shares.share_mut(account, 0).give_back(false);
        }
        assert_eq!(fill(&mut shares, session, &mut free), 72);
    }

    #[test]
    fn what_a_session_has_returned_counts_for_two_periods() {
        let mut shares = shares(144);
        let account = shares.account(ConnId(key(0)));
        for _ in 0..20 {
            shares.share_mut(account, 0).take(false);
            shares.share_mut(account, 0).give_back(false);
        }
        for room in [true, true, false] {
            (0..9).for_each(|_| shares.share_mut(account, 0).take(false));
            assert_eq!(shares.share(account, 0).has_room(), room);
            (0..9).for_each(|_| shares.share_mut(account, 0).undo(false));
            shares.end_period();
        }
    }

    #[test]
    fn a_session_is_not_charged_for_the_one_before_it_in_its_slot() {
        let mut shares = shares(144);
        let gone = ConnId(key(3));
        let account = shares.account(gone);
        shares.share_mut(account, 0).take(false);
        let mut next = gone;
        next.0.generation += 1;
        shares.open(next, Sides::FIRST.host);
        let account = shares.account(next);
        assert_eq!((shares.share(account, 0).held(), shares.account_of(gone)), (0, None));
    }
}
