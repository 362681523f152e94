//! `cargo xtask mutants`: a test of the tests. Small faults are planted one by one, and the tests must fail.
//!
//! The planting is cargo-mutants'. A fault that no test sees survives; each that may survive stands with its
//! reason in `docs/mutants.md`, and the task fails on one that does not, and on a line there that is no longer
//! needed. A fault that makes the tests hang counts as seen.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    command::{self, Run},
    failure::{Failure, Outcome, all},
    root, target,
    tool::Tool,
};

const CARGO_MUTANTS: Tool = Tool { name: "mutants", version: "27.1.0" };

/// The list of those that may survive.
const BOOK: &str = "docs/mutants.md";

/// How long the tests may at least take with a fault in the code, in seconds; otherwise five times as long as
/// without one.
const HANG: &str = "30";

/// Code whose tests are tested: a name, the package, and its files; all of them where none is named.
const GROUPS: &[Group] = &[
    Group { name: "ring", package: "dmaring-ring", files: &["runtime/ring/src/**/*.rs"] },
    Group {
        name: "driver",
        package: "dmaring-driver",
        files: &[
            "driver/src/ioat/channel.rs",
            "driver/src/ioat/ring.rs",
            "driver/src/ioat/reset.rs",
            "driver/src/ioat/failure.rs",
            "driver/src/ioat/host.rs",
            "driver/src/ioat/mastering.rs",
        ],
    },
    Group {
        name: "recovery",
        package: "dmaring",
        files: &[
            "runtime/src/poller/recovery.rs",
            "runtime/src/poller/captive.rs",
            "runtime/src/poller/transfers.rs",
            "runtime/src/poller/keys.rs",
            "runtime/src/poller/line.rs",
            "runtime/src/poller/watch.rs",
        ],
    },
];

#[derive(Debug)]
struct Group {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
}

/// What the groups are called.
pub(crate) fn names() -> Vec<&'static str> {
    GROUPS.iter().map(|group| group.name).collect()
}

/// Plants the faults of the groups named, or of all where none is; those of the files named alone, if any is.
pub(crate) fn run(groups: &[String], files: &[String]) -> Outcome {
    let program = CARGO_MUTANTS.program()?;
    let book = command::read(&root().join(BOOK))?;
    let wanted = |group: &&Group| groups.is_empty() || groups.iter().any(|name| name == group.name);
    let run = |group: &Group| {
        let chosen: Vec<&str> = match files {
            [] => group.files.to_vec(),
            _ => files.iter().map(String::as_str).collect(),
        };
        plant(group, &chosen, &program, &listed(&book))
    };
    all(GROUPS.iter().filter(wanted).map(run)).map(drop)
}

/// Plants the faults of one group, and holds those that survive against the list.
fn plant(group: &Group, files: &[&str], program: &Path, listed: &Names) -> Outcome {
    let output = target("mutants").join(group.name);
    fs::create_dir_all(&output)
        .map_err(Failure::of(format!("cannot make {}", output.display())))?;
    let mutants = || {
        Run::new(program)
            .args(["mutants", "--package", group.package])
            .args(files.iter().flat_map(|file| ["--file", file]))
    };
    let planned = mutants().arg("--list").output()?;
    let planned: Vec<_> = planned.lines().map(name).collect();
    if planned.is_empty() {
        return Err(Failure::new(format!("{}: no faults to plant in {files:?}", group.name)));
    }
    // It fails where a fault survives: what it wrote decides.
    let ran = mutants()
        .args([
            "--no-shuffle",
            "--minimum-test-timeout",
            HANG,
            "--cargo-test-arg=--tests",
            "--output",
        ])
        .arg(&output)
        .env("CARGO_TARGET_DIR", target("mutants").join("build"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .run();
    let results = Results::read(&output.join("mutants.out"))?;
    if results.count() != planned.len() {
        let (name, count, planned) = (group.name, results.count(), planned.len());
        let why = ran.err().map_or_else(String::new, |failure| format!(": {failure}"));
        return Err(Failure::new(format!("{name}: {count} of {planned} faults were tried{why}")));
    }
    println!("mutants: {}: {results}", group.name);
    let complaints = complaints(&results.survived, listed, &planned);
    if complaints.is_empty() { Ok(()) } else { Err(Failure::new(complaints.join("\nerror: "))) }
}

/// What became of faults, by name.
#[derive(Debug)]
struct Results {
    survived: Names,
    seen: usize,
    hung: usize,
    unviable: usize,
}

/// How often each name occurs: several faults of one function may have the same.
type Names = BTreeMap<String, usize>;

impl Results {
    fn read(directory: &Path) -> Outcome<Self> {
        let lines = |file: &str| {
            let text = command::read(&directory.join(file))?;
            Ok(text.lines().map(name).collect::<Vec<_>>())
        };
        Ok(Self {
            survived: count(lines("missed.txt")?),
            seen: lines("caught.txt")?.len(),
            hung: lines("timeout.txt")?.len(),
            unviable: lines("unviable.txt")?.len(),
        })
    }

    fn count(&self) -> usize {
        self.survived.values().sum::<usize>() + self.seen + self.hung + self.unviable
    }
}

impl std::fmt::Display for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seen, hung, unviable, .. } = self;
        let survived = self.survived.values().sum::<usize>();
        write!(f, "{seen} seen, {hung} seen as hangs, {survived} survived, {unviable} not Rust")
    }
}

