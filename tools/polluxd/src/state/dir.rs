//! The directory itself: created, checked, and locked against a second daemon.

use super::record::RecordFault;
use super::{PortsFile, Record, TargetPorts, durable};
use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A state directory that belongs to this process until it is dropped.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    /// Held open for its lock: closing it lets the next daemon start.
    _lock: File,
}

/// Why a state directory cannot be used.
#[derive(Debug)]
pub(crate) enum StateFault {
    /// Another daemon uses it; with its pid if known.
    Locked { path: PathBuf, pid: Option<u32> },
    /// It is writable by other users.
    OpenToOthers { path: PathBuf, mode: u32 },
    /// A system call failed.
    Step { step: &'static str, path: PathBuf, source: io::Error },
}

impl fmt::Display for StateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { path, pid } => {
                let pid = pid.map(|p| format!(" (pid {p})")).unwrap_or_default();
                write!(
                    f,
                    "state directory {} is in use by another polluxd{pid}; stop it, or choose \
                     another directory with --state-dir",
                    path.display()
                )
            }
            Self::OpenToOthers { path, mode } => write!(
                f,
                "state directory {} is writable by other users (mode {mode:04o}); run chmod 700 \
                 on it, or choose another directory with --state-dir",
                path.display()
            ),
            Self::Step { step, path, source } => {
                write!(f, "cannot {step} {}: {source}", path.display())?;
                f.write_str(advice(source.kind()))
            }
        }
    }
}

impl std::error::Error for StateFault {}

fn advice(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::PermissionDenied {
        "; run polluxd as its owner, or choose another directory with --state-dir"
    } else if [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::StorageFull].contains(&kind) {
        "; choose another directory with --state-dir"
    } else {
        ""
    }
}

impl StateDir {
    /// Creates the directory if needed (mode 0700), and locks it.
    ///
    /// # Errors
    /// It is in use, writable by others, or cannot be created.
    pub(crate) fn open(path: &Path) -> Result<Self, StateFault> {
        let parts = [VOLUMES, MARKS, CREATIONS].map(|part| path.join(part));
        for part in &parts {
            DirBuilder::new().recursive(true).mode(0o700).create(part).map_err(|source| {
                let path = path.to_owned();
                StateFault::Step { step: "create the state directory", path, source }
            })?;
        }
        refuse_open_to_others(path)?;
        for part in &parts {
            refuse_open_to_others(part)?;
        }
        let lock = lock(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Whether a daemon has served from a directory before: it leaves more than a catalog.
    pub(crate) fn was_used(path: &Path) -> bool {
        let has_entries = |part: &str| {
            path.join(part).read_dir().is_ok_and(|mut entries| entries.next().is_some())
        };
        // The first start writes identifiers of no target before its catalog.
        let has_ports = match TargetPorts::load(&path.join(PORTS)) {
            Ok(PortsFile::Read(ports)) => !ports.is_empty(),
            Ok(PortsFile::Missing) => false,
            Ok(PortsFile::Blank) | Err(_) => true,
        };
        has_ports || has_entries(VOLUMES) || has_entries(MARKS)
    }

    /// Whether volumes were created here.
    pub(crate) fn has_volumes(&self) -> bool {
        let entries = |path: PathBuf| path.read_dir().is_ok_and(|mut e| e.next().is_some());
        entries(self.volume_dir()) || entries(self.path.join(MARKS))
    }

    /// Removes the temporary files that an earlier daemon left when it was killed, but none that
    /// is a volume.
    pub(crate) fn sweep_temporaries<'a>(&self, volumes: impl Iterator<Item = &'a Path>) {
        let volumes: Vec<_> = volumes.collect();
        let own = [CATALOG, PORTS].map(|name| durable::temporary_path(&self.path.join(name)));
        let parts = [VOLUMES, MARKS, CREATIONS, SECRETS];
        let entries = parts.iter().filter_map(|part| self.path.join(part).read_dir().ok());
        let paths = entries.flatten().flatten().map(|entry| entry.path());
        let is_temporary = |path: &PathBuf| durable::is_temporary(path);
        for path in paths.filter(is_temporary).chain(own) {
            if volumes.contains(&&*path) {
                continue;
            }
            if let Err(error) = durable::remove(&path) {
                tracing::warn!(%error, "cannot remove the temporary file {}", path.display());
            }
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of file volumes without a path.
    pub(crate) fn volume_dir(&self) -> PathBuf {
        self.path.join(VOLUMES)
    }

    /// The configuration managed by perfctl.
    pub(crate) fn catalog_path(&self) -> PathBuf {
        self.path.join(CATALOG)
    }

    /// The file with the relative target port identifiers.
    pub(crate) fn ports_path(&self) -> PathBuf {
        self.path.join(PORTS)
    }

    /// The directory of the CHAP secrets that perfctl set; it is made where there is none.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn secret_dir(&self) -> io::Result<PathBuf> {
        let directory = self.path.join(SECRETS);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(directory)
    }

    /// The directory of the notes of volumes that are being created.
    pub(crate) fn creation_dir(&self) -> PathBuf {
        self.path.join(CREATIONS)
    }

    /// What says that a volume is being created, or was not created yet.
    pub(crate) fn creation_path(&self, volume: &str) -> PathBuf {
        self.creation_dir().join(volume)
    }

    /// Where the record of a volume is.
    pub(crate) fn record_path(&self, volume: &str) -> PathBuf {
        self.volume_dir().join(format!("{volume}.toml"))
    }

    /// What says that a volume was made here, even where its record is lost.
    pub(crate) fn mark_path(&self, volume: &str) -> PathBuf {
        self.path.join(MARKS).join(volume)
    }

    /// The names of the volumes that were made here, in their order; none where they cannot be
    /// read.
    pub(crate) fn known_volumes(&self) -> Vec<String> {
        let entries = self.path.join(MARKS).read_dir().into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Whether a volume was made here, and not deleted since.
    pub(crate) fn was_made(&self, volume: &str) -> bool {
        self.mark_path(volume).exists()
    }

    /// Notes, durably, that a volume was made here.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn mark_made(&self, volume: &str) -> io::Result<()> {
        if self.was_made(volume) {
            return Ok(());
        }
        durable::replace(&self.mark_path(volume), b"")
    }

    /// Forgets, durably, that a volume was made here.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn unmark(&self, volume: &str) -> io::Result<()> {
        durable::remove(&self.mark_path(volume))
    }

    /// The record of a volume; `None` if it was never created here.
    ///
    /// # Errors
    /// The record cannot be read or is invalid.
    pub(crate) fn record(&self, volume: &str) -> Result<Option<Record>, RecordFault> {
        Record::load(&self.record_path(volume))
    }

    /// Writes a volume's record, durably.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn keep_record(&self, record: &Record) -> io::Result<()> {
        durable::replace(&self.record_path(&record.name), record.to_text()?.as_bytes())
    }

