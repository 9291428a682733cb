//! Keys as the 64-bit tokens that come back with completions.

use units::Key;

/// The token of a key.
pub(crate) const fn token_of(key: Key) -> u64 {
    (key.generation as u64) << 32 | key.index as u64
}

/// The key that a token was made of.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the token")]
pub(crate) const fn key_of_token(token: u64) -> Key {
    Key { index: token as u32, generation: (token >> 32) as u32 }
}
