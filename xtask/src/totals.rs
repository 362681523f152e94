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
    /// How many of these another task runs.
    pub(crate) elsewhere: u64,
}

/// What the reason of an ignored test names that `cargo xtask vm test` runs.
pub(crate) const VM_TEST: &str = "`cargo xtask vm test` runs it";

impl Totals {
    /// Reads what runners printed.
    pub(crate) fn of(lines: &[String]) -> Self {
        let mut totals = Self::default();
        for line in lines {
            if line.starts_with("test ") && line.contains(" ... ignored, ") {
                totals.elsewhere += u64::from(line.ends_with(VM_TEST));
            }
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

    /// Nothing is skipped silently: an error where no test ran, or one was ignored that no other task runs.
    pub(crate) fn check(self, what: &str) -> Outcome {
        if self.passed == 0 {
            return Err(Failure::new(format!("{what}: not one test ran")));
        }
        let skipped = self.ignored.saturating_sub(self.elsewhere);
        if skipped != 0 {
            return Err(Failure::new(format!("{what}: {skipped} tests were ignored")));
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
            elsewhere: self.elsewhere + other.elsewhere,
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.elsewhere {
            0 => Ok(()),
            elsewhere => write!(f, ", {elsewhere} left to `cargo xtask vm test`"),
        }
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
        assert_eq!(sum, Totals { passed: 5, failed: 4, ignored: 5, elsewhere: 0 });
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

    #[test]
    fn a_test_that_another_task_runs_is_counted_and_no_error() {
        let text = "test a ... ignored, needs a device: `cargo xtask vm test` runs it\n\
                    test b ... ignored, slow\n\
                    test result: ok. 9 passed; 0 failed; IGNORED ignored; 0 measured; 0 filtered out";
        let one = totals(&text.replace("IGNORED", "1"));
        assert_eq!(one.to_string(), "9 passed, 0 failed, 1 left to `cargo xtask vm test`");
        assert!(one.check("x").is_ok());
        assert!(totals(&text.replace("IGNORED", "2")).check("x").is_err());
    }
}
