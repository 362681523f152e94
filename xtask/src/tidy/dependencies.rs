//! Every dependency from elsewhere is used, and `docs/dependencies.md` says why it is there.

use std::collections::BTreeSet;

use super::{Finding, manifests, toml, tree::Tree};

const MANIFEST: &str = "Cargo.toml";
const BOOK: &str = "docs/dependencies.md";

/// Holds the workspace's dependencies, the members' use of them and the book's table against each other.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let book = tree.text(BOOK).unwrap_or_default();
    let rows: BTreeSet<_> = book.lines().filter_map(row).collect();
    let used: BTreeSet<_> = tree
        .files("toml")
        .filter(|(path, _)| path.ends_with("/Cargo.toml"))
        .flat_map(|(_, text)| toml::entries(text))
        .filter_map(|entry| manifests::dependency(&entry))
        .collect();

    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    for entry in toml::entries(tree.text(MANIFEST).unwrap_or_default()) {
        if entry.table != "workspace.dependencies" {
            continue;
        }
        let name = entry.key;
        known.insert(name);
        if !used.contains(name) {
            findings.push(Finding::on(MANIFEST, entry.line, format!("no package uses {name}")));
        }
        if !entry.value.contains("path =") && !rows.contains(name) {
            let message = format!("{name} has no row in {BOOK}: say there why it is needed");
            findings.push(Finding::on(MANIFEST, entry.line, message));
        }
    }
    let stale = rows.difference(&known);
    findings.extend(stale.map(|name| Finding::of(BOOK, format!("`{name}` is no dependency"))));
    findings
}

/// The package that a row of the book's table is about.
fn row(line: &str) -> Option<&str> {
    Some(line.strip_prefix("| `")?.split_once('`')?.0)
}

#[cfg(test)]
mod tests {
    use super::{Tree, check};

    fn findings(manifest: &str, member: &str, book: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("Cargo.toml", manifest),
            ("a/Cargo.toml", member),
            ("docs/dependencies.md", book),
        ]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    const MANIFEST: &str = "[workspace.dependencies]\nours = { path = \"a\" }\nlibc = \"0.2\"\n";
    const MEMBER: &str =
        "[dependencies]\nours.workspace = true\n[dev-dependencies]\nlibc = { workspace = true }\n";
    const BOOK: &str = "| package | why |\n| --- | --- |\n| `libc` | system calls |\n";

    #[test]
    fn a_list_in_order_passes() {
        assert_eq!(findings(MANIFEST, MEMBER, BOOK), Vec::<String>::new());
    }

    #[test]
    fn a_missing_row_a_stale_row_and_an_unused_dependency_are_found() {
        let missing = findings(MANIFEST, MEMBER, "");
        assert!(missing.len() == 1 && missing[0].contains("libc has no row"), "{missing:?}");

        let stale = findings(MANIFEST, MEMBER, &format!("{BOOK}| `gone` | once |\n"));
        assert_eq!(stale, ["docs/dependencies.md:1: `gone` is no dependency"]);

        let unused = findings(MANIFEST, "[dependencies]\nours.workspace = true\n", BOOK);
        assert_eq!(unused, ["Cargo.toml:3: no package uses libc"]);
    }
}
