//! Memory that comes straight from the kernel: huge pages where some are reserved, ordinary
//! pages with a wish for transparent huge pages otherwise. Always zeroed at first.
//!
//! A [`Mapping`] never makes a reference to its bytes; it hands out addresses to the modules of
//! this crate that know who else touches them.

use std::alloc::Layout;
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;

use rustix::mm;

use crate::errors::SetupError;

/// Where the bytes of a mapping come from; each is given back in its own way.
#[derive(Debug)]
enum Backing {
    HugePages(Layout),
    Plain { mapped: NonNull<u8>, mapped_bytes: usize },
}

/// A zeroed run of memory that is unmapped when this is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    backing: Backing,
}

// SAFETY: a mapping is an address and a length; unmapping it works from every thread. Whoever
// reads or writes the bytes answers for the order of the accesses.
unsafe impl Send for Mapping {}
// SAFETY: the methods that take `&self` only compute addresses.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` of memory, on huge pages where that pays and some are free.
    pub(crate) fn new(what: &'static str, bytes: usize) -> Result<Self, SetupError> {
        assert!(bytes > 0, "an empty mapping has no address");
        match Self::huge(bytes) {
            Some(mapping) => Ok(mapping),
            None => {
                Self::plain(bytes).map_err(|source| SetupError::OutOfMemory { what, bytes, source })
            }
        }
    }

    /// Whether the mapping lies on reserved huge pages, or is too small for that to matter.
    pub(crate) const fn is_huge_enough(&self) -> bool {
        matches!(self.backing, Backing::HugePages(_)) || self.bytes < HUGE_PAGE_BYTES
    }

    /// The first byte.
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How many bytes may be touched.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of a byte.
    ///
    /// # Panics
    /// When the byte lies past the end.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.bytes);
        // SAFETY: the offset was just found to be inside the mapping, or one past its end.
        unsafe { self.base.add(offset) }
    }

    fn huge(bytes: usize) -> Option<Self> {
        if bytes < HUGE_PAGE_BYTES || !kernel_has_huge_pages() {
            return None;
        }
        let layout = Layout::from_size_align(bytes, HUGE_PAGE_BYTES).ok()?;
        // SAFETY: the layout's size is not zero: it is at least one huge page.
        let base = NonNull::new(unsafe { hugepage_rs::alloc(layout) })?;
        Some(Self { base, bytes, backing: Backing::HugePages(layout) })
    }

    fn plain(bytes: usize) -> io::Result<Self> {
        // A transparent huge page must lie on its own boundary, so a large mapping is made one
        // huge page longer and begins at the first boundary in it.
        let align = if bytes < HUGE_PAGE_BYTES { PAGE_BYTES } else { HUGE_PAGE_BYTES };
        let mapped_bytes = bytes
            .checked_next_multiple_of(PAGE_BYTES)
            .and_then(|b| b.checked_add(align - PAGE_BYTES))
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let flags = mm::MapFlags::PRIVATE;
        let prot = mm::ProtFlags::READ | mm::ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory
        // that anything else owns.
        let address =
            unsafe { mm::mmap_anonymous(std::ptr::null_mut(), mapped_bytes, prot, flags) }?;
        let mapped = NonNull::new(address.cast::<u8>())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let skip = mapped.as_ptr().align_offset(align);
        // SAFETY: the mapping is `align - PAGE_BYTES` longer than asked for and begins on a page,
        // so the first aligned address and `bytes` after it lie inside.
        let base = unsafe { mapped.add(skip) };
        if align == HUGE_PAGE_BYTES {
            // SAFETY: the range is the mapping that was just made; the advice changes no byte.
            // Fails without transparent huge pages in the kernel; the memory works regardless.
            let _advised = unsafe { mm::madvise(address, mapped_bytes, mm::Advice::LinuxHugepage) };
        }
        Ok(Self { base, bytes, backing: Backing::Plain { mapped, mapped_bytes } })
    }
}

impl Mapping {
    /// Has the kernel find all pages now, so that nobody waits for one later. A kernel before
    /// 5.14 cannot; it finds each page when it is first written.
    pub(crate) fn populate(&self) {
        let address = self.base.as_ptr().cast();
        // SAFETY: the range is this mapping, which nobody has a reference into that this could
        // change: populating writes no byte.
        let _populated =
            unsafe { mm::madvise(address, self.bytes, mm::Advice::LinuxPopulateWrite) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        match self.backing {
            Backing::HugePages(layout) => {
                // SAFETY: `huge` allocated this address with this layout, and it is dropped once.
                unsafe { hugepage_rs::dealloc(self.base.as_ptr(), layout) };
            }
            Backing::Plain { mapped, mapped_bytes } => {
                // SAFETY: `plain` mapped exactly this range, and it is unmapped once. The owner
                // of the mapping has made sure that the kernel is done with it.
                let unmapped = unsafe { mm::munmap(mapped.as_ptr().cast(), mapped_bytes) };
                debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
            }
        }
    }
}

/// `hugepage-rs` panics where the kernel was built without huge pages, so look first.
fn kernel_has_huge_pages() -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    *PRESENT.get_or_init(|| {
        std::fs::read_to_string("/proc/meminfo").is_ok_and(|text| {
            text.lines()
                .any(|l| l.strip_prefix("Hugepagesize:").is_some_and(|r| r.trim() == "2048 kB"))
        })
    })
}

/// The size that x86-64 and most ARM kernels use.
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// The alignment that every mapping has at least.
const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_mapping_begins_on_a_huge_page_and_is_zero() {
        let mapping = Mapping::new("a test", (2 << 20) + 1).unwrap();
        assert_eq!(mapping.base().as_ptr().align_offset(2 << 20), 0);
        for offset in [0, 4096, 2 << 20] {
            // SAFETY: the offsets are inside the mapping, and nothing else knows of it.
            assert_eq!(unsafe { mapping.at(offset).as_ptr().read() }, 0);
        }
    }

    #[test]
    fn a_mapping_beyond_the_address_space_is_out_of_memory() {
        let error = Mapping::new("a test", usize::MAX - 4096).unwrap_err();
        assert!(matches!(error, SetupError::OutOfMemory { .. }));
    }
}
