//! A send list: what one `sendmsg` puts on the wire, in order.
//!
//! A gather holds names and copied bytes while it is being filled. Only when it is submitted are
//! the names turned into addresses, and from then until the completion the operation table owns
//! it: nobody can change what the kernel reads.

use std::sync::Arc;

use units::BufSlice;

use crate::errors::Refusal;
use crate::fixed_list::{FixedList, Pages};
use crate::memory::MemoryStore;
use crate::pool::{Pool, PoolMut};

/// A reusable list of bytes to send. Make one with [`Driver::gather`](crate::Driver::gather).
///
/// The `push` methods return whether there was room; what did not fit was not added.
#[derive(Debug)]
pub struct Gather(Box<Parts>);

#[derive(Debug)]
struct Parts {
    parts: FixedList<Part>,
    /// Parts that may be pushed at most: one iovec each.
    parts_max: usize,
    /// Copied bytes.
    inline: FixedList<u8>,
    inline_bytes_max: usize,
    /// The stores whose bytes are in the list, so that they stay.
    stores: Vec<Arc<MemoryStore>>,
    /// Parts that name pool buffers.
    buffers: usize,
    /// Bytes of all parts.
    total: u32,
    /// Bytes that have been sent already.
    sent: u32,
    /// How many of them before the rest was brought home.
    sent_in_place: u32,
    /// Some bytes are in a store and have a home.
    has_homes: bool,
    /// The first part that is not wholly sent, and its bytes that are.
    cursor: usize,
    cursor_bytes: u32,
    /// What the kernel reads, besides the bytes: filled when the gather is submitted.
    iovecs: FixedList<libc::iovec>,
    /// One element, in a list so that it has an address that does not move with the gather.
    msghdr: FixedList<libc::msghdr>,
    /// What the lists lie in. They go to the kernel when the gather is dropped.
    _pages: Pages,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// Bytes of the gather's own.
    Inline { start: u32, len: u32 },
    /// Bytes of a pool buffer, with `head` bytes directly in front of them.
    Buffer { head: u32, slice: BufSlice },
    /// Bytes of a memory store, which `stores` keeps, and the buffer that they can be copied to.
    Store { address: *const u8, len: u32, home: Option<BufSlice> },
}

/// Bytes of a memory store that are to leave straight from its own pages.
#[derive(Clone, Copy, Debug)]
pub struct StoreBytes<'a> {
    /// The store.
    pub store: &'a Arc<MemoryStore>,
    /// Bytes from its start.
    pub offset: u64,
    /// How many.
    pub len: u32,
    /// A pool buffer of that length which nobody else uses until the send has ended. Where not all
    /// bytes can leave at once, the rest is copied there before the store can change.
    pub home: Option<BufSlice>,
}

impl Part {
    const fn bytes(self) -> u32 {
        match self {
            Self::Inline { len, .. } | Self::Store { len, .. } => len,
            Self::Buffer { head, slice } => head + slice.len,
        }
    }

    /// All bytes of a part that is no pool buffer, in a list whose copied bytes are at `inline`.
    #[inline]
    fn unbooked(&self, inline: *const u8) -> libc::iovec {
        let (address, len) = match *self {
            // `wrapping_add` stays inside: the part was pushed together with its bytes.
            Self::Inline { start, len } => (inline.wrapping_add(start as usize), len),
            Self::Store { address, len, home: _ } => (address, len),
            Self::Buffer { .. } => unreachable!("the list has counted its buffers"),
        };
        libc::iovec { iov_base: address.cast_mut().cast(), iov_len: len as usize }
    }
}

