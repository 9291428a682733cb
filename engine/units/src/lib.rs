//! Value types and limits that every layer of Pollux shares.
//!
//! Nothing here does I/O, reads a clock or allocates on the data path. Counts, addresses and
//! identifiers that must not be mixed up are distinct types; conversions are named functions.

mod blocks;
mod buffer;
mod ids;
mod lengths;
pub mod limits;
mod mutant;
mod serial;
mod slab;
mod time;

pub use blocks::{BlockCount, BlockSize, Lba};
pub use buffer::{BufId, BufSlice, HEAD_ROOM, PoolLayout, SizeClass};
pub use ids::{ConnId, Lun, ReactorId, VolumeId};
pub use lengths::{len_u8, len_u16, len_u32, len_u64, len_usize, saturating_u32};
pub use mutant::Mutant;
pub use serial::Serial32;
pub use slab::{Key, Slab};
pub use time::{Instant, nanoseconds};
