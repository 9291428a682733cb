//! Operations step by step. Each step is a job of a worker; what it returns leads to the next.
//!
//! A change is tried on the journal's worker, one at a time, because each builds on what the one
//! before has written. Volumes are opened and files removed on the other workers, so that a
//! device that hangs holds up nothing but what needs it.

use super::apply::{Attempt, Step, Written, master_refusal};
use super::change::{Apply, Change, Edit};
use super::deletion::Deletion;
use super::{Daemon, identity, json};
use crate::config::VolumeConfig;
use crate::operation::{OperationId, Progress};
use crate::state::Removal;
use crate::storage::{IN_USE_TIME_MAX, Outcome, try_open};
use control_api::{ConfigApply, ErrorCode, RpcError, TargetDeleted};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use units::VolumeId;
use units::limits::OPERATIONS_MAX;

/// What a job returned.
#[derive(Debug)]
pub(super) enum Completion {
    Attempted {
        id: OperationId,
        step: Result<Step, RpcError>,
    },
    Closed(VolumeId),
    /// Volumes were opened in vain, and are closed again.
    Discarded,
    Opened {
        id: OperationId,
        volume: String,
        outcome: Box<Outcome>,
    },
    Read {
        id: OperationId,
        text: Result<String, RpcError>,
    },
    Released {
        id: OperationId,
        removal: Removal,
        result: io::Result<()>,
    },
    Removed {
        id: OperationId,
        result: io::Result<()>,
    },
}

/// An operation that is under way.
#[derive(Debug)]
pub(super) struct Work {
    /// What is to be changed; with the worker while it tries.
    change: Option<Change>,
    /// Volumes that are being opened, as they are shown.
    opening: BTreeMap<String, String>,
    opened: BTreeMap<String, Outcome>,
    /// After the catalog has dropped a volume.
    pub(super) deletion: Option<Deletion>,
    /// SIGHUP began it, and the service manager is to hear of its end.
    is_reload: bool,
    /// It changes the configuration as a whole.
    is_apply: bool,
}

impl Work {
    pub(super) fn new(change: Option<Change>) -> Self {
        let is_apply = matches!(change, Some(Change::Apply(Apply { check_only: false, .. })));
        Self {
            change,
            opening: BTreeMap::new(),
            opened: BTreeMap::new(),
            deletion: None,
            is_reload: false,
            is_apply,
        }
    }
}

impl Daemon {
    /// Reads the configuration again and follows it. A bad one is refused as a whole, and what
    /// runs goes on.
    ///
    /// # Errors
    /// The operation cannot begin.
    pub(crate) fn reload(&mut self) -> Result<(), RpcError> {
        let id = self.begin_apply(&ConfigApply::default())?;
        // Nothing ends an operation before the next turn of the control thread.
        if let Some(work) = self.work.get_mut(&id) {
            work.is_reload = true;
        }
        Ok(())
    }

    pub(super) fn begin_apply(&mut self, params: &ConfigApply) -> Result<OperationId, RpcError> {
        let followed = self.followed.loaded.file.clone();
        let file = params.file.as_ref().map_or(followed, PathBuf::from);
        let check_only = params.check_only;
        self.begin(Change::Apply(Apply { file, text: String::new(), check_only }))
    }

    pub(super) fn begin_edit(&mut self, edit: Edit) -> Result<OperationId, RpcError> {
        if self.followed.loaded.is_master {
            return Err(self.followed.master_refusal());
        }
        self.begin(Change::Edit(edit))
    }

    fn begin(&mut self, change: Change) -> Result<OperationId, RpcError> {
        if self.ends_at.is_some() {
            return Err(shutting_down());
        }
        let claims = change.claims(&self.followed);
        let (method, subject, now) = (change.method(), change.subject(), Instant::now());
        let Some(id) = self.operations.accept(method, subject, claims, now) else {
            let sentence = format!("{OPERATIONS_MAX} operations are under way");
            return Err(RpcError::new(ErrorCode::TooMany, sentence)
                .hint("Run \"perfctl operation list\" to see them, and try again."));
        };
        self.work.insert(id, Work::new(Some(change)));
        self.start_operations();
        Ok(id)
    }