impl Gather {
    pub(crate) fn new(parts_max: usize, inline_bytes_max: usize) -> Self {
        let bytes = Pages::bytes_for::<Part>(parts_max)
            + Pages::bytes_for::<libc::iovec>(parts_max)
            + Pages::bytes_for::<libc::msghdr>(1)
            + Pages::bytes_for::<u8>(inline_bytes_max);
        let mut pages = Pages::new(bytes);
        // SAFETY: here and below, the list goes into the `Parts` that own the pages, and never out.
        let mut msghdr = unsafe { pages.cut(1) };
        msghdr.push(EMPTY_MSGHDR);
        Self(Box::new(Parts {
            // SAFETY: as above.
            parts: unsafe { pages.cut(parts_max) },
            parts_max,
            // SAFETY: as above.
            inline: unsafe { pages.cut(inline_bytes_max) },
            inline_bytes_max,
            stores: Vec::new(),
            buffers: 0,
            total: 0,
            sent: 0,
            sent_in_place: 0,
            has_homes: false,
            cursor: 0,
            cursor_bytes: 0,
            // SAFETY: as above.
            iovecs: unsafe { pages.cut(parts_max) },
            msghdr,
            _pages: pages,
        }))
    }

    /// Adds a copy of `bytes`. Copies that follow each other leave as one piece.
    pub fn push_inline(&mut self, bytes: &[u8]) -> bool {
        let this = &mut *self.0;
        let Ok(len) = u32::try_from(bytes.len()) else { return false };
        if bytes.len() > this.inline_bytes_max - this.inline.len() || !this.has_bytes_for(len) {
            return false;
        }
        if len == 0 {
            return true;
        }
        if !matches!(this.parts.last(), Some(Part::Inline { .. }))
            && this.parts.len() == this.parts_max
        {
            return false;
        }
        this.append(bytes, len);
        true
    }

    /// Adds bytes of a pool buffer by name. They must be those of the driver that sends.
    pub fn push_buffer(&mut self, slice: BufSlice) -> bool {
        let this = &mut *self.0;
        if slice.len == 0 {
            return true;
        }
        if !this.has_bytes_for(slice.len) || this.parts.len() == this.parts_max {
            return false;
        }
        this.push_named(0, slice);
        true
    }

    /// Adds `head` and a whole payload that starts its buffer, as one piece: the head is written
    /// into the head room in front of the payload. Where that room is in use (the same buffer is
    /// being sent already) or too small, the head becomes inline bytes and a piece of its own.
    /// Until the piece has been sent, do not frame the same buffer again: it has one head room.
    pub fn push_framed(&mut self, pool: &mut PoolMut<'_>, head: &[u8], slice: BufSlice) -> bool {
        let this = &mut *self.0;
        let Ok(head_bytes) = u32::try_from(head.len()) else { return false };
        let bytes = slice.len.saturating_add(head_bytes);
        if this.is_full_for(head.len()) || !this.has_bytes_for(bytes) {
            return false;
        }
        debug_assert!(!this.names(slice), "the head room of a buffer holds one head at a time");
        if slice.len == 0 || !pool.fill_head(slice, head) {
            return self.push_inline(head) && self.push_buffer(slice);
        }
        this.push_named(head_bytes, slice);
        true
    }

    /// Adds bytes of a memory store, which leave straight from its own pages. If the store is
    /// written meanwhile, a mix of old and new bytes leaves: do not use it under a digest.
    pub fn push_store(&mut self, store: &Arc<MemoryStore>, offset: u64, len: u32) -> bool {
        let bytes = StoreBytes { store, offset, len, home: None };
        len == 0 || self.push_framed_store(&[], bytes)
    }

    /// Adds a copy of `head` and then bytes of a memory store, as [`Gather::push_store`] does.
    #[inline]
    pub fn push_framed_store(&mut self, head: &[u8], bytes: StoreBytes<'_>) -> bool {
        let StoreBytes { store, offset, len, home } = bytes;
        debug_assert!(home.is_none_or(|home| home.len == len), "a home has room for all bytes");
        let this = &mut *self.0;
        let Ok(head_bytes) = u32::try_from(head.len()) else { return false };
        let Some(address) = store.address(offset, len) else { return false };
        let parts = usize::from(head_bytes > 0) + 1;
        if this.parts.len() + parts > this.parts_max
            || head.len() > this.inline_bytes_max - this.inline.len()
            || !this.has_bytes_for(head_bytes.saturating_add(len))
        {
            return false;
        }
        if head_bytes > 0 {
            this.append(head, head_bytes);
        }
        if len > 0 {
            this.keep(store);
            this.parts.push(Part::Store { address, len, home });
            this.has_homes |= home.is_some();
            this.total += len;
        }
        true
    }

