//! A file is one noun; a name that fits everything says nothing.

use crate::{Finding, Tree};

const BANNED: &[&str] =
    &["common", "helper", "helpers", "manager", "managers", "misc", "util", "utilities", "utils"];

/// No file or folder is called `util`, `common`, `helpers`, `manager` or the like.
pub fn names_say_something(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let banned = file.path.split('/').find(|part| {
            let stem = part.split('.').next().unwrap_or(part);
            BANNED.contains(&stem)
        });
        if let Some(part) = banned {
            let sentence = format!("is named '{part}'; name it for the one thing that it is");
            findings.push(Finding::new(&file.path, 1, sentence));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vague_names_are_found() {
        let tree = Tree::of_texts(&[
            ("engine/x/src/util.rs", ""),
            ("engine/x/src/commonality.rs", ""),
            ("tests/helpers/login.py", ""),
        ]);
        let found: Vec<_> =
            names_say_something(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["engine/x/src/util.rs", "tests/helpers/login.py"]);
    }
}
