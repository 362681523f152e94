//! `cargo xtask loom`: the interleavings of the lock-free parts.

use std::ops::Add;

use crate::{
    command::Run,
    failure::{Outcome, all},
    target,
    totals::Totals,
};

/// The packages with loom tests, and what selects them.
const SUITES: &[(&str, &[&str])] =
    &[("dmaring-ring", &["--test", "loom"]), ("dmaring", &["--lib", "loom_"])];

/// Runs every suite. `LOOM_MAX_PREEMPTIONS`, 3 unless set, bounds how often a thread is interrupted.
pub(crate) fn run() -> Outcome {
    let totals = all(SUITES.iter().map(|(package, tests)| suite(package, tests)))?;
    println!("loom: {}", totals.into_iter().fold(Totals::default(), Add::add));
    Ok(())
}

fn suite(package: &str, tests: &[&str]) -> Outcome<Totals> {
    let lines = Run::cargo()
        .args(["test", "--release", "--package", package])
        .args(tests)
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target("loom"))
        // Link-time optimisation costs more here than it saves.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .default_env("LOOM_MAX_PREEMPTIONS", "3")
        .limit(15)
        .lines()?;
    let totals = Totals::of(&lines);
    totals.check(package)?;
    Ok(totals)
}
