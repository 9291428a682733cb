//! Opening one volume.

use super::VolumeFault;
use crate::config::VolumeConfig;
use crate::state::{Record, StateDir, durable, new_uuid, new_wwid};
use control_api::VolumeKind;
use reactor::file::{OpenError, OpenFile, OpenOptions, holds_data, open_direct};
use reactor::{MemoryStore, Store};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use units::{BlockSize, HEAD_ROOM, VolumeId};
use volume::{Capabilities, Geometry, VolumeRecord};

/// Where new identities come from.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    /// The OUI for NAA 6 names.
    pub(crate) naa_oui: Option<[u8; 3]>,
    /// Fills bytes with randomness.
    pub(crate) random: &'a (dyn Fn(&mut [u8]) -> io::Result<()> + Sync),
}

/// How long a volume in use is waited for. The ring of a daemon that was killed holds the locks
/// of its volumes, and may still write to them, until the kernel has taken it apart; and reactors
/// close a deleted volume some time after the catalog has forgotten it.
pub(crate) const IN_USE_TIME_MAX: Duration = Duration::from_secs(15);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// A volume that can be served.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What initiators see of it. Its id is given when a table takes it in.
    pub(super) record: VolumeRecord,
    /// What the reactors read and write.
    pub(crate) store: Store,
    /// What is slower or less than it could be.
    pub(crate) warnings: Vec<String>,
}

/// Finds or makes a volume, checks it against its record, and opens it. A file or device that is
/// in use may become free until `patience` is over.
///
/// # Errors
/// Why it cannot be served.
pub(crate) fn open_volume(
    config: &VolumeConfig,
    state: &StateDir,
    identity: Identity<'_>,
    patience: Instant,
) -> Result<Opened, VolumeFault> {
    match config.kind {
        VolumeKind::File | VolumeKind::Block => open_file(config, state, identity, patience),
        VolumeKind::Memory | VolumeKind::Null => open_transient(config, identity),
    }
}

/// Where a file or block volume keeps its blocks.
pub(crate) fn path_of(config: &VolumeConfig, state: &StateDir) -> PathBuf {
    match &config.path {
        Some(path) => path.clone(),
        None => state.volume_dir().join(format!("{}.img", config.name)),
    }
}

/// Whether a configuration contradicts what was recorded when the volume was made.
pub(super) fn contradiction(record: &Record, config: &VolumeConfig) -> Option<VolumeFault> {
    if record.kind != config.kind {
        let (recorded, configured) = (record.kind, config.kind);
        return Some(VolumeFault::KindChanged { recorded, configured });
    }
    if let Some(configured) = config.size_bytes.filter(|&bytes| bytes != record.size_bytes) {
        return Some(VolumeFault::SizeChanged { recorded: record.size_bytes, configured });
    }
    if record.block_size != config.block_size {
        let (recorded, configured) = (record.block_size.bytes(), config.block_size.bytes());
        return Some(VolumeFault::BlockSizeChanged { recorded, configured });
    }
    None
}

fn open_file(
    config: &VolumeConfig,
    state: &StateDir,
    identity: Identity<'_>,
    patience: Instant,
) -> Result<Opened, VolumeFault> {
    let path = path_of(config, state);
    let record = known_record(config, state)?;
    if let Some(fault) = record.as_ref().and_then(|record| contradiction(record, config)) {
        return Err(fault);
    }
    let was_there = exists(&path)?;
    if !was_there {
        if record.is_some() || config.kind == VolumeKind::Block {
            return Err(VolumeFault::Missing { path });
        }
        create(&path, config)?;
    }
    let buffered_allowed = config.kind == VolumeKind::File;
    let options = OpenOptions { read_only: config.read_only, buffered_allowed };
    let mut open =
        open_patiently(&path, options, patience).map_err(|e| VolumeFault::Open(e.to_string()))?;
    check_open(&open, &path, config, record.as_ref())?;
    if was_there && record.is_none() {
        refuse_data(&open, &path, config)?;
    }
    let mut warnings = Vec::new();
    // What has grown keeps the size that initiators know. The watch of open files warns of it.
    if let Some(record) = &record {
        open.size = record.size_bytes;
    }
    let new = || new_record(config, &path, open.size, identity);
    let record = keep(record, new, &path, state)?;
    // Also for what an earlier version made. It is served without the mark too, and the next start
    // makes it, so this is a line of the log and no state to warn of.
    if let Err(error) = state.mark_made(&config.name) {
        let (volume, mark) = (&config.name, state.mark_path(&config.name));
        tracing::warn!(volume, %error, "cannot create {}", mark.display());
    }
    if !open.is_direct {
        warnings.push(format!(
            "volume {}: the file system of {} does not support direct I/O; \
             using the page cache, which is slower and uses more memory",
            config.name,
            path.display()
        ));
    }
    let record = VolumeRecord {
        id: VolumeId(0),
        name: config.name.clone(),
        wwid: record.wwid,
        geometry: geometry(open.size, config.block_size, open.physical_block_size)
            .ok_or(VolumeFault::NoSize { path })?,
        capabilities: capabilities(&open, config),
        device: Some(open.device),
        read_only: config.read_only,
    };
    Ok(Opened { record, store: Store::File(open), warnings })
}

