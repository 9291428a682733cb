//! Data that was asked for and does not come: the buffers that wait for it are wanted by others.

use crate::action::Action;
use crate::session::sessions::Sessions;
use crate::task::bursts::advance;
use crate::task::tasks::{Neighbours, Tasks};
use crate::task::{Fault, Reach, Task};
use crate::turn::Turn;
use scsi::Sense;
use std::time::Duration;
use units::{ConnId, Instant, Key, limits};

/// Has the reactor look whether a connection moves anything, if its session holds buffers while
/// another one without any waits.
pub(crate) fn probe(conn: ConnId, tasks: &Tasks, sessions: &mut Sessions, turn: &mut Turn<'_>) {
    if tasks.lender.is_starved() && tasks.lender.held_by(conn) > 0 {
        turn.push(Action::Probe(conn));
    } else if let Some(session) = sessions.session_mut(conn) {
        session.moved.excuse();
    }
}

/// A session that has brought no data for this long, although tasks wait for some.
#[derive(Clone, Copy)]
struct Silence {
    since: Instant,
    limit: Duration,
}

/// Ends the tasks of a session whose data is overdue. An initiator serves R2Ts one after the
/// other, so one that brings data for any task is waited for by all.
pub(crate) fn end_overdue(
    conn: ConnId,
    tasks: &mut Tasks,
    neighbours: &mut Neighbours<'_>,
    turn: &mut Turn<'_>,
) {
    let is_wanted = tasks.lender.is_starved();
    let limit =
        if is_wanted { limits::DATA_OUT_TIME_MAX_WANTED } else { limits::DATA_OUT_TIME_MAX };
    let is_silent = |&since: &Instant| turn.now.since(since) >= limit;
    // It may have ended in this tick.
    if let Some(session) = neighbours.sessions.session_mut(conn)
        && let Some(since) = session.data_heard_at.take_if(|since| is_silent(since))
    {
        let keys: Vec<Key> = session.tags.keys().collect();
        let silence = Silence { since, limit };
        for key in keys {
            tasks.visit(key, neighbours, turn, |task, reach| end_if_overdue(task, silence, reach));
        }
    }
}

/// Data that comes later finds no task, and is dropped without a word.
fn end_if_overdue(task: &mut Task, silence: Silence, reach: &mut Reach<'_, '_>) {
    let Some(asked) = task.data_out.asked_at() else { return };
    let since = asked.max(silence.since);
    // A buffer that the socket fills cannot go back before the session ends: pings see to that.
    if reach.turn.now.since(since) < silence.limit || task.data_out.is_in_pdu() {
        if let Some(session) = reach.session.as_deref_mut() {
            let heard = session.data_heard_at.get_or_insert(since);
            *heard = since.min(*heard);
        }
        return;
    }
    task.data_out.stop_waiting();
    task.fail(Fault::Check(Sense::INITIATOR_RESPONSE_TIMEOUT));
    advance(task, reach);
}
