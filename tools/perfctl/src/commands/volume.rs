//! `perfctl volume`.

use super::{absolute, lun_names};
use crate::client::Client;
use crate::failure::Failure;
use crate::format::{bytes, clock, lines, table};
use crate::output::Output;
use clap::{Args, Subcommand};
use control_api::{
    VolumeCreate, VolumeDelete, VolumeDeleted, VolumeInfo, VolumeKind, VolumeList, VolumeState,
    parse_size,
};
use std::path::PathBuf;

/// Volume commands.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List all volumes
    List,
    /// Create a volume
    Create(CreateArgs),
    /// Delete a volume that is not mapped to a LUN
    Delete(DeleteArgs),
}

/// A new volume.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Name of the volume
    name: String,
    /// Backing store: file, block, memory or null
    #[arg(long, default_value = "file", value_parser = parse_kind)]
    kind: VolumeKind,
    /// Size, such as 20GiB or 20G. Not needed for an existing file or a block device
    #[arg(long)]
    size: Option<String>,
    /// Path of the file or block device [default: a file in the state directory of polluxd]
    #[arg(long)]
    path: Option<PathBuf>,
    /// Logical block size: 512 or 4096 [default: 512]
    #[arg(long, value_name = "SIZE", value_parser = parse_block_size)]
    block_size: Option<u32>,
    /// Reject writes
    #[arg(long)]
    read_only: bool,
    /// Serve the data that the file or block device already holds
    #[arg(long)]
    adopt: bool,
}

/// A volume to delete.
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// Name of the volume
    name: String,
    /// Also delete its file and all data in it. Block devices are never touched
    #[arg(long)]
    remove_file: bool,
}

/// Runs one of the commands.
pub(crate) fn run(
    command: VolumeCommand,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        VolumeCommand::List => {
            output.answer(&client.call(VolumeList {})?, |answer| volumes(&answer.volumes))
        }
        VolumeCommand::Create(args) => {
            let path = args.path.as_deref().map(absolute).transpose()?;
            let answer = client.call(VolumeCreate {
                name: args.name,
                kind: args.kind,
                path,
                size: args.size,
                block_size: args.block_size,
                read_only: args.read_only,
                adopt: args.adopt,
            })?;
            output.answer(&answer, created)
        }
        VolumeCommand::Delete(args) => {
            let params = VolumeDelete { name: args.name, remove_file: args.remove_file };
            output.answer(&client.call(params)?, deleted)
        }
    }
}

fn parse_block_size(text: &str) -> Result<u32, &'static str> {
    let bytes = parse_size(text).ok().and_then(|bytes| u32::try_from(bytes).ok());
    bytes.ok_or("use 512 or 4096")
}

fn parse_kind(text: &str) -> Result<VolumeKind, String> {
    VolumeKind::ALL
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| "unknown backing store: use file, block, memory or null".to_owned())
}

fn created(volume: &VolumeInfo) -> String {
    let size = volume.size_bytes.map_or_else(|| "-".into(), bytes);
    let wwid = volume.wwid.as_deref().unwrap_or("-");
    let mut text = format!("volume {} created: {size}, WWID {wwid}", volume.name);
    if let Some(path) = &volume.path {
        text += &format!(", path {path}");
    }
    text
}

fn deleted(answer: &VolumeDeleted) -> String {
    match &answer.file_left {
        Some(file) => format!("volume {} deleted; {file} still has its data", answer.name),
        None => format!("volume {} deleted", answer.name),
    }
}

/// The table of volumes, followed by the reason for each failed one.
pub(super) fn volumes(volumes: &[VolumeInfo]) -> String {
    if volumes.is_empty() {
        return "no volumes\n".into();
    }
    let head = ["volume", "kind", "state", "access", "size", "block", "WWID", "mapped as"];
    let mut table = table(head, 4);
    for index in [6, 7] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(comfy_table::CellAlignment::Left);
        }
    }
    let mut reasons = String::new();
    for v in volumes {
        let state = match &v.state {
            VolumeState::Served => "served",
            VolumeState::Failed { reason, for_s, retry_in_s } => {
                let (name, ago, next) = (&v.name, clock(*for_s), next_attempt(*retry_in_s));
                reasons += &format!("volume {name} failed {ago} ago ({next}): {reason}\n");
                "failed"
            }
        };
        table.add_row([
            v.name.clone(),
            v.kind.name().to_owned(),
            state.to_owned(),
            if v.read_only { "ro" } else { "rw" }.to_owned(),
            v.size_bytes.map_or_else(|| "-".into(), bytes),
            v.block_size.to_string(),
            v.wwid.clone().unwrap_or_else(|| "-".into()),
            lun_names(&v.luns),
        ]);
    }
    lines(&table) + &reasons
}

fn next_attempt(in_s: Option<u64>) -> String {
    match in_s {
        None => "no further attempt before \"perfctl apply\"".into(),
        Some(0) => "polluxd is trying to open it".into(),
        Some(seconds) => format!("next attempt in {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::LunName;

    #[test]
    fn a_failed_volume_is_listed_with_its_reason() {
        let served = VolumeInfo {
            name: "demo".into(),
            kind: VolumeKind::File,
            path: Some("/state/volumes/demo.img".into()),
            size_bytes: Some(1 << 30),
            block_size: 512,
            read_only: false,
            wwid: Some("30f1f2f3f4f5f6f7".into()),
            serial: Some("0123456789abcdef".into()),
            state: VolumeState::Served,
            luns: vec![LunName { target: "iqn.2026-11.local.pollux:demo".into(), lun: 0 }],
        };
        let failed = VolumeInfo {
            name: "gone".into(),
            kind: VolumeKind::Block,
            size_bytes: None,
            wwid: None,
            read_only: true,
            state: VolumeState::Failed {
                reason: "its device /dev/sdz is gone".into(),
                for_s: 93_784,
                retry_in_s: Some(8),
            },
            luns: vec![],
            ..served.clone()
        };
        let state = |for_s, retry_in_s| {
            let reason = "wrong size".into();
            VolumeState::Failed { reason, for_s, retry_in_s }
        };
        let wrong = VolumeInfo { name: "wrong".into(), state: state(7, None), ..failed.clone() };
        let late = VolumeInfo { name: "late".into(), state: state(3, Some(0)), ..failed.clone() };
        assert_eq!(
            volumes(&[served, failed, wrong, late]),
            "\
volume  kind   state   access     size  block  WWID              mapped as
demo    file   served  rw      1.00GiB    512  30f1f2f3f4f5f6f7  iqn.2026-11.local.pollux:demo LUN 0
gone    block  failed  ro            -    512  -                 -
wrong   block  failed  ro            -    512  -                 -
late    block  failed  ro            -    512  -                 -
volume gone failed 1d 02:03:04 ago (next attempt in 8 s): its device /dev/sdz is gone
volume wrong failed 00:00:07 ago (no further attempt before \"perfctl apply\"): wrong size
volume late failed 00:00:03 ago (polluxd is trying to open it): wrong size
"
        );
    }

    #[test]
    fn a_deleted_volume_reports_the_file_left() {
        let answer = VolumeDeleted { name: "a".into(), file_left: Some("/srv/a.img".into()) };
        assert_eq!(deleted(&answer), "volume a deleted; /srv/a.img still has its data");
    }
}
