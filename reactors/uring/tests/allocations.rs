//! The data path allocates nothing once it is warm.
//!
//! The count is kept per thread: the test harness's own thread allocates when it likes.

#![allow(clippy::unwrap_used, reason = "a test that is refused fails")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::Arc;

use support::{connect, driver, read, slice};
use uring::{Completion, Driver, FileId, MemoryStore, SocketId, Wait};

/// The system's allocator, with a count of what each thread asks it for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Receives a request, reads from the disk and from memory, and answers with both.
fn serve(driver: &mut Driver, on: (SocketId, FileId), store: &MemoryStore, out: &mut Turn) {
    driver.recv(on.0, 1).unwrap();
    driver.read(on.1, 2, read(0, slice(0, 0, 4096))).unwrap();
    let mut left = 3;
    while left > 0 {
        driver.submit(Wait::AtMost(support::LIMIT)).unwrap();
        driver.reap(64, &mut out.completions);
        while let Some(completion) = out.completions.pop() {
            left -= 1;
            match completion {
                Completion::Received { data: Some(data), .. } => {
                    let (received, mut pool) = driver.parts();
                    assert!(pool.fill(slice(1, 0, 48), received.bytes(&data)));
                    driver.recycle(data);
                }
                Completion::Read { result: Ok(4096), slice: read, .. } => {
                    store.read(0, &mut driver.pool_mut(), slice(2, 0, 512)).unwrap();
                    let mut gather = driver.gather();
                    assert!(gather.push_framed(&mut driver.pool_mut(), &[1; 48], read));
                    assert!(gather.push_inline(&[2; 4]));
                    assert!(gather.push_buffer(slice(2, 0, 512)));
                    driver.send(on.0, 3, gather).unwrap();
                }
                Completion::Sent { result: Ok(4660), gather, .. } => driver.recycle_gather(gather),
                other @ (Completion::AcceptFailed { .. }
                | Completion::Accepted { .. }
                | Completion::Allocated { .. }
                | Completion::Closed { .. }
                | Completion::Read { .. }
                | Completion::Received { .. }
                | Completion::ReceivedInto { .. }
                | Completion::Sent { .. }
                | Completion::Synced { .. }
                | Completion::Woken
                | Completion::Written { .. }) => panic!("{other:?}"),
            }
        }
    }
}

struct Turn {
    completions: Vec<Completion>,
}

#[test]
fn a_warm_driver_serves_without_allocating() {
    let mut driver = driver();
    let (socket, mut peer) = connect(&mut driver);
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let file = driver.add_file(Arc::new(file.into())).unwrap();
    let (store, _) = MemoryStore::new(4096).unwrap();
    let mut turn = Turn { completions: Vec::with_capacity(64) };
    let mut answer = [0; 4660];
    let mut before = 0;
    for round in 0..600 {
        if round == 100 {
            before = ALLOCATIONS.get();
        }
        peer.write_all(&[9; 48]).unwrap();
        serve(&mut driver, (socket, file), &store, &mut turn);
        peer.read_exact(&mut answer).unwrap();
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
