//! The running daemon: what it follows, what it serves, and how one becomes the other.
//!
//! A change goes one way: a text is checked, compared with what runs, its volumes are opened,
//! the catalog is built and checked, what must survive is written, and only then the reactors
//! get the new catalog. Whatever fails before that leaves everything as it was.

mod answers;
mod apply;
mod catalog;
mod edit;
mod sessions;
mod start;
mod statistics;

pub(crate) use start::{look, open};
pub(crate) use statistics::StatsMark;

use crate::settings::{Loaded, Settings};
use crate::state::{StateDir, TargetPorts};
use crate::storage::{Identity, VolumeTable};
use control_api::{Call, ErrorCode, RpcError, ShutdownStarted, TargetDeleted};
use reactor::Node;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use volume::{Catalog, Portal};

/// The daemon while it serves.
#[derive(Debug)]
pub(crate) struct Daemon {
    state: StateDir,
    settings: Settings,
    loaded: Loaded,
    volumes: VolumeTable,
    ports: TargetPorts,
    portals: Vec<Portal>,
    cores: Vec<usize>,
    node: Node,
    catalog: Arc<Catalog>,
    started_at: Instant,
    /// What was less than it could be at the start.
    start_warnings: Vec<String>,
    /// What is less than it could be in the configuration that is followed.
    config_warnings: Vec<String>,
    /// The faults of the last configuration, where it was refused.
    refused: Vec<String>,
}

/// The answer to a call, and what the control thread must do beyond sending it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The answer.
    pub(crate) answer: Result<Value, RpcError>,
    /// The daemon is to end.
    pub(crate) shutdown: bool,
}

impl Daemon {
    /// Carries out a call. `mark` is where the caller's connection keeps what its last
    /// statistics were.
    pub(crate) fn call(&mut self, call: Call, mark: &mut Option<StatsMark>) -> Outcome {
        let shutdown = matches!(call, Call::Shutdown(_));
        let name = call.name();
        let answer = self.answer(call, mark);
        if let Err(error) = &answer {
            tracing::info!(method = name, %error, "refused a call");
        }
        Outcome { answer, shutdown }
    }

    fn answer(&mut self, call: Call, mark: &mut Option<StatsMark>) -> Result<Value, RpcError> {
        match call {
            Call::ConfigApply(params) => json(&self.config_apply(&params)?),
            Call::LunMap(params) => json(&self.lun_map(params)?),
            Call::LunUnmap(params) => json(&self.lun_unmap(&params)?),
            Call::SessionDrop(params) => json(&self.session_drop(params)?),
            Call::SessionList(params) => json(&self.sessions(params)),
            Call::Shutdown(_) => json(&ShutdownStarted { sessions: self.session_count() }),
            Call::StatsQuery(params) => json(&self.stats(&params, mark)),
            Call::StatusQuery(_) => json(&self.status()),
            Call::TargetCreate(params) => json(&self.target_create(params)?),
            Call::TargetDelete(params) => {
                self.target_delete(&params)?;
                json(&TargetDeleted { name: params.name })
            }
            Call::TargetList(_) => json(&self.targets()),
            Call::VolumeCreate(params) => json(&self.volume_create(params)?),
            Call::VolumeDelete(params) => json(&self.volume_delete(params)?),
            Call::VolumeList(_) => json(&self.volume_list()),
        }
    }

    /// Asks initiators to log out, waits for them for a while, and ends the reactors.
    pub(crate) fn shut_down(self, grace: Duration) {
        self.node.shutdown(grace);
    }
}

/// Where the identities of new volumes come from.
fn identity(naa_oui: Option<[u8; 3]>) -> Identity<'static> {
    Identity { naa_oui, random: &|bytes| getrandom::fill(bytes).map_err(std::io::Error::other) }
}

fn json<T: Serialize>(answer: &T) -> Result<Value, RpcError> {
    serde_json::to_value(answer).map_err(|e| RpcError::new(ErrorCode::Internal, e.to_string()))
}
