//! `cargo xtask ci`: everything that a change must pass, each step with its time.
//!
//! What mostly waits for one processor runs beside other steps, in a process of its own; its output is shown whole when it
//! has ended, in its place. The virtual machine's cases have time limits of their own: they run when nothing else does.
//! Why a step failed is told where it failed and again at the very end, because of a long log often only the end is kept.

use std::{
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use crate::{
    command::Run,
    docs, examples,
    failure::{Failure, Outcome},
    fuzz, loom, miri, quick_start, soak, test, tidy, vm,
};

/// The steps that come first: what fails soonest.
const FIRST: &[Step] = &[
    Step { name: "format", run: format },
    Step { name: "tidy", run: tidy::run },
    Step { name: "clippy", run: clippy },
    Step { name: "test", run: test::run },
];

/// The steps after those.
const THEN: &[Step] = &[
    Step { name: "docs", run: docs::run },
    Step { name: "quick-start", run: quick_start::run },
    Step { name: "examples", run: examples::run },
    Step { name: "loom", run: loom::run },
    Step { name: "miri", run: || miri::run(&[]) },
    Step { name: "fuzz", run: fuzz::briefly },
];

/// The steps beside those, one after the other: neither their builds nor their files are those of the others.
const BESIDE: &[Step] =
    &[Step { name: "vm-assets", run: vm::prepare }, Step { name: "soak", run: soak::briefly }];

/// The steps that come last, with the machine to themselves.
const LAST: &[Step] = &[Step { name: "vm", run: vm::test }];

/// What a step beside others may take, in minutes; what it runs has limits of its own, which are less.
const MINUTES: u32 = 30;

#[derive(Debug)]
struct Step {
    name: &'static str,
    run: fn() -> Outcome,
}

/// What the steps are called, in the order in which they are shown.
pub(crate) fn names() -> Vec<&'static str> {
    steps().map(|step| step.name).collect()
}

/// Runs the steps named in `only`, one after the other, or all where none is named, and fails at the end if one did.
pub(crate) fn run(only: &[String]) -> Outcome {
    let mut report = Report::new();
    if only.is_empty() {
        FIRST.iter().for_each(|step| report.run(step));
        let beside = beside();
        THEN.iter().for_each(|step| report.run(step));
        // They end together with their sender.
        beside.iter().for_each(|ended| report.show(ended));
        LAST.iter().for_each(|step| report.run(step));
    } else {
        let named = |step: &&Step| only.iter().any(|name| name == step.name);
        steps().filter(named).for_each(|step| report.run(step));
    }
    report.end()
}

fn steps() -> impl Iterator<Item = &'static Step> {
    FIRST.iter().chain(THEN).chain(BESIDE).chain(LAST)
}

/// A step that ran beside others.
#[derive(Debug)]
struct Ended {
    name: &'static str,
    output: Vec<String>,
    outcome: Outcome,
    time: Duration,
}

/// Begins the steps beside the others; each is received when it has ended.
fn beside() -> Receiver<Ended> {
    let (sender, receiver) = mpsc::channel();
    let names = BESIDE.iter().map(|step| step.name);
    println!("\n==== begun beside the next steps: {}", names.collect::<Vec<_>>().join(", "));
    thread::spawn(move || {
        for Step { name, .. } in BESIDE {
            let begin = Instant::now();
            let (output, outcome) = match std::env::current_exe() {
                Ok(program) => Run::new(program).args(["ci", name]).limit(MINUTES).quietly(),
                Err(error) => (Vec::new(), Err(Failure::of("cannot find this program")(error))),
            };
            if sender.send(Ended { name, output, outcome, time: begin.elapsed() }).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What became of the steps.
#[derive(Debug)]
struct Report {
    begin: Instant,
    table: Vec<String>,
    failed: Vec<(&'static str, Failure)>,
}

impl Report {
    fn new() -> Self {
        Self { begin: Instant::now(), table: Vec::new(), failed: Vec::new() }
    }

    fn run(&mut self, step: &Step) {
        println!("\n==== {}", step.name);
        let begin = Instant::now();
        let outcome = (step.run)();
        self.add(step.name, outcome, begin.elapsed());
    }

    /// Shows what a step beside others wrote.
    fn show(&mut self, ended: Ended) {
        println!("\n==== {}, which ran beside other steps", ended.name);
        ended.output.iter().for_each(|line| println!("{line}"));
        self.add(ended.name, ended.outcome, ended.time);
    }

    fn add(&mut self, name: &'static str, outcome: Outcome, time: Duration) {
        let row = row(name, outcome.is_ok(), time);
        if let Err(failure) = outcome {
            println!("error: {failure}");
            self.failed.push((name, failure));
        }
        println!("==== {row}");
        self.table.push(row);
    }

    fn end(self) -> Outcome {
        println!("\n==== all steps");
        self.table.iter().for_each(|row| println!("{row}"));
        println!("{}", row("total", self.failed.is_empty(), self.begin.elapsed()));
        self.failed
            .iter()
            .for_each(|(name, failure)| println!("\n==== why {name} failed\n{failure}"));
        if self.failed.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.failed.iter().map(|(name, _)| *name).collect();
        Err(Failure::new(format!("failed: {}", names.join(", "))))
    }
}

fn row(name: &str, well: bool, time: Duration) -> String {
    let result = if well { "ok" } else { "FAILED" };
    format!("{name:<12} {result:<6} {:>8.1} s", time.as_secs_f64())
}

fn format() -> Outcome {
    Run::cargo().args(["fmt", "--all", "--check"]).limit(5).run()
}

fn clippy() -> Outcome {
    Run::cargo()
        .args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        .limit(15)
        .run()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::{Ended, Report};
    use crate::failure::Failure;

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let names = super::names();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn steps_beside_others_are_in_the_table_and_a_failure_is_the_outcome() {
        let mut report = Report::new();
        let time = Duration::from_secs(3);
        let output = vec!["a line".to_owned()];
        report.add("one", Ok(()), time);
        report.show(Ended { name: "two", output, outcome: Err(Failure::new("why")), time });
        assert_eq!(report.table.len(), 2);
        assert!(report.table[1].starts_with("two") && report.table[1].contains("FAILED"));
        assert_eq!(report.end().unwrap_err().to_string(), "failed: two");
        assert!(Report::new().end().is_ok());
    }
}
