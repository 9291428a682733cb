//! Backends and buffers over a real ring, without a reactor around them.

use super::*;
use crate::buffers::Payload;
use shard::Combination;
use std::path::Path;
use std::time::Duration;
use units::{BufId, BufSlice, Key, SizeClass};
use uring::file::{OpenOptions, create, open_direct};
use uring::{Completion, Driver, DriverOptions, Wait};

const OP: OpId = OpId { task: Key { index: 0, generation: 0 }, part: 0 };
const FILE: VolumeId = VolumeId(0);
const MEMORY: VolumeId = VolumeId(1);
const FAILED: Option<IoResult> = Some(IoResult::Failed(EIO));
const DONE: Option<IoResult> = Some(IoResult::Done);

fn slice(buf: u32) -> BufSlice {
    BufSlice { buf: BufId(buf), offset: 0, len: 4096 }
}

/// The volumes of one reactor.
struct Fixture {
    backends: Backends,
    buffers: Buffers,
    /// Flushes that have ended.
    ended: usize,
}

impl Fixture {
    fn new(store: &SharedStore) -> Self {
        Self::of_reactors(1, store)
    }

    /// On one of so many reactors.
    fn of_reactors(reactors: usize, store: &SharedStore) -> Self {
        let layout = PoolLayout::new(vec![SizeClass { bytes: 4096, count: 4 }]);
        let (driver, _) = Driver::new(&DriverOptions::new(with_zero_buffer(&layout))).unwrap();
        let (backends, buffers) = (Backends::new(&layout, reactors), Buffers::new(driver));
        let mut fixture = Self { backends, buffers, ended: 0 };
        fixture.take(FILE, store.clone());
        fixture
    }

    fn with_memory(directory: &Path) -> (Self, Arc<MemoryStore>) {
        let mut fixture = Self::new(&file(directory, "volume"));
        let (store, _) = MemoryStore::new(1 << 20).unwrap();
        fixture.take(MEMORY, memory(&store, true));
        (fixture, store)
    }

    fn take(&mut self, volume: VolumeId, store: SharedStore) {
        self.backends.take_stores(vec![(volume, store)], &mut self.buffers);
    }

    fn submit(&mut self, volume: VolumeId, request: BlockRequest) -> Option<IoResult> {
        self.backends.submit(Request { op: OP, volume, request: &request }, &mut self.buffers)
    }

    fn read(&mut self, volume: VolumeId, buf: u32, only_to_send: bool) -> Option<IoResult> {
        let request = BlockRequest::Read { offset: 0, into: slice(buf), only_to_send };
        self.submit(volume, request)
    }

    fn write(&mut self, volume: VolumeId, buf: u32, durable: bool) -> Option<IoResult> {
        let from = slice(buf);
        self.submit(volume, BlockRequest::Write { offset: 0, from, durable, last_use: false })
    }

    fn compare(&mut self, expected: u32, actual: u32) -> IoResult {
        let (first, second) = (slice(expected), slice(actual));
        self.buffers.combine(Combination::Compare, first, second, &self.backends.volumes)
    }

    /// Waits until nothing is with the kernel.
    fn finish(&mut self) {
        let mut completions = Vec::new();
        while !self.backends.files.is_idle() {
            self.buffers.ring.submit(Wait::AtMost(Duration::from_secs(1))).unwrap();
            self.buffers.ring.reap(64, &mut completions);
            for completion in completions.drain(..) {
                if let Completion::Read { token, result, .. }
                | Completion::Written { token, result, .. } = completion
                {
                    self.backends.transferred(token, result, &mut self.buffers);
                } else if let Completion::Synced { token, result } = completion {
                    let ended = self.backends.ended(token, result, &mut self.buffers);
                    assert_eq!(ended, Some((OP, IoResult::Done)));
                    self.ended += 1;
                }
            }
            while self.backends.files.deferred() > 0 {
                assert_eq!(self.backends.retry(&mut self.buffers), Some(None));
            }
        }
    }
}

fn memory(store: &Arc<MemoryStore>, whole_blocks: bool) -> SharedStore {
    SharedStore::Memory { store: Arc::clone(store), whole_blocks }
}

