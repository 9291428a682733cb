//! Volumes on one reactor, so that an attack and its neighbours share all that there is.

use std::fmt::Write;
use std::path::Path;

use crate::{Daemon, Setup, Subject};

/// The configuration of a daemon with one reactor and volumes of 16 MiB.
#[derive(Clone, Debug)]
pub struct Layout {
    text: String,
}

impl Layout {
    /// Without volumes; `keys` are further lines of `[node]`.
    pub fn with_node(keys: &str) -> Self {
        let node = "[node]\nstate_dir = \"STATE\"\ncontrol = \"CONTROL\"\ncores = [0]";
        Self { text: format!("{node}\n{keys}\n[[portal]]\naddress = \"PORTAL\"\n") }
    }

    /// A volume in memory.
    pub fn memory(self, name: &str) -> Self {
        self.volume(name, "kind = \"memory\"")
    }

    /// A volume whose file is made in the state directory.
    pub fn file(self, name: &str) -> Self {
        self.volume(name, "kind = \"file\"")
    }

    /// A volume with a file that exists.
    pub fn file_at(self, name: &str, path: &Path) -> Self {
        let path = path.to_str().expect("a path in UTF-8");
        self.volume(name, &format!("kind = \"file\"\npath = \"{path}\"\nadopt = true"))
    }

    fn volume(mut self, name: &str, keys: &str) -> Self {
        writeln!(self.text, "[[volume]]\nname = \"{name}\"\nsize = \"16MiB\"\n{keys}")
            .expect("a string takes all text");
        self
    }

    /// A target with these volumes as LUN 0 and on.
    pub fn target(mut self, name: &str, volumes: &[&str]) -> Self {
        let luns: Vec<_> =
            volumes.iter().enumerate().map(|(lun, name)| format!("{lun} = \"{name}\"")).collect();
        let name = format!("iqn.2026-11.local.pollux:{name}");
        writeln!(self.text, "[[target]]\nname = \"{name}\"\nluns = {{ {} }}", luns.join(", "))
            .expect("a string takes all text");
        self
    }

    /// Starts a daemon with it. `None` where the environment names another target.
    pub fn start(&self, setup: Setup) -> Option<Daemon> {
        if Subject::is_foreign() {
            println!("skipped: this fact is about polluxd, and E2E_PORTAL names another target");
            return None;
        }
        Some(setup.with_config(&self.text).start())
    }
}
