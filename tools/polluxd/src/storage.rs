//! From a configured volume to one that is served: found or made, checked against its record,
//! opened.
//!
//! A volume that is not what its record says is refused by name; the others are served. The
//! identity of a volume is made here, once.

mod fault;
mod open;
mod origin;
mod table;

pub(crate) use fault::{NotServed, Retry, VolumeFault};
pub(crate) use open::{IN_USE_TIME_MAX, Identity, path_of};
pub(crate) use origin::{Occasion, Origin, settle, withdraw};
pub(crate) use table::{Outcome, Planned, Volume, VolumeTable, not_served, try_open};

#[cfg(test)]
mod tests;