fn file(directory: &Path, name: &str) -> SharedStore {
    let path = directory.join(name);
    create(&path, 1 << 20, false).unwrap();
    let open = OpenOptions { read_only: false, buffered_allowed: true };
    Store::File(open_direct(&path, open).unwrap()).into()
}

/// The kernel tells of a failed flush once. The flush after it was answered with GOOD, though
/// what was written before the first one might be lost.
#[test]
fn after_a_flush_has_failed_no_reactor_calls_the_volume_durable() {
    let directory = tempfile::tempdir().unwrap();
    let store = file(directory.path(), "volume");
    let (mut one, mut two) = (Fixture::new(&store), Fixture::new(&store));
    assert_eq!(one.submit(FILE, BlockRequest::Flush), None);
    let [token] = one.backends.files.tokens()[..] else { unreachable!("one flush") };
    let ended = one.backends.ended(token, Err(Errno(EIO)), &mut one.buffers);
    assert_eq!(ended, Some((OP, IoResult::Failed(EIO))));
    for fixture in [&mut one, &mut two] {
        assert_eq!(fixture.submit(FILE, BlockRequest::Flush), FAILED);
        assert_eq!(fixture.write(FILE, 0, true), FAILED);
        // A write that promises nothing is the disk's to judge.
        assert_eq!(fixture.write(FILE, 0, false), None);
    }
}

#[test]
fn a_failed_read_or_write_says_nothing_about_other_data() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::new(&file(directory.path(), "volume"));
    assert_eq!(fixture.read(FILE, 0, false), None);
    let [token] = fixture.backends.files.tokens()[..] else { unreachable!("one read") };
    let ended = fixture.backends.transferred(token, Err(Errno(EIO)), &mut fixture.buffers);
    assert_eq!(ended, Some((OP, IoResult::Failed(EIO))));
    assert_eq!(fixture.submit(FILE, BlockRequest::Flush), None);
}

/// The refusal was an assertion that release builds leave out: the old bytes of the buffer were
/// written to the volume, or taken for zeros.
#[test]
fn a_buffer_that_could_not_be_filled_is_neither_written_nor_compared_nor_sent() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::new(&file(directory.path(), "volume"));
    // The kernel writes to all of them.
    for buf in 0..3 {
        assert_eq!(fixture.read(FILE, buf, false), None);
    }
    let Fixture { backends, buffers, .. } = &mut fixture;
    let block = BufSlice { len: 512, ..slice(3) };
    buffers.replicate(block, slice(0), &backends.volumes);
    assert!(!buffers.zero(slice(1)));
    assert!(!buffers.zero(slice(2)));
    assert!(buffers.sendable(slice(2), false, &backends.volumes).is_none());
    assert_eq!(fixture.write(FILE, 0, false), FAILED);
    fixture.finish();
    assert_eq!(fixture.compare(3, 1), IoResult::Failed(EIO));
    // Filled anew, it is as good as any other.
    assert!(fixture.buffers.zero(slice(1)));
    assert_eq!(fixture.compare(3, 1), IoResult::Done);
}

/// The place kept the file of the volume before, and the new volume's data would have gone there.
#[test]
fn a_volume_whose_file_finds_no_room_does_not_get_that_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::new(&file(directory.path(), "volume"));
    let store = file(directory.path(), "other");
    let SharedStore::File { fd, .. } = &store else { unreachable!("made one line above") };
    while fixture.buffers.ring.add_file(Arc::clone(fd)).is_ok() {}
    let next = FILE.successor().unwrap();
    fixture.take(next, store);
    assert_eq!(fixture.submit(next, BlockRequest::Flush), FAILED);
}

#[test]
fn a_null_volume_reads_as_zeros_and_takes_writes() {
    let directory = tempfile::tempdir().unwrap();
    let (mut fixture, _) = Fixture::with_memory(directory.path());
    let null = VolumeId(MEMORY.0 + 1);
    fixture.take(null, SharedStore::Null);
    assert!(fixture.buffers.fill(slice(0), Payload::Bytes(&[7; 4096])));
    assert_eq!(fixture.write(null, 0, true), DONE);
    assert_eq!(fixture.compare(0, 1), IoResult::Differs { at: 0 });
    assert_eq!(fixture.read(null, 0, true), DONE);
    assert_eq!(fixture.compare(0, 1), IoResult::Done);
}

