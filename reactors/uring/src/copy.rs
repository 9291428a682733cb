//! Copies between memory that nobody else touches and memory that other reactors may read and
//! write at the same time.
//!
//! Every access to the shared side is a relaxed atomic access of single bytes, or an
//! instruction sequence with exactly that effect: so there is no data race in the sense of the
//! language, whatever the others do at the time. Which mix of old and new bytes a copy sees is
//! not defined, as with a disk.
//!
//! On x86-64 the sequence is a string instruction: each byte is one ordinary load or store, which
//! that architecture makes single-copy atomic, and the compiler neither sees into the block nor
//! adds accesses of its own. Elsewhere, and under Miri, it is a loop of atomics.

/// Copies from shared memory to memory of our own.
///
/// # Safety
/// `shared` must be valid for reads of `target.len()` bytes, and every concurrent access to them
/// by this program must be through this module.
pub(crate) unsafe fn from_shared(shared: *const u8, target: &mut [u8]) {
    // SAFETY: the caller vouches for the shared side, and the slice for the other one; they do
    // not overlap, because a `&mut` slice overlaps with nothing.
    unsafe { copy(shared, target.as_mut_ptr(), target.len()) };
}

/// Copies from memory of our own to shared memory.
///
/// # Safety
/// `shared` must be valid for writes of `source.len()` bytes, and every concurrent access to them
/// by this program must be through this module.
pub(crate) unsafe fn to_shared(source: &[u8], shared: *mut u8) {
    // SAFETY: the caller vouches for the shared side, and the slice for the other one; shared
    // memory is never borrowed as a slice, so they do not overlap.
    unsafe { copy(source.as_ptr(), shared, source.len()) };
}

/// Fills shared memory with zeros.
///
/// # Safety
/// `shared` must be valid for writes of `bytes` bytes, and every concurrent access to them by
/// this program must be through this module.
pub(crate) unsafe fn zero_shared(shared: *mut u8, bytes: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller vouches for the range. The direction flag is clear at the start of every
    // asm block, so the instruction writes upwards, `bytes` bytes and no more.
    unsafe {
        std::arch::asm!(
            "rep stosb",
            inout("rcx") bytes => _,
            inout("rdi") shared => _,
            in("al") 0_u8,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for offset in 0..bytes {
        // SAFETY: inside the range that the caller vouches for; bytes are always aligned.
        let byte = unsafe { AtomicU8::from_ptr(shared.add(offset)) };
        byte.store(0, Ordering::Relaxed);
    }
}

/// # Safety
/// Both ranges must be valid and must not overlap. Concurrent accesses to either are through
/// this module only.
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller vouches for both ranges. The direction flag is clear at the start of
    // every asm block, so the instruction copies upwards, `bytes` bytes and no more.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for offset in 0..bytes {
        // SAFETY: inside the range that the caller vouches for; bytes are always aligned.
        let source = unsafe { AtomicU8::from_ptr(from.cast_mut().add(offset)) };
        // SAFETY: as above, for the other range.
        let target = unsafe { AtomicU8::from_ptr(to.add(offset)) };
        target.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use std::sync::atomic::{AtomicU8, Ordering};
