//! What of a program's output tells why it failed, so that it can be told again where the log ends.

use std::collections::VecDeque;

/// What begins each line of a report on a program that was stopped.
pub(crate) const STOPPED: &str = "stopped: ";
/// What stands before a line that is told again.
const AGAIN: &str = "    | ";
/// How many of the last lines are kept, and how many of those before that tell something.
const LAST: usize = 40;
const TELLING: usize = 120;

/// The last lines of an output, and those before them that tell something.
#[derive(Debug, Default)]
pub(crate) struct Account {
    telling: Vec<String>,
    untold: usize,
    last: VecDeque<(String, bool)>,
    /// How many lines after a telling one belong to it.
    following: usize,
    /// Within the messages of the tests that failed.
    failures: bool,
    /// The line that names the tests that run, until it has been kept.
    suite: Option<String>,
}

impl Account {
    /// Takes the next line. One that a task below this one told again has been taken before.
    pub(crate) fn take(&mut self, line: &str) {
        if line.starts_with(AGAIN) {
            return;
        }
        let telling = self.tells(line);
        self.last.push_back((line.to_owned(), telling));
        if self.last.len() > LAST
            && let Some((line, telling)) = self.last.pop_front()
        {
            self.leave(line, telling);
        }
    }

    /// What is kept, as lines of a failure's message.
    pub(crate) fn tell(self) -> String {
        let untold = (self.untold > 0).then(|| format!("[{} more such lines]", self.untold));
        let before = self.telling.into_iter().chain(untold);
        let lines = before.chain(self.last.into_iter().map(|(line, _)| line));
        lines.map(|line| format!("\n{AGAIN}{line}")).collect()
    }

    /// Whether the line tells something, wherever in the output it stands.
    fn tells(&mut self, line: &str) -> bool {
        if line.starts_with("failures:") {
            self.failures = true;
        }
        let telling = self.failures
            || line.starts_with("error")
            || line.starts_with(STOPPED)
            || line.contains("FAILED")
            || line.contains("panicked at ")
            || line.contains(" has been running for over ");
        if line.starts_with("test result: ") {
            self.failures = false;
        }
        // A panic's message is on the line after its place, a compiler's place on the line after its message.
        let follows = std::mem::take(&mut self.following);
        self.following = if telling { 2 } else { follows.saturating_sub(1) };
        telling || follows > 0
    }

    /// Keeps a line that is no longer among the last, if it tells something.
    fn leave(&mut self, line: String, telling: bool) {
        if line.trim_start().starts_with("Running ") {
            self.suite = Some(line);
        } else if telling && (self.telling.len() < TELLING || line.starts_with(STOPPED)) {
            self.telling.extend(self.suite.take());
            self.telling.push(line);
        } else if telling {
            self.untold += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, LAST, STOPPED, TELLING};

    fn told(lines: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut account = Account::default();
        lines.into_iter().for_each(|line| account.take(&line));
        let told = account.tell();
        told.lines().skip(1).map(|line| line.trim_start_matches("    | ").to_owned()).collect()
    }

    fn passed(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|number| format!("test number{number} ... ok"))
    }

    #[test]
    fn a_test_that_failed_or_hangs_is_told_with_its_suite_however_much_follows() {
        let before = [
            "     Running tests/quiet.rs (target/quiet)",
            "test a ... ok",
            "     Running tests/random.rs (target/random)",
            "test one::hangs has been running for over 60 seconds",
            "test two ... FAILED",
            "failures:",
            "---- two stdout ----",
            "thread 'two' (7) panicked at src/two.rs:1:2:",
            "left is not right",
            "failures:",
            "    two",
            "test result: FAILED. 1 passed; 1 failed",
            "",
            "x",
        ];
        let expected = [&before[2..5], &before[5..], &[]].concat();
        let told = told(before.map(str::to_owned).into_iter().chain(passed(500)));
        assert_eq!(told[..expected.len()], expected);
        assert_eq!(told[expected.len()..], passed(500).skip(500 - LAST).collect::<Vec<_>>());
    }

    #[test]
    fn a_compilers_error_is_told_with_its_place() {
        let before = ["error[E0308]: mismatched types", " --> src/a.rs:1:2", "  |", "other"];
        let told = told(before.map(str::to_owned).into_iter().chain(passed(LAST)));
        assert_eq!(told[..3], before[..3]);
        assert_eq!(told.len(), 3 + LAST);
    }

    #[test]
    fn a_flood_is_counted_and_hides_no_report_of_what_was_stopped() {
        let flood = (0..1000).map(|number| format!("error: {number}"));
        let report = format!("{STOPPED}thread 1");
        let told = told(flood.chain([report.clone()]).chain(passed(LAST)));
        assert_eq!(told.len(), TELLING + 2 + LAST);
        assert_eq!(told[TELLING..TELLING + 2], [report, "[880 more such lines]".to_owned()]);
    }

    #[test]
    fn what_a_task_below_tells_again_is_told_once() {
        let lines = ["error: one", "two", "error: `x` failed", "    | error: one", "    | two"];
        assert_eq!(told(lines.map(str::to_owned)), lines[..3]);
    }
}
