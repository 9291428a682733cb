//! Which of the tasks that wait gets the next buffer.

use super::parties::Sides;
use super::queues::{Line, Rank};
use super::shares::Account;
use super::{Class, Lender, Need, Passed, Waiting};
use crate::turn::Turn;
use crate::wake::Wake;
use units::{Instant, Key, VolumeId, limits};

impl Lender {
    /// Puts a session where it belongs among those that wait for a buffer of `class` or a smaller
    /// one: what it holds has changed.
    pub(super) fn rank(&mut self, account: Account, class: usize) {
        for waited in 0..=class {
            if self.queues.has_any(account, waited) {
                let may = (waited..self.classes()).any(|class| {
                    let share = self.shares.share(account, class);
                    share.held() == 0 || share.has_room()
                });
                self.queues.rank_all(account, waited, self.held(account, waited), may);
            }
        }
    }

    /// Where the tasks of a session for a volume wait.
    pub(super) fn line(&self, account: Account, volume: Option<VolumeId>) -> Line {
        Line { account, sides: self.sides(account, volume) }
    }

    /// A task of a session waits for a buffer of at least `bytes`.
    pub(crate) fn wait(&mut self, key: Key, need: Need, bytes: u32) -> Waiting {
        let account = self.shares.account(need.holder);
        let line = self.line(account, need.volume);
        let class = self.smallest_class(bytes).unwrap_or_else(|| self.classes() - 1);
        self.queues.push(line, class, key);
        self.rank(account, class);
        Waiting { line, class }
    }

    /// A task that waits for a buffer has ended. What was kept for it is free for others.
    #[cold]
    pub(crate) fn forget(&mut self, key: Key, waiting: Waiting, turn: &mut Turn<'_>) {
        let Waiting { line, class } = waiting;
        self.queues.remove(line, class, key);
        self.queues.rank(line, class, self.held(line.account, class), true);
        if self.has_hungry() {
            turn.wake(Wake::BufferFree);
        } else {
            self.kept = 0;
        }
    }

    /// Begins to serve the tasks that wait: what was kept for one of them is free until it is
    /// seen again that it is needed.
    pub(crate) fn begin_serving(&mut self) {
        self.kept = 0;
        self.passed.clear();
    }

    /// The task of a class that gets the next buffer, if there is one for it. It does not wait
    /// any more.
    pub(crate) fn next_hungry(&mut self, class: usize) -> Option<Key> {
        if self.classes[class..].iter().all(|class| class.free.is_empty()) {
            return None;
        }
        let groups = self.queues.groups(class);
        let groups = groups.filter(|group| !self.passed.contains(&Passed::All(group.sides())));
        let firsts = groups.filter_map(|group| {
            let open = |&class: &usize| self.is_open_to(group.sides(), class);
            let open: u32 = (class..self.classes()).filter(open).map(|class| 1 << class).sum();
            let may = |rank: &Rank| {
                let line = Line { account: rank.account(), sides: group.sides() };
                let was_served = self.passed.contains(&Passed::One(line));
                !was_served
                    && (class..self.classes()).filter(|class| open & (1 << class) != 0).any(
                        |class| {
                            let free = self.classes[class].free.len();
                            self.shares.share(rank.account(), class).may_hold(free)
                        },
                    )
            };
            // Most sessions that wait may, so this looks at few.
            let rank = (open != 0).then(|| self.queues.ranked(class, group).find(may))??;
            Some((rank, group.sides()))
        });
        let (rank, sides) = firsts.min()?;
        let line = Line { account: rank.account(), sides };
        let key = self.queues.pop(line, class)?;
        self.is_serving = true;
        self.queues.rank(line, class, rank.held, true);
        Some(key)
    }

    /// Whether a class has buffers for a host and a medium, as far as it depends on them.
    fn is_open_to(&self, sides: Sides, class: usize) -> bool {
        let free = self.classes[class].free.len();
        let is_kept = self.kept & (1 << class) != 0;
        free > 0 && !is_kept && self.parties.allow(sides, class, free)
    }

    /// The task that was served waits again, and keeps its place: nobody of its session overtakes
    /// it. Where it got nothing, it needs several buffers at a time: a session that holds none gets
    /// them as soon as they are free, and one that holds some when those have come back.
    pub(crate) fn keep_place(&mut self, waiting: Waiting, got_some: bool) {
        let Waiting { line, class } = waiting;
        self.queues.requeue_first(line, class);
        if got_some {
            return;
        }
        let mut larger = self.classes[class..].iter();
        let may_come_back = larger.any(|class| class.free.len() < class.count as usize);
        let held = self.held(line.account, class);
        let free = |class: usize| self.classes[class].free.len().max(1);
        let mut open = class..self.classes();
        if held == 0 && !open.all(|class| self.parties.allow(line.sides, class, free(class))) {
            self.passed.push(Passed::All(line.sides));
        } else if held == 0 && may_come_back {
            self.kept |= u32::MAX << class;
        } else {
            // What another line of the session tries puts this one back among those that may.
            self.passed.push(Passed::One(line));
            self.queues.rank(line, class, held, false);
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
    pub(crate) fn note_want(&mut self, bytes: u32, need: Need, now: Instant) {
        let account = self.shares.account(need.holder);
        let sides = self.sides(account, need.volume);
        let smallest = self.smallest_class(bytes).unwrap_or_else(|| self.classes() - 1);
        let mut larger = smallest..self.classes();
        if larger.clone().all(|class| self.held(account, class) == 0)
            && larger.any(|class| !self.is_at_bound(sides, class))
        {
            self.starved_until = now.after(limits::WANT_REMEMBERED);
        }
    }

    /// Whether a session that holds no buffer of the size that it needs waits for one, though its
    /// host and its medium may hold more: what these hold themselves is not what others keep. Or
    /// its data found none a moment ago: if that is refused, the initiator sends it again.
    pub(crate) fn is_starved(&self, now: Instant) -> bool {
        let is_hungry = (0..self.classes()).any(|class| {
            self.queues.groups(class).any(|group| {
                let first = self.queues.ranked(class, group).next();
                let mut larger = class..self.classes();
                first.is_some_and(|rank| rank.held == 0)
                    && larger.any(|class| !self.is_at_bound(group.sides(), class))
            })
        });
        is_hungry || now < self.starved_until
    }

    /// Whether a host or a medium is at its bound, and holds enough to be the reason for that.
    fn is_at_bound(&self, sides: Sides, class: usize) -> bool {
        let Class { count, ref free, .. } = self.classes[class];
        let much = (count / limits::PARTY_MUCH_PARTS) as usize;
        !self.parties.allow(sides, class, free.len().max(much).max(1))
    }

    /// Whether a task waits in its queue.
    pub(crate) fn is_waiting(&self, key: Key, waiting: Waiting) -> bool {
        self.queues.contains(waiting.line, waiting.class, key)
    }

    /// How many tasks wait.
    pub(crate) const fn waiting_count(&self) -> usize {
        self.queues.count()
    }
}
