//! Names of what is under way: backend operations and the kinds that statistics tell apart.

use units::Key;

/// Names one backend operation of a task. It comes back with the operation's completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpId {
    /// The task.
    pub task: Key,
    /// Which of the task's operations: its place in the task's table of bursts.
    pub part: u8,
}

impl OpId {
    /// The name as 64 bits: part, generation and slot from the top. Slots have 24 bits, which
    /// is more than a reactor has tasks.
    pub const fn to_bits(self) -> u64 {
        debug_assert!(self.task.index < 1 << 24);
        (self.part as u64) << 56 | (self.task.generation as u64) << 24 | self.task.index as u64
    }

    /// The name that [`Self::to_bits`] made these bits from.
    #[expect(clippy::cast_possible_truncation, reason = "the masks and shifts keep what fits")]
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            task: Key { index: (bits & 0xff_ffff) as u32, generation: (bits >> 24) as u32 },
            part: (bits >> 56) as u8,
        }
    }
}

/// The kinds of command that statistics tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// READ (6), (10), (12), (16).
    Read,
    /// WRITE, WRITE AND VERIFY and ORWRITE.
    Write,
    /// SYNCHRONIZE CACHE.
    Flush,
    /// UNMAP and WRITE SAME.
    Space,
    /// COMPARE AND WRITE and VERIFY.
    Compare,
    /// All other commands.
    Other,
}

impl Operation {
    /// All kinds, in the order of [`Self::index`].
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::Flush, Self::Space, Self::Compare, Self::Other];

    /// The kind's place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The kind's name to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Space => "space",
            Self::Compare => "compare",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_way_through_64_bits() {
        let id = OpId { task: Key { index: 0xab_cdef, generation: 0xfedc_ba98 }, part: 0x7f };
        assert_eq!(id.to_bits(), 0x7ffe_dcba_98ab_cdef);
        assert_eq!(OpId::from_bits(0x7ffe_dcba_98ab_cdef), id);
    }
}
