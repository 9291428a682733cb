//! Following another configuration without touching what it does not touch. All of this runs on
//! a worker, because it reads secrets and writes what must survive.

use super::change::{Apply, Change, Edit};
use super::followed::{Followed, Ground};
use super::random_uuid;
use super::reading::Contents;
use super::secrets::{NewSecrets, sweep};
use super::start::{CATALOG_HEAD, catalog_text, unwritten_catalog};
use crate::config::{
    Config, Fault, SecretFault, TargetConfig, VolumeConfig, difference, node_difference,
};
use crate::settings::{Loaded, Secrets, load_text_with};
use crate::start_fault::StartFault;
use crate::state::{FileId, Removal};
use crate::storage::{Occasion, Origin, Outcome, Planned, Volume, not_served, settle, withdraw};
use control_api::{ConfigApplied, ErrorCode, RpcError, VolumeDelete, VolumeKind};
use reactor::Store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use units::VolumeId;

/// One try to bring a change into force. It is made again when the volumes that it needs are
/// open.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) change: Change,
    pub(super) followed: Arc<Followed>,
    pub(super) ground: Arc<Ground>,
    /// Volumes that were opened for it.
    pub(super) opened: BTreeMap<String, Outcome>,
    /// Volumes that were closed since the configuration in force was written.
    pub(super) closed: Vec<VolumeId>,
}

/// What a try came to.
#[derive(Debug)]
pub(super) enum Step {
    /// The change is good; nothing was to be changed.
    Checked(Box<Checked>),
    /// These volumes must be opened first.
    Open(Wanted),
    /// All that must survive is written.
    Written(Box<Written>),
}

/// A configuration that was only checked.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) applied: ConfigApplied,
    /// Its targets, which decide about the sessions.
    pub(super) targets: Vec<TargetConfig>,
}

/// Volumes that a change needs.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The change, which is tried again with them.
    pub(super) change: Change,
    pub(super) volumes: Vec<ToOpen>,
    pub(super) naa_oui: Option<[u8; 3]>,
}

/// A volume that is to be opened.
#[derive(Debug)]
pub(super) struct ToOpen {
    pub(super) config: VolumeConfig,
    pub(super) occasion: Occasion,
}

/// A change that the reactors are to learn of.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) change: Change,
    pub(super) followed: Followed,
    pub(super) stores: Vec<(VolumeId, Store)>,
    pub(super) applied: ConfigApplied,
    /// For a deleted volume.
    pub(super) deleted: Option<Deleted>,
    /// How many closed volumes it has taken in.
    pub(super) freed: usize,
}

/// A volume that the catalog does not have any more.
#[derive(Debug)]
pub(super) struct Deleted {
    /// What the reactors have open of it.
    pub(super) served: Option<VolumeId>,
    /// What is to be removed of it.
    pub(super) removal: Option<Removal>,
    /// The path of what is to stay.
    pub(super) left: Option<PathBuf>,
    /// Which file was served.
    pub(super) file: Option<FileId>,
}

/// What a change comes to before anything is opened.
enum Proposed {
    Checked(Box<Checked>),
    Change(Box<Proposal>),
}

/// A configuration on its way into force.
struct Proposal {
    loaded: Loaded,
    /// The node's own catalog is to become this text.
    catalog_text: Option<String>,
    /// The secrets that it names and that are not written yet.
    secrets: NewSecrets,
}