    /// Bytes that have not been sent yet.
    pub fn len_bytes(&self) -> u32 {
        self.0.total - self.0.sent
    }

    /// Copied bytes, sent or not.
    pub fn inline_bytes(&self) -> usize {
        self.0.inline.len()
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.len_bytes() == 0
    }

    /// Whether there is no space for a frame: `inline_bytes` of copied bytes and one buffer.
    pub fn is_full_for(&self, inline_bytes: usize) -> bool {
        self.0.is_full_for(inline_bytes)
    }

    /// Every slice that was pushed, in order, sent or not: what to return once all is sent.
    pub fn pieces(&self) -> impl Iterator<Item = BufSlice> + '_ {
        self.0.parts.iter().filter_map(|part| match part {
            Part::Buffer { slice, .. } => Some(*slice),
            Part::Inline { .. } | Part::Store { .. } => None,
        })
    }

    /// Notes that `bytes` more have been sent, so that the next send continues after them.
    ///
    /// # Panics
    /// When more is sent than there is.
    pub fn advance(&mut self, bytes: u32) {
        let this = &mut *self.0;
        assert!(bytes <= this.total - this.sent, "no more can be sent than there is");
        this.sent += bytes;
        let mut left = bytes;
        while left > 0 {
            let part_left = this.parts[this.cursor].bytes() - this.cursor_bytes;
            if left < part_left {
                this.cursor_bytes += left;
                return;
            }
            left -= part_left;
            this.cursor += 1;
            this.cursor_bytes = 0;
        }
    }

    /// Empties the list; its memory stays.
    pub fn clear(&mut self) {
        let this = &mut *self.0;
        this.parts.clear();
        this.inline.clear();
        this.stores.clear();
        this.buffers = 0;
        this.iovecs.clear();
        this.total = 0;
        this.sent = 0;
        this.sent_in_place = 0;
        this.has_homes = false;
        this.cursor = 0;
        this.cursor_bytes = 0;
    }

    /// Books the kernel's reads in the pool and lays out what the kernel will read.
    pub(crate) fn begin_send(&mut self, pool: &mut Pool) -> Result<Outgoing, Refusal> {
        if self.is_empty() {
            return Err(Refusal::InvalidBuffer);
        }
        let this = &mut *self.0;
        this.iovecs.clear();
        if this.buffers == 0 && this.cursor == 0 && this.cursor_bytes == 0 {
            // Nothing is to be booked: nearly every send of a memory volume's bytes or of headers.
            let inline = this.inline.as_ptr();
            for part in this.parts.iter() {
                this.iovecs.push(part.unbooked(inline));
            }
            return Ok(this.outgoing());
        }
        let mut skip = this.cursor_bytes;
        for (index, part) in this.parts.iter().enumerate().skip(this.cursor) {
            // `wrapping_add` stays inside: a part was pushed together with its bytes.
            let (address, len) = match *part {
                Part::Inline { start, len } => {
                    (this.inline.as_ptr().wrapping_add(start as usize), len)
                }
                Part::Store { address, len, home: _ } => (address, len),
                Part::Buffer { head, slice } => match pool.begin_read(slice, head) {
                    Ok(address) => (address, head + slice.len),
                    Err(reason) => {
                        this.end_parts(index, pool);
                        return Err(reason);
                    }
                },
            };
            this.iovecs.push(libc::iovec {
                iov_base: address.wrapping_add(skip as usize).cast_mut().cast(),
                iov_len: (len - skip) as usize,
            });
            skip = 0;
        }
        Ok(this.outgoing())
    }

    /// Whether bytes leave from a store that can be brought home.
    #[inline]
    pub(crate) const fn has_homes(&self) -> bool {
        self.0.has_homes
    }

    /// Notes that `bytes` have been sent, and copies what is left in stores to where it has a home.
    pub(crate) fn bring_home(&mut self, bytes: u32, pool: &mut PoolMut<'_>) {
        self.advance(bytes);
        let this = &mut *self.0;
        this.sent_in_place += bytes;
        this.has_homes = false;
        for part in &mut this.parts[this.cursor..] {
            let Part::Store { address, home: Some(slice), .. } = *part else { continue };
            let target = pool.bytes_mut(slice);
            debug_assert!(target.is_some(), "{slice:?} is lent for these bytes only");
            let Some(target) = target else { continue };
            // SAFETY: `push_framed_store` found as many bytes as `slice` has at the address, in a
            // store that `stores` keeps. Stores are only ever touched through `copy`.
            unsafe { crate::copy::from_shared(address, target) };
            *part = Part::Buffer { head: 0, slice };
            this.buffers += 1;
        }
    }

    /// Forgets that a part was sent before the rest was brought home; returns its bytes.
    pub(crate) fn take_sent_in_place(&mut self) -> u32 {
        let sent = std::mem::take(&mut self.0.sent_in_place);
        self.0.sent -= sent;
        sent
    }

    /// The kernel is done with everything that `begin_send` booked.
    pub(crate) fn end_send(&mut self, pool: &mut Pool) {
        let end = self.0.parts.len();
        self.0.end_parts(end, pool);
    }
}

