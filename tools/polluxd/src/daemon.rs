//! The running daemon: what it follows, what it serves, and how one becomes the other.
//!
//! A change goes one way: a text is checked, compared with what runs, its volumes are opened,
//! the catalog is built and checked, what must survive is written, and only then the reactors
//! get the new catalog. Whatever fails before that leaves everything as it was. All that may
//! block runs on workers ([`operations`]): the control thread only takes in what they return.

mod absent;
mod answers;
mod apply;
mod calls;
mod catalog;
mod change;
mod deletion;
mod edit;
mod events;
mod followed;
mod opening;
mod operations;
mod reading;
mod resume;
mod retries;
mod secrets;
mod sessions;
mod start;
mod statistics;
mod watch;

pub(crate) use calls::{Awaited, Outcome, Reply};
pub(crate) use start::{look, open};
pub(crate) use statistics::StatsMark;

use crate::greeting::Greeting;
use crate::operation::OperationId;
use crate::settings::Settings;
use crate::state::new_uuid;
use crate::storage::Identity;
use calls::Reporting;
use control_api::{ErrorCode, PortalInfo, RpcError, Status};
use events::EventLog;
use followed::Ground;
use operations::Operations;
use reactor::{Node, ReactorReport};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use units::len_u32;
use units::limits::ASYNC_LOGOUT_TIME;

/// The daemon while it serves.
#[derive(Debug)]
pub(crate) struct Daemon {
    settings: Settings,
    ground: Arc<Ground>,
    cores: Vec<usize>,
    node: Node,
    started_at: Instant,
    /// What was less than it could be at the start, and stays so until the end.
    start_warnings: Vec<String>,
    /// The changes of what is served.
    operations: Operations,
    /// What the reactors reported, as far as the log and the warnings need it.
    events: EventLog,
    /// Operations that wait for reports of the reactors.
    reporting: BTreeMap<OperationId, Reporting>,
    /// When the daemon ends, once it has begun to.
    ends_at: Option<Instant>,
}

/// How long the disks may take for what they have begun, once the last session is dropped.
const LAST_ANSWERS_TIME: Duration = Duration::from_secs(3);

impl Daemon {
    /// Reads the configuration again and follows it. A bad one is refused as a whole, and what
    /// runs goes on.
    ///
    /// # Errors
    /// The operation cannot begin.
    pub(crate) fn reload(&mut self) -> Result<(), RpcError> {
        self.operations.reload()
    }

    /// Takes in what jobs have returned and what the reactors have reported.
    pub(crate) fn handle_events(&mut self) {
        for closed in self.node.handle_notices() {
            self.operations.close(closed);
        }
        self.operations.handle_completions(&mut self.node, &mut self.settings);
        let now = Instant::now();
        self.report_of_checked(now);
        self.operations.look_at_files(&self.node, now);
        self.operations.retry_volumes(now);
        self.operations.resume_removals(now);
        self.handle_reports(now);
        let catalog = &self.operations.followed().catalog;
        for events in self.node.take_events() {
            self.events.handle(events, now, |id| Some(catalog.volume(id)?.name.clone()));
        }
        self.events.log_due(now);
    }

    /// The daemon as a whole.
    fn status(&self, reports: &[&ReactorReport]) -> Status {
        let (followed, now) = (self.operations.followed(), Instant::now());
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_s: self.started_at.elapsed().as_secs(),
            state_dir: self.ground.state.path().display().to_string(),
            config_file: followed.loaded.file.display().to_string(),
            config_is_master: followed.loaded.is_master,
            config_refused: self.operations.refused().to_vec(),
            generation: followed.catalog.generation(),
            cores: self.cores.iter().map(|&core| len_u32(core)).collect(),
            settings: self.settings.shown(),
            portals: self
                .ground
                .portals
                .iter()
                .map(|p| PortalInfo {
                    address: p.address.to_string(),
                    portal_group: p.portal_group_tag,
                })
                .collect(),
            sessions: sessions::count(reports),
            operations: self.operations.table.under_way().len() as u64,
            volumes: self.operations.volume_list(now).volumes,
            targets: followed.loaded.config.targets.len() as u64,
            warnings: self.warnings(now),
            log_lines_dropped: crate::log::lines_dropped(),
        }
    }

    /// What is slower or less than configured, or fails. Each warning goes with its cause.
    fn warnings(&self, now: Instant) -> Vec<String> {
        let followed = self.operations.followed();
        let name = |id| Some(followed.catalog.volume(id)?.name.clone());
        let lasting = self.start_warnings.iter().chain(&followed.warnings).cloned();
        let volumes = self.operations.not_served().into_iter().chain(self.operations.damage());
        let volumes = volumes.chain(self.operations.left_behind());
        lasting.chain(volumes).chain(self.events.warnings(now, name)).collect()
    }

    /// The startup message.
    pub(crate) fn greeting(&self, perfctl: &str) -> String {
        let followed = self.operations.followed();
        let perfctl = if self.settings.control_is_default {
            perfctl.to_owned()
        } else {
            format!("{perfctl} --control {}", self.settings.control.display())
        };
        Greeting {
            state_dir: self.ground.state.path(),
            volumes: &self.operations.volume_list(Instant::now()).volumes,
            targets: &followed.targets().targets,
            portals: &self.ground.portals,
            perfctl: &perfctl,
        }
        .text()
    }

    /// Asks initiators to log out, and begins no change any more. The daemon goes on until
    /// [`Self::is_over`].
    pub(crate) fn begin_end(&mut self, now: Instant) {
        if self.ends_at.is_none() {
            self.ends_at = Some(now + ASYNC_LOGOUT_TIME + LAST_ANSWERS_TIME);
            self.node.begin_shutdown();
            self.operations.begin_end();
        }
    }

    /// Whether nothing is left to wait for, or the time for it is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let Some(ends_at) = self.ends_at else { return false };
        let is_done = self.node.is_drained() && self.operations.table.under_way().len() == 0;
        is_done || now >= ends_at
    }

    /// Names what ends with the process. Nothing of it can leave a state that is half of two:
    /// what is on the disk is that of before or after each step.
    pub(crate) fn log_unfinished(&self) {
        for (id, operation) in self.operations.table.under_way() {
            tracing::warn!(operation = id.0, "stopping while this is in progress: {operation}");
        }
    }
}

/// Where the identities of new volumes come from.
fn identity(naa_oui: Option<[u8; 3]>) -> Identity<'static> {
    Identity { naa_oui, random: &|bytes| getrandom::fill(bytes).map_err(std::io::Error::other) }
}

fn random_uuid() -> std::io::Result<String> {
    let mut random = [0; 16];
    (identity(None).random)(&mut random)?;
    Ok(new_uuid(random))
}

fn json<T: Serialize>(answer: &T) -> Result<Value, RpcError> {
    serde_json::to_value(answer).map_err(|e| RpcError::new(ErrorCode::Internal, e.to_string()))
}
