//! The memory of a process, as docs/TUNING.md counts it.

use std::fs;

/// Bytes of memory of a process: its share of what it has mapped (PSS), and its huge pages.
pub fn memory_of(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{path}: {cause}"));
    ["Pss:", "Private_Hugetlb:", "Shared_Hugetlb:"].iter().map(|name| kib(&text, name) << 10).sum()
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_is_counted() {
        let before = memory_of(std::process::id());
        let bytes = vec![1_u8; 64 << 20];
        let with = memory_of(std::process::id());
        assert!(with > before + (60 << 20), "{before} bytes, then {with}");
        drop(bytes);
    }
}
