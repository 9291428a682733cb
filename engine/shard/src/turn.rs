//! What every part of the shard is given with each call: the time, and the queues for what it
//! wants done.

use crate::action::{Action, Actions};
use crate::message::{Message, Note};
use crate::wake::{Wake, Wakes};
use units::{Instant, ReactorId, VolumeId};

/// One call of the reactor, from its arrival to the last wake that it led to.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    /// Effects outside of the shard.
    pub(crate) actions: &'a mut Actions,
    /// Effects on other parts of the shard.
    pub(crate) wakes: &'a mut Wakes,
    pub(crate) cores: Cores,
}

/// The reactors of the node, and which of them this shard belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) own: ReactorId,
    /// At least 1.
    pub(crate) count: u8,
}

impl Turn<'_> {
    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn wake(&mut self, wake: Wake) {
        self.wakes.push(wake);
    }

    /// Sends a note to a shard; one to this shard is handled within this call, as a wake.
    pub(crate) fn post(&mut self, to: ReactorId, note: Note) {
        if to == self.cores.own {
            self.wake(Wake::Note(note));
        } else {
            self.push(Action::Post { to, message: Box::new(Message(note)) });
        }
    }
}

impl Cores {
    /// All reactors but this one.
    pub(crate) fn others(self) -> impl Iterator<Item = ReactorId> {
        (0..self.count).map(ReactorId).filter(move |&r| r != self.own)
    }

    /// The reactor that decides about a volume's logical unit.
    pub(crate) fn home_of(self, volume: VolumeId) -> ReactorId {
        let remainder = volume.0 % u32::from(self.count);
        // The remainder is below a u8.
        #[expect(clippy::cast_possible_truncation, reason = "less than `count`, a u8")]
        ReactorId(remainder as u8)
    }
}
