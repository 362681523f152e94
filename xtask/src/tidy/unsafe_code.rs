//! `unsafe` has an address: it stands in the listed files, each with a reason and an argument.

use super::{
    Finding,
    tokens::{Token, find, tokens},
    tree::Tree,
};

const TABLE: &str = "xtask/src/tidy/islands.rs";
const BOOK: &str = "docs/safety.md";

/// Holds the tree against the list of islands, and the list and the book against the tree.
pub(super) fn check(tree: &Tree, islands: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.files("rs") {
        let tokens = match tokens(source) {
            Ok(tokens) => tokens,
            Err(message) => {
                findings.push(Finding::of(path, message));
                continue;
            }
        };
        if islands.contains(&path) {
            findings.extend(island(path, &tokens));
        } else {
            findings.extend(elsewhere(path, &tokens));
        }
    }
    for island in islands {
        if tree.text(island).is_none() {
            findings.push(Finding::of(TABLE, format!("no file {island}: take it off the list")));
        }
        let argued = tree.text(BOOK).is_some_and(|book| book.contains(&format!("`{island}`")));
        if !argued {
            findings.push(Finding::of(BOOK, format!("no argument for the island `{island}`")));
        }
    }
    findings.extend(argued_for_nothing(tree.text(BOOK).unwrap_or_default(), islands));
    findings
}

fn island(path: &str, tokens: &[Token]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if find(tokens, &["unsafe"]).is_empty() {
        let message = format!("no unsafe in this island: take it off the list in {TABLE}");
        findings.push(Finding::of(path, message));
    }
    let opening = ["#", "!", "[", "allow", "(", "unsafe_code", ",", "reason", "="];
    let at_the_top = |start: &usize| tokens[..*start].iter().all(|token| token.text != "{");
    if !find(tokens, &opening).iter().any(at_the_top) {
        let message = "an island begins with #![allow(unsafe_code, reason = \"...\")]";
        findings.push(Finding::of(path, message));
    }
    findings
}

fn elsewhere(path: &str, tokens: &[Token]) -> Vec<Finding> {
    // `unsafe fn(` is the type of a function pointer, which by itself does nothing.
    let is_type = |index: &usize| {
        tokens[*index..].iter().map(|token| token.text.as_str()).take(3).eq(["unsafe", "fn", "("])
    };
    let words = find(tokens, &["unsafe"]).into_iter().filter(|index| !is_type(index));
    let message = "unsafe outside the islands listed in xtask/src/tidy/islands.rs";
    let mut findings: Vec<_> =
        words.map(|index| Finding::on(path, tokens[index].line, message)).collect();
    for level in ["allow", "expect", "warn"] {
        for start in find(tokens, &[level, "("]) {
            let lints = tokens[start + 2..].iter().take_while(|token| token.text != ")");
            if let Some(lint) = lints.into_iter().find(|token| token.text == "unsafe_code") {
                let message =
                    "only the islands listed in xtask/src/tidy/islands.rs allow unsafe_code";
                findings.push(Finding::on(path, lint.line, message));
            }
        }
    }
    findings
}

/// The rows of the book's table whose file is no island.
fn argued_for_nothing(book: &str, islands: &[&str]) -> Vec<Finding> {
    let rows = book.lines().enumerate().filter_map(|(index, line)| {
        let (path, _) = line.strip_prefix("| `")?.split_once('`')?;
        (path.ends_with(".rs") && !islands.contains(&path)).then_some((index + 1, path))
    });
    rows.map(|(line, path)| Finding::on(BOOK, line, format!("`{path}` is no island"))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Tree, check};

    const ISLAND: &str =
        "//! Doc.\n#![allow(unsafe_code, reason = \"contract\")]\npub unsafe trait T {}\n";
    const BOOK: &str = "| file | argument |\n|---|---|\n| `a/island.rs` | none |\n";

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files), &["a/island.rs"]).iter().map(ToString::to_string).collect()
    }

    /// The findings in a tree that is in order but for one more file.
    fn planted(source: &str) -> Vec<String> {
        findings(&[("a/island.rs", ISLAND), ("docs/safety.md", BOOK), ("b.rs", source)])
    }

    #[test]
    fn a_tree_in_order_passes() {
        assert_eq!(planted("// unsafe\nfn f() { g(\"unsafe\") }\n"), Vec::<String>::new());
        assert_eq!(planted("#![forbid(unsafe_code)]\n"), Vec::<String>::new());
        assert_eq!(planted("type Copy = unsafe fn(*mut u8);"), Vec::<String>::new());
    }

    #[test]
    fn every_form_of_unsafe_is_found_outside_the_islands() {
        for source in [
            "\nfn f() { unsafe { g() } }",
            "\nunsafe fn f() {}",
            "\nunsafe impl Send for X {}",
            "\nunsafe trait T {}",
            "\n#[unsafe(no_mangle)] fn f() {}",
            "\nunsafe extern \"C\" {}",
            "\nmacro_rules! m { () => { unsafe { g() } } }",
            "\n#[cfg(test)] mod tests { fn f() { unsafe { g() } } }",
        ] {
            let findings = planted(source);
            assert_eq!(findings.len(), 1, "{source}: {findings:?}");
            assert!(findings[0].starts_with("b.rs:2: unsafe outside"), "{findings:?}");
        }
        for source in
            ["#![allow(unsafe_code)]", "#[expect(x, unsafe_code, reason = \"\")] fn f() {}"]
        {
            let findings = planted(source);
            assert!(
                findings.len() == 1 && findings[0].contains("allow unsafe_code"),
                "{findings:?}"
            );
        }
        assert!(planted("fn f( {")[0].contains("no Rust source"));
    }

    #[test]
    fn an_island_needs_its_file_its_unsafe_its_reason_and_its_argument() {
        let gone = findings(&[("docs/safety.md", BOOK)]);
        assert!(gone.len() == 1 && gone[0].contains("no file a/island.rs"), "{gone:?}");

        let safe = "#![allow(unsafe_code, reason = \"x\")]\nfn f() {}";
        let tame = findings(&[("a/island.rs", safe), ("docs/safety.md", BOOK)]);
        assert!(tame.len() == 1 && tame[0].contains("no unsafe in this island"), "{tame:?}");

        for bare in [
            "#![allow(unsafe_code)]\nunsafe fn f() {}",
            "mod m {\n#![allow(unsafe_code, reason = \"x\")]\nunsafe fn f() {} }",
        ] {
            let bare = findings(&[("a/island.rs", bare), ("docs/safety.md", BOOK)]);
            assert!(bare.len() == 1 && bare[0].contains("an island begins with"), "{bare:?}");
        }

        let unargued = findings(&[("a/island.rs", ISLAND), ("docs/safety.md", "")]);
        assert!(unargued.len() == 1 && unargued[0].contains("no argument"), "{unargued:?}");

        let book = format!("{BOOK}| `b/gone.rs` | old |\n");
        let stale = findings(&[("a/island.rs", ISLAND), ("docs/safety.md", &book)]);
        assert_eq!(stale, ["docs/safety.md:4: `b/gone.rs` is no island"]);
    }
}
