//! All volumes of the node, served or not, as they run.

use super::open::{Opened, contradiction, open_volume, path_of};
use super::origin::{ServedFile, withdraw};
use super::{Identity, NotServed, Occasion, VolumeFault};
use crate::config::{Applies, VOLUME_KEYS, VolumeConfig};
use crate::state::{Creation, FileId, Record, StateDir};
use control_api::VolumeKind;
use reactor::Store;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Instant;
use units::{VolumeId, len_usize, limits};
use volume::VolumeRecord;

/// One volume as it runs.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// What was configured when it was opened.
    pub(crate) config: VolumeConfig,
    /// The file or device.
    pub(crate) path: Option<PathBuf>,
    /// Which file that is, while it is served.
    pub(crate) file: Option<FileId>,
    /// What initiators see of it, or why they do not.
    pub(crate) served: Result<VolumeRecord, NotServed>,
    /// What was recorded when it was made, for one that is not served.
    pub(crate) known: Option<Record>,
    /// What is slower or less than it could be while it is served.
    warnings: Vec<String>,
}

/// The volumes in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct VolumeTable {
    volumes: Vec<Volume>,
    /// Places of the catalog that were given away.
    places_used: u32,
    /// Volumes whose places can be given away again, because every reactor has closed them; the
    /// one that was closed first comes first.
    closed: VecDeque<VolumeId>,
}

/// A table that a configuration leads to, and what must be done to get there.
#[derive(Debug)]
pub(crate) struct Planned {
    /// The table.
    pub(crate) table: VolumeTable,
    /// What the reactors do not have yet.
    pub(crate) stores: Vec<(VolumeId, Store)>,
    /// What of the served volumes is less than it could be, and what takes effect only at the next
    /// start.
    pub(crate) warnings: Vec<String>,
    /// What was just created, until the catalog names it.
    pub(crate) creations: Vec<Creation>,
}

impl VolumeTable {
    /// All volumes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter()
    }

    /// The volume of a name.
    pub(crate) fn find(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|v| v.config.name == name)
    }

    /// The volumes that are not served, with their reasons.
    pub(crate) fn not_served(&self) -> impl Iterator<Item = (&str, &NotServed)> {
        self.iter().filter_map(|v| Some((&*v.config.name, v.served.as_ref().err()?)))
    }

    /// The files that are served.
    pub(crate) fn served_files(&self) -> Vec<ServedFile> {
        let file = |v: &Volume| Some(ServedFile { volume: v.config.name.clone(), file: v.file? });
        self.volumes.iter().filter_map(file).collect()
    }

    /// The served volumes by their places in the catalog.
    pub(crate) fn places(&self) -> Vec<Option<VolumeRecord>> {
        let mut places = vec![None; len_usize(self.places_used)];
        for record in self.volumes.iter().filter_map(|v| v.served.as_ref().ok()) {
            if let Some(place) = places.get_mut(record.id.place()) {
                *place = Some(record.clone());
            }
        }
        places
    }

    /// Takes in volumes that every reactor has closed: their places are free.
    pub(crate) fn free(&mut self, closed: &[VolumeId]) {
        self.closed.extend(closed);
    }

    /// The id of a new volume: at a place that is free again, else at one that was never used.
    fn next_id(&mut self) -> Option<VolumeId> {
        while let Some(before) = self.closed.pop_front() {
            if let Some(id) = before.successor() {
                return Some(id);
            }
        }
        if len_usize(self.places_used) == limits::VOLUMES_MAX {
            return None;
        }
        self.places_used += 1;
        Some(VolumeId::first_at(self.places_used - 1))
    }

    /// The first contradiction between a configuration and the volumes that run: size, block
    /// size and kind are what initiators rely on. Looks only; nothing is opened or made.
    pub(crate) fn contradiction(&self, configs: &[VolumeConfig]) -> Option<(String, VolumeFault)> {
        configs.iter().find_map(|config| {
            let volume = self.find(&config.name)?;
            let record = volume.served.as_ref().ok()?;
            let running = Record {
                name: config.name.clone(),
                uuid: String::new(),
                wwid: record.wwid.clone(),
                kind: volume.config.kind,
                path: PathBuf::new(),
                size_bytes: record.geometry.bytes(),
                block_size: record.geometry.block_size,
                file: None,
            };
            contradiction(&running, config).map(|fault| (config.name.clone(), fault))
        })
    }

    /// The volumes of a configuration that are to be opened before it can be followed: the new
    /// ones and, where wanted, those that could not be opened the last time.
    pub(crate) fn to_open<'a>(
        &self,
        configs: &'a [VolumeConfig],
        with_failed: bool,
    ) -> Vec<&'a VolumeConfig> {
        let is_settled = |config: &VolumeConfig| {
            self.find(&config.name).is_some_and(|known| known.served.is_ok() || !with_failed)
        };
        configs.iter().filter(|config| !is_settled(config)).collect()
    }

    /// The table of a configuration: volumes that were not opened go on as they are.
    ///
    /// # Panics
    /// A new volume was neither opened nor tried.
    pub(crate) fn follow(
        &self,
        configs: &[VolumeConfig],
        state: &StateDir,
        mut opened: BTreeMap<String, Outcome>,
    ) -> Planned {
        let mut planned = Planned {
            table: Self {
                volumes: Vec::new(),
                places_used: self.places_used,
                closed: self.closed.clone(),
            },
            stores: Vec::new(),
            warnings: Vec::new(),
            creations: Vec::new(),
        };
        for config in configs {
            match (opened.remove(&config.name), self.find(&config.name)) {
                (Some(outcome), _) => {
                    let outcome = outcome.unless_known(&[self, &planned.table], state);
                    planned.take_in(config, state, outcome);
                }
                (None, Some(running)) => planned.go_on(running, config),
                (None, None) => unreachable!("volume {} was not opened", config.name),
            }
        }
        planned
    }

    /// Opens what a configuration leads to, one volume after the other.
    #[cfg(test)]
    pub(crate) fn plan(
        &self,
        configs: &[VolumeConfig],
        state: &StateDir,
        identity: Identity<'_>,
    ) -> Planned {
        let patience = Instant::now() + super::IN_USE_TIME_MAX;
        let occasion = Occasion::of_followed(true);
        let open = |config: &VolumeConfig| try_open(config, state, identity, patience, &occasion);
        let to_open = self.to_open(configs, true).into_iter();
        let opened = to_open.map(|config| (config.name.clone(), open(config)));
        self.follow(configs, state, opened.collect())
    }
}

