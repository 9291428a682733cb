//! The payload buffers of one reactor: names to memory, and what the kernel does with each.
//!
//! The pool does not know which buffers are lent: that is the engine's book. It knows how many
//! kernel operations read and write each buffer, and hands out a reference only when no kernel
//! access could overlap it in a way that Rust forbids:
//!
//! | in flight | `bytes`, the first of a `pair` | `bytes_mut`, `fill`, `zero`, the second |
//! |---|---|---|
//! | nothing | yes | yes |
//! | kernel reads | yes | no |
//! | kernel writes | no | no |

use std::ops::Deref;

use units::{BufId, BufSlice, HEAD_ROOM, PoolLayout};

use crate::errors::{Refusal, SetupError, Warning};
use crate::mapping::Mapping;

/// Memory cut into buffers, each with [`HEAD_ROOM`] bytes in front of its payload area.
#[derive(Debug)]
pub struct Pool {
    memory: Mapping,
    slots: Vec<Slot>,
    /// Whether the memory is registered with the ring as fixed buffers.
    registered: bool,
}

/// The right to change a pool's bytes.
///
/// It is a type of its own rather than `&mut Pool`, because two pools must never change places
/// while kernel operations are in flight: the counts would no longer be those of the memory.
#[derive(Debug)]
pub struct PoolMut<'a> {
    pool: &'a mut Pool,
}

/// One buffer. 16 bytes, so that four share a cache line.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Where the payload area begins in the memory.
    payload: u64,
    /// Payload bytes.
    bytes: u32,
    /// Kernel operations in flight that read the buffer.
    kernel_reads: u16,
    /// Kernel operations in flight that write it.
    kernel_writes: u16,
}

const _: () = assert!(size_of::<Slot>() == 16);

impl Pool {
    pub(crate) fn new(layout: &PoolLayout) -> Result<(Self, Option<Warning>), SetupError> {
        const WHAT: &str = "the payload buffers";
        let bytes = usize::try_from(layout.bytes_total())
            .map_err(|_| SetupError::Options { reason: "the pool exceeds the address space" })?;
        if bytes == 0 {
            return Err(SetupError::Options { reason: "the pool needs at least one buffer" });
        }
        let memory = Mapping::new(WHAT, bytes)?;
        let warning =
            (!memory.is_huge_enough()).then_some(Warning::NoHugePages { what: WHAT, bytes });
        let mut slots = Vec::with_capacity(layout.buffer_count() as usize);
        let mut next = 0_u64;
        for class in layout.classes() {
            for _ in 0..class.count {
                let payload = next + u64::from(HEAD_ROOM);
                slots.push(Slot { payload, bytes: class.bytes, kernel_reads: 0, kernel_writes: 0 });
                next = payload + u64::from(class.bytes);
            }
        }
        assert_eq!(next, layout.bytes_total(), "the buffers fill the memory exactly");
        Ok((Self { memory, slots, registered: false }, warning))
    }

    /// The bytes of a slice; `None` while the kernel may write the buffer, and for a slice that
    /// names no bytes of this pool.
    pub fn bytes(&self, slice: BufSlice) -> Option<&[u8]> {
        let (slot, start) = self.locate(slice)?;
        if slot.kernel_writes > 0 {
            return None;
        }
        let address = self.memory.at(start).as_ptr();
        // SAFETY: `locate` found the range inside the memory, which is initialised (zeroed by
        // the kernel at first). No kernel operation writes the buffer now, and none can be
        // started while this borrow of the pool lives: starting one needs `&mut Driver`.
        Some(unsafe { std::slice::from_raw_parts(address, slice.len as usize) })
    }

    /// Whether a kernel operation that touches the buffer is in flight.
    pub fn is_in_kernel(&self, buf: BufId) -> bool {
        self.slots.get(buf.0 as usize).is_some_and(|s| s.kernel_reads > 0 || s.kernel_writes > 0)
    }

    /// Payload bytes of a buffer.
    pub fn buffer_bytes(&self, buf: BufId) -> Option<u32> {
        self.slots.get(buf.0 as usize).map(|s| s.bytes)
    }

