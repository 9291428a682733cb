//! The configuration of polluxd for a measurement.

use super::targets::IQN;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One run of polluxd.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    /// The name of its configuration, state and log.
    pub(crate) name: String,
    /// The build; the one that was built with this program without it.
    pub(crate) program: Option<PathBuf>,
    /// One reactor on each.
    pub(crate) cores: Vec<usize>,
    /// `busy`, `adaptive` or `interrupt`.
    pub(crate) poll: &'static str,
    /// Its volumes, in the order of their LUNs from 0.
    pub(crate) volumes: Vec<Volume>,
    /// A program to run it under, with its arguments.
    pub(crate) under: Vec<String>,
}

/// One volume.
#[derive(Clone, Debug)]
pub(crate) enum Volume {
    /// In memory, of this many bytes.
    Memory(u64),
    /// An existing file.
    File(PathBuf),
}

impl Daemon {
    /// One spinning reactor and a memory volume.
    pub(crate) fn spinning(core: usize, size: u64) -> Self {
        Self {
            name: "polluxd".to_owned(),
            program: None,
            cores: vec![core],
            poll: "busy",
            volumes: vec![Volume::Memory(size)],
            under: Vec::new(),
        }
    }

    /// The text of its configuration file.
    pub(crate) fn config(&self, port: u16, state: &Path, control: &Path) -> String {
        let mut text = format!(
            "[node]\ncores = {:?}\npoll = \"{}\"\nstate_dir = \"{}\"\ncontrol = \"{}\"\n\
             [[portal]]\naddress = \"127.0.0.1:{port}\"\ngroup = 1\n",
            self.cores,
            self.poll,
            state.display(),
            control.display(),
        );
        for (number, volume) in self.volumes.iter().enumerate() {
            let of = match volume {
                Volume::Memory(size) => {
                    format!("kind = \"memory\"\nsize = \"{}\"", crate::size::text(*size))
                }
                Volume::File(path) => {
                    format!("kind = \"file\"\nadopt = true\npath = \"{}\"", path.display())
                }
            };
            // Writing to a string cannot fail.
            let _volume = write!(text, "[[volume]]\nname = \"bench{number}\"\n{of}\n");
        }
        let luns: Vec<String> =
            (0..self.volumes.len()).map(|n| format!("{n} = \"bench{n}\"")).collect();
        let luns = luns.join(", ");
        text + &format!("[[target]]\nname = \"{IQN}\"\nportal_group = 1\nluns = {{ {luns} }}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_volume_is_a_lun() {
        let mut daemon = Daemon::spinning(3, 1 << 20);
        daemon.volumes.push(Volume::File("/data/image".into()));
        let config = daemon.config(3260, Path::new("/s"), Path::new("/c"));
        assert_eq!(
            config,
            "[node]\ncores = [3]\npoll = \"busy\"\nstate_dir = \"/s\"\ncontrol = \"/c\"\n\
             [[portal]]\naddress = \"127.0.0.1:3260\"\ngroup = 1\n\
             [[volume]]\nname = \"bench0\"\nkind = \"memory\"\nsize = \"1MiB\"\n\
             [[volume]]\nname = \"bench1\"\nkind = \"file\"\nadopt = true\npath = \"/data/image\"\n\
             [[target]]\nname = \"iqn.2026-11.local.pollux:bench\"\nportal_group = 1\n\
             luns = { 0 = \"bench0\", 1 = \"bench1\" }\n"
        );
    }
}
