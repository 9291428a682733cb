//! Reading a configuration with all that it names, on a worker: any of these files may be on a file
//! system that does not answer.

use super::apply::master_refusal;
use crate::files::read_text;
use crate::settings::Secrets;
use control_api::{ErrorCode, RpcError};
use std::path::{Path, PathBuf};
use units::limits::CONFIG_FILE_BYTES_MAX;

/// A configuration as it was read.
#[derive(Debug)]
pub(super) struct Contents {
    /// Its text.
    pub(super) text: String,
    /// The secrets that it names.
    pub(super) secrets: Secrets,
}

/// A file to read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) file: PathBuf,
    /// The only file that can be applied: what runs at the next start must be what runs now.
    pub(super) master: Option<PathBuf>,
}

impl Reading {
    /// Reads it. May block.
    ///
    /// # Errors
    /// It cannot be applied or read.
    pub(super) fn run(&self) -> Result<Contents, RpcError> {
        let file = self.file.as_path();
        if let Some(master) = &self.master
            && !is_same(file, master)
        {
            return Err(master_refusal(master));
        }
        let text = read_text(file, CONFIG_FILE_BYTES_MAX).map_err(|fault| {
            let sentence = format!("cannot read {}: {fault}", file.display());
            RpcError::new(ErrorCode::Environment, sentence).on(file.display().to_string())
        })?;
        let secrets = Secrets::read(file, &text);
        Ok(Contents { text, secrets })
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        (Ok(_) | Err(_), _) => a == b,
    }
}
