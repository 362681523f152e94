//! `cargo xtask tidy`: what the compiler does not check, one file per check.

mod arrows;
mod book;
mod dependencies;
mod islands;
mod lengths;
mod links;
mod manifests;
mod members;
mod tokens;
mod toml;
mod tree;
mod unfinished;
mod unsafe_code;

use std::fmt;

use crate::{
    failure::{Failure, Outcome},
    root,
};
use members::Member;
use tree::Tree;

/// Something wrong at some place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    /// Something wrong on a line, counted from 1.
    fn on(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }

    /// Something wrong with a file as a whole.
    fn of(path: &str, message: impl Into<String>) -> Self {
        Self::on(path, 1, message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        write!(f, "{path}:{line}: {message}")
    }
}

/// Runs every check, shows all they find, and fails if they found anything.
pub(crate) fn run() -> Outcome {
    let root = root();
    let tree = Tree::read(&root)?;
    let members = members::read(&root)?;

    for note in lengths::notes(&tree) {
        println!("note: {note}");
    }
    let checks: [(&str, Vec<Finding>); 9] = [
        ("dependency arrows", arrows::check(&members)),
        ("file lengths", lengths::check(&tree)),
        ("unsafe islands", unsafe_code::check(&tree, islands::ISLANDS)),
        ("dependency list", dependencies::check(&tree)),
        ("unfinished work", unfinished::check(&tree)),
        ("manifests", manifests::check(&tree, &manifest_paths(&members))),
        ("book", book::check(&tree)),
        ("links", links::check(&tree)),
        ("sleeping", unfinished::check_sleep(&tree)),
    ];
    let mut count = 0;
    for (check, findings) in checks {
        count += findings.len();
        println!("{check:<18} {}", if findings.is_empty() { "ok" } else { "FAILED" });
        findings.iter().for_each(|finding| println!("{finding}"));
    }
    match count {
        0 => Ok(()),
        count => Err(Failure::new(format!("tidy found {count} things to mend"))),
    }
}

fn manifest_paths(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| member.manifest.as_str()).collect()
}
