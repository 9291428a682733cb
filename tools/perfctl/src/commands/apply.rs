//! `perfctl apply`.

use super::absolute;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use clap::Args;
use control_api::{ConfigApplied, ConfigApply, SessionInfo};
use std::path::PathBuf;

/// The configuration to apply.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// Configuration file on the host of polluxd [default: the file polluxd was started with]
    file: Option<PathBuf>,
    /// Only check the file and show what would change
    #[arg(long)]
    check: bool,
    /// Apply a file without volumes and targets, which removes all of them
    #[arg(long)]
    force: bool,
}

/// Makes polluxd read its own configuration file again.
pub(crate) fn reload(client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    output.answer(&client.call(ConfigApply::default())?, |answer| render(answer, false))
}

/// Sends the request and prints the result.
pub(crate) fn run(
    args: ApplyArgs,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let file = args.file.as_deref().map(absolute).transpose()?;
    let answer = client.call(ConfigApply { file, check_only: args.check, force: args.force })?;
    output.answer(&answer, |answer| render(answer, args.check))
}

fn render(answer: &ConfigApplied, check_only: bool) -> String {
    let mut text = match (answer.changes.is_empty(), check_only) {
        (true, _) => "Configuration valid, no changes.\n".to_owned(),
        (false, true) => "Configuration valid. Would change:\n".to_owned(),
        (false, false) => "Applied:\n".to_owned(),
    };
    for change in &answer.changes {
        text += &format!("  {change}\n");
    }
    if !answer.ending_sessions.is_empty() {
        text += "Sessions that would end:\n";
    }
    for session in &answer.ending_sessions {
        let target = session.target.as_deref().unwrap_or("(discovery)");
        let SessionInfo { id, initiator, peer, .. } = session;
        text += &format!("  {id}: {initiator} from {peer} at {target}\n");
    }
    for warning in &answer.warnings {
        text += &format!("warning: {warning}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_warnings_are_listed() {
        let answer = ConfigApplied {
            changes: vec!["volume a added".into()],
            ending_sessions: vec![],
            warnings: vec!["node.cores changed: restart polluxd".into()],
            generation: 2,
        };
        assert_eq!(
            render(&answer, false),
            "Applied:\n  volume a added\nwarning: node.cores changed: restart polluxd\n"
        );
        assert!(render(&answer, true).starts_with("Configuration valid. Would change:\n"));
    }
}
