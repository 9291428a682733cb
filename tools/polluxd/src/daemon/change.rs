//! The calls that change what the daemon follows, as operations.

use super::followed::Followed;
use crate::operation::{Claims, Object};
use control_api::{
    LunMap, LunUnmap, Method, TargetCreate, TargetDelete, VolumeCreate, VolumeDelete,
};
use std::path::PathBuf;

/// What an operation is to change.
#[derive(Debug)]
pub(super) enum Change {
    /// Follow the configuration in a file.
    Apply(Apply),
    /// Change a part of the node's own catalog.
    Edit(Edit),
}

/// A configuration to follow.
#[derive(Debug)]
pub(super) struct Apply {
    /// Where it is.
    pub(super) file: PathBuf,
    /// What is in the file, once it was read.
    pub(super) text: String,
    /// Report only what would change.
    pub(super) check_only: bool,
}

/// A change of one volume or target.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    LunMap(LunMap),
    LunUnmap(LunUnmap),
    TargetCreate(TargetCreate),
    TargetDelete(TargetDelete),
    VolumeCreate(VolumeCreate),
    VolumeDelete(VolumeDelete),
}

impl Change {
    /// The method that makes it.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Apply(_) => control_api::ConfigApply::NAME,
            Self::Edit(Edit::LunMap(_)) => LunMap::NAME,
            Self::Edit(Edit::LunUnmap(_)) => LunUnmap::NAME,
            Self::Edit(Edit::TargetCreate(_)) => TargetCreate::NAME,
            Self::Edit(Edit::TargetDelete(_)) => TargetDelete::NAME,
            Self::Edit(Edit::VolumeCreate(_)) => VolumeCreate::NAME,
            Self::Edit(Edit::VolumeDelete(_)) => VolumeDelete::NAME,
        }
    }

    /// The volume, target or file.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Apply(apply) => apply.file.display().to_string(),
            Self::Edit(Edit::LunMap(LunMap { target: name, .. }))
            | Self::Edit(Edit::LunUnmap(LunUnmap { target: name, .. }))
            | Self::Edit(Edit::TargetCreate(TargetCreate { name, .. }))
            | Self::Edit(Edit::TargetDelete(TargetDelete { name }))
            | Self::Edit(Edit::VolumeCreate(VolumeCreate { name, .. }))
            | Self::Edit(Edit::VolumeDelete(VolumeDelete { name, .. })) => name.clone(),
        }
    }

    /// What it is about. A LUN that goes is about its volume too: the volume can be deleted only
    /// then.
    pub(super) fn claims(&self, followed: &Followed) -> Claims {
        let target = |name: &str| Object::Target(name.to_ascii_lowercase());
        let volume = |name: &str| Object::Volume(name.to_owned());
        match self {
            Self::Apply(Apply { check_only: true, .. }) => Claims::Nothing,
            Self::Apply(Apply { check_only: false, .. }) => Claims::Everything,
            Self::Edit(Edit::LunMap(p)) => Claims::on([target(&p.target), volume(&p.volume)]),
            Self::Edit(Edit::LunUnmap(p)) => {
                let mapped = followed.volumes_of(&p.target, Some(p.lun));
                Claims::on(mapped.map(volume).chain([target(&p.target)]))
            }
            Self::Edit(Edit::TargetCreate(p)) => Claims::on([target(&p.name)]),
            Self::Edit(Edit::TargetDelete(p)) => {
                let mapped = followed.volumes_of(&p.name, None);
                Claims::on(mapped.map(volume).chain([target(&p.name)]))
            }
            Self::Edit(Edit::VolumeCreate(p)) => Claims::on([volume(&p.name)]),
            Self::Edit(Edit::VolumeDelete(p)) => Claims::on([volume(&p.name)]),
        }
    }
}
