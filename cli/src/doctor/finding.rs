//! What a check found, and what mends it.

use std::fmt;

use serde::Serialize;

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Which precondition.
    pub(crate) check: &'static str,
    /// Of which function or device; `null` for the machine.
    pub(crate) subject: Option<String>,
    pub(crate) state: State,
    /// What there is.
    pub(crate) found: String,
    /// What mends it, with the command in backquotes where there is one.
    pub(crate) remedy: Option<String>,
}

/// How a precondition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    /// It works, and not as well as it could.
    Warn,
    /// What it is needed for does not work.
    Fail,
    /// Not looked at, for the reason found.
    Skipped,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, found: impl fmt::Display) -> Self {
        Self::new(check, State::Ok, found, None)
    }

    pub(crate) fn warn(
        check: &'static str,
        found: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        Self::new(check, State::Warn, found, Some(remedy.to_string()))
    }

    pub(crate) fn fail(
        check: &'static str,
        found: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Self {
        Self::new(check, State::Fail, found, Some(remedy.to_string()))
    }

    pub(crate) fn skipped(check: &'static str, because: impl fmt::Display) -> Self {
        Self::new(check, State::Skipped, because, None)
    }

    /// The same, of a function or device.
    pub(crate) fn of(self, subject: impl fmt::Display) -> Self {
        Self { subject: Some(subject.to_string()), ..self }
    }

    fn new(
        check: &'static str,
        state: State,
        found: impl fmt::Display,
        remedy: Option<String>,
    ) -> Self {
        Self { check, subject: None, state, found: found.to_string(), remedy }
    }
}

impl fmt::Display for Finding {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8}", self.state.name())?;
        if let Some(subject) = &self.subject {
            write!(f, "{subject} ")?;
        }
        write!(f, "{}: {}", self.check, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}
