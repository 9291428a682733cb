//! The calls that change what the daemon follows, as operations.

use super::followed::Followed;
use super::reading::Contents;
use crate::operation::{Claims, Object};
use crate::state::{Removal, Space};
use control_api::{
    LunMap, LunUnmap, Method, TargetCreate, TargetDelete, TargetSet, VolumeCreate, VolumeDelete,
};
use std::path::PathBuf;

/// What an operation is to change.
#[derive(Debug)]
pub(super) enum Change {
    /// Follow the configuration in a file.
    Apply(Apply),
    /// Change a part of the node's own catalog.
    Edit(Edit),
    /// Serve these volumes of the configuration in force, which could not be opened before.
    Late(Vec<String>),
    /// Go on with a deletion of an earlier daemon that could not be gone on with at the start.
    Resume(Removal),
}

/// A configuration to follow.
#[derive(Debug)]
pub(super) struct Apply {
    /// Where it is.
    pub(super) file: PathBuf,
    /// What is in the file, once it was read.
    pub(super) contents: Option<Contents>,
    /// Report only what would change.
    pub(super) check_only: bool,
    /// Apply it even if nothing is served then.
    pub(super) force: bool,
}

/// A change of one volume or target.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    LunMap(LunMap),
    LunUnmap(LunUnmap),
    TargetCreate(TargetCreate),
    TargetDelete(TargetDelete),
    TargetSet(TargetSet),
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
            Self::Edit(Edit::TargetSet(_)) => TargetSet::NAME,
            Self::Edit(Edit::VolumeCreate(_)) => VolumeCreate::NAME,
            Self::Edit(Edit::VolumeDelete(_)) => VolumeDelete::NAME,
            Self::Late(_) => "volume.open",
            Self::Resume(_) => VolumeDelete::NAME,
        }
    }

    /// Whether it is to succeed while the file system of the state directory is full: what makes
    /// room is.
    pub(super) const fn space(&self) -> Space {
        match self {
            Self::Edit(Edit::LunUnmap(_) | Edit::TargetDelete(_) | Edit::VolumeDelete(_))
            | Self::Resume(_) => Space::Reserved,
            Self::Apply(_)
            | Self::Edit(
                Edit::LunMap(_)
                | Edit::TargetCreate(_)
                | Edit::TargetSet(_)
                | Edit::VolumeCreate(_),
            )
            | Self::Late(_) => Space::Free,
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
            | Self::Edit(Edit::TargetSet(TargetSet { name, .. }))
            | Self::Edit(Edit::VolumeCreate(VolumeCreate { name, .. }))
            | Self::Edit(Edit::VolumeDelete(VolumeDelete { name, .. })) => name.clone(),
            Self::Late(names) => names.join(", "),
            Self::Resume(removal) => removal.volume.clone(),
        }
    }

    /// What it is about. A LUN that goes is about its volume too: the volume can be deleted only
    /// then. A volume is about its file: a deletion may be about to remove it.
    pub(super) fn claims(&self, followed: &Followed) -> Claims {
        let target = |name: &str| Object::Target(name.to_ascii_lowercase());
        let volume = |name: &str| Object::Volume(name.to_owned());
        match self {
            // The file may be on a file system that does not answer: until it is read, it holds up
            // nothing.
            Self::Apply(Apply { contents: None, .. } | Apply { check_only: true, .. }) => {
                Claims::Nothing
            }
            Self::Apply(Apply { contents: Some(_), check_only: false, .. }) => Claims::Everything,
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
            Self::Edit(Edit::TargetSet(p)) => Claims::on([target(&p.name)]),
            Self::Edit(Edit::VolumeCreate(p)) => {
                let file = p.path.as_ref().map(|path| Object::File(followed.resolve(path)));
                Claims::on(file.into_iter().chain([volume(&p.name)]))
            }
            Self::Edit(Edit::VolumeDelete(p)) => {
                let file = followed.volumes.find(&p.name).and_then(|v| v.path.clone());
                Claims::on(file.map(Object::File).into_iter().chain([volume(&p.name)]))
            }
            Self::Late(names) => Claims::on(names.iter().map(|name| volume(name))),
            Self::Resume(removal) => {
                let file = removal.file.clone().map(Object::File);
                Claims::on(file.into_iter().chain([volume(&removal.volume)]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::followed::Ground;
    use super::super::identity;
    use super::*;
    use crate::settings::load_text;
    use crate::state::{StateDir, TargetPorts};
    use crate::storage::VolumeTable;
    use control_api::VolumeKind;

    fn create(name: &str, path: &str) -> Change {
        Change::Edit(Edit::VolumeCreate(VolumeCreate {
            name: name.into(),
            kind: VolumeKind::File,
            path: Some(path.into()),
            size: None,
            block_size: None,
            read_only: false,
            adopt: false,
        }))
    }

    /// The new volume could open the file just before the deletion of the old one renamed it.
    #[test]
    fn a_volume_is_made_of_a_file_only_after_the_deletion_that_removes_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let file = dir.path().join("a.raw");
        let text = format!(
            "[[volume]]\nname = \"a\"\nkind = \"file\"\nsize = \"1MiB\"\npath = {file:?}\n"
        );
        let loaded = load_text(&state.catalog_path(), false, &text).unwrap();
        let volumes = &loaded.config.volumes;
        let planned = VolumeTable::default().plan(volumes, &state, identity(None));
        let ground = Ground::new(state, Vec::new(), &loaded.config);
        let ports = TargetPorts::default();
        let (followed, _) = Followed::new(1, loaded, planned, ports, &ground).unwrap();
        let delete = VolumeDelete { name: "a".into(), remove_file: true };
        let delete = Change::Edit(Edit::VolumeDelete(delete)).claims(&followed);
        let claims = |path: &str| create("b", path).claims(&followed);
        assert!(claims(file.to_str().unwrap()).conflict(&delete));
        assert!(claims("../a.raw").conflict(&claims("../a.raw")));
        assert!(!claims("/elsewhere/a.raw").conflict(&delete));
    }
}
