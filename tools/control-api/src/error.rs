//! What a caller is told when a call did not do what was asked.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a call failed, for programs. Those from -32700 to -32600 are of JSON-RPC 2.0 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i64", from = "i64")]
pub enum ErrorCode {
    /// An object of this name is there already.
    AlreadyExists,
    /// The object is in use; what uses it must go first.
    Busy,
    /// The daemon follows a configuration file, which must be changed instead.
    ConfigFileIsMaster,
    /// The configuration breaks a rule. What ran before still runs.
    ConfigInvalid,
    /// The operating system refused something.
    Environment,
    /// A failure that is the daemon's own fault (JSON-RPC 2.0 5.1).
    Internal,
    /// The parameters are not those of the method (JSON-RPC 2.0 5.1).
    InvalidParams,
    /// The line is JSON but no request (JSON-RPC 2.0 5.1).
    InvalidRequest,
    /// There is no such method (JSON-RPC 2.0 5.1).
    MethodNotFound,
    /// There is no object of this name.
    NotFound,
    /// The line is not JSON (JSON-RPC 2.0 5.1).
    Parse,
    /// A limit is reached; try again when there is room.
    TooMany,
    /// A code that this version does not know.
    Unknown(i64),
}

impl From<ErrorCode> for i64 {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Parse => -32700,
            ErrorCode::InvalidRequest => -32600,
            ErrorCode::MethodNotFound => -32601,
            ErrorCode::InvalidParams => -32602,
            ErrorCode::Internal => -32603,
            ErrorCode::NotFound => -32001,
            ErrorCode::AlreadyExists => -32002,
            ErrorCode::Busy => -32003,
            ErrorCode::ConfigFileIsMaster => -32004,
            ErrorCode::ConfigInvalid => -32005,
            ErrorCode::Environment => -32006,
            ErrorCode::TooMany => -32007,
            ErrorCode::Unknown(number) => number,
        }
    }
}

impl From<i64> for ErrorCode {
    fn from(number: i64) -> Self {
        match number {
            -32700 => Self::Parse,
            -32600 => Self::InvalidRequest,
            -32601 => Self::MethodNotFound,
            -32602 => Self::InvalidParams,
            -32603 => Self::Internal,
            -32001 => Self::NotFound,
            -32002 => Self::AlreadyExists,
            -32003 => Self::Busy,
            -32004 => Self::ConfigFileIsMaster,
            -32005 => Self::ConfigInvalid,
            -32006 => Self::Environment,
            -32007 => Self::TooMany,
            other => Self::Unknown(other),
        }
    }
}

/// What helps a person beyond the sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorData {
    /// The object at fault: the name of a volume, a target, a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// All faults, where one call can have several: those of a configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// A failed call (JSON-RPC 2.0 5.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcError {
    /// The reason, for programs.
    pub code: ErrorCode,
    /// The reason, as a sentence.
    pub message: String,
    /// What else helps.
    #[serde(default)]
    pub data: Box<ErrorData>,
}

impl RpcError {
    /// A failure of this code and sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: Box::default() }
    }

    /// The same with the object at fault.
    #[must_use]
    pub fn on(mut self, object: impl Into<String>) -> Self {
        self.data.object = Some(object.into());
        self
    }

    /// The same with what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.data.hint = Some(hint.into());
        self
    }

    /// The same with all faults.
    #[must_use]
    pub fn faults(mut self, faults: Vec<String>) -> Self {
        self.data.faults = faults;
        self
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for fault in &self.data.faults {
            write!(f, "\n  {fault}")?;
        }
        if let Some(hint) = &self.data.hint {
            write!(f, "\n{hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RpcError {}
