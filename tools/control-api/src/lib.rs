//! The JSON-RPC 2.0 types that polluxd and perfctl share.
//!
//! One message is one line of JSON on a UNIX stream socket. A [`Request`] names a method of
//! [`Call`]; each method has a parameter type (which implements [`Method`]) and an answer type.
//! Every call is answered within 100 ms: one that is not done by then goes on as an operation,
//! and [`Answered`] tells the two answers apart.
//! Nothing here opens a socket or reads a clock.

mod call;
mod config;
mod error;
mod framing;
mod operation;
mod paths;
mod rpc;
mod secret;
mod session;
mod size;
mod stats;
mod status;
mod target;
mod volume;

pub use call::{Call, Method};
pub use config::{ConfigApplied, ConfigApply, Shutdown, ShutdownStarted};
pub use error::{ErrorCode, ErrorData, RpcError};
pub use framing::{ANSWER_BYTES_MAX, LineBuffer, LineTooLong, REQUEST_BYTES_MAX, encode_line};
pub use operation::{
    Answered, OperationCancel, OperationInfo, OperationList, OperationShow, OperationState,
    OperationWait, Operations, Started,
};
pub use paths::{CONTROL_SOCKET_NAME, default_state_dir};
pub use rpc::{Id, Request, Response, Version};
pub use secret::Secret;
pub use session::{SessionDrop, SessionDropped, SessionInfo, SessionList, Sessions};
pub use size::{InvalidSize, parse_size};
pub use stats::{
    ErrorCount, Histogram, LunName, OperationStats, Percentiles, ReactorStats, SessionStats, Stats,
    StatsQuery, VolumeStats,
};
pub use status::{PortalInfo, Setting, Status, StatusQuery};
pub use target::{
    Change, Credential, LunInfo, LunMap, LunUnmap, TargetCreate, TargetDelete, TargetDeleted,
    TargetInfo, TargetList, TargetSet, Targets,
};
pub use volume::{
    VolumeCreate, VolumeDelete, VolumeDeleted, VolumeInfo, VolumeKind, VolumeList, VolumeState,
    Volumes,
};

#[cfg(test)]
mod tests;
