//! Commands that did not end with GOOD, by kind of command and reason.

use shard::{CommandFault, Operation};

/// How many commands of each kind failed for which reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    counts: [[u64; CommandFault::ALL.len()]; Operation::ALL.len()],
}

impl Faults {
    pub(super) const fn add(&mut self, operation: Operation, fault: CommandFault, count: u64) {
        let counter = &mut self.counts[operation.index()][fault.index()];
        *counter = counter.saturating_add(count);
    }

    /// Those that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (Operation, CommandFault, u64)> {
        Operation::ALL.into_iter().zip(self.counts).flat_map(|(operation, counts)| {
            let counts = CommandFault::ALL.into_iter().zip(counts);
            counts
                .filter(|(_, count)| *count > 0)
                .map(move |(fault, count)| (operation, fault, count))
        })
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    pub(super) fn since(mut self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub);
        self
    }

    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        let theirs = other.counts.iter().flatten();
        for (mine, theirs) in self.counts.iter_mut().flatten().zip(theirs) {
            *mine = with(*mine, *theirs);
        }
    }
}
