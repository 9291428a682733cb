//! `perfctl operation`.

use crate::client::Client;
use crate::failure::Failure;
use crate::format::{lines, table, time};
use crate::output::Output;
use clap::Subcommand;
use control_api::{
    OperationCancel, OperationInfo, OperationList, OperationShow, OperationState, Operations,
};
use std::fmt::Write;

/// What can be done with operations.
#[derive(Debug, Subcommand)]
pub(crate) enum OperationCommand {
    /// Cancel an operation that reads a file or waits for an earlier one
    ///
    /// An operation that has begun to change something cannot be cancelled.
    Cancel {
        /// Operation number
        id: u64,
    },
    /// List operations in progress and the last completed ones
    List,
    /// Show the progress of an operation
    Show {
        /// Operation number
        id: u64,
    },
    /// Wait until an operation has completed
    Wait {
        /// Operation number
        id: u64,
    },
}

/// Runs one of the commands.
pub(crate) fn run(
    command: OperationCommand,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        OperationCommand::Cancel { id } => {
            output.answer(&client.call(OperationCancel { id })?, shown)
        }
        OperationCommand::List => output.answer(&client.call(OperationList {})?, operations),
        OperationCommand::Show { id } => output.answer(&client.call(OperationShow { id })?, shown),
        OperationCommand::Wait { id } => {
            client.follow(id)?;
            output.answer(&client.call(OperationShow { id })?, shown)
        }
    }
}

fn operations(answer: &Operations) -> String {
    if answer.operations.is_empty() {
        return "no operations\n".into();
    }
    let mut table = table(["id", "operation", "subject", "time", "state"], 5);
    for info in &answer.operations {
        table.add_row([
            info.id.to_string(),
            info.method.clone(),
            info.subject.clone(),
            duration(info),
            state(info),
        ]);
    }
    lines(&table)
}

fn shown(info: &OperationInfo) -> String {
    let OperationInfo { id, method, subject, .. } = info;
    let (time, state) = (duration(info), state(info));
    let mut text = format!("operation {id}: {method} {subject}, {time}\n{state}\n");
    if let OperationState::Failed { error } = &info.state
        && let Some(hint) = &error.data.hint
    {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{hint}");
    }
    text
}

fn state(info: &OperationInfo) -> String {
    match &info.state {
        OperationState::Done { .. } => "done".into(),
        OperationState::Failed { error } => format!("failed: {}", error.message),
        OperationState::Running { step } => step.clone(),
        OperationState::Waiting => "waiting for an earlier operation".into(),
    }
}

fn duration(info: &OperationInfo) -> String {
    time(info.duration_ms.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::{ErrorCode, RpcError};

    fn info(id: u64, state: OperationState) -> OperationInfo {
        OperationInfo {
            id,
            method: "volume.create".into(),
            subject: "a".into(),
            duration_ms: 15_020,
            state,
        }
    }

    #[test]
    fn operations_are_listed_with_what_they_do() {
        let error = RpcError::new(ErrorCode::Environment, "/dev/sdx is in use").hint("Look.");
        let failed = info(1, OperationState::Failed { error });
        let running = info(2, OperationState::Running { step: "opening /dev/sdy".into() });
        let text = operations(&Operations { operations: vec![failed.clone(), running] });
        assert_eq!(
            text,
            "\
id  operation      subject  time    state
1   volume.create  a        15.02s  failed: /dev/sdx is in use
2   volume.create  a        15.02s  opening /dev/sdy
"
        );
        assert_eq!(
            shown(&failed),
            "operation 1: volume.create a, 15.02s\nfailed: /dev/sdx is in use\nLook.\n"
        );
    }
}
