//! `perfctl target`.

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use clap::{Args, Subcommand};
use control_api::{LunMap, LunUnmap, TargetCreate, TargetDelete, TargetInfo, TargetList};

/// Target commands.
#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// List all targets with their LUNs
    List,
    /// Create a target
    Create(CreateArgs),
    /// Delete a target and end its sessions
    Delete {
        /// iSCSI name of the target
        name: String,
    },
    /// Map a volume to a LUN
    Map(MapArgs),
    /// Remove a LUN from a target
    Unmap {
        /// iSCSI name of the target
        target: String,
        /// LUN to remove
        lun: u16,
    },
}

/// A new target.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// iSCSI name, such as iqn.2026-11.org.example:disk1
    name: String,
    /// Human-readable alias
    #[arg(long)]
    alias: Option<String>,
    /// Portal group tag [default: 1]
    #[arg(long, value_name = "TAG")]
    portal_group: Option<u16>,
    /// Initiator that may log in; repeat for more. Without this option any initiator may log in
    #[arg(long = "initiator", value_name = "NAME")]
    initiators: Vec<String>,
}

/// A new LUN.
#[derive(Args, Debug)]
pub(crate) struct MapArgs {
    /// iSCSI name of the target
    target: String,
    /// Name of the volume
    volume: String,
    /// Logical unit number [default: the lowest unused]
    #[arg(long)]
    lun: Option<u16>,
    /// Reject writes through this LUN
    #[arg(long)]
    read_only: bool,
}

/// Runs one of the commands.
pub(crate) fn run(
    command: TargetCommand,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        TargetCommand::List => {
            output.answer(&client.call(TargetList {})?, |answer| targets(&answer.targets))
        }
        TargetCommand::Create(args) => {
            let initiators = (!args.initiators.is_empty()).then_some(args.initiators);
            let answer = client.call(TargetCreate {
                name: args.name,
                alias: args.alias,
                portal_group: args.portal_group,
                initiators,
            })?;
            output.answer(&answer, target)
        }
        TargetCommand::Delete { name } => output
            .answer(&client.call(TargetDelete { name })?, |answer| {
                format!("target {} deleted", answer.name)
            }),
        TargetCommand::Map(args) => {
            let answer = client.call(LunMap {
                target: args.target,
                lun: args.lun,
                volume: args.volume,
                read_only: args.read_only,
            })?;
            output.answer(&answer, target)
        }
        TargetCommand::Unmap { target: name, lun } => {
            output.answer(&client.call(LunUnmap { target: name, lun })?, target)
        }
    }
}

fn targets(targets: &[TargetInfo]) -> String {
    if targets.is_empty() {
        return "no targets\n".into();
    }
    targets.iter().map(target).collect()
}

fn target(target: &TargetInfo) -> String {
    let mut text = target.name.clone();
    if let Some(alias) = &target.alias {
        text += &format!(" ({alias})");
    }
    text += &format!("\n  portal group {}", target.portal_group);
    text += match (target.chap, target.mutual_chap) {
        (false, _) => ", no CHAP",
        (true, false) => ", CHAP",
        (true, true) => ", mutual CHAP",
    };
    match &target.initiators {
        None => text += ", any initiator\n",
        Some(names) => text += &format!(", initiators: {}\n", names.join(", ")),
    }
    for lun in &target.luns {
        let access = if lun.read_only { "ro" } else { "rw" };
        let hidden = if lun.served { "" } else { ", unavailable: volume failed" };
        text += &format!("  LUN {}: {} ({access}){hidden}\n", lun.lun, lun.volume);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::LunInfo;

    #[test]
    fn a_target_is_shown_with_access_and_luns() {
        let luns = vec![
            LunInfo { lun: 0, volume: "a".into(), read_only: false, served: true },
            LunInfo { lun: 7, volume: "b".into(), read_only: true, served: false },
        ];
        let shown = target(&TargetInfo {
            name: "iqn.2026-11.org.example:a".into(),
            alias: Some("first".into()),
            portal_group: 1,
            initiators: Some(vec!["iqn.2026-11.i".into(), "iqn.2026-11.j".into()]),
            chap: true,
            mutual_chap: false,
            luns,
        });
        assert_eq!(
            shown,
            "\
iqn.2026-11.org.example:a (first)
  portal group 1, CHAP, initiators: iqn.2026-11.i, iqn.2026-11.j
  LUN 0: a (rw)
  LUN 7: b (ro), unavailable: volume failed
"
        );
    }
}
