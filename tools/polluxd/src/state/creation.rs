//! Creating a volume so that a crash at any moment leaves either the volume or nothing of it.
//!
//! 1. A note says that the volume is being created, and which file is made for it.
//! 2. The file, the record and the mark are made.
//! 3. The catalog with the volume is written: from here on the volume exists.
//! 4. The note goes.
//!
//! A start that finds a note undoes step 2 where the catalog has no such volume. The note stays
//! where the catalog names a volume that could not be created yet, for example because its device
//! is not attached. So a volume of the catalog without record and note is one that was lost.

use super::{StateDir, durable};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A volume that is being created, or was not created yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Creation {
    format: u32,
    /// The volume.
    pub(crate) volume: String,
    /// The file that is made for it; `None` for one that existed before.
    file: Option<PathBuf>,
}

/// The version of the format.
const FORMAT: u32 = 1;

impl Creation {
    /// The creation of a volume with the file that is made for it.
    pub(crate) fn new(volume: &str, file: Option<PathBuf>) -> Self {
        Self { format: FORMAT, volume: volume.to_owned(), file }
    }

    /// Step 1: writes the note, durably.
    ///
    /// # Errors
    /// The failed system call, or a path that is not UTF-8.
    pub(crate) fn note(&self, state: &StateDir) -> io::Result<()> {
        let text = toml::to_string(self)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
        durable::replace(&state.creation_path(&self.volume), text.as_bytes())
    }

    /// Step 4: removes the note, durably.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn forget(&self, state: &StateDir) -> io::Result<()> {
        durable::remove(&state.creation_path(&self.volume))
    }

    /// Removes what step 2 made, but not the note. A file with data stays: nobody can have written
    /// to a volume that did not exist yet, so that the data is somebody else's.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn undo(&self, state: &StateDir) -> io::Result<()> {
        if let Some(file) = &self.file {
            durable::remove(&durable::temporary_path(file))?;
            if is_blank(file)? {
                durable::remove(file)?;
            }
        }
        state.forget_record(&self.volume)
    }

    /// The creations that an earlier daemon did not come to the end of, and what is wrong with the
    /// other notes.
    ///
    /// # Errors
    /// The failed system call.
    pub(crate) fn all(state: &StateDir) -> io::Result<(Vec<Self>, Vec<String>)> {
        let (mut creations, mut faults) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(state.creation_dir())? {
            let path = entry?.path();
            if durable::is_temporary(&path) {
                continue;
            }
            match Self::load(&path) {
                Ok(creation) => creations.push(creation),
                Err(why) => faults.push(format!(
                    "{} cannot be read ({why}), so that a volume that was never created may leave \
                     its file and record behind; remove all three",
                    path.display()
                )),
            }
        }
        creations.sort_by(|a, b| a.volume.cmp(&b.volume));
        Ok((creations, faults))
    }

    fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
        let creation: Self = toml::from_str(&text).map_err(|e| e.message().to_owned())?;
        if creation.format == FORMAT {
            Ok(creation)
        } else {
            Err(format!("it has format {}, not {FORMAT}", creation.format))
        }
    }
}

/// Whether a file exists that has never been written to.
fn is_blank(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(file.metadata()?.is_file() && seek(&file, SeekFrom::Data(0)) == Err(Errno::NXIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        (dir, state)
    }

    #[test]
    fn a_blank_file_goes_with_the_record_and_one_with_data_stays() {
        for data in ["", "of somebody else"] {
            let (_dir, state) = state();
            let image = state.volume_dir().join("a.img");
            let creation = Creation::new("a", Some(image.clone()));
            creation.note(&state).unwrap();
            fs::write(&image, data).unwrap();
            File::options().write(true).open(&image).unwrap().set_len(1 << 20).unwrap();
            fs::write(state.volume_dir().join(".a.img.new"), "").unwrap();
            fs::write(state.record_path("a"), "whatever").unwrap();
            state.mark_made("a").unwrap();
            let (found, faults) = Creation::all(&state).unwrap();
            assert_eq!((found, faults), (vec![creation.clone()], vec![]));
            creation.undo(&state).unwrap();
            creation.forget(&state).unwrap();
            assert_eq!(image.exists(), !data.is_empty());
            assert_eq!(fs::read_dir(state.volume_dir()).unwrap().count(), data.len().min(1));
            assert!(!state.was_made("a"));
            assert_eq!(Creation::all(&state).unwrap().0, []);
        }
    }

    #[test]
    fn a_note_that_cannot_be_read_is_named() {
        let (_dir, state) = state();
        fs::write(state.creation_path("a"), "format = 2\nvolume = \"a\"\n").unwrap();
        let (found, faults) = Creation::all(&state).unwrap();
        assert_eq!(found, []);
        assert!(faults[0].contains("creating/a cannot be read (it has format 2, not 1)"));
    }
}
