//! The monotonic clock.

use rustix::time::{ClockId, clock_gettime};
use units::Instant;

/// The time since the machine started, without the time it was suspended.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    // The monotonic clock begins at 0, so neither part is negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let first = now();
        assert!(now() >= first);
        assert!(first > Instant(0));
    }
}
