//! The crates of the project and what each depends on, as cargo tells it.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::Tree;

/// One crate of the project.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The folder of its Cargo.toml, from the root of the repository.
    pub folder: String,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
}

/// One dependency of a crate.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// Name of the other crate.
    pub name: String,
    /// Whether only tests and benchmarks of the crate use it.
    pub dev_only: bool,
    /// Whether it is a crate of this project.
    pub ours: bool,
}

impl Package {
    /// A package of these (name, `is it for tests only`, `is it ours`) dependencies.
    pub fn new(name: &str, folder: &str, dependencies: &[(&str, bool, bool)]) -> Self {
        let dependencies = dependencies
            .iter()
            .map(|(name, dev_only, ours)| Dependency {
                name: (*name).to_owned(),
                dev_only: *dev_only,
                ours: *ours,
            })
            .collect();
        Self { name: name.to_owned(), folder: folder.to_owned(), dependencies }
    }

    /// Its Cargo.toml.
    pub fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
}

/// The crates of the workspace, and those of the fuzz targets' own one.
///
/// # Errors
/// If cargo refuses a manifest.
pub fn packages() -> Result<Vec<Package>> {
    let root = Tree::root().canonicalize().context("the repository has no path")?;
    let mut packages = Vec::new();
    for manifest in ["Cargo.toml", "tests/fuzz/Cargo.toml"] {
        let manifest = root.join(manifest);
        if !manifest.exists() {
            continue;
        }
        let metadata = MetadataCommand::new()
            .manifest_path(&manifest)
            .no_deps()
            .exec()
            .with_context(|| format!("cargo metadata of {}", manifest.display()))?;
        packages.extend(metadata.packages.iter().map(|package| convert(package, &root)));
    }
    Ok(packages)
}

fn convert(package: &cargo_metadata::Package, root: &Path) -> Package {
    let folder = package.manifest_path.parent().map(|folder| folder.as_std_path());
    let folder = folder.and_then(|folder| folder.strip_prefix(root).ok());
    let dependencies = package
        .dependencies
        .iter()
        .map(|dependency| Dependency {
            name: dependency.name.clone(),
            dev_only: dependency.kind == DependencyKind::Development,
            ours: dependency.path.is_some(),
        })
        .collect();
    Package {
        name: package.name.to_string(),
        folder: folder.map(|folder| folder.display().to_string()).unwrap_or_default(),
        dependencies,
    }
}
