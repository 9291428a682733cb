//! The door to the medium of a logical unit: every access to it passes here and nowhere else.
//!
//! A request is submitted with the operation that it belongs to. It starts at once, or it waits,
//! because its range is held by an atomic update of any core. A task whose request waits submits
//! it again when it is woken ([`Wake::RangeFree`]).
//!
//! Invariants, checked by [`Medium::self_check`]:
//! - a request in flight that changes blocks overlaps no held range but its own task's, and that of
//!   a hold which still waits for it;
//! - every completion belongs to one request.

use crate::action::Action;
use crate::message::Ticket;
use crate::operation::OpId;
use crate::turn::Turn;
use crate::wake::Wake;
use std::collections::VecDeque;
use units::{Key, Mutant, VolumeId};
use volume::{BlockRequest, ByteRange, RangeSet};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Submitted {
    /// It is with the reactor. The slot comes back with [`Medium::handle_io`].
    Started(Slot),
    /// Its range is held: nothing was done, and the task is woken when a range is released.
    Waits,
}

/// The place of a request in flight in the door's table; requests that only read have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    /// That of a request that changes nothing.
    const NONE: Self = Self(u32::MAX);
}

/// A [`Ticket`] as a plain value to compare.
pub(crate) type TicketKey = (u8, Key);

/// The key of a ticket.
pub(crate) const fn ticket_key(ticket: Ticket) -> TicketKey {
    (ticket.reactor.0, ticket.task)
}

/// The door of one logical unit on this core.
#[derive(Debug)]
pub(crate) struct Medium {
    volume: VolumeId,
    /// Requests with the reactor.
    in_flight: u32,
    /// Those of them that change blocks, by slot.
    changes: Vec<Option<Change>>,
    free: Vec<u32>,
    /// Ranges that atomic updates hold, on any core.
    held: RangeSet<TicketKey>,
    /// Holds that wait for changes which began before them: the job and its range.
    draining: Vec<Draining>,
    /// Tasks whose requests wait for a held range, oldest first.
    waiters: VecDeque<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    op: OpId,
    range: ByteRange,
}

#[derive(Clone, Copy, Debug)]
struct Draining {
    /// The job of the logical unit's home.
    number: u64,
    range: ByteRange,
}

impl Medium {
    /// A door with nothing under way.
    pub(crate) const fn new(volume: VolumeId) -> Self {
        Self {
            volume,
            in_flight: 0,
            changes: Vec::new(),
            free: Vec::new(),
            held: RangeSet::new(),
            draining: Vec::new(),
            waiters: VecDeque::new(),
        }
    }

    /// Starts a request, or makes its task wait.
    #[inline(always)]
    pub(crate) fn submit(
        &mut self,
        op: OpId,
        request: BlockRequest,
        turn: &mut Turn<'_>,
    ) -> Submitted {
        if !self.held.is_empty() && self.is_held_from(op.task, request, turn) {
            if !self.waiters.contains(&op.task) {
                self.waiters.push_back(op.task);
            }
            return Submitted::Waits;
        }
        let slot = if request.modifies() { self.note_change(op, request) } else { Slot::NONE };
        self.in_flight += 1;
        turn.push(Action::Io { op, volume: self.volume, request });
        Submitted::Started(slot)
    }

    /// A request has completed, well or not.
    #[inline]
    pub(crate) fn handle_io(&mut self, op: OpId, slot: Slot, turn: &mut Turn<'_>) {
        assert!(self.in_flight > 0, "{op:?} completed, but no request is in flight");
        self.in_flight -= 1;
        if slot == Slot::NONE {
            return;
        }
        let Slot(slot) = slot;
        let change = self.changes[slot as usize].take();
        assert!(change.is_some_and(|change| change.op == op), "{op:?} completed twice");
        self.free.push(slot);
        if !self.draining.is_empty() {
            self.poll_draining(turn);
        }
    }

    /// Holds a range for an atomic update, as job `number` of the logical unit: changes that
    /// overlap it wait from now on. [`Wake::JobDone`] says that those before it have completed.
    pub(crate) fn hold(
        &mut self,
        range: ByteRange,
        holder: Ticket,
        number: u64,
        turn: &mut Turn<'_>,
    ) {
        debug_assert!(
            !self.held.overlaps(range) || Mutant::HomeRunsTwoJobs.is_active(),
            "the home lets no two held ranges overlap"
        );
        self.held.hold(range, ticket_key(holder));
        self.draining.push(Draining { number, range });
        self.poll_draining(turn);
    }

