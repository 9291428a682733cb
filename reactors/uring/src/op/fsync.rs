//! Flushing a file to stable media.

use io_uring::{opcode, types};

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::Refusal;
use crate::files::FileId;
use crate::op::{count_of, for_handle};
use crate::table::{Op, OpKind, OpName};

impl Driver {
    /// Makes what was written before durable; with `datasync`, leaves out what is not needed to
    /// read it again. Ends with [`Completion::Synced`]. Writes in flight are not waited for.
    pub fn fsync(&mut self, file: FileId, token: u64, datasync: bool) -> Result<(), Refusal> {
        let handle = self.file_handle(file)?;
        let flags = if datasync { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
        let entry = for_handle!(handle, |fd| opcode::Fsync::new(fd).flags(flags).build());
        let op = Op { token, object: file.0, kind: OpKind::Sync };
        // SAFETY: a flush points at no memory.
        unsafe { self.start(op, entry) }.map_err(|(reason, _)| reason)?;
        self.file_started(file);
        Ok(())
    }

    pub(crate) fn complete_fsync(&mut self, name: OpName, result: i32) -> Completion {
        self.file_ended(name.object);
        Completion::Synced { token: name.token, result: count_of(result).map(drop) }
    }
}
