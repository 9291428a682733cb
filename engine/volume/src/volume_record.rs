//! One volume: its name, its identity to the world, its shape, and what its backend can do.

use crate::Geometry;
use units::VolumeId;

/// What a backend can do, found out when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// A completed write may still be lost in a power cut until a flush (WCE of the Caching
    /// mode page).
    pub volatile_write_cache: bool,
    /// Blocks can be given back (UNMAP).
    pub unmap: bool,
    /// Unmapped blocks read as zeros (LBPRZ).
    pub reads_zero_after_unmap: bool,
    /// The unit in bytes in which blocks are given back; 0 where unknown.
    pub unmap_granularity_bytes: u32,
    /// The medium rotates; otherwise it is solid state (Block Device Characteristics VPD page).
    pub rotational: bool,
}

/// A name in the Network Address Authority format (SPC-4 7.8.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naa {
    /// NAA 3, locally assigned: 60 random bits.
    LocallyAssigned([u8; 8]),
    /// NAA 6, IEEE Registered Extended: an OUI and 100 bits of our own.
    RegisteredExtended([u8; 16]),
}

impl Naa {
    /// The designator's bytes as they go into VPD page 83h.
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::LocallyAssigned(b) => b,
            Self::RegisteredExtended(b) => b,
        }
    }
}

/// A volume's identity to initiators: made with the volume, never changed, never derived from
/// a name, a host or an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wwid {
    /// The logical unit's designator.
    pub naa: Naa,
    /// The unit serial number (VPD page 80h): printable ASCII.
    pub serial: String,
}

/// One volume of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Its place in the catalog.
    pub id: VolumeId,
    /// Its name to administrators.
    pub name: String,
    /// Its identity to initiators.
    pub wwid: Wwid,
    /// Its shape.
    pub geometry: Geometry,
    /// What the backend can do.
    pub capabilities: Capabilities,
    /// The file system or block device that it is on: what hangs as one. `None` where it shares its
    /// fate with no other volume.
    pub device: Option<u64>,
    /// Writes are refused with DATA PROTECT.
    pub read_only: bool,
}
