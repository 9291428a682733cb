//! Mode parameters: what MODE SENSE reports and MODE SELECT changes (SPC-4, mode parameters).
//!
//! Three bits can change, so they are the whole state; everything else in the pages is fixed.
//! Nothing is saved: after a reset the default values are in force again.

mod pages;
mod select;
mod sense;

pub(crate) use select::select;
pub(crate) use sense::sense;

/// The mode parameters of one logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModePages {
    /// The values in force.
    pub current: ModeParameters,
    /// The values after a reset.
    pub default: ModeParameters,
    /// Whether MODE SELECT may switch the write cache.
    pub write_cache_changeable: bool,
}

/// The mode parameters that can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ModeParameters {
    /// WCE of the Caching page: GOOD for a write may come before it is durable.
    pub write_cache: bool,
    /// D_SENSE of the Control page: sense data in descriptor format.
    pub descriptor_sense: bool,
    /// SWP of the Control page: the unit refuses writes.
    pub software_write_protect: bool,
}

impl ModePages {
    /// Whether writes can ever sit in a volatile cache.
    pub(crate) fn has_volatile_cache(&self) -> bool {
        self.write_cache_changeable || self.current.write_cache || self.default.write_cache
    }

    /// The parameters that MODE SELECT may change, as a mask in their own shape.
    fn changeable(&self) -> ModeParameters {
        ModeParameters {
            write_cache: self.write_cache_changeable,
            descriptor_sense: true,
            software_write_protect: true,
        }
    }
}
