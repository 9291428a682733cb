//! What is noted at the end of an operation.

use super::super::followed::Followed;
use crate::storage::not_served;
use control_api::RpcError;
use serde_json::Value;

/// What is wrong, one sentence each.
pub(super) fn faults(error: &RpcError) -> Vec<String> {
    if error.data.faults.is_empty() {
        vec![error.message.clone()]
    } else {
        error.data.faults.clone()
    }
}

/// Logs the end of a reload and tells the service manager of it.
pub(super) fn reloaded(result: &Result<Value, RpcError>) {
    match result {
        Ok(applied) if applied["changes"].as_array().is_some_and(Vec::is_empty) => {
            tracing::info!("reload: nothing changed");
        }
        Ok(applied) => tracing::info!(generation = %applied["generation"], "reload: done"),
        Err(error) => tracing::error!("reload: {error}"),
    }
    crate::run::notify(&[sd_notify::NotifyState::Ready]);
}

/// Logs what was not known before: a warning that stays is one line.
pub(super) fn log_new_warnings(before: &Followed, followed: &Followed) {
    for warning in followed.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
        tracing::warn!("{warning}");
    }
    for (name, reason) in followed.volumes.not_served() {
        let known = before.volumes.not_served().any(|known| known == (name, reason));
        if !known {
            tracing::warn!("{}", not_served(name, reason));
        }
    }
}
