//! The order of the tasks of a session at one logical unit (SAM-5 8.6).
//!
//! An ORDERED task is a *barrier*: it waits until all tasks before it have ended, and all tasks
//! behind it wait until it has ended. A HEAD OF QUEUE task waits for nothing, and a SIMPLE one for
//! barriers only. A task that waits is *dormant*: it takes data that comes unasked, and does
//! nothing else. The reasons are in docs/decisions/ordered-tasks.md.

use crate::session::Session;
use crate::task::tasks::{Neighbours, Tasks};
use crate::task::{Fault, Phase, bursts};
use crate::turn::Turn;
use crate::wake::Wake;
use iscsi::pdu::TaskAttribute;
use scsi::Sense;
use units::{Key, Mutant, VolumeId};

/// The barriers of one session, oldest first. Nearly always there is none.
#[derive(Debug, Default)]
pub(crate) struct TaskOrder {
    barriers: Vec<Barrier>,
}

#[derive(Debug)]
struct Barrier {
    volume: Option<VolumeId>,
    ordered: Key,
    /// The tasks that it still waits for.
    before: Vec<Key>,
    /// The tasks that wait for it, oldest first.
    behind: Vec<Key>,
}

impl TaskOrder {
    /// Whether a new task has to look where it stands.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.barriers.is_empty()
    }

    /// A task of the session has ended: whoever waited for it alone is next.
    #[cold]
    pub(crate) fn ended(&mut self, key: Key, turn: &mut Turn<'_>) {
        for barrier in &mut self.barriers {
            barrier.behind.retain(|&waiting| waiting != key);
            let waited = !barrier.before.is_empty();
            barrier.before.retain(|&earlier| earlier != key);
            if waited && barrier.before.is_empty() && barrier.ordered != key {
                turn.wake(Wake::TaskIsNext(barrier.ordered));
            }
        }
        let Some(place) = self.barriers.iter().position(|barrier| barrier.ordered == key) else {
            return;
        };
        let Barrier { volume, behind, .. } = self.barriers.remove(place);
        // It may have been aborted while an older one had not ended.
        match self.barriers[..place].iter_mut().rev().find(|older| older.volume == volume) {
            Some(older) => older.behind.extend(behind),
            None => behind.into_iter().for_each(|key| turn.wake(Wake::TaskIsNext(key))),
        }
    }

    /// Whether a dormant task is woken one day: for debug builds and tests.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.barriers.iter().any(|barrier| {
            barrier.behind.contains(&key) || (barrier.ordered == key && !barrier.before.is_empty())
        })
    }
}

/// Gives a new task its place, where it or an earlier one of its session is not SIMPLE.
#[cold]
pub(crate) fn join(tasks: &mut Tasks, key: Key, attribute: TaskAttribute, session: &mut Session) {
    let volume = tasks.get_mut(key).volume;
    let is_dormant = match attribute {
        TaskAttribute::Ordered => {
            let mut before = bring_in_order(tasks, key, volume, session);
            if Mutant::TaskOrderIgnored.is_active() {
                before.clear();
            }
            let waits = !before.is_empty();
            let barrier = Barrier { volume, ordered: key, before, behind: Vec::new() };
            session.order.barriers.push(barrier);
            waits
        }
        TaskAttribute::Simple | TaskAttribute::Untagged => {
            let barrier = session.order.barriers.iter_mut().rfind(|b| b.volume == volume);
            let waits = barrier.is_some();
            if let Some(barrier) = barrier {
                barrier.behind.push(key);
            }
            waits
        }
        TaskAttribute::HeadOfQueue => false,
        // There is no ACA condition that could be cleared, because NACA is refused.
        TaskAttribute::Aca | TaskAttribute::Reserved(_) => {
            let task = tasks.get_mut(key);
            let sense = Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT;
            return task.fail(Fault::Check(sense));
        }
    };
    let task = tasks.get_mut(key);
    task.is_dormant = is_dormant;
    task.is_in_order |= is_dormant || attribute == TaskAttribute::Ordered;
}

/// The tasks of a session at a logical unit but for a new one: they report their ends from now
/// on.
fn bring_in_order(
    tasks: &mut Tasks,
    new: Key,
    volume: Option<VolumeId>,
    session: &Session,
) -> Vec<Key> {
    let mut earlier = Vec::new();
    for key in session.tags.keys().filter(|&key| key != new) {
        let task = tasks.get_mut(key);
        if task.volume == volume && !task.is_management() {
            task.is_in_order = true;
            earlier.push(key);
        }
    }
    earlier
}

/// Handles [`Wake::TaskIsNext`]. The task may be gone.
pub(crate) fn begin_dormant(
    tasks: &mut Tasks,
    key: Key,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    tasks.visit(key, neighbours, turn, |task, reach| {
        task.is_dormant = false;
        match task.phase {
            // It was aborted in the same call.
            Phase::Finished => {}
            Phase::Collecting | Phase::Draining | Phase::Executing => {
                bursts::resume(task, reach);
            }
        }
    });
}