/// Opens a volume, where need be after its last user has let go of it.
fn open_patiently(
    path: &Path,
    options: OpenOptions,
    patience: Instant,
) -> Result<OpenFile, OpenError> {
    loop {
        match open_direct(path, options) {
            Err(OpenError::InUse { .. }) if Instant::now() < patience => {
                // No event: a lock is asked for without blocking, so that the wait has an end,
                // and the kernel does not report when another process drops its lock.
                std::thread::park_timeout(TRY_AGAIN_AFTER);
            }
            opened => return opened,
        }
    }
}

/// The record of a volume; `None` for one that is new.
fn known_record(config: &VolumeConfig, state: &StateDir) -> Result<Option<Record>, VolumeFault> {
    let record = state.record(&config.name)?;
    if record.is_none() && state.was_made(&config.name) {
        let (record, mark) = (state.record_path(&config.name), state.mark_path(&config.name));
        return Err(VolumeFault::RecordMissing { record, mark });
    }
    Ok(record)
}

/// A new volume must not show bytes that somebody wrote before, unless that is wanted. One that is
/// read-only is made for that alone.
fn refuse_data(open: &OpenFile, path: &Path, config: &VolumeConfig) -> Result<(), VolumeFault> {
    if config.adopt || config.read_only {
        return Ok(());
    }
    let path = path.to_owned();
    match holds_data(&path, open) {
        Ok(false) => Ok(()),
        Ok(true) => Err(VolumeFault::HoldsData { path }),
        Err(source) => Err(VolumeFault::Step { step: "look for data in", path, source }),
    }
}

fn exists(path: &Path) -> Result<bool, VolumeFault> {
    path.try_exists().map_err(|source| VolumeFault::Step {
        step: "look for",
        path: path.to_owned(),
        source,
    })
}

fn create(path: &Path, config: &VolumeConfig) -> Result<(), VolumeFault> {
    let Some(bytes) = config.size_bytes else {
        return Err(VolumeFault::NoSize { path: path.to_owned() });
    };
    durable::create_sparse(path, bytes).map_err(|source| VolumeFault::Step {
        step: "create",
        path: path.to_owned(),
        source,
    })
}

/// Whether what was opened is what the configuration and the record say, and can be read and
/// written with the buffers that there are.
fn check_open(
    open: &OpenFile,
    path: &Path,
    config: &VolumeConfig,
    record: Option<&Record>,
) -> Result<(), VolumeFault> {
    let path = path.to_owned();
    if open.is_block_device != (config.kind == VolumeKind::Block) {
        return Err(VolumeFault::WrongType { path, configured: config.kind });
    }
    let found = open.size;
    match record {
        // What has grown is served with the size that initiators know.
        Some(&Record { size_bytes: recorded, .. }) if recorded > found => {
            return Err(VolumeFault::Truncated { path, recorded, found });
        }
        Some(_) => {}
        None => {
            if let Some(configured) = config.size_bytes.filter(|&bytes| bytes != found) {
                return Err(VolumeFault::WrongSizeFound { path, configured, found });
            }
        }
    }
    let configured = config.block_size.bytes();
    if open.is_direct && open.dio_offset_align > configured {
        let needed = open.dio_offset_align;
        return Err(VolumeFault::BlockTooSmall { path, configured, needed });
    }
    // The payload of a buffer begins behind its head room, at a multiple of that.
    if open.is_direct && open.dio_mem_align > HEAD_ROOM {
        let needed = open.dio_mem_align;
        return Err(VolumeFault::BuffersUnaligned { path, needed });
    }
    Ok(())
}

/// The record of an opened volume: one that was moved keeps its identity, a new one gets one.
fn keep(
    known: Option<Record>,
    new: impl FnOnce() -> io::Result<Record>,
    path: &Path,
    state: &StateDir,
) -> Result<Record, VolumeFault> {
    let step = |source| VolumeFault::Step {
        step: "write the record of the volume to",
        path: state.path().to_owned(),
        source,
    };
    let record = match known {
        Some(record) if record.path == path => return Ok(record),
        Some(record) => Record { path: path.to_owned(), ..record },
        None => new().map_err(step)?,
    };
    state.keep_record(&record).map_err(step)?;
    Ok(record)
}

