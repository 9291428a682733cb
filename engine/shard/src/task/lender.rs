//! Which buffers of the reactor's pool are lent, and which task gets the next one.
//!
//! Only names are kept here; the memory is the reactor's. A buffer is lent to one task at a
//! time and comes back exactly once: from the task, or from the reactor when the last PDU that
//! names it has left.
//!
//! Each session has a share of the pool ([`shares`]), and so has each host and each medium
//! ([`parties`]). The tasks that wait are served by sessions ([`queues`]), so that no session, host
//! or medium can keep the others waiting.

mod parties;
mod queues;
mod serving;
mod shares;

use crate::session::census::Source;
use crate::turn::Turn;
use crate::wake::Wake;
use parties::{Name, Parties, PartyId, Sides};
use queues::{Line, Queues};
use shares::{Account, Shares};
use std::collections::VecDeque;
use units::{BufId, ConnId, Instant, Key, PoolLayout, SizeClass, VolumeId, len_u32, limits};
use volume::Catalog;

/// The free lists of a pool, one for each size class, and who holds and wants the rest.
#[derive(Debug)]
pub(crate) struct Lender {
    classes: Vec<Class>,
    /// By buffer.
    lent: Vec<Option<Loan>>,
    shares: Shares,
    parties: Parties,
    /// What each volume is on, by its place in the catalog.
    media: Vec<Option<PartyId>>,
    queues: Queues,
    /// Tasks whose data has come and waits for a buffer, oldest first.
    unplaced: VecDeque<Key>,
    /// One bit for each class whose free buffers are kept together: a task of a session that
    /// holds none of them needs several at a time.
    kept: u32,
    /// For whom a task was served in vain: a session, or all of its host and medium where these are
    /// at a bound. Their turn comes again when the tasks that wait are served the next time.
    passed: Vec<Passed>,
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
    /// Where more than these are free, no party can be at its bound, and no session holds as many.
    ample: usize,
    /// Those that are not lent. The last one goes first.
    free: Vec<BufId>,
}

/// What is known of a buffer that is lent.
#[derive(Clone, Copy, Debug)]
struct Loan {
    holder: ConnId,
    /// The host of the session.
    host: PartyId,
    /// The medium that it waits for.
    medium: Option<PartyId>,
    /// Its bytes are on the wire: the task that may send more when they have left.
    sender: Option<Key>,
    class: u8,
    is_promised: bool,
}

/// Where a task waits for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    line: Line,
    class: usize,
}

/// Who is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    All(Sides),
    One(Line),
}

/// For whom and what a task needs a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// Its session.
    pub(crate) holder: ConnId,
    /// The volume that it reads or writes.
    pub(crate) volume: Option<VolumeId>,
}

/// A session that lends.
#[derive(Clone, Copy)]
struct Borrower {
    need: Need,
    account: Account,
    /// One bit for each class of which it held nothing before: it gets all that one burst needs.
    fresh: u32,
    /// The buffer is for data that the command window has promised a place.
    is_promised: bool,
}

