//! Who waits for a buffer: the tasks of each session in their order, and among the sessions first
//! the one that holds least, by turns where several hold as much.

use super::shares::Account;
use std::collections::{BTreeSet, VecDeque};
use units::{Key, Mutant};

/// The tasks that wait for a buffer, by session and by the class that they need.
#[derive(Debug)]
pub(super) struct Queues {
    classes: usize,
    /// Of each slot of connections, a queue for each class.
    queues: Vec<Queue>,
    /// Of each class, the sessions that may get a buffer.
    ranks: Vec<BTreeSet<Rank>>,
    turns: u64,
    count: usize,
}

/// The tasks of one session that wait for a buffer of one class, oldest first.
#[derive(Clone, Debug, Default)]
struct Queue {
    tasks: VecDeque<Key>,
    /// When the session was last served.
    turn: u64,
    /// Its rank, if it is among those that may get a buffer.
    rank: Option<Rank>,
}

/// The place of a session among those that wait: the smallest is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) held: u32,
    turn: u64,
    slot: u32,
}

impl Rank {
    /// The session.
    pub(super) const fn account(self) -> Account {
        Account::in_slot(self.slot)
    }
}

impl Queues {
    /// Nobody waits.
    pub(super) fn new(classes: usize) -> Self {
        let ranks = vec![BTreeSet::new(); classes];
        Self { classes, queues: Vec::new(), ranks, turns: 0, count: 0 }
    }

    /// How many tasks wait.
    #[inline]
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    fn queue(&self, account: Account, class: usize) -> Option<&Queue> {
        self.queues.get(account.slot() * self.classes + class)
    }

    fn queue_mut(&mut self, account: Account, class: usize) -> &mut Queue {
        let end = (account.slot() + 1) * self.classes;
        if self.queues.len() < end {
            self.queues.resize(end, Queue::default());
        }
        &mut self.queues[account.slot() * self.classes + class]
    }

    /// Whether a task of the session waits for a buffer of the class.
    pub(super) fn has(&self, account: Account, class: usize) -> bool {
        self.queue(account, class).is_some_and(|queue| !queue.tasks.is_empty())
    }

    /// A task waits behind the others of its session.
    pub(super) fn push(&mut self, account: Account, class: usize, key: Key) {
        let queue = self.queue_mut(account, class);
        debug_assert!(!queue.tasks.contains(&key), "it waits already");
        queue.tasks.push_back(key);
        self.count += 1;
    }

    /// A task that has just joined a queue again goes to its front: it has waited before.
    pub(super) fn requeue_first(&mut self, account: Account, class: usize) {
        self.queue_mut(account, class).tasks.rotate_right(1);
    }

    /// Takes the task of a session that waits longest. The session has had its turn.
    pub(super) fn pop(&mut self, account: Account, class: usize) -> Option<Key> {
        self.turns += 1;
        let turn = self.turns;
        let queue = self.queue_mut(account, class);
        let key = queue.tasks.pop_front()?;
        queue.turn = turn;
        let forgotten = Mutant::HungryForgotten.is_active() && queue.tasks.pop_back().is_some();
        self.count -= 1 + usize::from(forgotten);
        Some(key)
    }

    /// A task does not wait any more.
    pub(super) fn remove(&mut self, account: Account, class: usize, key: Key) {
        let queue = self.queue_mut(account, class);
        let before = queue.tasks.len();
        queue.tasks.retain(|&waiting| waiting != key);
        assert_eq!(queue.tasks.len() + 1, before, "a task waits once");
        self.count -= 1;
    }

    /// Puts a session where it belongs: out of the ranks where nothing of it waits or it `may` get
    /// no buffer now, otherwise to the place of one that holds so many.
    pub(super) fn rank(&mut self, account: Account, class: usize, held: u32, may: bool) {
        let queue = self.queue_mut(account, class);
        let may = may && !queue.tasks.is_empty();
        let rank = may.then_some(Rank { held, turn: queue.turn, slot: account.number() });
        let before = std::mem::replace(&mut queue.rank, rank);
        if before == rank {
            return;
        }
        if let Some(before) = before {
            self.ranks[class].remove(&before);
        }
        self.ranks[class].extend(rank);
    }

    /// The sessions that wait for a buffer of a class and may get one, in the order in which they
    /// are served.
    pub(super) fn ranked(&self, class: usize) -> impl Iterator<Item = Rank> {
        self.ranks[class].iter().copied()
    }

    /// Whether a task waits there.
    pub(super) fn contains(&self, account: Account, class: usize, key: Key) -> bool {
        self.queue(account, class).is_some_and(|queue| queue.tasks.contains(&key))
    }

    /// Asserts that the counts agree: for debug builds and tests.
    pub(super) fn self_check(&self) {
        let waiting: usize = self.queues.iter().map(|queue| queue.tasks.len()).sum();
        assert_eq!(waiting, self.count, "tasks that wait are counted");
        let ranked: usize = self.ranks.iter().map(BTreeSet::len).sum();
        let ranks = self.queues.iter().filter(|queue| queue.rank.is_some()).count();
        assert_eq!(ranks, ranked, "a session knows its rank");
        let idle = self.queues.iter().find(|q| q.rank.is_some() && q.tasks.is_empty());
        assert!(idle.is_none(), "a session without a task that waits has no rank");
    }
}
