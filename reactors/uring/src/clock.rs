//! The monotonic clock.

use units::Instant;

/// The time since the machine started, without the time it was suspended.
pub fn now() -> Instant {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // libc's function, and not one that finds the kernel's shared page by itself: this one works
    // under valgrind, too, which hides that page.
    // SAFETY: the call writes one `timespec`, which outlives it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    debug_assert_eq!(result, 0, "every kernel has this clock");
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
