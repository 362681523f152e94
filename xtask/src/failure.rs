//! Why a task failed.

use std::fmt;

/// What a task or a part of one came to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a task failed: one or more lines for the person who started it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure with this message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// For `map_err`: says what was attempted, then why it did not work.
    pub(crate) fn of<E: fmt::Display>(attempt: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{attempt}: {error}"))
    }
}

/// Runs every part, whatever comes of those before it; fails with all their failures.
pub(crate) fn all<T>(parts: impl IntoIterator<Item = Outcome<T>>) -> Outcome<Vec<T>> {
    let (mut results, mut failures) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Ok(result) => results.push(result),
            Err(Failure(message)) => failures.push(message),
        }
    }
    if failures.is_empty() { Ok(results) } else { Err(Failure(failures.join("\nerror: "))) }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, all};

    #[test]
    fn every_part_runs_and_every_failure_is_told() {
        let mut ran = 0;
        let parts = [Ok(1), Err(Failure::new("two")), Ok(3), Err(Failure::new("four"))];
        let outcome = all(parts.into_iter().inspect(|_| ran += 1));
        assert_eq!(outcome.unwrap_err().to_string(), "two\nerror: four");
        assert_eq!(ran, 4);
        assert_eq!(all([Ok(1), Ok(2)]).unwrap(), [1, 2]);
    }
}