/// What a submission points at.
pub(crate) enum Outgoing {
    /// One run of bytes.
    Bytes { address: *const u8, len: u32 },
    /// Several, through a message header.
    Message(*const libc::msghdr),
}

impl Parts {
    /// What is laid out, for the kernel.
    fn outgoing(&mut self) -> Outgoing {
        if let [only] = self.iovecs[..]
            && let Ok(len) = u32::try_from(only.iov_len)
        {
            return Outgoing::Bytes { address: only.iov_base.cast_const().cast(), len };
        }
        let header = &mut self.msghdr[0];
        header.msg_iov = self.iovecs.as_mut_ptr();
        header.msg_iovlen = self.iovecs.len();
        Outgoing::Message(self.msghdr.as_ptr())
    }

    fn has_bytes_for(&self, bytes: u32) -> bool {
        self.total.checked_add(bytes).is_some_and(|sum| sum <= SEND_BYTES_MAX)
    }

    fn is_full_for(&self, inline_bytes: usize) -> bool {
        self.parts.len() + 2 > self.parts_max
            || inline_bytes > self.inline_bytes_max - self.inline.len()
    }

    /// Adds copied bytes, for which there is room.
    #[inline]
    fn append(&mut self, bytes: &[u8], len: u32) {
        // Inline bytes lie back to back, so a piece that follows one only makes it longer.
        if let Some(Part::Inline { len: last, .. }) = self.parts.last_mut() {
            *last += len;
        } else {
            // `SEND_BYTES_MAX` bounds what the list holds.
            let start = u32::try_from(self.inline.len()).unwrap_or(u32::MAX);
            self.parts.push(Part::Inline { start, len });
        }
        match <&[u8; HEADER_BYTES]>::try_from(bytes) {
            // Nearly always; of a length that is known, the copy is a few instructions.
            Ok(header) => self.inline.extend_from_slice(header),
            Err(_) => self.inline.extend_from_slice(bytes),
        }
        self.total += len;
    }

    /// Adds a pool buffer, for which there is room.
    fn push_named(&mut self, head: u32, slice: BufSlice) {
        self.parts.push(Part::Buffer { head, slice });
        self.buffers += 1;
        self.total += head + slice.len;
    }

    /// Makes sure that a store stays as long as its bytes are in the list.
    #[inline]
    fn keep(&mut self, store: &Arc<MemoryStore>) {
        // Nearly always all parts are of one volume.
        let is_kept = |kept: &Arc<MemoryStore>| Arc::ptr_eq(kept, store);
        if !self.stores.last().is_some_and(is_kept) && !self.stores.iter().any(is_kept) {
            self.stores.push(Arc::clone(store));
        }
    }

