//! The files of one driver: volumes that are fixed files of the ring.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use units::Key;

use crate::driver::{Driver, Handle};
use crate::errors::{Errno, Refusal};

/// Names one file of a driver. A name of a removed file is recognised and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub(crate) Key);

/// One file and how many operations it has in flight.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) in_flight: u32,
}

impl Driver {
    /// Takes a file or block device in. Several drivers may share one descriptor.
    pub fn add_file(&mut self, fd: Arc<OwnedFd>) -> Result<FileId, Refusal> {
        let raw = fd.as_raw_fd();
        let key = self.files.insert(File { fd, in_flight: 0 }).map_err(|_| Refusal::Full)?;
        if let Err(errno) = self.register_file(self.sockets_max + key.index, raw) {
            self.files.remove(key);
            return Err(Refusal::Kernel(errno));
        }
        Ok(FileId(key))
    }

    /// Lets go of a file; refused while an operation on it is in flight.
    pub fn remove_file(&mut self, id: FileId) -> Result<(), Refusal> {
        // Operations that wait in the submission queue name the slot, so the slot must not get
        // another file before they have ended.
        if self.files.get(id.0).ok_or(Refusal::Closed)?.in_flight > 0 {
            return Err(Refusal::Busy);
        }
        self.unregister_file(self.sockets_max + id.0.index);
        self.files.remove(id.0);
        Ok(())
    }

    /// Lets the kernel use up to so many workers at once for what it cannot do without waiting. It
    /// makes them when they are needed. All rings of a thread share its workers.
    pub fn set_workers_max(&mut self, most: u32) -> Result<(), Errno> {
        // Files and block devices have bounded workers; 0 leaves the others as they are.
        let mut most = [most, 0];
        let set = self.ring.submitter().register_iowq_max_workers(&mut most);
        set.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    /// The file argument of an operation.
    pub(crate) fn file_handle(&self, id: FileId) -> Result<Handle, Refusal> {
        let file = self.files.get(id.0).ok_or(Refusal::Closed)?;
        Ok(self.handle(self.sockets_max + id.0.index, file.fd.as_raw_fd()))
    }

    /// Counts an operation of the file in.
    pub(crate) fn file_started(&mut self, id: FileId) {
        if let Some(file) = self.files.get_mut(id.0) {
            file.in_flight += 1;
        }
    }

    /// Counts an operation of the file out.
    pub(crate) fn file_ended(&mut self, key: Key) {
        if let Some(file) = self.files.get_mut(key) {
            assert!(file.in_flight > 0, "an operation ends that never began");
            file.in_flight -= 1;
        }
    }

    /// Puts a descriptor into the ring's file table, where there is one.
    pub(crate) fn register_file(&mut self, index: u32, fd: i32) -> Result<(), Errno> {
        if !self.fixed_files {
            return Ok(());
        }
        match self.ring.submitter().register_files_update(index, &[fd]) {
            Ok(_) => Ok(()),
            Err(e) => Err(Errno(e.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    /// Takes a descriptor out of the ring's file table.
    pub(crate) fn unregister_file(&mut self, index: u32) {
        let emptied = self.register_file(index, -1);
        debug_assert!(emptied.is_ok(), "emptying a slot of the table cannot fail: {emptied:?}");
    }
}
