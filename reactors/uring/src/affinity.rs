//! Which cores there are, and staying on one of them.

use std::fmt;

/// The cores that this process may run on, by the kernel's numbers, in ascending order.
pub fn cores() -> Vec<usize> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|c| c.id).collect();
    cores.sort_unstable();
    cores
}

/// Keeps the calling thread on one core from now on.
pub fn pin_current_thread(core: usize) -> Result<(), PinError> {
    let allowed = cores();
    if !allowed.contains(&core) {
        return Err(PinError::NotAllowed { core, allowed });
    }
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Ok(())
    } else {
        Err(PinError::Refused { core, source: std::io::Error::last_os_error() })
    }
}

/// The cores as a set of the kernel; numbers that no set can hold are left out.
pub(crate) fn core_set(cores: &[usize]) -> libc::cpu_set_t {
    // SAFETY: a `cpu_set_t` is an array of words, for which all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores.iter().filter(|&&c| c < CORES_MAX) {
        // SAFETY: the number is below the size of the set, so the word lies inside.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    set
}

/// Why a thread could not be kept on a core.
#[derive(Debug)]
pub enum PinError {
    /// The core does not exist, or is not in the affinity of this process.
    NotAllowed {
        /// The requested core.
        core: usize,
        /// Those that there are.
        allowed: Vec<usize>,
    },
    /// The kernel refused.
    Refused {
        /// The requested core.
        core: usize,
        /// The error of the kernel.
        source: std::io::Error,
    },
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { core, allowed } => write!(
                f,
                "core {core} is not in the CPU affinity of this process ({}). Choose other cores \
                 with --cores, or extend AllowedCPUs/cpuset of its control group",
                ranges(allowed)
            ),
            Self::Refused { core, source } => {
                write!(f, "cannot pin a thread to core {core}: {source}")
            }
        }
    }
}

impl std::error::Error for PinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotAllowed { .. } => None,
            Self::Refused { source, .. } => Some(source),
        }
    }
}

/// Ascending numbers as text like `0-3,6`.
fn ranges(numbers: &[usize]) -> String {
    if numbers.is_empty() {
        return "none is known".to_owned();
    }
    let runs: Vec<String> = numbers
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [only] => only.to_string(),
            [first, .., last] => format!("{first}-{last}"),
            [] => String::new(),
        })
        .collect();
    runs.join(",")
}

/// What a `cpu_set_t` has room for (CPU_SETSIZE).
const CORES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_on_the_core_it_was_pinned_to() {
        let first = cores()[0];
        let seen = std::thread::spawn(move || {
            pin_current_thread(first).unwrap();
            cores()
        });
        assert_eq!(seen.join().unwrap(), [first]);
    }

    #[test]
    fn a_core_that_does_not_exist_is_reported_with_those_that_do() {
        let error = pin_current_thread(100_000).unwrap_err();
        assert!(
            error.to_string().starts_with("core 100000 is not in the CPU affinity of this process")
        );
    }

    #[test]
    fn runs_of_cores_are_written_short() {
        assert_eq!(ranges(&[0, 1, 2, 3, 6, 8, 9]), "0-3,6,8-9");
        assert_eq!(ranges(&[]), "none is known");
    }
}