impl Attempt {
    /// Tries. May block, but only for files of the state directory.
    ///
    /// # Errors
    /// Why the change cannot be made; then everything is as it was.
    pub(super) fn run(mut self) -> Result<Step, RpcError> {
        let opened = std::mem::take(&mut self.opened);
        let proposal = match self.propose() {
            Ok(Proposed::Checked(checked)) => return Ok(Step::Checked(checked)),
            Ok(Proposed::Change(proposal)) => proposal,
            Err(error) => {
                opened.into_values().for_each(|outcome| outcome.withdraw(&self.ground.state));
                return Err(error);
            }
        };
        // A volume that failed is tried again when the whole configuration is applied.
        let with_failed = matches!(self.change, Change::Apply(_));
        let volumes = self.followed.volumes.to_open(&proposal.loaded.config.volumes, with_failed);
        let missing = volumes.into_iter().filter(|v| !opened.contains_key(&v.name));
        let missing: Vec<_> = missing.map(|config| self.to_open(config)).collect();
        if !missing.is_empty() {
            assert!(opened.is_empty(), "what must be opened changed between two tries");
            let naa_oui = proposal.loaded.config.node.naa_oui;
            let wanted = Wanted { change: self.change, volumes: missing, naa_oui };
            return Ok(Step::Open(wanted));
        }
        self.write(*proposal, opened).map(|written| Step::Written(Box::new(written)))
    }

    fn propose(&self) -> Result<Proposed, RpcError> {
        let proposal = match &self.change {
            Change::Apply(apply) => self.propose_file(apply)?,
            Change::Edit(edit) => self.propose_edit(edit)?,
            Change::Resume(_) => unreachable!("a deletion that goes on changes no catalog"),
            Change::Late(_) => {
                let loaded = self.followed.loaded.clone();
                Proposal { loaded, catalog_text: None, secrets: NewSecrets::default() }
            }
        };
        self.followed.check_contradiction(&proposal.loaded)?;
        if let Change::Apply(apply) = &self.change {
            if apply.check_only {
                let checked = self.checked(proposal.loaded, &apply.file);
                return Ok(Proposed::Checked(Box::new(checked)));
            }
            if !apply.force {
                self.followed.check_not_emptied(&proposal.loaded.config, &apply.file)?;
            }
        }
        Ok(Proposed::Change(Box::new(proposal)))
    }

    /// A volume may be created with the data of its file. That is said once and not kept in the
    /// catalog: a later start must not adopt anything.
    fn to_open(&self, config: &VolumeConfig) -> ToOpen {
        let (mut config, running) = (config.clone(), &self.followed);
        let is_known = running.volumes.find(&config.name).is_some();
        let origin = match &self.change {
            Change::Edit(Edit::VolumeCreate(params)) if params.name == config.name => {
                config.adopt = params.adopt;
                Origin::Creation
            }
            _ if running.loaded.is_master => Origin::MasterFile,
            Change::Apply(_) if !is_known => Origin::NewInCatalog,
            Change::Apply(_) => Origin::Catalog { is_applied: true },
            Change::Edit(_) | Change::Late(_) | Change::Resume(_) => {
                Origin::Catalog { is_applied: false }
            }
        };
        ToOpen { config, occasion: Occasion { origin, served: running.volumes.served_files() } }
    }

    fn checked(&self, loaded: Loaded, file: &Path) -> Checked {
        let changes = difference(&self.followed.loaded.config, &loaded.config);
        let mut warnings = restart_warnings(&self.ground, &loaded);
        if let Err(refusal) = self.followed.check_not_emptied(&loaded.config, file) {
            warnings.push(refusal.message);
        }
        let applied = ConfigApplied {
            changes: changes.iter().map(ToString::to_string).collect(),
            // Known when the reactors have reported.
            ending_sessions: Vec::new(),
            warnings,
            generation: self.followed.catalog.generation(),
        };
        Checked { applied, targets: loaded.config.targets }
    }

