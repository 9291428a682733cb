//! `operation.*`: following what takes longer than a call.

use crate::RpcError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The answer to any call that is not done at once, in place of its own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// The operation to follow.
    pub operation: u64,
}

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered<T> {
    /// It is done.
    Done(T),
    /// It goes on as this operation.
    Started(u64),
}

impl<T: DeserializeOwned> Answered<T> {
    /// Reads the result of a response.
    ///
    /// # Errors
    /// It is neither the method's answer nor the number of an operation.
    pub fn from_value(result: Value) -> serde_json::Result<Self> {
        // No method's answer has this field at its top.
        if result.get("operation").is_some() {
            let started: Started = serde_json::from_value(result)?;
            return Ok(Self::Started(started.operation));
        }
        serde_json::from_value(result).map(Self::Done)
    }
}

/// `operation.cancel`: ends an operation that has changed nothing yet, because it reads a file or
/// waits for an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationCancel {
    /// The operation.
    pub id: u64,
}

/// `operation.list`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationList {}

/// The answer to `operation.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operations {
    /// Those under way and the last ones that have ended, oldest first.
    pub operations: Vec<OperationInfo>,
}

/// `operation.show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationShow {
    /// The operation.
    pub id: u64,
}

/// `operation.wait`: answers when the operation has ended, but after 5 s at the latest. Call it
/// again for an operation that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationWait {
    /// The operation.
    pub id: u64,
}

/// How far an operation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum OperationState {
    /// It has ended well.
    Done {
        /// What the call that began it would have answered.
        result: Value,
    },
    /// It has failed.
    Failed {
        /// Why.
        error: RpcError,
    },
    /// It is under way.
    Running {
        /// What it does now.
        step: String,
    },
    /// An earlier operation on the same volume or target must end first.
    Waiting,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationInfo {
    /// Its number, never used twice while the daemon runs.
    pub id: u64,
    /// The method that began it.
    pub method: String,
    /// The volume, target or file.
    pub subject: String,
    /// Milliseconds from its begin to its end, or until now.
    pub duration_ms: u64,
    /// How far it is.
    #[serde(flatten)]
    pub state: OperationState,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, VolumeDeleted};
    use serde_json::json;

    #[test]
    fn an_operation_is_told_from_an_answer() {
        let started: Answered<VolumeDeleted> =
            Answered::from_value(json!({"operation": 7})).unwrap();
        assert_eq!(started, Answered::Started(7));
        let answer = json!({"name": "a", "file_left": null});
        let done = Answered::from_value(answer).unwrap();
        assert_eq!(done, Answered::Done(VolumeDeleted { name: "a".into(), file_left: None }));
    }

    #[test]
    fn a_failed_operation_carries_its_error() {
        let info = OperationInfo {
            id: 3,
            method: "volume.create".into(),
            subject: "a".into(),
            duration_ms: 15_000,
            state: OperationState::Failed {
                error: RpcError::new(ErrorCode::Environment, "the device is in use").on("a"),
            },
        };
        let json = json!({
            "id": 3, "method": "volume.create", "subject": "a", "duration_ms": 15_000,
            "state": "failed",
            "error": {"code": -32006, "message": "the device is in use", "data": {"object": "a"}},
        });
        assert_eq!(serde_json::to_value(&info).unwrap(), json);
        assert_eq!(serde_json::from_value::<OperationInfo>(json).unwrap(), info);
    }
}
