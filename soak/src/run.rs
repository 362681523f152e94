//! What all rounds of a run share, and what is held against the process after each.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use dmaring_driver::pci::Address;

use crate::{
    args::Defect,
    directories::Directories,
    holdings::{Holdings, memory},
    plan::Scale,
    watch::Watch,
};

/// What all rounds share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) watch: Arc<Watch>,
    pub(crate) directories: Directories,
    pub(crate) functions: Vec<Address>,
    pub(crate) scale: Scale,
    pub(crate) plant: Option<Defect>,
}

/// Rounds after which the process has the memory that it needs.
const WARM_UP: usize = 12;
/// How many rounds in a row have to be above the bound: allocators do not give all back at once.
const IN_A_ROW: usize = 5;
/// What there may be more than the most of the rounds before, in KiB, besides a quarter of it.
const SLACK: u64 = 64 << 10;
/// What a runtime that a forgotten future keeps may hold: the memory of its rings, and what waits for its files.
const HELD_BY_A_LEAK: usize = 8;
/// And how much memory, in KiB: its tables, and the regions of the futures that were forgotten with it, of up to a MiB each.
const MEMORY_OF_A_LEAK: u64 = 4 << 10;

/// What the process holds between rounds.
#[derive(Debug)]
pub(crate) struct Ledger {
    holdings: Holdings,
    /// KiB, after each round.
    memory: Vec<u64>,
    /// How many runtimes are left that were expected to be.
    leaks: u64,
}

impl Ledger {
    /// Notes what the process holds before the first round.
    pub(crate) fn begin() -> Result<Self, String> {
        Ok(Self { holdings: now()?, memory: Vec::new(), leaks: 0 })
    }

    /// Holds what the process has after a round against what it had before; `leaks` runtimes are expected to be left.
    /// Threads and mappings of ended runtimes may take `patience` to go.
    pub(crate) fn settle(&mut self, leaks: u64, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        let beyond = loop {
            let now = now()?;
            let beyond = now.beyond(&self.holdings);
            let spare = now.total().saturating_sub(self.holdings.total());
            if beyond.is_empty() || leaks > 0 && spare <= leaks as usize * HELD_BY_A_LEAK {
                self.holdings = now;
                break String::new();
            }
            if Instant::now() > end {
                break beyond;
            }
            thread::yield_now();
        };
        if !beyond.is_empty() {
            return Err(format!("left behind after the round: {beyond}"));
        }
        self.leaks += leaks;
        self.memory.push(memory().map_err(|error| format!("reading the memory: {error}"))?);
        self.check_memory()
    }

    /// The memory in KiB: the most of the first rounds, and now.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let first = self.memory.iter().take(WARM_UP).max().copied().unwrap_or(0);
        (first, self.memory.last().copied().unwrap_or(0))
    }

    fn check_memory(&self) -> Result<(), String> {
        let (first, now) = self.memory();
        let bound = first + first / 4 + SLACK + self.leaks * MEMORY_OF_A_LEAK;
        let last = self.memory.iter().skip(WARM_UP).rev().take(IN_A_ROW);
        if last.clone().count() == IN_A_ROW && last.clone().all(|memory| *memory > bound) {
            return Err(format!(
                "the memory grows: {now} KiB after {} rounds, {first} KiB at most in the first {WARM_UP}",
                self.memory.len()
            ));
        }
        Ok(())
    }
}

fn now() -> Result<Holdings, String> {
    Holdings::now().map_err(|error| format!("reading /proc/self: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{Holdings, Ledger};

    #[test]
    fn memory_that_stays_above_the_first_rounds_is_told_and_a_peak_is_not() {
        let check_with = |memory: Vec<u64>, leaks| {
            Ledger { holdings: Holdings::default(), memory, leaks }.check_memory().is_ok()
        };
        let check = |memory| check_with(memory, 0);
        let first = vec![100_000; 12];
        let with = |more: &[u64]| [first.as_slice(), more].concat();
        assert!(check(with(&[300_000, 300_000, 100_000, 300_000, 300_000])));
        assert!(!check(with(&[300_000; 5])));
        // A runtime that was expected to be left has some of it, and no more.
        assert!(!check_with(with(&[300_000; 5]), 10));
        assert!(check_with(with(&[300_000; 5]), 30));
        assert!(check(vec![300_000; 40]));
    }
}
