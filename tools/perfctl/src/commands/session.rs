//! `perfctl session`.

use crate::client::Client;
use crate::failure::Failure;
use crate::format::{lines, table};
use crate::output::Output;
use clap::Subcommand;
use control_api::{SessionDrop, SessionList, Sessions};

/// Session commands.
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// List all sessions
    List,
    /// Drop a session. Most initiators log in again automatically
    Drop {
        /// Session id, as shown by `perfctl session list`
        id: String,
    },
}

/// Runs one of the commands.
pub(crate) fn run(
    command: SessionCommand,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        SessionCommand::List => output.answer(&client.call(SessionList {})?, sessions),
        SessionCommand::Drop { id } => output.answer(&client.call(SessionDrop { id })?, |answer| {
            format!("session {} dropped", answer.id)
        }),
    }
}

fn sessions(answer: &Sessions) -> String {
    if answer.sessions.is_empty() {
        return "no sessions\n".into();
    }
    let head = ["id", "initiator", "target", "peer", "reactor", "commands", "window"];
    let mut table = table(head, 4);
    for s in &answer.sessions {
        table.add_row([
            s.id.clone(),
            s.initiator.clone(),
            s.target.clone().unwrap_or_else(|| "(discovery)".into()),
            s.peer.clone(),
            s.reactor.to_string(),
            s.commands_in_flight.to_string(),
            s.command_window.to_string(),
        ]);
    }
    lines(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::SessionInfo;

    #[test]
    fn a_discovery_session_has_no_target() {
        let answer = Sessions {
            sessions: vec![SessionInfo {
                id: "0.3.1".into(),
                initiator: "iqn.2026-11.i".into(),
                target: None,
                peer: "127.0.0.1:4711".into(),
                reactor: 0,
                commands_in_flight: 0,
                command_window: 128,
            }],
        };
        assert_eq!(
            sessions(&answer),
            "\
id     initiator      target       peer            reactor  commands  window
0.3.1  iqn.2026-11.i  (discovery)  127.0.0.1:4711        0         0     128
"
        );
    }
}
