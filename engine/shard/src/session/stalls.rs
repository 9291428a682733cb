//! Connections whose peers take or bring bytes, or nothing while others wait for the buffers that
//! they hold.

use crate::action::Progress;
use crate::event::Ending;
use crate::session::sessions::Sessions;
use crate::turn::Turn;
use std::time::Duration;
use units::{ConnId, Instant, limits};

/// What is known of the bytes that a connection has moved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// How many there were at the last look.
    bytes: Option<u64>,
    /// Since when none have moved although some are due.
    still_since: Option<Instant>,
    /// The same, but later only by the time that what has moved since was worth.
    slow_since: Option<Instant>,
}

/// What the look at a connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It has moved bytes since the last look.
    Moves,
    /// Nothing can be said yet, or nothing is to move.
    Open,
    /// It has moved nothing for too long, or next to nothing for longer than that.
    Stalled,
}

impl Moved {
    /// Nobody wants what the connection holds: from now on it has all the time again.
    pub(crate) const fn excuse(&mut self) {
        (self.still_since, self.slow_since) = (None, None);
    }

    fn look(&mut self, progress: Progress, now: Instant) -> Verdict {
        let before = self.bytes.replace(progress.bytes);
        let moved = before.map_or(0, |before| progress.bytes.saturating_sub(before));
        let moves = moved > 0;
        if progress.is_due {
            let per_second = u64::from(limits::PROGRESS_PER_SECOND_MIN);
            let worth = Duration::from_millis(moved.saturating_mul(1000) / per_second);
            let still = self.still_since.filter(|_| !moves).unwrap_or(now);
            let slow = self.slow_since.map_or(now, |since| since.after(worth).min(now));
            (self.still_since, self.slow_since) = (Some(still), Some(slow));
            if now.since(still) >= limits::STALL_TIME_MAX_WANTED
                || now.since(slow) >= limits::SLOW_TIME_MAX_WANTED
            {
                return Verdict::Stalled;
            }
        } else {
            self.excuse();
        }
        if moves { Verdict::Moves } else { Verdict::Open }
    }
}

/// Notes that an initiator lives if its connection moves bytes, however slowly. Gives up a
/// connection that holds what others wait for, and moves nothing.
pub(crate) fn handle_progress(
    conn: ConnId,
    progress: Progress,
    sessions: &mut Sessions,
    turn: &mut Turn<'_>,
) {
    // The session may have ended since the reactor was asked.
    if let Some(session) = sessions.session_mut(conn) {
        match session.moved.look(progress, turn.now) {
            Verdict::Moves => session.ping.alive_at = turn.now,
            Verdict::Open => {}
            Verdict::Stalled => {
                sessions.blame(conn, Ending::Stalled);
                sessions.abandon_connection(conn, turn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_stall_lasts_as_long_as_nothing_moves() {
        let mut moved = Moved::default();
        for (now, bytes, verdict) in [
            (0, 7, Verdict::Open),
            (9, 7, Verdict::Open),
            (9, 1 << 20, Verdict::Moves),
            (18, 1 << 20, Verdict::Open),
            (19, 1 << 20, Verdict::Stalled),
        ] {
            assert_eq!(moved.look(Progress { bytes, is_due: true }, at(now)), verdict, "at {now}");
        }
    }

    #[test]
    fn single_bytes_are_no_progress_and_ten_kilobytes_a_second_are() {
        let mut slow = Moved::default();
        let mut dripping = Moved::default();
        for now in 0..30 {
            let progress = Progress { bytes: now * 10_000, is_due: true };
            assert_ne!(slow.look(progress, at(now)), Verdict::Stalled);
            let progress = Progress { bytes: now, is_due: true };
            assert_ne!(dripping.look(progress, at(now)), Verdict::Stalled);
        }
        let progress = Progress { bytes: 300_000, is_due: true };
        assert_eq!(slow.look(progress, at(30)), Verdict::Moves);
        let progress = Progress { bytes: 30, is_due: true };
        assert_eq!(dripping.look(progress, at(30)), Verdict::Stalled);
    }

    #[test]
    fn a_connection_with_nothing_to_move_never_stalls_and_lives_by_what_it_moves() {
        let mut moved = Moved::default();
        let idle = |bytes| Progress { bytes, is_due: false };
        assert_eq!(moved.look(idle(7), at(0)), Verdict::Open);
        assert_eq!(moved.look(idle(7), at(60)), Verdict::Open);
        assert_eq!(moved.look(idle(8), at(61)), Verdict::Moves);
    }
}