    /// Whether disk operations use the memory as registered buffers.
    pub const fn is_registered(&self) -> bool {
        self.registered
    }

    /// The base and length of all memory, to register it.
    pub(crate) const fn memory(&self) -> &Mapping {
        &self.memory
    }

    pub(crate) const fn set_registered(&mut self) {
        self.registered = true;
    }

    pub(crate) const fn as_mut(&mut self) -> PoolMut<'_> {
        PoolMut { pool: self }
    }

    /// The registered buffer that holds a slice, or `None` if it must be passed by address.
    pub(crate) fn registered_index(&self, address: *const u8, bytes: u32) -> Option<u16> {
        if !self.registered {
            return None;
        }
        let start = address.addr() - self.memory.base().as_ptr().addr();
        let first = start / REGISTERED_BYTES_MAX;
        let last = (start + bytes as usize - 1) / REGISTERED_BYTES_MAX;
        if first == last { u16::try_from(first).ok() } else { None }
    }

    /// Marks the slice as read by the kernel, with `head` bytes in front, and returns its address.
    pub(crate) fn begin_read(&mut self, slice: BufSlice, head: u32) -> Result<*const u8, Refusal> {
        let start = self.start_of(slice, head)?;
        let slot = &mut self.slots[slice.buf.0 as usize];
        slot.kernel_reads = slot.kernel_reads.checked_add(1).ok_or(Refusal::Full)?;
        Ok(self.memory.at(start).as_ptr())
    }

    /// Marks the slice as written by the kernel, and returns its address.
    pub(crate) fn begin_write(&mut self, slice: BufSlice) -> Result<*mut u8, Refusal> {
        let start = self.start_of(slice, 0)?;
        let slot = &mut self.slots[slice.buf.0 as usize];
        slot.kernel_writes = slot.kernel_writes.checked_add(1).ok_or(Refusal::Full)?;
        Ok(self.memory.at(start).as_ptr())
    }

    /// The kernel is done with a read that `begin_read` booked.
    pub(crate) fn end_read(&mut self, slice: BufSlice) {
        let slot = &mut self.slots[slice.buf.0 as usize];
        assert!(slot.kernel_reads > 0, "a kernel read ends that never began");
        slot.kernel_reads -= 1;
    }

    /// The kernel is done with a write that `begin_write` booked.
    pub(crate) fn end_write(&mut self, slice: BufSlice) {
        let slot = &mut self.slots[slice.buf.0 as usize];
        assert!(slot.kernel_writes > 0, "a kernel write ends that never began");
        slot.kernel_writes -= 1;
    }

    fn start_of(&self, slice: BufSlice, head: u32) -> Result<usize, Refusal> {
        let (_, start) = self.locate(slice).ok_or(Refusal::InvalidBuffer)?;
        if slice.len == 0 || head > slice.offset.saturating_add(HEAD_ROOM) {
            return Err(Refusal::InvalidBuffer);
        }
        // The head lies in the head room or in the payload area before the slice, which both
        // belong to the same buffer.
        Ok(start - head as usize)
    }

    /// The slot of a slice and the place of its first byte, if the slice lies in its buffer.
    fn locate(&self, slice: BufSlice) -> Option<(&Slot, usize)> {
        let slot = self.slots.get(slice.buf.0 as usize)?;
        let end = slice.offset.checked_add(slice.len)?;
        if end > slot.bytes {
            return None;
        }
        let start = usize::try_from(slot.payload + u64::from(slice.offset)).ok()?;
        Some((slot, start))
    }
}

impl Deref for PoolMut<'_> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        self.pool
    }
}

