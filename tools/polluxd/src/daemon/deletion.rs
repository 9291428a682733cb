//! The rest of a deletion, once the catalog has dropped the volume: its name is freed, its file
//! removed, and its last close waited for.

use super::apply::Deleted;
use super::json;
use crate::operation::OperationId;
use crate::state::{FileId, Removal, StateDir};
use control_api::{ErrorCode, RpcError, VolumeDeleted};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use units::VolumeId;

/// The deletions that are under way.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    under_way: BTreeMap<OperationId, Deletion>,
    /// Those that wait until their volume is closed.
    closing: BTreeMap<VolumeId, OperationId>,
}

/// The rest of a deletion.
#[derive(Debug)]
struct Deletion {
    answer: VolumeDeleted,
    /// What is removed, as it is shown; `None` when that is done.
    removing: Option<String>,
    /// Reactors or a worker have it open still.
    is_open: bool,
    fault: Option<RpcError>,
}

/// What is removed, for people.
fn shown(removal: &Removal) -> String {
    match &removal.file {
        Some(file) => file.display().to_string(),
        None => format!("the record of volume {}", removal.volume),
    }
}

/// What has become of the name and the file of a deleted volume.
#[derive(Debug)]
pub(super) struct Released {
    pub(super) removal: Removal,
    /// The file or device that stays.
    pub(super) left: Option<PathBuf>,
    pub(super) result: io::Result<()>,
}

/// Frees the name of a deleted volume, whose file at `left`, if any, is to stay. `served` is the
/// file that it had. May block.
pub(super) fn release(
    mut removal: Removal,
    left: Option<PathBuf>,
    served: Option<FileId>,
    state: &StateDir,
) -> Released {
    let (left, result) = match removal.resolve(left, served, state) {
        Ok(left) => (left, removal.release(state)),
        Err(error) => (None, Err(error)),
    };
    Released { removal, left, result }
}

/// What the operation of a deletion does next.
#[derive(Debug)]
pub(super) enum Next {
    /// It waits for this.
    Wait(String),
    /// It ends.
    End(Result<Value, RpcError>),
}

/// Deletions of an earlier daemon that could not be gone on with at the start.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    /// With the reasons.
    pub(super) removals: Vec<(Removal, String)>,
    /// What is wrong with the notes that cannot be read.
    pub(super) notes: Vec<String>,
}

impl Stuck {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.notes.is_empty()
    }

    /// What is left behind, for people.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let removals = self.removals.iter().map(|(removal, error)| {
            format!("cannot resume the deletion of volume {}: {error}", removal.volume)
        });
        removals.chain(self.notes.iter().cloned())
    }
}

impl Deletions {
    /// Goes on with the deletion of a volume that an earlier daemon began.
    pub(super) fn resume(&mut self, id: OperationId, removal: &Removal) {
        let answer = VolumeDeleted { name: removal.volume.clone(), file_left: None };
        let removing = Some(shown(removal));
        let deletion = Deletion { answer, removing, is_open: false, fault: None };
        self.under_way.insert(id, deletion);
    }

    /// The catalog has dropped a volume. Returns what is to be removed of it.
    pub(super) fn begin(
        &mut self,
        id: OperationId,
        name: String,
        deleted: Deleted,
    ) -> Option<Removal> {
        let Deleted { served, removal, left, file: _ } = deleted;
        let file_left = left.map(|path| path.display().to_string());
        let deletion = Deletion {
            answer: VolumeDeleted { name, file_left },
            removing: removal.as_ref().map(shown),
            is_open: served.is_some(),
            fault: None,
        };
        self.under_way.insert(id, deletion);
        if let Some(volume) = served {
            self.closing.insert(volume, id);
        }
        removal
    }

    /// What stays of the volume is known.
    pub(super) fn leave(&mut self, id: OperationId, left: Option<PathBuf>) {
        self.deletion(id).answer.file_left = left.map(|path| path.display().to_string());
    }

    /// What was to be removed is gone, or cannot be removed.
    pub(super) fn removed(&mut self, id: OperationId, result: io::Result<()>) {
        let deletion = self.deletion(id);
        let removed = deletion.removing.take().unwrap_or_default();
        if let Err(error) = result {
            let name = &deletion.answer.name;
            let sentence =
                format!("volume {name} is deleted, but {removed} could not be removed: {error}");
            let fault = RpcError::new(ErrorCode::Environment, sentence).on(name);
            deletion.fault = Some(fault.hint("polluxd retries at its next start."));
        }
    }

    /// A volume is closed, and its blocks are free. Returns the operation that waited for that;
    /// volumes that a configuration dropped have none.
    pub(super) fn closed(&mut self, volume: VolumeId) -> Option<OperationId> {
        let id = self.closing.remove(&volume)?;
        self.deletion(id).is_open = false;
        Some(id)
    }

    /// What is next. A deletion that ends is forgotten.
    pub(super) fn next(&mut self, id: OperationId) -> Next {
        let deletion = self.deletion(id);
        if let Some(removed) = &deletion.removing {
            Next::Wait(format!("removing {removed}"))
        } else if deletion.is_open {
            Next::Wait("closing the volume".into())
        } else {
            let result = deletion.fault.take().map_or_else(|| json(&deletion.answer), Err);
            self.under_way.remove(&id);
            Next::End(result)
        }
    }

    fn deletion(&mut self, id: OperationId) -> &mut Deletion {
        let Some(deletion) = self.under_way.get_mut(&id) else {
            unreachable!("operation {} deletes no volume", id.0)
        };
        deletion
    }
}
