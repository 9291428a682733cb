//! A driver in a process with tight limits. The limits are the process's own, so this is one
//! test in a file of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot set a limit fails")]

mod support;

use std::io::Write;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use support::{connect, one, options, read, slice, write};
use uring::{Completion, Driver, DriverOptions, SetupError, Warning};

#[test]
fn tight_limits_are_warnings_and_everything_works_all_the_same() {
    // Whoever may lock any amount of memory is not limited; without the right to give that up
    // there is nothing to see of the second warning.
    let limited = give_up_locking_memory();
    if limited {
        lower(Resource::Memlock, 0);
        let error = Driver::new(&options()).map(drop).unwrap_err();
        assert!(matches!(error, SetupError::LockedMemory { .. }), "{error}");
    }
    // Enough for the ring, too little for the pool.
    lower(Resource::Memlock, 1 << 20);
    let files = getrlimit(Resource::Nofile);
    lower(Resource::Nofile, 64);
    let options = DriverOptions { sockets: 64, files: 64, ..options() };
    let (mut driver, warnings) = Driver::new(&options).unwrap();
    let told = |test: fn(&Warning) -> bool| warnings.iter().any(test);
    assert!(told(|w| matches!(w, Warning::FilesNotRegistered { entries: 128, .. })));
    if limited {
        assert!(told(|w| matches!(w, Warning::BuffersNotRegistered { .. })), "{warnings:?}");
        assert!(!driver.pool().is_registered());
    }

    let (socket, mut peer) = connect(&mut driver);
    driver.recv_into(socket, 1, slice(0, 0, 5)).unwrap();
    peer.write_all(b"hello").unwrap();
    assert!(matches!(one(&mut driver), Completion::ReceivedInto { result: Ok(5), .. }));
    let file = Arc::new(tempfile::tempfile().unwrap().into());
    let file = driver.add_file(file).unwrap();
    driver.write(file, 2, write(0, slice(0, 0, 5), true)).unwrap();
    assert!(matches!(one(&mut driver), Completion::Written { result: Ok(5), .. }));
    driver.read(file, 3, read(0, slice(1, 0, 5))).unwrap();
    assert!(matches!(one(&mut driver), Completion::Read { result: Ok(5), .. }));
    assert_eq!(driver.pool().bytes(slice(1, 0, 5)).unwrap(), b"hello");
    driver.close(socket);
    assert!(matches!(one(&mut driver), Completion::Closed { .. }));
    driver.remove_file(file).unwrap();

    if files.maximum.is_none_or(|n| n >= 128) {
        assert_eq!(uring::limits::raise_open_files(), files.maximum.unwrap_or(u64::MAX));
        drop(driver);
        let (_driver, warnings) = Driver::new(&options).unwrap();
        let told = |test: fn(&Warning) -> bool| warnings.iter().any(test);
        assert!(!told(|w| matches!(w, Warning::FilesNotRegistered { .. })));
    }
}

/// Gives up the right to lock any amount of memory; whether that was possible.
fn give_up_locking_memory() -> bool {
    let Ok(mut sets) = capabilities(None) else { return false };
    sets.effective.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, sets).is_ok()
}

fn lower(resource: Resource, to: u64) {
    let limit = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(to), ..limit }).unwrap();
}
