//! Start errors, with their likely cause and what to try.

use crate::config::Fault;
use crate::control::ControlFault;
use crate::files::ReadFault;
use crate::listen::ListenFault;
use crate::state::StateFault;
use reactor::StartError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use volume::CatalogFault;

/// A start error.
#[derive(Debug)]
pub(crate) enum StartFault {
    /// The node's own catalog, which it had before, is gone or empty.
    CatalogLost { file: PathBuf, what: &'static str },
    /// The configured volumes and targets conflict.
    Catalog(CatalogFault),
    /// The configuration is invalid.
    Config(Vec<Fault>),
    /// The control socket cannot be created.
    Control(ControlFault),
    /// The control thread cannot poll for events.
    ControlLoop(io::Error),
    /// Cannot listen on a portal.
    Listen(ListenFault),
    /// The log filter is invalid.
    Log { filter: String, error: tracing_subscriber::filter::ParseError },
    /// The CPU affinity cannot be determined.
    NoCore(io::Error),
    /// The default state directory cannot be determined.
    NoStateDir,
    /// The reactors failed to start.
    Node(StartError),
    /// The identifiers of the targets, which it had before, are gone.
    PortsLost { path: PathBuf, what: &'static str },
    /// The configuration cannot be read.
    Read { path: PathBuf, fault: ReadFault },
    /// The state directory cannot be used.
    State(StateFault),
    /// A system call failed.
    Step { step: &'static str, path: PathBuf, source: io::Error },
    /// The configuration cannot be serialized.
    Unwritable(toml::ser::Error),
    /// No thread for what may block.
    Workers(io::Error),
}

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CatalogLost { file, what } => write!(
                f,
                "{file} {what}; restore it from a backup, or start polluxd with --config FILE. To \
                 begin with no volumes and no targets, run: echo '# empty' > {file}",
                file = file.display()
            ),
            Self::Catalog(fault) => fault.fmt(f),
            Self::Config(faults) => {
                let sentences: Vec<_> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&sentences.join("\n"))
            }
            Self::Control(fault) => fault.fmt(f),
            Self::ControlLoop(error) => {
                write!(f, "the control thread cannot poll for events: {error}")
            }
            Self::Listen(fault) => fault.fmt(f),
            Self::Log { filter, error } => write!(
                f,
                "invalid log filter {filter:?}: {error}; use for example info, debug or \
                 polluxd=trace"
            ),
            Self::NoCore(source) => {
                write!(f, "cannot get the CPU affinity: {source}; specify --cores")
            }
            Self::NoStateDir => f.write_str(
                "cannot determine the state directory: neither XDG_STATE_HOME nor HOME is set; \
                 specify --state-dir",
            ),
            Self::Node(error) => error.fmt(f),
            Self::PortsLost { path, what } => write!(
                f,
                "{path} {what}; restore it from a backup, because hosts know the targets by the \
                 identifiers in it. To give all targets new ones, run: echo '[ports]' > {path}",
                path = path.display()
            ),
            Self::Read { path, fault } => {
                write!(f, "cannot read the configuration {}: {fault}", path.display())
            }
            Self::State(fault) => fault.fmt(f),
            Self::Step { step, path, source } => {
                write!(f, "cannot {step} {}: {source}", path.display())
            }
            Self::Workers(error) => write!(
                f,
                "cannot start a worker thread: {error}; is the limit on processes reached?"
            ),
            Self::Unwritable(error) => write!(f, "cannot serialize the configuration: {error}"),
        }
    }
}

impl std::error::Error for StartFault {}

impl From<CatalogFault> for StartFault {
    fn from(fault: CatalogFault) -> Self {
        Self::Catalog(fault)
    }
}

impl From<StateFault> for StartFault {
    fn from(fault: StateFault) -> Self {
        Self::State(fault)
    }
}

impl From<ControlFault> for StartFault {
    fn from(fault: ControlFault) -> Self {
        Self::Control(fault)
    }
}

impl From<ListenFault> for StartFault {
    fn from(fault: ListenFault) -> Self {
        Self::Listen(fault)
    }
}
