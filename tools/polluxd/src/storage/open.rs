//! Opening one volume.

use super::{Occasion, VolumeFault};
use crate::config::VolumeConfig;
use crate::state::{Creation, FileId, Record, StateDir, durable, new_uuid, new_wwid};
use control_api::VolumeKind;
use reactor::file::{OpenError, OpenFile, OpenOptions, holds_data, open_direct};
use reactor::{MemoryStore, Store};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use units::{HEAD_ROOM, VolumeId};
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
    /// Which file that is.
    pub(super) file: Option<FileId>,
    /// What is slower or less than it could be.
    pub(crate) warnings: Vec<String>,
    /// For a volume that was just created, until the catalog names it.
    pub(super) creation: Option<Creation>,
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
    occasion: &Occasion,
) -> Result<Opened, VolumeFault> {
    match config.kind {
        VolumeKind::File | VolumeKind::Block => {
            open_file(config, state, identity, patience, occasion)
        }
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
    occasion: &Occasion,
) -> Result<Opened, VolumeFault> {
    let path = path_of(config, state);
    let record = occasion.identify(config, state)?;
    if let Some(fault) = record.as_ref().and_then(|record| contradiction(record, config)) {
        return Err(fault);
    }
    let was_there = exists(&path)?;
    if !was_there && (record.is_some() || !occasion.may_create(config, state)) {
        return Err(VolumeFault::Missing { path });
    }
    if was_there {
        occasion.refuse_served(&path)?;
    }
    let place = Place { config, state, identity, patience, path: &path };
    if let Some(record) = record {
        return place.open_known(record);
    }
    let creation = occasion.begin(config, (!was_there).then_some(&*path), state)?;
    match place.open_new(was_there) {
        Ok(opened) => Ok(Opened { creation: occasion.complete(creation, state), ..opened }),
        Err(fault) => {
            occasion.abandon(&creation, state);
            Err(fault)
        }
    }
}

/// A file or device that is to be a volume.
struct Place<'a> {
    config: &'a VolumeConfig,
    state: &'a StateDir,
    identity: Identity<'a>,
    patience: Instant,
    path: &'a Path,
}

