//! Requests and responses of JSON-RPC 2.0.

use crate::{Call, ErrorCode, RpcError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The protocol version: the text `2.0` and nothing else (JSON-RPC 2.0 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// JSON-RPC 2.0.
    #[default]
    #[serde(rename = "2.0")]
    V2,
}

/// The request id chosen by the client (JSON-RPC 2.0 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// The id of the request could not be read.
    Null,
}

/// One call with its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Returned in the response.
    pub id: Id,
    /// The method and its parameters.
    pub call: Call,
}

/// A request in its wire format.
#[derive(Serialize, Deserialize)]
struct RawRequest {
    jsonrpc: Version,
    id: Id,
    method: String,
    #[serde(default)]
    params: Value,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// The response to send instead: it carries the request's id where that could be read.
    pub fn parse(line: &[u8]) -> Result<Self, Response> {
        let value: Value = serde_json::from_slice(line).map_err(|e| {
            let error = RpcError::new(ErrorCode::Parse, format!("the request is not JSON: {e}"));
            Response::failure(Id::Null, error)
        })?;
        let id = value.get("id").cloned().and_then(|id| serde_json::from_value(id).ok());
        let id = id.unwrap_or(Id::Null);
        let raw: RawRequest = serde_json::from_value(value).map_err(|e| {
            let sentence = format!("the line is not a JSON-RPC 2.0 request with an id: {e}");
            Response::failure(id.clone(), RpcError::new(ErrorCode::InvalidRequest, sentence))
        })?;
        match Call::from_parts(&raw.method, raw.params) {
            Ok(call) => Ok(Self { id, call }),
            Err(error) => Err(Response::failure(id, error)),
        }
    }

    /// The request as JSON.
    ///
    /// # Errors
    /// As for [`crate::encode_line`]: none in practice.
    pub fn to_value(&self) -> serde_json::Result<Value> {
        serde_json::to_value(RawRequest {
            jsonrpc: Version::V2,
            id: self.id.clone(),
            method: self.call.name().to_owned(),
            params: self.call.params()?,
        })
    }
}

/// The answer to one request: exactly one of `result` and `error` (JSON-RPC 2.0 5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The protocol version.
    pub jsonrpc: Version,
    /// The request's id.
    pub id: Id,
    /// What the method returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RpcError>,
}

impl Response {
    /// The answer of a call that worked.
    pub const fn success(id: Id, result: Value) -> Self {
        Self { jsonrpc: Version::V2, id, result: Some(result), error: None }
    }

    /// The answer of a call that failed.
    pub const fn failure(id: Id, error: RpcError) -> Self {
        Self { jsonrpc: Version::V2, id, result: None, error: Some(error) }
    }
}
