//! Deleting a volume so that a crash at any moment leaves either the volume or nothing of it.
//!
//! 1. A note says what is to be removed. The volume still runs, and would run again.
//! 2. The catalog without the volume is written: from here on it is deleted.
//! 3. The file takes another name and the record goes: the volume's name and path are free.
//! 4. The file is removed, which may take long. Then the note goes.
//!
//! A start that finds a note does steps 3 and 4 again where the catalog has no such volume any
//! more, and drops the note where step 2 was never reached.

use super::{FileId, Record, Space, StateDir, durable};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A deletion that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Removal {
    format: u32,
    /// What names this deletion: the volume's UUID where it has one.
    id: String,
    /// The volume.
    pub(crate) volume: String,
    /// Whether the volume has a record of this UUID.
    is_recorded: bool,
    /// The file that goes with it.
    pub(crate) file: Option<PathBuf>,
}

/// The version of the format.
const FORMAT: u32 = 1;

const SUFFIX: &str = ".removal";

impl Removal {
    /// The deletion of a volume with the file that is to go with it. `id` names the deletion of a
    /// volume without a record.
    pub(crate) fn new(
        volume: &str,
        record: Option<&Record>,
        file: Option<PathBuf>,
        id: impl FnOnce() -> io::Result<String>,
    ) -> io::Result<Self> {
        let (id, is_recorded) = match record {
            Some(record) => (record.uuid.clone(), true),
            None => (id()?, false),
        };
        Ok(Self { format: FORMAT, id, volume: volume.to_owned(), is_recorded, file })
    }

    /// Step 1: writes the note, durably.
    ///
    /// # Errors
    /// What the operating system says, or a path that is not UTF-8.
    pub(crate) fn note(&self, state: &StateDir) -> io::Result<()> {
        let text = toml::to_string(self)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
        state.replace(&self.path(state), text.as_bytes(), Space::Reserved)
    }

