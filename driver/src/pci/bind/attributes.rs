//! Writing to attributes of sysfs.
#![forbid(unsafe_code)]

use std::{
    fmt::Debug,
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
};

/// What writes: the system, or in tests something that does what the kernel would do.
pub(super) trait Attributes: Debug + Send + Sync {
    /// Whether an attribute may be written to. Writes nothing.
    fn check(&self, path: &Path) -> io::Result<()>;
    /// Writes the whole text at once, which is how an attribute takes it.
    fn write(&self, path: &Path, text: &str) -> io::Result<()>;
}

#[derive(Debug)]
pub(super) struct System;

impl Attributes for System {
    fn check(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path).map(drop)
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
    }
}
