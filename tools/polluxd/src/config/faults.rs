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
        let position = Position::of(self.source.text, span.start);
        self.found.push(Fault {
            file: self.source.file.to_owned(),
            position: Some(position),
            key: Some(key.into()),
            problem,
        });
    }

    /// Records a line that is not TOML.
    pub(super) fn add_syntax(&mut self, error: &toml::de::Error) {
        let start = error.span().map(|s| s.start);
        let words = error.message().trim_end().replace('\n', "; ");
        let key = start.and_then(|s| key_at(self.source.text, s));
        let key = key.filter(|key| !words.contains(&format!("`{key}`")));
        self.found.push(Fault {
            file: self.source.file.to_owned(),
            position: start.map(|s| Position::of(self.source.text, s)),
            key: key.map(str::to_owned),
            problem: Problem::Syntax(words),
        });
    }

    /// Whether a key, or one in the table of this name, has a fault.
    pub(super) fn has(&self, key: &str) -> bool {
        let of = |fault: &Fault| fault.key.as_deref()?.strip_prefix(key).map(str::to_owned);
        let is_it = |rest: String| rest.is_empty() || rest.starts_with('.');
        self.found.iter().filter_map(of).any(is_it)
    }

    /// A path of the file; relative ones are relative to the directory of the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory().join(path)
    }

    /// The directory of the file.
    pub(super) fn directory(&self) -> &Path {
        self.source.file.parent().unwrap_or_else(|| Path::new(""))
    }

    /// All of them, in the order of the file. Where lines are not TOML, what may follow from them
    /// is left out.
    pub(super) fn into_sorted(mut self) -> Vec<Fault> {
        let is_syntax = |fault: &Fault| matches!(fault.problem, Problem::Syntax(_));
        let line = |fault: &Fault| fault.position.map(|position| position.line);
        let broken: Vec<_> = self.found.iter().filter(|f| is_syntax(f)).map(line).collect();
        if !broken.is_empty() {
            self.found.retain(|fault| {
                let may_follow =
                    fault.problem.may_follow_from_syntax() || broken.contains(&line(fault));
                is_syntax(fault) || !may_follow
            });
        }
        self.found.sort_by_key(|fault| fault.position);
        self.found
    }
}