    fn propose_file(&self, apply: &Apply) -> Result<Proposal, RpcError> {
        let running = &self.followed.loaded;
        let Some(Contents { text, secrets }) = &apply.contents else {
            unreachable!("{} is tried before it was read", apply.file.display())
        };
        let loaded = load_read(&apply.file, running.is_master, text, secrets)
            .map_err(|faults| refusal(&apply.file, &faults))?;
        let is_own = running.is_master || apply.file == running.file;
        let loaded = if is_own {
            Loaded { file: running.file.clone(), ..loaded }
        } else {
            self.as_own_catalog(&loaded, text, secrets)?
        };
        // An empty catalog is taken for a lost one.
        let is_blank = text.trim().is_empty();
        let catalog_text = match (is_own, is_blank) {
            (true, _) if running.is_master => None,
            (true, false) => None,
            (true | false, true) => Some(CATALOG_HEAD.to_owned()),
            // The node's own catalog takes over the text of another file, comments and all.
            (false, false) => Some(text.clone()),
        };
        Ok(Proposal { loaded, catalog_text, secrets: NewSecrets::default() })
    }

    /// Another file's configuration as the node's own catalog: its text must mean the same there.
    fn as_own_catalog(
        &self,
        loaded: &Loaded,
        text: &str,
        secrets: &Secrets,
    ) -> Result<Loaded, RpcError> {
        match load_read(&self.followed.loaded.file, false, text, secrets) {
            Ok(own) if own.config == loaded.config => Ok(own),
            Ok(_) | Err(_) => {
                let file = loaded.file.display().to_string();
                let sentence = format!(
                    "{file} has relative paths, which mean other files in polluxd's own catalog"
                );
                let error = RpcError::new(ErrorCode::ConfigInvalid, sentence).on(file);
                Err(error.hint("Use absolute paths."))
            }
        }
    }

    /// Changes the node's own catalog, whole or not at all.
    fn propose_edit(&self, edit: &Edit) -> Result<Proposal, RpcError> {
        if let Edit::VolumeDelete(params) = edit {
            self.volume_to_delete(params)?;
        }
        let running = &self.followed.loaded;
        let mut raw = running.raw.clone();
        let mut secrets = NewSecrets::default();
        edit.clone().change(&mut raw, &mut secrets)?;
        let text =
            catalog_text(&raw).map_err(|e| RpcError::new(ErrorCode::Internal, e.to_string()))?;
        // A file of a secret that is gone since is no fault of this edit.
        let secret = |file: &Path| match secrets.find(file) {
            Some(new) => Ok(new),
            None => running.secrets.find(file).unwrap_or_else(|| unread(file)),
        };
        let loaded = load_text_with(&running.file, false, &text, &secret).map_err(|faults| {
            // The places are those of a text that the caller has never seen.
            let sentences: Vec<_> = faults.iter().map(|f| f.sentence()).collect();
            RpcError::new(ErrorCode::InvalidParams, sentences.join("\n"))
        })?;
        Ok(Proposal { loaded, catalog_text: Some(text), secrets })
    }

    /// The volume, which no LUN may map.
    fn volume_to_delete(&self, params: &VolumeDelete) -> Result<&Volume, RpcError> {
        let name = &params.name;
        let volume = self.followed.existing_volume(name)?;
        match self.followed.luns_of(name).first() {
            None => Ok(volume),
            Some(lun) => {
                let sentence = format!("volume {name} is LUN {} of target {}", lun.lun, lun.target);
                let hint =
                    format!("Run \"perfctl target unmap {} {}\" first.", lun.target, lun.lun);
                Err(RpcError::new(ErrorCode::Busy, sentence).on(name).hint(hint))
            }
        }
    }

    /// Writes what must survive. Volumes that were created for it go again where it fails.
    fn write(
        self,
        proposal: Proposal,
        opened: BTreeMap<String, Outcome>,
    ) -> Result<Written, RpcError> {
        let ground = Arc::clone(&self.ground);
        let mut volumes = self.followed.volumes.clone();
        volumes.free(&self.closed);
        let mut planned = volumes.follow(&proposal.loaded.config.volumes, &ground.state, opened);
        let creations = std::mem::take(&mut planned.creations);
        let written = self.write_planned(proposal, planned);
        ground.state.fill_reserve();
        for creation in &creations {
            match written {
                Ok(_) => settle(creation, &ground.state),
                Err(_) => withdraw(creation, &ground.state),
            }
        }
        written
    }

