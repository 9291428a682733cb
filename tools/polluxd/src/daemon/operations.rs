//! Operations step by step. Each step is a job of a worker; what it returns leads to the next.
//!
//! A change is tried on the journal's worker, one at a time, because each builds on what the one
//! before has written. Volumes are opened and files removed on the other workers, so that a
//! device that hangs holds up nothing but what needs it.

mod deleting;
mod ends;
mod late;

use super::apply::{Attempt, Checked, Step, ToOpen, Wanted, Written};
use super::change::{Apply, Change, Edit};
use super::deletion::{Deletions, Released, Stuck};
use super::followed::{Followed, Ground};
use super::reading::{Contents, Reading};
use super::retries::{Look, Retries};
use super::watch::{self, Seen, Watch};
use super::{identity, json};
use crate::operation::{OperationId, OperationTable};
use crate::settings::Settings;
use crate::state::Removal;
use crate::storage::{IN_USE_TIME_MAX, Outcome, try_open};
use crate::workers::Workers;
use control_api::{ConfigApply, ErrorCode, RpcError, TargetDeleted};
use ends::{faults, log_new_warnings, reloaded};
use reactor::Node;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
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
    /// The files of the volumes were looked at.
    Looked(Seen),
    /// A volume that was to be open at the start.
    OpenedLate {
        volume: String,
        outcome: Box<Outcome>,
    },
    Opened {
        id: OperationId,
        volume: String,
        outcome: Box<Outcome>,
    },
    Read {
        id: OperationId,
        contents: Result<Contents, RpcError>,
    },
    Released {
        id: OperationId,
        released: Released,
    },
    Removed {
        id: OperationId,
        result: io::Result<()>,
    },
    /// The notes of deletions were looked at: what is wrong with those that cannot be read.
    Noted(Vec<String>),
    /// A deletion that could not be gone on with was tried again.
    Resumed {
        id: OperationId,
        removal: Removal,
        result: io::Result<()>,
    },
    /// A volume that is not served was tried again.
    Retried {
        id: OperationId,
        volume: String,
        outcome: Box<Outcome>,
        /// What its file looked like.
        seen: Option<Look>,
    },
}

/// The operations, and what only they change: the configuration in force.
#[derive(Debug)]
pub(super) struct Operations {
    /// All operations; those that wait for reports of the reactors have no work here.
    pub(super) table: OperationTable,
    followed: Arc<Followed>,
    /// The faults of the last configuration, where it was refused.
    refused: Vec<String>,
    ground: Arc<Ground>,
    work: BTreeMap<OperationId, Work>,
    /// Operations whose change is to be tried.
    turns: BTreeSet<OperationId>,
    /// Operations that only checked a configuration, and wait for the sessions that it would end.
    checked: Vec<(OperationId, Box<Checked>)>,
    /// A change is being tried.
    is_trying: bool,
    /// The daemon ends: no change begins any more.
    is_ending: bool,
    deletions: Deletions,
    stuck: Stuck,
    /// When the deletions that are stuck are tried again.
    stuck_until: Option<Instant>,
    /// Volumes that are closed and that the configuration in force does not know of as such.
    closed: Vec<VolumeId>,
    watch: Watch,
    /// The operations that wait for volumes which were not open at the start.
    late: BTreeMap<String, OperationId>,
    /// The volumes that are not served.
    retries: Retries,
    workers: OperationWorkers,
}

/// The workers that run the steps of operations.
#[derive(Debug)]
pub(super) struct OperationWorkers {
    /// The worker that tries changes and writes what must survive.
    pub(super) journal: Workers<Completion>,
    /// The workers for volumes and other files.
    pub(super) files: Workers<Completion>,
    /// The workers that read configurations.
    pub(super) readers: Workers<Completion>,
    pub(super) completions: Receiver<Completion>,
}

/// An operation that is under way.
#[derive(Debug)]
struct Work {
    /// What is to be changed; with the worker while it tries.
    change: Option<Change>,
    /// Volumes that are being opened, as they are shown.
    opening: BTreeMap<String, String>,
    opened: BTreeMap<String, Outcome>,
    /// Somebody asked for it, and its end is a line of the log.
    is_asked_for: bool,
    /// SIGHUP began it, and the service manager is to hear of its end.
    is_reload: bool,
    /// It tries this volume again.
    retries: Option<String>,
    /// It follows the node's own file again: its faults stay in the status until they are gone.
    is_own_file: bool,
}

impl Work {
    fn new(change: Option<Change>, followed: &Followed) -> Self {
        let is_own_file = match &change {
            Some(Change::Apply(apply)) => !apply.check_only && apply.file == followed.loaded.file,
            Some(Change::Edit(_) | Change::Late(_) | Change::Resume(_)) | None => false,
        };
        Self {
            is_asked_for: !matches!(change, Some(Change::Late(_) | Change::Resume(_))),
            change,
            opening: BTreeMap::new(),
            opened: BTreeMap::new(),
            is_reload: false,
            retries: None,
            is_own_file,
        }
    }
}

