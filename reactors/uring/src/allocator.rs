//! Memory that the allocator holds and nobody uses.

/// Gives all pages back to the kernel that the allocator keeps free, also those between pieces that
/// are in use. It keeps them by itself: it looks at the ends of its heaps only.
///
/// It takes up to 40 ms for 100 MiB in small pieces, in which whoever allocates may wait.
pub fn give_back_free_pages() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes no byte that is allocated, and takes the locks of the heaps itself.
    let _any = unsafe { libc::malloc_trim(0) };
}