impl Borrower {
    /// Free buffers of a class with so many that it leaves to sessions which hold none, if it is
    /// for data that nobody asked for: several disks that hang keep more than one may.
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
            let ample = count as usize * limits::MEDIUM_LEAVES / (limits::MEDIUM_LEAVES + 1);
            classes.push(Class { bytes, count, ample, free });
            first += count;
        }
        assert!(classes.len() <= u32::BITS as usize, "each class has a bit");
        Self {
            lent: vec![None; first as usize],
            shares: Shares::new(layout),
            parties: Parties::new(classes.len()),
            media: Vec::new(),
            queues: Queues::new(classes.len()),
            unplaced: VecDeque::new(),
            kept: 0,
            passed: Vec::new(),
            is_serving: false,
            returned_at: Instant(0),
            starved_until: Instant(0),
            classes,
        }
    }

    /// A session begins that comes from there.
    pub(crate) fn enter(&mut self, holder: ConnId, source: Source) {
        let host = self.parties.enter(Name::Host(source));
        self.shares.open(holder, host);
    }

    /// A session ends. What it has not returned stays charged to its host, and to the medium that
    /// it waits for.
    pub(crate) fn leave(&mut self, holder: ConnId) {
        if let Some(account) = self.shares.account_of(holder) {
            self.parties.leave(self.shares.host(account));
            self.shares.close(account);
        }
    }

    /// Follows a new catalog: it says which volumes hang as one.
    pub(crate) fn follow(&mut self, catalog: &Catalog) {
        let before = std::mem::take(&mut self.media);
        for record in catalog.volumes() {
            let place = record.id.place();
            if self.media.len() <= place {
                self.media.resize(place + 1, None);
            }
            let name = record.device.map_or(Name::Volume(record.id), Name::Device);
            self.media[place] = Some(self.parties.enter(name));
        }
        for party in before.into_iter().flatten() {
            self.parties.leave(party);
        }
    }

    /// What a volume is on; `None` where it is gone.
    #[inline]
    fn medium_of(&self, volume: Option<VolumeId>) -> Option<PartyId> {
        volume.and_then(|volume| self.media.get(volume.place()).copied().flatten())
    }

    fn sides(&self, account: Account, volume: Option<VolumeId>) -> Sides {
        Sides { host: self.shares.host(account), medium: self.medium_of(volume) }
    }

    /// Lends a session a buffer of at least `bytes`, of the smallest class that has one for it.
    #[inline]
    pub(crate) fn lend(&mut self, bytes: u32, need: Need) -> Option<BufId> {
        let account = self.shares.account(need.holder);
        self.lend_one(bytes, Borrower { need, account, fresh: 0, is_promised: false })
    }

    /// Lends a session a buffer for data that has come unasked within its command window: even if
    /// it holds more than it returns, while more than it holds are free.
    #[inline]
    pub(crate) fn lend_promised(&mut self, bytes: u32, need: Need) -> Option<BufId> {
        let account = self.shares.account(need.holder);
        self.lend_one(bytes, Borrower { need, account, fresh: 0, is_promised: true })
    }

    #[inline(always)]
    fn lend_one(&mut self, bytes: u32, borrower: Borrower) -> Option<BufId> {
        let smallest = self.smallest_class(bytes)?;
        // Most often nobody waits, and the smallest class has plenty.
        if !self.has_hungry() {
            let Class { free, ample, .. } = &mut self.classes[smallest];
            let share = self.shares.share_mut(borrower.account, smallest);
            if free.len() > *ample
                && (share.has_room() || share.held() == 0)
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
        let Borrower { need: Need { holder, .. }, account, is_promised, .. } = borrower;
        let host = self.shares.host(account);
        self.parties.charge(host, class);
        let loan = &mut self.lent[buf.0 as usize];
        debug_assert!(loan.is_none(), "a free buffer is not lent");
        // `new` has counted the classes.
        #[expect(clippy::cast_possible_truncation, reason = "at most 32")]
        let class = class as u8;
        *loan = Some(Loan { holder, host, medium: None, sender: None, class, is_promised });
    }

    /// A buffer waits for the medium of a volume from now on.
    #[inline]
    pub(crate) fn wait_for_medium(&mut self, buf: BufId, volume: VolumeId) {
        let medium = self.medium_of(Some(volume));
        let Some(loan) = &mut self.lent[buf.0 as usize] else {
            unreachable!("a request names a buffer of its task")
        };
        if loan.medium.is_none()
            && let Some(medium) = medium
        {
            loan.medium = Some(medium);
            self.parties.charge(medium, loan.class.into());
        }
    }

    /// A buffer waits for its initiator now, to be sent.
    #[inline]
    pub(crate) fn leave_medium(&mut self, buf: BufId, turn: &mut Turn<'_>) {
        let Some(loan) = &mut self.lent[buf.0 as usize] else {
            unreachable!("only a lent buffer is sent")
        };
        if let Some(medium) = loan.medium.take() {
            let host = loan.host;
            self.parties.discharge(medium, loan.class.into());
            if self.has_hungry() {
                self.parties.note_return(Sides { host, medium: Some(medium) }, turn.now);
                turn.wake(Wake::BufferFree);
            }
        }
    }

    /// The smallest class whose buffers hold `bytes`.
    #[inline]
    fn smallest_class(&self, bytes: u32) -> Option<usize> {
        self.classes.iter().position(|class| class.bytes >= bytes)
    }

    /// Whether a dormant task of a session may have one of `wanted` buffers, of at least `bytes`:
    /// more than half of the class are free, and the session holds so few of it that the tasks in
    /// front get what they need beside it.
    pub(crate) fn has_spare(&mut self, bytes: u32, wanted: usize, holder: ConnId) -> bool {
        let Some(smallest) = self.smallest_class(bytes) else { return false };
        let mut classes = smallest..self.classes();
        let Some(class) = classes.find(|&class| !self.classes[class].free.is_empty()) else {
            return false;
        };
        let account = self.shares.account(holder);
        let held = self.held(account, class) as usize;
        let of_host = self.parties.held(self.shares.host(account), class);
        let Class { count, ref free, .. } = self.classes[class];
        let (free, all) = (free.len(), count as usize);
        // A session gets buffers while it and its host hold fewer than are free, and a command may
        // need three.
        let margin = 2 * (wanted + limits::BUFFERS_PER_COMMAND as usize - 1);
        free > all / 2 && held < all / 4 && free > held.max(of_host) + margin
    }

    /// Whether a session gets a buffer of a class now.
    fn has_for(&self, borrower: Borrower, class: usize) -> bool {
        let Borrower { need, account, fresh, is_promised } = borrower;
        let Class { count, ref free, .. } = self.classes[class];
        let free = free.len();
        let share = self.shares.share(account, class);
        let is_fresh = fresh & (1 << class) != 0;
        let may = is_fresh
            || share.held() == 0
            || free > borrower.leaves(count)
                && (share.may_hold(free) || (is_promised && share.leaves_as_many(free)));
        let sides = self.sides(account, need.volume);
        let are_allowed = is_fresh || self.parties.allow(sides, class, free);
        free > 0 && may && are_allowed && (!self.has_hungry() || self.is_next(borrower, class))
    }

    /// Whether a session may take a buffer while tasks wait: none that is kept for another one,
    /// nor one that a task of its own has waited for.
    #[cold]
    fn is_next(&self, borrower: Borrower, class: usize) -> bool {
        let is_ahead = self.is_serving || borrower.is_promised;
        let is_kept = self.kept & (1 << class) != 0;
        let line = || self.line(borrower.account, borrower.need.volume);
        !is_kept && (is_ahead || !self.queues.has(line(), class))
    }

    /// Lends buffers of at least these lengths, or none of them: a task that held one
    /// while it waited for another could wait forever, for others that do the same. They may be
    /// promised as in [`Self::lend_promised`].
    pub(crate) fn lend_all<const N: usize>(
        &mut self,
        lengths: [Option<u32>; N],
        need: Need,
        is_promised: bool,
    ) -> Option<[Option<BufId>; N]> {
        let account = self.shares.account(need.holder);
        let sides = self.sides(account, need.volume);
        let is_fresh = |&class: &usize| {
            let free = self.classes[class].free.len();
            let holds_none = self.shares.share(account, class).held() == 0;
            holds_none && self.parties.allow(sides, class, free)
        };
        let fresh = (0..self.classes()).filter(is_fresh).fold(0, |bits, class| bits | 1 << class);
        let borrower = Borrower { need, account, fresh, is_promised };
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
            let sides = Sides { host: loan.host, medium: loan.medium };
            self.parties.note_return(sides, turn.now);
            if let Some(account) = self.shares.account_of(loan.holder) {
                self.shares.note_return(account, turn.now);
                self.rank(account, loan.class.into());
            }
            turn.wake(Wake::BufferFree);
        }
        loan.sender
    }

    /// When a buffer came back the last time, while tasks waited, that a task could hope for which
    /// needs so many bytes: one of its session, or any where that holds none; and one of its host
    /// or medium, where that holds all that it may.
    pub(crate) fn last_return_to(&self, need: Need, bytes: u32) -> Instant {
        let Some(account) = self.shares.account_of(need.holder) else {
            unreachable!("the end of a session ends what waits for it")
        };
        let holds_some = self.held_by(need.holder) > 0;
        let own = if holds_some { self.shares.returned_at(account) } else { self.returned_at };
        let free: Vec<(usize, usize)> =
            self.classes_for(bytes).map(|class| (class, self.classes[class].free.len())).collect();
        let sides = self.sides(account, need.volume);
        self.parties.last_return(sides, &free).map_or(own, |returned| returned.min(own))
    }

    /// The classes whose buffers hold so many bytes.
    fn classes_for(&self, bytes: u32) -> impl Iterator<Item = usize> {
        let is_large = move |&class: &usize| self.classes[class].bytes >= bytes;
        (0..self.classes.len()).filter(is_large)
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
        let class = usize::from(loan.class);
        self.parties.discharge(loan.host, class);
        if let Some(medium) = loan.medium {
            self.parties.discharge(medium, class);
        }
        self.classes[class].free.push(buf);
        loan
    }

    /// Who held a buffer holds less.
    #[cold]
    fn rank_holder(&mut self, loan: &Loan) {
        if let Some(account) = self.shares.account_of(loan.holder) {
            self.rank(account, loan.class.into());
        }
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
        let at_media = self.lent.iter().flatten().filter(|loan| loan.medium.is_some()).count();
        let [hosts, media] = self.parties.totals();
        assert_eq!([hosts, media], [self.lent_count(), len_u32(at_media)], "a loan is charged");
        self.queues.self_check();
    }

    /// How many buffers are lent.
    pub(crate) fn lent_count(&self) -> u32 {
        self.classes.iter().map(|class| class.count - len_u32(class.free.len())).sum()
    }
}

#[cfg(test)]
mod tests;
