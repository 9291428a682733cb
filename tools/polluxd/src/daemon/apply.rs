//! Following another configuration without touching what it does not touch.

use super::start::{keep_catalog, keep_ports};
use super::{Daemon, catalog, identity};
use crate::config::{Fault, difference};
use crate::settings::{Loaded, load_text};
use control_api::{ConfigApplied, ConfigApply, ErrorCode, RpcError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration on its way into force.
pub(super) struct Proposal {
    /// The configuration.
    pub(super) loaded: Loaded,
    /// The node's own catalog is to become this text.
    pub(super) catalog_text: Option<String>,
    /// The whole change is for this volume: without it served there is no point.
    pub(super) must_serve: Option<String>,
}

impl Daemon {
    /// Reads the configuration again and follows it, as SIGHUP and `perfctl apply` ask for. A
    /// bad one is refused as a whole, and what runs goes on.
    pub(crate) fn reload(&mut self) -> Result<ConfigApplied, RpcError> {
        self.config_apply(&ConfigApply::default())
    }

    pub(super) fn config_apply(&mut self, params: &ConfigApply) -> Result<ConfigApplied, RpcError> {
        let file = self.file_to_apply(params)?;
        let text = std::fs::read_to_string(&file).map_err(|e| {
            let sentence = format!("cannot read {}: {e}", file.display());
            RpcError::new(ErrorCode::Environment, sentence).on(file.display().to_string())
        })?;
        let loaded = match load_text(&file, self.loaded.is_master, &text) {
            Ok(loaded) => loaded,
            Err(faults) => return Err(self.refuse(&file, &faults, params.check_only)),
        };
        if params.check_only {
            return self.would_change(&loaded);
        }
        // The node's own catalog takes over the text of another file, comments and all.
        let is_own = self.loaded.is_master || file == self.loaded.file;
        let catalog_text = if is_own { None } else { Some(text) };
        let loaded = match &catalog_text {
            Some(text) => self.as_own_catalog(loaded, text)?,
            None => Loaded { file: self.loaded.file.clone(), ..loaded },
        };
        let applied = self.adopt(Proposal { loaded, catalog_text, must_serve: None });
        match &applied {
            Ok(_) => self.refused.clear(),
            Err(error) => self.refused = vec![error.message.clone()],
        }
        applied
    }

    /// Another file's configuration as the node's own catalog: its text must mean the same there.
    fn as_own_catalog(&self, loaded: Loaded, text: &str) -> Result<Loaded, RpcError> {
        match load_text(&self.loaded.file, false, text) {
            Ok(own) if own.config == loaded.config => Ok(own),
            Ok(_) | Err(_) => {
                let file = loaded.file.display().to_string();
                let sentence = format!(
                    "{file} has relative paths, which would mean others in the daemon's catalog"
                );
                let error = RpcError::new(ErrorCode::ConfigInvalid, sentence).on(file);
                Err(error.hint("Write absolute paths."))
            }
        }
    }

    /// The file that runs at the next start must be the one that runs now: with a master file,
    /// no other can be applied.
    fn file_to_apply(&self, params: &ConfigApply) -> Result<PathBuf, RpcError> {
        let Some(file) = &params.file else { return Ok(self.loaded.file.clone()) };
        let file = PathBuf::from(file);
        let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            (Ok(_) | Err(_), _) => a == b,
        };
        if !self.loaded.is_master || params.check_only || same(&file, &self.loaded.file) {
            return Ok(file);
        }
        Err(self.master_refusal())
    }

    /// The daemon follows a file of the administrator, which nobody else changes.
    pub(super) fn master_refusal(&self) -> RpcError {
        let master = self.loaded.file.display();
        RpcError::new(
            ErrorCode::ConfigFileIsMaster,
            format!("polluxd follows {master}, so that file must be changed"),
        )
        .on(master.to_string())
        .hint("Edit it, and run perfctl apply.")
    }

    fn refuse(&mut self, file: &Path, faults: &[Fault], check_only: bool) -> RpcError {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        if !check_only {
            self.refused.clone_from(&faults);
        }
        RpcError::new(
            ErrorCode::ConfigInvalid,
            format!("{} is not good; what ran before still runs", file.display()),
        )
        .on(file.display().to_string())
        .faults(faults)
    }

    fn would_change(&self, loaded: &Loaded) -> Result<ConfigApplied, RpcError> {
        self.check_contradiction(loaded)?;
        let changes = difference(&self.loaded.config, &loaded.config);
        Ok(ConfigApplied {
            changes: changes.iter().map(ToString::to_string).collect(),
            warnings: self.restart_warnings(loaded),
            generation: self.catalog.generation(),
        })
    }

    fn check_contradiction(&self, loaded: &Loaded) -> Result<(), RpcError> {
        match self.volumes.contradiction(&loaded.config.volumes) {
            None => Ok(()),
            Some((name, fault)) => {
                let sentence = format!("volume {name}: {fault}; what ran before still runs");
                Err(RpcError::new(ErrorCode::ConfigInvalid, sentence).on(name))
            }
        }
    }

    fn restart_warnings(&self, loaded: &Loaded) -> Vec<String> {
        difference(&self.loaded.config, &loaded.config)
            .iter()
            .filter(|change| change.needs_restart())
            .map(|change| format!("{change}; it takes effect when polluxd starts again"))
            .collect()
    }

    /// Brings a checked configuration into force, or leaves everything as it was.
    pub(super) fn adopt(&mut self, proposal: Proposal) -> Result<ConfigApplied, RpcError> {
        let Proposal { loaded, catalog_text, must_serve } = proposal;
        self.check_contradiction(&loaded)?;
        let changes = difference(&self.loaded.config, &loaded.config);
        let mut warnings = self.restart_warnings(&loaded);
        let identity = identity(loaded.config.node.naa_oui);
        let planned = self.volumes.plan(&loaded.config.volumes, &self.state, identity);
        if let Some(name) = must_serve
            && let Some(volume) = planned.table.find(&name)
            && let Err(reason) = &volume.served
        {
            let sentence = format!("volume {name} cannot be served: {reason}");
            return Err(RpcError::new(ErrorCode::Environment, sentence).on(name));
        }
        warnings.extend(planned.warnings);
        let mut ports = self.ports.clone();
        let catalog = catalog::build(
            self.catalog.generation() + 1,
            &loaded.config,
            &planned.table,
            &self.portals,
            &mut ports,
        )
        .map_err(|fault| RpcError::new(ErrorCode::ConfigInvalid, fault.to_string()))?;
        let environment = |e: crate::start_fault::StartFault| {
            RpcError::new(ErrorCode::Environment, format!("{e}; what ran before still runs"))
        };
        keep_ports(&self.state, &ports).map_err(environment)?;
        if let Some(text) = catalog_text {
            keep_catalog(&loaded.file, &text).map_err(environment)?;
        }
        let catalog = Arc::new(catalog);
        self.node.apply(Arc::clone(&catalog), planned.stores);
        self.catalog = catalog;
        self.volumes = planned.table;
        self.ports = ports;
        self.settings.follow(&loaded.config);
        self.loaded = loaded;
        self.config_warnings.clone_from(&warnings);
        for change in &changes {
            tracing::info!("{change}");
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(ConfigApplied {
            changes: changes.iter().map(ToString::to_string).collect(),
            warnings,
            generation: self.catalog.generation(),
        })
    }
}
