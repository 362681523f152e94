//! What a run came to, for people and as JSON.

use std::{fmt, fs::File, io::Write as _, path::Path};

use serde::Serialize;

use crate::counts::Counts;

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    /// KiB: the most after one of the first rounds, and after the last.
    pub(crate) memory: (u64, u64),
    pub(crate) failure: Option<String>,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

impl Report {
    /// Writes it as one JSON object.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let written = File::create(path).and_then(|mut file| {
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")
        });
        written
            .map_err(|error| format!("the report cannot be written to {}: {error}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = if self.failure.is_none() { "ok" } else { "FAILED" };
        writeln!(f, "\nsoak: {result}, seed {}, {:.1} s", self.seed, self.seconds)?;
        write!(f, "{}", self.counts)?;
        writeln!(
            f,
            "{:<20} {} KiB at first, {} KiB at last",
            "memory", self.memory.0, self.memory.1
        )
    }
}