impl Place<'_> {
    /// Opens the volume of a record.
    fn open_known(&self, record: Record) -> Result<Opened, VolumeFault> {
        let Self { config, state, path, .. } = *self;
        let (mut open, file) = self.open(Some(&record))?;
        let mut warnings = Vec::new();
        if record.path != path {
            self.refuse_other_file(&open, &record)?;
        } else if record.file.is_some_and(|before| !is_same_inode(before, file)) {
            warnings.push(format!(
                "volume {}: {} is another file than before, as after a restore from a backup. If \
                 nobody restored or copied it, check that it holds the data of the volume",
                config.name,
                path.display()
            ));
        }
        // What has grown keeps the size that initiators know. The watch of open files warns of it.
        open.size = record.size_bytes;
        let geometry = self.geometry(&open)?;
        let found = Record { path: path.to_owned(), file, ..record.clone() };
        if found.path != record.path {
            keep(&found, state)?;
        } else if found != record
            && let Err(fault) = keep(&found, state)
        {
            // It is known by its path.
            tracing::warn!(volume = config.name, "{fault}");
        }
        Ok(self.opened(open, found, geometry, warnings))
    }

    /// Makes a volume of what is there, or of a new file.
    fn open_new(&self, was_there: bool) -> Result<Opened, VolumeFault> {
        let Self { config, state, path, .. } = *self;
        if !was_there {
            create(path, config)?;
        }
        let (open, file) = self.open(None)?;
        if was_there {
            refuse_data(&open, path, config)?;
        }
        let geometry = self.geometry(&open)?;
        let new = new_record(config, path, open.size, self.identity);
        let record = Record { file, ..new.map_err(|source| unwritten(source, state))? };
        keep(&record, state)?;
        Ok(self.opened(open, record, geometry, Vec::new()))
    }

    /// Opens and checks it. Devices have no identity that lasts.
    fn open(&self, record: Option<&Record>) -> Result<(OpenFile, Option<FileId>), VolumeFault> {
        let Self { config, path, .. } = *self;
        let buffered_allowed = config.kind == VolumeKind::File;
        let options = OpenOptions { read_only: config.read_only, buffered_allowed };
        let open = open_patiently(path, options, self.patience)
            .map_err(|e| VolumeFault::Open(e.to_string()))?;
        check_open(&open, path, config, record)?;
        let file = match config.kind {
            VolumeKind::File => FileId::of(&open.fd).map(Some),
            VolumeKind::Block | VolumeKind::Memory | VolumeKind::Null => Ok(None),
        };
        let step = |source| VolumeFault::Step { step: "look at", path: path.to_owned(), source };
        Ok((open, file.map_err(step)?))
    }

    /// A volume that was moved has its old file at a new path. Another file with data is taken for
    /// it only where the administrator says so.
    fn refuse_other_file(&self, open: &OpenFile, record: &Record) -> Result<(), VolumeFault> {
        let path = self.path;
        // What is at neither path is not the same.
        let at = |path: &Path| FileId::at(path).ok().flatten();
        let before = record.file.or_else(|| at(&record.path));
        if self.config.adopt || (before.is_some() && before == at(path)) {
            return Ok(());
        }
        if has_data(open, path)? {
            let (path, recorded) = (path.to_owned(), record.path.clone());
            return Err(VolumeFault::OtherFile { path, recorded });
        }
        Ok(())
    }

    fn geometry(&self, open: &OpenFile) -> Result<Geometry, VolumeFault> {
        let (block_size, found) = (self.config.block_size, open.size);
        Geometry::of_bytes(found, block_size, open.physical_block_size).ok_or_else(|| {
            let (path, block_size) = (self.path.to_owned(), block_size.bytes());
            VolumeFault::TooSmall { path, found, block_size }
        })
    }

    fn opened(
        &self,
        open: OpenFile,
        record: Record,
        geometry: Geometry,
        mut warnings: Vec<String>,
    ) -> Opened {
        let Self { config, state, path, .. } = *self;
        // Also for what an earlier version made. It is served without the mark too, and the next
        // start makes it, so this is a line of the log and no state to warn of.
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
        let file = record.file;
        let record = VolumeRecord {
            id: VolumeId(0),
            name: config.name.clone(),
            wwid: record.wwid,
            geometry,
            capabilities: capabilities(&open, config),
            device: Some(open.device),
            read_only: config.read_only,
        };
        Opened { record, store: Store::File(open), file, warnings, creation: None }
    }
}

/// A file system can get another number at each mount.
fn is_same_inode(before: FileId, now: Option<FileId>) -> bool {
    now.is_some_and(|now| now.inode == before.inode)
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

/// A new volume must not show bytes that somebody wrote before, unless that is wanted. One that is
/// read-only is made for that alone.
fn refuse_data(open: &OpenFile, path: &Path, config: &VolumeConfig) -> Result<(), VolumeFault> {
    if config.adopt || config.read_only {
        return Ok(());
    }
    if has_data(open, path)? {
        return Err(VolumeFault::HoldsData { path: path.to_owned() });
    }
    Ok(())
}

fn has_data(open: &OpenFile, path: &Path) -> Result<bool, VolumeFault> {
    holds_data(path, open).map_err(|source| VolumeFault::Step {
        step: "look for data in",
        path: path.to_owned(),
        source,
    })
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

fn keep(record: &Record, state: &StateDir) -> Result<(), VolumeFault> {
    state.keep_record(record).map_err(|source| unwritten(source, state))
}

fn unwritten(source: io::Error, state: &StateDir) -> VolumeFault {
    let path = state.path().to_owned();
    VolumeFault::Step { step: "write the record of the volume to", path, source }
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
        file: None,
    })
}

fn split_random(random: [u8; 40]) -> ([u8; 16], [u8; 24]) {
    let (mut a, mut b) = ([0; 16], [0; 24]);
    for (to, from) in a.iter_mut().chain(&mut b).zip(random) {
        *to = from;
    }
    (a, b)
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
        geometry: Geometry::of_bytes(bytes, config.block_size, config.block_size.bytes())
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
    Ok(Opened { record, store, file: None, warnings, creation: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::BlockSize;

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
