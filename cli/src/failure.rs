//! How the command ends when it does not end well.

use std::{fmt, process::ExitCode};

/// Why the command did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Refused before anything was changed.
    Refused(String),
    /// Failed while copying or afterwards: the destination may have been written to.
    Failed(String),
}

impl Failure {
    /// A refusal that says what it is about.
    pub(crate) fn refused(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Refused(format!("{what}: {why}"))
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Refused(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    /// One line, whatever characters a path has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(message) | Self::Failed(message)) = self;
        for character in message.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn a_message_is_one_line_whatever_the_path() {
        let failure = Failure::refused("a\nb\u{1b}.img", "it has 0 bytes");
        assert_eq!(failure.to_string(), "a\\nb\\u{1b}.img: it has 0 bytes");
    }
}
