//! Turns of the driver: sleeping, waking, and not entering the kernel for nothing.

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use support::{LIMIT, connect, driver, nothing_more, one, options};
use units::{PoolLayout, SizeClass};
use uring::{Completion, Driver, DriverOptions, SetupError, Wait, Warning};

#[test]
fn another_thread_wakes_a_driver_that_sleeps() {
    let mut driver = driver();
    let waker = driver.waker();
    let ringer = std::thread::spawn(move || waker.wake());
    // Whether the ring came before the sleep or during it, the sleep ends.
    assert!(matches!(one(&mut driver), Completion::Woken));
    ringer.join().unwrap();
    nothing_more(&mut driver);
    for _ in 0..100 {
        driver.waker().wake();
        assert!(matches!(one(&mut driver), Completion::Woken));
    }
}

#[test]
fn a_waker_may_outlive_its_driver() {
    let waker = driver().waker();
    waker.clone().wake();
}

#[test]
fn a_sleep_without_events_ends_in_time() {
    let mut driver = driver();
    let before = Instant::now();
    driver.submit(Wait::AtMost(Duration::from_millis(30))).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(30));
    assert!(before.elapsed() < LIMIT);
    assert_eq!(driver.reap(64, &mut Vec::new()), 0);
}

#[test]
fn a_turn_with_nothing_to_do_stays_out_of_the_kernel() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    driver.recv(socket, 1).unwrap();
    driver.submit(Wait::No).unwrap();
    let before = driver.counters();
    let mut out = Vec::new();
    for _ in 0..1000 {
        driver.submit(Wait::No).unwrap();
        assert_eq!(driver.reap(64, &mut out), 0);
    }
    assert_eq!(driver.counters(), before);
    // The same loop sees what comes, by the flag that the kernel sets.
    peer.write_all(b"x").unwrap();
    let start = Instant::now();
    while out.is_empty() && start.elapsed() < LIMIT {
        driver.submit(Wait::No).unwrap();
        driver.reap(64, &mut out);
    }
    assert!(matches!(out[..], [Completion::Received { token: 1, result: Ok(1), .. }]));
    assert_eq!(driver.counters().enters, before.enters + 1);
}

#[test]
fn waiting_with_a_completion_at_hand_does_not_sleep() {
    let mut driver = driver();
    let (socket, _peer) = connect(&mut driver);
    driver.close(socket);
    let enters = driver.counters().enters;
    assert!(driver.has_completions());
    driver.submit(Wait::AtMost(LIMIT)).unwrap();
    assert!(driver.counters().enters <= enters + 1);
    let mut out = Vec::new();
    driver.reap(64, &mut out);
    assert!(matches!(out[..], [Completion::Closed { .. }]));
}

#[test]
fn options_that_make_no_sense_are_named() {
    for wrong in [
        DriverOptions { entries: 0, ..options() },
        DriverOptions { operations: 1, ..options() },
        DriverOptions { gather_pieces: 1, ..options() },
        DriverOptions { recv_buffer_count: 3, ..options() },
        DriverOptions { sockets: 40_000, ..options() },
    ] {
        let error = Driver::new(&wrong).map(drop).unwrap_err();
        assert!(matches!(error, SetupError::Options { .. }), "{error}");
    }
}

#[test]
fn a_machine_without_huge_pages_is_a_warning() {
    let layout = PoolLayout::new(vec![SizeClass { bytes: 1 << 20, count: 4 }]);
    let (driver, warnings) = Driver::new(&DriverOptions { layout, ..options() }).unwrap();
    assert_eq!(driver.pool().buffer_bytes(units::BufId(3)), Some(1 << 20));
    for warning in &warnings {
        assert!(!matches!(warning, Warning::NoDeferredTaskRun { .. }));
        assert!(!warning.to_string().is_empty());
    }
}

#[test]
fn the_kernels_workers_can_be_moved() {
    let worker_cores = vec![uring::affinity::cores()[0]];
    let (_driver, warnings) = Driver::new(&DriverOptions { worker_cores, ..options() }).unwrap();
    assert!(!warnings.iter().any(|w| matches!(w, Warning::WorkersNotMoved { .. })));
}
