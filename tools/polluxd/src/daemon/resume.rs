//! What a start does with what an earlier daemon did not come to the end of.

use crate::settings::Loaded;
use crate::state::{Creation, Removal, StateDir};
use crate::storage::path_of;
use control_api::VolumeKind;
use std::path::Path;

/// Frees the names of volumes whose deletion an earlier daemon did not come to the end of; the
/// rest of it can be done while this one serves. The notes belong to the node's own catalog: a
/// master file says nothing of what that has dropped.
pub(super) fn resume_removals(
    state: &StateDir,
    loaded: &Loaded,
    warnings: &mut Vec<String>,
) -> Vec<Removal> {
    if loaded.is_master {
        return Vec::new();
    }
    let (removals, faults) = match Removal::all(state) {
        Ok(found) => found,
        Err(error) => {
            let directory = state.volume_dir();
            let fault =
                format!("cannot look for unfinished deletions in {}: {error}", directory.display());
            (Vec::new(), vec![fault])
        }
    };
    warnings.extend(faults);
    let mut resumed = Vec::new();
    for removal in removals {
        let mut volumes = loaded.config.volumes.iter();
        let is_in_catalog = volumes.clone().any(|v| v.name == removal.volume);
        let is_file_taken = volumes.any(|v| {
            v.kind == VolumeKind::File
                && removal.file.as_ref().is_some_and(|file| is_at(file, &path_of(v, state)))
        });
        let result = if removal.is_decided(is_in_catalog, state) {
            removal.resume(state, is_file_taken).map(|()| resumed.push(removal.clone()))
        } else {
            removal.forget(state)
        };
        if let Err(error) = result {
            let volume = &removal.volume;
            warnings.push(format!("cannot resume the deletion of volume {volume}: {error}"));
        }
    }
    resumed
}

/// Whether a path leads to a file, whose own path has no symbolic links where it was deleted.
fn is_at(file: &Path, path: &Path) -> bool {
    file == path || path.canonicalize().is_ok_and(|path| path == file)
}

/// Removes what is left of volumes that were being created when an earlier daemon ended. The notes
/// belong to the node's own catalog, as above.
pub(super) fn resume_creations(state: &StateDir, loaded: &Loaded, warnings: &mut Vec<String>) {
    if loaded.is_master {
        return;
    }
    let (creations, faults) = match Creation::all(state) {
        Ok(found) => found,
        Err(error) => {
            let directory = state.creation_dir();
            let what = "cannot look for unfinished creations in";
            (Vec::new(), vec![format!("{what} {}: {error}", directory.display())])
        }
    };
    warnings.extend(faults);
    for creation in creations {
        let volume = &creation.volume;
        let is_in_catalog = loaded.config.volumes.iter().any(|v| v.name == *volume);
        let result = if !is_in_catalog {
            creation.undo(state).and_then(|()| creation.forget(state))
        } else if matches!(state.record(volume), Ok(None)) {
            // It is created when it can be.
            Ok(())
        } else {
            creation.forget(state)
        };
        if let Err(error) = result {
            warnings
                .push(format!("cannot undo the unfinished creation of volume {volume}: {error}"));
        }
    }
}