#[test]
fn bytes_left_in_a_memory_volume_are_found_by_whatever_uses_their_buffer() {
    let directory = tempfile::tempdir().unwrap();
    let (mut fixture, store) = Fixture::with_memory(directory.path());
    store.write_bytes(0, &[7; 4096]).unwrap();
    assert_eq!(fixture.read(MEMORY, 0, true), DONE);
    assert_eq!(fixture.buffers.bytes_copied(), 0);
    assert!(fixture.buffers.fill(slice(1), Payload::Bytes(&[7; 4096])));
    assert_eq!(fixture.compare(0, 1), IoResult::Done);
    // Written to a file and read back, they are still the same.
    assert_eq!(fixture.read(MEMORY, 2, true), DONE);
    assert_eq!(fixture.write(FILE, 2, false), None);
    fixture.finish();
    assert_eq!(fixture.read(FILE, 3, false), None);
    fixture.finish();
    assert_eq!(fixture.compare(3, 1), IoResult::Done);
    // The volume has other bytes by now, and the buffer has bytes of its own.
    assert!(fixture.buffers.zero(slice(0)));
    assert_eq!(fixture.compare(0, 1), IoResult::Differs { at: 0 });
}

/// Whether a READ of a memory volume left its bytes there: then its buffer has what the volume has
/// by the time that it is looked at.
fn stays_in_place(reactors: usize, whole_blocks: bool) -> bool {
    let (store, _) = MemoryStore::new(1 << 20).unwrap();
    let mut fixture = Fixture::of_reactors(reactors, &SharedStore::Null);
    fixture.take(MEMORY, memory(&store, whole_blocks));
    store.write_bytes(0, &[1; 4096]).unwrap();
    assert_eq!(fixture.read(MEMORY, 0, true), DONE);
    store.write_bytes(0, &[2; 4096]).unwrap();
    let has = |fixture: &mut Fixture, byte| {
        assert!(fixture.buffers.fill(slice(1), Payload::Bytes(&[byte; 4096])));
        fixture.compare(0, 1) == IoResult::Done
    };
    let (early, late) = (has(&mut fixture, 1), has(&mut fixture, 2));
    assert_ne!(early, late, "the bytes of one of the two");
    late
}

#[test]
fn reads_leave_a_memory_volume_where_no_other_reactor_can_tear_their_blocks_or_may() {
    assert!(stays_in_place(1, true));
    assert!(stays_in_place(1, false));
    assert!(!stays_in_place(2, true), "another reactor may store to it meanwhile");
    assert!(stays_in_place(2, false), "its owner has said that this is good enough");
}

#[test]
fn what_a_combination_makes_is_in_the_second_buffer_wherever_its_bytes_were() {
    let directory = tempfile::tempdir().unwrap();
    let (mut fixture, store) = Fixture::with_memory(directory.path());
    store.write_bytes(0, &[0x35; 4096]).unwrap();
    for only_to_send in [true, false] {
        assert_eq!(fixture.read(MEMORY, 1, only_to_send), DONE);
        assert!(fixture.buffers.fill(slice(0), Payload::Bytes(&[0x8c; 4096])));
        let volumes = &fixture.backends.volumes;
        let done = fixture.buffers.combine(Combination::Or, slice(0), slice(1), volumes);
        assert_eq!(done, IoResult::Done);
        assert!(fixture.buffers.fill(slice(2), Payload::Bytes(&[0xbd; 4096])));
        assert_eq!(fixture.compare(2, 1), IoResult::Done, "{only_to_send}");
        assert_eq!(store.compare(0, &[0x35; 4096]), Ok(None));
    }
}

#[test]
fn what_a_volume_held_that_is_gone_is_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let (mut fixture, store) = Fixture::with_memory(directory.path());
    assert_eq!(fixture.read(MEMORY, 0, true), DONE);
    fixture.backends.retire(&[MEMORY], |_| {});
    // Nor is what the next volume at its place holds.
    fixture.take(MEMORY.successor().unwrap(), memory(&store, true));
    let Fixture { backends, buffers, .. } = &mut fixture;
    assert!(buffers.sendable(slice(0), false, &backends.volumes).is_none());
}

