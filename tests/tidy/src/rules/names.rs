//! A file is one noun; a name that fits everything says nothing, a file of no crate even less.

use crate::{Finding, Masked, Tree};

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

/// Every Rust file below a `src/` is the root of a crate or a module of its crate.
pub fn every_file_is_compiled(tree: &Tree) -> Vec<Finding> {
    let sources: Vec<_> =
        tree.rust().map(|(file, text)| (&file.path, Masked::new(text).code)).collect();
    let mut findings = Vec::new();
    for (file, _) in tree.rust() {
        let Some((package, inside)) = file.path.rsplit_once("/src/") else { continue };
        let path: Vec<_> = inside.trim_end_matches(".rs").split('/').collect();
        let is_root = matches!(path.as_slice(), ["lib" | "main"] | ["bin", ..]);
        // The module of mod.rs is its folder.
        let module = path.iter().rev().find(|part| **part != "mod");
        let Some(module) = module.filter(|_| !is_root) else { continue };
        let declaration = format!("mod {module};");
        let folder = format!("{package}/src/");
        let declared = sources
            .iter()
            .any(|(path, code)| path.starts_with(&folder) && code.contains(&declaration));
        if !declared {
            let sentence = format!("is in no crate: nothing says 'mod {module};'");
            findings.push(Finding::new(&file.path, 1, sentence));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_no_crate_are_found() {
        let tree = Tree::of_texts(&[
            ("engine/x/src/lib.rs", "mod a;\npub(crate) mod b;\n// mod c;\n"),
            ("engine/x/src/a.rs", "mod tests;"),
            ("engine/x/src/a/tests.rs", ""),
            ("engine/x/src/b/mod.rs", ""),
            ("engine/x/src/c.rs", ""),
            ("engine/y/src/main.rs", "mod c;"),
            ("engine/x/tests/d.rs", ""),
        ]);
        let found: Vec<_> =
            every_file_is_compiled(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["engine/x/src/c.rs"]);
    }

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