    /// Whether the buffer of a slice is in this list with a head already, whose room it uses.
    fn names(&self, slice: BufSlice) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Buffer { head, slice: pushed } => *head > 0 && pushed.buf == slice.buf,
            Part::Inline { .. } | Part::Store { .. } => false,
        })
    }

    fn end_parts(&self, end: usize, pool: &mut Pool) {
        if self.buffers == 0 {
            return;
        }
        for part in &self.parts[self.cursor..end] {
            match *part {
                Part::Buffer { slice, .. } => pool.end_read(slice),
                Part::Inline { .. } | Part::Store { .. } => {}
            }
        }
    }
}

/// The length of most copied pieces: an iSCSI header.
const HEADER_BYTES: usize = 48;

/// One send, in bytes: the kernel's own bound is 2 GiB less a page.
const SEND_BYTES_MAX: u32 = 1 << 30;

const EMPTY_MSGHDR: libc::msghdr = libc::msghdr {
    msg_name: std::ptr::null_mut(),
    msg_namelen: 0,
    msg_iov: std::ptr::null_mut(),
    msg_iovlen: 0,
    msg_control: std::ptr::null_mut(),
    msg_controllen: 0,
    msg_flags: 0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use units::{BufId, PoolLayout, SizeClass};

    fn pool() -> Pool {
        let layout = PoolLayout::new(vec![SizeClass { bytes: 4096, count: 8 }]);
        Pool::new(&layout).unwrap().0
    }

    fn slice(buf: u32, offset: u32, len: u32) -> BufSlice {
        BufSlice { buf: BufId(buf), offset, len }
    }

    /// The bytes that the kernel would send.
    fn outgoing(gather: &mut Gather, pool: &mut Pool) -> (usize, Vec<u8>) {
        let sent = gather.begin_send(pool).map(drop);
        assert_eq!(sent, Ok(()));
        let bytes: Vec<u8> = gather
            .0
            .iovecs
            .iter()
            .flat_map(|iovec| {
                // SAFETY: `begin_send` laid these runs out for the kernel to read; this test
                // reads them in its place, and nothing writes to them.
                unsafe { std::slice::from_raw_parts(iovec.iov_base.cast::<u8>(), iovec.iov_len) }
            })
            .copied()
            .collect();
        let pieces = gather.0.iovecs.len();
        gather.end_send(pool);
        (pieces, bytes)
    }

    #[test]
    fn a_send_list_continues_after_every_possible_partial_send() {
        let mut pool = pool();
        assert!(pool.as_mut().fill(slice(0, 0, 4), b"data"));
        assert!(pool.as_mut().fill(slice(1, 7, 3), b"xyz"));
        let mut gather = Gather::new(8, 64);
        assert!(gather.push_inline(b"ab"));
        assert!(gather.push_inline(b"c"));
        assert!(gather.push_framed(&mut pool.as_mut(), b"head", slice(0, 0, 4)));
        assert!(gather.push_inline(b"-"));
        assert!(gather.push_buffer(slice(1, 7, 3)));
        let whole = b"abcheaddata-xyz";
        assert_eq!(outgoing(&mut gather, &mut pool), (4, whole.to_vec()));
        for sent in 1..whole.len() {
            gather.advance(1);
            assert_eq!(gather.len_bytes() as usize, whole.len() - sent);
            assert_eq!(outgoing(&mut gather, &mut pool).1, &whole[sent..]);
            assert_eq!(gather.pieces().count(), 2);
        }
        gather.advance(1);
        assert!(gather.is_empty());
        assert_eq!(gather.begin_send(&mut pool).map(drop), Err(Refusal::InvalidBuffer));
        assert!(!pool.is_in_kernel(BufId(0)) && !pool.is_in_kernel(BufId(1)));
    }

    #[test]
    fn what_does_not_fit_is_not_added() {
        let mut pool = pool();
        let mut gather = Gather::new(3, 10);
        assert!(gather.push_inline(&[1; 10]));
        assert!(!gather.push_inline(&[1]));
        assert!(gather.is_full_for(1));
        assert!(!gather.is_full_for(0));
        assert!(!gather.push_framed(&mut pool.as_mut(), &[1], slice(0, 0, 1)));
        assert!(gather.push_buffer(slice(0, 0, 1)));
        assert!(gather.is_full_for(0));
        assert!(gather.push_buffer(slice(1, 0, 1)));
        assert!(!gather.push_buffer(slice(2, 0, 1)));
        assert_eq!(gather.len_bytes(), 12);
        assert_eq!(gather.pieces().count(), 2);
        gather.clear();
        assert!(gather.is_empty());
        assert!(gather.push_inline(&[1; 10]));
    }

    #[test]
    fn bytes_of_a_store_fit_where_one_part_is_left() {
        let (store, _) = MemoryStore::new(4096).unwrap();
        store.write_bytes(1, b"store").unwrap();
        let mut gather = Gather::new(2, 10);
        assert!(gather.push_inline(b"head"));
        assert!(!gather.push_store(&store, 4095, 2), "past its end");
        assert!(gather.push_store(&store, 1, 5));
        assert!(!gather.push_store(&store, 1, 5));
        assert_eq!(outgoing(&mut gather, &mut pool()), (2, b"headstore".to_vec()));
    }

    #[test]
    fn what_is_left_of_a_store_is_brought_home_and_does_not_change_any_more() {
        let mut pool = pool();
        let (store, _) = MemoryStore::new(4096).unwrap();
        store.write_bytes(0, b"abcdef").unwrap();
        let mut gather = Gather::new(8, 64);
        let bytes = |offset, home| StoreBytes { store: &store, offset, len: 3, home: Some(home) };
        assert!(gather.push_framed_store(b"1:", bytes(0, slice(0, 0, 3))));
        assert!(gather.push_framed_store(b"2:", bytes(3, slice(0, 3, 3))));
        assert_eq!(outgoing(&mut gather, &mut pool), (4, b"1:abc2:def".to_vec()));
        assert!(gather.has_homes());
        gather.bring_home(3, &mut pool.as_mut());
        store.write_bytes(0, b"ABCDEF").unwrap();
        assert_eq!(outgoing(&mut gather, &mut pool).1, b"bc2:def");
        assert!(!gather.has_homes());
        assert_eq!(gather.take_sent_in_place(), 3);
        assert_eq!(gather.len_bytes(), 10);
    }

    #[test]
    fn a_head_moves_out_of_the_way_while_its_room_is_being_sent() {
        let mut pool = pool();
        let payload = slice(0, 0, 4);
        assert!(pool.as_mut().fill(payload, b"data"));
        let mut first = Gather::new(8, 64);
        assert!(first.push_framed(&mut pool.as_mut(), b"one:", payload));
        let in_flight = first.begin_send(&mut pool);
        assert!(matches!(in_flight, Ok(Outgoing::Bytes { len: 8, .. })));
        let mut second = Gather::new(8, 64);
        assert!(second.push_framed(&mut pool.as_mut(), b"two:", payload));
        assert_eq!(outgoing(&mut second, &mut pool), (2, b"two:data".to_vec()));
        first.end_send(&mut pool);
        assert_eq!(outgoing(&mut first, &mut pool), (1, b"one:data".to_vec()));
    }

    #[test]
    fn a_slice_outside_the_pool_is_found_at_the_send_and_books_nothing() {
        let mut pool = pool();
        let mut gather = Gather::new(8, 64);
        assert!(gather.push_buffer(slice(0, 0, 4096)));
        assert!(gather.push_buffer(slice(8, 0, 1)));
        assert_eq!(gather.begin_send(&mut pool).map(drop), Err(Refusal::InvalidBuffer));
        assert!(!pool.is_in_kernel(BufId(0)));
    }
}
