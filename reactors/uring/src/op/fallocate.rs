//! Giving space of a file back, and filling ranges with zeros.

use io_uring::opcode;

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::Refusal;
use crate::files::FileId;
use crate::op::{count_of, for_handle};
use crate::table::{Op, OpKind, OpName};

/// What to do with a range of a file or block device. None of these changes the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallocate {
    /// Reserve space for the range.
    Allocate,
    /// Give the space back; the range reads as zeros.
    PunchHole,
    /// Make the range read as zeros and keep its space.
    ZeroRange,
}

/// A range of a file or block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// Its first byte.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

impl Fallocate {
    const fn mode(self) -> i32 {
        match self {
            Self::Allocate => libc::FALLOC_FL_KEEP_SIZE,
            Self::PunchHole => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            Self::ZeroRange => libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
        }
    }
}

impl Driver {
    /// Changes how the space of a range is kept. Ends with
    /// [`Completion::Allocated`].
    pub fn fallocate(
        &mut self,
        file: FileId,
        token: u64,
        mode: Fallocate,
        range: FileRange,
    ) -> Result<(), Refusal> {
        let handle = self.file_handle(file)?;
        let entry = for_handle!(handle, |fd| {
            opcode::Fallocate::new(fd, range.len).offset(range.offset).mode(mode.mode()).build()
        });
        let op = Op { token, object: file.0, kind: OpKind::Allocate };
        // SAFETY: a fallocate points at no memory.
        unsafe { self.start(op, entry) }.map_err(|(reason, _)| reason)?;
        self.file_started(file);
        Ok(())
    }

    pub(crate) fn complete_fallocate(&mut self, name: OpName, result: i32) -> Completion {
        self.file_ended(name.object);
        Completion::Allocated { token: name.token, result: count_of(result).map(drop) }
    }
}
