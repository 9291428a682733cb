//! What the tests of the driver share: a small driver, a connected pair of sockets, and waiting
//! for completions with an end.

#![allow(dead_code, reason = "each test file uses what it needs")]
#![allow(clippy::unwrap_used, reason = "only tests call this")]

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use units::{BufId, BufSlice, PoolLayout, SizeClass};
use uring::{Completion, Driver, DriverOptions, FileRead, FileWrite, Gather, SocketId, Wait};

pub(crate) fn options() -> DriverOptions {
    let layout = PoolLayout::new(vec![
        SizeClass { bytes: 4096, count: 16 },
        SizeClass { bytes: 262_144, count: 4 },
    ]);
    DriverOptions {
        entries: 32,
        operations: 64,
        sockets: 16,
        files: 8,
        recv_buffer_bytes: 4096,
        recv_buffer_count: 8,
        gather_pieces: 16,
        gather_inline_bytes: 1024,
        ..DriverOptions::new(layout)
    }
}

pub(crate) fn driver() -> Driver {
    Driver::new(&options()).unwrap().0
}

/// The first of the small buffers are 0 to 15, the large ones 16 to 19.
pub(crate) fn slice(buf: u32, offset: u32, len: u32) -> BufSlice {
    BufSlice { buf: BufId(buf), offset, len }
}

pub(crate) fn read(offset: u64, slice: BufSlice) -> FileRead {
    FileRead { offset, slice, at_once: false }
}

pub(crate) fn write(offset: u64, slice: BufSlice, durable: bool) -> FileWrite {
    FileWrite { offset, slice, durable, at_once: false }
}

/// One end in the driver, the other an ordinary socket.
pub(crate) fn connect(driver: &mut Driver) -> (SocketId, TcpStream) {
    let (ours, theirs) = pair();
    (driver.add_socket(ours).unwrap(), theirs)
}

pub(crate) fn pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_read_timeout(Some(LIMIT)).unwrap();
    let (ours, _) = listener.accept().unwrap();
    (ours.into(), theirs)
}

/// Submits and waits until `count` completions have come.
pub(crate) fn wait_for(driver: &mut Driver, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    while out.len() < count {
        let before = out.len();
        driver.submit(Wait::AtMost(LIMIT)).unwrap();
        driver.reap(64, &mut out);
        assert!(out.len() > before, "only {out:?} came, {count} were awaited");
    }
    assert_eq!(out.len(), count, "more came than was awaited: {out:?}");
    out
}

pub(crate) fn one(driver: &mut Driver) -> Completion {
    wait_for(driver, 1).remove(0)
}

/// Asserts that nothing completes any more.
pub(crate) fn nothing_more(driver: &mut Driver) {
    let mut out = Vec::new();
    driver.submit(Wait::AtMost(Duration::from_millis(20))).unwrap();
    driver.reap(64, &mut out);
    assert!(out.is_empty(), "{out:?}");
}

pub(crate) fn inline(driver: &mut Driver, bytes: &[u8]) -> Gather {
    let mut gather = driver.gather();
    assert!(gather.push_inline(bytes));
    gather
}

/// Long enough for a busy machine, and an end for a test that would hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
