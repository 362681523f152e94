//! The workspace's members and what they depend on, from cargo's metadata.

use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::failure::{Failure, Outcome};

/// A package of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Its manifest's path from the workspace's root.
    pub(super) manifest: String,
    pub(super) dependencies: Vec<Dependency>,
}

/// One line of a `dependencies` table.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// Whether it is a package of the workspace.
    pub(super) ours: bool,
    /// Whether only tests, examples and benches have it.
    pub(super) development: bool,
    /// The target it is for, as in `cfg(loom)`, where it is not for all.
    pub(super) target: Option<String>,
}

/// The members of the workspace at `root`.
pub(super) fn read(root: &Path) -> Outcome<Vec<Member>> {
    let metadata = MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()
        .map_err(Failure::of("cannot read the workspace's metadata"))?;
    let packages = metadata.packages.into_iter();
    Ok(packages
        .map(|package| Member {
            name: package.name.to_string(),
            manifest: package
                .manifest_path
                .strip_prefix(&metadata.workspace_root)
                .unwrap_or(&package.manifest_path)
                .to_string(),
            dependencies: package.dependencies.into_iter().map(dependency).collect(),
        })
        .collect())
}

fn dependency(dependency: cargo_metadata::Dependency) -> Dependency {
    Dependency {
        name: dependency.name,
        ours: dependency.path.is_some(),
        development: dependency.kind == DependencyKind::Development,
        target: dependency.target.map(|target| target.to_string()),
    }
}
