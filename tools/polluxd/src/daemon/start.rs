//! From flags to a daemon that serves.

use super::Daemon;
use super::events::EventLog;
use super::followed::{Followed, Ground};
use super::opening::{OpenedAtStart, open_at_start};
use super::operations::{OperationWorkers, Operations};
use super::resume::{resume_creations, resume_removals};
use crate::config::{NodeConfig, Poll, RawConfig, RawLun, RawTarget, RawVolume, to_text, unplaced};
use crate::files::{ReadFault, read_text};
use crate::flags::Flags;
use crate::listen::listen_on;
use crate::settings::{Loaded, Settings, load, load_text, state_dir};
use crate::start_fault::StartFault;
use crate::state::{CATALOG, Creation, PortsFile, StateDir, TargetPorts, durable};
use crate::workers::Workers;
use control_api::VolumeKind;
use reactor::{Alarm, Napi, Node, NodeOptions, PollMode, SessionCaps};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use units::limits;

/// The embedded default.
const DEMO_VOLUME: &str = "demo";
const DEMO_SIZE: &str = "1GiB";
const DEMO_TARGET: &str = "iqn.2026-11.local.pollux:demo";

/// What stands above the node's own catalog.
pub(super) const CATALOG_HEAD: &str =
    "# Written by polluxd. Change it with perfctl while the daemon runs.\n\n";

impl Daemon {
    /// Starts serving. `alarm` wakes whoever is to call [`Self::handle_events`].
    ///
    /// # Errors
    /// Why not, for people.
    pub(crate) fn start(
        settings: Settings,
        state: StateDir,
        loaded: Loaded,
        alarm: Alarm,
    ) -> Result<Self, StartFault> {
        let mut warnings = Vec::new();
        let buffer = settings.node.socket_buffer;
        let listeners = listen_on(&settings.portals, buffer, &mut warnings)?;
        warnings.extend(idle_options(&settings.node));
        warnings.extend(serves_nothing(&state, &loaded));
        let portals: Vec<_> = listeners.iter().map(|(_, portal)| *portal).collect();
        state.sweep_temporaries(loaded.config.volumes.iter().filter_map(|v| v.path.as_deref()));
        state.fill_reserve();
        let ports = load_ports(&state, &loaded)?;
        let (removals, stuck) = resume_removals(&state, &loaded);
        resume_creations(&state, &loaded, &mut warnings);
        let ground = Arc::new(Ground::new(state, portals, &loaded.config));
        let mut workers = workers(&alarm)?;
        let naa_oui = settings.node.naa_oui;
        let OpenedAtStart { planned, late } =
            open_at_start(&loaded, naa_oui, &ground, &mut workers);
        let (followed, stores) = Followed::new(1, loaded, planned, ports.clone(), &ground)?;
        if followed.ports != ports {
            followed.keep_ports(&ground)?;
        }
        let cores = cores(&settings)?;
        let options = node_options(&settings, cores.clone());
        let sockets = listeners.into_iter().map(|(socket, _)| socket).collect();
        let catalog = Arc::clone(&followed.catalog);
        let (node, node_warnings) =
            Node::start(options, sockets, catalog, stores, Arc::clone(&alarm))
                .map_err(StartFault::Node)?;
        warnings.extend(node_warnings);
        let mut daemon = Self {
            settings,
            operations: Operations::new(Arc::clone(&ground), Arc::new(followed), workers),
            ground,
            cores,
            node,
            started_at: Instant::now(),
            start_warnings: warnings,
            events: EventLog::default(),
            reporting: BTreeMap::new(),
            ends_at: None,
        };
        daemon.operations.keep_stuck(stuck);
        for warning in daemon.warnings(daemon.started_at) {
            tracing::warn!("{warning}");
        }
        for removal in removals {
            daemon.operations.resume_removal(removal);
        }
        daemon.operations.await_late(late);
        // From the first call on, every reactor has reported once, however busy it is.
        daemon.node.request_reports();
        Ok(daemon)
    }
}

fn workers(alarm: &Alarm) -> Result<OperationWorkers, StartFault> {
    let (sender, completions) = channel();
    let pool = |name, threads_max| {
        Workers::start(name, threads_max, sender.clone(), Arc::clone(alarm))
            .map_err(StartFault::Workers)
    };
    Ok(OperationWorkers {
        // One, because each change builds on the one before.
        journal: pool("journal", 1)?,
        files: pool("files", limits::CONTROL_WORKERS_MAX)?,
        readers: pool("readers", limits::CONTROL_READERS_MAX)?,
        completions,
    })
}

