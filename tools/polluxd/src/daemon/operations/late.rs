//! Volumes that were not open at the start: they are served when they are.

use super::super::change::Change;
use super::super::json;
use super::{Operations, Work};
use crate::operation::OperationId;
use control_api::{ErrorCode, RpcError};
use std::collections::BTreeMap;
use std::time::Instant;
use units::limits::LATE_OPERATIONS_MAX;

impl Operations {
    /// Volumes that were not open at the start are served now, or will not be.
    pub(super) fn end_late(&mut self, id: OperationId, names: &[String]) {
        let mut result = json(&names);
        for name in names {
            match self.followed.volumes.find(name).map(|volume| &volume.served) {
                Some(Ok(_)) => tracing::info!("volume {name} is served now"),
                Some(Err(reason)) => {
                    let sentence = format!("volume {name} is not served: {reason}");
                    tracing::warn!("{sentence}");
                    result = Err(RpcError::new(ErrorCode::Environment, sentence).on(name));
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
}