    /// Writes what must survive, the decisive part last.
    fn write_planned(self, proposal: Proposal, mut planned: Planned) -> Result<Written, RpcError> {
        let Proposal { loaded, catalog_text, secrets } = proposal;
        let changes = difference(&self.followed.loaded.config, &loaded.config);
        let mut warnings = restart_warnings(&self.ground, &loaded);
        let deleted = match &self.change {
            Change::Edit(Edit::VolumeDelete(params)) => Some(self.deleted(params)?),
            Change::Edit(_) | Change::Apply(_) | Change::Late(_) | Change::Resume(_) => None,
        };
        let Self { change, followed: before, ground, opened: _, closed } = self;
        if let Change::Edit(Edit::VolumeCreate(params)) = &change
            && let Some(volume) = planned.table.find(&params.name)
            && let Err(reason) = &volume.served
        {
            let sentence = format!("volume {} cannot be served: {reason}", params.name);
            return Err(RpcError::new(ErrorCode::Environment, sentence).on(&*params.name));
        }
        warnings.append(&mut planned.warnings);
        planned.warnings.clone_from(&warnings);
        let failed = planned.table.not_served();
        warnings.extend(failed.map(|(name, reason)| not_served(name, reason)));
        let generation = before.catalog.generation() + 1;
        let (followed, stores) =
            Followed::new(generation, loaded, planned, before.ports.clone(), &ground)
                .map_err(|fault| RpcError::new(ErrorCode::ConfigInvalid, fault.to_string()))?;
        let environment = |e: &dyn std::fmt::Display| {
            RpcError::new(
                ErrorCode::Environment,
                format!("{e}; the running configuration is unchanged"),
            )
        };
        let removal = deleted.as_ref().and_then(|deleted| deleted.removal.as_ref());
        if let Some(removal) = removal {
            removal.note(&ground.state).map_err(|e| {
                let volume = &removal.volume;
                environment(&format!("cannot record the deletion of volume {volume}: {e}"))
            })?;
        }
        let keep = || -> Result<(), StartFault> {
            if followed.ports != before.ports {
                followed.keep_ports(&ground)?;
            }
            let Some(text) = &catalog_text else { return Ok(()) };
            secrets.write(&ground.state).map_err(|source| StartFault::Step {
                step: "write the CHAP secrets of",
                path: followed.loaded.file.clone(),
                source,
            })?;
            let file = &followed.loaded.file;
            let written = ground.state.replace(file, text.as_bytes(), change.space());
            written.map_err(|source| unwritten_catalog(file, source))
        };
        if let Err(fault) = keep() {
            if let Some(removal) = removal {
                // A note that stays is dropped at the next start, because the volume is there.
                let _ = removal.forget(&ground.state);
            }
            return Err(environment(&fault));
        }
        if catalog_text.is_some() {
            sweep(&ground.state, &followed.loaded.raw);
        }
        let changes = changes.iter().map(ToString::to_string).collect();
        let applied = ConfigApplied { changes, ending_sessions: Vec::new(), warnings, generation };
        Ok(Written { change, followed, stores, applied, deleted, freed: closed.len() })
    }

    fn deleted(&self, params: &VolumeDelete) -> Result<Deleted, RpcError> {
        let volume = self.volume_to_delete(params)?;
        let is_removable = volume.config.kind == VolumeKind::File && params.remove_file;
        let (removed, left) =
            if is_removable { (volume.path.clone(), None) } else { (None, volume.path.clone()) };
        // A record that cannot be read goes too.
        let record = self.ground.state.record(&params.name);
        let is_marked = self.ground.state.was_made(&params.name);
        let removal = match (&record, &removed) {
            (Ok(None), None) if !is_marked => None,
            (Ok(_) | Err(_), _) => {
                let record = record.as_ref().ok().and_then(Option::as_ref);
                Some(Removal::new(&params.name, record, removed, random_uuid).map_err(|e| {
                    let sentence =
                        format!("cannot get random numbers from the operating system: {e}");
                    RpcError::new(ErrorCode::Environment, sentence)
                })?)
            }
        };
        Ok(Deleted {
            served: volume.served.as_ref().ok().map(|record| record.id),
            removal,
            left,
            file: volume.file,
        })
    }
}

