//! Writing from a pool buffer to a file.

use io_uring::opcode;
use units::{BufSlice, Key};

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::Refusal;
use crate::files::FileId;
use crate::op::{count_of, for_handle};
use crate::table::{Op, OpKind};

impl Driver {
    /// Writes at byte `offset` of a file. Ends with [`Completion::Written`]; with `durable`, not
    /// before the bytes are on stable media (RWF_DSYNC).
    pub fn write(
        &mut self,
        file: FileId,
        token: u64,
        offset: u64,
        (slice, durable): (BufSlice, bool),
    ) -> Result<(), Refusal> {
        let handle = self.file_handle(file)?;
        let address = self.pool.begin_read(slice, 0)?;
        let flags = if durable { libc::RWF_DSYNC } else { 0 };
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
        (token, object): (u64, Key),
        slice: BufSlice,
        result: i32,
    ) -> Completion {
        self.pool.end_read(slice);
        self.file_ended(object);
        Completion::Written { token, slice, result: count_of(result) }
    }
}