impl Operations {
    /// None yet.
    pub(super) fn new(
        ground: Arc<Ground>,
        followed: Arc<Followed>,
        workers: OperationWorkers,
    ) -> Self {
        let (mut retries, now) = (Retries::default(), Instant::now());
        retries.follow(&followed.volumes, now);
        Self {
            table: OperationTable::default(),
            followed,
            refused: Vec::new(),
            ground,
            work: BTreeMap::new(),
            turns: BTreeSet::new(),
            checked: Vec::new(),
            is_trying: false,
            is_ending: false,
            deletions: Deletions::default(),
            stuck: Stuck::default(),
            stuck_until: None,
            closed: Vec::new(),
            watch: Watch::new(now),
            late: BTreeMap::new(),
            retries,
            workers,
        }
    }

    /// The configuration in force.
    pub(super) fn followed(&self) -> &Followed {
        &self.followed
    }

    /// The faults of the last configuration, where it was refused.
    pub(super) fn refused(&self) -> &[String] {
        &self.refused
    }

    /// Reads the configuration again and follows it. A bad one is refused as a whole, and what
    /// runs goes on.
    ///
    /// # Errors
    /// The operation cannot begin.
    pub(super) fn reload(&mut self) -> Result<(), RpcError> {
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
        let ConfigApply { check_only, force, .. } = *params;
        self.begin(Change::Apply(Apply { file, contents: None, check_only, force }))
    }

    pub(super) fn begin_edit(&mut self, edit: Edit) -> Result<OperationId, RpcError> {
        if self.followed.loaded.is_master {
            return Err(self.followed.master_refusal());
        }
        self.begin(Change::Edit(edit))
    }

    fn begin(&mut self, change: Change) -> Result<OperationId, RpcError> {
        if self.is_ending {
            return Err(shutting_down());
        }
        let claims = change.claims(&self.followed);
        let (method, subject, now) = (change.method(), change.subject(), Instant::now());
        let Some(id) = self.table.accept(method, subject, claims, now) else {
            let sentence = format!("{OPERATIONS_MAX} operations are under way");
            return Err(RpcError::new(ErrorCode::TooMany, sentence)
                .hint("Run \"perfctl operation list\" to see them, and try again."));
        };
        self.work.insert(id, Work::new(Some(change), &self.followed));
        self.start();
        Ok(id)
    }

    /// Starts what waits for nothing any more.
    fn start(&mut self) {
        if self.is_ending {
            return self.abandon();
        }
        for id in self.table.startable() {
            if !self.table.is_waiting(id) {
                // One that came before it had nothing to do, and has started it.
                continue;
            }
            let Some(work) = self.work.get(&id) else {
                unreachable!("operation {} waits without anything to do", id.0)
            };
            match &work.change {
                Some(Change::Apply(apply)) if apply.contents.is_none() => {
                    let master = self.followed.loaded.is_master && !apply.check_only;
                    let master = master.then(|| self.followed.loaded.file.clone());
                    let reading = Reading { file: apply.file.clone(), master };
                    self.table.run(id, format!("reading {}", reading.file.display()));
                    let job = move || Completion::Read { id, contents: reading.run() };
                    self.workers.readers.run(job);
                }
                Some(Change::Apply(_) | Change::Edit(_)) => {
                    self.table.run(id, "checking the change");
                    self.turns.insert(id);
                }
                Some(Change::Late(_)) => self.retry(id),
                Some(Change::Resume(_)) => self.resume_stuck(id),
                None => unreachable!("operation {} has begun already", id.0),
            }
        }
        self.take_turn();
    }

    /// Tries the oldest change that is ready, if no other is being tried.
    fn take_turn(&mut self) {
        if self.is_ending {
            return self.abandon();
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
            closed: self.closed.clone(),
        };
        self.is_trying = true;
        self.table.run(id, "writing the configuration");
        self.workers.journal.run(move || Completion::Attempted { id, step: attempt.run() });
    }

