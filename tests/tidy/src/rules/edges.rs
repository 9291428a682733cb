//! Which crate may know which: the architecture as a table.

use crate::Finding;
use crate::workspace::{Dependency, Package};

/// A crate of the product, and the crates of the product that it may depend on.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("iscsi", &["units"]),
    ("scsi", &["units"]),
    ("volume", &["units"]),
    ("mirror", &["units", "volume"]),
    ("shard", &["units", "iscsi", "scsi", "volume", "mirror"]),
    ("uring", &["units"]),
    ("reactor", &["units", "iscsi", "volume", "shard", "uring"]),
    ("control-api", &[]),
    ("perfctl", &["control-api", "bench"]),
    ("polluxd", &["units", "volume", "shard", "reactor", "uring", "control-api"]),
];

/// Crates for people and their files, which would only weigh on the data path.
const FOR_TOOLS: &[&str] = &["anyhow", "clap", "serde", "toml"];

/// Crates that reach the outside world, which the engine has none of.
const REACHES_OUT: &[&str] = &[
    "core_affinity",
    "crossbeam-queue",
    "getrandom",
    "hugepage-rs",
    "io-uring",
    "libc",
    "mio",
    "rustix",
    "sd-notify",
    "signal-hook",
    "tracing",
];

/// Every dependency between crates of the product is in the table, and crates stay in the part
/// of the tree that they are for. What tests alone use is free, but for the part of the tree.
pub fn edges_are_allowed(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        if is_for_tests(package) {
            continue;
        }
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == package.name) else {
            let sentence = format!("{} is not in the table of tests/tidy, edges.rs", package.name);
            findings.push(Finding::new(&package.manifest(), 1, sentence));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|other| !other.dev_only) {
            if let Some(why) = refusal(package, dependency, allowed) {
                let sentence = format!("{} may not depend on {why}", package.name);
                findings.push(Finding::new(&package.manifest(), 1, sentence));
            }
        }
    }
    findings
}

fn is_for_tests(package: &Package) -> bool {
    package.folder.starts_with("tests/")
        || package.folder.starts_with("bench/")
        || package.folder == "bench"
}

fn refusal(package: &Package, dependency: &Dependency, allowed: &[&str]) -> Option<String> {
    let name = dependency.name.as_str();
    if dependency.ours {
        return (!allowed.contains(&name)).then(|| name.to_owned());
    }
    if FOR_TOOLS.contains(&name) && !package.folder.starts_with("tools/") {
        return Some(format!("{name}: it is for tools/, bench/ and tests/"));
    }
    (REACHES_OUT.contains(&name) && package.folder.starts_with("engine/"))
        .then(|| format!("{name}: the engine is pure"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(package: Package) -> Vec<String> {
        edges_are_allowed(&[package]).into_iter().map(|finding| finding.sentence).collect()
    }

    #[test]
    fn an_edge_outside_the_table_is_found() {
        let package = Package::new(
            "iscsi",
            "engine/iscsi",
            &[("units", false, true), ("scsi", false, true), ("initiator", true, true)],
        );
        assert_eq!(judge(package), ["iscsi may not depend on scsi"]);
        let package = Package::new("perfctl", "tools/perfctl", &[("polluxd", false, true)]);
        assert_eq!(judge(package), ["perfctl may not depend on polluxd"]);
    }

    #[test]
    fn a_crate_in_the_wrong_part_of_the_tree_is_found() {
        let package = Package::new(
            "units",
            "engine/units",
            &[("serde", false, false), ("libc", false, false), ("zerocopy", false, false)],
        );
        assert_eq!(
            judge(package),
            [
                "units may not depend on serde: it is for tools/, bench/ and tests/",
                "units may not depend on libc: the engine is pure",
            ]
        );
        let package = Package::new("polluxd", "tools/polluxd", &[("toml", false, false)]);
        assert!(judge(package).is_empty());
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_found() {
        let package = Package::new("extra", "engine/extra", &[]);
        assert_eq!(judge(package), ["extra is not in the table of tests/tidy, edges.rs"]);
        assert!(judge(Package::new("e2e", "tests/e2e", &[("shard", false, true)])).is_empty());
    }
}
