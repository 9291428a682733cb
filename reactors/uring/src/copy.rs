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
//! adds accesses of its own. For 4 KiB and more it is as fast as `memcpy` (50 ns for 4 KiB in the
//! cache of a 4 GHz Xeon). Elsewhere, and under Miri, it is a loop of atomics. Streaming copies are
//! a loop of non-temporal stores, of which the same is true.

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

/// Copies as [`to_shared`] does, past the processor's caches. For memory that is seldom in a cache:
/// ordinary stores fetch each line from memory first, and whatever stores next waits for that.
///
/// # Safety
/// As for [`to_shared`].
pub(crate) unsafe fn to_shared_streaming(source: &[u8], shared: *mut u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if source.len() >= STREAMED_BYTES_MIN {
        // SAFETY: the caller vouches for the shared side, and the slice for the other one; shared
        // memory is never borrowed as a slice, so they do not overlap.
        return unsafe { stream(source, shared) };
    }
    // SAFETY: the caller's promise is the same.
    unsafe { to_shared(source, shared) };
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
    // SAFETY: the caller vouches for the range.
    unsafe {
        portable::zero(shared, bytes);
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
    // SAFETY: the caller vouches for both ranges.
    unsafe {
        portable::copy(from, to, bytes);
    }
}

/// # Safety
/// `shared` must be valid for writes of `source.len()` bytes, at least one line, which `source`
/// does not overlap. Concurrent accesses to them are through this module only.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn stream(source: &[u8], shared: *mut u8) {
    // Whole lines only: one that is stored in part is read from memory after all.
    let head = shared.align_offset(LINE_BYTES).min(source.len());
    let lines = (source.len() - head) / LINE_BYTES;
    let tail = head + lines * LINE_BYTES;
    if head > 0 {
        // SAFETY: `head` bytes are inside of both ranges, which the caller vouches for.
        unsafe { copy(source.as_ptr(), shared, head) };
    }
    if lines > 0 {
        // SAFETY: the asm reads and writes `lines` lines from `head` on, which are inside of both
        // ranges (`tail` is at most their length). The target is aligned to 64 bytes as `movntdq`
        // needs (`align_offset`), and the source may have any alignment. Each byte is stored once;
        // `sfence` makes the stores visible before whatever this thread stores next, as those of
        // ordinary memory are anyway. The registers are declared, and SSE2 is part of x86-64.
        unsafe {
            std::arch::asm!(
                "2:",
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu {c}, [{from} + 32]",
                "movdqu {d}, [{from} + 48]",
                "movntdq [{to}], {a}",
                "movntdq [{to} + 16], {b}",
                "movntdq [{to} + 32], {c}",
                "movntdq [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "dec {lines}",
                "jnz 2b",
                "sfence",
                from = inout(reg) source.as_ptr().wrapping_add(head) => _,
                to = inout(reg) shared.wrapping_add(head) => _,
                lines = inout(reg) lines => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack)
            );
        }
    }
    let rest = &source[tail..];
    if !rest.is_empty() {
        // SAFETY: the bytes from `tail` on are inside of both ranges.
        unsafe { copy(rest.as_ptr(), shared.wrapping_add(tail), rest.len()) };
    }
}

/// What a cache holds or does not hold.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const LINE_BYTES: usize = 64;

/// Less is not worth the fence.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const STREAMED_BYTES_MIN: usize = 2048;

/// The same with nothing but atomics.
#[cfg(any(test, miri, not(target_arch = "x86_64")))]
#[cfg_attr(all(target_arch = "x86_64", not(miri)), allow(dead_code, reason = "for the tests"))]
mod portable {
    use std::sync::atomic::{AtomicU8, Ordering};

    /// # Safety
    /// The range must be valid for writes, and be accessed by others only atomically.
    pub(super) unsafe fn zero(shared: *mut u8, bytes: usize) {
        for offset in 0..bytes {
            // A byte inside the range that the caller vouches for; bytes are always aligned.
            let byte = shared.wrapping_add(offset);
            // SAFETY: see above.
            unsafe { AtomicU8::from_ptr(byte) }.store(0, Ordering::Relaxed);
        }
    }

    /// # Safety
    /// Both ranges must be valid, must not overlap, and be accessed by others only atomically.
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
        for offset in 0..bytes {
            // Bytes inside the ranges that the caller vouches for; bytes are always aligned.
            let (source, target) = (from.wrapping_add(offset), to.wrapping_add(offset));
            // SAFETY: see above. The byte is only read, so that it is not `mut` does not matter.
            let byte = unsafe { AtomicU8::from_ptr(source.cast_mut()) }.load(Ordering::Relaxed);
            // SAFETY: see above.
            unsafe { AtomicU8::from_ptr(target) }.store(byte, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::UnsafeCell;

    /// Memory that may be touched through its address only.
    fn shared(bytes: &[u8]) -> Vec<UnsafeCell<u8>> {
        bytes.iter().map(|&b| UnsafeCell::new(b)).collect()
    }

    #[test]
    fn every_length_and_offset_copies_exactly_its_bytes() {
        let source: Vec<u8> = (1..=80).collect();
        for start in 0..9 {
            for len in 0..70 {
                let memory = shared(&[0; 90]);
                let address = memory[start].get();
                // SAFETY: 90 bytes are there, and start + len is below that.
                unsafe { to_shared(&source[..len], address) };
                let mut all = [0xee; 90];
                // SAFETY: 90 bytes are there.
                unsafe { from_shared(memory[0].get(), &mut all) };
                assert!(all[..start].iter().all(|&b| b == 0));
                assert_eq!(&all[start..start + len], &source[..len]);
                assert!(all[start + len..].iter().all(|&b| b == 0));
                // SAFETY: as above.
                unsafe { zero_shared(address, len) };
                // SAFETY: 90 bytes are there.
                unsafe { from_shared(memory[0].get(), &mut all) };
                assert_eq!(all, [0; 90]);
            }
        }
    }

    #[test]
    fn streaming_copies_exactly_its_bytes_at_every_alignment() {
        let source: Vec<u8> = (1..=251).cycle().take(4300).collect();
        for start in (0..70).chain([4096]) {
            for len in [0, 1, 2047, 2048, 2049, 2111, 2112, 4095, 4096, 4200] {
                let memory = shared(&[0; 8400]);
                // SAFETY: 8400 bytes are there, and start + len is below that.
                unsafe { to_shared_streaming(&source[3..3 + len], memory[start].get()) };
                let mut all = [0xee; 8400];
                // SAFETY: 8400 bytes are there.
                unsafe { from_shared(memory[0].get(), &mut all) };
                assert!(all[..start].iter().all(|&b| b == 0), "{start} {len}");
                assert_eq!(&all[start..start + len], &source[3..3 + len], "{start} {len}");
                assert!(all[start + len..].iter().all(|&b| b == 0), "{start} {len}");
            }
        }
    }

    #[test]
    fn the_portable_copies_do_the_same() {
        let memory = shared(b"0123456789");
        let mut out = [0; 4];
        // SAFETY: bytes 3 to 6 are there, and `out` has 4 bytes.
        unsafe { portable::copy(memory[3].get(), out.as_mut_ptr(), 4) };
        assert_eq!(&out, b"3456");
        // SAFETY: bytes 3 to 6 are there.
        unsafe { portable::zero(memory[3].get(), 4) };
        let mut all = [1; 10];
        // SAFETY: 10 bytes are on both sides.
        unsafe { portable::copy(memory[0].get(), all.as_mut_ptr(), 10) };
        assert_eq!(&all, b"012\0\0\0\x00789");
    }
}
