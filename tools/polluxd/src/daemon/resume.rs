//! What a start does with what an earlier daemon did not come to the end of.

use super::deletion::Stuck;
use crate::config::Config;
use crate::settings::Loaded;
use crate::state::{Creation, Removal, StateDir};
use crate::storage::path_of;
use control_api::VolumeKind;
use std::path::Path;

/// Frees the names of volumes whose deletion an earlier daemon did not come to the end of; the
/// rest of it can be done while this one serves. The notes belong to the node's own catalog: a
/// master file says nothing of what that has dropped.
pub(super) fn resume_removals(state: &StateDir, loaded: &Loaded) -> (Vec<Removal>, Stuck) {
    let (mut resumed, mut stuck) = (Vec::new(), Stuck::default());
    if loaded.is_master {
        return (resumed, stuck);
    }
    let (removals, notes) = removals(state);
    stuck.notes = notes;
    for removal in removals {
        let is_in_catalog = loaded.config.volumes.iter().any(|v| v.name == removal.volume);
        let result = if removal.is_decided(is_in_catalog, state) {
            let result = removal.resume(state, is_file_taken(&removal, &loaded.config, state));
            result.map(|()| resumed.push(removal.clone()))
        } else {
            removal.forget(state)
        };
        if let Err(error) = result {
            stuck.removals.push((removal, error.to_string()));
        }
    }
    (resumed, stuck)
}

/// The deletions that are noted, and what is wrong with notes that cannot be read.
pub(super) fn removals(state: &StateDir) -> (Vec<Removal>, Vec<String>) {
    Removal::all(state).unwrap_or_else(|error| {
        let directory = state.volume_dir();
        let fault =
            format!("cannot look for unfinished deletions in {}: {error}", directory.display());
        (Vec::new(), vec![fault])
    })
}

/// Whether the file of a deleted volume is that of another one now. May block.
pub(super) fn is_file_taken(removal: &Removal, config: &Config, state: &StateDir) -> bool {
    let Some(file) = &removal.file else { return false };
    let mut volumes = config.volumes.iter();
    volumes.any(|v| v.kind == VolumeKind::File && is_at(file, &path_of(v, state)))
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
