//! How a target may answer a command that breaks a rule.

use initiator::{CommandResult, Error, Sense};

/// What a command came to, in the terms that rules about faults are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target closed the connection: session failure, the recovery of level 0.
    Closed,
    /// CHECK CONDITION with this sense.
    Failed(Sense),
    /// Status GOOD.
    Good,
    /// The target sent a Reject for this reason.
    Rejected(u8),
    /// Another status than GOOD and CHECK CONDITION, or another iSCSI response.
    Other(u8),
}

impl Outcome {
    /// Classifies the result of a command; a timeout is a failed test, not an outcome.
    pub fn of(result: Result<CommandResult, Error>) -> Self {
        match result {
            Ok(result) if result.is_good() => Self::Good,
            Ok(result) => result.sense().map_or(Self::Other(result.status), Self::Failed),
            Err(error) if error.is_closed() => Self::Closed,
            Err(error) => match error.reject_reason() {
                Some(reason) => Self::Rejected(reason),
                None => panic!("the target left a command without an outcome: {error}"),
            },
        }
    }

    /// CHECK CONDITION with this key and code.
    pub fn failed(key: u8, code: u16) -> Self {
        Self::Failed(Sense { key, code })
    }

    /// Whether the target noticed the fault.
    pub fn is_refusal(self) -> bool {
        self != Self::Good
    }
}