/// A volume that was opened, or the reason why not.
#[derive(Debug)]
pub(crate) struct Outcome {
    opened: Result<Opened, VolumeFault>,
    /// What was recorded when the volume was made, for one that was not opened.
    known: Option<Record>,
}

impl Outcome {
    /// A volume that is being opened still.
    pub(crate) fn late(name: &str, state: &StateDir) -> Self {
        Self { opened: Err(VolumeFault::Late), known: state.record(name).ok().flatten() }
    }

    /// A volume that is not to be opened yet.
    pub(crate) const fn failed(fault: VolumeFault) -> Self {
        Self { opened: Err(fault), known: None }
    }

    /// Why it was not opened.
    pub(crate) fn fault(&self) -> Option<NotServed> {
        self.opened.as_ref().err().map(NotServed::from)
    }

    /// Removes what was created for a volume that is not wanted any more. May block.
    pub(crate) fn withdraw(self, state: &StateDir) {
        if let Ok(Opened { creation: Some(creation), .. }) = &self.opened {
            withdraw(creation, state);
        }
    }

    /// The same, unless another volume has its identity: a host would take the two for two paths
    /// to one disk.
    fn unless_known(mut self, tables: &[&VolumeTable], state: &StateDir) -> Self {
        let Ok(Opened { record, .. }) = &self.opened else { return self };
        let (name, wwid) = (&record.name, &record.wwid);
        let is_same = |v: &&Volume| {
            let served = v.served.as_ref().is_ok_and(|served| served.wwid == *wwid);
            served && v.config.name != *name
        };
        if let Some(other) = tables.iter().flat_map(|table| table.iter()).find(is_same) {
            let (volume, record) = (other.config.name.clone(), state.record_path(name));
            self.known = state.record(name).ok().flatten();
            self.opened = Err(VolumeFault::SameIdentity { volume, record });
        }
        self
    }
}

/// Opens or makes a volume. May block for long, and waits until `patience` for one that is in
/// use.
pub(crate) fn try_open(
    config: &VolumeConfig,
    state: &StateDir,
    identity: Identity<'_>,
    patience: Instant,
    occasion: &Occasion,
) -> Outcome {
    let opened = open_volume(config, state, identity, patience, occasion);
    let known = match &opened {
        Ok(_) => None,
        // A record that cannot be read is the fault itself.
        Err(_) => state.record(&config.name).ok().flatten(),
    };
    Outcome { opened, known }
}

impl Planned {
    fn go_on(&mut self, running: &Volume, config: &VolumeConfig) {
        let waiting = VOLUME_KEYS.iter().filter(|key| key.applies == Applies::AtRestart);
        for key in waiting.filter(|key| (key.differs)(&running.config, config)) {
            self.warnings.push(format!(
                "volume {}: {} takes effect after a restart of polluxd",
                config.name, key.name
            ));
        }
        self.warnings.extend(running.warnings.iter().cloned());
        self.table.volumes.push(running.clone());
    }

    fn take_in(&mut self, config: &VolumeConfig, state: &StateDir, outcome: Outcome) {
        let path = match config.kind {
            VolumeKind::Block | VolumeKind::File => Some(path_of(config, state)),
            VolumeKind::Memory | VolumeKind::Null => None,
        };
        let (mut warnings, mut file) = (Vec::new(), None);
        let served = match outcome.opened.and_then(|mut opened| {
            self.creations.extend(opened.creation.take());
            let id = self.table.next_id().ok_or(VolumeFault::NoPlace)?;
            Ok((opened, id))
        }) {
            Ok((opened, id)) => {
                self.stores.push((id, opened.store));
                (warnings, file) = (opened.warnings, opened.file);
                self.warnings.extend(warnings.iter().cloned());
                Ok(VolumeRecord { id, ..opened.record })
            }
            Err(fault) => Err(NotServed::from(&fault)),
        };
        let known = outcome.known;
        let config = config.clone();
        self.table.volumes.push(Volume { config, path, file, served, known, warnings });
    }
}

/// A volume that is not served, for people.
pub(crate) fn not_served(name: &str, reason: impl std::fmt::Display) -> String {
    format!("volume {name} is not served: {reason}")
}