fn count(names: Vec<String>) -> Names {
    names.into_iter().fold(Names::new(), |mut names, name| {
        *names.entry(name).or_default() += 1;
        names
    })
}

/// A fault's name without its line and column, which every change moves.
fn name(line: &str) -> String {
    let mut parts = line.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(_), Some(_), Some(what)) => format!("{file}: {}", what.trim()),
        _ => line.to_owned(),
    }
}

/// The faults that may survive: the lines of the book that begin with one, as code.
fn listed(book: &str) -> Names {
    let names = book.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("- `")?.split_once('`')?;
        name.contains(".rs: ").then(|| name.to_owned())
    });
    count(names.collect())
}

/// What survived and is not listed, and what is listed, was planted and did not survive.
fn complaints(survived: &Names, listed: &Names, planned: &[String]) -> Vec<String> {
    let times = |names: &Names, name: &str| names.get(name).copied().unwrap_or(0);
    let unlisted = survived.iter().filter(|(name, count)| times(listed, name) < **count);
    let unlisted = unlisted
        .map(|(name, count)| format!("{name}: survived {count} times, listed {}: write a test that sees it, or a reason in {BOOK}", times(listed, name)));
    let stale = listed.iter().filter(|(name, count)| {
        planned.iter().any(|planned| planned == *name) && times(survived, name) < **count
    });
    let stale = stale.map(|(name, _)| format!("{name}: no longer survives: take it off {BOOK}"));
    unlisted.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, complaints, count, listed, name};
    use crate::root;

    #[test]
    fn every_file_that_is_named_is_there() {
        let named = GROUPS.iter().flat_map(|group| group.files).filter(|file| !file.contains('*'));
        for file in named {
            assert!(root().join(file).is_file(), "{file}");
        }
    }

    #[test]
    fn a_name_has_no_line_and_keeps_its_operators() {
        let line = "runtime/ring/src/a.rs:12:5: replace || with && in A::<u8>::b";
        assert_eq!(name(line), "runtime/ring/src/a.rs: replace || with && in A::<u8>::b");
    }

    #[test]
    fn survivors_and_the_list_are_held_against_each_other() {
        let book =
            "# Mutants\n- `a.rs: replace x`: equal.\n- `a.rs: replace y`: equal.\n- `word`\n";
        let listed = listed(book);
        assert_eq!(listed.len(), 2);
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let planned = names(&["a.rs: replace x", "a.rs: replace x", "a.rs: replace y"]);
        let complain = |survived: &[&str]| complaints(&count(names(survived)), &listed, &planned);
        assert!(complain(&["a.rs: replace x", "a.rs: replace y"]).is_empty());
        let twice = complain(&["a.rs: replace x", "a.rs: replace x", "a.rs: replace y"]);
        assert!(twice.len() == 1 && twice[0].contains("survived 2 times, listed 1"), "{twice:?}");
        let stale = complain(&["a.rs: replace x"]);
        assert!(stale.len() == 1 && stale[0].contains("no longer survives"), "{stale:?}");
        let new = complain(&["a.rs: replace x", "a.rs: replace y", "b.rs: replace z"]);
        assert!(new.len() == 1 && new[0].starts_with("b.rs: replace z"), "{new:?}");
    }
}
