//! Git holds text that people write: no binaries, nothing huge.

use crate::{Finding, Tree};

const BYTES_MAX: usize = 200 * 1024;

/// No file is binary or larger than 200 KiB.
pub fn no_blobs(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if file.text().is_none() || file.bytes.contains(&0) {
            findings.push(Finding::new(&file.path, 1, "is binary; make it when it is needed"));
        } else if file.bytes.len() > BYTES_MAX && file.name() != "Cargo.lock" {
            let sentence = format!("has {} bytes, more than {BYTES_MAX}", file.bytes.len());
            findings.push(Finding::new(&file.path, 1, sentence));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;

    #[test]
    fn binary_and_large_files_are_found() {
        let large = "x".repeat(204_801);
        let mut tree = Tree::of_texts(&[("a", "text"), ("b", large.as_str())]);
        tree.files.push(File { path: "c".to_owned(), bytes: vec![0xff, 0xfe] });
        tree.files.push(File { path: "d".to_owned(), bytes: vec![b'a', 0] });
        let found: Vec<_> = no_blobs(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["b", "c", "d"]);
    }
}
