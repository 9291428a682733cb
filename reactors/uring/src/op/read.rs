//! Reading from a file into a pool buffer.

use io_uring::{opcode, squeue};
use units::BufSlice;

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::Refusal;
use crate::files::FileId;
use crate::op::{count_of, for_handle};
use crate::table::{Op, OpKind, OpName};

/// One read from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// Where in the file.
    pub offset: u64,
    /// Where the bytes go.
    pub slice: BufSlice,
    /// Fail with [`Errno::AGAIN`](crate::Errno::AGAIN) or
    /// [`Errno::NOT_SUPPORTED`](crate::Errno::NOT_SUPPORTED) rather than wait (`RWF_NOWAIT`).
    /// Otherwise one of the kernel's workers does it.
    pub at_once: bool,
}

impl Driver {
    /// Reads from a file. Ends with [`Completion::Read`].
    pub fn read(&mut self, file: FileId, token: u64, read: FileRead) -> Result<(), Refusal> {
        let FileRead { offset, slice, at_once } = read;
        let flags = if at_once { libc::RWF_NOWAIT } else { 0 };
        let handle = self.file_handle(file)?;
        let address = self.pool.begin_write(slice)?;
        let entry = match self.pool.registered_index(address, slice.len) {
            Some(index) => for_handle!(handle, |fd| {
                opcode::ReadFixed::new(fd, address, slice.len, index)
                    .offset(offset)
                    .rw_flags(flags)
                    .build()
            }),
            None => for_handle!(handle, |fd| {
                opcode::Read::new(fd, address, slice.len).offset(offset).rw_flags(flags).build()
            }),
        };
        let op = Op { token, object: file.0, kind: OpKind::Read { slice } };
        let entry = if at_once { entry } else { entry.flags(squeue::Flags::ASYNC) };
        // SAFETY: the entry points at a slice of the pool that `begin_write` has booked for the
        // kernel until this operation has ended.
        match unsafe { self.start(op, entry) } {
            Ok(_) => {
                self.file_started(file);
                Ok(())
            }
            Err((reason, _)) => {
                self.pool.end_write(slice);
                Err(reason)
            }
        }
    }

    pub(crate) fn complete_read(
        &mut self,
        name: OpName,
        slice: BufSlice,
        result: i32,
    ) -> Completion {
        self.pool.end_write(slice);
        self.file_ended(name.object);
        Completion::Read { token: name.token, slice, result: count_of(result) }
    }
}
