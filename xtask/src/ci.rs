//! `cargo xtask ci`: everything that a change must pass, each step with its time.

use std::time::{Duration, Instant};

use crate::{
    command::Run,
    docs, examples,
    failure::{Failure, Outcome},
    fuzz, loom, miri, quick_start, soak, test, tidy, vm,
};

/// The steps in their order: what fails soonest comes first.
const STEPS: &[Step] = &[
    Step { name: "format", run: format },
    Step { name: "tidy", run: tidy::run },
    Step { name: "clippy", run: clippy },
    Step { name: "test", run: test::run },
    Step { name: "docs", run: docs::run },
    Step { name: "quick-start", run: quick_start::run },
    Step { name: "examples", run: examples::run },
    Step { name: "loom", run: loom::run },
    Step { name: "miri", run: || miri::run(&[]) },
    Step { name: "fuzz", run: fuzz::briefly },
    Step { name: "soak", run: soak::briefly },
    Step { name: "vm", run: vm::test },
];

#[derive(Debug)]
struct Step {
    name: &'static str,
    run: fn() -> Outcome,
}

/// What the steps are called.
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Runs the steps named in `only`, or all where none is named, and fails at the end if one did.
pub(crate) fn run(only: &[String]) -> Outcome {
    let begin = Instant::now();
    let mut table = Vec::new();
    let mut failed = Vec::new();
    for Step { name, run } in STEPS {
        if !only.is_empty() && only.iter().all(|named| named != name) {
            continue;
        }
        println!("\n==== {name}");
        let begin_step = Instant::now();
        let outcome = run();
        let result = if outcome.is_ok() { "ok" } else { "FAILED" };
        if let Err(failure) = outcome {
            println!("error: {failure}");
            failed.push(*name);
        }
        let row = row(name, result, begin_step.elapsed());
        println!("==== {row}");
        table.push(row);
    }
    println!("\n==== all steps");
    table.iter().for_each(|row| println!("{row}"));
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("{}", row("total", result, begin.elapsed()));
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("failed: {}", failed.join(", "))))
}

fn row(name: &str, result: &str, time: Duration) -> String {
    format!("{name:<12} {result:<6} {:>8.1} s", time.as_secs_f64())
}

fn format() -> Outcome {
    Run::cargo().args(["fmt", "--all", "--check"]).run()
}

fn clippy() -> Outcome {
    Run::cargo()
        .args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        .limit(15)
        .run()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let names = super::names();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
