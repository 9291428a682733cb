//! Why a command failed: the error message and the exit code.

use control_api::RpcError;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon sent a response that this version cannot parse; holds the parse error.
    Answer(String),
    /// Cannot connect to the control socket.
    Connect { socket: PathBuf, source: io::Error },
    /// A file cannot be written.
    File { path: PathBuf, source: io::Error },
    /// The call goes on as this operation, and nobody waits for it.
    GoesOn(u64),
    /// The benchmark could not start, or some of its commands failed.
    Load(String),
    /// The connection was closed or timed out during a call.
    Lost { socket: PathBuf, source: io::Error },
    /// The default socket path cannot be determined.
    NoSocketName,
    /// The output cannot be written.
    Output(io::Error),
    /// The daemon rejected the request.
    Refused(RpcError),
    /// A terminal operation failed.
    Terminal(io::Error),
    /// The command line is invalid.
    Usage(String),
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// The error message. `None` if the reader of our output closed the pipe: quitting a pager
    /// is not a failure.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Self::Output(error) => Some(format!("cannot write to standard output: {error}")),
            Self::Answer(what) => Some(format!(
                "invalid response from polluxd: {what}. Check that perfctl and polluxd have the \
                 same version."
            )),
            Self::Connect { socket, source } => Some(connect_message(socket, source)),
            Self::File { path, source } => Some(format!(
                "cannot write {}: {source}. Check that the directory exists and is writable.",
                path.display()
            )),
            Self::Lost { socket, source } => Some(format!(
                "lost connection to polluxd at {}: {source}. See the log of polluxd.",
                socket.display()
            )),
            Self::NoSocketName => Some(
                "cannot determine the control socket: neither XDG_STATE_HOME nor HOME is set. \
                 Specify the socket with --control."
                    .into(),
            ),
            Self::Refused(error) => Some(error.to_string()),
            Self::Terminal(error) => Some(format!(
                "cannot use the terminal: {error}. Use `perfctl stats --watch` instead."
            )),
            // Its number is the answer.
            Self::GoesOn(_) => None,
            Self::Load(message) | Self::Usage(message) => Some(message.clone()),
        }
    }

    /// The exit code, as documented by `perfctl --help`.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::GoesOn(_) => ExitCode::SUCCESS,
            Self::Refused(_)
            | Self::Output(_)
            | Self::File { .. }
            | Self::Load(_)
            | Self::Terminal(_) => ExitCode::from(1),
            Self::Usage(_) | Self::NoSocketName => ExitCode::from(2),
            Self::Answer(_) | Self::Connect { .. } | Self::Lost { .. } => ExitCode::from(3),
        }
    }
}

fn connect_message(socket: &Path, source: &io::Error) -> String {
    let socket = socket.display();
    let kind = source.kind();
    let why = if kind == io::ErrorKind::NotFound {
        "socket not found. Start polluxd, or specify its socket with --control; polluxd prints \
         the path at startup."
            .to_owned()
    } else if kind == io::ErrorKind::ConnectionRefused {
        "connection refused. No polluxd is listening on this socket; restart polluxd.".to_owned()
    } else if kind == io::ErrorKind::PermissionDenied {
        "permission denied. Run perfctl as the user that runs polluxd.".to_owned()
    } else {
        source.to_string()
    };
    format!("cannot connect to polluxd at {socket}: {why}")
}
