//! `cargo xtask test`: every test of the workspace, with nothing but cargo.

use crate::{
    command::Run,
    failure::{Outcome, all},
    guard,
    totals::Totals,
};

/// Not the benches, which cargo would run.
const TARGETS: &[&str] = &["--lib", "--bins", "--tests", "--examples"];

/// Runs the tests of every target, then the documentation's examples; both run, whatever comes of the first.
pub(crate) fn run() -> Outcome {
    let suites = [("targets", TARGETS), ("documentation", &["--doc"])];
    let totals = all(suites.into_iter().map(|(name, targets)| Ok((name, suite(targets)?))))?;
    let mut sum = Totals::default();
    for (name, totals) in totals {
        println!("{name}: {totals}");
        sum = sum + totals;
    }
    sum.check("tests")
}

fn suite(targets: &[&str]) -> Outcome<Totals> {
    let run = Run::cargo().args(["test", "--workspace", "--no-fail-fast"]).args(targets);
    Ok(Totals::of(&guard::guarded(run)?.limit(15).lines()?))
}