/// The state directory, locked, and the configuration to follow: the administrator's file or
/// the node's own catalog, which is made at the first start.
///
/// # Errors
/// The directory cannot be used, or the configuration is not good.
pub(crate) fn open(flags: &Flags) -> Result<(StateDir, Loaded), StartFault> {
    if let Some(file) = &flags.config {
        let loaded = load(&absolute(file)?, true)?;
        let state = StateDir::open(&state_dir(flags, Some(&loaded.config))?)?;
        return Ok((state, loaded));
    }
    let state = StateDir::open(&state_dir(flags, None)?)?;
    let file = state.catalog_path();
    if is_first_start(state.path())? {
        begin_catalog(&state)?;
    }
    let loaded = load(&file, false)?;
    Ok((state, loaded))
}

/// Makes the catalog of the first start. Its volume does not exist yet, which a catalog alone does
/// not say.
fn begin_catalog(state: &StateDir) -> Result<(), StartFault> {
    let file = state.catalog_path();
    keep_ports(state, &TargetPorts::default())?;
    Creation::new(DEMO_VOLUME, None).note(state).map_err(|source| StartFault::Step {
        step: "note the creation of the first volume in",
        path: state.creation_dir(),
        source,
    })?;
    keep_catalog(&file, &catalog_text(&demo())?)
}

/// The configuration that would be followed; nothing is made or locked.
///
/// # Errors
/// It is not good.
pub(crate) fn look(flags: &Flags) -> Result<(std::path::PathBuf, Loaded), StartFault> {
    if let Some(file) = &flags.config {
        let loaded = load(&absolute(file)?, true)?;
        return Ok((state_dir(flags, Some(&loaded.config))?, loaded));
    }
    let directory = state_dir(flags, None)?;
    let file = directory.join(CATALOG);
    let loaded = if is_first_start(&directory)? {
        load_text(&file, false, &catalog_text(&demo())?).map_err(StartFault::Config)?
    } else {
        load(&file, false)?
    };
    Ok((directory, loaded))
}

/// Whether the demo is to be made: there is no catalog, because no daemon was here before.
///
/// # Errors
/// The catalog was lost. Serving nothing or the demo would look to every host as if its disks
/// had been removed.
fn is_first_start(directory: &Path) -> Result<bool, StartFault> {
    let file = directory.join(CATALOG);
    match read_text(&file, limits::CONFIG_FILE_BYTES_MAX) {
        Ok(text) if text.trim().is_empty() => {
            Err(StartFault::CatalogLost { file, what: "is empty" })
        }
        // What is wrong with it is told by whoever loads it.
        Ok(_) => Ok(false),
        Err(ReadFault::Long { .. } | ReadFault::NotRegular(_)) => Ok(false),
        Err(ReadFault::Refused(e)) if e.kind() != std::io::ErrorKind::NotFound => Ok(false),
        Err(_) if StateDir::was_used(directory) => {
            let what = "is missing, but the state directory was used before";
            Err(StartFault::CatalogLost { file, what })
        }
        Err(_) => Ok(true),
    }
}

/// The node's own catalog as text.
pub(super) fn catalog_text(raw: &RawConfig) -> Result<String, StartFault> {
    Ok(CATALOG_HEAD.to_owned() + &to_text(raw).map_err(StartFault::Unwritable)?)
}

/// Writes the node's own catalog, durably.
fn keep_catalog(file: &Path, text: &str) -> Result<(), StartFault> {
    durable::replace(file, text.as_bytes()).map_err(|source| unwritten_catalog(file, source))
}

pub(super) fn unwritten_catalog(file: &Path, source: std::io::Error) -> StartFault {
    StartFault::Step { step: "write the catalog", path: file.to_owned(), source }
}

/// Writes the identifiers of the targets, durably.
pub(super) fn keep_ports(state: &StateDir, ports: &TargetPorts) -> Result<(), StartFault> {
    let path = state.ports_path();
    let written = ports.to_text().and_then(|text| durable::replace(&path, text.as_bytes()));
    written.map_err(|source| StartFault::Step {
        step: "write the target port identifiers",
        path,
        source,
    })
}

