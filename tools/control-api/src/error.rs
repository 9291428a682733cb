//! Error responses.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Machine-readable error codes. Those from -32700 to -32600 are defined in JSON-RPC 2.0 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i64", from = "i64")]
pub enum ErrorCode {
    /// An object with this name already exists.
    AlreadyExists,
    /// The object is in use; remove its users first.
    Busy,
    /// The configuration file is authoritative; change it instead.
    ConfigFileIsMaster,
    /// The configuration is invalid. The previous one stays active.
    ConfigInvalid,
    /// A system call failed.
    Environment,
    /// An internal error of the daemon (JSON-RPC 2.0 5.1).
    Internal,
    /// Invalid parameters (JSON-RPC 2.0 5.1).
    InvalidParams,
    /// The line is JSON but not a request (JSON-RPC 2.0 5.1).
    InvalidRequest,
    /// Unknown method (JSON-RPC 2.0 5.1).
    MethodNotFound,
    /// No object has this name.
    NotFound,
    /// The line is not JSON (JSON-RPC 2.0 5.1).
    Parse,
    /// A limit is reached; retry later.
    TooMany,
    /// A code unknown to this version.
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

/// Details beyond the message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorData {
    /// The object of the error: the name of a volume, target or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// All errors, for calls that can have several, such as those of a configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// A failed call (JSON-RPC 2.0 5.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcError {
    /// The reason, for programs.
    pub code: ErrorCode,
    /// The reason, as a message.
    pub message: String,
    /// Details.
    #[serde(default)]
    pub data: Box<ErrorData>,
}

impl RpcError {
    /// An error with this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: Box::default() }
    }

    /// Adds the object.
    #[must_use]
    pub fn on(mut self, object: impl Into<String>) -> Self {
        self.data.object = Some(object.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.data.hint = Some(hint.into());
        self
    }

    /// Adds all errors.
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
