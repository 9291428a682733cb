//! Volumes and the catalog of targets, LUNs and access rules, as immutable values.
//!
//! A [`Catalog`] is one generation of what this node serves. It is built by the control thread,
//! checked once, and shared by all reactors; a change makes a new one.

mod catalog;
mod geometry;
mod map;
mod request;
mod volume_record;

pub use catalog::{
    Access, Catalog, CatalogFault, Chap, ChapSecret, LunMapping, Portal, TargetRecord,
};
pub use geometry::{ByteRange, Geometry};
pub use map::RangeSet;
pub use request::{BlockRequest, SpaceChange};
pub use volume_record::{Capabilities, Naa, VolumeRecord, Wwid};