    /// Starts what waits for nothing any more.
    pub(super) fn start_operations(&mut self) {
        if self.ends_at.is_some() {
            return self.abandon_operations();
        }
        for id in self.operations.startable() {
            let Some(work) = self.work.get(&id) else {
                unreachable!("operation {} waits without anything to do", id.0)
            };
            match &work.change {
                Some(Change::Apply(apply)) => {
                    let master = self.followed.loaded.is_master && !apply.check_only;
                    let master = master.then(|| self.followed.loaded.file.clone());
                    let file = apply.file.clone();
                    self.operations.run(id, format!("reading {}", file.display()));
                    self.files
                        .run(move || Completion::Read { id, text: read(&file, master.as_deref()) });
                }
                Some(Change::Edit(_)) => {
                    self.operations.run(id, "checking the change");
                    self.turns.insert(id);
                }
                None => unreachable!("operation {} has begun already", id.0),
            }
        }
        self.take_turn();
    }

    /// Tries the oldest change that is ready, if no other is being tried.
    fn take_turn(&mut self) {
        if self.ends_at.is_some() {
            return self.abandon_operations();
        }
        if self.is_trying {
            return;
        }
        let Some(id) = self.turns.pop_first() else { return };
        let Some(work) = self.work.get_mut(&id) else {
            unreachable!("operation {} is to be tried, but has ended", id.0)
        };
        let Some(change) = work.change.take() else {
            unreachable!("operation {} is tried twice", id.0)
        };
        let attempt = Attempt {
            change,
            followed: Arc::clone(&self.followed),
            ground: Arc::clone(&self.ground),
            opened: std::mem::take(&mut work.opened),
        };
        self.is_trying = true;
        self.operations.run(id, "writing the configuration");
        self.journal.run(move || Completion::Attempted { id, step: attempt.run() });
    }

    /// Takes in what jobs have returned and what the reactors have reported.
    pub(crate) fn handle_events(&mut self) {
        for closed in self.node.handle_notices() {
            self.close(closed);
        }
        while let Ok(completion) = self.completions.try_recv() {
            match completion {
                Completion::Attempted { id, step } => {
                    self.is_trying = false;
                    self.attempted(id, step);
                    self.take_turn();
                }
                Completion::Closed(volume) => self.closed(volume),
                Completion::Discarded => {}
                Completion::Opened { id, volume, outcome } => self.opened(id, volume, *outcome),
                Completion::Read { id, text } => self.read(id, text),
                Completion::Released { id, removal, result } => self.released(id, removal, result),
                Completion::Removed { id, result } => self.removed(id, result),
            }
        }
        self.handle_reports(Instant::now());
    }

    pub(super) fn work(&mut self, id: OperationId) -> &mut Work {
        let Some(work) = self.work.get_mut(&id) else {
            unreachable!("a job of operation {}, which has ended", id.0)
        };
        work
    }

    fn read(&mut self, id: OperationId, text: Result<String, RpcError>) {
        match text {
            Ok(text) => {
                if let Some(Change::Apply(apply)) = &mut self.work(id).change {
                    apply.text = text;
                }
                self.turns.insert(id);
                self.take_turn();
            }
            Err(error) => self.end(id, Err(error)),
        }
    }

    fn attempted(&mut self, id: OperationId, step: Result<Step, RpcError>) {
        match step {
            Ok(Step::Checked(applied)) => self.end(id, json(&applied)),
            Ok(Step::Open { .. }) if self.ends_at.is_some() => self.end(id, Err(shutting_down())),
            Ok(Step::Open { change, volumes, naa_oui }) => {
                self.work(id).change = Some(change);
                for config in volumes {
                    self.open(id, config, naa_oui);
                }
                self.show_opening(id);
            }
            Ok(Step::Written(written)) => self.bring_into_force(id, *written),
            Err(error) => self.end(id, Err(error)),
        }
    }

    fn open(&mut self, id: OperationId, config: VolumeConfig, naa_oui: Option<[u8; 3]>) {
        let place = config.path.as_ref().map(|path| path.display().to_string());
        let shown = place.unwrap_or_else(|| format!("volume {}", config.name));
        self.work(id).opening.insert(config.name.clone(), shown);
        let ground = Arc::clone(&self.ground);
        self.files.run(move || {
            let patience = Instant::now() + IN_USE_TIME_MAX;
            let outcome = try_open(&config, &ground.state, identity(naa_oui), patience);
            Completion::Opened { id, volume: config.name, outcome: Box::new(outcome) }
        });
    }

    fn opened(&mut self, id: OperationId, volume: String, outcome: Outcome) {
        let work = self.work(id);
        work.opening.remove(&volume);
        work.opened.insert(volume, outcome);
        if work.opening.is_empty() {
            self.turns.insert(id);
            self.take_turn();
        } else {
            self.show_opening(id);
        }
    }

