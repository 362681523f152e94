//! `cargo xtask miri`: the tests under Miri, which sees undefined behaviour that a processor forgives.
//!
//! The toolchain is one dated nightly, named in `xtask/miri-toolchain` and nowhere else, so that a run
//! today and a run next year mean the same.

use std::{collections::BTreeSet, env, ops::Add, thread};

use crate::{
    command::{self, Run},
    failure::{Failure, Outcome, all},
    root, target,
    totals::Totals,
};

/// A package, what selects its tests that Miri can run, and how many processors they see.
type Suite = (&'static str, &'static [&'static str], u8);

/// The packages with tests that Miri can run, in two rows that run at once and take about as long: Miri runs the threads of
/// a test in turns. A future attends to its operation only where there are two processors; a poller that has one to itself yields
/// less, which takes Miri longer.
const ROWS: [&[Suite]; 2] = [
    &[
        ("dmaring", &["--test", "drops"], 1),
        // What a waker panics with is never dropped, which Miri calls a leak.
        ("dmaring", &["--lib", "op::attend", "--", "--skip", "wakers_and_loggers_that_panic"], 2),
    ],
    &[
        ("dmaring-engine", &[], 1),
        ("dmaring-ring", &[], 1),
        ("dmaring-cpu", &[], 1),
        ("dmaring-manual", &[], 1),
        ("dmaring", &["--lib", "--test", "basics", "--", "--skip", "op::attend"], 1),
    ],
];

/// Runs the suites of `packages`, or all where none is named.
pub(crate) fn run(packages: &[String]) -> Outcome {
    let known: BTreeSet<_> = ROWS.iter().copied().flatten().map(|(package, ..)| *package).collect();
    if let Some(package) = packages.iter().find(|package| !known.contains(package.as_str())) {
        let known = Vec::from_iter(known).join(", ");
        return Err(Failure::new(format!("package `{package}` has no Miri suite: {known} have")));
    }
    let toolchain = toolchain()?;
    let row = |suites: &[Suite], shown| {
        let wanted = |package| packages.is_empty() || packages.iter().any(|name| name == package);
        let suites = suites.iter().filter(|(package, ..)| wanted(*package));
        all(suites.map(|suite| run_suite(&toolchain, suite, shown)))
    };
    let [one, other] = ROWS;
    let outcomes = thread::scope(|scope| {
        let other = scope.spawn(|| row(other, Shown::AtItsEnd));
        let one = row(one, Shown::AsItComes);
        let other = other.join();
        [one, other.unwrap_or_else(|_| Err(Failure::new("a thread of this task panicked")))]
    });
    let totals = all(outcomes)?.into_iter().flatten();
    println!("miri: {}", totals.fold(Totals::default(), Add::add));
    Ok(())
}

/// When the output of a suite is shown: of two that run at once, one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    AsItComes,
    AtItsEnd,
}

fn run_suite(
    toolchain: &str,
    (package, tests, processors): &Suite,
    shown: Shown,
) -> Outcome<Totals> {
    let flags = env::var("MIRIFLAGS").unwrap_or_else(|_| "-Zmiri-disable-isolation".to_owned());
    let run = miri(toolchain)
        .args(["test", "--no-fail-fast", "--package", package])
        .args(*tests)
        .env("CARGO_TARGET_DIR", target("miri"))
        .env("MIRIFLAGS", format!("{flags} -Zmiri-num-cpus={processors}"))
        // The trace of a panic takes seconds, and some tests panic; what Miri finds has a trace of its own.
        .env("RUST_BACKTRACE", "0")
        .limit(20);
    let lines = match shown {
        Shown::AsItComes => run.lines()?,
        Shown::AtItsEnd => {
            let (lines, outcome) = run.quietly();
            // At once, so that no line of the other comes between.
            println!("{}", lines.join("\n"));
            outcome.map(|()| lines)?
        }
    };
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

#[cfg(test)]
mod tests {
    #[test]
    fn a_package_without_a_suite_is_refused_with_those_that_have_one() {
        let refusal = super::run(&["no-such".to_owned()]).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "package `no-such` has no Miri suite: dmaring, dmaring-cpu, dmaring-engine, dmaring-manual, \
             dmaring-ring have"
        );
    }
}
