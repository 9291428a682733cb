//! The rest of a deletion, once the catalog has dropped the volume: its name is freed, its file
//! removed, and its last close waited for.

use super::apply::Deleted;
use super::operations::{Completion, Work};
use super::{Daemon, json};
use crate::operation::{Claims, OperationId};
use crate::state::Removal;
use control_api::{ErrorCode, RpcError, VolumeDeleted};
use reactor::ClosedVolume;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use units::VolumeId;

/// The rest of a deletion.
#[derive(Debug)]
pub(super) struct Deletion {
    answer: VolumeDeleted,
    /// What is removed, as it is shown; `None` when that is done.
    removing: Option<String>,
    /// Reactors or a worker have it open still.
    is_open: bool,
    fault: Option<RpcError>,
}

impl Daemon {
    /// Goes on with the deletion of a volume that an earlier daemon began.
    pub(super) fn resume_removal(&mut self, removal: Removal) {
        let (claims, now) = (Claims::Nothing, Instant::now());
        let volume = removal.volume.clone();
        // At the start there are no others.
        let Some(id) = self.operations.accept("volume.delete", volume, claims, now) else { return };
        let answer = VolumeDeleted { name: removal.volume.clone(), file_left: None };
        let removing = removal.file.as_deref().map(|file| file.display().to_string());
        let deletion = Deletion { answer, removing, is_open: false, fault: None };
        let mut work = Work::new(None);
        work.deletion = Some(deletion);
        self.work.insert(id, work);
        self.remove(id, removal);
    }

    pub(super) fn delete(&mut self, id: OperationId, name: String, deleted: Deleted) {
        let Deleted { served, removal, file_left } = deleted;
        let shown = |removal: &Removal| match &removal.file {
            Some(file) => file.display().to_string(),
            None => format!("the record of volume {}", removal.volume),
        };
        self.work(id).deletion = Some(Deletion {
            answer: VolumeDeleted { name, file_left },
            removing: removal.as_ref().map(shown),
            is_open: served.is_some(),
            fault: None,
        });
        if let Some(volume) = served {
            self.closing.insert(volume, id);
        }
        if let Some(removal) = removal {
            let ground = Arc::clone(&self.ground);
            self.files.run(move || {
                let result = removal.release(&ground.state);
                Completion::Released { id, removal, result }
            });
        }
        self.go_on_deleting(id);
    }

    pub(super) fn released(&mut self, id: OperationId, removal: Removal, result: io::Result<()>) {
        if let Err(error) = result {
            return self.removed(id, Err(error));
        }
        // A new volume may have the name now.
        self.operations.release(id);
        self.remove(id, removal);
        self.start_operations();
    }

    fn remove(&mut self, id: OperationId, removal: Removal) {
        let ground = Arc::clone(&self.ground);
        self.files.run(move || Completion::Removed { id, result: removal.finish(&ground.state) });
        self.go_on_deleting(id);
    }

    pub(super) fn removed(&mut self, id: OperationId, result: io::Result<()>) {
        let deletion = self.deletion(id);
        let removed = deletion.removing.take().unwrap_or_default();
        if let Err(error) = result {
            let name = &deletion.answer.name;
            let sentence =
                format!("volume {name} is deleted, but {removed} could not be removed: {error}");
            let fault = RpcError::new(ErrorCode::Environment, sentence).on(name);
            deletion.fault = Some(fault.hint("polluxd tries again when it starts the next time."));
        }
        self.go_on_deleting(id);
    }

    fn go_on_deleting(&mut self, id: OperationId) {
        let deletion = self.deletion(id);
        if let Some(removed) = &deletion.removing {
            let step = format!("removing {removed}");
            self.operations.run(id, step);
        } else if deletion.is_open {
            self.operations.run(id, "closing the volume");
        } else {
            let result = deletion.fault.take().map_or_else(|| json(&deletion.answer), Err);
            self.end(id, result);
        }
    }

    fn deletion(&mut self, id: OperationId) -> &mut Deletion {
        let Some(deletion) = &mut self.work(id).deletion else {
            unreachable!("operation {} deletes no volume", id.0)
        };
        deletion
    }

    /// Closes a volume that no reactor has open any more. The last close of a removed file frees
    /// its blocks, and that of a device writes its caches: both may take seconds.
    pub(super) fn close(&mut self, closed: ClosedVolume) {
        self.files.run(move || {
            let id = closed.id;
            drop(closed);
            Completion::Closed(id)
        });
    }

    /// A volume is closed, and its blocks are free.
    pub(super) fn closed(&mut self, volume: VolumeId) {
        // Volumes that a configuration dropped have no operation any more.
        if let Some(id) = self.closing.remove(&volume) {
            self.deletion(id).is_open = false;
            self.go_on_deleting(id);
        }
    }
}
