//! The keys of `[[volume]]` and `[[target]]` as tables: what a change of each means.
//! [`super::raw`] has their types, [`super::volumes`] and [`super::targets`] their checks.

use super::key::Applies;
use super::values::size_text;
use super::{LunConfig, TargetConfig, VolumeConfig};
use volume::{Access, Chap, ChapSecret};

/// One key, apart from the name, which identifies the volume or target.
#[derive(Debug)]
pub(crate) struct ObjectKey<T: 'static> {
    /// Its name.
    pub(crate) name: &'static str,
    /// When a change takes effect for a volume or target that is served.
    pub(crate) applies: Applies,
    /// Whether its values differ.
    pub(crate) differs: fn(&T, &T) -> bool,
    /// Its value for people.
    pub(crate) shown: fn(&T) -> String,
}

use Applies::{AtOnce, AtRestart, Never};

/// The keys of `[[volume]]`.
#[rustfmt::skip]
pub(crate) static VOLUME_KEYS: [ObjectKey<VolumeConfig>; 8] = [
    key("kind", Never, |old, new| old.kind != new.kind, |v| v.kind.name().into()),
    key("path", AtRestart, |old, new| old.path != new.path, path),
    key("size", Never, |old, new| old.size_bytes != new.size_bytes, size),
    key("block_size", Never, |old, new| old.block_size != new.block_size,
        |v| v.block_size.bytes().to_string()),
    key("read_only", AtRestart, |old, new| old.read_only != new.read_only,
        |v| v.read_only.to_string()),
    key("write_cache", AtRestart, |old, new| old.write_cache != new.write_cache,
        |v| v.write_cache.map_or_else(|| "detected".into(), |on| on.to_string())),
    // It decides whether a volume may begin; afterwards it means nothing.
    key("adopt", AtOnce, |old, new| old.adopt != new.adopt, |v| v.adopt.to_string()),
    key("whole_blocks", AtRestart, |old, new| old.whole_blocks != new.whole_blocks,
        |v| v.whole_blocks.to_string()),
];

/// The keys of `[[target]]`.
#[rustfmt::skip]
pub(crate) static TARGET_KEYS: [ObjectKey<TargetConfig>; 6] = [
    key("alias", AtOnce, |old, new| old.alias != new.alias,
        |t| t.alias.as_ref().map_or_else(|| "none".into(), |alias| format!("{alias:?}"))),
    key("portal_group", AtOnce, |old, new| old.portal_group != new.portal_group,
        |t| t.portal_group.to_string()),
    key("luns", AtOnce, |old, new| old.luns != new.luns, luns),
    key("initiators", AtOnce, |old, new| old.access != new.access, initiators),
    key("chap", AtOnce, |old, new| initiator_of(old) != initiator_of(new),
        |t| chap_text(initiator_of(t))),
    key("mutual_chap", AtOnce, |old, new| target_of(old) != target_of(new),
        |t| chap_text(target_of(t))),
];

const fn key<T>(
    name: &'static str,
    applies: Applies,
    differs: fn(&T, &T) -> bool,
    shown: fn(&T) -> String,
) -> ObjectKey<T> {
    ObjectKey { name, applies, differs, shown }
}

fn path(volume: &VolumeConfig) -> String {
    let path = volume.path.as_ref().map(|path| path.display().to_string());
    path.unwrap_or_else(|| "in the state directory".into())
}

fn size(volume: &VolumeConfig) -> String {
    volume.size_bytes.map_or_else(|| "that of the file or device".into(), size_text)
}

fn luns(target: &TargetConfig) -> String {
    let read_only = |lun: &LunConfig| if lun.read_only { " (read-only)" } else { "" };
    let luns = target.luns.iter();
    let luns: Vec<_> =
        luns.map(|(number, lun)| format!("{number} = {}{}", lun.volume, read_only(lun))).collect();
    if luns.is_empty() { "none".into() } else { luns.join(", ") }
}

fn initiators(target: &TargetConfig) -> String {
    match &target.access {
        Access::Any => "any".into(),
        Access::Initiators(names) => names.join(", "),
    }
}

/// The name; the secret is not for people.
pub(super) fn chap_text(chap: Option<&ChapSecret>) -> String {
    chap.map_or_else(|| "none".into(), |chap| format!("name {:?}", chap.name))
}

fn initiator_of(target: &TargetConfig) -> Option<&ChapSecret> {
    target.chap.as_ref().map(|chap: &Chap| &chap.initiator)
}

fn target_of(target: &TargetConfig) -> Option<&ChapSecret> {
    target.chap.as_ref().and_then(|chap| chap.target.as_ref())
}