    /// Releases what `holder` holds; every task that waits tries again, oldest first.
    pub(crate) fn release(&mut self, holder: Ticket, turn: &mut Turn<'_>) {
        self.held.release(ticket_key(holder));
        if Mutant::WaiterForgotten.is_active() {
            self.waiters.pop_back();
        }
        while let Some(key) = self.waiters.pop_front() {
            turn.wake(Wake::RangeFree(key));
        }
    }

    /// A task that waits has ended.
    pub(crate) fn forget(&mut self, task: Key) {
        self.waiters.retain(|&key| key != task);
    }

    /// Whether a task is woken when a range is released.
    pub(crate) fn has_waiter(&self, task: Key) -> bool {
        self.waiters.contains(&task)
    }

    /// Whether nothing is in flight, held or waiting here.
    pub(crate) fn is_quiet(&self) -> bool {
        // What drains is held.
        self.in_flight == 0 && self.held.is_empty() && self.waiters.is_empty()
    }

    /// Whether a held range of another task is in the way. Flushes and queries of the block map
    /// touch no block's content and never wait.
    #[cold]
    fn is_held_from(&self, task: Key, request: BlockRequest, turn: &Turn<'_>) -> bool {
        if request.modifies() && Mutant::HeldRangeIgnored.is_active() {
            return false;
        }
        let own = ticket_key(Ticket { reactor: turn.cores.own, task });
        match request {
            BlockRequest::Flush | BlockRequest::MapQuery(_) => false,
            BlockRequest::Read { .. } | BlockRequest::Space { .. } | BlockRequest::Write { .. } => {
                request.range().is_some_and(|range| self.held.overlaps_other(range, own))
            }
        }
    }

    fn note_change(&mut self, op: OpId, request: BlockRequest) -> Slot {
        // A flush modifies nothing, and all else that modifies has a range.
        let Some(range) = request.range() else { unreachable!("a change without a range") };
        let change = Change { op, range };
        let slot = self.free.pop().unwrap_or_else(|| self.new_slot());
        debug_assert!(self.changes[slot as usize].is_none(), "slot {slot} is taken");
        self.changes[slot as usize] = Some(change);
        Slot(slot)
    }

    #[cold]
    fn new_slot(&mut self) -> u32 {
        let Ok(slot) = u32::try_from(self.changes.len()) else {
            unreachable!("more changes in flight than a reactor can have tasks")
        };
        self.changes.push(None);
        // The free list never grows past the slots, so that completing never allocates.
        self.free.reserve(self.changes.len() - self.free.len());
        slot
    }

    /// Reports the holds whose earlier changes have all completed.
    #[cold]
    fn poll_draining(&mut self, turn: &mut Turn<'_>) {
        let (volume, changes) = (self.volume, &self.changes);
        self.draining.retain(|hold| {
            let is_clear = !changes.iter().flatten().any(|c| c.range.overlaps(hold.range))
                || Mutant::RangeHeldTooEarly.is_active();
            if is_clear {
                turn.wake(Wake::JobDone { volume, number: hold.number });
            }
            !is_clear
        });
    }

    /// Asserts the invariants of this door. It walks through all requests in flight: for debug
    /// builds and tests.
    pub(crate) fn self_check(&self, own: units::ReactorId) {
        let changes = self.changes.iter().flatten();
        assert!(changes.clone().count() <= self.in_flight as usize, "changes are requests");
        assert_eq!(changes.clone().count() + self.free.len(), self.changes.len());
        for (place, key) in self.waiters.iter().enumerate() {
            assert!(!self.waiters.range(..place).any(|k| k == key), "{key:?} waits twice");
        }
        for hold in &self.draining {
            assert!(self.held.overlaps(hold.range), "{hold:?} was released before it was done");
        }
        assert!(self.waiters.is_empty() || !self.held.is_empty(), "nobody wakes those who wait");
        for change in changes {
            let holder = ticket_key(Ticket { reactor: own, task: change.op.task });
            let is_held = self.held.overlaps_other(change.range, holder)
                && !self.draining.iter().any(|hold| hold.range.overlaps(change.range));
            assert!(
                !is_held
                    || Mutant::HeldRangeIgnored.is_active()
                    || Mutant::RangeHeldTooEarly.is_active(),
                "{change:?} runs in a held range"
            );
        }
    }
}

#[cfg(test)]
mod tests;
