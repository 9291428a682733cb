//! Why the daemon does not start, as sentences that say what to do.

use crate::config::Fault;
use crate::control::ControlFault;
use crate::listen::ListenFault;
use crate::state::StateFault;
use reactor::StartError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use volume::CatalogFault;

/// Why the daemon does not start.
#[derive(Debug)]
pub(crate) enum StartFault {
    /// What is configured cannot be served together.
    Catalog(CatalogFault),
    /// The configuration has faults.
    Config(Vec<Fault>),
    /// The control socket cannot be made.
    Control(ControlFault),
    /// The control thread cannot wait for anything.
    ControlLoop(io::Error),
    /// A portal cannot be listened on.
    Listen(ListenFault),
    /// The text does not say what to log.
    Log { filter: String, error: tracing_subscriber::filter::ParseError },
    /// No core can be used.
    NoCore(io::Error),
    /// Nobody says where the state is.
    NoStateDir,
    /// The reactors do not start.
    Node(StartError),
    /// The state directory cannot be used.
    State(StateFault),
    /// The operating system refused a step.
    Step { step: &'static str, path: PathBuf, source: io::Error },
    /// The configuration has no form as text.
    Unwritable(toml::ser::Error),
}

impl fmt::Display for StartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog(fault) => fault.fmt(f),
            Self::Config(faults) => {
                let sentences: Vec<_> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&sentences.join("\n"))
            }
            Self::Control(fault) => fault.fmt(f),
            Self::ControlLoop(error) => write!(f, "the control thread cannot wait: {error}"),
            Self::Listen(fault) => fault.fmt(f),
            Self::Log { filter, error } => write!(
                f,
                "{filter:?} does not say what to log: {error}; use something like info, debug or \
                 polluxd=trace"
            ),
            Self::NoCore(source) => {
                write!(f, "cannot find out which cores may be used: {source}; use --cores")
            }
            Self::NoStateDir => f.write_str(
                "neither XDG_STATE_HOME nor HOME is set; name a state directory with --state-dir",
            ),
            Self::Node(error) => error.fmt(f),
            Self::State(fault) => fault.fmt(f),
            Self::Step { step, path, source } => {
                write!(f, "cannot {step} {}: {source}", path.display())
            }
            Self::Unwritable(error) => write!(f, "the configuration has no form as text: {error}"),
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
