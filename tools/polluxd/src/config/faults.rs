//! The faults of a configuration as they are found.

use super::check::Source;
use super::fault::{Fault, Problem};
use super::position::{Position, key_at};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is wrong with a configuration so far, and where its file is.
pub(super) struct Faults<'a> {
    source: Source<'a>,
    found: Vec<Fault>,
}

impl<'a> Faults<'a> {
    /// None yet.
    pub(super) const fn new(source: Source<'a>) -> Self {
        Self { source, found: Vec::new() }
    }

    /// Records a fault of the key at a place.
    pub(super) fn add(&mut self, span: Range<usize>, key: impl Into<String>, problem: Problem) {
        self.found.push(Fault {
            file: self.source.file.to_owned(),
            position: Some(Position::of(self.source.text, span.start)),
            key: Some(key.into()),
            problem,
        });
    }

    /// The fault of a text that is not even TOML, or that has unknown keys.
    pub(super) fn syntax_fault(&self, error: &toml::de::Error) -> Fault {
        let start = error.span().map(|s| s.start);
        let words = error.message().trim_end().replace('\n', "; ");
        // The words of serde. It names an unknown key already.
        let words = words.replace("unknown field", "unknown key");
        let key = start.and_then(|s| key_at(self.source.text, s));
        let key = key.filter(|key| !words.contains(&format!("`{key}`")));
        Fault {
            file: self.source.file.to_owned(),
            position: start.map(|s| Position::of(self.source.text, s)),
            key: key.map(str::to_owned),
            problem: Problem::Syntax(words),
        }
    }

    /// A path of the file; relative ones are relative to the directory of the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory().join(path)
    }

    /// The directory of the file.
    pub(super) fn directory(&self) -> &Path {
        self.source.file.parent().unwrap_or_else(|| Path::new(""))
    }

    /// All of them, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Fault> {
        self.found.sort_by_key(|fault| fault.position);
        self.found
    }
}
