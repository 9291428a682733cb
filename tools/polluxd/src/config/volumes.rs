//! `[[volume]]`.

use super::fault::Problem;
use super::faults::Faults;
use super::raw::RawVolume;
use super::values::parse_size;
use super::{VolumeConfig, check_volume_name};
use control_api::VolumeKind;
use std::path::PathBuf;
use units::{BlockSize, limits};

/// Checks the volumes.
pub(super) fn check_volumes(faults: &mut Faults<'_>, raw: &[RawVolume]) -> Vec<VolumeConfig> {
    if let Some(over) = raw.get(limits::VOLUMES_MAX) {
        let problem = Problem::TooMany { what: "volumes", most: limits::VOLUMES_MAX };
        faults.add(over.name.span(), "volume", problem);
    }
    let mut volumes: Vec<VolumeConfig> = Vec::new();
    for raw in raw {
        let name = raw.name.get_ref();
        let fault = if volumes.iter().any(|v| v.name == *name) {
            Some(Problem::Duplicate(format!("volume name {name:?}")))
        } else {
            check_volume_name(name).err()
        };
        let volume = check_volume(faults, raw);
        if let Some(problem) = fault {
            // One without a name is known to have none.
            if !(name.is_empty() && faults.has("volume.name")) {
                faults.add(raw.name.span(), "volume.name", problem);
            }
            continue;
        }
        let path = volume.path.as_ref();
        if path.is_some() && volumes.iter().any(|v| v.path.as_ref() == path) {
            let place = raw.path.as_ref().map_or_else(|| raw.name.span(), |p| p.span());
            let text = path.map(|p| format!("path {}", p.display())).unwrap_or_default();
            faults.add(place, format!("volume {name:?}.path"), Problem::Duplicate(text));
        }
        volumes.push(volume);
    }
    volumes
}

fn check_volume(faults: &mut Faults<'_>, raw: &RawVolume) -> VolumeConfig {
    let block_size = check_block_size(faults, raw);
    // Of a kind that is not known, nothing follows.
    if let Some(write_cache) = &raw.write_cache
        && !faults.has(&key(raw, "kind"))
        && *raw.kind.get_ref() != VolumeKind::Block
    {
        let problem = Problem::WriteCacheUnused { kind: raw.kind.get_ref().name() };
        faults.add(write_cache.span(), key(raw, "write_cache"), problem);
    }
    if let Some(adopt) = &raw.adopt
        && *adopt.get_ref()
        && matches!(raw.kind.get_ref(), VolumeKind::Memory | VolumeKind::Null)
    {
        let problem = Problem::AdoptUnused { kind: raw.kind.get_ref().name() };
        faults.add(adopt.span(), key(raw, "adopt"), problem);
    }
    if let Some(whole_blocks) = &raw.whole_blocks
        && !faults.has(&key(raw, "kind"))
        && *raw.kind.get_ref() != VolumeKind::Memory
    {
        let problem = Problem::WholeBlocksUnused { kind: raw.kind.get_ref().name() };
        faults.add(whole_blocks.span(), key(raw, "whole_blocks"), problem);
    }
    VolumeConfig {
        name: raw.name.get_ref().clone(),
        kind: *raw.kind.get_ref(),
        path: check_path(faults, raw),
        size_bytes: check_size(faults, raw, block_size),
        block_size,
        read_only: raw.read_only,
        write_cache: raw.write_cache.as_ref().map(|w| *w.get_ref()),
        adopt: raw.adopt.as_ref().is_some_and(|adopt| *adopt.get_ref()),
        whole_blocks: raw.whole_blocks.as_ref().is_none_or(|whole| *whole.get_ref()),
    }
}

fn check_block_size(faults: &mut Faults<'_>, raw: &RawVolume) -> BlockSize {
    let Some(bytes) = &raw.block_size else { return BlockSize::B512 };
    match *bytes.get_ref() {
        512 => BlockSize::B512,
        4096 => BlockSize::B4096,
        other => {
            let problem = Problem::BadBlockSize(other);
            faults.add(bytes.span(), key(raw, "block_size"), problem);
            BlockSize::B512
        }
    }
}

fn check_path(faults: &mut Faults<'_>, raw: &RawVolume) -> Option<PathBuf> {
    let kind = *raw.kind.get_ref();
    match (kind, &raw.path) {
        (VolumeKind::File | VolumeKind::Block, Some(path)) => Some(faults.resolve(path.get_ref())),
        // In the state directory, wherever that is.
        (VolumeKind::File, None) => None,
        (VolumeKind::Block, None) if faults.has(&key(raw, "path")) => None,
        (VolumeKind::Block, None) => {
            let problem = Problem::PathMissing { kind: kind.name() };
            faults.add(raw.kind.span(), key(raw, "path"), problem);
            None
        }
        (VolumeKind::Memory | VolumeKind::Null, Some(path)) => {
            let problem = Problem::PathUnused { kind: kind.name() };
            faults.add(path.span(), key(raw, "path"), problem);
            None
        }
        (VolumeKind::Memory | VolumeKind::Null, None) => None,
    }
}

fn check_size(faults: &mut Faults<'_>, raw: &RawVolume, block_size: BlockSize) -> Option<u64> {
    let kind = *raw.kind.get_ref();
    let Some(size) = &raw.size else {
        match kind {
            VolumeKind::Memory | VolumeKind::Null if faults.has(&key(raw, "size")) => {}
            VolumeKind::Memory | VolumeKind::Null => {
                let problem = Problem::SizeMissing { kind: kind.name() };
                faults.add(raw.kind.span(), key(raw, "size"), problem);
            }
            // An existing one has a size; a missing one is noticed when it is to be created.
            VolumeKind::Block | VolumeKind::File => {}
        }
        return None;
    };
    let bytes = match parse_size(size.get_ref()) {
        Ok(bytes) => bytes,
        Err(problem) => {
            faults.add(size.span(), key(raw, "size"), problem);
            return None;
        }
    };
    let block_bytes = block_size.bytes();
    if bytes == 0 || bytes % u64::from(block_bytes) != 0 || i64::try_from(bytes).is_err() {
        let problem = Problem::SizeNotInBlocks { bytes, block_bytes };
        faults.add(size.span(), key(raw, "size"), problem);
    }
    Some(bytes)
}

fn key(raw: &RawVolume, key: &str) -> String {
    match raw.name.get_ref().as_str() {
        "" => format!("volume.{key}"),
        name => format!("volume {name:?}.{key}"),
    }
}
