//! Deleting volumes: what is left to do once the catalog has forgotten them.

use super::super::apply::Deleted;
use super::super::deletion::Next;
use super::{Completion, Operations, Work};
use crate::operation::{Claims, OperationId};
use crate::state::Removal;
use reactor::ClosedVolume;
use std::io;
use std::sync::Arc;
use std::time::Instant;

impl Operations {
    /// Goes on with the deletion of a volume that an earlier daemon began.
    pub(in super::super) fn resume_removal(&mut self, removal: Removal) {
        let (claims, now) = (Claims::Nothing, Instant::now());
        let volume = removal.volume.clone();
        // At the start there are no others.
        let Some(id) = self.table.accept("volume.delete", volume, claims, now) else { return };
        self.work.insert(id, Work::new(None, &self.followed));
        self.deletions.resume(id, &removal);
        self.remove(id, removal);
    }

    pub(super) fn delete(&mut self, id: OperationId, name: String, deleted: Deleted) {
        if let Some(removal) = self.deletions.begin(id, name, deleted) {
            let ground = Arc::clone(&self.ground);
            self.workers.files.run(move || {
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
        self.table.release(id);
        self.remove(id, removal);
        self.start();
    }

    fn remove(&mut self, id: OperationId, removal: Removal) {
        let ground = Arc::clone(&self.ground);
        let job = move || Completion::Removed { id, result: removal.finish(&ground.state) };
        self.workers.files.run(job);
        self.go_on_deleting(id);
    }

    pub(super) fn removed(&mut self, id: OperationId, result: io::Result<()>) {
        self.deletions.removed(id, result);
        self.go_on_deleting(id);
    }

    pub(super) fn go_on_deleting(&mut self, id: OperationId) {
        match self.deletions.next(id) {
            Next::Wait(step) => self.table.run(id, step),
            Next::End(result) => self.end(id, result),
        }
    }

    /// Closes a volume that no reactor has open any more. The last close of a removed file frees
    /// its blocks, and that of a device writes its caches: both may take seconds.
    pub(in super::super) fn close(&mut self, closed: ClosedVolume) {
        self.workers.files.run(move || {
            let id = closed.id;
            drop(closed);
            Completion::Closed(id)
        });
    }
}
