//! The relative target port identifier of each target (SPC-4 7.8.6.8). A name keeps its
//! identifier, because hosts store it in their multipath configuration.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Identifiers by target name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetPorts {
    #[serde(default)]
    ports: BTreeMap<String, u16>,
}

/// What was found of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortsFile {
    /// Nothing is in it: what is written has a table at least.
    Blank,
    Missing,
    Read(TargetPorts),
}

impl TargetPorts {
    /// Whether no target ever had an identifier.
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Loads the file.
    ///
    /// # Errors
    /// The file cannot be read or is invalid.
    pub(crate) fn load(path: &Path) -> io::Result<PortsFile> {
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(PortsFile::Blank),
            Ok(text) => toml::from_str(&text)
                .map(PortsFile::Read)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.message().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PortsFile::Missing),
            Err(error) => Err(error),
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// None in practice: names and numbers can be written as TOML.
    pub(crate) fn to_text(&self) -> io::Result<String> {
        toml::to_string(self).map_err(io::Error::other)
    }

    /// The identifier of a target; a new name gets the lowest unused one. `None` if all 65535 are
    /// in use.
    pub(crate) fn of(&mut self, target: &str) -> Option<u16> {
        if let Some(&port) = self.ports.get(target) {
            return Some(port);
        }
        let port = (1..=u16::MAX).find(|p| !self.ports.values().any(|taken| taken == p))?;
        self.ports.insert(target.to_owned(), port);
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_identifier() {
        let mut ports = TargetPorts::default();
        assert_eq!((ports.of("iqn.b"), ports.of("iqn.a")), (Some(1), Some(2)));
        let text = ports.to_text().unwrap();
        assert_eq!(text, "[ports]\n\"iqn.a\" = 2\n\"iqn.b\" = 1\n");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("target-ports.toml");
        std::fs::write(&path, text).unwrap();
        let PortsFile::Read(mut again) = TargetPorts::load(&path).unwrap() else {
            unreachable!("it was written")
        };
        assert_eq!(again, ports);
        assert_eq!((again.of("iqn.c"), again.of("iqn.b")), (Some(3), Some(1)));
    }
}
