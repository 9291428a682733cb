//! Lines fit beside each other on a screen.

use crate::{File, Finding, Tree};

const COLUMNS_MAX: usize = 100;

/// No line of code, script or configuration is wider than 100 columns. Links, descriptions of
/// crates and generated files cannot be wrapped, so they may be wider; prose (.md), tables of
/// test data (.txt) and recorded output (.trycmd) are not code.
pub fn lines_fit(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        let Some(text) = file.text() else { continue };
        let exempt = file.name() == "Cargo.lock" || file.name().starts_with("LICENSE");
        if exempt || ["md", "txt", "trycmd"].iter().any(|e| file.has_extension(e)) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !is_unbreakable(file, line) {
                let sentence = format!("is {columns} columns wide, more than {COLUMNS_MAX}");
                findings.push(Finding::new(&file.path, index + 1, sentence));
            }
        }
    }
    findings
}

fn is_unbreakable(file: &File, line: &str) -> bool {
    let is_manifest = file.name() == "Cargo.toml";
    line.contains("://") || is_manifest && line.starts_with("description = ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_lines_are_found_but_prose_and_links_may_be_wide() {
        let wide = "x".repeat(101);
        let link = format!("// https://example.org/{wide}");
        let fits = "é".repeat(100);
        let tree = Tree::of_texts(&[
            ("a.rs", wide.as_str()),
            ("b.md", wide.as_str()),
            ("c.rs", link.as_str()),
            ("d.sh", fits.as_str()),
            ("e.toml", wide.as_str()),
            ("f.trycmd", wide.as_str()),
        ]);
        let found: Vec<_> = lines_fit(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["a.rs", "e.toml"]);
    }
}
