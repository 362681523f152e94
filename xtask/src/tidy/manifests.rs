//! Every member inherits the workspace's lints, metadata and dependency versions.

use super::{
    Finding,
    toml::{self, Entry},
    tree::Tree,
};

const INHERITED: &[&str] = &["version", "edition", "rust-version", "license"];

/// Checks the manifests at `members`.
pub(super) fn check(tree: &Tree, members: &[&str]) -> Vec<Finding> {
    members.iter().flat_map(|path| manifest(path, tree.text(path).unwrap_or_default())).collect()
}

/// The package that a line of a member's dependency table is about.
pub(super) fn dependency<'a>(entry: &Entry<'a>) -> Option<&'a str> {
    let table = entry.table.rsplit('.').next().unwrap_or(entry.table);
    let is_dependency = ["dependencies", "dev-dependencies", "build-dependencies"].contains(&table);
    is_dependency.then(|| entry.key.strip_suffix(".workspace").unwrap_or(entry.key))
}

fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let entries = toml::entries(text);
    let has = |table: &str, key: &str, value: Option<&str>| {
        entries.iter().any(|entry| {
            entry.table == table
                && entry.key == key
                && value.is_none_or(|value| entry.value == value)
        })
    };
    let mut findings = Vec::new();
    if !has("lints", "workspace", Some("true")) {
        findings.push(Finding::of(
            path,
            "the workspace's lints are not taken: [lints] workspace = true",
        ));
    }
    for key in INHERITED {
        if !has("package", &format!("{key}.workspace"), Some("true")) {
            findings.push(Finding::of(
                path,
                format!("{key} is not the workspace's: {key}.workspace = true"),
            ));
        }
    }
    if !has("package", "description", None) {
        findings.push(Finding::of(path, "no description"));
    }
    for entry in &entries {
        let own = entry.table.contains("dependencies.");
        let inherited = (entry.key.ends_with(".workspace") && entry.value == "true")
            || entry.value.contains("workspace = true");
        if own || (dependency(entry).is_some() && !inherited) {
            let message =
                format!("the version of {} stands outside the workspace's manifest", entry.key);
            findings.push(Finding::on(path, entry.line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Tree, check};

    const MANIFEST: &str = "[package]\nname = \"a\"\ndescription = \"d\"\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n[dependencies]\nx.workspace = true\ny = { workspace = true, features = [\"z\"] }\n[lints]\nworkspace = true\n";

    fn findings(manifest: &str) -> Vec<String> {
        let tree = Tree::of(&[("a/Cargo.toml", manifest)]);
        check(&tree, &["a/Cargo.toml"]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_manifest_that_inherits_passes() {
        assert_eq!(findings(MANIFEST), Vec::<String>::new());
    }

    #[test]
    fn each_line_that_is_missing_or_its_own_is_found() {
        for (line, instead, message) in [
            ("[lints]", "[other]", "the workspace's lints are not taken"),
            ("edition.workspace = true", "edition = \"2021\"", "edition is not the workspace's"),
            ("license.workspace = true\n", "", "license is not the workspace's"),
            ("description = \"d\"\n", "", "no description"),
            ("x.workspace = true", "x = \"1\"", "the version of x stands outside"),
            ("x.workspace = true", "x = { version = \"1\" }", "the version of x stands outside"),
            (
                "[dependencies]",
                "[dependencies.x]\nversion = \"1\"\n[dependencies]",
                "version of version",
            ),
        ] {
            assert!(MANIFEST.contains(line));
            let findings = findings(&MANIFEST.replacen(line, instead, 1));
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].contains(message), "{findings:?}");
        }
    }
}
