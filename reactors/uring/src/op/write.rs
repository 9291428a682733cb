//! Writing from a pool buffer to a file.

use io_uring::{opcode, squeue};
use units::BufSlice;

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::Refusal;
use crate::files::FileId;
use crate::op::{count_of, for_handle};
use crate::table::{Op, OpKind, OpName};

/// One write to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileWrite {
    /// Where in the file.
    pub offset: u64,
    /// The bytes.
    pub slice: BufSlice,
    /// Whether it ends only when the bytes are on stable media (RWF_DSYNC).
    pub durable: bool,
    /// Fail with [`Errno::AGAIN`](crate::Errno::AGAIN) or
    /// [`Errno::NOT_SUPPORTED`](crate::Errno::NOT_SUPPORTED) rather than wait (`RWF_NOWAIT`).
    /// Otherwise one of the kernel's workers does it.
    pub at_once: bool,
}

impl Driver {
    /// Writes to a file. Ends with [`Completion::Written`].
    pub fn write(&mut self, file: FileId, token: u64, write: FileWrite) -> Result<(), Refusal> {
        let FileWrite { offset, slice, durable, at_once } = write;
        let handle = self.file_handle(file)?;
        let address = self.pool.begin_read(slice, 0)?;
        let flags = if durable { libc::RWF_DSYNC } else { 0 };
        let flags = if at_once { flags | libc::RWF_NOWAIT } else { flags };
        let entry = match self.pool.registered_index(address, slice.len) {
            Some(index) => for_handle!(handle, |fd| {
                opcode::WriteFixed::new(fd, address, slice.len, index)
                    .offset(offset)
                    .rw_flags(flags)
                    .build()
            }),
            None => for_handle!(handle, |fd| {
                opcode::Write::new(fd, address, slice.len).offset(offset).rw_flags(flags).build()
            }),
        };
        let op = Op { token, object: file.0, kind: OpKind::Write { slice } };
        let entry = if at_once { entry } else { entry.flags(squeue::Flags::ASYNC) };
        // SAFETY: the entry points at a slice of the pool that `begin_read` has booked for the
        // kernel until this operation has ended.
        match unsafe { self.start(op, entry) } {
            Ok(_) => {
                self.file_started(file);
                Ok(())
            }
            Err((reason, _)) => {
                self.pool.end_read(slice);
                Err(reason)
            }
        }
    }

    pub(crate) fn complete_write(
        &mut self,
        name: OpName,
        slice: BufSlice,
        result: i32,
    ) -> Completion {
        self.pool.end_read(slice);
        self.file_ended(name.object);
        Completion::Written { token: name.token, slice, result: count_of(result) }
    }
}