    /// Takes in what jobs have returned. A change that was written is brought into force.
    pub(super) fn handle_completions(&mut self, node: &mut Node, settings: &mut Settings) {
        while let Ok(completion) = self.workers.completions.try_recv() {
            match completion {
                Completion::Attempted { id, step } => {
                    self.is_trying = false;
                    match step {
                        Ok(Step::Checked(checked)) => {
                            self.table.run(id, "waiting for the reports of the reactors");
                            self.checked.push((id, checked));
                        }
                        Ok(Step::Open(wanted)) => self.open_all(id, wanted),
                        Ok(Step::Written(written)) => {
                            settings.follow(&written.followed.loaded.config);
                            self.bring_into_force(id, *written, node);
                        }
                        Err(error) => match self.work(id).retries.take() {
                            Some(volume) => self.retry_failed(id, &volume, &error),
                            None => self.end(id, Err(error)),
                        },
                    }
                    self.take_turn();
                }
                Completion::Closed(volume) => {
                    self.closed.push(volume);
                    if let Some(id) = self.deletions.closed(volume) {
                        self.go_on_deleting(id);
                    }
                }
                Completion::Discarded => {}
                Completion::Looked(seen) => self.watch.seen(seen, &self.followed, Instant::now()),
                Completion::Opened { id, volume, outcome } => self.opened(id, volume, *outcome),
                Completion::OpenedLate { volume, outcome } => {
                    let Some(id) = self.late.remove(&volume) else {
                        unreachable!("nobody waits for volume {volume}")
                    };
                    self.opened(id, volume, *outcome);
                }
                Completion::Read { id, contents } => self.read(id, contents),
                Completion::Released { id, released } => self.released(id, released),
                Completion::Removed { id, result } => self.removed(id, result),
                Completion::Noted(notes) => self.stuck.notes = notes,
                Completion::Resumed { id, removal, result } => self.resumed(id, removal, result),
                Completion::Retried { id, volume, outcome, seen } => {
                    self.retried(id, volume, *outcome, seen);
                }
            }
        }
    }

    /// Hands out the configurations that were checked since the last call; [`Self::end`] ends
    /// their operations.
    pub(super) fn take_checked(&mut self) -> Vec<(OperationId, Box<Checked>)> {
        std::mem::take(&mut self.checked)
    }

    fn work(&mut self, id: OperationId) -> &mut Work {
        let Some(work) = self.work.get_mut(&id) else {
            unreachable!("a job of operation {}, which has ended", id.0)
        };
        work
    }

    fn read(&mut self, id: OperationId, contents: Result<Contents, RpcError>) {
        // It may have been cancelled meanwhile.
        let Some(work) = self.work.get_mut(&id) else { return };
        match (contents, &mut work.change) {
            (Ok(contents), Some(change @ Change::Apply(_))) => {
                if let Change::Apply(apply) = &mut *change {
                    apply.contents = Some(contents);
                }
                let claims = change.claims(&self.followed);
                self.table.claim(id, claims);
                self.start();
            }
            (Ok(_), Some(Change::Edit(_) | Change::Late(_) | Change::Resume(_)) | None) => {
                unreachable!("operation {} reads nothing", id.0)
            }
            (Err(error), _) => self.end(id, Err(error)),
        }
    }

    /// Ends an operation that has changed nothing yet and waits: for a file that is being read, for
    /// an earlier operation, or for its turn.
    ///
    /// # Errors
    /// It cannot be ended any more.
    pub(super) fn cancel(&mut self, id: OperationId) -> Result<(), RpcError> {
        let is_waiting = self.is_waiting(id);
        let Some(work) = self.work.get_mut(&id).filter(|_| is_waiting) else {
            let state = self.table.get(id).map_or_else(String::new, ToString::to_string);
            let sentence = format!("operation {} cannot be cancelled any more: {state}", id.0);
            return Err(RpcError::new(ErrorCode::Busy, sentence).on(id.0.to_string()));
        };
        // Nothing is known about the file.
        work.is_own_file = false;
        self.turns.remove(&id);
        let sentence = format!("operation {} was cancelled; nothing was changed", id.0);
        self.end(id, Err(RpcError::new(ErrorCode::Busy, sentence).on(id.0.to_string())));
        Ok(())
    }

    /// Whether a change has begun nothing that cannot be left undone.
    fn is_waiting(&self, id: OperationId) -> bool {
        match self.work.get(&id).and_then(|work| work.change.as_ref()) {
            Some(Change::Apply(apply)) if apply.contents.is_none() => true,
            Some(Change::Apply(_) | Change::Edit(_)) => {
                self.table.is_waiting(id) || self.turns.contains(&id)
            }
            // With a worker, or begun by the daemon itself.
            Some(Change::Late(_) | Change::Resume(_)) | None => false,
        }
    }

    fn open_all(&mut self, id: OperationId, wanted: Wanted) {
        if self.is_ending {
            return self.end(id, Err(shutting_down()));
        }
        self.work(id).change = Some(wanted.change);
        for volume in wanted.volumes {
            self.open(id, volume, wanted.naa_oui);
        }
        self.show_opening(id);
    }

