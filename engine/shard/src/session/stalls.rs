//! Peers that take or bring nothing while others wait for the buffers that they hold.

use crate::session::Session;
use crate::session::sessions::Sessions;
use crate::turn::Turn;
use units::{ConnId, Instant, limits};

/// How much a connection had moved when it last moved something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    bytes: u64,
    since: Instant,
}

impl Stall {
    /// What becomes of a stall when the connection has moved so many bytes. Whether it has lasted
    /// for too long is the second part.
    fn next(before: Option<Self>, bytes: u64, now: Instant) -> (Self, bool) {
        match before {
            Some(stall) if stall.bytes == bytes => {
                (stall, now.since(stall.since) >= limits::STALL_TIME_MAX_WANTED)
            }
            Some(_) | None => (Self { bytes, since: now }, false),
        }
    }
}

impl Session {
    /// So many bytes have moved on its connection, which has some to move; `None` where it has
    /// none. Whether it has moved nothing for too long.
    fn is_stalled(&mut self, moved: Option<u64>, now: Instant) -> bool {
        let next = moved.map(|bytes| Stall::next(self.stall, bytes, now));
        self.stall = next.map(|(stall, _)| stall);
        next.is_some_and(|(_, is_over)| is_over)
    }
}

/// Gives up a connection that holds what others wait for, and moves nothing. It may have ended
/// since the reactor was asked.
pub(crate) fn handle_progress(
    conn: ConnId,
    moved: Option<u64>,
    sessions: &mut Sessions,
    turn: &mut Turn<'_>,
) {
    if sessions.session_mut(conn).is_some_and(|session| session.is_stalled(moved, turn.now)) {
        sessions.abandon_connection(conn, turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_stall_lasts_as_long_as_nothing_moves() {
        let at = |seconds| Instant(0).after(Duration::from_secs(seconds));
        let mut stall = None;
        for (now, bytes, is_over) in
            [(0, 7, false), (9, 7, false), (9, 8, false), (18, 8, false), (19, 8, true)]
        {
            let (next, over) = Stall::next(stall, bytes, at(now));
            assert_eq!(over, is_over, "at {now}");
            stall = Some(next);
        }
    }
}
