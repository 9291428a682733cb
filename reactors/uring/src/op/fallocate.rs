//! Giving space of a file back, and filling ranges with zeros.

use io_uring::opcode;
use units::Key;

use crate::completion::Completion;
use crate::driver::Driver;
use crate::errors::Refusal;
use crate::files::FileId;
use crate::op::{count_of, for_handle};
use crate::table::{Op, OpKind};

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
    /// Changes how the space of `len` bytes from `offset` is kept. Ends with
    /// [`Completion::Allocated`].
    pub fn fallocate(
        &mut self,
        file: FileId,
        token: u64,
        mode: Fallocate,
        (offset, len): (u64, u64),
    ) -> Result<(), Refusal> {
        let handle = self.file_handle(file)?;
        let entry = for_handle!(handle, |fd| {
            opcode::Fallocate::new(fd, len).offset(offset).mode(mode.mode()).build()
        });
        let op = Op { token, object: file.0, kind: OpKind::Allocate };
        // SAFETY: a fallocate points at no memory.
        unsafe { self.start(op, entry) }.map_err(|(reason, _)| reason)?;
        self.file_started(file);
        Ok(())
    }

    pub(crate) fn complete_fallocate(
        &mut self,
        (token, object): (u64, Key),
        result: i32,
    ) -> Completion {
        self.file_ended(object);
        Completion::Allocated { token, result: count_of(result).map(drop) }
    }
}
