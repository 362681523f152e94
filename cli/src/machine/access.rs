//! Whether this process may open a node.

use std::{fs::OpenOptions, io, path::Path};

/// What became of an attempt to open a node for reading and writing. It was closed again at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Granted,
    Denied,
    Missing,
    Failed(String),
}

impl Access {
    pub(crate) fn of(path: &Path) -> Self {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(_) => Self::Granted,
            Err(error) => match error.kind() {
                io::ErrorKind::PermissionDenied => Self::Denied,
                io::ErrorKind::NotFound => Self::Missing,
                _ => Self::Failed(error.to_string()),
            },
        }
    }
}
