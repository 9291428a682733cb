//! The list of methods.

use crate::{
    ConfigApplied, ConfigApply, ErrorCode, LunMap, LunUnmap, OperationCancel, OperationInfo,
    OperationList, OperationShow, OperationWait, Operations, RpcError, SessionDrop, SessionDropped,
    SessionList, Sessions, Shutdown, ShutdownStarted, Stats, StatsQuery, Status, StatusQuery,
    TargetCreate, TargetDelete, TargetDeleted, TargetInfo, TargetList, TargetSet, Targets,
    VolumeCreate, VolumeDelete, VolumeDeleted, VolumeInfo, VolumeList, Volumes,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The parameters of a method, with its name and result type.
pub trait Method: Serialize + DeserializeOwned + Into<Call> {
    /// The method's name on the wire.
    const NAME: &'static str;
    /// What it answers.
    type Answer: Serialize + for<'a> Deserialize<'a>;
}

/// Writes [`Call`] and the [`Method`] implementations from one list.
macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $params:ident = $name:literal -> $answer:ident;)+) => {
        /// One call: a method with its parameters.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Call {
            $($(#[doc = $doc])+ $params($params),)+
        }

        impl Call {
            /// The names of all methods.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The method's name on the wire.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$params(_) => $name,)+
                }
            }

            /// The parameters as JSON.
            ///
            /// # Errors
            /// As for [`crate::encode_line`]: none in practice.
            pub fn params(&self) -> serde_json::Result<Value> {
                match self {
                    $(Self::$params(params) => serde_json::to_value(params),)+
                }
            }

            /// The call of a method's name and parameters. No parameters are as good as an
            /// empty object.
            ///
            /// # Errors
            /// Unknown method or invalid parameters.
            pub fn from_parts(method: &str, params: Value) -> Result<Self, RpcError> {
                let params = if params.is_null() { Value::Object(Map::new()) } else { params };
                match method {
                    $($name => read_params($name, params).map(Self::$params),)+
                    unknown => Err(RpcError::new(
                        ErrorCode::MethodNotFound,
                        format!("unknown method {unknown:?}"),
                    )
                    .hint(format!("Methods: {}.", Self::NAMES.join(", ")))),
                }
            }
        }

        $(
            impl Method for $params {
                const NAME: &'static str = $name;
                type Answer = $answer;
            }

            impl From<$params> for Call {
                fn from(params: $params) -> Self {
                    Self::$params(params)
                }
            }
        )+
    };
}

methods! {
    /// Make the daemon follow a configuration.
    ConfigApply = "config.apply" -> ConfigApplied;
    /// Map a volume to a LUN of a target.
    LunMap = "lun.map" -> TargetInfo;
    /// Take a LUN away from a target.
    LunUnmap = "lun.unmap" -> TargetInfo;
    /// End an operation that has changed nothing yet.
    OperationCancel = "operation.cancel" -> OperationInfo;
    /// List the operations.
    OperationList = "operation.list" -> Operations;
    /// Show one operation.
    OperationShow = "operation.show" -> OperationInfo;
    /// Wait for the end of an operation.
    OperationWait = "operation.wait" -> OperationInfo;
    /// Close a session.
    SessionDrop = "session.drop" -> SessionDropped;
    /// List the sessions.
    SessionList = "session.list" -> Sessions;
    /// End the daemon.
    Shutdown = "shutdown" -> ShutdownStarted;
    /// Statistics.
    StatsQuery = "stats" -> Stats;
    /// How the daemon runs.
    StatusQuery = "status" -> Status;
    /// Create a target.
    TargetCreate = "target.create" -> TargetInfo;
    /// Delete a target.
    TargetDelete = "target.delete" -> TargetDeleted;
    /// List the targets.
    TargetList = "target.list" -> Targets;
    /// Change keys of a target.
    TargetSet = "target.set" -> TargetInfo;
    /// Create a volume.
    VolumeCreate = "volume.create" -> VolumeInfo;
    /// Delete a volume.
    VolumeDelete = "volume.delete" -> VolumeDeleted;
    /// List the volumes.
    VolumeList = "volume.list" -> Volumes;
}

fn read_params<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, RpcError> {
    serde_json::from_value(params).map_err(|e| {
        let sentence = format!("invalid parameters of {method}: {e}");
        RpcError::new(ErrorCode::InvalidParams, sentence)
    })
}
