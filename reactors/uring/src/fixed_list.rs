//! Lists of a fixed capacity on pages of their own.
//!
//! An allocator that got the memory of a send list back keeps it where anything behind it is still
//! in use, and a swarm of connections takes a hundred send lists and more. Pages that were mapped
//! for a list go back to the kernel with it, whatever lies around them; and those that no entry has
//! touched were never taken from it.

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::mapping::Mapping;

/// A `Vec` that never grows, in a range of a [`Pages`]. Its entries are never dropped.
#[derive(Debug)]
pub(crate) struct FixedList<T: Copy> {
    start: NonNull<T>,
    len: usize,
    capacity: usize,
    entries: PhantomData<T>,
}

/// Pages to cut into lists, which must not outlive them.
#[derive(Debug)]
pub(crate) struct Pages {
    mapping: Mapping,
    /// Bytes that have been cut off.
    cut: usize,
}

impl Pages {
    /// Pages for lists of `bytes` in all, each rounded up by [`Self::bytes_for`].
    ///
    /// Like a `Vec`, it ends the process where there is no memory.
    pub(crate) fn new(bytes: usize) -> Self {
        match Mapping::new("a send list", bytes) {
            Ok(mapping) => Self { mapping, cut: 0 },
            Err(_) => match Layout::array::<u8>(bytes) {
                Ok(layout) => handle_alloc_error(layout),
                Err(_) => unreachable!("the options of the driver bound a send list"),
            },
        }
    }

    /// Bytes that a list takes.
    pub(crate) const fn bytes_for<T>(capacity: usize) -> usize {
        (capacity * size_of::<T>()).next_multiple_of(LIST_ALIGN)
    }

    /// Cuts off an empty list.
    ///
    /// # Safety
    /// The list must not be used when the pages are gone.
    ///
    /// # Panics
    /// When there is no room for it.
    pub(crate) unsafe fn cut<T: Copy>(&mut self, capacity: usize) -> FixedList<T> {
        const { assert!(align_of::<T>() <= LIST_ALIGN, "a list is aligned to this") };
        let at = self.cut;
        self.cut += Self::bytes_for::<T>(capacity);
        assert!(self.cut <= self.mapping.bytes(), "the lists were counted");
        FixedList { start: self.mapping.at(at).cast(), len: 0, capacity, entries: PhantomData }
    }
}

impl<T: Copy> FixedList<T> {
    /// Adds an entry.
    ///
    /// # Panics
    /// When the list is full.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) {
        assert!(self.len < self.capacity, "its owner has looked whether there is room");
        // SAFETY: the entry is one of the `capacity` that `Pages::cut` cut off for this list only.
        let place = unsafe { self.start.add(self.len) };
        // SAFETY: as above; the place is aligned, because the start of the list is.
        unsafe { place.write(entry) };
        self.len += 1;
    }

    /// Adds entries.
    ///
    /// # Panics
    /// When there is no room for them.
    #[inline]
    pub(crate) fn extend_from_slice(&mut self, entries: &[T]) {
        let room = self.capacity - self.len;
        assert!(entries.len() <= room, "its owner has looked whether there is room");
        // SAFETY: at most one past the `capacity` entries of this list.
        let place = unsafe { self.start.add(self.len) };
        // SAFETY: there is room for that many behind the place. `entries` is not in it: it is
        // borrowed while this list is borrowed to be changed.
        unsafe { place.as_ptr().copy_from_nonoverlapping(entries.as_ptr(), entries.len()) };
        self.len += entries.len();
    }

    /// Empties the list; its memory stays.
    #[inline]
    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T: Copy> Deref for FixedList<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` entries have been written, lie in pages that are there as long
        // as the list is used (`Pages::cut`), and change only where this list is borrowed for it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for FixedList<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; no other list has these entries.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// Each list begins on a cache line of its own.
const LIST_ALIGN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_one_mapping_keep_their_entries_apart() {
        let bytes = Pages::bytes_for::<u8>(3) + Pages::bytes_for::<u64>(2);
        let mut pages = Pages::new(bytes);
        // SAFETY: `pages` is dropped at the end of this test.
        let mut small = unsafe { pages.cut::<u8>(3) };
        // SAFETY: as above.
        let mut large = unsafe { pages.cut::<u64>(2) };
        small.extend_from_slice(&[1, 2]);
        large.push(u64::MAX);
        small.push(3);
        large.push(7);
        assert_eq!(*small, [1, 2, 3]);
        large[0] = 9;
        assert_eq!(*large, [9, 7]);
        small.clear();
        assert!(small.is_empty());
        assert_eq!(*large, [9, 7]);
    }

    #[test]
    #[should_panic(expected = "whether there is room")]
    fn a_full_list_takes_nothing_more() {
        let mut pages = Pages::new(64);
        // SAFETY: `pages` is dropped at the end of this test.
        let mut list = unsafe { pages.cut::<u8>(2) };
        list.extend_from_slice(&[1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "the lists were counted")]
    fn no_list_reaches_past_the_pages() {
        let mut pages = Pages::new(64);
        // SAFETY: it is not cut off.
        let _list = unsafe { pages.cut::<u8>(65) };
    }
}
