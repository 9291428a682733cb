//! The only source of chance: one seed, one run.

/// A generator of numbers that a seed determines wholly (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed ^ 0x5851_f42d_4c95_7f2d }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Any byte.
    pub(crate) const fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A number below `n`; 0 where `n` is 0.
    pub(crate) const fn below(&mut self, n: u64) -> u64 {
        let number = self.next();
        if n == 0 { 0 } else { number % n }
    }

    /// A number from `low` to `high`, both included.
    pub(crate) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in so many of a thousand cases.
    pub(crate) const fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A place in a list of `len`.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        size(self.below(len as u64))
    }

    /// One of a list, which is not empty.
    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.place(list.len())]
    }

    /// One of a list of choices with weights.
    pub(crate) fn weighted<T: Copy>(&mut self, list: &[(u64, T)]) -> Option<T> {
        let total = list.iter().map(|(w, _)| w).sum();
        let mut left = self.below(total);
        list.iter().find_map(|&(weight, choice)| {
            if left < weight {
                return Some(choice);
            }
            left -= weight;
            None
        })
    }
}

/// A number as a size in memory; the simulator has no larger ones.
#[track_caller]
pub(crate) fn size(n: impl TryInto<usize>) -> usize {
    fits(n)
}

/// A number as 32 bits; the simulator has no larger ones where it says so.
#[track_caller]
pub(crate) fn word(n: impl TryInto<u32>) -> u32 {
    fits(n)
}

/// A number as 8 bits; the simulator has no larger ones where it says so.
#[track_caller]
pub(crate) fn byte(n: impl TryInto<u8>) -> u8 {
    fits(n)
}

#[track_caller]
fn fits<N: TryInto<T>, T>(n: N) -> T {
    match n.try_into() {
        Ok(fits) => fits,
        Err(_) => panic!("the simulator made a number that is too large for its place"),
    }
}
