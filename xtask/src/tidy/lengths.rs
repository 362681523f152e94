//! A file answers one question: about 300 lines, never more than 500.

use super::{Finding, tree::Tree};

const USUAL: usize = 300;
const MOST: usize = 500;

/// The files that are too long.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    lengths(tree)
        .filter(|(_, lines)| *lines > MOST)
        .map(|(path, lines)| {
            Finding::of(path, format!("{lines} lines, at most {MOST} are allowed"))
        })
        .collect()
}

/// The files that are longer than usual and not yet too long.
pub(super) fn notes(tree: &Tree) -> Vec<String> {
    lengths(tree)
        .filter(|(_, lines)| (USUAL + 1..=MOST).contains(lines))
        .map(|(path, lines)| format!("{path} has {lines} lines; {USUAL} is the aim"))
        .collect()
}

fn lengths(tree: &Tree) -> impl Iterator<Item = (&str, usize)> {
    tree.files("rs").map(|(path, text)| (path, text.lines().count()))
}

#[cfg(test)]
mod tests {
    use super::{Tree, check, notes};

    #[test]
    fn the_limits_are_300_for_a_note_and_500_for_an_error() {
        let lines = |count| "\n".repeat(count);
        for (count, noted, refused) in [(300, 0, 0), (301, 1, 0), (500, 1, 0), (501, 0, 1)] {
            let tree = Tree::of(&[("a.rs", &lines(count)), ("b.md", &lines(900))]);
            assert_eq!((notes(&tree).len(), check(&tree).len()), (noted, refused), "{count} lines");
        }
    }
}
