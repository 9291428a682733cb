//! Volumes that could not be opened at the start or by a change: they are served when they can be.

use super::super::change::Change;
use super::super::retries::{Look, attempt};
use super::super::{identity, json};
use super::{Completion, Operations, Work};
use crate::operation::OperationId;
use crate::storage::{NotServed, Occasion, Outcome, Retry, not_served, try_open};
use control_api::{ErrorCode, RpcError, Volumes};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use units::limits::LATE_OPERATIONS_MAX;

impl Operations {
    /// All volumes.
    pub(in super::super) fn volume_list(&self, now: Instant) -> Volumes {
        self.followed.volume_list(&self.retries, now)
    }

    /// Which volumes are not served, and why, for people.
    pub(in super::super) fn not_served(&self) -> Vec<String> {
        self.retries.reasons().map(|(name, reason)| not_served(name, reason)).collect()
    }

    /// Volumes were opened that could not be opened before, and are served now or will not be. Why
    /// one is not was logged with the warnings of the configuration.
    pub(super) fn end_late(&mut self, id: OperationId, names: &[String]) {
        let mut result = json(&names);
        for name in names {
            match self.followed.volumes.find(name).map(|volume| &volume.served) {
                Some(Ok(_)) => tracing::info!("volume {name} is served now"),
                Some(Err(reason)) => {
                    let sentence = not_served(name, reason);
                    result = Err(RpcError::new(ErrorCode::Environment, sentence).on(name));
                    // It could be opened, but not be taken in: there is another time.
                    self.retries.put_off(name, Instant::now());
                }
                None => unreachable!("volume {name} cannot go while an operation claims it"),
            }
        }
        self.end(id, result);
    }

    /// Follows the volumes that are being opened since the start, given by name, as they are shown.
    pub(in super::super) fn await_late(&mut self, late: BTreeMap<String, String>) {
        let share = late.len().div_ceil(LATE_OPERATIONS_MAX).max(1);
        let late: Vec<_> = late.into_iter().collect();
        for part in late.chunks(share) {
            let names: Vec<_> = part.iter().map(|(name, _)| name.clone()).collect();
            let change = Change::Late(names.clone());
            let claims = change.claims(&self.followed);
            let subject = change.subject();
            let accepted = self.table.accept(change.method(), subject, claims, Instant::now());
            let Some(id) = accepted else { unreachable!("LATE_OPERATIONS_MAX leave room") };
            let opening = part.iter().cloned().collect();
            self.work.insert(id, Work { opening, ..Work::new(Some(change), &self.followed) });
            self.late.extend(names.into_iter().map(|name| (name, id)));
            self.show_opening(id);
        }
    }

    /// Tries volumes again that are not served, where it is time for that.
    pub(in super::super) fn retry_volumes(&mut self, now: Instant) {
        if self.is_ending {
            return;
        }
        for name in self.retries.begin_due(now) {
            if let Err(error) = self.begin(Change::Late(vec![name.clone()])) {
                tracing::debug!(volume = name, %error, "not tried again yet");
                self.retries.put_off(&name, now);
            }
        }
    }

    /// The operation that tries a volume again waits for no other one any more.
    pub(super) fn retry(&mut self, id: OperationId) {
        let Some(Change::Late(names)) = &self.work(id).change else {
            unreachable!("operation {} tries nothing", id.0)
        };
        let [name] = &names[..] else { unreachable!("each volume is tried for itself") };
        let name = name.clone();
        let mut configs = self.followed.loaded.config.volumes.iter();
        let is_served = self.followed.volumes.find(&name).is_none_or(|v| v.served.is_ok());
        let Some(config) = configs.find(|config| config.name == name && !is_served).cloned() else {
            // An earlier operation has deleted it or made it serve.
            return self.forget(id);
        };
        self.table.run(id, format!("opening volume {name}"));
        self.work(id).retries = Some(name.clone());
        let before = self.retries.before(&name);
        let naa_oui = self.followed.loaded.config.node.naa_oui;
        let occasion = Occasion {
            served: self.followed.volumes.served_files(),
            ..Occasion::of_followed(self.followed.loaded.is_master)
        };
        let ground = Arc::clone(&self.ground);
        self.workers.files.run(move || {
            let (state, identity) = (&ground.state, identity(naa_oui));
            let open = || try_open(&config, state, identity, Instant::now(), &occasion);
            let (outcome, seen) = attempt(&config, state, before, open);
            Completion::Retried { id, volume: name, outcome: Box::new(outcome), seen }
        });
    }

    /// A volume was tried again. That it failed once more is neither a line of the log nor an
    /// operation to remember.
    pub(super) fn retried(
        &mut self,
        id: OperationId,
        volume: String,
        outcome: Outcome,
        seen: Option<Look>,
    ) {
        match outcome.fault() {
            None => self.opened(id, volume, outcome),
            Some(why) => {
                self.retries.failed(&volume, why, seen, Instant::now());
                self.forget(id);
            }
        }
    }

    /// A volume was opened, but what must survive of that could not be written.
    pub(super) fn retry_failed(&mut self, id: OperationId, volume: &str, error: &RpcError) {
        let why = NotServed { reason: error.to_string(), retry: Retry::Soon };
        self.retries.failed(volume, why, None, Instant::now());
        self.forget(id);
    }

    pub(super) fn forget(&mut self, id: OperationId) {
        let Some(work) = self.work.remove(&id) else {
            unreachable!("operation {} ends twice", id.0)
        };
        assert!(work.opened.is_empty(), "what was opened is served or closed on a worker");
        self.table.forget(id);
        self.start();
    }
}
