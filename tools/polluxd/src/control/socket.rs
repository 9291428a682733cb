//! The control socket's name in the file system.

use mio::net::UnixListener;
use rustix::fs::Mode;
use rustix::process::umask;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The listening control socket. Its name goes when it is dropped.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A name that stays is recognised as stale at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Why there is no control socket.
#[derive(Debug)]
pub(crate) enum ControlFault {
    /// Another daemon answers there.
    Answered { path: PathBuf },
    /// The path is something else.
    NoSocket { path: PathBuf },
    /// The operating system refused a step.
    Step { step: &'static str, path: PathBuf, source: io::Error },
    /// The path does not fit into the address of a UNIX socket.
    TooLong { path: PathBuf },
}

impl fmt::Display for ControlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { path } => write!(
                f,
                "another polluxd is listening on the control socket {}; stop it, or choose another \
                 path with --control",
                path.display()
            ),
            Self::NoSocket { path } => write!(
                f,
                "{} exists and is not a socket; remove it, or choose another path with --control",
                path.display()
            ),
            Self::Step { step, path, source } => {
                write!(f, "cannot {step} the control socket {}: {source}", path.display())
            }
            Self::TooLong { path } => write!(
                f,
                "the path of the control socket {} is longer than {SOCKET_PATH_BYTES_MAX} bytes; \
                 choose a shorter one with --control",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ControlFault {}

/// What an address of a UNIX socket holds besides its terminating zero (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl ControlSocket {
    /// Listens at a path, for its owner alone. What an earlier daemon left there is removed, but
    /// only if nobody answers.
    ///
    /// # Errors
    /// Why there is no socket.
    pub(super) fn bind(path: &Path) -> Result<Self, ControlFault> {
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(ControlFault::TooLong { path: path.to_owned() });
        }
        remove_stale(path)?;
        // A mode set after binding would leave a moment in which others could connect.
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(|source| ControlFault::Step {
            step: "create",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

fn remove_stale(path: &Path) -> Result<(), ControlFault> {
    let path = path.to_owned();
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ControlFault::NoSocket { path });
    }
    match UnixStream::connect(&path) {
        Ok(_) => Err(ControlFault::Answered { path }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(&path)
            .map_err(|source| ControlFault::Step { step: "remove the stale", path, source }),
        Err(source) => Err(ControlFault::Step { step: "connect to", path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_socket_is_for_its_owner_alone_and_goes_with_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = ControlSocket::bind(&path).unwrap();
        let fault = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(fault, ControlFault::Answered { .. }));
        drop(live);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        let fault = ControlSocket::bind(&path).unwrap_err();
        assert!(matches!(fault, ControlFault::NoSocket { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused_with_the_reason() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let fault = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(fault.contains("is longer than 107 bytes"), "{fault}");
    }
}
