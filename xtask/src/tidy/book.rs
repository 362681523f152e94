//! Every chapter in `docs/` is in the book's summary, once.

use super::{
    Finding,
    links::{links, resolve},
    tree::Tree,
};

const SUMMARY: &str = "docs/SUMMARY.md";

/// Holds the summary against the chapters. That its links lead somewhere is the check of links.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(summary) = tree.text(SUMMARY) else {
        return vec![Finding::of(SUMMARY, "the book has no summary")];
    };
    let mut findings = Vec::new();
    let mut listed = Vec::new();
    for (line, target) in links(summary) {
        if let Some(path) = resolve(SUMMARY, target) {
            if listed.contains(&path) {
                findings.push(Finding::on(SUMMARY, line, format!("{target} is listed twice")));
            }
            listed.push(path);
        }
    }
    for (path, _) in tree.files("md") {
        let is_chapter = path.starts_with("docs/") && path != SUMMARY;
        if is_chapter && listed.iter().all(|listed| listed != path) {
            findings.push(Finding::of(path, format!("the chapter is not in {SUMMARY}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Tree, check};

    fn findings(summary: &str) -> Vec<String> {
        let tree = Tree::of(&[("docs/SUMMARY.md", summary), ("docs/a.md", ""), ("README.md", "")]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_chapter_is_listed_once() {
        assert_eq!(findings("- [A](a.md)"), Vec::<String>::new());
        assert_eq!(findings("# Summary"), ["docs/a.md:1: the chapter is not in docs/SUMMARY.md"]);
        assert_eq!(
            findings("- [A](a.md)\n- [A](./a.md)"),
            ["docs/SUMMARY.md:2: ./a.md is listed twice"]
        );
        let no_summary = check(&Tree::of(&[("docs/a.md", "")]));
        assert_eq!(no_summary.len(), 1);
    }
}
