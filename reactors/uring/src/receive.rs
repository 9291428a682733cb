//! Buffers that the kernel picks from when bytes arrive, so that an idle connection holds none.
//!
//! They are given to the kernel through a ring in shared memory (a "provided buffer ring"): the
//! kernel takes entries between its head and our tail; we write the entry at the tail and then
//! move the tail on. A buffer that the kernel has filled is named by one [`RecvBuffer`] until it
//! is given back.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use io_uring::types::BufRingEntry;

use crate::errors::{SetupError, Warning};
use crate::mapping::Mapping;

/// The bytes of one receive: an owned place in the driver's receive buffers.
///
/// Read them with [`ReceiveBuffers::bytes`] and give the buffer back with
/// [`Driver::recycle`](crate::Driver::recycle). Dropping one loses the buffer for good, and
/// nothing worse.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a receive buffer that is not recycled is lost"]
pub struct RecvBuffer {
    owner: u32,
    index: u16,
    len: u32,
}

impl RecvBuffer {
    /// How many bytes were received; at least one.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Never: a receive without bytes has no buffer.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The name of `len` bytes from `start` on; `None` where fewer have been received.
    pub const fn slice(&self, start: u32, len: u32) -> Option<RecvSlice> {
        match start.checked_add(len) {
            Some(end) if end <= self.len => {
                Some(RecvSlice { owner: self.owner, index: self.index, start, len })
            }
            Some(_) | None => None,
        }
    }
}

/// Names bytes of a [`RecvBuffer`] without holding it: whoever holds the buffer must not give it
/// back while the name is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvSlice {
    owner: u32,
    index: u16,
    start: u32,
    len: u32,
}

/// All receive buffers of one driver.
#[derive(Debug)]
pub struct ReceiveBuffers {
    /// The ring of entries that the kernel reads.
    entries: Mapping,
    /// The buffers.
    memory: Mapping,
    buffer_bytes: u32,
    count: u16,
    tail: u16,
    /// Which buffers have been filled and not been given back.
    filled: Vec<bool>,
    filled_count: u16,
    /// Tells the handles of this driver from those of another.
    owner: u32,
}

impl ReceiveBuffers {
    pub(crate) fn new(bytes: u32, count: u16) -> Result<(Self, Option<Warning>), SetupError> {
        static OWNERS: AtomicU32 = AtomicU32::new(0);
        const WHAT: &str = "the receive buffers";
        if !count.is_power_of_two() || count > RING_ENTRIES_MAX {
            return Err(SetupError::Options {
                reason: "the number of receive buffers must be a power of two up to 32768",
            });
        }
        if bytes == 0 || bytes > BUFFER_BYTES_MAX {
            return Err(SetupError::Options {
                reason: "the size of a receive buffer must be 1 byte to 16 MiB",
            });
        }
        let total = bytes as usize * usize::from(count);
        let memory = Mapping::new(WHAT, total)?;
        let warning =
            (!memory.is_huge_enough()).then_some(Warning::NoHugePages { what: WHAT, bytes: total });
        let entries = Mapping::new(WHAT, size_of::<BufRingEntry>() * usize::from(count))?;
        let mut buffers = Self {
            entries,
            memory,
            buffer_bytes: bytes,
            count,
            tail: 0,
            filled: vec![false; usize::from(count)],
            filled_count: 0,
            owner: OWNERS.fetch_add(1, Ordering::Relaxed),
        };
        for index in 0..count {
            buffers.write_entry(index);
        }
        buffers.publish();
        Ok((buffers, warning))
    }

    /// The bytes of a receive; none for a handle of another driver.
    pub fn bytes(&self, buffer: &RecvBuffer) -> &[u8] {
        if buffer.owner != self.owner {
            return &[];
        }
        debug_assert!(self.filled[usize::from(buffer.index)]);
        let start = usize::from(buffer.index) * self.buffer_bytes as usize;
        let address = self.memory.at(start).as_ptr();
        // SAFETY: the handle is the only one of this buffer: the kernel gave the buffer up with
        // the completion that made it, and gets it back only in `give_back`, which consumes the
        // handle and needs `&mut self`. `take` made sure that `len` bytes lie in the buffer.
        unsafe { std::slice::from_raw_parts(address, buffer.len as usize) }
    }

    /// Bytes of a receive by their name; `None` where the buffer has been given back.
    pub fn slice_bytes(&self, slice: RecvSlice) -> Option<&[u8]> {
        let index = usize::from(slice.index);
        if slice.owner != self.owner || !self.filled[index] {
            return None;
        }
        let start = index * self.buffer_bytes as usize + slice.start as usize;
        let address = self.memory.at(start).as_ptr();
        // SAFETY: the buffer is `filled`, so the kernel has given it up; it gets it back only in
        // `give_back`, which needs `&mut self` and so cannot run while the result is borrowed.
        // `RecvBuffer::slice` made the name of bytes that lie in one buffer (`take` bounds its
        // length), and the memory is initialised (zeroed by the kernel at first).
        Some(unsafe { std::slice::from_raw_parts(address, slice.len as usize) })
    }

