//! The bursts of one task: parts of its data, each with the buffer that holds it.

use units::{BufId, limits};

/// A part of a task's data with the buffer that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(crate) buf: BufId,
    /// A second buffer: what the medium holds, to combine with the first.
    pub(crate) second: Option<BufId>,
    /// Bytes from the start of the task's data.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// Bytes received so far.
    pub(crate) received: u32,
    pub(crate) step: Step,
}

/// What a burst is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// For data from the initiator.
    Collect,
    /// For the combination of `buf` with `second`.
    Combine,
    /// For the read of the medium.
    Read,
    /// For the range, to read back what was written.
    ReadBack,
    /// For its turn to be sent: Data-In goes out in order.
    Send,
    /// For the write to the medium.
    Write,
}

impl Burst {
    /// The second buffer of a burst whose work combines two.
    pub(crate) fn second(&self) -> BufId {
        match self.second {
            Some(second) => second,
            None => unreachable!("the second buffer is lent with the first"),
        }
    }
}

/// The bursts of one task, each in the part of the task that works on it.
#[derive(Debug)]
pub(crate) struct Bursts {
    parts: [Burst; limits::BURSTS_PER_TASK_MAX],
    /// One bit for each part that has a burst. Nearly every task has one, in part 0, so this is
    /// what is looked at.
    used: u8,
}

const _: () = assert!(limits::BURSTS_PER_TASK_MAX <= 8, "`used` has a bit for each part");

impl Bursts {
    const UNUSED: Burst =
        Burst { buf: BufId(0), second: None, offset: 0, len: 0, received: 0, step: Step::Collect };

    /// No burst.
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { parts: [Self::UNUSED; limits::BURSTS_PER_TASK_MAX], used: 0 }
    }

    /// How many there are.
    #[inline]
    pub(crate) const fn count(&self) -> u32 {
        self.used.count_ones()
    }

    /// Whether there is none.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The parts that have one now.
    #[inline]
    pub(crate) fn parts(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.used;
        std::iter::from_fn(move || {
            let part = (left != 0).then(|| left.trailing_zeros() as usize);
            left &= left.wrapping_sub(1);
            part
        })
    }

    /// The first part without a burst.
    #[inline]
    pub(crate) const fn free_part(&self) -> Option<usize> {
        let part = (!self.used).trailing_zeros() as usize;
        if part < limits::BURSTS_PER_TASK_MAX { Some(part) } else { None }
    }

    #[inline]
    const fn has(&self, part: usize) -> bool {
        self.used & (1 << part) != 0
    }

    /// The burst of a part.
    #[inline]
    pub(crate) fn get(&self, part: usize) -> Option<&Burst> {
        if self.has(part) { self.parts.get(part) } else { None }
    }

    /// The burst of a part, to change it.
    #[inline]
    pub(crate) fn get_mut(&mut self, part: usize) -> Option<&mut Burst> {
        if self.has(part) { self.parts.get_mut(part) } else { None }
    }

    /// Puts a burst into a part that has none.
    #[inline]
    pub(crate) fn put(&mut self, part: usize, burst: Burst) {
        assert!(!self.has(part), "part {part} has a burst");
        self.parts[part] = burst;
        self.used |= 1 << part;
    }

    /// Takes the burst of a part.
    #[inline]
    pub(crate) fn take(&mut self, part: usize) -> Option<Burst> {
        let burst = *self.get(part)?;
        self.used &= !(1 << part);
        Some(burst)
    }

    /// The part whose burst `is_one` chooses.
    #[inline]
    pub(crate) fn find(&self, is_one: impl Fn(&Burst) -> bool) -> Option<usize> {
        let mut left = self.used;
        while left != 0 {
            let part = left.trailing_zeros() as usize;
            if is_one(&self.parts[part]) {
                return Some(part);
            }
            left &= left - 1;
        }
        None
    }

    /// The part whose burst covers `offset` of the task's data.
    #[inline]
    pub(crate) fn covering(&self, offset: u32) -> Option<usize> {
        self.find(|burst| burst.offset <= offset && offset - burst.offset < burst.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_found_by_what_it_covers_until_it_is_taken() {
        let burst = |offset| Burst { offset, len: 512, ..Bursts::UNUSED };
        let mut bursts = Bursts::new();
        assert_eq!((bursts.free_part(), bursts.count()), (Some(0), 0));
        bursts.put(0, burst(0));
        bursts.put(2, burst(512));
        assert_eq!((bursts.free_part(), bursts.count()), (Some(1), 2));
        assert_eq!((bursts.covering(511), bursts.covering(512)), (Some(0), Some(2)));
        assert_eq!(bursts.take(2).map(|b| b.offset), Some(512));
        assert_eq!((bursts.covering(512), bursts.take(2).is_none()), (None, true));
        bursts.put(1, burst(1024));
        bursts.put(2, burst(1536));
        bursts.put(3, burst(2048));
        assert_eq!(bursts.free_part(), None);
    }
}
