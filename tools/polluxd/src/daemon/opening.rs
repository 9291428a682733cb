//! Opening the volumes at the start: all at once, and one that takes long holds up no other.

use super::followed::Ground;
use super::identity;
use super::operations::{Completion, OperationWorkers};
use crate::config::VolumeConfig;
use crate::settings::Loaded;
use crate::storage::{
    IN_USE_TIME_MAX, Occasion, Outcome, Planned, VolumeTable, path_of, settle, try_open,
};
use control_api::VolumeKind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
use units::limits::{START_OPEN_SILENT_TIME, START_OPEN_TIME_MAX};

/// The volumes at the start.
pub(super) struct OpenedAtStart {
    pub(super) planned: Planned,
    /// Volumes that are being opened still, by name, as they are shown.
    pub(super) late: BTreeMap<String, String>,
}

/// Opens the volumes of a configuration, and waits for them for a while. The rest come as
/// [`Completion::OpenedLate`].
pub(super) fn open_at_start(
    loaded: &Loaded,
    naa_oui: Option<[u8; 3]>,
    ground: &Arc<Ground>,
    workers: &mut OperationWorkers,
) -> OpenedAtStart {
    let (config, mut late) = (&loaded.config, BTreeMap::new());
    for volume in &config.volumes {
        late.insert(volume.name.clone(), shown(volume, ground));
        let (volume, ground) = (volume.clone(), Arc::clone(ground));
        let occasion = Occasion::of_followed(loaded.is_master);
        workers.files.run(move || {
            let patience = Instant::now() + IN_USE_TIME_MAX;
            let identity = identity(naa_oui);
            let outcome = try_open(&volume, &ground.state, identity, patience, &occasion);
            Completion::OpenedLate { volume: volume.name, outcome: Box::new(outcome) }
        });
    }
    let mut opened = BTreeMap::new();
    wait(START_OPEN_SILENT_TIME, &mut late, &mut opened, workers);
    if !late.is_empty() {
        let names: Vec<_> = late.values().map(String::as_str).collect();
        tracing::info!("waiting for volumes that are in use or do not open: {}", names.join(", "));
        wait(START_OPEN_TIME_MAX - START_OPEN_SILENT_TIME, &mut late, &mut opened, workers);
    }
    for name in late.keys() {
        opened.insert(name.clone(), Outcome::late(name, &ground.state));
    }
    let planned = VolumeTable::default().follow(&config.volumes, &ground.state, opened);
    for creation in &planned.creations {
        settle(creation, &ground.state);
    }
    OpenedAtStart { planned, late }
}

/// Takes in what is opened within this time.
fn wait(
    time: Duration,
    late: &mut BTreeMap<String, String>,
    opened: &mut BTreeMap<String, Outcome>,
    workers: &OperationWorkers,
) {
    let until = Instant::now() + time;
    while !late.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        match workers.completions.recv_timeout(left) {
            Ok(Completion::OpenedLate { volume, outcome }) => {
                late.remove(&volume);
                opened.insert(volume, *outcome);
            }
            Ok(other) => unreachable!("nobody has begun anything else yet: {other:?}"),
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the workers can send"),
        }
    }
}

/// A volume and where it is.
fn shown(volume: &VolumeConfig, ground: &Ground) -> String {
    match volume.kind {
        VolumeKind::Block | VolumeKind::File => {
            format!("{} ({})", volume.name, path_of(volume, &ground.state).display())
        }
        VolumeKind::Memory | VolumeKind::Null => volume.name.clone(),
    }
}
