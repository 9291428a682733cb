//! Sessions that began, ended or were refused.

use shard::{Ending, Refusal, SessionChange};

/// How many sessions began, and how many ended or were refused for which reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    logins: u64,
    ended: [u64; Ending::ALL.len()],
    refused: [u64; Refusal::ALL.len()],
    /// Connections that were closed as soon as they were accepted, for lack of room.
    pub connections_refused: u64,
}

impl SessionCounters {
    /// One more of a kind.
    pub const fn add(&mut self, change: SessionChange) {
        let counter = match change {
            SessionChange::LoggedIn => &mut self.logins,
            SessionChange::Ended(ending) => &mut self.ended[ending.index()],
            SessionChange::Refused(refusal) => &mut self.refused[refusal.index()],
        };
        *counter += 1;
    }

    /// Sessions that began.
    pub const fn logins(&self) -> u64 {
        self.logins
    }

    /// Sessions that ended for this reason.
    pub const fn ended(&self, ending: Ending) -> u64 {
        self.ended[ending.index()]
    }

    /// Logins that were refused for this reason.
    pub const fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal.index()]
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    pub(super) fn since(mut self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub);
        self
    }

    /// The one list of all counters: a new one cannot be merged but not subtracted.
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        let Self { logins, ended, refused, connections_refused } = self;
        let mine = ended.iter_mut().chain(refused).chain([logins, connections_refused]);
        let theirs = other.ended.iter().chain(&other.refused);
        let theirs = theirs.chain([&other.logins, &other.connections_refused]);
        for (mine, theirs) in mine.zip(theirs) {
            *mine = with(*mine, *theirs);
        }
    }
}
