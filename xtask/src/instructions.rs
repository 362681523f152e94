//! `cargo xtask instructions`: what a copy costs the I/OAT driver, counted by callgrind.
//!
//! Instructions, not time: the same binary gives the same count on a busy machine. Registers are plain memory, so
//! what a device costs on its bus is not in the figure.

use crate::{
    command::Run,
    failure::{Failure, Outcome},
    target,
};

const ROUNDS: u64 = 1000;
/// More is a failure. SPDK's lib/ioat took 110 for the same work (build_copy, flush, process_events).
const BOUND: f64 = 60.0;

/// How many copies are in flight: what a copy costs must not depend on it.
const IN_FLIGHT: [u64; 2] = [32, 4096];

/// Builds the program, runs it under callgrind and prints the instructions per copy.
pub(crate) fn run() -> Outcome {
    for in_flight in IN_FLIGHT {
        let instructions = per_copy(in_flight)?;
        println!(
            "I/OAT driver, 4 KiB copies, {in_flight} in flight: {instructions:.2} instructions per copy (bound {BOUND}, SPDK 110)"
        );
        if instructions > BOUND {
            return Err(Failure::new(format!("more than {BOUND} instructions per copy")));
        }
    }
    Ok(())
}

/// The instructions of one copy with so many in flight, in batches of 32.
pub(crate) fn per_copy(in_flight: u64) -> Outcome<f64> {
    if !Run::new("valgrind").arg("--version").succeeds() {
        let message = "valgrind is not installed: `apt-get install valgrind`";
        return Err(Failure::new(message));
    }
    let directory = target("instructions");
    Run::cargo()
        .args(["build", "--release", "--package", "dmaring-benches", "--bin", "ioat_cost"])
        .env("CARGO_TARGET_DIR", &directory)
        .run()?;
    // Callgrind's summary goes to standard error: its log is sent to standard output instead.
    let lines = Run::new("valgrind")
        .args(["--tool=callgrind", "--log-fd=1", "--toggle-collect=*measured_*"])
        .arg(format!("--callgrind-out-file={}", directory.join("callgrind.out").display()))
        .arg(directory.join("release/ioat_cost"))
        .args([ROUNDS.to_string(), in_flight.to_string()])
        .limit(10)
        .lines()?;
    let (collected, copies) = (number(&lines, "Collected :")?, number(&lines, "copies:")?);
    Ok(collected as f64 / copies.max(1) as f64)
}

/// The number after `label` in the output.
fn number(lines: &[String], label: &str) -> Outcome<u64> {
    let value = lines.iter().find_map(|line| line.split_once(label)?.1.trim().parse().ok());
    value.ok_or_else(|| Failure::new(format!("no number after `{label}` in callgrind's output")))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn the_summary_is_read_and_its_absence_is_an_error() {
        let lines = ["==7== Collected : 1234".to_owned(), "copies: 32".to_owned()];
        assert_eq!(number(&lines, "Collected :").unwrap(), 1234);
        assert_eq!(number(&lines, "copies:").unwrap(), 32);
        assert!(number(&lines, "nothing:").is_err());
    }
}
