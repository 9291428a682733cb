//! Space for what frees space: nobody could delete a volume while the file system of the state
//! directory was full, because a deletion writes a note and the catalog first.
//!
//! The reserve is a few files whose space is allocated. Each becomes one file of the state
//! directory when it is needed, without an allocation that a busy host could be faster than.

use super::{StateDir, durable};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use units::limits::{STATE_RESERVE_FILE_BYTES, STATE_RESERVE_FILES};

/// Whether a change may use the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// What is free must do.
    Free,
    /// It is for this that the reserve is kept.
    Reserved,
}

impl StateDir {
    /// Replaces the content of a file of this directory, durably.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8], space: Space) -> io::Result<()> {
        let written = durable::replace(path, bytes);
        if space == Space::Free || !written.as_ref().is_err_and(is_full) {
            return written;
        }
        match self.reserve().find(|reserve| reserve.exists()) {
            Some(reserve) => durable::become_file(&reserve, path, bytes),
            None => written,
        }
    }

    /// Makes the reserve whole as far as there is space. May block.
    pub(crate) fn fill_reserve(&self) {
        for path in self.reserve() {
            // A crash may have left one that is not whole.
            if path.metadata().is_ok_and(|found| found.len() == STATE_RESERVE_FILE_BYTES) {
                continue;
            }
            if let Err(error) = allocate(&path) {
                // Without a reserve, the directory works for as long as it is not full.
                tracing::debug!(%error, "cannot allocate {}", path.display());
                let _ = fs::remove_file(&path);
                return;
            }
        }
    }

    fn reserve(&self) -> impl Iterator<Item = PathBuf> {
        (0..STATE_RESERVE_FILES).map(|n| self.path().join(format!("reserve-{n}")))
    }
}

fn is_full(error: &io::Error) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind())
}

fn allocate(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, STATE_RESERVE_FILE_BYTES)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_becomes_a_file_and_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        state.fill_reserve();
        let reserve: Vec<_> = state.reserve().collect();
        assert_eq!(reserve[0].metadata().unwrap().len(), 1 << 20);
        fs::write(state.catalog_path(), "old").unwrap();
        durable::become_file(&reserve[0], &state.catalog_path(), b"new").unwrap();
        assert_eq!(fs::read(state.catalog_path()).unwrap(), b"new");
        assert!(!reserve[0].exists() && reserve[1].exists());
        state.fill_reserve();
        assert!(reserve.iter().all(|path| path.exists()));
    }
}
