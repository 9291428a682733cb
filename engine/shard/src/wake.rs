//! Wakes: the only way for one part of the shard to reach another.
//!
//! A part that changes what another one waits for pushes a wake and returns. The front door
//! (`Shard::settle`) routes wakes one by one until there is none, so no call recurses into another
//! part, and a queue of any length needs the stack of one entry.

use crate::action::{Closing, Placement};
use crate::message::Note;
use crate::task::waiting::Then;
use std::collections::VecDeque;
use units::{ConnId, Key, VolumeId};

/// Something that another part of the shard has to look at.
#[derive(Debug)]
pub(crate) enum Wake {
    /// A buffer came back to the pool while tasks wait for one.
    BufferFree,
    /// The connection's session ends: its tasks are aborted and its socket closed.
    EndSession(ConnId, Closing),
    /// A session has begun on this core, or has come here.
    SessionBegan(ConnId),
    /// The home of a logical unit may be able to start its next job.
    HomeReady(VolumeId),
    /// This core has carried out a job of a logical unit.
    JobDone { volume: VolumeId, number: u64 },
    /// The shard posted a note to itself.
    Note(Note),
    /// Data that waited for a buffer has one, or is not wanted any more.
    Placed { conn: ConnId, placement: Placement },
    /// Every task that this waited for is quiet.
    Quiet(Then),
    /// A held range was released that a task waited for.
    RangeFree(Key),
    /// The tasks have ended that a task had to wait for by its order, or by theirs.
    TaskIsNext(Key),
    /// A place on the wire or a buffer of its own is free: the task may proceed.
    TaskMayProceed(Key),
    /// A task has nothing at the medium any more, or is gone.
    TaskQuiet(Key),
}

/// The wakes that have not been routed yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    queue: VecDeque<Wake>,
}

impl Wakes {
    pub(crate) fn push(&mut self, wake: Wake) {
        self.queue.push_back(wake);
    }

    pub(crate) fn pop(&mut self) -> Option<Wake> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_are_routed_in_the_order_in_which_they_were_pushed() {
        let mut wakes = Wakes::default();
        wakes.push(Wake::HomeReady(VolumeId(1)));
        wakes.push(Wake::BufferFree);
        assert!(matches!(wakes.pop(), Some(Wake::HomeReady(VolumeId(1)))));
        wakes.push(Wake::HomeReady(VolumeId(2)));
        assert!(matches!(wakes.pop(), Some(Wake::BufferFree)));
        assert!(matches!(wakes.pop(), Some(Wake::HomeReady(VolumeId(2)))));
        assert!(wakes.pop().is_none());
    }
}
