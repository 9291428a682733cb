//! Who waits for a buffer: the tasks of each session in their order, and among the sessions first
//! the one that holds least, by turns where several hold as much.
//!
//! A session has a queue for each medium, and the sessions are ranked apart for each host and
//! medium: where one of these holds all that it may, nothing that waits for another is looked for
//! behind it.

use super::parties::Sides;
use super::shares::Account;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use units::{Key, Mutant};

/// The tasks that wait for a buffer, by session and by the class that they need.
#[derive(Debug)]
pub(super) struct Queues {
    classes: usize,
    /// Where tasks wait.
    queues: BTreeMap<Place, Queue>,
    /// Of each slot of connections and class, when the session was last served.
    served: Vec<u64>,
    /// Of each class, the sessions that may get a buffer.
    ranks: Vec<BTreeSet<(Group, Rank)>>,
    turns: u64,
    count: usize,
}

/// The tasks of a session for one medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) account: Account,
    pub(super) sides: Sides,
}

/// A queue: that of a line for one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    slot: u32,
    class: usize,
    sides: Sides,
}

/// The sessions of a host that wait for one medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group(Sides);

impl Group {
    pub(super) const fn sides(self) -> Sides {
        self.0
    }
}

/// The tasks of one line that wait for a buffer of one class, oldest first.
#[derive(Debug, Default)]
struct Queue {
    tasks: VecDeque<Key>,
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
    /// Before and behind all others.
    const FIRST: Self = Self { held: 0, turn: 0, slot: 0 };
    const LAST: Self = Self { held: u32::MAX, turn: u64::MAX, slot: u32::MAX };

    /// The session.
    pub(super) const fn account(self) -> Account {
        Account::in_slot(self.slot)
    }
}

impl Queues {
    /// Nobody waits.
    pub(super) fn new(classes: usize) -> Self {
        let ranks = vec![BTreeSet::new(); classes];
        let (queues, served) = (BTreeMap::new(), Vec::new());
        Self { classes, queues, served, ranks, turns: 0, count: 0 }
    }

    /// How many tasks wait.
    #[inline]
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Whether a task of the line waits for a buffer of the class.
    pub(super) fn has(&self, line: Line, class: usize) -> bool {
        self.queues.contains_key(&Place::of(line, class))
    }

    /// Whether a task of the session does.
    pub(super) fn has_any(&self, account: Account, class: usize) -> bool {
        self.lines(account, class).next().is_some()
    }

    /// The lines of a session in which tasks wait for a buffer of the class.
    fn lines(&self, account: Account, class: usize) -> impl Iterator<Item = Line> {
        let slot = account.number();
        let first = Place { slot, class, sides: Sides::FIRST };
        let places = self.queues.range(first..).map(|(&place, _)| place);
        let own = places.take_while(move |place| place.slot == slot && place.class == class);
        own.map(move |place| Line { account, sides: place.sides })
    }

    /// A task waits behind the others of its line.
    pub(super) fn push(&mut self, line: Line, class: usize, key: Key) {
        let queue = self.queues.entry(Place::of(line, class)).or_default();
        debug_assert!(!queue.tasks.contains(&key), "it waits already");
        queue.tasks.push_back(key);
        self.count += 1;
    }

    /// A task that has just joined a queue again goes to its front: it has waited before.
    pub(super) fn requeue_first(&mut self, line: Line, class: usize) {
        if let Some(queue) = self.queues.get_mut(&Place::of(line, class)) {
            queue.tasks.rotate_right(1);
        }
    }

    /// Takes the task of a line that waits longest. The session has had its turn.
    pub(super) fn pop(&mut self, line: Line, class: usize) -> Option<Key> {
        let queue = self.queues.get_mut(&Place::of(line, class))?;
        let key = queue.tasks.pop_front()?;
        let forgotten = Mutant::HungryForgotten.is_active() && queue.tasks.pop_back().is_some();
        self.count -= 1 + usize::from(forgotten);
        self.turns += 1;
        let turn = line.account.slot() * self.classes + class;
        if self.served.len() <= turn {
            self.served.resize(turn + 1, 0);
        }
        self.served[turn] = self.turns;
        Some(key)
    }

