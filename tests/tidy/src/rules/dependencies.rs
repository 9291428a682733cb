//! Each dependency has its reason on record.

use std::collections::BTreeMap;

use crate::workspace::Package;
use crate::{Finding, Tree};

const RECORD: &str = "docs/decisions/dependencies.md";

/// Every crate from outside that a Cargo.toml names has a line of the record, with its name in
/// `code` style; and the record names none that is gone.
pub fn every_dependency_has_a_reason(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let mut used = BTreeMap::new();
    for package in packages {
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.ours) {
            used.entry(dependency.name.as_str()).or_insert_with(|| package.manifest());
        }
    }
    let record = tree.text(RECORD).unwrap_or_default();
    let recorded: Vec<_> = record
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, first_code(line)?)))
        .collect();
    let mut findings = Vec::new();
    for (name, manifest) in &used {
        if !recorded.iter().any(|(_, recorded)| recorded == name) {
            let sentence = format!("{name} has no line in {RECORD}; say there why it is needed");
            findings.push(Finding::new(manifest, 1, sentence));
        }
    }
    for (line, name) in recorded {
        if !used.contains_key(name) {
            let sentence = format!("`{name}` is no dependency any more; remove the line");
            findings.push(Finding::new(RECORD, line, sentence));
        }
    }
    findings
}

/// The name that a row of the table (`| `) or an item of the list (`- `) begins with.
fn first_code(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("| `").or_else(|| line.strip_prefix("- `"))?;
    rest.split('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_stale_reasons_are_found() {
        let packages = [Package::new(
            "a",
            "engine/a",
            &[("mio", false, false), ("libc", true, false), ("units", false, true)],
        )];
        let record = "# Dependencies\n\n| `mio` | why |\n| `nix` | why |\n";
        let tree = Tree::of_texts(&[(RECORD, record)]);
        let found: Vec<_> = every_dependency_has_a_reason(&tree, &packages)
            .iter()
            .map(|finding| (finding.path.clone(), finding.line))
            .collect();
        assert_eq!(found, [("engine/a/Cargo.toml".to_owned(), 1), (RECORD.to_owned(), 4)]);
    }
}
