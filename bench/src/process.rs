//! Resource usage of other processes, from /proc.

use std::fs;

/// Nanoseconds that all threads of a process have run so far; `None` if it has ended.
pub fn cpu_ns(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let path = task.ok()?.path().join("schedstat");
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(path) else { continue };
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// Context switches of all threads of a process so far, voluntary and involuntary.
pub fn context_switches(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let Ok(text) = fs::read_to_string(task.ok()?.path().join("status")) else { continue };
        sum += text
            .lines()
            .filter(|line| line.contains("ctxt_switches:"))
            .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Some(sum)
}

/// Memory of a process in bytes, with its part of shared pages; `None` if it has ended.
pub fn memory_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_resources() {
        assert!(cpu_ns(std::process::id()).is_some_and(|ns| ns > 0));
        assert!(context_switches(std::process::id()).is_some());
        assert!(memory_bytes(std::process::id()).is_some_and(|bytes| bytes > 4096));
    }

    #[test]
    fn an_ended_process_has_no_figures() {
        assert_eq!(cpu_ns(u32::MAX), None);
    }
}