impl PoolMut<'_> {
    /// The bytes of a slice, to change them; `None` while the kernel reads or writes the buffer,
    /// and for a slice that names no bytes of this pool.
    pub fn bytes_mut(&mut self, slice: BufSlice) -> Option<&mut [u8]> {
        self.raw_mut(slice, 0)
    }

    /// Copies `source` into a slice of the same length. Returns whether that was possible.
    pub fn fill(&mut self, slice: BufSlice, source: &[u8]) -> bool {
        match self.bytes_mut(slice) {
            Some(bytes) if bytes.len() == source.len() => {
                bytes.copy_from_slice(source);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Fills a slice with zeros. Returns whether that was possible.
    pub fn zero(&mut self, slice: BufSlice) -> bool {
        self.bytes_mut(slice).map(|bytes| bytes.fill(0)).is_some()
    }

    /// Copies from one slice to another of the same length, which must be in another buffer.
    /// Returns whether that was possible.
    pub fn copy(&mut self, from: BufSlice, to: BufSlice) -> bool {
        match self.pair(from, to) {
            Some((source, target)) => {
                target.copy_from_slice(source);
                true
            }
            None => false,
        }
    }

    /// The bytes of a slice, and those of another one of the same length, to change them. `None`
    /// where they are in one buffer, and while the kernel uses one in a way that forbids it.
    pub fn pair(&mut self, read: BufSlice, changed: BufSlice) -> Option<(&[u8], &mut [u8])> {
        if read.buf == changed.buf || read.len != changed.len {
            return None;
        }
        let source = self.bytes(read)?.as_ptr();
        let changed = self.bytes_mut(changed)?;
        // SAFETY: `bytes` has just proved that the source may be read: inside the memory and not
        // written by the kernel, which can start nothing while this exclusive borrow lives. It lies
        // in another buffer than `changed`, so they do not overlap.
        let source = unsafe { std::slice::from_raw_parts(source, read.len as usize) };
        Some((source, changed))
    }

    /// Writes `head` directly in front of a slice. Returns whether that was possible: not while
    /// the kernel uses the buffer, and not where there is no room.
    pub(crate) fn fill_head(&mut self, slice: BufSlice, head: &[u8]) -> bool {
        let Ok(bytes) = u32::try_from(head.len()) else { return false };
        if bytes > HEAD_ROOM || slice.offset != 0 {
            return false;
        }
        match self.raw_mut(slice, bytes) {
            Some(area) => {
                area[..head.len()].copy_from_slice(head);
                true
            }
            None => false,
        }
    }

    fn raw_mut(&mut self, slice: BufSlice, head: u32) -> Option<&mut [u8]> {
        let (slot, start) = self.pool.locate(slice)?;
        if slot.kernel_reads > 0 || slot.kernel_writes > 0 || head > HEAD_ROOM {
            return None;
        }
        let address = self.pool.memory.at(start - head as usize).as_ptr();
        // SAFETY: `locate` found the range inside the memory, and in front of every payload area
        // there are HEAD_ROOM bytes of the same buffer. No kernel operation touches the buffer
        // now, and none can be started while this exclusive borrow lives. The borrow is of the
        // whole pool, so there is no other reference into it.
        Some(unsafe { std::slice::from_raw_parts_mut(address, (head + slice.len) as usize) })
    }
}

/// The kernel registers at most 1 GiB as one buffer.
pub(crate) const REGISTERED_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use units::SizeClass;

    fn pool() -> Pool {
        let layout = PoolLayout::new(vec![
            SizeClass { bytes: 4096, count: 2 },
            SizeClass { bytes: 8192, count: 1 },
        ]);
        Pool::new(&layout).unwrap().0
    }

    fn slice(buf: u32, offset: u32, len: u32) -> BufSlice {
        BufSlice { buf: BufId(buf), offset, len }
    }

    #[test]
    fn payload_areas_keep_512_byte_alignment_and_do_not_overlap() {
        let mut pool = pool();
        for buf in 0..3 {
            let len = pool.buffer_bytes(BufId(buf)).unwrap();
            let whole = slice(buf, 0, len);
            assert_eq!(pool.bytes(whole).unwrap().as_ptr().align_offset(512), 0);
            let tag = u8::try_from(buf).unwrap() + 1;
            pool.as_mut().bytes_mut(whole).unwrap().fill(tag);
        }
        assert!(pool.bytes(slice(0, 0, 4096)).unwrap().iter().all(|&b| b == 1));
        assert!(pool.bytes(slice(1, 0, 4096)).unwrap().iter().all(|&b| b == 2));
        assert!(pool.bytes(slice(2, 0, 8192)).unwrap().iter().all(|&b| b == 3));
    }

    #[test]
    fn a_slice_outside_its_buffer_has_no_bytes() {
        let pool = pool();
        assert!(pool.bytes(slice(0, 0, 4097)).is_none());
        assert!(pool.bytes(slice(0, 4096, 1)).is_none());
        assert!(pool.bytes(slice(0, u32::MAX, 2)).is_none());
        assert!(pool.bytes(slice(3, 0, 1)).is_none());
        assert_eq!(pool.bytes(slice(0, 4096, 0)), Some(&[][..]));
    }

    #[test]
    fn bytes_are_refused_while_the_kernel_may_touch_them() {
        let mut pool = pool();
        let whole = slice(0, 0, 4096);
        pool.begin_read(whole, 0).unwrap();
        assert!(pool.bytes(whole).is_some());
        assert!(pool.as_mut().bytes_mut(whole).is_none());
        assert!(!pool.as_mut().fill_head(whole, &[1]));
        pool.begin_write(whole).unwrap();
        assert!(pool.bytes(whole).is_none());
        pool.end_write(whole);
        pool.end_read(whole);
        assert!(pool.as_mut().bytes_mut(whole).is_some());
        assert!(!pool.is_in_kernel(BufId(0)));
    }

    #[test]
    fn a_pair_is_two_buffers_of_which_the_kernel_may_read_the_first() {
        let mut pool = pool();
        let (first, second) = (slice(0, 0, 16), slice(1, 8, 16));
        assert!(pool.as_mut().pair(first, slice(0, 16, 16)).is_none());
        assert!(pool.as_mut().pair(first, slice(1, 8, 15)).is_none());
        pool.begin_read(first, 0).unwrap();
        assert!(pool.as_mut().pair(first, second).is_some());
        assert!(pool.as_mut().pair(second, first).is_none());
        pool.end_read(first);
        pool.begin_write(first).unwrap();
        assert!(pool.as_mut().pair(first, second).is_none());
        pool.end_write(first);
    }

    #[test]
    fn a_head_lies_directly_before_the_payload() {
        let mut pool = pool();
        let payload = slice(1, 0, 4);
        assert!(pool.as_mut().fill(payload, b"data"));
        assert!(pool.as_mut().fill_head(payload, b"head"));
        let address = pool.begin_read(payload, 4).unwrap();
        // SAFETY: `begin_read` booked these 8 bytes, and the kernel does not know of them.
        assert_eq!(unsafe { std::slice::from_raw_parts(address, 8) }, b"headdata");
        pool.end_read(payload);
    }

    #[test]
    fn a_head_longer_than_the_head_room_is_refused() {
        let mut pool = pool();
        assert!(pool.as_mut().fill_head(slice(0, 0, 1), &[0; 512]));
        assert!(!pool.as_mut().fill_head(slice(0, 0, 1), &[0; 513]));
        assert!(!pool.as_mut().fill_head(slice(0, 1, 1), &[0; 1]));
        assert_eq!(pool.begin_read(slice(0, 0, 1), 513), Err(Refusal::InvalidBuffer));
    }

    #[test]
    fn copying_moves_bytes_between_buffers_only() {
        let mut pool = pool();
        assert!(pool.as_mut().fill(slice(0, 8, 3), b"abc"));
        assert!(pool.as_mut().copy(slice(0, 8, 3), slice(2, 100, 3)));
        assert_eq!(pool.bytes(slice(2, 100, 3)), Some(&b"abc"[..]));
        assert!(!pool.as_mut().copy(slice(0, 8, 3), slice(0, 0, 3)));
        assert!(!pool.as_mut().copy(slice(0, 8, 3), slice(2, 0, 4)));
    }
}
