//! How many tests ran, read from the closing lines of test runners.

use std::fmt;

use crate::failure::{Failure, Outcome};

/// The sum of any number of runners' closing lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// How many tests passed.
    pub(crate) passed: u64,
    /// How many failed.
    pub(crate) failed: u64,
    /// How many were ignored.
    pub(crate) ignored: u64,
}

impl Totals {
    /// Reads what runners printed.
    pub(crate) fn of(lines: &[String]) -> Self {
        let mut totals = Self::default();
        for line in lines {
            let Some((_, counts)) = line.split_once("test result: ") else { continue };
            for part in counts.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let (Some(count), Some(what)) = (words.next(), words.next()) else { continue };
                let Ok(count) = count.parse::<u64>() else { continue };
                match what {
                    "passed" => totals.passed += count,
                    "failed" => totals.failed += count,
                    "ignored" => totals.ignored += count,
                    _ => {}
                }
            }
        }
        totals
    }

    /// Nothing is skipped silently: an error where no test ran or one was ignored.
    pub(crate) fn check(self, what: &str) -> Outcome {
        if self.passed == 0 {
            return Err(Failure::new(format!("{what}: not one test ran")));
        }
        if self.ignored != 0 {
            return Err(Failure::new(format!("{what}: {} tests were ignored", self.ignored)));
        }
        Ok(())
    }
}

impl std::ops::Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Totals;

    fn totals(text: &str) -> Totals {
        Totals::of(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn closing_lines_add_up() {
        let sum = totals(
            "running 2 tests\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.10s\n\
             test result: FAILED. 3 passed; 4 failed; 5 ignored; 0 measured; 0 filtered out; finished in 1.23s",
        );
        assert_eq!(sum, Totals { passed: 5, failed: 4, ignored: 5 });
    }

    #[test]
    fn no_test_and_an_ignored_test_are_errors() {
        let none =
            totals("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out");
        assert!(none.check("x").is_err());
        let ignored =
            totals("test result: ok. 9 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out");
        assert!(ignored.check("x").is_err());
        assert!(totals("test result: ok. 9 passed; 0 failed; 0 ignored;").check("x").is_ok());
    }
}