/// A place of the catalog is used again: what is late of its old volume does not reach the new one.
#[test]
fn a_request_of_a_removed_volume_does_not_reach_the_next_one_at_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let (mut fixture, store) = Fixture::with_memory(directory.path());
    let mut closed = Vec::new();
    fixture.backends.retire(&[MEMORY], |volume| closed.push(volume));
    assert_eq!(closed, [MEMORY]);
    let next = MEMORY.successor().unwrap();
    fixture.take(next, memory(&store, true));
    assert_eq!(fixture.read(MEMORY, 0, true), Some(IoResult::Failed(5)));
    assert!(fixture.backends.volumes.memory(MEMORY).is_none());
    assert_eq!(fixture.read(next, 0, true), Some(IoResult::Done));
    // Nor does its end end the new one.
    fixture.backends.retire(&[MEMORY], |_| {});
    assert_eq!(fixture.read(next, 1, true), Some(IoResult::Done));
}

/// The workers of the kernel went to whoever came first: a file system that hung had all of them.
#[test]
fn a_file_system_has_its_share_of_the_workers_and_leaves_the_others_theirs() {
    let directory = tempfile::tempdir().unwrap();
    let on = |device, name| {
        let mut store = file(directory.path(), name);
        let SharedStore::File { device: number, .. } = &mut store else {
            unreachable!("a file was made")
        };
        *number = device;
        store
    };
    let (hung, neighbour, healthy) = (FILE, VolumeId(2), VolumeId(3));
    let mut fixture = Fixture::new(&on(1, "hung"));
    fixture.take(neighbour, on(1, "neighbour"));
    fixture.take(healthy, on(2, "healthy"));
    let begun = |fixture: &Fixture| fixture.backends.files.tokens().len();
    for _ in 0..100 {
        assert_eq!(fixture.submit(hung, BlockRequest::Flush), None);
    }
    assert_eq!(begun(&fixture), 32);
    assert_eq!(fixture.submit(neighbour, BlockRequest::Flush), None);
    assert_eq!(begun(&fixture), 32, "they hang together");
    assert_eq!(fixture.submit(healthy, BlockRequest::Flush), None);
    assert_eq!(begun(&fixture), 33);
    fixture.finish();
    assert_eq!(fixture.ended, 102, "what had no place gets it");
}

#[test]
fn a_removed_volume_is_closed_when_what_waits_for_a_worker_has_ended_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::new(&file(directory.path(), "volume"));
    for _ in 0..40 {
        assert_eq!(fixture.submit(FILE, BlockRequest::Flush), None);
    }
    fixture.backends.retire(&[FILE], |volume| panic!("{volume:?} is busy"));
    let Fixture { backends, buffers, .. } = &mut fixture;
    backends.files.close_retired(buffers, |volume| panic!("{volume:?} is busy"));
    fixture.finish();
    assert_eq!(fixture.ended, 40);
    let mut closed = Vec::new();
    fixture.backends.files.close_retired(&mut fixture.buffers, |volume| closed.push(volume));
    assert_eq!(closed, [FILE]);
}

#[test]
fn where_a_file_has_blocks_is_found_out_by_another_thread() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = Fixture::new(&file(directory.path(), "volume"));
    let range = volume::ByteRange { offset: 4096, len: 8192 };
    assert_eq!(fixture.submit(FILE, BlockRequest::MapQuery(range)), None);
    assert!(!fixture.backends.files.is_idle());
    let until = uring::now().after(Duration::from_secs(20));
    let ended = loop {
        // Its answer wakes the ring.
        fixture.buffers.ring.submit(Wait::AtMost(Duration::from_secs(1))).unwrap();
        fixture.buffers.ring.reap(64, &mut Vec::new());
        if let Some(ended) = fixture.backends.files.next_map() {
            break ended;
        }
        assert!(uring::now() < until, "an answer");
    };
    assert_eq!(ended, (OP, IoResult::Mapped { len: 8192, allocated: false }));
    assert!(fixture.backends.files.is_idle());
}