    fn show_opening(&mut self, id: OperationId) {
        let shown: Vec<_> = self.work(id).opening.values().take(SHOWN_MAX).cloned().collect();
        let more = self.work(id).opening.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.operations.run(id, format!("opening {}{more}", shown.join(", ")));
    }

    fn bring_into_force(&mut self, id: OperationId, written: Written) {
        let Written { change, followed, stores, applied, deleted } = written;
        self.node.apply(Arc::clone(&followed.catalog), stores);
        self.settings.follow(&followed.loaded.config);
        self.followed = Arc::new(followed);
        for change in &applied.changes {
            tracing::info!("{change}");
        }
        for warning in &applied.warnings {
            tracing::warn!("{warning}");
        }
        match change {
            Change::Apply(_) => self.end(id, json(&applied)),
            Change::Edit(Edit::VolumeCreate(params)) => {
                self.end(id, json(&self.volume_info(&params.name)));
            }
            Change::Edit(Edit::VolumeDelete(params)) => {
                let Some(deleted) = deleted else {
                    unreachable!("volume {} was deleted without a trace", params.name)
                };
                self.delete(id, params.name, deleted);
            }
            Change::Edit(Edit::TargetDelete(params)) => {
                self.end(id, json(&TargetDeleted { name: params.name }));
            }
            Change::Edit(Edit::TargetCreate(params)) => self.end_with_target(id, &params.name),
            Change::Edit(Edit::LunMap(params)) => self.end_with_target(id, &params.target),
            Change::Edit(Edit::LunUnmap(params)) => self.end_with_target(id, &params.target),
        }
    }

    fn end_with_target(&mut self, id: OperationId, name: &str) {
        self.end(id, json(&self.target_info(name)));
    }

    /// While the daemon ends: what has no job under way gets none any more.
    pub(super) fn abandon_operations(&mut self) {
        let waiting = self.operations.under_way().filter(|(_, o)| o.progress == Progress::Waiting);
        let waiting: Vec<_> = waiting.map(|(id, _)| id).collect();
        for id in std::mem::take(&mut self.turns).into_iter().chain(waiting) {
            self.finish(id, Err(shutting_down()));
        }
    }

    pub(super) fn end(&mut self, id: OperationId, result: Result<Value, RpcError>) {
        self.finish(id, result);
        self.start_operations();
    }

    fn finish(&mut self, id: OperationId, result: Result<Value, RpcError>) {
        let Some(work) = self.work.remove(&id) else {
            unreachable!("operation {} ends twice", id.0)
        };
        if let Err(error) = &result
            && let Some(operation) = self.operations.get(id)
        {
            tracing::info!(method = operation.method, operation = id.0, %error, "rejected");
        }
        if work.is_apply {
            self.refused = result.as_ref().err().map(faults).unwrap_or_default();
        }
        if work.is_reload {
            reloaded(&result);
        }
        if !work.opened.is_empty() {
            self.files.run(move || {
                drop(work.opened);
                Completion::Discarded
            });
        }
        self.operations.end(id, result, Instant::now());
    }
}

fn shutting_down() -> RpcError {
    let sentence = "polluxd is shutting down and changes nothing any more";
    RpcError::new(ErrorCode::Busy, sentence)
}

/// How many volumes are shown by name while they are opened.
const SHOWN_MAX: usize = 3;

/// Reads a configuration. Where the daemon follows a master file, no other can be applied: what
/// runs at the next start must be what runs now.
fn read(file: &Path, master: Option<&Path>) -> Result<String, RpcError> {
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        (Ok(_) | Err(_), _) => a == b,
    };
    if let Some(master) = master
        && !same(file, master)
    {
        return Err(master_refusal(master));
    }
    std::fs::read_to_string(file).map_err(|e| {
        let sentence = format!("cannot read {}: {e}", file.display());
        RpcError::new(ErrorCode::Environment, sentence).on(file.display().to_string())
    })
}

fn faults(error: &RpcError) -> Vec<String> {
    if error.data.faults.is_empty() {
        vec![error.message.clone()]
    } else {
        error.data.faults.clone()
    }
}

fn reloaded(result: &Result<Value, RpcError>) {
    match result {
        Ok(applied) if applied["changes"].as_array().is_some_and(Vec::is_empty) => {
            tracing::info!("reload: nothing changed");
        }
        Ok(applied) => tracing::info!(generation = %applied["generation"], "reload: done"),
        Err(error) => tracing::error!("reload: {error}"),
    }
    crate::run::notify(&[sd_notify::NotifyState::Ready]);
}
