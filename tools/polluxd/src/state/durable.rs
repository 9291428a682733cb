//! Atomic, durable file updates.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces the content of a file. It is durable when this returns; after an error or a crash
/// the file has its old content.
///
/// # Errors
/// The failed system call.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_path(path);
    let mut file = create(&temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    remove_unless_written(written, &temporary)?;
    sync_directory_of(path)
}

/// The same with the allocated space of a file, which is renamed.
///
/// # Errors
/// The failed system call.
pub(super) fn become_file(reserve: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(reserve)?;
    file.write_all(bytes)?;
    // No file has more bytes than that.
    file.set_len(u64::try_from(bytes.len()).map_err(io::Error::other)?)?;
    file.sync_all()?;
    fs::rename(reserve, path)?;
    sync_directory_of(reserve)?;
    sync_directory_of(path)
}

/// Creates a sparse file of this length atomically.
///
/// # Errors
/// The failed system call; `AlreadyExists` if the file exists.
pub(crate) fn create_sparse(path: &Path, bytes: u64) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let temporary = temporary_path(path);
    let file = create(&temporary)?;
    let written = file
        .set_len(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    remove_unless_written(written, &temporary)?;
    sync_directory_of(path)
}

/// Leaves no temporary file behind.
fn remove_unless_written(written: io::Result<()>, temporary: &Path) -> io::Result<()> {
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(temporary);
    }
    written
}

/// Removes a file durably. A missing file is not an error.
///
/// # Errors
/// The failed system call.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Renames a file in its directory, durably.
///
/// # Errors
/// What the operating system says.
pub(crate) fn rename(path: &Path, new: &Path) -> io::Result<()> {
    fs::rename(path, new)?;
    sync_directory_of(path)
}

/// Syncs the directory of a file, to make its entries durable.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The temporary file that is renamed to `path`. Leftovers of a crash are overwritten. No volume
/// name begins with a dot.
pub(super) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// Whether a file is named as a temporary one.
pub(super) fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
    name.starts_with(b".") && name.ends_with(b".new")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_atomically_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.toml");
        replace(&path, b"a long first content").unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.toml");
        replace(&path, b"old").unwrap();
        // The state on disk after a crash in the middle of a write.
        fs::write(dir.path().join(".catalog.toml.new"), b"ne").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replace(&path, b"newer").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.toml");
        replace(&path, b"old").unwrap();
        // A directory has the name of the temporary file.
        fs::create_dir(dir.path().join(".catalog.toml.new")).unwrap();
        assert!(replace(&path, b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.toml");
        // A file cannot take the name of a directory.
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_sparse_file_never_replaces_an_existing_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo.img");
        create_sparse(&path, 1 << 30).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 1 << 30);
        let again = create_sparse(&path, 4096).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(path.metadata().unwrap().len(), 1 << 30);
    }

    #[test]
    fn removing_a_missing_file_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo.toml");
        replace(&path, b"x").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
