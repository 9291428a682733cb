//! Why a command did not do what was asked: a sentence and an exit code.

use control_api::RpcError;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A failed command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The daemon's answer is not what this version expects. What is wrong with it.
    Answer(String),
    /// No connection could be made.
    Connect { socket: PathBuf, source: io::Error },
    /// A file cannot be written.
    File { path: PathBuf, source: io::Error },
    /// The call goes on as this operation, and nobody waits for it.
    GoesOn(u64),
    /// No load can be made, or commands of it failed.
    Load(String),
    /// The connection ended or stalled in the middle of a call.
    Lost { socket: PathBuf, source: io::Error },
    /// There is no place where a daemon's socket would be.
    NoSocketName,
    /// The output cannot be written.
    Output(io::Error),
    /// The daemon said no.
    Refused(RpcError),
    /// The terminal does not do what is needed of it.
    Terminal(io::Error),
    /// The command line makes no sense.
    Usage(String),
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// What to tell the user. Nothing where whoever read our output has gone: a pager that was
    /// left is no failure.
    pub(crate) fn sentence(&self) -> Option<String> {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Self::Output(error) => Some(format!("cannot write the output: {error}")),
            Self::Answer(what) => Some(format!(
                "the daemon's answer makes no sense: {what}; are perfctl and polluxd of the same \
                 version?"
            )),
            Self::Connect { socket, source } => Some(connect_sentence(socket, source)),
            Self::File { path, source } => Some(format!(
                "cannot write {}: {source}. Is the directory there, and may you write to it?",
                path.display()
            )),
            Self::Lost { socket, source } => Some(format!(
                "the connection to the daemon at {} ended: {source}. Its log says why.",
                socket.display()
            )),
            Self::NoSocketName => Some(
                "neither XDG_STATE_HOME nor HOME is set; name the daemon's socket with --control"
                    .into(),
            ),
            Self::Refused(error) => Some(error.to_string()),
            Self::Terminal(error) => Some(format!(
                "cannot use the terminal: {error}; `perfctl stats --watch` needs none"
            )),
            // Its number is the answer.
            Self::GoesOn(_) => None,
            Self::Load(sentence) | Self::Usage(sentence) => Some(sentence.clone()),
        }
    }

    /// The exit code, as `perfctl --help` documents it.
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

fn connect_sentence(socket: &Path, source: &io::Error) -> String {
    let socket = socket.display();
    let kind = source.kind();
    let why = if kind == io::ErrorKind::NotFound {
        format!(
            "there is no socket {socket}. Start polluxd, or name its socket with --control; \
             polluxd prints it when it starts."
        )
    } else if kind == io::ErrorKind::ConnectionRefused {
        format!("nobody answers at {socket}. The polluxd that made it has ended; start it again.")
    } else if kind == io::ErrorKind::PermissionDenied {
        format!("{socket} belongs to another user. Run perfctl as the user that polluxd runs as.")
    } else {
        format!("{socket}: {source}")
    };
    format!("no daemon can be reached: {why}")
}
