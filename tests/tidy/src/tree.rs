//! The files of the repository, as the rules see them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// One file that belongs to the project.
#[derive(Clone, Debug)]
pub struct File {
    /// Path from the root, with `/` between its parts.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file of this text, as canaries make them.
    pub fn text_file(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), bytes: text.as_bytes().to_vec() }
    }

    /// Its text, or `None` if it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether it ends in `.` and this extension.
    pub fn has_extension(&self, extension: &str) -> bool {
        self.name().rsplit_once('.').is_some_and(|(_, end)| end == extension)
    }

    /// Whether it holds tests only: `tests.rs` beside a module, or in a crate's `tests/`.
    pub fn is_test_only(&self) -> bool {
        self.name() == "tests.rs"
            || self.path.contains("/tests/") && !self.path.contains("/src/")
            || self.path.contains("/src/") && self.path.contains("/tests/")
    }
}

/// All files of the project: what git tracks, and what it would track if it were added.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The files, by path.
    pub files: Vec<File>,
}

impl Tree {
    /// The repository that this crate was built in.
    ///
    /// # Errors
    /// If git does not answer, or a file cannot be read.
    pub fn of_this_repository() -> Result<Self> {
        let root = Self::root();
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .context("cannot run git; install it")?;
        anyhow::ensure!(
            listing.status.success(),
            "git does not list {}; the rules need a clone, not an unpacked archive: {}",
            root.display(),
            String::from_utf8_lossy(&listing.stderr)
        );
        let listing = String::from_utf8(listing.stdout).context("a path is not UTF-8")?;
        let mut files = Vec::new();
        for path in listing.split_terminator('\0') {
            let full = root.join(path);
            // Deleted and not yet committed, or a link, whose target is judged in its own place.
            if !full.is_file() || full.is_symlink() {
                continue;
            }
            let bytes = std::fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            files.push(File { path: path.to_owned(), bytes });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(Self { files })
    }

    /// The root of the repository: two levels above this crate.
    pub fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// A tree of these (path, text) files, as canaries make them.
    pub fn of_texts(texts: &[(&str, &str)]) -> Self {
        Self { files: texts.iter().map(|(path, text)| File::text_file(path, text)).collect() }
    }

    /// The file of this path.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The text of the file of this path.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.file(path).and_then(File::text)
    }

    /// The Rust files with their text.
    pub fn rust(&self) -> impl Iterator<Item = (&File, &str)> {
        self.with_extension("rs")
    }

    /// The Markdown files with their text.
    pub fn markdown(&self) -> impl Iterator<Item = (&File, &str)> {
        self.with_extension("md")
    }

    fn with_extension(&self, extension: &'static str) -> impl Iterator<Item = (&File, &str)> {
        let matching = self.files.iter().filter(move |file| file.has_extension(extension));
        matching.filter_map(|file| file.text().map(|text| (file, text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_only_files_are_told_from_crates_below_tests() {
        let is_test_only = |path| File::text_file(path, "").is_test_only();
        assert!(is_test_only("engine/units/src/slab/tests.rs"));
        assert!(is_test_only("engine/units/tests/slab.rs"));
        assert!(is_test_only("tests/e2e/tests/e2e/login.rs"));
        assert!(is_test_only("reactors/uring/src/ring/tests/read.rs"));
        assert!(!is_test_only("tests/initiator/src/login.rs"));
        assert!(!is_test_only("engine/units/src/slab.rs"));
    }
}
