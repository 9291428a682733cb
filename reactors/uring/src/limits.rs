//! What the kernel lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as this process may, and returns it. Every connection
/// and volume is an open file, and a ring's file table may not be longer than the limit.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        // No value is the kernel's RLIM_INFINITY.
        return limit.current.unwrap_or(u64::MAX);
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let reached = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    // No value is the kernel's RLIM_INFINITY.
    reached.current.unwrap_or(u64::MAX)
}
