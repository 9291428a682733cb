//! The end of the daemon: in bounded time, whatever is under way.

use super::Daemon;
use std::time::{Duration, Instant};
use units::limits::ASYNC_LOGOUT_TIME;

/// How long the disks may take for what they have begun, once the last session is dropped.
const LAST_ANSWERS_TIME: Duration = Duration::from_secs(3);

impl Daemon {
    /// Asks initiators to log out, and begins no change any more. The daemon goes on until
    /// [`Self::is_over`].
    pub(crate) fn begin_end(&mut self, now: Instant) {
        if self.ends_at.is_none() {
            self.ends_at = Some(now + ASYNC_LOGOUT_TIME + LAST_ANSWERS_TIME);
            self.node.begin_shutdown();
            self.abandon_operations();
        }
    }

    /// Whether nothing is left to wait for, or the time for it is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let Some(ends_at) = self.ends_at else { return false };
        let is_done = self.node.is_drained() && self.operations.under_way().len() == 0;
        is_done || now >= ends_at
    }

    /// Names what ends with the process. Nothing of it can leave a state that is half of two:
    /// what is on the disk is that of before or after each step.
    pub(crate) fn log_unfinished(&self) {
        for (id, operation) in self.operations.under_way() {
            tracing::warn!(operation = id.0, "stopping while this is in progress: {operation}");
        }
    }
}
