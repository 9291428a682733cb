//! Whether a volume is a new one: who names it, and what is known of one of its name.

use super::VolumeFault;
use super::open::path_of;
use crate::config::VolumeConfig;
use crate::state::{Creation, FileId, Record, StateDir, hex};
use control_api::VolumeKind;
use std::path::Path;

/// Who names a volume that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The administrator's file. Records and marks tell whether the volume is new.
    MasterFile,
    /// `volume create`. A volume of the name that existed before comes back only if the caller
    /// says so.
    Creation,
    /// A file that the node's own catalog is about to take over.
    NewInCatalog,
    /// The node's own catalog. The volume was created before it got there: without a record, it was
    /// lost. Only somebody who applies a configuration now can say that its file is to be adopted.
    Catalog { is_applied: bool },
}

/// A volume file that is served.
#[derive(Clone, Debug)]
pub(crate) struct ServedFile {
    pub(super) volume: String,
    pub(super) file: FileId,
}

/// What opening a volume depends on besides its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Occasion {
    pub(crate) origin: Origin,
    /// The files of other volumes.
    pub(crate) served: Vec<ServedFile>,
}

impl Occasion {
    /// A volume of the configuration that a daemon starts with, or follows since.
    pub(crate) const fn of_followed(is_master: bool) -> Self {
        let origin =
            if is_master { Origin::MasterFile } else { Origin::Catalog { is_applied: false } };
        Self { origin, served: Vec::new() }
    }

    /// The record of a volume; `None` for one that is to be created.
    pub(super) fn identify(
        &self,
        config: &VolumeConfig,
        state: &StateDir,
    ) -> Result<Option<Record>, VolumeFault> {
        let name = &config.name;
        let (path, mark) = (state.record_path(name), state.mark_path(name));
        if let Some(record) = state.record(name)? {
            if self.origin == Origin::MasterFile {
                // It is in use, whatever the node's own catalog says later.
                settle(&Creation::new(name, None), state);
            }
            return if self.origin == Origin::Creation && !config.adopt {
                Err(VolumeFault::ExistedBefore { record: path, wwid: hex(record.wwid.naa.bytes()) })
            } else {
                Ok(Some(record))
            };
        }
        match self.origin {
            Origin::Creation | Origin::MasterFile | Origin::NewInCatalog => {
                if state.was_made(name) {
                    return Err(VolumeFault::RecordMissing { record: path, mark });
                }
            }
            Origin::Catalog { is_applied } => {
                let is_given_up = is_applied && config.adopt;
                if !is_given_up && !state.creation_path(name).exists() {
                    let file = path_of(config, state);
                    return Err(VolumeFault::Lost { record: path, file });
                }
            }
        }
        Ok(None)
    }

    /// Whether the file of a volume without a record may be created.
    pub(super) fn may_create(&self, config: &VolumeConfig, state: &StateDir) -> bool {
        let is_in_catalog = match self.origin {
            Origin::Creation | Origin::MasterFile | Origin::NewInCatalog => false,
            Origin::Catalog { .. } => true,
        };
        let is_noted = || state.creation_path(&config.name).exists();
        config.kind == VolumeKind::File && (!is_in_catalog || is_noted())
    }

    /// A file that is served is not waited for.
    pub(super) fn refuse_served(&self, path: &Path) -> Result<(), VolumeFault> {
        if self.served.is_empty() {
            return Ok(());
        }
        // What cannot be looked at cannot be opened either, which has words of its own.
        let found = FileId::at(path).ok().flatten();
        let other = self.served.iter().find(|served| Some(served.file) == found);
        other.map_or(Ok(()), |other| {
            Err(VolumeFault::Served { path: path.to_owned(), volume: other.volume.clone() })
        })
    }

    /// Whether a note says that the volume is being created.
    const fn has_note(&self) -> bool {
        match self.origin {
            Origin::Creation | Origin::NewInCatalog | Origin::Catalog { .. } => true,
            // That file is the administrator's, and says nothing about what was created.
            Origin::MasterFile => false,
        }
    }

    /// Notes that a volume is being created, with the file that is made for it.
    pub(super) fn begin(
        &self,
        config: &VolumeConfig,
        file: Option<&Path>,
        state: &StateDir,
    ) -> Result<Creation, VolumeFault> {
        let creation = Creation::new(&config.name, file.map(Path::to_owned));
        if self.has_note() {
            creation.note(state).map_err(|source| VolumeFault::Step {
                step: "note the creation of the volume in",
                path: state.creation_dir(),
                source,
            })?;
        }
        Ok(creation)
    }

    /// Removes what was made of a volume that cannot be served. The catalog may name the volume,
    /// and then the note says that it was not created yet. What cannot be removed now is removed
    /// at the next start.
    pub(super) fn abandon(&self, creation: &Creation, state: &StateDir) {
        let undone = creation.undo(state).and_then(|()| match self.origin {
            Origin::Creation => creation.forget(state),
            Origin::NewInCatalog | Origin::Catalog { .. } => {
                Creation::new(&creation.volume, None).note(state)
            }
            Origin::MasterFile => Ok(()),
        });
        if let Err(error) = undone {
            let volume = &creation.volume;
            tracing::warn!(volume, %error, "cannot remove what is left of a failed creation");
        }
    }

    /// The volume is created. Returns what is pending until the catalog names it.
    pub(super) fn complete(&self, creation: Creation, state: &StateDir) -> Option<Creation> {
        match self.origin {
            Origin::Creation | Origin::MasterFile | Origin::NewInCatalog => Some(creation),
            Origin::Catalog { .. } => {
                settle(&creation, state);
                None
            }
        }
    }
}

/// The catalog names a volume that was created.
pub(crate) fn settle(creation: &Creation, state: &StateDir) {
    if let Err(error) = creation.forget(state) {
        // A note of a volume that the catalog names does no harm, and goes at the next start.
        tracing::debug!(volume = creation.volume, %error, "cannot remove the note of a creation");
    }
}

/// The catalog does not get a volume that was created for it.
pub(crate) fn withdraw(creation: &Creation, state: &StateDir) {
    if let Err(error) = creation.undo(state).and_then(|()| creation.forget(state)) {
        let volume = &creation.volume;
        tracing::warn!(volume, %error, "cannot remove what is left of a volume that was withdrawn");
    }
}