fn new_record(
    config: &VolumeConfig,
    path: &Path,
    size_bytes: u64,
    identity: Identity<'_>,
) -> io::Result<Record> {
    let mut random = [0; 40];
    (identity.random)(&mut random)?;
    let (for_uuid, for_wwid) = split_random(random);
    Ok(Record {
        name: config.name.clone(),
        uuid: new_uuid(for_uuid),
        wwid: new_wwid(identity.naa_oui, for_wwid),
        kind: config.kind,
        path: path.to_owned(),
        size_bytes,
        block_size: config.block_size,
    })
}

fn split_random(random: [u8; 40]) -> ([u8; 16], [u8; 24]) {
    let (mut a, mut b) = ([0; 16], [0; 24]);
    for (to, from) in a.iter_mut().chain(&mut b).zip(random) {
        *to = from;
    }
    (a, b)
}

fn geometry(bytes: u64, block_size: BlockSize, physical_bytes: u32) -> Option<Geometry> {
    Geometry::of_bytes(bytes, block_size, physical_bytes)
}

fn capabilities(open: &OpenFile, config: &VolumeConfig) -> Capabilities {
    // A write to a file may change the file's own metadata, which only a flush makes durable.
    let found = !open.is_block_device || !open.is_direct || open.has_volatile_cache;
    Capabilities {
        volatile_write_cache: config.write_cache.unwrap_or(found),
        unmap: open.punches_holes && !config.read_only,
        reads_zero_after_unmap: open.punches_holes,
        unmap_granularity_bytes: open.hole_granularity,
        rotational: false,
    }
}

/// RAM and null volumes keep nothing, so each start makes a new one with a new identity: a host
/// that knew the old one must not take the empty one for it.
fn open_transient(config: &VolumeConfig, identity: Identity<'_>) -> Result<Opened, VolumeFault> {
    let nowhere = || PathBuf::from(&config.name);
    let bytes = config.size_bytes.ok_or_else(|| VolumeFault::NoSize { path: nowhere() })?;
    let mut random = [0; 24];
    (identity.random)(&mut random).map_err(|source| VolumeFault::Step {
        step: "create an identity for",
        path: nowhere(),
        source,
    })?;
    let mut warnings = Vec::new();
    let store = if config.kind == VolumeKind::Memory {
        let made = MemoryStore::new(bytes).map_err(|e| VolumeFault::Memory(e.to_string()))?;
        warnings.extend(made.1.map(|w| format!("volume {}: {w}", config.name)));
        Store::Memory { store: made.0, whole_blocks: config.whole_blocks }
    } else {
        Store::Null
    };
    let record = VolumeRecord {
        id: VolumeId(0),
        name: config.name.clone(),
        wwid: new_wwid(identity.naa_oui, random),
        geometry: geometry(bytes, config.block_size, config.block_size.bytes())
            .ok_or_else(|| VolumeFault::NoSize { path: nowhere() })?,
        capabilities: Capabilities {
            // A flush would not make it any more durable.
            volatile_write_cache: false,
            unmap: !config.read_only,
            reads_zero_after_unmap: true,
            unmap_granularity_bytes: config.block_size.bytes(),
            rotational: false,
        },
        device: None,
        read_only: config.read_only,
    };
    Ok(Opened { record, store, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such a device failed every read and write with EINVAL, and its volume was served.
    #[test]
    fn a_device_that_needs_better_aligned_buffers_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::write(&path, vec![0; 8192]).unwrap();
        let options = OpenOptions { read_only: false, buffered_allowed: true };
        let mut open = open_direct(&path, options).unwrap();
        let config = VolumeConfig {
            name: "a".into(),
            kind: VolumeKind::File,
            path: None,
            size_bytes: None,
            block_size: BlockSize::B4096,
            read_only: false,
            write_cache: None,
            adopt: false,
            whole_blocks: true,
        };
        (open.is_direct, open.dio_offset_align, open.dio_mem_align) = (true, 4096, 512);
        check_open(&open, Path::new("/dev/x"), &config, None).unwrap();
        open.dio_mem_align = 4096;
        let fault = check_open(&open, Path::new("/dev/x"), &config, None).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "/dev/x requires buffers aligned to 4096 bytes, but polluxd aligns them to 512; use \
             another device, for example one that is not encrypted in sectors of 4096 bytes"
        );
    }
}