/// The identifiers of the targets. The file exists before any target does: hosts know targets by
/// them, so that a lost one is not made again.
fn load_ports(state: &StateDir, loaded: &Loaded) -> Result<TargetPorts, StartFault> {
    let path = state.ports_path();
    let read = TargetPorts::load(&path).map_err(|source| StartFault::Step {
        step: "read the target port identifiers",
        path: path.clone(),
        source,
    })?;
    let had_targets = !loaded.config.targets.is_empty();
    match read {
        PortsFile::Read(ports) => Ok(ports),
        PortsFile::Blank if had_targets => Err(StartFault::PortsLost { path, what: "is empty" }),
        PortsFile::Missing if had_targets && (!loaded.is_master || state.has_volumes()) => {
            let what = "is missing, but the state directory was used before";
            Err(StartFault::PortsLost { path, what })
        }
        PortsFile::Blank | PortsFile::Missing => {
            let ports = TargetPorts::default();
            keep_ports(state, &ports)?;
            Ok(ports)
        }
    }
}

fn absolute(file: &Path) -> Result<std::path::PathBuf, StartFault> {
    std::path::absolute(file).map_err(|source| StartFault::Step {
        step: "find the configuration",
        path: file.to_owned(),
        source,
    })
}

/// What a node serves before anybody has said what: a volume and a target to try it with.
fn demo() -> RawConfig {
    let volume = RawVolume {
        size: Some(unplaced(DEMO_SIZE.into())),
        ..RawVolume::new(DEMO_VOLUME, VolumeKind::File)
    };
    let lun = (unplaced("0".to_owned()), unplaced(RawLun::Volume(DEMO_VOLUME.into())));
    let target = RawTarget { luns: [lun].into_iter().collect(), ..RawTarget::new(DEMO_TARGET) };
    RawConfig { volumes: vec![volume], targets: vec![target], ..RawConfig::default() }
}

/// The cores to run on: those that were named, or the first that this process may use.
fn cores(settings: &Settings) -> Result<Vec<usize>, StartFault> {
    if let Some(cores) = &settings.node.cores {
        return Ok(cores.iter().map(|&core| usize::from(core)).collect());
    }
    let allowed = rustix::thread::sched_getaffinity(None)
        .map_err(|errno| StartFault::NoCore(errno.into()))?;
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|&core| allowed.is_set(core));
    first
        .map(|core| vec![core])
        .ok_or_else(|| StartFault::NoCore(std::io::ErrorKind::NotFound.into()))
}

fn node_options(settings: &Settings, cores: Vec<usize>) -> NodeOptions {
    let node = &settings.node;
    NodeOptions {
        cores,
        queue_depth: node.queue_depth,
        poll: match node.poll {
            Poll::Busy => PollMode::Busy,
            Poll::Adaptive => PollMode::Adaptive,
            Poll::Interrupt => PollMode::Interrupt,
        },
        spin: Duration::from_micros(node.spin_us.into()),
        layout: node.buffers.clone(),
        sleep_on_disk: node.sleep_on_disk,
        napi: (node.napi_busy_poll_us > 0).then_some(Napi {
            busy_poll: Duration::from_micros(node.napi_busy_poll_us.into()),
            prefer_busy_poll: node.napi_prefer_busy_poll,
        }),
        caps: SessionCaps {
            per_address: node.sessions_per_address,
            per_initiator: node.sessions_per_initiator,
        },
        login_time_max: Duration::from_secs(node.login_timeout_s.into()),
    }
}

/// A sentence for a file that serves nothing where volumes are known: it may be the wrong one.
fn serves_nothing(state: &StateDir, loaded: &Loaded) -> Option<String> {
    let is_empty = loaded.config.volumes.is_empty() && loaded.config.targets.is_empty();
    let known = state.known_volumes();
    let (true, true, Some(first)) = (is_empty, loaded.is_master, known.first()) else {
        return None;
    };
    let more = known.len() - 1;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "{} has no volumes and no targets, so nothing is served, but {} knows volume \
         {first}{more}; check that this is the right file",
        loaded.file.display(),
        state.path().display()
    ))
}