    /// Removes a volume's record, durably. A crash in between leaves a record without a mark,
    /// which gets its mark back, or goes with the rest of a deletion.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn forget_record(&self, volume: &str) -> io::Result<()> {
        self.unmark(volume)?;
        durable::remove(&self.record_path(volume))
    }
}

/// The name of the configuration managed by perfctl.
pub(crate) const CATALOG: &str = "catalog.toml";
const PORTS: &str = "target-ports.toml";
const VOLUMES: &str = "volumes";
const MARKS: &str = "known";
const CREATIONS: &str = "creating";
const SECRETS: &str = "secrets";

fn refuse_open_to_others(path: &Path) -> Result<(), StateFault> {
    let metadata = path.metadata().map_err(|source| StateFault::Step {
        step: "look at the state directory",
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 == 0 {
        Ok(())
    } else {
        Err(StateFault::OpenToOthers { path: path.to_owned(), mode })
    }
}

fn lock(directory: &Path) -> Result<File, StateFault> {
    let path = directory.join("lock");
    let step = |step| {
        let path = path.clone();
        move |source: io::Error| StateFault::Step { step, path, source }
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(step("open the lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // The pid is only for the message.
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StateFault::Locked { path: directory.to_owned(), pid });
        }
        Err(errno) => return Err(step("lock")(errno.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(step("write the lock"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_reports_the_one_that_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let first = StateDir::open(&path).unwrap();
        let refused = StateDir::open(&path).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "state directory {} is in use by another polluxd (pid {}); stop it, or choose \
                 another directory with --state-dir",
                path.display(),
                std::process::id()
            )
        );
        drop(first);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn the_directory_is_created_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/state");
        StateDir::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_writable_by_others_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        let refused = StateDir::open(&path).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!(
                "state directory {} is writable by other users (mode 0777); run chmod 700 on it, \
                 or choose another directory with --state-dir",
                path.display()
            )
        );
    }
}
