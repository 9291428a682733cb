//! `perfctl target`.

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use clap::{Args, Subcommand};
use control_api::{
    Change, Credential, LunMap, LunUnmap, Secret, TargetCreate, TargetDelete, TargetInfo,
    TargetList, TargetSet,
};
use std::io::Read;
use std::path::{Path, PathBuf};

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
    /// Change the alias, the initiators or CHAP of a target
    Set(SetArgs),
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

/// What is changed of a target.
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// iSCSI name of the target
    name: String,
    /// Human-readable alias
    #[arg(long)]
    alias: Option<String>,
    /// Remove the alias
    #[arg(long, conflicts_with = "alias")]
    no_alias: bool,
    /// Initiator that may log in; repeat for more. Replaces the list: sessions of others end
    #[arg(long = "initiator", value_name = "NAME")]
    initiators: Vec<String>,
    /// Let any initiator log in
    #[arg(long, conflicts_with = "initiators")]
    any_initiator: bool,
    /// File with the CHAP secret that initiators need for new logins, or - for standard input
    #[arg(long, value_name = "FILE")]
    chap_secret_file: Option<PathBuf>,
    /// CHAP name of the initiators [default: unchanged]
    #[arg(long, value_name = "NAME", requires = "chap_secret_file")]
    chap_name: Option<String>,
    /// Remove CHAP, and mutual CHAP with it
    #[arg(long, conflicts_with_all = ["chap_secret_file", "chap_name"])]
    no_chap: bool,
    /// File with the CHAP secret of the target itself, or - for standard input
    #[arg(long, value_name = "FILE")]
    mutual_chap_secret_file: Option<PathBuf>,
    /// CHAP name of the target itself [default: unchanged]
    #[arg(long, value_name = "NAME", requires = "mutual_chap_secret_file")]
    mutual_chap_name: Option<String>,
    /// Remove mutual CHAP
    #[arg(long, conflicts_with_all = ["mutual_chap_secret_file", "mutual_chap_name"])]
    no_mutual_chap: bool,
}

impl SetArgs {
    fn params(self) -> Result<TargetSet, Failure> {
        let is_stdin = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
        if is_stdin(&self.chap_secret_file) && is_stdin(&self.mutual_chap_secret_file) {
            let sentence = "only one secret can be read from standard input; use a file for the \
                            other";
            return Err(Failure::Usage(sentence.into()));
        }
        let initiators = (!self.initiators.is_empty()).then_some(self.initiators);
        let params = TargetSet {
            name: self.name,
            alias: change(self.alias, self.no_alias),
            initiators: change(initiators, self.any_initiator),
            chap: change(credential(self.chap_name, self.chap_secret_file)?, self.no_chap),
            mutual_chap: change(
                credential(self.mutual_chap_name, self.mutual_chap_secret_file)?,
                self.no_mutual_chap,
            ),
        };
        if params == TargetSet::new(&*params.name) {
            let sentence = "nothing to change; use for example --initiator or --chap-secret-file";
            return Err(Failure::Usage(sentence.into()));
        }
        Ok(params)
    }
}

fn change<T>(value: Option<T>, is_removed: bool) -> Option<Change<T>> {
    value.map(Change::Set).or(is_removed.then_some(Change::Remove))
}

fn credential(name: Option<String>, file: Option<PathBuf>) -> Result<Option<Credential>, Failure> {
    let Some(file) = file else { return Ok(None) };
    Ok(Some(Credential { name, secret: read_secret(&file)? }))
}

/// A file of a secret is short; more than this is another file.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// The secret in a file or on standard input, without the newline at its end.
fn read_secret(file: &Path) -> Result<Secret, Failure> {
    let is_stdin = file == Path::new("-");
    let shown = if is_stdin { "standard input".into() } else { file.display().to_string() };
    let invalid = |why: &dyn std::fmt::Display| {
        Failure::Usage(format!("cannot read the CHAP secret from {shown}: {why}"))
    };
    let open: std::io::Result<Box<dyn Read>> = if is_stdin {
        Ok(Box::new(std::io::stdin()))
    } else {
        std::fs::File::open(file).map(|file| Box::new(file) as Box<dyn Read>)
    };
    let mut text = Vec::new();
    open.and_then(|from| from.take(SECRET_FILE_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(|error| invalid(&error))?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(invalid(&format!("more than {SECRET_FILE_BYTES_MAX} bytes")));
    }
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    String::from_utf8(text).map(Secret::new).map_err(|_| invalid(&"not valid UTF-8"))
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
        TargetCommand::Set(args) => output.answer(&client.call(args.params()?)?, target),
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
