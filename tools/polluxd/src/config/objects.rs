//! The keys of `[[volume]]` and `[[target]]` as tables: what a change of each means.
//! [`super::raw`] has their types, [`super::volumes`] and [`super::targets`] their checks.

use super::key::Applies;
use super::{TargetConfig, VolumeConfig};
use volume::{Chap, ChapSecret};

/// One key, apart from the name, which identifies the volume or target.
#[derive(Debug)]
pub(crate) struct ObjectKey<T: 'static> {
    /// Its name.
    pub(crate) name: &'static str,
    /// When a change takes effect for a volume or target that is served.
    pub(crate) applies: Applies,
    /// Whether its values differ.
    pub(crate) differs: fn(&T, &T) -> bool,
}

use Applies::{AtOnce, AtRestart, Never};

/// The keys of `[[volume]]`.
#[rustfmt::skip]
pub(crate) static VOLUME_KEYS: [ObjectKey<VolumeConfig>; 7] = [
    key("kind", Never, |old, new| old.kind != new.kind),
    key("path", AtRestart, |old, new| old.path != new.path),
    key("size", Never, |old, new| old.size_bytes != new.size_bytes),
    key("block_size", Never, |old, new| old.block_size != new.block_size),
    key("read_only", AtRestart, |old, new| old.read_only != new.read_only),
    key("write_cache", AtRestart, |old, new| old.write_cache != new.write_cache),
    // It decides whether a volume may begin; afterwards it means nothing.
    key("adopt", AtOnce, |old, new| old.adopt != new.adopt),
];

/// The keys of `[[target]]`.
#[rustfmt::skip]
pub(crate) static TARGET_KEYS: [ObjectKey<TargetConfig>; 6] = [
    key("alias", AtOnce, |old, new| old.alias != new.alias),
    key("portal_group", AtOnce, |old, new| old.portal_group != new.portal_group),
    key("luns", AtOnce, |old, new| old.luns != new.luns),
    key("initiators", AtOnce, |old, new| old.access != new.access),
    key("chap", AtOnce, |old, new| initiator_of(old) != initiator_of(new)),
    key("mutual_chap", AtOnce, |old, new| target_of(old) != target_of(new)),
];

const fn key<T>(name: &'static str, applies: Applies, differs: fn(&T, &T) -> bool) -> ObjectKey<T> {
    ObjectKey { name, applies, differs }
}

fn initiator_of(target: &TargetConfig) -> Option<&ChapSecret> {
    target.chap.as_ref().map(|chap: &Chap| &chap.initiator)
}

fn target_of(target: &TargetConfig) -> Option<&ChapSecret> {
    target.chap.as_ref().and_then(|chap| chap.target.as_ref())
}
