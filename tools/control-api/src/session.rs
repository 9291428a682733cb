//! `session.*`: initiators logged in.

use serde::{Deserialize, Serialize};

/// `session.list`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionList {}

/// The answer to `session.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The sessions, by reactor.
    pub sessions: Vec<SessionInfo>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The session id for `session.drop`. Never reused.
    pub id: String,
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// The target's iSCSI name; absent for a discovery session.
    pub target: Option<String>,
    /// The address from which the initiator connected.
    pub peer: String,
    /// Its reactor.
    pub reactor: u16,
    /// Commands in flight.
    pub commands_in_flight: u32,
    /// Commands that its CmdSN window has room for.
    pub command_window: u32,
}

/// `session.drop`: close a session's connection. The initiator will usually log in again; take
/// it off the target's list of initiators to keep it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionDrop {
    /// The session's id.
    pub id: String,
}

/// The answer to `session.drop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDropped {
    /// The session's id.
    pub id: String,
}
