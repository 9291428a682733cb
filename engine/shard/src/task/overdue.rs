//! Data that was asked for and does not come: the buffers that wait for it are wanted by others.

use crate::action::Action;
use crate::session::sessions::Sessions;
use crate::task::bursts::advance;
use crate::task::data_out::Sequence;
use crate::task::tasks::{Neighbours, Tasks};
use crate::task::{Fault, Reach, Task};
use crate::turn::Turn;
use scsi::Sense;
use std::time::Duration;
use units::{ConnId, Instant, Key, limits};

/// Has the reactor look whether a connection moves anything, if its session holds buffers while
/// another one without any waits.
pub(crate) fn probe(conn: ConnId, tasks: &Tasks, sessions: &mut Sessions, turn: &mut Turn<'_>) {
    if tasks.lender.is_starved(turn.now) && tasks.lender.held_by(conn) > 0 {
        turn.push(Action::Probe(conn));
    } else if let Some(session) = sessions.session_mut(conn) {
        session.moved.excuse();
    }
}

/// The data that the tasks of a session wait for, and what has come lately.
///
/// An initiator serves R2Ts one after the other, so one that brings data for any task is waited for
/// by all: but not by a task that it passes over, nor, while others want its buffers, at less than
/// [`limits::PROGRESS_PER_SECOND_MIN`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owed {
    /// No data that is waited for can be overdue for as long as it may take from here on; `None`
    /// where none was asked for since the last look.
    looked_at: Option<Instant>,
    /// When data came the last time.
    heard_at: Instant,
    /// Until when the data that came was worth waiting.
    earned_at: Instant,
    /// When the data was asked for that was brought to its end, of all such the latest.
    answered: Instant,
}

/// From when on a session that brings `len` bytes `now` counts as silent, if it did from `before`.
pub(super) fn earned(before: Instant, len: u32, now: Instant) -> Instant {
    let worth = Duration::from_secs(len.into()) / limits::PROGRESS_PER_SECOND_MIN;
    before.after(worth).min(now)
}

impl Owed {
    /// Data is asked for, or announced.
    pub(crate) const fn ask(&mut self, now: Instant) {
        if self.looked_at.is_none() {
            *self = Self { looked_at: Some(now), heard_at: now, earned_at: now, ..*self };
        }
    }

    /// Data that was owed has come.
    pub(crate) fn hear(&mut self, len: u32, now: Instant) {
        if len > 0 {
            self.heard_at = now;
            self.earned_at = earned(self.earned_at, len, now);
        }
    }

    /// All data has come that was asked for then.
    pub(crate) fn answer(&mut self, asked_at: Instant) {
        self.answered = self.answered.max(asked_at);
    }

    /// Something may be overdue from then on.
    fn look_again(&mut self, since: Instant) {
        self.looked_at = Some(self.looked_at.map_or(since, |before| before.min(since)));
    }

    /// Since when a task waits for the data of a sequence and gets none.
    fn silent_since(&self, sequence: &Sequence, is_wanted: bool) -> Instant {
        let of_sequence = sequence.earned_at.max(sequence.asked_at);
        if sequence.asked_at < self.answered {
            return of_sequence;
        }
        of_sequence.max(if is_wanted { self.earned_at } else { self.heard_at })
    }
}

/// What makes the tasks of a session overdue.
#[derive(Clone, Copy)]
struct Look {
    owed: Owed,
    is_wanted: bool,
    limit: Duration,
}

/// Ends the tasks of a session whose data is overdue.
pub(crate) fn end_overdue(
    conn: ConnId,
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    let is_wanted = tasks.lender.is_starved(turn.now);
    let limit =
        if is_wanted { limits::DATA_OUT_TIME_MAX_WANTED } else { limits::DATA_OUT_TIME_MAX };
    // It may have ended in this tick.
    let Some(session) = neighbours.sessions.session_mut(conn) else { return };
    let owed = session.owed;
    if owed.looked_at.is_none_or(|at| turn.now.since(at) < limit) {
        return;
    }
    session.owed.looked_at = None;
    let keys: Vec<Key> = session.tags.keys().collect();
    let look = Look { owed, is_wanted, limit };
    for key in keys {
        tasks.visit(key, neighbours, turn, |task, reach| end_if_overdue(task, look, reach));
    }
}

/// Data that comes later finds no task, and is dropped without a word.
fn end_if_overdue(task: &mut Task, look: Look, reach: &mut Reach<'_, '_>) {
    let Look { owed, is_wanted, limit } = look;
    let sequences = task.data_out.open_sequences();
    // Nothing is owed to the task where it has none.
    let since = sequences.map(|sequence| owed.silent_since(sequence, is_wanted)).min();
    let Some(since) = since else { return };
    // A buffer that the socket fills cannot go back before the session ends: pings see to that.
    if reach.turn.now.since(since) < limit || task.data_out.is_in_pdu() {
        if let Some(session) = reach.session.as_deref_mut() {
            session.owed.look_again(since);
        }
        return;
    }
    task.data_out.stop_waiting();
    task.fail(Fault::Check(Sense::INITIATOR_RESPONSE_TIMEOUT));
    advance(task, reach);
}
