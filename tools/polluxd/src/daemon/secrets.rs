//! The CHAP secrets that perfctl sets. Each is in a file of its own in the state directory, which
//! the catalog names: a file is written before the catalog that names it, and removed after the
//! catalog that no longer does.

use super::random_uuid;
use crate::config::{RawConfig, RawCredential};
use crate::state::{StateDir, durable};
use control_api::{ErrorCode, RpcError, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// The secrets that a change brings, by the names of their files.
#[derive(Debug, Default)]
pub(super) struct NewSecrets {
    files: BTreeMap<OsString, Secret>,
}

/// The directory of the files, relative to that of the catalog.
const DIRECTORY: &str = "secrets";

/// Hexadecimal digits that tell a new secret of a key from the one before.
const RANDOM_DIGITS: usize = 8;

impl NewSecrets {
    /// Takes in the secret of a key of a target. Returns its file as the catalog names it.
    ///
    /// # Errors
    /// No random numbers.
    pub(super) fn add(
        &mut self,
        target: &str,
        key: &str,
        secret: Secret,
    ) -> Result<String, RpcError> {
        let random = random_uuid().map_err(|e| {
            let sentence = format!("cannot get random numbers from the operating system: {e}");
            RpcError::new(ErrorCode::Environment, sentence)
        })?;
        let random: String = random.chars().take(RANDOM_DIGITS).collect();
        let name = format!("{target}.{key}.{random}");
        self.files.insert(name.clone().into(), secret);
        Ok(format!("{DIRECTORY}/{name}"))
    }

    /// The secret of a file that is not written yet.
    pub(super) fn find(&self, file: &Path) -> Option<Vec<u8>> {
        self.files.get(file.file_name()?).map(|secret| secret.bytes().to_vec())
    }

    /// Writes the files, durably.
    ///
    /// # Errors
    /// The failed system call.
    pub(super) fn write(&self, state: &StateDir) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let directory = state.secret_dir()?;
        let mut files = self.files.iter();
        files.try_for_each(|(name, secret)| durable::replace(&directory.join(name), secret.bytes()))
    }
}

/// Whether a file has a name as [`NewSecrets::add`] gives them: others are somebody else's.
fn is_own(name: &OsStr) -> bool {
    let mut parts = name.to_str().unwrap_or_default().rsplitn(3, '.');
    let (random, key) = (parts.next().unwrap_or_default(), parts.next());
    random.len() == RANDOM_DIGITS
        && random.bytes().all(|digit| digit.is_ascii_hexdigit())
        && ["chap", "mutual_chap"].map(Some).contains(&key)
        && parts.next().is_some()
}

/// Removes the files that a catalog does not name. What cannot be removed now is removed with the
/// next change.
pub(super) fn sweep(state: &StateDir, catalog: &RawConfig) {
    let Ok(entries) = std::fs::read_dir(state.path().join(DIRECTORY)) else { return };
    let named = names(catalog);
    let is_unused = |name: &OsString| is_own(name) && !named.contains(name);
    for entry in entries.flatten().filter(|entry| is_unused(&entry.file_name())) {
        if let Err(error) = durable::remove(&entry.path()) {
            let file = entry.path();
            tracing::warn!(%error, "cannot remove the unused secret {}", file.display());
        }
    }
}

fn names(catalog: &RawConfig) -> BTreeSet<OsString> {
    let targets = catalog.targets.iter().flat_map(|t| [t.chap.as_ref(), t.mutual_chap.as_ref()]);
    let discovery = catalog.discovery.iter();
    let discovery = discovery.flat_map(|d| [d.chap.as_ref(), d.mutual_chap.as_ref()]);
    let name = |credential: &RawCredential| {
        Path::new(credential.secret_file.get_ref()).file_name().map(ToOwned::to_owned)
    };
    targets.chain(discovery).flatten().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RawTarget, unplaced};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_private_and_goes_when_no_catalog_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let mut secrets = NewSecrets::default();
        let mut add = |key| {
            let secret = Secret::new("correct horse battery".into());
            secrets.add("iqn.2026-11.a", key, secret).unwrap()
        };
        let (kept, swept) = (add("chap"), add("mutual_chap"));
        assert!(kept.starts_with("secrets/iqn.2026-11.a.chap."), "{kept}");
        let kept = state.path().join(kept);
        assert_eq!(secrets.find(&kept).unwrap(), b"correct horse battery");
        secrets.write(&state).unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), b"correct horse battery");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700));
        let name = format!("secrets/{}", kept.file_name().unwrap().to_str().unwrap());
        let credential =
            RawCredential { name: unplaced("alice".into()), secret_file: unplaced(name) };
        let target = RawTarget { chap: Some(credential), ..RawTarget::new("iqn.2026-11.a") };
        sweep(&state, &RawConfig { targets: vec![target], ..RawConfig::default() });
        assert!(kept.exists() && !state.path().join(swept).exists());
        sweep(&state, &RawConfig::default());
        assert!(!kept.exists());
    }

    /// Every file in the directory was removed with the next change.
    #[test]
    fn files_that_somebody_else_put_there_stay() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let directory = state.secret_dir().unwrap();
        let foreign = ["README", "a.chap", "a.chap.1234567", "a.chap.1234567x", "a.key.12345678"];
        for name in foreign {
            std::fs::write(directory.join(name), "precious").unwrap();
        }
        sweep(&state, &RawConfig::default());
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), foreign.len());
    }
}
