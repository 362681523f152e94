//! Where files are made: nameless, so that nothing is left of them whatever happens.

use std::{fs::File, io, path::PathBuf};

use crate::plan::Kind;

/// A directory whose files are mapped, and one whose files are staged, if there are such.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    mapped: PathBuf,
    staged: PathBuf,
}

impl Directories {
    /// `/dev/shm`, which is a tmpfs wherever there is one, and the system's directory for temporary files.
    pub(crate) fn find() -> Self {
        let staged = std::env::temp_dir();
        let shared = PathBuf::from("/dev/shm");
        let mapped = if tempfile::tempfile_in(&shared).is_ok() { shared } else { staged.clone() };
        Self { mapped, staged }
    }

    /// A new file without a name.
    pub(crate) fn file(&self, kind: Kind) -> io::Result<File> {
        let directory = if kind == Kind::StagedFile { &self.staged } else { &self.mapped };
        tempfile::tempfile_in(directory)
    }
}
