//! What a swarm of connections took goes back to the kernel. The memory is that of the process, so
//! this is one test in a file of its own.

#![allow(clippy::unwrap_used, reason = "a driver that cannot be made fails the test")]

mod support;

use support::options;
use uring::{Driver, DriverOptions};

/// With the gathers in the allocator's memory it all stayed, because something else lay between
/// them.
#[test]
fn send_lists_that_are_not_needed_any_more_are_given_back_whatever_lies_between_them() {
    let options = DriverOptions { sockets: 256, gather_inline_bytes: 64 << 10, ..options() };
    let (mut driver, _) = Driver::new(&options).unwrap();
    let before = resident_bytes();
    let mut gathers = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..400 {
        let mut gather = driver.gather();
        assert!(gather.push_inline(&[7; 64 << 10]));
        gathers.push(gather);
        kept.push(Box::new([7_u8; 100]));
    }
    let during = resident_bytes();
    assert!(during - before > 24 << 20, "{} KiB", (during - before) >> 10);
    for gather in gathers {
        driver.recycle_gather(gather);
    }
    assert_eq!(driver.gathers_kept(), 400, "they are there for the next sends");
    for _ in 0..20 {
        driver.trim_gathers();
        while driver.free_gathers() {}
    }
    assert_eq!(driver.gathers_kept(), 32);
    let after = resident_bytes();
    assert!(after.saturating_sub(before) < 4 << 20, "{} KiB", (after - before) >> 10);
    assert_eq!(kept.len(), 400);
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    kib.unwrap().trim().parse::<u64>().unwrap() << 10
}
