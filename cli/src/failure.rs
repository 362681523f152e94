//! How the command ends when it does not end well.

use std::{fmt, ops::RangeInclusive, process::ExitCode};

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
            if is_unprintable(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

/// Whether a character would change how a terminal shows what stands around it: a control character, or one that has no width or
/// turns the direction of text.
pub(crate) fn is_unprintable(character: char) -> bool {
    const FORMATS: [RangeInclusive<char>; 4] = [
        '\u{200b}'..='\u{200f}',
        '\u{202a}'..='\u{202e}',
        '\u{2066}'..='\u{2069}',
        '\u{feff}'..='\u{feff}',
    ];
    character.is_control() || FORMATS.iter().any(|range| range.contains(&character))
}

#[cfg(test)]
mod tests {
    use super::{Failure, is_unprintable};

    #[test]
    fn what_changes_the_text_around_it_is_told_from_text() {
        let unprintable =
            "\0\u{1b}\u{7f}\u{9b}\u{200b}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}";
        assert!(unprintable.chars().all(is_unprintable));
        assert!(
            !"aü日 \u{200a}\u{2010}\u{2029}\u{202f}\u{2065}\u{206a}".chars().any(is_unprintable)
        );
    }

    #[test]
    fn a_message_is_one_line_whatever_the_path() {
        let failure = Failure::refused("a\nb\u{1b}.img", "it has 0 bytes");
        assert_eq!(failure.to_string(), "a\\nb\\u{1b}.img: it has 0 bytes");
    }
}
