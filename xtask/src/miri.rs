//! `cargo xtask miri`: the tests under Miri, which sees undefined behaviour that a processor forgives.
//!
//! The toolchain is one dated nightly, named in `xtask/miri-toolchain` and nowhere else, so that a run
//! today and a run next year mean the same.

use std::ops::Add;

use crate::{
    command::{self, Run},
    failure::{Failure, Outcome, all},
    root, target,
    totals::Totals,
};

/// The packages with tests that Miri can run, and what selects them.
const SUITES: &[(&str, &[&str])] = &[
    ("dmaring-engine", &[]),
    ("dmaring-ring", &[]),
    ("dmaring-cpu", &[]),
    ("dmaring-manual", &[]),
    ("dmaring", &["--lib", "--test", "basics", "--test", "drops"]),
];

/// Runs the suites of `packages`, or all where none is named.
pub(crate) fn run(packages: &[String]) -> Outcome {
    for package in packages {
        if SUITES.iter().all(|(known, _)| known != package) {
            let known: Vec<_> = SUITES.iter().map(|(known, _)| *known).collect();
            let known = known.join(", ");
            return Err(Failure::new(format!(
                "package `{package}` has no Miri suite: {known} have"
            )));
        }
    }
    let toolchain = toolchain()?;
    let wanted = |package: &str| packages.is_empty() || packages.iter().any(|name| name == package);
    let suites = SUITES.iter().filter(|(package, _)| wanted(package));
    let totals = all(suites.map(|(package, tests)| suite(&toolchain, package, tests)))?;
    println!("miri: {}", totals.into_iter().fold(Totals::default(), Add::add));
    Ok(())
}

fn suite(toolchain: &str, package: &str, tests: &[&str]) -> Outcome<Totals> {
    let lines = miri(toolchain)
        .args(["test", "--package", package])
        .args(tests)
        .env("CARGO_TARGET_DIR", target("miri"))
        .default_env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .limit(20)
        .lines()?;
    let totals = Totals::of(&lines);
    totals.check(package)?;
    Ok(totals)
}

/// The pinned toolchain, installed if it was not.
fn toolchain() -> Outcome<String> {
    let name = command::read(&root().join("xtask/miri-toolchain"))?.trim().to_owned();
    let installed = |name| miri(name).arg("--version").succeeds();
    if !installed(&name) {
        Run::new("rustup")
            .args(["toolchain", "install", &name, "--profile", "minimal"])
            .args(["--component", "miri", "--component", "rust-src"])
            .run()
            .map_err(Failure::of(format!("Miri's toolchain {name} cannot be had")))?;
        if !installed(&name) {
            return Err(Failure::new(format!("toolchain {name} is installed and has no Miri")));
        }
    }
    Ok(name)
}

fn miri(toolchain: &str) -> Run {
    Run::new("rustup").args(["run", toolchain, "cargo", "miri"])
}