impl Followed {
    /// A file that is empty by mistake must not end all that is served.
    fn check_not_emptied(&self, config: &Config, file: &Path) -> Result<(), RpcError> {
        let running = &self.loaded.config;
        let is_empty = |config: &Config| config.volumes.is_empty() && config.targets.is_empty();
        if is_empty(running) || !is_empty(config) {
            return Ok(());
        }
        let volumes = running.volumes.iter().map(|v| format!("volume {}", v.name));
        let all = volumes.chain(running.targets.iter().map(|t| format!("target {}", t.name)));
        let all: Vec<_> = all.collect();
        let more = all.len().saturating_sub(REMOVED_SHOWN_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown: Vec<_> = all.into_iter().take(REMOVED_SHOWN_MAX).collect();
        let file = file.display();
        let sentence = format!(
            "{file} has no volumes and no targets; applying it would remove {}{more}",
            shown.join(", ")
        );
        let error = RpcError::new(ErrorCode::ConfigInvalid, sentence).on(file.to_string());
        Err(error.hint("If that is what you want, use \"perfctl apply --force\"."))
    }

    fn check_contradiction(&self, loaded: &Loaded) -> Result<(), RpcError> {
        match self.volumes.contradiction(&loaded.config.volumes) {
            None => Ok(()),
            Some((name, fault)) => {
                let sentence =
                    format!("volume {name}: {fault}; the running configuration is unchanged");
                Err(RpcError::new(ErrorCode::ConfigInvalid, sentence).on(name))
            }
        }
    }

    /// The daemon follows a file of the administrator, which nobody else changes.
    pub(super) fn master_refusal(&self) -> RpcError {
        master_refusal(&self.loaded.file)
    }
}

/// What of a configuration takes effect only at the next start: not what changed with it, but what
/// differs from what runs.
fn restart_warnings(ground: &Ground, loaded: &Loaded) -> Vec<String> {
    node_difference(&ground.started, &loaded.config)
        .iter()
        .filter(|change| change.needs_restart())
        .map(|change| format!("{change}; takes effect after a restart of polluxd"))
        .collect()
}

/// How many of the volumes and targets that a file would remove are named.
const REMOVED_SHOWN_MAX: usize = 10;

/// Why nobody but the administrator changes what a master file says.
pub(super) fn master_refusal(master: &Path) -> RpcError {
    let master = master.display();
    RpcError::new(
        ErrorCode::ConfigFileIsMaster,
        format!("the configuration is managed in {master}"),
    )
    .on(master.to_string())
    .hint("Edit that file, then run \"perfctl apply\".")
}

/// Checks a text whose secrets were read with it.
fn load_read(
    file: &Path,
    is_master: bool,
    text: &str,
    secrets: &Secrets,
) -> Result<Loaded, Vec<Fault>> {
    let secret = |file: &Path| secrets.find(file).unwrap_or_else(|| unread(file));
    load_text_with(file, is_master, text, &secret)
}

/// A secret that nobody has read: the text means another file where it stands now.
fn unread(file: &Path) -> Result<Vec<u8>, SecretFault> {
    Err(SecretFault::Unreadable(format!("{} is another file here", file.display())))
}

fn refusal(file: &Path, faults: &[Fault]) -> RpcError {
    RpcError::new(
        ErrorCode::ConfigInvalid,
        format!("{} has errors; the running configuration is unchanged", file.display()),
    )
    .on(file.display().to_string())
    .faults(faults.iter().map(ToString::to_string).collect())
}
