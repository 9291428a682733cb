//! Deleting volumes: what is left to do once the catalog has forgotten them.

use super::super::apply::Deleted;
use super::super::change::Change;
use super::super::deletion::{Next, Released, Stuck, release};
use super::super::resume::{is_file_taken, removals};
use super::{Completion, Operations, Work};
use crate::operation::{Claims, OperationId};
use crate::state::Removal;
use reactor::ClosedVolume;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use units::limits::OPEN_RETRY_INTERVAL;

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

    /// Takes in the deletions that an earlier daemon began and that cannot be gone on with now.
    pub(in super::super) fn keep_stuck(&mut self, stuck: Stuck) {
        self.stuck = stuck;
        self.stuck_until = (!self.stuck.is_empty()).then(|| Instant::now() + OPEN_RETRY_INTERVAL);
    }

    /// What deleted volumes have left behind, for people.
    pub(in super::super) fn left_behind(&self) -> Vec<String> {
        self.stuck.warnings().collect()
    }

    /// Tries deletions again that are stuck, where it is time for that.
    pub(in super::super) fn resume_removals(&mut self, now: Instant) {
        if self.is_ending || self.stuck_until.take_if(|at| *at <= now).is_none() {
            return;
        }
        if !self.stuck.notes.is_empty() {
            let ground = Arc::clone(&self.ground);
            self.workers.files.run(move || Completion::Noted(removals(&ground.state).1));
        }
        for (removal, error) in std::mem::take(&mut self.stuck.removals) {
            if let Err(refusal) = self.begin(Change::Resume(removal.clone())) {
                tracing::debug!(volume = removal.volume, %refusal, "not tried again yet");
                self.stuck.removals.push((removal, error));
            }
        }
        // An attempt that fails puts its removal back, and sets the time anew.
        self.stuck_until = (!self.stuck.is_empty()).then(|| now + OPEN_RETRY_INTERVAL);
    }

    /// The operation that goes on with a deletion waits for no other one any more.
    pub(super) fn resume_stuck(&mut self, id: OperationId) {
        let Some(Change::Resume(removal)) = self.work(id).change.take() else {
            unreachable!("operation {} goes on with nothing", id.0)
        };
        self.table.run(id, "releasing the name");
        let (ground, followed) = (Arc::clone(&self.ground), Arc::clone(&self.followed));
        self.workers.files.run(move || {
            let is_taken = is_file_taken(&removal, &followed.loaded.config, &ground.state);
            let result = removal.resume(&ground.state, is_taken);
            Completion::Resumed { id, removal, result }
        });
    }

    pub(super) fn resumed(&mut self, id: OperationId, removal: Removal, result: io::Result<()>) {
        if let Err(error) = result {
            self.stuck.removals.push((removal, error.to_string()));
            self.stuck_until = Some(Instant::now() + OPEN_RETRY_INTERVAL);
            return self.forget(id);
        }
        tracing::info!("the deletion of volume {} goes on", removal.volume);
        self.deletions.resume(id, &removal);
        self.released(id, Released { removal, left: None, result: Ok(()) });
    }

    pub(super) fn delete(&mut self, id: OperationId, name: String, deleted: Deleted) {
        let (left, file) = (deleted.left.clone(), deleted.file);
        if let Some(removal) = self.deletions.begin(id, name, deleted) {
            let ground = Arc::clone(&self.ground);
            self.workers.files.run(move || {
                let released = release(removal, left, file, &ground.state);
                Completion::Released { id, released }
            });
        }
        self.go_on_deleting(id);
    }

    pub(super) fn released(&mut self, id: OperationId, released: Released) {
        let Released { removal, left, result } = released;
        self.deletions.leave(id, left);
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
