//! The running daemon: what it follows, what it serves, and how one becomes the other.
//!
//! A change goes one way: a text is checked, compared with what runs, its volumes are opened,
//! the catalog is built and checked, what must survive is written, and only then the reactors
//! get the new catalog. Whatever fails before that leaves everything as it was. All that may
//! block runs on workers ([`operations`]): the control thread only takes in what they return.

mod answers;
mod apply;
mod calls;
mod catalog;
mod change;
mod deletion;
mod edit;
mod ending;
mod followed;
mod operations;
mod sessions;
mod start;
mod statistics;

pub(crate) use calls::{Awaited, Outcome, Reply};
pub(crate) use start::{look, open};
pub(crate) use statistics::StatsMark;

use crate::operation::{OperationId, OperationTable};
use crate::settings::Settings;
use crate::storage::Identity;
use crate::workers::Workers;
use calls::Reporting;
use control_api::{ErrorCode, RpcError};
use followed::{Followed, Ground};
use operations::{Completion, Work};
use reactor::Node;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;
use units::VolumeId;

/// The daemon while it serves.
#[derive(Debug)]
pub(crate) struct Daemon {
    settings: Settings,
    ground: Arc<Ground>,
    followed: Arc<Followed>,
    cores: Vec<usize>,
    node: Node,
    started_at: Instant,
    /// What was less than it could be at the start.
    start_warnings: Vec<String>,
    /// The faults of the last configuration, where it was refused.
    refused: Vec<String>,
    operations: OperationTable,
    work: BTreeMap<OperationId, Work>,
    /// Operations that wait for reports of the reactors.
    reporting: BTreeMap<OperationId, Reporting>,
    /// Operations whose change is to be tried.
    turns: BTreeSet<OperationId>,
    /// A change is being tried.
    is_trying: bool,
    /// Deletions that wait until their volume is closed.
    closing: BTreeMap<VolumeId, OperationId>,
    /// The worker that tries changes and writes what must survive.
    journal: Workers<Completion>,
    /// The workers for volumes and other files.
    files: Workers<Completion>,
    completions: Receiver<Completion>,
    /// When the daemon ends, once it has begun to.
    ends_at: Option<Instant>,
}

/// Where the identities of new volumes come from.
fn identity(naa_oui: Option<[u8; 3]>) -> Identity<'static> {
    Identity { naa_oui, random: &|bytes| getrandom::fill(bytes).map_err(std::io::Error::other) }
}

fn json<T: Serialize>(answer: &T) -> Result<Value, RpcError> {
    serde_json::to_value(answer).map_err(|e| RpcError::new(ErrorCode::Internal, e.to_string()))
}