    /// A task does not wait any more.
    pub(super) fn remove(&mut self, line: Line, class: usize, key: Key) {
        let Some(queue) = self.queues.get_mut(&Place::of(line, class)) else {
            unreachable!("a task waits in its queue")
        };
        let before = queue.tasks.len();
        queue.tasks.retain(|&waiting| waiting != key);
        assert_eq!(queue.tasks.len() + 1, before, "a task waits once");
        self.count -= 1;
    }

    /// Puts the lines of a session where they belong: [`Self::rank`].
    pub(super) fn rank_all(&mut self, account: Account, class: usize, held: u32, may: bool) {
        let lines: Vec<Line> = self.lines(account, class).collect();
        for line in lines {
            self.rank(line, class, held, may);
        }
    }

    /// Puts a line where it belongs: out of the ranks where nothing of it waits or it `may` get no
    /// buffer now, otherwise to the place of a session that holds so many.
    pub(super) fn rank(&mut self, line: Line, class: usize, held: u32, may: bool) {
        let Some(queue) = self.queues.get_mut(&Place::of(line, class)) else { return };
        let is_empty = queue.tasks.is_empty();
        let slot = line.account.number();
        let turn = self.served.get(line.account.slot() * self.classes + class).copied();
        let rank = Rank { held, turn: turn.unwrap_or(0), slot };
        let rank = (may && !is_empty).then_some(rank);
        let before = std::mem::replace(&mut queue.rank, rank);
        if before != rank {
            let group = Group(line.sides);
            if let Some(before) = before {
                self.ranks[class].remove(&(group, before));
            }
            self.ranks[class].extend(rank.map(|rank| (group, rank)));
        }
        if is_empty {
            self.queues.remove(&Place::of(line, class));
        }
    }

    /// For whom sessions wait that may get a buffer of a class.
    pub(super) fn groups(&self, class: usize) -> impl Iterator<Item = Group> {
        let ranks = &self.ranks[class];
        let first = ranks.first().map(|&(group, _)| group);
        std::iter::successors(first, |&group| {
            let behind = (Excluded((group, Rank::LAST)), Unbounded);
            ranks.range(behind).next().map(|&(group, _)| group)
        })
    }

    /// The sessions of a group that may get one, in the order in which they are served.
    pub(super) fn ranked(&self, class: usize, group: Group) -> impl Iterator<Item = Rank> {
        let ranks = self.ranks[class].range((group, Rank::FIRST)..=(group, Rank::LAST));
        ranks.map(|&(_, rank)| rank)
    }

    /// Whether a task waits there.
    pub(super) fn contains(&self, line: Line, class: usize, key: Key) -> bool {
        let queue = self.queues.get(&Place::of(line, class));
        queue.is_some_and(|queue| queue.tasks.contains(&key))
    }

    /// Asserts that the counts agree: for debug builds and tests.
    pub(super) fn self_check(&self) {
        let waiting: usize = self.queues.values().map(|queue| queue.tasks.len()).sum();
        assert_eq!(waiting, self.count, "tasks that wait are counted");
        let ranked: usize = self.ranks.iter().map(BTreeSet::len).sum();
        let ranks = self.queues.values().filter(|queue| queue.rank.is_some()).count();
        assert_eq!(ranks, ranked, "a session knows its rank");
        let idle = self.queues.values().find(|queue| queue.tasks.is_empty());
        assert!(idle.is_none(), "a queue without a task is gone");
    }
}

impl Place {
    const fn of(line: Line, class: usize) -> Self {
        Self { slot: line.account.number(), class, sides: line.sides }
    }
}