/// A sentence for an option of the network that does nothing together with the others.
fn idle_options(node: &NodeConfig) -> Option<String> {
    if node.napi_busy_poll_us == 0 {
        return node
            .napi_prefer_busy_poll
            .then(|| "napi_prefer_busy_poll has no effect without napi_busy_poll_us".to_owned());
    }
    (node.poll == Poll::Busy).then(|| {
        "napi_busy_poll_us has no effect in poll mode busy, because a reactor that never waits \
         never lets the kernel poll; use mode adaptive with spin_us = 0"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Removal;

    #[test]
    fn options_without_effect_are_told() {
        let told = |poll, napi_busy_poll_us, prefer| {
            let node = NodeConfig {
                poll,
                napi_busy_poll_us,
                napi_prefer_busy_poll: prefer,
                ..NodeConfig::default()
            };
            idle_options(&node).unwrap_or_default()
        };
        assert_eq!(told(Poll::Adaptive, 40, true), "");
        assert_eq!(told(Poll::Busy, 0, false), "");
        assert!(told(Poll::Busy, 40, false).contains("poll mode busy"));
        assert!(told(Poll::Adaptive, 0, true).contains("without napi_busy_poll_us"));
    }

    #[test]
    fn the_embedded_default_is_a_good_configuration() {
        let text = catalog_text(&demo()).unwrap();
        assert_eq!(
            text,
            "\
# Written by polluxd. Change it with perfctl while the daemon runs.

[[volume]]
name = \"demo\"
kind = \"file\"
size = \"1GiB\"

[[target]]
name = \"iqn.2026-11.local.pollux:demo\"

[target.luns]
0 = \"demo\"
"
        );
        load_text(Path::new("/catalog.toml"), false, &text).unwrap();
    }

    #[test]
    fn the_first_start_keeps_the_default_and_later_ones_what_became_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let flags = Flags::of(&["--state-dir", dir.path().join("state").to_str().unwrap()]);
        let (state, loaded) = open(&flags).unwrap();
        assert!(!loaded.is_master);
        assert_eq!(loaded.config.volumes.len(), 1);
        keep_catalog(&state.catalog_path(), CATALOG_HEAD).unwrap();
        drop(state);
        let (_state, loaded) = open(&flags).unwrap();
        assert!(loaded.config.volumes.is_empty());
    }

    /// It served nothing or the demo, as if nobody had ever configured anything.
    #[test]
    fn a_catalog_that_is_lost_or_empty_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let flags = Flags::of(&["--state-dir", path.to_str().unwrap()]);
        let (state, loaded) = open(&flags).unwrap();
        let first = state.catalog_path();
        assert_eq!(loaded.config.volumes.len(), 1);
        std::fs::write(state.record_path("demo"), "whatever is in it").unwrap();
        drop(state);
        let refused = |found: Result<(), StartFault>| {
            found.unwrap_err().to_string().replace(path.to_str().unwrap(), "STATE")
        };
        std::fs::write(&first, " \n").unwrap();
        let remedy = "restore it from a backup, or start polluxd with --config FILE. To begin \
                      with no volumes and no targets, run: echo '# empty' > STATE/catalog.toml";
        let empty = format!("STATE/catalog.toml is empty; {remedy}");
        assert_eq!(refused(open(&flags).map(drop)), empty);
        std::fs::remove_file(&first).unwrap();
        let missing = "is missing, but the state directory was used before";
        let missing = format!("STATE/catalog.toml {missing}; {remedy}");
        assert_eq!(refused(open(&flags).map(drop)), missing);
        assert_eq!(refused(look(&flags).map(drop)), missing);
        std::fs::write(&first, "# empty\n").unwrap();
        assert!(open(&flags).unwrap().1.config.volumes.is_empty());
    }

    #[test]
    fn looking_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let flags = Flags::of(&["--state-dir", dir.path().join("state").to_str().unwrap()]);
        let (directory, loaded) = look(&flags).unwrap();
        assert_eq!(loaded.config.targets.len(), 1);
        assert!(!directory.exists());
    }

    /// The rename had failed, and a new volume took over the file: the next start removed it.
    #[test]
    fn a_file_that_another_volume_has_taken_over_survives_the_rest_of_a_deletion() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let file = dir.path().join("a.raw");
        std::fs::write(&file, "of b now").unwrap();
        let record = crate::state::Record {
            name: "a".into(),
            uuid: "u1".into(),
            wwid: volume::Wwid { naa: volume::Naa::LocallyAssigned([0x30; 8]), serial: "1".into() },
            kind: VolumeKind::File,
            path: file.clone(),
            size_bytes: 512,
            block_size: units::BlockSize::B512,
            file: None,
        };
        state.keep_record(&record).unwrap();
        let no_id = || unreachable!("the record has one");
        let removal = Removal::new("a", Some(&record), Some(file.clone()), no_id).unwrap();
        removal.note(&state).unwrap();
        let text = format!("[[volume]]\nname = \"b\"\nkind = \"file\"\npath = {file:?}\n");
        let loaded = load_text(&state.catalog_path(), false, &text).unwrap();
        let (removals, stuck) = resume_removals(&state, &loaded);
        assert!(stuck.is_empty(), "{stuck:?}");
        for removal in removals {
            removal.finish(&state).unwrap();
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"of b now");
        assert_eq!(std::fs::read_dir(state.volume_dir()).unwrap().count(), 0);
    }
}
