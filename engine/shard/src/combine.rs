//! Work on the bytes of two buffers, as pure functions: the reactor has the bytes, and nothing
//! else of it knows what is done with them.

use crate::action::IoResult;

/// How two buffers of the same length are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    /// Find the first byte that differs. Nothing changes.
    Compare,
    /// OR the bits of the first into the second.
    Or,
}

impl Combination {
    /// Combines two buffers. What it makes of them is in `second` afterwards.
    pub fn apply(self, first: &[u8], second: &mut [u8]) -> IoResult {
        assert_eq!(first.len(), second.len(), "the shard combines slices of one length");
        match self {
            Self::Compare => compare(first, second),
            Self::Or => or(first, second),
        }
    }
}

fn compare(first: &[u8], second: &[u8]) -> IoResult {
    match first.iter().zip(second).position(|(a, b)| a != b) {
        Some(at) => match u32::try_from(at) {
            Ok(at) => IoResult::Differs { at },
            Err(_) => unreachable!("a buffer has at most BURST_LENGTH_MAX bytes"),
        },
        None => IoResult::Done,
    }
}

fn or(first: &[u8], second: &mut [u8]) -> IoResult {
    for (into, bits) in second.iter_mut().zip(first) {
        *into |= bits;
    }
    IoResult::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compare_names_the_first_byte_that_differs_and_changes_nothing() {
        let mut second = [1, 2, 4, 5];
        assert_eq!(
            Combination::Compare.apply(&[1, 2, 3, 3], &mut second),
            IoResult::Differs { at: 2 }
        );
        assert_eq!(Combination::Compare.apply(&[1, 2, 4, 5], &mut second), IoResult::Done);
        assert_eq!(second, [1, 2, 4, 5]);
    }

    #[test]
    fn or_sets_bits_and_clears_none() {
        let mut second = [0x00, 0x0f, 0x3c, 0xff];
        assert_eq!(Combination::Or.apply(&[0x81, 0xf0, 0x66, 0x00], &mut second), IoResult::Done);
        assert_eq!(second, [0x81, 0xff, 0x7e, 0xff]);
    }
}