    fn open(&mut self, id: OperationId, to_open: ToOpen, naa_oui: Option<[u8; 3]>) {
        let ToOpen { config, occasion } = to_open;
        let place = config.path.as_ref().map(|path| path.display().to_string());
        let shown = place.unwrap_or_else(|| format!("volume {}", config.name));
        self.work(id).opening.insert(config.name.clone(), shown);
        let ground = Arc::clone(&self.ground);
        self.workers.files.run(move || {
            let patience = Instant::now() + IN_USE_TIME_MAX;
            let (state, identity) = (&ground.state, identity(naa_oui));
            let outcome = try_open(&config, state, identity, patience, &occasion);
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
        self.table.run(id, format!("opening {}{more}", shown.join(", ")));
    }

    fn bring_into_force(&mut self, id: OperationId, written: Written, node: &mut Node) {
        let Written { change, followed, stores, applied, deleted, freed } = written;
        self.closed.drain(..freed);
        node.apply(Arc::clone(&followed.catalog), stores);
        let before = std::mem::replace(&mut self.followed, Arc::new(followed));
        self.retries.follow(&self.followed.volumes, Instant::now());
        // What runs is what the next start would serve.
        self.refused.clear();
        for change in &applied.changes {
            tracing::info!("{change}");
        }
        log_new_warnings(&before, &self.followed);
        match change {
            Change::Apply(_) => self.end(id, json(&applied)),
            Change::Edit(Edit::VolumeCreate(params)) => {
                let now = Instant::now();
                let info = self.followed.volume_info(&params.name, &self.retries, now);
                self.end(id, json(&info));
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
            Change::Edit(Edit::TargetSet(params)) => self.end_with_target(id, &params.name),
            Change::Edit(Edit::TargetCreate(params)) => self.end_with_target(id, &params.name),
            Change::Edit(Edit::LunMap(params)) => self.end_with_target(id, &params.target),
            Change::Edit(Edit::LunUnmap(params)) => self.end_with_target(id, &params.target),
            Change::Late(names) => self.end_late(id, &names),
            Change::Resume(_) => unreachable!("a deletion that goes on changes no catalog"),
        }
    }

    fn end_with_target(&mut self, id: OperationId, name: &str) {
        self.end(id, json(&self.followed.target_info(name)));
    }

    /// Has the files of the volumes looked at, where it is time for that.
    pub(super) fn look_at_files(&mut self, node: &Node, now: Instant) {
        if !self.is_ending && self.watch.begin(now) {
            let (files, paths) = (node.files(), watch::paths(&self.followed));
            self.workers.files.run(move || Completion::Looked(watch::look(files, &paths)));
        }
    }

    /// What is wrong with the files of volumes that are served, for people.
    pub(super) fn damage(&self) -> Vec<String> {
        self.watch.warnings(&self.followed)
    }

    /// When something is to be done although nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.watch.deadline(), self.retries.deadline(), self.stuck_until];
        deadlines.into_iter().flatten().min().filter(|_| !self.is_ending)
    }

    /// The daemon ends: no change begins any more.
    pub(super) fn begin_end(&mut self) {
        self.is_ending = true;
        self.abandon();
    }

    /// What has changed nothing yet changes nothing any more.
    fn abandon(&mut self) {
        let is_idle = |id: &OperationId| {
            self.is_waiting(*id) || self.table.is_waiting(*id) || self.turns.contains(id)
        };
        let idle: Vec<_> = self.table.under_way().map(|(id, _)| id).filter(is_idle).collect();
        self.turns.clear();
        for id in idle {
            self.finish(id, Err(shutting_down()));
        }
    }

    pub(super) fn end(&mut self, id: OperationId, result: Result<Value, RpcError>) {
        self.finish(id, result);
        self.start();
    }

    fn finish(&mut self, id: OperationId, result: Result<Value, RpcError>) {
        let Some(work) = self.work.remove(&id) else {
            unreachable!("operation {} ends twice", id.0)
        };
        if let Err(error) = &result
            && let Some(operation) = self.table.get(id)
            && work.is_asked_for
        {
            tracing::info!(method = operation.method, operation = id.0, %error, "rejected");
        }
        if let Err(error) = &result
            && work.is_own_file
        {
            self.refused = faults(error);
        }
        if work.is_reload {
            reloaded(&result);
        }
        if !work.opened.is_empty() {
            let ground = Arc::clone(&self.ground);
            self.workers.files.run(move || {
                for outcome in work.opened.into_values() {
                    outcome.withdraw(&ground.state);
                }
                Completion::Discarded
            });
        }
        self.table.end(id, result, Instant::now());
    }
}

fn shutting_down() -> RpcError {
    let sentence = "polluxd is shutting down and accepts no changes";
    RpcError::new(ErrorCode::Busy, sentence)
}

/// How many volumes are shown by name while they are opened.
const SHOWN_MAX: usize = 3;
