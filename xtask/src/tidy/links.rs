//! Every relative link in a Markdown file leads somewhere.

use super::{Finding, tree::Tree};

/// Checks the targets of `[text](target)` links; those with a scheme are left alone.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files("md") {
        for (line, target) in links(text) {
            let file = target.split('#').next().unwrap_or(target);
            if target.contains("://") || target.starts_with("mailto:") || file.is_empty() {
                continue;
            }
            match resolve(path, file) {
                Some(resolved) if tree.has(&resolved) => {
                    // The built book has nothing above its own directory.
                    if path.starts_with("docs/") && !resolved.starts_with("docs/") {
                        let message = format!("a link out of the book: {target}");
                        findings.push(Finding::on(path, line, message));
                    }
                }
                _ => findings.push(Finding::on(path, line, format!("a link to nothing: {target}"))),
            }
        }
    }
    findings
}

/// The links of a Markdown text and their lines; code is skipped.
pub(super) fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        // The even parts between backticks are prose; a link's text may hold code, its target not.
        for prose in line.split('`').step_by(2) {
            let mut rest = prose;
            while let Some(start) = rest.find("](") {
                rest = &rest[start + 2..];
                let Some(end) = rest.find(')') else { break };
                links.push((index + 1, &rest[..end]));
                rest = &rest[end..];
            }
        }
    }
    links
}

/// The path from the root that `target` means in the file `from`; `None` where it leads out of the tree.
pub(super) fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{Tree, check};

    fn findings(path: &str, text: &str) -> Vec<String> {
        let tree =
            Tree::of(&[(path, text), ("docs/b.md", ""), ("src/lib.rs", ""), ("LICENSE.md", "")]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "[b](b.md) [`b`](b.md#part) [w](https://example.org/x.md) [here](#part)";
        assert_eq!(findings("docs/a.md", text), Vec::<String>::new());
        let text = "[book](docs/b.md), [docs](docs/), [code](src/lib.rs)";
        assert_eq!(findings("README.md", text), Vec::<String>::new());
        let text = "`[code](gone.md)`\n```\n[code](gone.md)\n```\n";
        assert_eq!(findings("README.md", text), Vec::<String>::new());
    }

    #[test]
    fn links_to_nothing_and_out_of_the_book_are_found() {
        assert_eq!(
            findings("docs/a.md", "\n[x](gone.md#y)"),
            ["docs/a.md:2: a link to nothing: gone.md#y"]
        );
        assert_eq!(findings("README.md", "[b](b.md)"), ["README.md:1: a link to nothing: b.md"]);
        assert_eq!(
            findings("README.md", "[b](../LICENSE.md)"),
            ["README.md:1: a link to nothing: ../LICENSE.md"]
        );
        let out = findings("docs/a.md", "[code](../src/lib.rs)");
        assert_eq!(out, ["docs/a.md:1: a link out of the book: ../src/lib.rs"]);
    }
}