    /// Removes the note, durably.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn forget(&self, state: &StateDir) -> io::Result<()> {
        durable::remove(&self.path(state))
    }

    /// Finds the file that is to be removed, or `left`, that is to stay, and returns what stays.
    /// `served` is the file that the volume had: another one at its path is somebody else's. May
    /// block.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn resolve(
        &mut self,
        left: Option<PathBuf>,
        served: Option<FileId>,
        state: &StateDir,
    ) -> io::Result<Option<PathBuf>> {
        let Some(path) = self.file.as_ref().or(left.as_ref()) else { return Ok(None) };
        let Some(found) = FileId::at(path)? else { return Ok(None) };
        if served.is_some_and(|served| served != found) {
            let volume = &self.volume;
            tracing::warn!(volume, "{} is not the file of the volume: it stays", path.display());
            if self.file.take().is_some() {
                self.note(state)?;
            }
            return Ok(None);
        }
        if let Some(file) = &self.file {
            // A symbolic link would go, and the data stay.
            let file = file.canonicalize()?;
            if self.file.replace(file.clone()) != Some(file) {
                self.note(state)?;
            }
        }
        Ok(left)
    }

    /// Step 3 at a later start. A file that has its name still keeps it where it is, or could be,
    /// that of a newer volume: where the catalog says so, or where the volume has no record.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn resume(&self, state: &StateDir, is_file_taken: bool) -> io::Result<()> {
        if !self.is_recorded {
            // Whose record there is now, if any, is not known; without one, the name is free.
            let is_free = matches!(state.record(&self.volume), Ok(None));
            return if is_free { state.unmark(&self.volume) } else { Ok(()) };
        }
        if !is_file_taken {
            return self.release(state);
        }
        if self.has_record(state) { state.forget_record(&self.volume) } else { Ok(()) }
    }

    /// Step 3: frees the volume's name and path. Does no harm where that is done already.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn release(&self, state: &StateDir) -> io::Result<()> {
        // Without its record, it cannot be known whether the file is that of a newer volume.
        if self.is_recorded && !self.has_record(state) {
            return Ok(());
        }
        if let Some((file, removed)) = self.file.as_deref().zip(self.removed_path())
            && !removed.try_exists()?
        {
            match durable::rename(file, &removed) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        // Last, because it says whether the rename is done.
        state.forget_record(&self.volume)
    }

    /// Step 4: removes the file, which may take long, and then the note.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn finish(&self, state: &StateDir) -> io::Result<()> {
        if let Some(removed) = self.removed_path() {
            durable::remove(&removed)?;
        }
        self.forget(state)?;
        state.fill_reserve();
        Ok(())
    }

    /// Whether the volume is deleted, in a node whose catalog has it still or not.
    pub(crate) fn is_decided(&self, is_in_catalog: bool, state: &StateDir) -> bool {
        let is_the_same =
            if self.is_recorded { self.has_record(state) } else { !self.was_renamed() };
        !(is_in_catalog && is_the_same)
    }

    /// The deletions that an earlier daemon did not come to the end of, and what is wrong with the
    /// others.
    pub(crate) fn all(state: &StateDir) -> io::Result<(Vec<Self>, Vec<String>)> {
        let (mut removals, mut faults) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(state.volume_dir())? {
            let path = entry?.path();
            let is_note = path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(SUFFIX));
            if !is_note {
                continue;
            }
            match Self::load(&path) {
                Ok(removal) => removals.push(removal),
                Err(why) => faults.push(format!(
                    "{} cannot be read ({why}), so that its volume may leave its file behind; \
                     remove both",
                    path.display()
                )),
            }
        }
        removals.sort_by(|a, b| a.id.cmp(&b.id));
        Ok((removals, faults))
    }

    fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
        let removal: Self = toml::from_str(&text).map_err(|e| e.message().to_owned())?;
        if removal.format == FORMAT {
            Ok(removal)
        } else {
            Err(format!("it has format {}, not {FORMAT}", removal.format))
        }
    }

    fn has_record(&self, state: &StateDir) -> bool {
        let record = state.record(&self.volume).ok().flatten();
        record.is_some_and(|record| record.uuid == self.id)
    }

    fn was_renamed(&self) -> bool {
        self.removed_path().is_some_and(|path| path.exists())
    }

    /// The dot keeps it apart from every name that a volume can have.
    fn path(&self, state: &StateDir) -> PathBuf {
        state.volume_dir().join(format!(".{}{SUFFIX}", self.id))
    }

    /// The name of the file from step 3 on, in its directory.
    fn removed_path(&self) -> Option<PathBuf> {
        let file = self.file.as_ref()?;
        let mut name = std::ffi::OsString::from(".");
        name.push(file.file_name()?);
        name.push(format!(".{}.removed", self.id));
        Some(file.with_file_name(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::VolumeKind;
    use units::BlockSize;
    use volume::{Naa, Wwid};

    struct World {
        _dir: tempfile::TempDir,
        state: StateDir,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let state = StateDir::open(&dir.path().join("state")).unwrap();
            Self { _dir: dir, state }
        }

        fn image(&self) -> PathBuf {
            self.state.volume_dir().join("a.img")
        }

        /// Makes volume a, with this UUID and content.
        fn make(&self, uuid: &str, content: &str) -> Record {
            let record = Record {
                name: "a".into(),
                uuid: uuid.into(),
                wwid: Wwid { naa: Naa::LocallyAssigned([0x30; 8]), serial: "1".into() },
                kind: VolumeKind::File,
                path: self.image(),
                size_bytes: 512,
                block_size: BlockSize::B512,
                file: None,
            };
            fs::write(self.image(), content).unwrap();
            self.state.keep_record(&record).unwrap();
            record
        }

        fn begin(&self, record: &Record) -> Removal {
            let no_id = || unreachable!("the record has one");
            let removal = Removal::new("a", Some(record), Some(self.image()), no_id).unwrap();
            removal.note(&self.state).unwrap();
            removal
        }

        /// What a start does that finds the volume in the catalog, or not.
        fn start_again(&self, is_in_catalog: bool) {
            let (removals, faults) = Removal::all(&self.state).unwrap();
            assert_eq!(faults, [] as [String; 0]);
            for removal in removals {
                if removal.is_decided(is_in_catalog, &self.state) {
                    removal.resume(&self.state, false).unwrap();
                    removal.finish(&self.state).unwrap();
                } else {
                    removal.forget(&self.state).unwrap();
                }
            }
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.state.volume_dir()).unwrap();
            let mut names: Vec<_> =
                entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    /// The link was removed, and the answer was that all was.
    #[test]
    fn the_file_behind_a_symbolic_link_is_removed() {
        let world = World::new();
        let record = world.make("u1", "data");
        let link = world.state.path().join("link.img");
        std::os::unix::fs::symlink(world.image(), &link).unwrap();
        let no_id = || unreachable!("the record has one");
        let mut removal = Removal::new("a", Some(&record), Some(link.clone()), no_id).unwrap();
        removal.note(&world.state).unwrap();
        let served = FileId::at(&link).unwrap();
        assert_eq!(removal.resolve(None, served, &world.state).unwrap(), None);
        removal.release(&world.state).unwrap();
        world.start_again(false);
        assert_eq!(world.names(), [] as [String; 0]);
    }

    #[test]
    fn what_took_the_place_of_the_file_stays_and_is_not_reported_as_the_volumes() {
        for (is_removed, is_there) in [(true, true), (false, true), (false, false)] {
            let world = World::new();
            let record = world.make("u1", "data");
            let served = FileId::at(&world.image()).unwrap();
            fs::rename(world.image(), world.state.path().join("moved")).unwrap();
            if is_there {
                fs::write(world.image(), "of somebody else").unwrap();
            }
            let no_id = || unreachable!("the record has one");
            let file = is_removed.then(|| world.image());
            let mut removal = Removal::new("a", Some(&record), file, no_id).unwrap();
            removal.note(&world.state).unwrap();
            let left = (!is_removed).then(|| world.image());
            assert_eq!(removal.resolve(left, served, &world.state).unwrap(), None);
            removal.release(&world.state).unwrap();
            world.start_again(false);
            assert_eq!(world.image().exists(), is_there);
        }
    }

    #[test]
    fn a_crash_before_the_catalog_is_written_leaves_the_volume() {
        let world = World::new();
        let record = world.make("u1", "precious");
        world.begin(&record);
        world.start_again(true);
        assert_eq!(world.names(), ["a.img", "a.toml"]);
        assert_eq!(fs::read(world.image()).unwrap(), b"precious");
    }

    #[test]
    fn a_crash_after_the_catalog_is_written_leaves_nothing() {
        // How far the deletion came: the note, the rename, the record, the file.
        for steps in 0..4 {
            let world = World::new();
            let record = world.make("u1", "old");
            let removal = world.begin(&record);
            let removed = world.state.volume_dir().join(".a.img.u1.removed");
            if steps > 0 {
                fs::rename(world.image(), &removed).unwrap();
            }
            if steps > 1 {
                removal.release(&world.state).unwrap();
            }
            if steps > 2 {
                fs::remove_file(&removed).unwrap();
            }
            world.start_again(false);
            assert_eq!(world.names(), [] as [String; 0], "after {steps} steps");
        }
    }

    #[test]
    fn a_new_volume_of_the_name_is_left_alone_by_the_rest_of_the_old_ones_deletion() {
        for is_unlinked in [false, true] {
            let world = World::new();
            let removal = world.begin(&world.make("u1", "old"));
            removal.release(&world.state).unwrap();
            world.make("u2", "new");
            if is_unlinked {
                fs::remove_file(world.state.volume_dir().join(".a.img.u1.removed")).unwrap();
            }
            world.start_again(true);
            assert_eq!(world.names(), ["a.img", "a.toml"]);
            assert_eq!(fs::read(world.image()).unwrap(), b"new");
        }
    }

    #[test]
    fn a_volume_without_a_file_to_remove_loses_its_record_only() {
        let world = World::new();
        let record = world.make("u1", "kept");
        let no_id = || unreachable!("the record has one");
        let removal = Removal::new("a", Some(&record), None, no_id).unwrap();
        removal.note(&world.state).unwrap();
        world.start_again(false);
        assert_eq!(world.names(), ["a.img"]);
    }

    #[test]
    fn a_file_without_a_record_is_removed_under_its_new_name_only() {
        let world = World::new();
        fs::write(world.image(), "old").unwrap();
        let file = Some(world.image());
        let removal = Removal::new("a", None, file, || Ok("x".into())).unwrap();
        removal.note(&world.state).unwrap();
        assert!(!removal.is_decided(true, &world.state));
        removal.release(&world.state).unwrap();
        assert!(removal.is_decided(true, &world.state));
        removal.finish(&world.state).unwrap();
        assert_eq!(world.names(), [] as [String; 0]);
    }

    #[test]
    fn after_a_crash_a_file_without_a_record_is_taken_for_a_newer_volumes() {
        let world = World::new();
        fs::write(world.image(), "whose").unwrap();
        let removal = Removal::new("a", None, Some(world.image()), || Ok("x".into())).unwrap();
        removal.note(&world.state).unwrap();
        world.start_again(false);
        assert_eq!(world.names(), ["a.img"]);
    }

    #[test]
    fn a_note_that_makes_no_sense_is_reported_and_left_alone() {
        let world = World::new();
        fs::write(world.state.volume_dir().join(".u9.removal"), "format = 1\n").unwrap();
        let (removals, faults) = Removal::all(&world.state).unwrap();
        assert!(removals.is_empty());
        assert!(faults[0].contains("/.u9.removal cannot be read (missing field"), "{faults:?}");
        assert_eq!(world.names(), [".u9.removal"]);
    }
}
