//! Hostile initiators, an honest neighbour beside them, and what both may cost the daemon.
//!
//! An [`Attack`] goes on until it is dropped. Meanwhile a [`Neighbour`] works and records how long
//! each of its requests took, and [`memory_of`] says how much memory the daemon has.
//!
//! `POLLUX_HOSTILE=full` runs the attacks with the figures of docs/TUNING.md, and holds the
//! neighbour's requests to their 99th percentile; it needs a release build and an idle machine.
//! Otherwise the attacks are small and short, and the limits are such as no busy machine reaches.

mod attack;
mod layout;
mod lives;
mod memory;
mod neighbour;

pub use attack::{Attack, Place};
pub use layout::Layout;
pub use lives::{
    HostileLife, discovery_sessions, large_writes_held, pings_never_read, reads_as_they_come,
    reads_at, reads_never_read, requests_cut_short, write_at, writes_held, writes_without_data,
};
pub use memory::memory_of;
pub use neighbour::{Neighbour, Service};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much a test of an attack does, and what it holds the neighbour's requests to.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Whether these are the full figures.
    pub is_full: bool,
    /// How long the neighbour works.
    pub time: Duration,
    /// The most that the 99th percentile of each kind of request may be.
    pub p99_max: Duration,
    /// The most that any request may take.
    pub wait_max: Duration,
}

impl Scale {
    /// What the environment asks for.
    pub fn of_this_run() -> Self {
        let is_full = std::env::var("POLLUX_HOSTILE").is_ok_and(|value| value == "full");
        if is_full {
            Self {
                is_full,
                time: Duration::from_secs(20),
                p99_max: Duration::from_millis(20),
                wait_max: Duration::from_secs(1),
            }
        } else {
            Self {
                is_full,
                time: Duration::from_secs(3),
                p99_max: Duration::from_secs(1),
                wait_max: Duration::from_secs(5),
            }
        }
    }

    /// The full figure, or the small one.
    pub fn pick(&self, full: usize, small: usize) -> usize {
        if self.is_full { full } else { small }
    }
}

/// Attacks run one at a time: two of them would measure each other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
