//! Nothing half-finished, switched off, or timed by sleeping.

use super::{
    Finding,
    tokens::{Token, find, tokens},
    tree::Tree,
};
use crate::totals::VM_TEST;

/// Files that may sleep, each with its reason beside it.
const SLEEPERS: &[&str] = &[
    // It measures what idling costs.
    "benches/peers/idle.rs",
    // Cores that are to wake each other sleep before.
    "benches/peers/together.rs",
];

/// Code that stands for missing code, as tokens. Spelt in parts, so that a search finds only real ones.
const PLACEHOLDERS: &[&[&str]] = &[&["todo", "!"], &["unimplemented", "!"], &["dbg", "!"]];

/// What switches a test off.
const IGNORE: &[&str] = &["#", "[", "ignore"];

/// What sleeps: a function, and the module or type that has it.
const SLEEPS: &[(&str, &str)] = &[
    ("thread", "sleep"),
    ("thread", "sleep_until"),
    ("time", "sleep"),
    ("time", "sleep_until"),
    ("Timer", "after"),
];

/// Words that stand for missing work, in code and comments.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Placeholders, ignored tests and marks of missing work.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.files("rs") {
        let code = code(source);
        for pattern in PLACEHOLDERS {
            findings.extend(occurrences(path, &code, pattern, "unfinished or switched off"));
        }
        findings.extend(ignored(path, &code));
        findings.extend(marks(path, source));
    }
    for (path, text) in tree.files("md") {
        findings.extend(marks(path, text));
    }
    findings
}

/// Sleeping: tests and protocols are driven by events, never by time passing.
pub(super) fn check_sleep(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.files("rs").filter(|(path, _)| !SLEEPERS.contains(path)) {
        let code = code(source);
        for (module, word) in SLEEPS {
            findings.extend(occurrences(path, &code, &[module, ":", ":", word], "sleeping"));
        }
        // An import in braces names the two apart.
        for start in find(&code, &["use"]) {
            let import: Vec<_> =
                code[start..].iter().take_while(|token| token.text != ";").collect();
            let names = |name: &str| import.iter().any(|token| token.text == name);
            if names("{") && SLEEPS.iter().any(|(module, word)| names(module) && names(word)) {
                findings.push(Finding::on(path, code[start].line, "sleeping: imported"));
            }
        }
    }
    findings
}

/// Tests that are switched off, but for those whose reason names the task that runs them.
fn ignored(path: &str, code: &[Token]) -> Vec<Finding> {
    let runs_elsewhere = |start: usize| {
        let reason = code.get(start + IGNORE.len() + 1);
        reason.is_some_and(|reason| reason.text.trim_end_matches('"').ends_with(VM_TEST))
    };
    let found = find(code, IGNORE).into_iter().filter(|start| !runs_elsewhere(*start));
    let message = format!("unfinished or switched off: {}", IGNORE.concat());
    found.map(|start| Finding::on(path, code[start].line, message.as_str())).collect()
}

/// The tokens of a file. What does not parse is reported by the check of unsafe code, which reads every
/// file too.
fn code(source: &str) -> Vec<Token> {
    tokens(source).unwrap_or_default()
}

fn occurrences(path: &str, code: &[Token], pattern: &[&str], what: &str) -> Vec<Finding> {
    let message = format!("{what}: {}", pattern.concat());
    let lines = find(code, pattern).into_iter().map(|index| code[index].line);
    lines.map(|line| Finding::on(path, line, message.as_str())).collect()
}

fn marks(path: &str, text: &str) -> Vec<Finding> {
    let is_mark = |line: &str| {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.into_iter().find_map(|word| MARKS.iter().copied().find(|mark| *mark == word))
    };
    let lines = text.lines().enumerate();
    let marked = lines.filter_map(|(index, line)| Some((index + 1, is_mark(line)?)));
    marked.map(|(line, mark)| Finding::on(path, line, format!("unfinished: {mark}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Tree, check, check_sleep};

    #[test]
    fn each_placeholder_and_each_mark_is_found() {
        for source in [
            concat!("\nfn f() { to", "do!() }"),
            concat!("\nfn f() { unimple", "mented!(\"x\") }"),
            concat!("\n#[ign", "ore] fn f() {}"),
            concat!("\n#[ign", "ore = \"slow\"] fn f() {}"),
            concat!("\n// TO", "DO: more"),
            concat!("\n// FIX", "ME"),
        ] {
            let findings = check(&Tree::of(&[("a.rs", source)]));
            assert_eq!(findings.len(), 1, "{source}: {findings:?}");
            assert!(findings[0].to_string().starts_with("a.rs:2: unfinished"), "{findings:?}");
        }
        let elsewhere = concat!(
            "\n#[ign",
            "ore = \"needs a device: `cargo xtask vm test` runs it\"] fn f() {}"
        );
        assert_eq!(check(&Tree::of(&[("a.rs", elsewhere)])), []);
        let words = "// the todo list is ignored; XXXX\nfn ignore() { let todo = 1; }";
        assert_eq!(check(&Tree::of(&[("a.rs", words)])), []);
    }

    #[test]
    fn sleeping_is_found_in_every_form() {
        for source in [
            "\nfn f() { std::thread::sleep(d) }",
            "\nuse std::thread::{self, sleep};",
            "\nuse std::{thread::sleep};",
            "\nasync fn f() { tokio::time::sleep(d).await }",
            "\nasync fn f() { smol::Timer::after(d).await }",
        ] {
            let findings = check_sleep(&Tree::of(&[("a.rs", source)]));
            assert!(!findings.is_empty(), "{source}");
            assert!(findings[0].to_string().starts_with("a.rs:2: sleeping"), "{findings:?}");
        }
        let other =
            "// thread::sleep\nuse std::{thread, time};\nfn f() { bell.sleep(\"time::sleep\") }";
        assert_eq!(check_sleep(&Tree::of(&[("a.rs", other)])), []);
    }
}