    /// How many buffers the kernel may still fill.
    pub const fn free(&self) -> u16 {
        self.count - self.filled_count
    }

    /// Bytes of each buffer.
    pub const fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// The address and number of the ring entries, to register them.
    pub(crate) fn ring(&self) -> (u64, u16) {
        (self.entries.base().as_ptr().expose_provenance() as u64, self.count)
    }

    /// The kernel has filled `len` bytes of a buffer: makes the handle of it. A buffer without
    /// bytes goes straight back.
    pub(crate) fn take(&mut self, index: u16, len: u32) -> Option<RecvBuffer> {
        assert!(index < self.count, "the kernel names a buffer that was never given to it");
        assert!(len <= self.buffer_bytes, "the kernel filled more than the buffer holds");
        let filled = &mut self.filled[usize::from(index)];
        assert!(!*filled, "the kernel filled a buffer that it does not have");
        *filled = true;
        self.filled_count += 1;
        let buffer = RecvBuffer { owner: self.owner, index, len };
        if len == 0 {
            self.give_back(buffer);
            return None;
        }
        Some(buffer)
    }

    /// Gives a buffer back to the kernel; one of another driver is dropped.
    pub(crate) fn give_back(&mut self, buffer: RecvBuffer) {
        debug_assert_eq!(buffer.owner, self.owner, "a receive buffer of another driver");
        if buffer.owner != self.owner {
            return;
        }
        let filled = &mut self.filled[usize::from(buffer.index)];
        assert!(*filled, "only filled buffers have handles");
        *filled = false;
        self.filled_count -= 1;
        self.write_entry(buffer.index);
        self.publish();
    }

    fn write_entry(&mut self, index: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        let start = usize::from(index) * self.buffer_bytes as usize;
        let address = self.memory.at(start).as_ptr().expose_provenance() as u64;
        let entry = self.entries.at(place * size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: the entry lies in the mapping and is aligned (16 bytes from a page boundary).
        // The kernel reads entries only before the tail, and at most `count` buffers are ever
        // given to it, so it does not read this one now. The setters leave the last two bytes
        // alone, which in the first entry are the tail.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(index);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        let base = self.entries.base().cast::<BufRingEntry>().as_ptr();
        // SAFETY: the base is the first entry of the ring, which is initialised (zeroed at first).
        let tail = unsafe { BufRingEntry::tail(base) }.cast_mut();
        // SAFETY: the tail is two aligned bytes inside the mapping; the kernel only reads them,
        // atomically, and here they are only accessed as an atomic.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        // Release: the kernel must see the entry before it sees the tail.
        tail.store(self.tail, Ordering::Release);
    }
}

/// The kernel's bound on the entries of one buffer ring.
const RING_ENTRIES_MAX: u16 = 1 << 15;
/// More than any socket buffer delivers at once.
const BUFFER_BYTES_MAX: u32 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_named_by_one_handle_until_it_is_given_back() {
        let (mut buffers, _) = ReceiveBuffers::new(4096, 4).unwrap();
        assert_eq!(buffers.free(), 4);
        let buffer = buffers.take(2, 10).unwrap();
        assert_eq!(buffer.len(), 10);
        assert_eq!(buffers.bytes(&buffer), [0; 10]);
        assert_eq!(buffers.free(), 3);
        buffers.give_back(buffer);
        assert_eq!(buffers.free(), 4);
        assert_eq!(buffers.tail, 5);
    }

    #[test]
    fn a_named_part_of_a_receive_is_readable_until_its_buffer_is_given_back() {
        let (mut buffers, _) = ReceiveBuffers::new(4096, 4).unwrap();
        let (other, _) = ReceiveBuffers::new(4096, 4).unwrap();
        let buffer = buffers.take(1, 10).unwrap();
        assert_eq!(buffer.slice(4, 7), None);
        assert_eq!(buffer.slice(u32::MAX, 2), None);
        let slice = buffer.slice(4, 6).unwrap();
        assert_eq!(buffers.slice_bytes(slice), Some(&[0; 6][..]));
        assert_eq!(other.slice_bytes(slice), None);
        buffers.give_back(buffer);
        assert_eq!(buffers.slice_bytes(slice), None);
    }

    #[test]
    fn a_receive_without_bytes_gives_its_buffer_straight_back() {
        let (mut buffers, _) = ReceiveBuffers::new(4096, 4).unwrap();
        assert_eq!(buffers.take(0, 0), None);
        assert_eq!(buffers.free(), 4);
    }

    #[test]
    fn a_handle_of_another_driver_has_no_bytes_here() {
        let (mut one, _) = ReceiveBuffers::new(4096, 4).unwrap();
        let (two, _) = ReceiveBuffers::new(4096, 4).unwrap();
        let buffer = one.take(0, 10).unwrap();
        assert_eq!(two.bytes(&buffer), []);
        one.give_back(buffer);
    }

    #[test]
    fn counts_that_the_kernel_cannot_index_are_refused() {
        for count in [0, 3, 100] {
            let error = ReceiveBuffers::new(4096, count).unwrap_err();
            assert!(matches!(error, SetupError::Options { .. }));
        }
    }
}
