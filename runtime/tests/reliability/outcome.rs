//! What came of a run, in words.

use std::collections::BTreeMap;

use dmaring::{Error, ErrorKind};

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Operations that were under way when the fault hit.
    pub(crate) operations: usize,
    /// Those that ended in an error.
    pub(crate) failed: usize,
    /// What the operation got whose descriptor met the fault; `None` where engines share the operations, so that nobody says
    /// whose it was.
    pub(crate) culprit: Option<String>,
    pub(crate) others: Others,
    /// Parts that the channel was given again.
    pub(crate) replayed: u64,
    /// Operations that the CPU saved.
    pub(crate) retried: u64,
    pub(crate) resets: u64,
    /// How it goes on.
    pub(crate) afterwards: String,
    /// Bytes that changed outside all destinations.
    pub(crate) outside: usize,
}

/// What operations got, and how many got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Others(BTreeMap<String, usize>);

impl Others {
    pub(crate) fn of<'a>(said: impl Iterator<Item = Option<&'a Result<u64, Error>>>) -> Self {
        let mut counts = BTreeMap::new();
        said.for_each(|said| *counts.entry(in_words(said)).or_default() += 1);
        Self(counts)
    }
}

impl Seen {
    /// What the operations got.
    pub(crate) fn outcomes(&self) -> String {
        let counts = self.others.0.iter().map(|(said, count)| format!("{count} {said}"));
        let mut parts: Vec<_> = counts.collect();
        if self.retried > 0 {
            parts.push(format!("of these {} by the CPU", self.retried));
        }
        if self.replayed > 0 {
            parts.push(format!("{} parts replayed", self.replayed));
        }
        if parts.is_empty() { "none".to_owned() } else { parts.join("; ") }
    }

    /// How it went on.
    pub(crate) fn ending(&self) -> String {
        let resets = match self.resets {
            0 => String::new(),
            1 => " after 1 reset".to_owned(),
            resets => format!(" after {resets} resets"),
        };
        format!("{}{resets}", self.afterwards)
    }
}

/// What one operation got.
pub(crate) fn in_words(said: Option<&Result<u64, Error>>) -> String {
    match said {
        None => "nothing".to_owned(),
        Some(Ok(_)) => "Ok".to_owned(),
        Some(Err(error)) => match error.kind() {
            ErrorKind::Device(device) => {
                format!("Device: {}, {:#x}", device.status.kind, device.status.bits)
            }
            kind => format!("{kind:?}"),
        },
    }
}
