//! Time as the engine sees it: a number that the caller passes in.

use std::time::Duration;

/// A moment of a monotonic clock, in nanoseconds from an origin of the caller's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// The moment `d` later; it stops at the end of the clock's range.
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(d)))
    }

    /// How long it is since `earlier`; zero if that lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in nanoseconds; the greatest value beyond 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    // No clock here runs for 584 years.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
